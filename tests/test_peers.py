"""Equal to other libraries where they are right; right where they are not."""

import math
from typing import Any

import mpmath
import numpy as np
import pytest

import metricops
from tests.conftest import require
from tests.pages import guides

LEFT, RIGHT = np.random.default_rng(0).standard_normal((2, 5, 8))
BOTH = np.concatenate([LEFT, RIGHT])
LABELS = np.asarray([0, 1, 2, 3, 4, 0, 1, 2, 3, 4])
ONE_SET: dict[str, Any] = {"normalize": True, "exclude_diagonal": True}


def torch_gradient(loss: Any, *arrays: Any) -> list[Any]:
    """Return a loss of PyTorch, and its gradient by each array."""
    torch = require("torch")
    leaves = [torch.tensor(x, requires_grad=True) for x in arrays]
    value = loss(*leaves)
    return [value.detach(), *torch.autograd.grad(value, leaves)]


def same(left: list[Any], right: list[Any], rtol: float = 1e-10) -> None:
    """Assert that losses and gradients agree."""
    for x, y in zip(left, right, strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol)


def ours(*arrays: Any, **options: Any) -> Any:
    return metricops.npairs_loss_from_embeddings(*arrays, **options)


@pytest.mark.parametrize("normalize", [False, True])
def test_npairs_is_that_of_pytorch_metric_learning(normalize):
    peer = require("pytorch_metric_learning.losses")
    distances = require("pytorch_metric_learning.distances")
    distance = distances.DotProductSimilarity(normalize_embeddings=normalize)
    torch, loss = require("torch"), peer.NPairsLoss(distance=distance)
    labels = torch.tensor(LABELS)
    same(
        torch_gradient(lambda x, y: ours(x, y, normalize=normalize), LEFT, RIGHT),
        torch_gradient(lambda x, y: loss(torch.cat([x, y]), labels), LEFT, RIGHT),
    )


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_infonce_of_two_views_is_that_of_pytorch_metric_learning(temperature):
    peer = require("pytorch_metric_learning.losses").NTXentLoss(temperature=temperature)
    labels = require("torch").tensor(LABELS)
    options = {"temperature": temperature, **ONE_SET}
    same(
        torch_gradient(lambda x: ours(x, None, labels, **options), BOTH),
        torch_gradient(lambda x: peer(x, labels), BOTH),
    )


def test_many_positives_are_those_of_supervised_contrastive_learning():
    peer = require("pytorch_metric_learning.losses").SupConLoss(temperature=0.2)
    labels = require("torch").tensor([0, 0, 0, 1, 1, 1, 1, 2, 2, 3])
    same(
        torch_gradient(
            lambda x: ours(x, None, labels, temperature=0.2, **ONE_SET), BOTH
        ),
        torch_gradient(lambda x: peer(x, labels), BOTH),
    )


def test_a_batch_of_one_class_has_a_loss_unlike_in_pytorch_metric_learning():
    torch = require("torch")
    peer = require("pytorch_metric_learning.losses").SupConLoss(temperature=0.5)
    x, labels = torch.tensor(BOTH), torch.zeros(len(BOTH))
    found = ours(x, None, labels, temperature=0.5, **ONE_SET)
    units = BOTH / np.linalg.norm(BOTH, axis=1, keepdims=True)
    scores = (units @ units.T / 0.5)[~np.eye(len(BOTH), dtype=bool)]
    rows = scores.reshape(len(BOTH), -1)
    expected = np.mean(np.log(np.exp(rows).sum(axis=1)) - rows.mean(axis=1))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    # If this fails, the peer has been mended: its sentence in porting.md can go.
    assert peer(x, labels) == 0.0


def test_anchors_of_loss_zero_count_unlike_in_pytorch_metric_learning():
    torch = require("torch")
    peer = require("pytorch_metric_learning.losses").SupConLoss(temperature=0.01)
    # At this temperature the losses of the first three, at most 2 * exp(-100), are 0.
    # The fourth has cosine 0 with all.
    x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, -1.0]])
    labels = torch.tensor([0, 0, 1, 1])
    options = {"temperature": 0.01, **ONE_SET}
    rows = ours(x, None, labels, reduction="none", **options)
    expected = [0.0, 0.0, 0.0, math.log(3)]
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    np.testing.assert_allclose(
        ours(x, None, labels, **options), math.log(3) / 4, rtol=1e-6
    )
    # If this fails, the peer has been mended: its sentence in porting.md can go.
    np.testing.assert_allclose(peer(x, labels), math.log(3), rtol=1e-5)


def test_infonce_of_two_views_is_that_of_optax():
    jax, optax = require("jax"), require("optax")
    x, labels = jax.numpy.asarray(BOTH, "float32"), jax.numpy.asarray(LABELS)
    found, expected = (
        jax.jit(jax.value_and_grad(loss))(x)
        for loss in (
            lambda x: ours(x, None, labels, temperature=0.1, **ONE_SET),
            lambda x: optax.ntxent(x, labels, temperature=0.1),
        )
    )
    same(found, expected, rtol=1e-5)


def test_the_symmetric_loss_is_that_of_clip():
    torch = require("torch")
    functional: Any = require("torch.nn.functional")
    targets = torch.arange(len(LEFT))

    def clip(images: Any, texts: Any, scale: Any) -> Any:
        logits = scale * functional.normalize(images) @ functional.normalize(texts).T
        entropy = functional.cross_entropy
        return (entropy(logits, targets) + entropy(logits.T, targets)) / 2

    def symmetric(images: Any, texts: Any, scale: Any) -> Any:
        options = {"normalize": True, "symmetric": True}
        return ours(images, texts, temperature=1 / scale, **options)

    arrays = (LEFT, RIGHT, np.asarray(14.0))
    same(torch_gradient(symmetric, *arrays), torch_gradient(clip, *arrays))


def exact_infonce(x: Any, labels: Any, temperature: float) -> float:
    """Return the loss of one set against itself in 50 digits."""
    with mpmath.workdps(50):
        rows = [mpmath.matrix([mpmath.mpf(float(v)) for v in row]) for row in x]
        units = [row / mpmath.norm(row) for row in rows]
        total = mpmath.mpf(0)
        for i, row in enumerate(units):
            scores = {
                j: (row.T * other)[0] / temperature
                for j, other in enumerate(units)
                if j != i
            }
            (positive,) = (s for j, s in scores.items() if labels[j] == labels[i])
            total += (
                mpmath.log(mpmath.fsum(map(mpmath.exp, scores.values()))) - positive
            )
        return float(total / len(units))


@pytest.mark.parametrize("temperature", [0.01, 0.005])
def test_low_temperatures_do_not_saturate_as_in_pytorch_metric_learning(temperature):
    torch = require("torch")
    peer = require("pytorch_metric_learning.losses").NTXentLoss(temperature=temperature)
    x, labels = BOTH.astype(np.float32), torch.tensor(LABELS)
    options = {"temperature": temperature, **ONE_SET}
    found, gradient = torch_gradient(lambda x: ours(x, None, labels, **options), x)
    expected = exact_infonce(x, LABELS, temperature)
    assert found.item() == pytest.approx(expected, rel=1e-5)
    assert abs(gradient).max() > 1e-3
    # If this fails, the peer has been mended: its section in porting.md can go.
    theirs = peer(torch.tensor(x), labels).item()
    assert abs(theirs - expected) > 0.01 * expected


def test_a_batch_without_positives_is_no_nan_as_in_optax():
    jax, optax = require("jax"), require("optax")
    x, labels = jax.numpy.asarray(BOTH, "float32"), jax.numpy.arange(len(BOTH))
    loss, gradient = jax.value_and_grad(lambda x: ours(x, None, labels, **ONE_SET))(x)
    assert loss == 0.0
    assert not gradient.any()
    assert np.isnan(optax.ntxent(x, labels))


def test_the_code_in_the_porting_notes_runs():
    for peer in ("torch", "flax", "optax", "pytorch_metric_learning"):
        require(peer)
    programs = guides()
    assert len(programs) == 2
    for code in programs.values():
        exec(code, {})
