"""Losses of whole rows against their definitions, and at their edges.

Multi-similarity, circle, soft nearest neighbour, lifted structure and margin softmax.
"""

from typing import Any

import numpy as np
import pytest

import metricops
from tests import family_definitions
from tests.conftest import Gradient, Library, Run
from tests.definitions import numeric_gradient
from tests.test_sibling_losses import (
    LABELS,
    PLANS,
    UPSTREAM,
    WEIGHTS,
    blocks_of,
)

multi_similarity: Any = metricops.multi_similarity_loss_from_embeddings
circle: Any = metricops.circle_loss_from_embeddings
soft_nearest_neighbor: Any = metricops.soft_nearest_neighbor_loss_from_embeddings
LOSSES: dict[str, Any] = {
    "multi-similarity": (multi_similarity, family_definitions.multi_similarity_loss),
    "circle": (circle, family_definitions.circle_loss),
    "soft nearest neighbour": (
        soft_nearest_neighbor,
        family_definitions.soft_nearest_neighbor_loss,
    ),
}
# Every option of each loss.
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "multi-similarity": ("multi-similarity", {"beta": 10.0}),
    "multi-similarity of products": (
        "multi-similarity",
        {"alpha": 1.0, "beta": 3.0, "base": 0.2, "epsilon": 0.5, "normalize": False},
    ),
    "multi-similarity without mining": ("multi-similarity", {"epsilon": None}),
    "circle": ("circle", {}),
    "circle of products": ("circle", {"gamma": 2.0, "margin": 0.2, "normalize": False}),
    "soft nearest neighbour": ("soft nearest neighbour", {"temperature": 0.7}),
    "soft nearest neighbour of unit length": (
        "soft nearest neighbour",
        {"temperature": 0.1, "normalize": True},
    ),
    "soft nearest neighbour of cosines": (
        "soft nearest neighbour",
        {"temperature": 0.2, "metric": "cosine"},
    ),
}
TRACED = (
    ("labels", "multi-similarity"),
    ("one set", "circle"),
    ("one set", "soft nearest neighbour"),
)
traced_calls = pytest.mark.parametrize(("plan", "option"), TRACED)
options = pytest.mark.parametrize("option", OPTIONS)


def plans_of(option: str, library: str) -> list[str]:
    """Return the plans that an option is tested in."""
    if library in ("numpy", "torch"):
        return [*PLANS]
    if library == "array_api_strict":
        return ["one set"]
    return [plan for plan, other in TRACED if other == option]


def call_of(plan: str, option: str) -> tuple[list[Any], dict[str, Any], Any, Any]:
    """Return the embeddings, the options, the loss and its definition."""
    (arrays, given), (name, more) = PLANS[plan], OPTIONS[option]
    loss, definition = LOSSES[name]
    return [*arrays], {**given, **more}, loss, definition


def check_value(run: Run, plan: str, option: str, block_size: Any) -> None:
    arrays, given, loss, definition = call_of(plan, option)
    result = run(loss, *arrays, block_size=block_size, **given)
    expected = definition(*(x.tolist() for x in arrays), **given)
    np.testing.assert_allclose(result, expected, rtol=2e-5, atol=2e-6)


def check_gradient(
    gradient: Any, plan: str, option: str, block_size: Any, reduction: str = "mean"
) -> None:
    arrays, given, loss, definition = call_of(plan, option)
    given |= {"sample_weight": WEIGHTS, "reduction": reduction}
    upstream: Any = UPSTREAM if reduction == "none" else 1.0
    lists = [x.tolist() for x in arrays]
    # The weights of the circle loss have no derivative.
    fixed = {"fixed": (*lists, None)[:2]} if loss is circle else {}

    def total(*moved: Any) -> float:
        return float(
            np.sum(np.multiply(upstream, definition(*moved, **given, **fixed)))
        )

    expected = numeric_gradient(total, *arrays)
    found = gradient(loss, *arrays, block_size=block_size, upstream=upstream, **given)
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


@options
def test_values_are_right(run, option):
    for plan in plans_of(option, run.library.name):
        for block_size in blocks_of(run.library.name):
            check_value(run, plan, option, block_size)


@traced_calls
def test_values_are_right_when_traced(traced, plan, option):
    check_value(traced, plan, option, block_size=2)


@options
def test_gradients_are_right(gradient, option):
    for plan in plans_of(option, gradient.library.name):
        for block_size in blocks_of(gradient.library.name):
            check_gradient(gradient, plan, option, block_size)


@traced_calls
def test_gradients_are_right_when_traced(traced_gradient, plan, option):
    check_gradient(traced_gradient, plan, option, 2)


# What follows is of the kernel: one framework has the gradients, and one library more.
@pytest.fixture
def slopes() -> Gradient:
    return Gradient(Library("torch"), "eager")


@pytest.mark.parametrize("reduction", ["sum", "weighted_mean", "none"])
@pytest.mark.parametrize("option", LOSSES)
def test_each_reduction_has_the_gradient_that_it_should(slopes, option, reduction):
    for block_size in (2, None):
        check_gradient(slopes, "one set", option, block_size, reduction)


@pytest.mark.parametrize("plan", ["position", "one set"])
@options
def test_values_and_gradients_need_no_autodiff(plan, option):
    arrays, given, loss, definition = call_of(plan, option)
    lists = [x.tolist() for x in arrays]
    fixed = {"fixed": (*lists, None)[:2]} if loss is circle else {}
    named = {"anchors": arrays[0], "sample_weight": np.asarray(WEIGHTS)}
    if len(arrays) == 2:
        named["candidates"] = arrays[1]

    def total(*moved: Any) -> float:
        moved_by = dict(zip(named, moved, strict=True))
        return float(definition(**moved_by, **given, **fixed))

    expected = numeric_gradient(total, *named.values())
    value, found = metricops.value_and_grad(loss)(**named, **given)
    np.testing.assert_allclose(value, total(*named.values()), rtol=1e-6)
    assert set(found) == set(named)
    for name, want in zip(named, expected, strict=True):
        np.testing.assert_allclose(found[name], want, rtol=1e-6, atol=1e-6)


X = np.round(np.random.default_rng(0).standard_normal((4, 3)), 2).astype(np.float32)
EVERY = (multi_similarity, circle, soft_nearest_neighbor)
BLOCKS = (1, None)


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3]], ids=["one", "many"])
def test_without_a_positive_or_a_negative_nothing_is_lost(slopes, labels):
    for loss in EVERY:
        for block_size in BLOCKS:
            given = {"labels": labels, "block_size": block_size}
            (found,) = slopes(loss, X, **given)
            np.testing.assert_array_equal(found, 0 * X)
            assert loss(X, **given) == 0


def test_the_loss_of_nothing_is_zero(run):
    nothing = np.zeros((0, 3), np.float32)
    for loss in EVERY if run.library.name != "jax" else EVERY[:1]:
        assert run(loss, nothing, labels=np.zeros((0,), np.int32)) == 0
        labels = {"labels": [], "candidate_labels": [0, 1, 2, 3]}
        assert run(loss, nothing, X, **labels, reduction="none").shape == (0,)


def test_edges_have_finite_gradients(gradient):
    # Equal rows, zero rows, a class of one, and one that is alone.
    equal, zero = [[1.0, 2.0], [1.0, 2.0]], [[0.0, 0.0], [0.0, 0.0]]
    x = np.asarray([*equal, *zero, [3.0, 1.0], [1.0, 1.0]], np.float32)
    wide = gradient.library.name == "torch"
    for loss in EVERY:
        for labels in ([0, 1, 0, 1, 0, 2], [0, 0, 1, 1, 0, 2])[: 1 + wide]:
            for block_size in BLOCKS[1 - wide :]:
                given = {"labels": labels, "block_size": block_size}
                (found,) = gradient(loss, x, **given)
                assert np.isfinite(found).all()
                if loss in (multi_similarity, circle):
                    np.testing.assert_array_equal(found[2:4], 0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(dtype):
    run = Run(Library("torch"), "eager")
    x = run.library.asarray(X, dtype)
    for loss in EVERY:
        found = run(loss, x, labels=[0, 1, 0, 1])
        expected = run(loss, run.library.cast(x, "float32"), labels=[0, 1, 0, 1])
        np.testing.assert_allclose(found, expected, rtol=1e-2)


@pytest.mark.parametrize("size", [1e2, 1e5])
def test_large_logits_are_exact(slopes, size):
    x = np.asarray([[1.0, 2.0], [2.0, 1.0], [1.5, -0.5], [-1.0, 2.0]]) * size
    for loss in EVERY:
        for block_size in BLOCKS:
            given = {
                "labels": [0, 1, 0, 1],
                "normalize": False,
                "block_size": block_size,
            }
            (found,) = slopes(loss, x.astype(np.float32), **given)
            (exact,) = slopes(loss, x, **given)
            assert np.isfinite(found).all()
            limit = 1e-5 * abs(exact).max()
            np.testing.assert_allclose(found, exact, rtol=1e-5, atol=limit)


@pytest.mark.parametrize("name", ["numpy", "torch", "tensorflow"])
def test_a_nan_comes_out_but_for_an_anchor_that_is_left_out(name):
    run = Run(Library(name), "eager")
    anchors = X.copy()
    anchors[3] = np.nan
    labels = {"labels": [0, 1, 0, 9], "candidate_labels": [0, 1, 0, 1]}
    for loss in EVERY:
        found = run(loss, anchors, X, **labels, reduction="none")
        assert np.isfinite(found).all()
        assert np.isnan(run(loss, X, anchors, labels=[0, 1, 0, 1]))


def test_small_losses_keep_their_digits():
    x = np.asarray([[1.0, 0.0], [1.0, 0.001], [0.0, 1.0], [-0.001, 1.0]])
    for loss, given in (
        (multi_similarity, {"alpha": 60.0, "epsilon": None}),
        (circle, {"gamma": 60.0}),
        (soft_nearest_neighbor, {"temperature": 0.1}),
    ):
        exact = loss(x, labels=[0, 0, 1, 1], **given)
        found = loss(x.astype(np.float32), labels=[0, 0, 1, 1], **given)
        assert 0 < exact < 1e-8
        np.testing.assert_allclose(found, exact, rtol=1e-4)


def test_near_neighbours_far_from_the_origin_keep_their_distances(run):
    if run.library.name == "jax":
        return
    x = np.random.default_rng(1).standard_normal((40, 8)).astype(np.float32)
    far = (x + np.float32(1000)).astype(np.float32)
    labels = np.arange(40) % 10
    found = run(soft_nearest_neighbor, far, labels=labels, block_size=16)
    expected = soft_nearest_neighbor(far.astype(np.float64), labels=labels)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("given", [{}, {"normalize": True}, {"metric": "cosine"}])
def test_a_temperature_is_differentiable(slopes, given):
    arrays = [*PLANS["labels"][0], np.asarray(0.6)]
    given = {**PLANS["labels"][1], **given, "sample_weight": WEIGHTS}

    def total(*moved: Any) -> float:
        *sides, temperature = moved
        found = family_definitions.soft_nearest_neighbor_loss
        return float(found(*sides, temperature=temperature, **given))

    def loss(*moved: Any, **options: Any) -> Any:
        *sides, temperature = moved
        return soft_nearest_neighbor(*sides, temperature=temperature, **options)

    expected = numeric_gradient(total, *arrays)
    for block_size in (2, None):
        found = slopes(loss, *arrays, **given, block_size=block_size)
        for got, want in zip(found, expected, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    names = ("anchors", "candidates", "temperature")
    named = dict(zip(names, arrays, strict=True))
    _, both = metricops.value_and_grad(soft_nearest_neighbor)(**named, **given)
    for name, want in zip(names, expected, strict=True):
        np.testing.assert_allclose(both[name], want, rtol=1e-6, atol=1e-6)


def test_numbers_and_labels_are_checked():
    with pytest.raises(ValueError, match="`beta` must be positive and finite; got 0"):
        multi_similarity(X, labels=LABELS[:4], beta=0)
    with pytest.raises(TypeError, match="`epsilon` must be a number; got"):
        multi_similarity(X, labels=LABELS[:4], epsilon="0.1")
    with pytest.raises(ValueError, match="`margin` must be a number; got nan"):
        circle(X, labels=LABELS[:4], margin=float("nan"))
    with pytest.raises(ValueError, match='`metric` must be "squared_euclidean" or "co'):
        soft_nearest_neighbor(X, labels=LABELS[:4], metric="euclidean")
    with pytest.raises(ValueError, match="`temperature` must be positive and finite"):
        soft_nearest_neighbor(X, labels=LABELS[:4], temperature=0.0)
    with pytest.raises(ValueError, match="`labels` must be given where `candidates`"):
        circle(X)
