"""Options of the N-pairs loss of embeddings: who takes part, biases, denominators."""

import re
from functools import partial
from typing import Any

import numpy as np
import pytest

import metricops
from tests.conftest import Library, require
from tests.definitions import embeddings_loss, numeric_gradient

_GENERATOR = np.random.default_rng(13)
ANCHORS, CANDIDATES = np.round(_GENERATOR.standard_normal((2, 5, 3)), 2)
MORE = np.round(_GENERATOR.standard_normal((7, 3)), 2)
LABELS = [0, 1, 0, 2, 1]
MORE_LABELS = [1, 0, 0, 7, 2, 1, 2]
HOT = [[1, 0, 0], [0, 1, 1], [1, 1, 0], [0, 0, 1], [0, 1, 0]]
MORE_HOT = [*HOT, [0, 0, 0], [1, 1, 1]]
IDS = [3, 1, 3, 2, 9]
MORE_IDS = [3, 3, 1, 2, 1, 9, 3]
BIAS = np.round(_GENERATOR.standard_normal(7), 2)
WEIGHTS = [1.0, 0.5, 0.0, 2.0, 1.5]

# What a call is made of: its embeddings, and whose labels.
PLANS: dict[str, Any] = {
    "position": ((ANCHORS, MORE), {}),
    "labels": ((ANCHORS, MORE), {"labels": LABELS, "candidate_labels": MORE_LABELS}),
    "multihot": ((ANCHORS, MORE), {"labels": HOT, "candidate_labels": MORE_HOT}),
    "behind the batch": (
        (ANCHORS, MORE),
        {
            "labels": LABELS,
            "candidate_labels": [*LABELS, 7, 0],
            "exclude_diagonal": True,
        },
    ),
    "symmetric by position": ((ANCHORS, CANDIDATES), {"symmetric": True}),
    "symmetric": ((ANCHORS, CANDIDATES), {"labels": LABELS, "symmetric": True}),
    "one set": ((ANCHORS,), {"labels": LABELS, "exclude_diagonal": True}),
    "one set with itself": ((ANCHORS,), {"labels": LABELS}),
}
# By the number of candidates, as ids and biases are theirs.
OPTIONS: dict[str, Any] = {
    "ids": {5: {"ids": IDS}, 7: {"ids": IDS, "candidate_ids": MORE_IDS}},
    "bias": {7: {"candidate_bias": BIAS}, 5: {"candidate_bias": BIAS[:5]}},
    "ids and bias": {
        5: {"ids": IDS, "candidate_bias": BIAS[:5]},
        7: {"ids": IDS, "candidate_ids": MORE_IDS, "candidate_bias": BIAS},
    },
    "smoothing": {
        5: {"label_smoothing": 0.25},
        7: {"label_smoothing": 0.25, "candidate_bias": BIAS},
    },
    "smoothing and ids": {
        5: {"label_smoothing": 0.25, "ids": IDS},
        7: {
            "label_smoothing": 1.0,
            "ids": IDS,
            "candidate_ids": MORE_IDS,
            "candidate_bias": BIAS,
        },
    },
    "own": {5: {"denominator": "own"}, 7: {"denominator": "own"}},
    "own and ids": {
        5: {"denominator": "own", "ids": IDS},
        7: {"denominator": "own", "ids": IDS, "candidate_ids": MORE_IDS},
    },
    "negatives": {
        5: {"denominator": "negatives"},
        7: {"denominator": "negatives", "candidate_bias": BIAS},
    },
    "negatives and ids": {
        5: {"denominator": "negatives", "ids": IDS},
        7: {"denominator": "negatives", "ids": [3] * 5, "candidate_ids": MORE_IDS},
    },
}
options = pytest.mark.parametrize("option", OPTIONS)
# Tracing is slow: each option in the plans where it is met differently.
TRACED = (
    ("position", "ids"),
    ("one set", "ids"),
    ("symmetric by position", "ids"),
    ("labels", "bias"),
    ("position", "ids and bias"),
    ("position", "smoothing"),
    ("symmetric", "smoothing"),
    ("one set", "smoothing and ids"),
    ("labels", "own"),
    ("one set", "own and ids"),
    ("position", "negatives"),
    ("symmetric", "negatives and ids"),
)
traced_calls = pytest.mark.parametrize(("plan", "option"), TRACED)


def call_of(plan: str, option: str) -> tuple[Any, dict[str, Any]] | None:
    """Return the arrays and options of a call, or None of one that is refused."""
    arrays, given = PLANS[plan]
    given = {**given, **OPTIONS[option][len(arrays[-1])], "temperature": 0.5}
    return None if refused(given) else (arrays, given)


def refused(given: dict[str, Any]) -> bool:
    """Return whether two options exclude each other."""
    return bool(given.get("symmetric")) and "candidate_bias" in given


def plans_of(option: str, library: str) -> list[str]:
    """Return the plans that an option is tested in."""
    if library not in ("numpy", "torch"):  # slow: only where it is met differently
        return [plan for plan, other in TRACED if other == option]
    return [plan for plan in PLANS if call_of(plan, option) is not None]


def split(given: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return the bias as an array to differentiate, and the other options."""
    rest = dict(given)
    bias = rest.pop("candidate_bias", None)
    return ([] if bias is None else [bias]), rest


def loss(*arrays: Any, sides: int, **given: Any) -> Any:
    """Return the loss by its embeddings, and by the bias behind them if any."""
    if len(arrays) > sides:
        given["candidate_bias"] = arrays[sides]
    return metricops.npairs_loss_from_embeddings(*arrays[:sides], **given)


def definition(*arrays: Any, sides: int, upstream: Any = 1.0, **given: Any) -> float:
    if len(arrays) > sides:
        given["candidate_bias"] = arrays[sides]
    given |= dict(zip(("anchors", "candidates"), arrays[:sides], strict=False))
    found = embeddings_loss(**given)
    return float(np.sum(np.multiply(upstream, found)))


def check_value(run: Any, plan: str, option: str, block_size: Any) -> None:
    arrays, given = call_of(plan, option) or ((), {})
    result = run(loss, *arrays, sides=len(arrays), block_size=block_size, **given)
    expected = definition(*(x.tolist() for x in arrays), sides=len(arrays), **given)
    np.testing.assert_allclose(result, expected, rtol=2e-5, atol=2e-6)


def check_gradient(
    gradient: Any, plan: str, option: str, block_size: Any, **more: Any
) -> None:
    arrays, given = call_of(plan, option) or ((), {})
    bias, given = split({**given, **more})
    one: Any = [1.0, -2.0, 0.5, 3.0, 0.25] if more.get("reduction") == "none" else 1.0
    given = {**given, "sides": len(arrays)}

    def total(*moved: Any) -> float:
        return definition(*moved, upstream=one, **given)

    expected = numeric_gradient(total, *arrays, *bias)
    found = gradient(loss, *arrays, *bias, block_size=block_size, upstream=one, **given)
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)


@options
def test_values_are_right(run, option):
    every = run.library.name in ("numpy", "torch")
    for plan in plans_of(option, run.library.name):
        for block_size in (1, 3, None) if every else (2,):
            check_value(run, plan, option, block_size=block_size)


@traced_calls
def test_values_are_right_when_traced(traced, plan, option):
    check_value(traced, plan, option, block_size=2)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@options
def test_gradients_are_right(gradient, option, reduction):
    every = gradient.library.name == "torch"
    for plan in plans_of(option, gradient.library.name):
        for block_size in (1, 3, None) if every else (2,):
            more = {"reduction": reduction, "sample_weight": WEIGHTS}
            check_gradient(gradient, plan, option, block_size, **more)


@traced_calls
def test_gradients_are_right_when_traced(traced_gradient, plan, option):
    check_gradient(traced_gradient, plan, option, 2)


@pytest.mark.parametrize("name", ["numpy", "dask", "array_api_strict"])
@options
def test_gradients_need_no_autodiff(name, option):
    library = Library(name)
    for plan in plans_of(option, name):
        arrays, given = call_of(plan, option) or ((), {})
        own = [library.asarray(x) for x in arrays]
        value, found = metricops.npairs_loss_and_grad(*own, block_size=2, **given)
        assert library.to_numpy(value) == pytest.approx(
            embeddings_loss(*(x.tolist() for x in arrays), **given)
        )
        expected = numeric_gradient(
            lambda *x, given=given: float(embeddings_loss(*x, **given)), *arrays
        )
        for got, want in zip(found, expected, strict=False):
            np.testing.assert_allclose(library.to_numpy(got), want, atol=1e-6)


REFUSED: dict[str, Any] = {
    "candidate_ids alone": (
        {"candidate_ids": [0, 1]},
        "`ids` must be given where `candidate_ids` is; got None.",
    ),
    "too few ids": (
        {"ids": [0]},
        "`ids` must have an id for each of 2 anchors; got shape (1,).",
    ),
    "too many ids": (
        {"ids": [0, 1], "candidate_ids": [[0], [1], [2]]},
        "`candidate_ids` must have an id for each of 2 candidates; got shape (3,).",
    ),
    "ids of several columns": (
        {"ids": [[0, 1], [1, 1]]},
        "`ids` must have shape (n,) or (n, 1); got shape (2, 2).",
    ),
    "a bias for each pair": (
        {"candidate_bias": [[0.0, 1.0], [1.0, 1.0]]},
        "`candidate_bias` must have shape (2,); got shape (2, 2).",
    ),
    "no such denominator": (
        {"denominator": "own positive"},
        '`denominator` must be "all", "own" or "negatives"; got \'own positive\'.',
    ),
    "too much smoothing": (
        {"label_smoothing": 1.5},
        "`label_smoothing` must be from 0 to 1; got 1.5.",
    ),
    "smoothing that is no number": (
        {"label_smoothing": float("nan")},
        "`label_smoothing` must be from 0 to 1; got nan.",
    ),
    "smoothing of another denominator": (
        {"label_smoothing": 0.1, "denominator": "own"},
        '`label_smoothing` must be 0 where `denominator` is not "all"; got 0.1.',
    ),
    "a bias of both directions": (
        {"candidate_bias": [0.0, 1.0], "symmetric": True},
        "`symmetric` must be False where `candidate_bias` is given; got True.",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_options_that_do_not_fit_are_refused(run, case):
    given, message = REFUSED[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        run(metricops.npairs_loss_from_embeddings, np.eye(2), np.eye(2), **given)


def test_ids_may_be_strings():
    x, y = ANCHORS, CANDIDATES
    names = ["c", "a", "c", "b", "d"]
    found, expected = (
        metricops.npairs_loss_from_embeddings(x, y, ids=ids) for ids in (names, IDS)
    )
    assert found == expected


DUPLICATES = np.repeat(ANCHORS[:3], 2, axis=0)
EDGES: dict[str, Any] = {
    "one class": ((ANCHORS,), {"labels": [0] * 5, "exclude_diagonal": True}),
    "singletons": ((ANCHORS,), {"labels": [*range(5)], "exclude_diagonal": True}),
    "duplicates": (
        (DUPLICATES,),
        {"labels": [0, 0, 1, 1, 2, 2], "exclude_diagonal": True, "normalize": True},
    ),
    "rows of zeros": ((0 * ANCHORS,), {"labels": LABELS, "normalize": True}),
    "no anchors": ((ANCHORS[:0], CANDIDATES), {}),
    "one of each": ((ANCHORS[:1], CANDIDATES[:1]), {}),
    "one id": ((ANCHORS, CANDIDATES), {"ids": [3] * 5}),
    "large scores": ((1e3 * ANCHORS, 1e3 * CANDIDATES), {"temperature": 2.0**-10}),
}
KINDS: dict[str, Any] = {
    "own": {"denominator": "own"},
    "negatives": {"denominator": "negatives"},
    "smoothing": {"label_smoothing": 0.5},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["numpy", "torch"])
@pytest.mark.parametrize("edge", EDGES)
def test_edges_have_their_values_and_finite_gradients(edge, name, kind):
    arrays, given = EDGES[edge]
    given = {**given, **KINDS[kind]}
    library = Library(name)
    own = [library.asarray(x, "float32") for x in arrays]
    solve = metricops.value_and_grad(metricops.npairs_loss_from_embeddings)
    expected = definition(*(x.tolist() for x in arrays), sides=len(arrays), **given)
    for block_size in (None, 2):
        value, found = solve(*own, block_size=block_size, **given)
        np.testing.assert_allclose(library.to_numpy(value), expected, 2e-5, 1e-5)
        slopes = [library.to_numpy(x) for x in found.values()]
        assert all(np.all(np.isfinite(x)) for x in slopes)
        if expected == 0:
            assert not any(np.any(x) for x in slopes)


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_computed_in_float32(gradient, kind):
    given = {**KINDS[kind], "temperature": 2.0**-10, "block_size": 2}
    halves = [x.astype(np.float16) for x in (ANCHORS, CANDIDATES)]
    call = metricops.npairs_loss_from_embeddings
    found = gradient(call, *halves, reduction="sum", sample_weight=2.0**-10, **given)
    wide = (x.astype(np.float32) for x in halves)
    expected = gradient(call, *wide, reduction="sum", sample_weight=2.0**-10, **given)
    for got, want in zip(found, expected, strict=True):
        assert got.dtype == np.float16
        np.testing.assert_allclose(got, want, rtol=2e-3, atol=1e-3)


def test_an_anchor_left_out_may_hold_a_nan(gradient):
    anchors = np.concatenate([ANCHORS[:4], np.full((1, 3), np.nan)])
    labels = {"labels": [0, 1, 0, 1, 9], "candidate_labels": [0, 1, 2, 0, 1]}
    for kind in KINDS.values():
        _, of_candidates = gradient(
            metricops.npairs_loss_from_embeddings, anchors, CANDIDATES, **labels, **kind
        )
        _, expected = gradient(
            metricops.npairs_loss_from_embeddings,
            ANCHORS[:4],
            CANDIDATES,
            labels=[0, 1, 0, 1],
            candidate_labels=labels["candidate_labels"],
            **kind,
        )
        np.testing.assert_allclose(of_candidates, expected, atol=1e-12)


def forward(library: Library, function: Any, arrays: Any, along: Any) -> Any:
    """Return the derivative along tangents, by forward mode."""
    arrays, along = (tuple(map(library.asarray, x)) for x in (arrays, along))
    if library.name == "torch":
        return library.module.func.jvp(function, arrays, along)[1]
    if library.name == "jax":
        return require("jax").jvp(function, arrays, along)[1]
    with library.module.autodiff.ForwardAccumulator(arrays, along) as accumulator:
        value = function(*arrays)
    return accumulator.jvp(value)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
@pytest.mark.parametrize("option", ["ids and bias", "smoothing and ids", "own and ids"])
def test_forward_mode_is_the_gradient(framework, option):
    arrays, given = call_of("labels", option) or ((), {})
    bias, rest = split(given)
    every = [*arrays, *bias]
    along = [np.cos(np.arange(x.size)).reshape(x.shape) for x in every]

    def total(*moved: Any) -> float:
        return definition(*moved, sides=2, **rest)

    slopes = numeric_gradient(total, *every)
    expected = sum(np.sum(x * y) for x, y in zip(slopes, along, strict=True))
    call = partial(loss, sides=2, block_size=2, **rest)
    with framework.x64():
        found = framework.to_numpy(forward(framework, call, every, along))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("option", ["ids and bias", "smoothing and ids", "negatives"])
def test_second_derivatives_are_right(torch, option):
    arrays, given = call_of("labels", option) or ((), {})
    bias, rest = split(given)
    every = [torch.tensor(x, requires_grad=True) for x in (*arrays, *bias)]
    call = partial(loss, sides=2, block_size=2, **rest)
    assert torch.autograd.gradgradcheck(call, every)


@pytest.mark.parametrize("name", ["torch", "flax", "linen"])
def test_modules_take_the_options(name):
    adapter = require(f"metricops.adapters.{name}")
    library = Library("torch" if name == "torch" else "jax")
    x, y, bias = (library.asarray(x, "float32") for x in (ANCHORS, MORE, BIAS))
    ids, others = library.asarray(IDS, "int32"), library.asarray(MORE_IDS, "int32")
    given = {"ids": ids, "candidate_ids": others, "candidate_bias": bias}
    for static in KINDS.values():
        module: Any = adapter.NPairsEmbeddingLoss(0.5, **static)
        call = partial(module.apply, {}) if name == "linen" else module
        expected = embeddings_loss(
            ANCHORS.tolist(),
            MORE.tolist(),
            temperature=0.5,
            ids=IDS,
            candidate_ids=MORE_IDS,
            candidate_bias=BIAS.tolist(),
            **static,
        )
        found = library.to_numpy(call(x, y, **given))
        np.testing.assert_allclose(found, expected, rtol=2e-5)


def test_the_loss_of_keras_takes_the_options():
    keras = require("metricops.adapters.keras")
    for static in KINDS.values():
        made = keras.NPairsEmbeddingLoss(temperature=0.5, **static)
        again = keras.NPairsEmbeddingLoss.from_config(made.get_config())
        pairs = np.stack([ANCHORS, CANDIDATES], axis=1).astype(np.float32)
        expected = embeddings_loss(
            ANCHORS.tolist(), CANDIDATES.tolist(), temperature=0.5, **static
        )
        found = [np.asarray(one(None, pairs)) for one in (made, again)]
        np.testing.assert_allclose(found, expected, rtol=2e-5)
