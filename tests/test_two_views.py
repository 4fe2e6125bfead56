"""Barlow Twins and VICReg: against their definitions, on every library, and edges."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metricops
from tests.conftest import having
from tests.definitions import numeric_gradient

_GENERATOR = np.random.default_rng(29)
TALL = np.round(_GENERATOR.standard_normal((2, 6, 3)), 2)
WIDE = np.round(_GENERATOR.standard_normal((2, 4, 6)), 2)
LARGE = _GENERATOR.standard_normal((2, 140, 130))  # features in several panels
LOW = _GENERATOR.standard_normal((2, 100, 130))  # rows in several panels
WORD: Any = "0.1"
OPTIONS: dict[str, Any] = {
    "invariance": 2.0,
    "variance": 3.0,
    "covariance": 0.5,
    "epsilon": 1e-3,
    "ddof": 0,
}
FILE = np.load(Path(__file__).parent / "data" / "view_losses.npz")
CASES = json.loads(bytes(FILE["manifest"]))


def barlow_twins(first: Any, second: Any, off_diagonal_weight: float = 5e-3) -> float:
    """Return the loss as the paper has it, of features that all vary."""
    first, second = (np.asarray(x, np.float64) for x in (first, second))
    first, second = ((x - x.mean(0)) / x.std(0) for x in (first, second))
    c = first.T @ second / len(first)
    own = np.diag(c)
    others = (c**2).sum() - (own**2).sum()
    return float(((1 - own) ** 2).sum() + off_diagonal_weight * others)


def vicreg(
    first: Any,
    second: Any,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    epsilon: float = 1e-4,
    ddof: int = 1,
) -> float:
    """Return the loss as the paper has it."""
    first, second = (np.asarray(x, np.float64) for x in (first, second))
    loss = invariance * ((first - second) ** 2).mean()
    for x in (first, second):
        deviations = np.sqrt(x.var(0, ddof=ddof) + epsilon)
        loss += variance / 2 * np.maximum(1 - deviations, 0).mean()
        c = np.cov(x.T)
        loss += covariance * ((c**2).sum() - (np.diag(c) ** 2).sum()) / x.shape[1]
    return float(loss)


LOSSES: dict[str, Any] = {
    "barlow": (metricops.barlow_twins_loss, barlow_twins, {"off_diagonal_weight": 0.1}),
    "vicreg": (metricops.vicreg_loss, vicreg, OPTIONS),
}
losses = pytest.mark.parametrize("name", LOSSES)
views = pytest.mark.parametrize("views", [TALL, WIDE], ids=["tall", "wide"])


def both(loss: Any, **options: Any) -> Any:
    def call(first: Any, second: Any) -> Any:
        value, found = metricops.value_and_grad(loss)(first, second, **options)
        return value, found["first"], found["second"]

    return call


@losses
@views
def test_values_and_gradients_are_those_of_the_papers(run, name, views):
    loss, definition, options = LOSSES[name]
    with run.library.x64():
        found = run(both(loss, **options), *views)
    assert found[0] == pytest.approx(definition(*views, **options), rel=1e-10)
    expected = numeric_gradient(lambda x, y: definition(x, y, **options), *views)
    for gradient, slopes in zip(found[1:], expected, strict=True):
        np.testing.assert_allclose(gradient, slopes, atol=1e-6)


@losses
@views
def test_autodiff_gives_the_same_gradients(gradient, name, views):
    loss, _, options = LOSSES[name]
    _, *expected = both(loss, **options)(*views)
    found = gradient(loss, *views, upstream=2.0, **options)
    for got, slopes in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, 2 * slopes, atol=1e-9)


@losses
def test_they_are_right_when_traced(traced, name):
    loss, definition, options = LOSSES[name]
    for pair in (TALL, WIDE):
        found = traced(loss, *pair, **options)
        assert found == pytest.approx(definition(*pair, **options), rel=1e-5)


@losses
def test_gradients_are_right_when_traced(traced_gradient, name):
    loss, _, options = LOSSES[name]
    _, *expected = both(loss, **options)(*WIDE)
    found = traced_gradient(loss, *WIDE, **options)
    for got, slopes in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, slopes, atol=1e-6)


@losses
@pytest.mark.parametrize("views", [LARGE, LOW], ids=["features", "rows"])
def test_several_panels_give_the_same(run, monkeypatch, name, views):
    loss, definition, options = LOSSES[name]
    pair = views.astype(np.float32)
    _, *expected = both(loss, **options)(*views)
    lib = metricops._frameworks.library("x", run.library.asarray(pair[0]))
    monkeypatch.setattr(type(lib), "panel", 1)
    value, *found = run(both(loss, **options), *pair)
    assert value == pytest.approx(definition(*views, **options), rel=1e-5)
    for got, slopes in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, slopes, atol=1e-5 * abs(slopes).max())


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
@losses
def test_derivatives_of_gradients_are_right(torch, name):
    loss, _, options = LOSSES[name]
    x, y = (torch.tensor(view) for view in WIDE)

    def of_first(first: Any) -> Any:
        return torch.func.grad(lambda z: loss(z, y, **options))(first)

    found = torch.func.jvp(of_first, (x,), (y,))[1]
    ahead, behind = (of_first(x + step * y) for step in (1e-5, -1e-5))
    np.testing.assert_allclose(found, (ahead - behind) / 2e-5, rtol=1e-4, atol=1e-5)


def test_values_and_gradients_are_those_of_the_originals():
    words = {
        "lambda_": "invariance",
        "mu": "variance",
        "nu": "covariance",
        "std_const": "epsilon",
        "invariance_lambda": "invariance",
        "variance_mu": "variance",
        "covariance_v": "covariance",
        "eps": "epsilon",
    }
    seen = 0
    for case in CASES:
        if case["op"] == "Barlow":
            loss: Any = metricops.barlow_twins_loss
            given = {"off_diagonal_weight": case["params"].get("lambda_", 5e-3)}
        elif case["op"] in ("VicReg", "VICRegLoss") and case["data"] != "views_one":
            # TensorFlow Similarity gives NaN for a batch of one.
            loss = metricops.vicreg_loss
            given = {words[key]: float(x) for key, x in case["params"].items()}
            given["ddof"] = 0 if case["op"] == "VicReg" else 1
        else:
            continue
        pair = (FILE[f"data/{case['data']}/{side}"] for side in ("first", "second"))
        value, *found = both(loss, **given)(*pair)
        assert value == pytest.approx(float(FILE[f"{case['case']}/loss"]), rel=2e-5)
        for got, side in zip(found, ("first", "second"), strict=True):
            wanted = FILE[f"{case['case']}/grad_{side}"]
            limit = 1e-3 * max(abs(wanted).max(), 1e-6)
            np.testing.assert_allclose(got, wanted, atol=limit, err_msg=str(case))
        seen += 1
    assert seen > 20


def test_one_row_and_none(run):
    row, none = np.asarray([[1.0, -2.0, 0.5]], "float32"), np.zeros((0, 3), "float32")
    for loss, expected in (
        (metricops.barlow_twins_loss, 3.0),
        (metricops.vicreg_loss, 25 * (row**2).mean()),
    ):
        value, *found = run(both(loss), row, 2 * row)
        assert value == pytest.approx(expected, rel=1e-6)
        assert np.isfinite(found).all()
        value, *found = run(both(loss), none, none)
        assert value == 0
        assert found[0].shape == (0, 3)


def test_a_constant_feature_correlates_with_none(run):
    first, second = TALL.astype(np.float32)
    first[:, 1] = 0.1  # the rounded mean of which is another number
    value, of_first, of_second = run(both(metricops.barlow_twins_loss), first, second)
    kept = [0, 2]
    expected = barlow_twins(first[:, kept], second[:, kept], 0.0) + 1
    without = {"off_diagonal_weight": 0.0}
    found = run(metricops.barlow_twins_loss, first, second, **without)
    assert found == pytest.approx(expected, rel=1e-5)
    np.testing.assert_array_equal(of_first[:, 1], 0)
    assert np.isfinite([*of_first, *of_second, [value] * 3]).all()
    assert np.isfinite(run(both(metricops.vicreg_loss), first, second)[1]).all()


def test_large_and_small_features_are_standardised(run):
    first, second = TALL.astype(np.float32)
    expected = metricops.barlow_twins_loss(first, second)
    for scale in (1e30, 1e-30):
        by = np.asarray([scale, 1.0, scale], np.float32)
        value, *found = run(both(metricops.barlow_twins_loss), first * by, second)
        assert value == pytest.approx(float(expected), rel=1e-5)
        assert np.isfinite(found).all()


def test_huge_features_correlate_as_others_do(run):
    first, second = TALL.astype(np.float32)
    expected = metricops.barlow_twins_loss(first, second)
    huge = first / abs(first).max(0) * np.float32(3e38)
    value, *found = run(both(metricops.barlow_twins_loss), huge, second)
    assert value == pytest.approx(float(expected), rel=1e-5)
    assert np.isfinite(found).all()


@having("run", "dtype", ["float16", "bfloat16"])
@losses
def test_half_precision_is_computed_in_float32(run, name, dtype):
    loss, *_ = LOSSES[name]
    pair = [run.library.asarray(x, dtype) for x in TALL]
    expected = run(loss, *(run.library.cast(x, "float32") for x in pair))
    assert run(loss, *pair) == pytest.approx(float(expected), rel=1e-2)
    _, found = metricops.value_and_grad(loss)(*pair)
    assert run.library.dtype_of(found["first"]) == dtype


def test_mistakes_are_refused():
    x, y = TALL
    with pytest.raises(ValueError, match="`second` must have the shape of `first`"):
        metricops.barlow_twins_loss(x, y[:3])
    with pytest.raises(ValueError, match=r"`first` must have shape \(n, d\); got"):
        metricops.vicreg_loss(x[0], y[0])
    with pytest.raises(TypeError, match="`off_diagonal_weight` must be a number; got"):
        metricops.barlow_twins_loss(x, y, off_diagonal_weight=WORD)
    with pytest.raises(ValueError, match="`epsilon` must be positive and finite; got"):
        metricops.vicreg_loss(x, y, epsilon=0)
    with pytest.raises(ValueError, match="`ddof` must be at least 0; got -1"):
        metricops.vicreg_loss(x, y, ddof=-1)
