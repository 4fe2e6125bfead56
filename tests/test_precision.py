"""How exact N-pairs from embeddings is: against mpmath and the plain formula."""

import mpmath
import numpy as np
import pytest

import metricops
from tests.conftest import require


def exact_loss(anchors, candidates, temperature):
    """Return the mean loss of candidate i being the positive of anchor i, by mpmath."""
    with mpmath.workdps(60):
        rows = [
            [mpmath.fdot(a.tolist(), c.tolist()) / temperature for c in candidates]
            for a in anchors
        ]
        terms = [
            mpmath.log(mpmath.fsum(mpmath.exp(s) for s in row)) - row[i]
            for i, row in enumerate(rows)
        ]
        return float(mpmath.fsum(terms) / len(terms))


def batch(n, d, seed, dtype=np.float64):
    """Return anchors and candidates of length one, each near its partner."""
    generator = np.random.default_rng(seed)
    anchors = generator.normal(size=(n, d))
    candidates = anchors + generator.normal(size=(n, d))
    rows = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (anchors, candidates)]
    return [x.astype(dtype) for x in rows]


@pytest.mark.parametrize("temperature", [0.005, 0.05, 0.5, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("block_size", [3, 16])
def test_double_precision_is_exact_at_any_temperature(temperature, block_size):
    anchors, candidates = batch(12, 5, 0)
    loss = metricops.npairs_loss_from_embeddings(
        anchors, candidates, temperature=temperature, block_size=block_size
    )
    expected = exact_loss(anchors, candidates, temperature)
    np.testing.assert_allclose(loss, expected, rtol=1e-12)


@pytest.mark.parametrize("magnitude", [1.0, 1e2, 1e4])
def test_double_precision_is_exact_at_any_magnitude(magnitude):
    anchors, candidates = batch(12, 5, 1)
    loss = metricops.npairs_loss_from_embeddings(
        anchors * magnitude, candidates, block_size=5
    )
    expected = exact_loss(anchors * magnitude, candidates, 1)
    np.testing.assert_allclose(loss, expected, rtol=1e-12)


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_low_temperature_keeps_its_gradient(symmetric):
    wide = batch(32, 8, 2)
    narrow = [x.astype(np.float32) for x in wide]
    options = {"temperature": 0.005, "symmetric": symmetric, "block_size": 8}
    _, expected = metricops.npairs_loss_and_grad(*map(np.float64, narrow), **options)
    _, found = metricops.npairs_loss_and_grad(*narrow, **options)
    scale = np.abs(expected[0]).max()
    assert scale > 0.1
    np.testing.assert_allclose(found[0], expected[0], atol=2e-5 * scale)


def plain_loss(torch, anchors, candidates, temperature):
    similarity = anchors @ candidates.T / temperature
    positions = torch.arange(anchors.shape[0])
    return torch.nn.functional.cross_entropy(similarity, positions)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0])
def test_no_dtype_is_less_exact_than_the_plain_formula(dtype, temperature):
    torch = require("torch")
    given = [torch.tensor(x).to(getattr(torch, dtype)) for x in batch(96, 16, 3)]
    wide = [x.double().requires_grad_() for x in given]
    exact = plain_loss(torch, wide[0], wide[1], temperature)
    exact_gradients = torch.autograd.grad(exact, wide)

    def errors(function):
        own = [x.clone().requires_grad_() for x in given]
        loss = function(*own)
        gradients = torch.autograd.grad(loss, own)
        return [
            (found.double() - true).abs().max().item()
            for found, true in zip(
                (loss, *gradients), (exact, *exact_gradients), strict=True
            )
        ]

    ours = errors(
        lambda a, c: metricops.npairs_loss_from_embeddings(
            a, c, temperature=temperature, block_size=40
        )
    )
    plain = errors(lambda a, c: plain_loss(torch, a, c, temperature))
    # Rounding is luck where both are right: allow one unit in the last place.
    unit = torch.finfo(given[0].dtype).eps
    sizes = [exact.item(), *(g.abs().max().item() for g in exact_gradients)]
    for own, other, size in zip(ours, plain, sizes, strict=True):
        assert own <= other + unit * size
