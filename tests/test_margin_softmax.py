"""The softmax with a margin against its definition, and at its edges."""

from typing import Any

import numpy as np
import pytest

import metricops
from tests.conftest import Gradient, Library, Run
from tests.definitions import numeric_gradient
from tests.family_definitions import margin_softmax_loss
from tests.test_sibling_losses import blocks_of

loss: Any = metricops.margin_softmax_loss_from_embeddings
_GENERATOR = np.random.default_rng(29)
X = np.round(_GENERATOR.standard_normal((5, 3)), 2)
PROXIES = np.round(_GENERATOR.standard_normal((4, 3)), 2)
LABELS = [0, 3, -1, 1, 4]  # two are out of range
WEIGHTS = [1.0, 0.5, 3.0, 2.0, 1.5]
OPTIONS: dict[str, dict[str, Any]] = {
    "cosface": {"scale": 8.0},
    "arcface": {"scale": 8.0, "margin": 0.0, "angular_margin": 0.5},
    "beyond pi": {"scale": 4.0, "margin": 0.1, "angular_margin": 2.5},
    "normface": {"scale": 4.0, "margin": 0.0},
    "normface, smoothed": {"scale": 4.0, "margin": 0.0, "label_smoothing": 0.3},
    "arcface, smoothed": {"angular_margin": 0.5, "label_smoothing": 0.1},
}
options = pytest.mark.parametrize("option", OPTIONS)
TRACED = ("arcface, smoothed",)


def check_value(run: Run, option: str, block_size: Any) -> None:
    given = {**OPTIONS[option], "sample_weight": WEIGHTS}
    result = run(loss, X, PROXIES, labels=LABELS, block_size=block_size, **given)
    expected = margin_softmax_loss(X.tolist(), PROXIES.tolist(), LABELS, **given)
    np.testing.assert_allclose(result, expected, rtol=2e-5, atol=2e-6)


def check_gradient(
    gradient: Any, option: str, block_size: Any, reduction: str = "mean"
) -> None:
    given = {**OPTIONS[option], "sample_weight": WEIGHTS, "reduction": reduction}
    upstream: Any = [1.0, -2.0, 0.5, 3.0, 0.25] if reduction == "none" else 1.0

    def total(x: Any, proxies: Any) -> float:
        rows = margin_softmax_loss(x, proxies, LABELS, **given)
        return float(np.sum(np.multiply(upstream, rows)))

    expected = numeric_gradient(total, X, PROXIES)
    given |= {"labels": LABELS, "block_size": block_size, "upstream": upstream}
    found = gradient(loss, X, PROXIES, **given)
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


@options
def test_values_are_right(run, option):
    if run.library.name not in ("jax", "dask") or option in TRACED:
        for block_size in blocks_of(run.library.name):
            check_value(run, option, block_size)


@options
def test_gradients_are_right(gradient, option):
    if gradient.library.name == "torch" or option in TRACED:
        for block_size in blocks_of(gradient.library.name):
            check_gradient(gradient, option, block_size)


@pytest.mark.parametrize("option", TRACED)
def test_values_are_right_when_traced(traced, option):
    check_value(traced, option, 2)


@pytest.mark.parametrize("option", TRACED)
def test_gradients_are_right_when_traced(traced_gradient, option):
    check_gradient(traced_gradient, option, 2)


# What follows is of the kernel: one framework has the gradients.
@pytest.fixture
def slopes() -> Gradient:
    return Gradient(Library("torch"), "eager")


@pytest.mark.parametrize("reduction", ["sum", "weighted_mean", "none"])
def test_each_reduction_has_the_gradient_that_it_should(slopes, reduction):
    for block_size in (2, None):
        check_gradient(slopes, "arcface", block_size, reduction)


@options
def test_values_and_gradients_need_no_autodiff(option):
    named = {"embeddings": X, "proxies": PROXIES, "sample_weight": np.asarray(WEIGHTS)}

    def total(x: Any, proxies: Any, weights: Any) -> float:
        given = {**OPTIONS[option], "sample_weight": weights}
        return float(margin_softmax_loss(x, proxies, LABELS, **given))

    expected = numeric_gradient(total, *named.values())
    both = metricops.value_and_grad(loss)
    _, found = both(**named, labels=LABELS, **OPTIONS[option])
    assert set(found) == set(named)
    for name, want in zip(named, expected, strict=True):
        np.testing.assert_allclose(found[name], want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("way", ["plain", "panels"])
def test_a_row_that_is_its_proxy_has_a_finite_gradient(gradient, way):
    x = np.asarray([[1.0, 2.0, 3.0], [-0.3, 0.1, 0.7], [0.0, 0.0, 0.0]], np.float32)
    given = {"labels": [0, 1, 2], "margin": 0.0, "angular_margin": 0.5}
    if gradient.library.name != "torch" and way == "panels":
        return
    # Its own proxies, one of them turned around, and a zero row.
    proxies = x * np.asarray([[2.0], [-1.0], [1.0]], np.float32)
    block_size = 1 if way == "panels" else None
    found = gradient(loss, x, proxies, **given, block_size=block_size)
    assert all(np.isfinite(side).all() for side in found)
    assert all((abs(side) < 100).all() for side in found)
    np.testing.assert_array_equal(found[0][2], 0)


def test_labels_out_of_range_take_no_part(run):
    labels = np.asarray([0, 2**40, -1, 4, 3])
    if run.library.name == "jax":
        return
    rows = run(loss, X, PROXIES, labels=labels, reduction="none")
    expected = margin_softmax_loss(
        X.tolist(), PROXIES.tolist(), labels.tolist(), reduction="none"
    )
    np.testing.assert_allclose(rows, expected, rtol=2e-5)
    spoilt = X.copy()
    spoilt[1:4] = np.nan
    assert run(loss, spoilt, PROXIES, labels=labels) == pytest.approx(sum(rows) / 2)
    assert run(loss, X, PROXIES, labels=[-1] * 5) == 0
    assert run(loss, X[:0], PROXIES, labels=labels[:0]) == 0


@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint64", "float16", "float64"])
def test_labels_of_any_dtype_are_indices(run, dtype):
    if run.library.name == "jax" and dtype[-2:] == "64":
        return
    proxies = np.ones((70_000, 1), np.float32)  # too many to count in few bits
    proxies[3] = -1
    labels = np.asarray([3, 100], dtype)
    lacking = {("torch", "uint64"), ("array_api_strict", "float16")}
    if (run.library.name, dtype) not in lacking:
        labels = run.library.asarray(labels)
    rows = run(loss, proxies[2:4], proxies, labels=labels, reduction="none")
    expected = np.log(69_999) + 64 * 2.35, 64 * 2.35
    np.testing.assert_allclose(rows, expected, rtol=1e-6)


def test_labels_that_are_no_index_take_no_part(run):
    for labels in ([0.5, np.nan, np.inf, -np.inf, -1.0], [4, 5, -1, 127, -128]):
        given = run.library.asarray(np.asarray(labels, np.float32))
        assert run(loss, X, PROXIES, labels=given) == 0
        assert run(loss, X, PROXIES, labels=labels) == 0


def test_without_classes_no_row_takes_part(gradient):
    found = gradient(loss, X, PROXIES[:0], labels=LABELS)
    np.testing.assert_array_equal(found[0], np.zeros_like(X))
    assert found[1].shape == (0, 3)


def test_class_indices_are_exact_in_jax():
    run, x = Run(Library("jax"), "jit"), np.eye(3, dtype=np.float32)
    rows = run(loss, x, x, labels=np.asarray([0, 2**32 + 1, 2]), reduction="none")
    assert [float(row) > 0 for row in rows] == [True, False, True]


def test_half_precision_is_computed_in_float32():
    run = Run(Library("torch"), "eager")
    for dtype in ("float16", "bfloat16"):
        x, proxies = (run.library.asarray(side, dtype) for side in (X, PROXIES))
        found = run(loss, x, proxies, labels=LABELS)
        wide = (run.library.cast(side, "float32") for side in (x, proxies))
        np.testing.assert_allclose(found, run(loss, *wide, labels=LABELS), rtol=1e-2)


def test_a_small_loss_keeps_its_digits():
    x = X.astype(np.float32)
    given = {"labels": range(5), "margin": -0.1}
    found, exact = (loss(y, y, **given) for y in (x, x.astype(np.float64)))
    assert 0 < exact < 1e-3
    np.testing.assert_allclose(found, exact, rtol=1e-4)


def test_one_class_costs_nothing(slopes):
    found = slopes(loss, X, PROXIES[:1], labels=[0] * 5, angular_margin=0.5)
    assert all((side == 0).all() for side in found)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"proxies": PROXIES[:, :2]}, ValueError, r"`proxies` must have shape \(c, 3"),
        ({"embeddings": X[0]}, ValueError, r"`embeddings` must have shape \(n, d\)"),
        (
            {"labels": LABELS[:3]},
            ValueError,
            "`labels` must have a label for each of 5",
        ),
        ({"labels": list("abcde")}, TypeError, "`labels` must be of numbers of class"),
        ({"labels": np.eye(5)}, ValueError, r"`labels` must have shape \(n,\) or \(n"),
        ({"scale": 0}, ValueError, "`scale` must be positive and finite; got 0"),
        ({"margin": float("nan")}, ValueError, "`margin` must be a number; got nan"),
        ({"angular_margin": 28.6}, ValueError, "`angular_margin` must be from 0 to pi"),
        ({"label_smoothing": 2}, ValueError, "`label_smoothing` must be from 0 to 1"),
        ({"reduction": "all"}, ValueError, '`reduction` must be "mean", "sum", "wei'),
    ],
)
def test_mistakes_are_refused(given, error, message):
    arguments = {"embeddings": X, "proxies": PROXIES, "labels": LABELS, **given}
    with pytest.raises(error, match=message):
        loss(**arguments)


@pytest.mark.parametrize("kind", [list, np.asarray], ids=["list", "numpy"])
def test_labels_of_a_compiled_loss_may_be_a_list(torch, kind):
    generator = np.random.default_rng(0)
    rows = torch.tensor(generator.standard_normal((4, 3)))
    labels = kind([2, -1, 0, 7])

    def loss(x):
        return metricops.margin_softmax_loss_from_embeddings(x, rows[:3], labels)

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    assert compiled(rows).item() == pytest.approx(loss(rows).item())
