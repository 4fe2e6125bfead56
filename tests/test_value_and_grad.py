"""The value and the gradients of every loss, without autodiff."""

import math
import re
from functools import partial
from typing import Any

import numpy as np
import pytest

import metricops
from metricops._losses.solvable import SIGNATURES
from tests.conftest import Run
from tests.definitions import (
    cosine,
    cross_entropy_loss,
    embeddings_loss,
    equal_labels,
    numeric_gradient,
    reduced,
    shared_labels,
)
from tests.family_definitions import lifted_structure_loss
from tests.term_definitions import contrastive_loss, sigmoid_loss, triplet_loss

_GENERATOR = np.random.default_rng(5)
ANCHORS, CANDIDATES = np.round(_GENERATOR.standard_normal((2, 4, 3)), 2)
SCORES = np.round(_GENERATOR.standard_normal((4, 4)), 2)
TARGETS = np.asarray(
    [[1.0, 0.0, 2.0, 0.5], [0.0] * 4, [0.5, 0.5, 0.25, 1.0], [0.0, 3.0, 0.0, 1.0]]
)
LABELS = [0, 1, 0, 2]
HOT = [[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 0]]
WEIGHTS = np.asarray([1.0, 0.5, 2.0, 0.0])
BIAS = np.asarray([0.5, -1.0, 0.0, 0.25])
TEMPERATURE = np.asarray(0.5)


def of_embeddings(**static: Any) -> Any:
    """Return the definition of the loss of embeddings."""

    def loss(sample_weight: Any = None, **given: Any) -> Any:
        return embeddings_loss(**given, **static, sample_weight=sample_weight)

    return loss


def of_scores(targets: Any, **static: Any) -> Any:
    def loss(similarity: Any, sample_weight: Any = None) -> Any:
        return cross_entropy_loss(similarity, targets, sample_weight, **static)

    return loss


def of_targets(similarity: Any, targets: Any) -> Any:
    return cross_entropy_loss(similarity, targets)


def of_cosines(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    losses = [-cosine(x, y) for x, y in zip(y_true, y_pred, strict=True)]
    return reduced(losses, sample_weight, "weighted_mean")


NPAIRS = metricops.npairs_loss_from_embeddings
SUM = {"reduction": "sum"}
# The loss, its arrays of floats, its other arguments, and what it is.
CALLS: dict[str, Any] = {
    "by position": (
        NPAIRS,
        {
            "anchors": ANCHORS,
            "candidates": CANDIDATES,
            "temperature": TEMPERATURE,
            "candidate_bias": BIAS,
            "sample_weight": WEIGHTS,
        },
        {},
        of_embeddings(),
    ),
    "one set": (
        NPAIRS,
        {"anchors": ANCHORS, "sample_weight": WEIGHTS},
        {"labels": LABELS, "normalize": True, "block_size": 2},
        of_embeddings(labels=LABELS, normalize=True),
    ),
    "symmetric": (
        NPAIRS,
        {"anchors": ANCHORS, "candidates": CANDIDATES, "temperature": TEMPERATURE},
        {"symmetric": True, "label_smoothing": 0.5, "l2_weight": 0.1},
        of_embeddings(symmetric=True, label_smoothing=0.5, l2_weight=0.1),
    ),
    "similarities": (
        metricops.npairs_loss,
        {"similarity": SCORES, "sample_weight": WEIGHTS},
        {"labels": LABELS, **SUM},
        of_scores(equal_labels(LABELS, LABELS), **SUM),
    ),
    "multilabel": (
        metricops.npairs_multilabel_loss,
        {"similarity": SCORES, "sample_weight": WEIGHTS},
        {"labels": HOT, "reduction": "weighted_mean"},
        of_scores(shared_labels(HOT, HOT), reduction="weighted_mean"),
    ),
    "cross-entropy": (
        metricops.softmax_cross_entropy,
        {"similarity": SCORES, "targets": TARGETS},
        {},
        of_targets,
    ),
    "cosine": (
        metricops.cosine_similarity_loss,
        {"y_true": ANCHORS, "y_pred": CANDIDATES, "sample_weight": WEIGHTS},
        {"reduction": "weighted_mean"},
        of_cosines,
    ),
    "contrastive": (
        metricops.contrastive_loss_from_embeddings,
        {"anchors": ANCHORS, "candidates": CANDIDATES, "sample_weight": WEIGHTS},
        {"labels": LABELS, "negative_margin": 3.0, "power": 1},
        partial(contrastive_loss, labels=LABELS, negative_margin=3.0, power=1),
    ),
    "active contrastive": (
        metricops.contrastive_loss_from_embeddings,
        {"anchors": ANCHORS},
        {"labels": LABELS, "negative_margin": 2.0, "reduction": "active_mean"},
        partial(
            contrastive_loss,
            labels=LABELS,
            negative_margin=2.0,
            reduction="active_mean",
        ),
    ),
    "triplets": (
        metricops.triplet_loss_from_embeddings,
        {"anchors": ANCHORS, "sample_weight": WEIGHTS},
        {"labels": LABELS, "negatives": "all", "margin": 2.0},
        partial(triplet_loss, labels=LABELS, negatives="all", margin=2.0),
    ),
    "lifted structure": (
        metricops.lifted_structure_loss_from_embeddings,
        {"embeddings": ANCHORS},
        {"labels": LABELS},
        partial(lifted_structure_loss, labels=LABELS),
    ),
    "sigmoid": (
        metricops.sigmoid_loss_from_embeddings,
        {"anchors": ANCHORS, "temperature": TEMPERATURE, "bias": np.asarray(-1.0)},
        {"labels": LABELS},
        partial(sigmoid_loss, labels=LABELS),
    ),
}
calls = pytest.mark.parametrize("call", CALLS)


def expected_of(call: str) -> tuple[float, dict[str, Any]]:
    """Return the value of a call, and its gradients by finite differences."""
    _, arrays, _, definition = CALLS[call]

    def total(*moved: Any) -> float:
        return float(definition(**dict(zip(arrays, moved, strict=True))))

    slopes = numeric_gradient(total, *arrays.values())
    value = total(*(x.tolist() for x in arrays.values()))
    return value, dict(zip(arrays, slopes, strict=True))


def check(run: Run, call: str) -> None:
    loss, arrays, given, _ = CALLS[call]

    def both(*values: Any) -> Any:
        named = dict(zip(arrays, values, strict=True))
        return metricops.value_and_grad(loss)(**named, **given)

    with run.library.x64():
        value, gradients = run(both, *arrays.values())
    expected, slopes = expected_of(call)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert set(gradients) == set(arrays)
    for name, got in gradients.items():
        assert got.dtype == arrays[name].dtype
        np.testing.assert_allclose(got, slopes[name], atol=1e-6)


@calls
def test_values_and_gradients_are_right(run, call):
    check(run, call)


@pytest.mark.parametrize("call", ["by position", "similarities", "cosine"])
def test_they_are_right_when_traced(traced, call):
    if traced.mode != "unknown":
        check(traced, call)


def test_every_public_loss_has_them():
    names = [name for name in vars(metricops) if not name.startswith("_")]
    public = {name for name in names if "loss" in name or "entropy" in name}
    known = {loss.__name__ for loss in SIGNATURES}
    assert known == public - {"npairs_loss_and_grad"}


def test_gradients_are_those_of_the_floats_given(library):
    def float32(x):
        return library.asarray(x, "float32")

    loss = metricops.value_and_grad(NPAIRS)
    whole = library.asarray([[1, 2], [3, 4]], "int32")
    weights = [0.5, 1.0]
    _, found = loss(whole, float32(np.eye(2)), sample_weight=weights, temperature=0.5)
    assert list(found) == ["candidates"]
    _, found = loss(whole, 2 * whole, temperature=float32(0.5))
    assert list(found) == ["temperature"]
    _, found = loss([[1.0, 2.0], [3.0, 4.0]], [[1.0, 0.0], [0.0, 1.0]])
    assert found == {}


@pytest.mark.parametrize("shape", [(), (1,), (4,), (4, 1)])
def test_gradients_of_weights_have_their_shape(run, shape):
    weights = np.full(shape, 0.5)

    def both(x, y, w):
        loss = metricops.value_and_grad(NPAIRS)
        return loss(x, y, sample_weight=w, reduction="sum")

    value, found = run(
        both, *(np.asarray(x, np.float32) for x in (ANCHORS, CANDIDATES, weights))
    )
    assert found["sample_weight"].shape == shape
    # The sum of the losses is linear in the weights.
    assert float(np.sum(found["sample_weight"] * weights)) == pytest.approx(
        float(value), rel=1e-5
    )


def test_gradients_of_half_precision_are_in_it(library):
    if not library.supports("float16"):
        pytest.skip("no float16")
    half, single = (library.asarray(ANCHORS, x) for x in ("float16", "float32"))
    value, found = metricops.value_and_grad(NPAIRS)(half, single)
    assert library.dtype_of(value) == "float32"
    assert [library.dtype_of(x) for x in found.values()] == ["float16", "float32"]


def test_nothing_is_recorded(torch):
    x = torch.tensor(ANCHORS, requires_grad=True)
    value, found = metricops.value_and_grad(NPAIRS)(x, 2 * x)
    assert not value.requires_grad
    assert not any(gradient.requires_grad for gradient in found.values())


def test_masked_scores_and_rows_without_targets_have_gradient_zero(run):
    scores = np.asarray([[0.0, -math.inf, 1.0], [math.nan, 2.0, 0.0]], np.float32)
    targets = np.asarray([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
    loss = metricops.value_and_grad(metricops.softmax_cross_entropy)
    value, found = run(loss, scores, targets)
    share = 1 / (1 + math.e)
    assert value == pytest.approx(-math.log(share), rel=1e-6)
    expected = [[share - 1, 0.0, 1 - share], [0.0, 0.0, 0.0]]
    np.testing.assert_allclose(found["similarity"], expected, rtol=1e-5)
    assert np.all(np.isfinite(found["targets"]))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (
            {"reduction": "none"},
            ValueError,
            "`reduction` must be one that gives a numb",
        ),
        ({"reduction": "all"}, ValueError, '`reduction` must be "mean", "sum", "wei'),
        ({"anchors": ANCHORS}, TypeError, "`anchors` must be given once; got it tw"),
        ({"margin": 1.0}, TypeError, "margin"),
    ],
)
def test_mistakes_are_refused(given, error, message):
    with pytest.raises(error, match=re.escape(message)):
        metricops.value_and_grad(NPAIRS)(ANCHORS, CANDIDATES, **given)


def test_what_is_no_loss_is_refused():
    with pytest.raises(TypeError, match="`loss` must be a loss of metricops; got "):
        metricops.value_and_grad(metricops.dot)
    loss = metricops.value_and_grad(metricops.npairs_loss)
    with pytest.raises(TypeError, match="must be given 2 arguments by position; got 3"):
        loss(SCORES, LABELS, LABELS)


@pytest.mark.parametrize("given", [[], np.zeros(3), "npairs_loss", None])
def test_what_is_no_function_is_refused(given):
    with pytest.raises(TypeError, match="`loss` must be a loss of metricops; got "):
        metricops.value_and_grad(given)


def test_arguments_that_lack_or_are_unknown_are_those_of_the_public_function():
    missing = r"^npairs_loss\(\) missing a required argument: 'labels'$"
    with pytest.raises(TypeError, match=missing):
        metricops.value_and_grad(metricops.npairs_loss)(SCORES)
    unknown = (
        r"^npairs_loss_from_embeddings\(\) got an unexpected keyword argument 'foo'"
    )
    with pytest.raises(TypeError, match=unknown):
        metricops.value_and_grad(NPAIRS)(ANCHORS, CANDIDATES, foo=1)
