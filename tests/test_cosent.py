"""The CoSENT loss: against its definition, on every library, and edges."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metricops
from tests.conftest import having, require
from tests.definitions import numeric_gradient

_GENERATOR = np.random.default_rng(31)
S = np.round(_GENERATOR.uniform(-1, 1, 9), 2)
SCORES = [0.5, 1.0, 0.0, 0.5, 0.25, 1.0, 0.0, 0.75, 0.5]
FILE = np.load(Path(__file__).parent / "data" / "view_losses.npz")
loss = metricops.cosent_loss


def cosent(s: Any, scores: Any, temperature: Any = 0.05) -> float:
    """Return the loss from the differences of all pairs."""
    s, scores = np.asarray(s, np.float64), np.asarray(scores)
    apart = (s[:, None] - s[None, :]) / temperature
    kept = apart[scores[:, None] < scores[None, :]]
    return float(np.logaddexp.reduce([0.0, *kept]))


def both(s: Any, temperature: Any) -> Any:
    call = metricops.value_and_grad(loss)
    value, found = call(s, SCORES, temperature=temperature)
    return value, found["similarities"], found["temperature"]


def test_values_and_gradients_are_those_of_all_pairs(run):
    temperature = np.asarray(0.1)
    with run.library.x64():
        value, *found = run(both, S, temperature)
    expected = numeric_gradient(lambda s, t: cosent(s, SCORES, t), S, temperature)
    assert value == pytest.approx(cosent(S, SCORES, 0.1), rel=1e-12)
    for got, slopes in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, slopes, atol=1e-6)


def test_autodiff_gives_the_same_gradients(gradient):
    (found,) = gradient(lambda s: loss(s, SCORES), S, upstream=2.0)
    (expected,) = numeric_gradient(lambda s: cosent(s, SCORES), S)
    np.testing.assert_allclose(found, 2 * expected, atol=1e-5)


def test_second_derivatives_are_those_of_the_first(framework):
    step, along = 1e-5, _GENERATOR.standard_normal(len(S))

    def slope(s: Any) -> Any:
        return metricops.value_and_grad(loss)(s, SCORES)[1]["similarities"]

    expected = (slope(S + step * along) - slope(S - step * along)) / (2 * step)
    with framework.x64():
        s, t = framework.asarray(S), framework.asarray(along)
        if framework.name == "torch":
            s.requires_grad_()
            (first,) = framework.module.autograd.grad(
                loss(s, SCORES), s, create_graph=True
            )
            (found,) = framework.module.autograd.grad((first * t).sum(), s)
        elif framework.name == "jax":
            jax = require("jax")
            first = jax.grad(lambda s: loss(s, SCORES))
            found = jax.jit(lambda s: jax.jvp(first, (s,), (t,))[1])(s)
        else:
            tf = framework.module
            with tf.GradientTape() as outer:
                outer.watch(s)
                with tf.GradientTape() as inner:
                    inner.watch(s)
                    value = loss(s, SCORES)
                total = tf.reduce_sum(inner.gradient(value, s) * t)
            found = outer.gradient(total, s)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_it_is_right_when_traced(traced):
    s, scores = S.astype(np.float32), np.asarray(SCORES, np.float32)
    assert traced(loss, s, scores) == pytest.approx(cosent(S, SCORES), rel=1e-5)


def test_gradients_are_right_when_traced(traced_gradient):
    (expected,) = numeric_gradient(lambda s: cosent(s, SCORES), S)
    (found,) = traced_gradient(lambda s: loss(s, SCORES), S)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_values_and_gradients_are_those_of_sentence_transformers():
    torch = require("torch")
    (case,) = [
        x for x in json.loads(bytes(FILE["manifest"])) if x["op"] == "CoSENTLoss"
    ]
    pair = [
        torch.tensor(FILE[f"data/scored/{side}"], requires_grad=True)
        for side in ("first", "second")
    ]
    similarities = metricops.cosine_similarity(*pair)
    value = loss(similarities, FILE["data/scored/scores"])
    found = torch.autograd.grad(value, pair)
    assert value.item() == pytest.approx(float(FILE[f"{case['case']}/loss"]), rel=2e-5)
    for got, side in zip(found, ("first", "second"), strict=True):
        wanted = FILE[f"{case['case']}/grad_{side}"]
        np.testing.assert_allclose(got, wanted, atol=1e-3 * abs(wanted).max())


def test_many_pairs_and_far_similarities(run):
    many = np.round(_GENERATOR.uniform(-1, 1, 700), 3).astype(np.float32)
    scores = np.arange(700) % 11
    assert run(loss, many, scores) == pytest.approx(cosent(many, scores), rel=2e-6)
    # Relative to the least similarity, exponentials of the others would be 0.
    far = np.asarray([500.0, 400.0, 0.0], np.float32)
    assert run(loss, far, [0, 1, -1], temperature=1.0) == pytest.approx(100, rel=1e-6)


def test_equal_scores_one_row_and_none(run):
    def gradients(s: Any, scores: Any) -> Any:
        value, found = metricops.value_and_grad(loss)(s, scores)
        return value, found["similarities"]

    for count in (4, 1, 0):
        scores = [2] * count
        value, found = run(gradients, S[:count].astype(np.float32), scores=scores)
        assert value == 0
        np.testing.assert_array_equal(found, np.zeros(count))


def test_zeros_of_both_signs_are_one_score(run):
    s = S[:4].astype(np.float32)
    found = run(loss, s, scores=np.asarray([0.0, -0.0, -0.0, 0.0], np.float32))
    assert found == 0


def test_scores_that_a_device_would_round_keep_their_order(run):
    s = S[:3].astype(np.float32)
    expected = cosent(s, [0, 1, 1])
    for less, more in ((2**24, 2**24 + 1), (2**53, 2**53 + 1), (1.0, 1.0 + 1e-9)):
        scores: list[float] = [less, more, more]
        assert run(loss, s, scores=scores) == pytest.approx(expected, rel=1e-5)
        assert np.isnan(run(loss, s, scores=[1.0, 1.0 + 1e-9, float("nan")]))


def test_what_is_no_number_comes_out(run):
    s = S.astype(np.float32)
    assert np.isnan(run(loss, np.where(s == s[2], np.float32(np.nan), s), SCORES))
    assert np.isnan(run(loss, s, [float("nan"), *SCORES[1:]]))


def test_checks_of_jax_find_no_nan_in_a_call_that_is_right():
    jax = require("jax")
    checkify = pytest.importorskip("jax.experimental.checkify")
    run = checkify.checkify(
        jax.value_and_grad(lambda s: loss(s, SCORES)), errors=checkify.float_checks
    )
    for bad in (False, True):
        s = np.where((S[2] == S) & bad, np.nan, S).astype(np.float32)
        error, (value, _) = jax.jit(run)(jax.numpy.asarray(s))
        assert (error.get() is not None) == bad
        assert np.isnan(value) == bad


@having("run", "dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(run, dtype):
    s = run.library.asarray(S, dtype)
    expected = run(loss, run.library.cast(s, "float32"), SCORES)
    assert run(loss, s, SCORES) == pytest.approx(float(expected), rel=1e-2)


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="`scores` must have a score for each of 9"):
        loss(S, SCORES[1:])
    with pytest.raises(ValueError, match=r"`similarities` must have shape \(n,\); got"):
        loss(S[None], SCORES)
    with pytest.raises(ValueError, match="`temperature` must be positive and finite"):
        loss(S, SCORES, temperature=0)
