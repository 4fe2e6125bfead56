"""Losses of single pairs and triplets: sigmoid, contrastive, triplet."""

from typing import Any

import numpy as np
import pytest

import metricops
from tests import term_definitions
from tests.conftest import Run
from tests.definitions import numeric_gradient

_GENERATOR = np.random.default_rng(13)
ANCHORS, CANDIDATES = np.round(_GENERATOR.standard_normal((2, 5, 3)), 2)
MORE = np.round(_GENERATOR.standard_normal((7, 3)), 2)
LABELS = [0, 1, 0, 2, 1]
MORE_LABELS = [1, 0, 0, 7, 2, 1, 2]
HOT = [[1, 0, 0], [0, 1, 1], [1, 1, 0], [0, 0, 1], [0, 1, 0]]
MORE_HOT = [*HOT, [0, 0, 0], [1, 1, 1]]
WEIGHTS = [1.0, 0.5, 0.0, 2.0, 1.5]
UPSTREAM = [1.0, -2.0, 0.5, 3.0, 0.25]

# What a call is made of: its embeddings, and whose labels.
PLANS: dict[str, Any] = {
    "position": ((ANCHORS, MORE), {}),
    "labels": ((ANCHORS, MORE), {"labels": LABELS, "candidate_labels": MORE_LABELS}),
    "multihot": ((ANCHORS, MORE), {"labels": HOT, "candidate_labels": MORE_HOT}),
    "one set": ((ANCHORS,), {"labels": LABELS}),
    "behind the batch": (
        (ANCHORS, np.concatenate([ANCHORS, MORE[5:]])),
        {
            "labels": LABELS,
            "candidate_labels": [*LABELS, 1, 2],
            "exclude_diagonal": True,
        },
    ),
}
LOSSES: dict[str, Any] = {
    "sigmoid": (
        metricops.sigmoid_loss_from_embeddings,
        term_definitions.sigmoid_loss,
    ),
    "contrastive": (
        metricops.contrastive_loss_from_embeddings,
        term_definitions.contrastive_loss,
    ),
    "triplet": (
        metricops.triplet_loss_from_embeddings,
        term_definitions.triplet_loss,
    ),
}
SIGMOID: dict[str, Any] = {"temperature": 0.5, "bias": -0.5}
# Every option of each loss, and every pair of triplet mining words.
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "sigmoid": ("sigmoid", SIGMOID),
    "sigmoid of unit length": ("sigmoid", {**SIGMOID, "normalize": True}),
    "contrastive": ("contrastive", {"negative_margin": 2.5}),
    "contrastive to the first power": (
        "contrastive",
        {"power": 1, "positive_margin": 0.4, "negative_margin": 2.5},
    ),
    "contrastive of squares": (
        "contrastive",
        {"metric": "squared_euclidean", "negative_margin": 5.0, "normalize": True},
    ),
    "contrastive of cosines": ("contrastive", {"metric": "cosine"}),
    **{
        f"triplets {positives} {negatives}": (
            "triplet",
            {"positives": positives, "negatives": negatives},
        )
        for positives in ("all", "hard", "easy")
        for negatives in ("semihard", "hard", "easy", "all")
    },
    "triplets easy beyond_all": (
        "triplet",
        {"positives": "easy", "negatives": "beyond_all"},
    ),
    "triplets of softplus": (
        "triplet",
        {"margin": None, "positives": "hard", "normalize": True},
    ),
    "all triplets of softplus": ("triplet", {"margin": None, "negatives": "all"}),
    "triplets of squares": (
        "triplet",
        {"metric": "squared_euclidean", "margin": 0.2, "negatives": "all"},
    ),
    "triplets of cosines": ("triplet", {"metric": "cosine", "margin": 0.5}),
    "swapped triplets": ("triplet", {"swap": True, "margin": 2.0}),
    "all swapped triplets": (
        "triplet",
        {"swap": True, "negatives": "all", "metric": "cosine"},
    ),
}
# Tracing is slow: what is met differently in a trace.
TRACED = (
    ("labels", "sigmoid"),
    ("one set", "contrastive"),
    ("position", "contrastive of cosines"),
    ("one set", "triplets all semihard"),
    ("labels", "triplets all all"),
    ("one set", "triplets hard hard"),
    ("labels", "all swapped triplets"),
)
traced_calls = pytest.mark.parametrize(("plan", "option"), TRACED)
options = pytest.mark.parametrize("option", OPTIONS)


def plans_of(option: str, library: str) -> list[str]:
    """Return the plans that an option is tested in."""
    if library in ("numpy", "torch"):
        return [*PLANS]
    if library in ("tensorflow", "array_api_strict"):
        return ["one set"]
    return [plan for plan, other in TRACED if other == option]


def blocks_of(library: str) -> tuple[int | None, ...]:
    return (1, 3, None) if library in ("numpy", "torch") else (2,)


def loss(*arrays: Any, name: str, sides: int, **given: Any) -> Any:
    """Return the loss by its embeddings, and by a temperature and bias behind them."""
    given |= dict(zip(("temperature", "bias"), arrays[sides:], strict=False))
    return LOSSES[name][0](*arrays[:sides], **given)


def definition(*arrays: Any, name: str, sides: int, **given: Any) -> Any:
    given |= dict(zip(("temperature", "bias"), arrays[sides:], strict=False))
    return LOSSES[name][1](*arrays[:sides], **given)


def call_of(plan: str, option: str) -> tuple[list[Any], dict[str, Any]]:
    """Return what is differentiated, and the options."""
    (arrays, given), (name, more) = PLANS[plan], dict(OPTIONS)[option]
    moved = [more[key] for key in ("temperature", "bias") if key in more]
    given = {**given, **more, "name": name, "sides": len(arrays)}
    return [*arrays, *(np.asarray(x) for x in moved)], given


def check_value(run: Run, plan: str, option: str, block_size: Any) -> None:
    arrays, given = call_of(plan, option)
    result = run(loss, *arrays, block_size=block_size, **given)
    expected = definition(*(x.tolist() for x in arrays), **given)
    np.testing.assert_allclose(result, expected, rtol=2e-5, atol=2e-6)


def check_gradient(
    gradient: Any, plan: str, option: str, block_size: Any, reduction: str = "mean"
) -> None:
    arrays, given = call_of(plan, option)
    given |= {"sample_weight": WEIGHTS, "reduction": reduction}
    upstream: Any = UPSTREAM if reduction == "none" else 1.0

    def total(*moved: Any) -> float:
        return float(np.sum(np.multiply(upstream, definition(*moved, **given))))

    expected = numeric_gradient(total, *arrays)
    found = gradient(loss, *arrays, block_size=block_size, upstream=upstream, **given)
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)


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


@pytest.mark.parametrize("reduction", ["sum", "weighted_mean", "active_mean", "none"])
@pytest.mark.parametrize("option", ["sigmoid", "contrastive", "triplets all all"])
def test_each_reduction_has_the_gradient_that_it_should(gradient, option, reduction):
    if option == "sigmoid" and reduction == "active_mean":
        return
    plan = "labels" if option == "triplets all all" else "one set"
    check_gradient(gradient, plan, option, 2, reduction)


@pytest.mark.parametrize("option", ["sigmoid", "contrastive", "triplets all semihard"])
@pytest.mark.parametrize("reduction", ["weighted_mean", "mean", "none"])
def test_weights_have_gradients(gradient, option, reduction):
    if gradient.library.name != "torch":
        return  # the same kernel
    arrays, given = call_of("one set", option)
    given["reduction"] = reduction
    upstream: Any = UPSTREAM if reduction == "none" else 1.0

    def weighted(weights: Any) -> Any:
        moved = [gradient.library.asarray(x) for x in arrays]
        return loss(*moved, sample_weight=weights, **given)

    def total(weights: Any) -> float:
        lists = [x.tolist() for x in arrays]
        rows = definition(*lists, sample_weight=weights, **given)
        return float(np.sum(np.multiply(upstream, rows)))

    start = np.asarray([1.0, 0.5, 0.3, 2.0, 1.5])
    (found,) = gradient(weighted, start, upstream=upstream)
    np.testing.assert_allclose(found, numeric_gradient(total, start)[0], atol=1e-6)


@pytest.mark.parametrize(
    ("reduction", "block_size", "looks"),
    [
        ("mean", 2, 3),
        ("weighted_mean", 2, 3),
        ("active_mean", 2, 6),
        ("sum", 2, 3),
        ("mean", None, 1),
        ("active_mean", None, 1),
    ],
)
def test_pairs_are_counted_without_their_distances(
    monkeypatch, reduction, block_size, looks
):
    """Each panel is computed once, but where distances say how many pairs cost."""
    from metricops._panels import term_passes
    from metricops._panels.distances import distances_of

    calls = []

    def counted(*arguments: Any) -> Any:
        calls.append(arguments)
        return distances_of(*arguments)

    monkeypatch.setattr(term_passes, "distances_of", counted)
    rows = np.random.default_rng(0).standard_normal((6, 3))
    metricops.value_and_grad(metricops.contrastive_loss_from_embeddings)(
        rows, labels=[0, 0, 1, 1, 2, 2], reduction=reduction, block_size=block_size
    )
    assert len(calls) == looks
