"""The lifted structure loss against its definition, and at its edges."""

from typing import Any

import numpy as np
import pytest

import metricops
from tests.conftest import Gradient, Library, Run
from tests.definitions import numeric_gradient
from tests.family_definitions import lifted_structure_loss
from tests.test_sibling_losses import blocks_of

loss: Any = metricops.lifted_structure_loss_from_embeddings
X = np.round(np.random.default_rng(31).standard_normal((7, 3)), 2)
LABELS: dict[str, Any] = {
    "labels": [0, 2, 1, 1, 0, 2, 0],
    "multihot": [*np.eye(3, dtype=int).tolist(), *[[1, 1, 1], [1, 0, 0]] * 2],
    "one class": [1] * 7,
    "singletons": list(range(7)),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "": {},
    "sum": {"reduction": "sum", "margin": -0.5},
    "squares": {"metric": "squared_euclidean", "margin": 0.5, "normalize": True},
    "cosines": {"metric": "cosine"},
}
options = pytest.mark.parametrize("option", OPTIONS)
TRACED = ("",)


def check_value(run: Run, words: str, option: str, block_size: Any) -> None:
    given, labels = OPTIONS[option], LABELS[words]
    result = run(loss, X, labels=labels, block_size=block_size, **given)
    expected = lifted_structure_loss(X.tolist(), labels, **given)
    np.testing.assert_allclose(result, expected, rtol=2e-5, atol=2e-6)


def check_gradient(gradient: Any, words: str, option: str, block_size: Any) -> None:
    given, labels = OPTIONS[option], LABELS[words]

    def total(x: Any) -> float:
        return float(lifted_structure_loss(x, labels, **given))

    (expected,) = numeric_gradient(total, X)
    (found,) = gradient(loss, X, labels=labels, block_size=block_size, **given)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@options
def test_values_are_right(run, option):
    if run.library.name not in ("jax", "dask") or option in TRACED:
        for words in LABELS if run.library.name in ("numpy", "torch") else ["labels"]:
            for block_size in blocks_of(run.library.name):
                check_value(run, words, option, block_size)


@options
def test_gradients_are_right(gradient, option):
    if gradient.library.name == "torch":
        for words in LABELS:
            for block_size in blocks_of("torch"):
                check_gradient(gradient, words, option, block_size)
    elif option in TRACED:
        check_gradient(gradient, "labels", option, 2)


def test_lifted_values_are_right_when_traced(traced):
    check_value(traced, "labels", "", 2)


def test_lifted_gradients_are_right_when_traced(traced_gradient):
    check_gradient(traced_gradient, "labels", "", 2)


@pytest.mark.parametrize("words", LABELS)
def test_values_and_gradients_need_no_autodiff(words):
    labels = LABELS[words]
    expected = numeric_gradient(lambda x: lifted_structure_loss(x, labels), X)
    _, found = metricops.value_and_grad(loss)(X, labels)
    assert list(found) == ["embeddings"]
    np.testing.assert_allclose(found["embeddings"], expected[0], atol=1e-6)


def test_edges_are_finite():
    gradient = Gradient(Library("torch"), "eager")
    x = np.asarray([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0], [0.0, 0.0]], np.float32)
    for metric in ("euclidean", "squared_euclidean", "cosine"):
        for labels in ([0, 1, 0, 1], [0, 0, 1, 1], [0, 1, 2, 3], [0, 0, 0, 0]):
            (found,) = gradient(loss, x, labels=labels, metric=metric)
            assert np.isfinite(found).all()
            if len(set(labels)) != 2:
                np.testing.assert_array_equal(found, 0 * x)
    far = x * np.float32(1e4) + np.arange(4, dtype=np.float32)[:, None]
    for block_size in (1, None):
        given = {"labels": [0, 1, 0, 1], "margin": 1e3, "block_size": block_size}
        (found,) = gradient(loss, far, **given)
        (exact,) = gradient(loss, far.astype(np.float64), **given)
        np.testing.assert_allclose(found, exact, atol=1e-5 * abs(exact).max())


def test_the_loss_of_nothing_is_zero(run):
    nothing = np.zeros((0, 3), np.float32)
    assert run(loss, nothing, labels=np.zeros((0,), np.int32)) == 0


def test_a_nan_comes_out():
    x = X.copy()
    x[1] = np.nan
    assert np.isnan(loss(x, LABELS["labels"]))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(dtype):
    run = Run(Library("torch"), "eager")
    x, labels = run.library.asarray(X, dtype), LABELS["labels"]
    found = loss(x, labels)
    assert run.library.dtype_of(found) == dtype
    expected = run(loss, run.library.cast(x, "float32"), labels=labels)
    np.testing.assert_allclose(run.library.to_numpy(found), expected, rtol=1e-2)


def test_mistakes_are_refused():
    labels = LABELS["labels"]
    with pytest.raises(ValueError, match='must be "mean", "sum" or "weighted_mean"; g'):
        loss(X, labels, reduction="none")
    with pytest.raises(ValueError, match="`labels` must be given; got None"):
        loss(X, None)
    with pytest.raises(ValueError, match=r"`embeddings` must have shape \(n, d\)"):
        loss(X[0], labels)
    with pytest.raises(ValueError, match="`margin` must be a number; got nan"):
        loss(X, labels, margin=float("nan"))
    with pytest.raises(ValueError, match="`labels` must have a label for each of 7"):
        loss(X, labels[:5])
