"""`softmax_cross_entropy`: rows are logits, targets are normalised to sum to 1."""

import math

import numpy as np
import pytest

from metricops import softmax_cross_entropy
from tests.definitions import cross_entropy_loss, numeric_gradient

INF, NAN = math.inf, math.nan
SIMILARITY = [[2.0, 0.0, 1.0, -1.0], [0.5, 2.0, 1.0, 0.25], [1.0, 1.5, 3.0, 0.0]]
TARGETS = [[1.0, 0.0, 2.0, 0.5], [0.0, 1.0, 0.0, 0.0], [0.25, 0.25, 0.0, 3.0]]
WEIGHTS = [0.5, 2.0, 1.5]
MASKED = [[2.0, -INF, 1.0, -1.0], [-INF, 2.0, 1.0, 0.25], [1.0, 1.5, -INF, -INF]]


@pytest.mark.parametrize("reduction", ["mean", "sum", "weighted_mean", "none"])
@pytest.mark.parametrize("weights", [None, 2.0, WEIGHTS], ids=["no", "one", "each"])
def test_it_is_its_definition(run, weights, reduction):
    expected = cross_entropy_loss(SIMILARITY, TARGETS, weights, reduction)
    result = run(
        softmax_cross_entropy,
        SIMILARITY,
        TARGETS,
        sample_weight=weights,
        reduction=reduction,
    )
    assert result.shape == np.shape(expected)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_it_is_its_definition_when_traced(traced, reduction):
    expected = cross_entropy_loss(SIMILARITY, TARGETS, WEIGHTS, reduction)

    def loss(similarity, targets, weights):
        return softmax_cross_entropy(
            similarity, targets, sample_weight=weights, reduction=reduction
        )

    result = traced(loss, SIMILARITY, TARGETS, WEIGHTS)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "float32"])
def test_targets_may_be_of_any_real_dtype(run, dtype):
    targets = np.asarray(TARGETS) > 0
    expected = cross_entropy_loss(SIMILARITY, targets.tolist())
    result = run(softmax_cross_entropy, SIMILARITY, targets.astype(dtype))
    np.testing.assert_allclose(result, expected, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_scale_of_targets_does_not_matter(run, scale):
    expected = cross_entropy_loss(SIMILARITY, TARGETS)
    scaled = (np.asarray(TARGETS) * scale).astype(np.float32)
    result = run(softmax_cross_entropy, SIMILARITY, scaled)
    np.testing.assert_allclose(result, expected, rtol=1e-5)


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_no_finite_logit_overflows(run, size):
    similarity = [[size, -size, 0.0], [-size, size, size], [size, size, size]]
    targets = [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 0.0]]
    result = run(softmax_cross_entropy, similarity, targets, reduction="none")
    np.testing.assert_allclose(result, [0.0, math.log(2), math.log(3)], rtol=1e-6)


def test_no_finite_logit_overflows_when_traced(traced):
    similarity = [[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]]
    targets = [[0.0, 1.0, 0.0], [0.0, 1.0, 1.0]]
    result = traced(softmax_cross_entropy, similarity, targets, reduction="none")
    np.testing.assert_allclose(result, [2e4, math.log(2)], rtol=1e-6)


def test_a_masked_pair_takes_no_part(run):
    expected = cross_entropy_loss(MASKED, TARGETS, None, "none")
    result = run(softmax_cross_entropy, MASKED, TARGETS, reduction="none")
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_a_masked_pair_takes_no_part_when_traced(traced):
    expected = cross_entropy_loss(MASKED, TARGETS, None, "none")
    result = traced(softmax_cross_entropy, MASKED, TARGETS, reduction="none")
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_a_row_with_nothing_left_is_left_out(run):
    similarity = [[-INF, -INF], [-INF, 0.5], [1.0, 2.0]]
    targets = [[1.0, 1.0], [1.0, 0.0], [1.0, 0.0]]
    expected = cross_entropy_loss(similarity, targets)
    assert expected > 1
    np.testing.assert_allclose(
        run(softmax_cross_entropy, similarity, targets), expected, rtol=1e-6
    )


def test_a_row_with_a_nan_is_nan_and_no_other(run):
    similarity = [[NAN, 0.0, 1.0], [0.0, NAN, 1.0], [1.0, 0.0, 0.0]]
    targets = [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    result = run(softmax_cross_entropy, similarity, targets, reduction="none")
    last = math.log(2 + math.e)
    np.testing.assert_allclose(result, [NAN, NAN, last], rtol=1e-6)


def test_a_row_with_a_nan_is_nan_when_traced(traced):
    # XLA's maximum drops a NaN: [1, NaN] -> 1.
    similarity = [[1.0, NAN, 0.0], [1.0, 0.0, 0.0]]
    targets = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    result = traced(softmax_cross_entropy, similarity, targets, reduction="none")
    np.testing.assert_allclose(result, [NAN, math.log(2 + math.e)], rtol=1e-6)


def test_a_nan_among_the_targets_is_no_missing_positive(run):
    targets = [[NAN, 0.0, 0.0], [0.0, 1.0, 0.0]]
    result = run(
        softmax_cross_entropy, [[1.0, 0.0, 0.0]] * 2, targets, reduction="none"
    )
    np.testing.assert_allclose(result, [NAN, math.log(2 + math.e)], rtol=1e-6)


@pytest.mark.parametrize("shape", [(0, 4), (0, 0), (3, 0)])
@pytest.mark.parametrize("reduction", ["mean", "sum", "weighted_mean"])
def test_the_loss_of_nothing_is_zero(run, shape, reduction):
    empty = np.zeros(shape, np.float32)
    result = run(softmax_cross_entropy, empty, empty, reduction=reduction)
    assert result.shape == ()
    assert result == 0


def test_an_empty_batch_has_no_losses(run):
    empty = np.zeros((0, 4), np.float32)
    assert run(softmax_cross_entropy, empty, empty, reduction="none").shape == (0,)


def test_the_loss_of_an_empty_batch_is_zero_when_traced(traced):
    empty = np.zeros((0, 4), np.float32)
    assert traced(softmax_cross_entropy, empty, empty) == 0


@pytest.mark.parametrize("reduction", ["mean", "sum", "weighted_mean"])
def test_the_gradient_is_that_of_the_definition(gradient, reduction):
    (expected,) = numeric_gradient(
        lambda s: cross_entropy_loss(s, TARGETS, WEIGHTS, reduction), SIMILARITY
    )
    (result,) = gradient(
        lambda s: softmax_cross_entropy(
            s, TARGETS, sample_weight=WEIGHTS, reduction=reduction
        ),
        np.asarray(SIMILARITY),
    )
    np.testing.assert_allclose(result, expected, atol=1e-8)


def test_the_gradient_is_that_of_the_definition_when_traced(traced_gradient):
    (expected,) = numeric_gradient(
        lambda s: cross_entropy_loss(s, TARGETS, WEIGHTS), SIMILARITY
    )
    (result,) = traced_gradient(
        lambda s: softmax_cross_entropy(s, TARGETS, sample_weight=WEIGHTS),
        np.asarray(SIMILARITY),
    )
    np.testing.assert_allclose(result, expected, atol=1e-8)


def masked_gradient():
    """Return the gradient at MASKED: of the logits that take part; else zero."""
    expected = np.zeros((3, 4))
    for i, row in enumerate(MASKED):
        kept = [j for j, s in enumerate(row) if s > -INF]
        (slope,) = numeric_gradient(
            lambda s, i=i, kept=kept: cross_entropy_loss(
                [s], [[TARGETS[i][j] for j in kept]]
            ),
            [row[j] for j in kept],
        )
        expected[i, kept] = slope / len(MASKED)
    return expected


def test_a_masked_pair_has_no_gradient(gradient):
    (result,) = gradient(
        lambda s: softmax_cross_entropy(s, TARGETS), np.asarray(MASKED)
    )
    np.testing.assert_allclose(result, masked_gradient(), atol=1e-8)


def test_a_masked_pair_has_no_gradient_when_traced(traced_gradient):
    (result,) = traced_gradient(
        lambda s: softmax_cross_entropy(s, TARGETS), np.asarray(MASKED)
    )
    np.testing.assert_allclose(result, masked_gradient(), atol=1e-8)


def test_a_row_with_nothing_left_has_no_gradient(gradient):
    similarity = [[-INF, -INF], [-INF, 0.5], [1.0, 2.0]]
    targets = [[1.0, 1.0], [1.0, 0.0], [1.0, 0.0]]
    (result,) = gradient(
        lambda s: softmax_cross_entropy(s, targets), np.asarray(similarity)
    )
    p = 1 / (1 + math.e)
    np.testing.assert_allclose(
        result, [[0.0, 0.0], [0.0, 0.0], [p - 1, 1 - p]], atol=1e-8
    )


def test_a_nan_stays_in_its_row_of_the_gradient(gradient):
    similarity = np.asarray([[NAN, 0.0], [1.0, 2.0]])
    (result,) = gradient(
        lambda s: softmax_cross_entropy(s, [[1, 0], [1, 0]]), similarity
    )
    p = 1 / (1 + math.e)
    np.testing.assert_allclose(result[1], [(p - 1) / 2, (1 - p) / 2], rtol=1e-6)
    assert np.all(np.isnan(result[0]))


def test_large_logits_have_finite_gradients(gradient):
    similarity = np.asarray([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]], np.float32)
    targets = [[0.0, 1.0, 0.0], [0.0, 1.0, 1.0]]
    (result,) = gradient(
        lambda s: softmax_cross_entropy(s, targets, reduction="sum"), similarity
    )
    np.testing.assert_allclose(result, [[1, -1, 0], [0, 0, 0]], atol=1e-6)


def test_an_empty_batch_has_an_empty_gradient(gradient):
    empty = np.zeros((0, 3))
    (result,) = gradient(lambda s: softmax_cross_entropy(s, empty), empty)
    assert result.shape == (0, 3)


def test_targets_have_the_gradient_of_the_definition_also_where_they_are_0(gradient):
    given = [[1.0, 0.0, 2.0, 0.5], [0.0, 1.0, 0.0, 0.0], [0.0] * 4]
    similarity, targets = np.asarray(MASKED), np.asarray(given)
    _, found = gradient(softmax_cross_entropy, similarity, targets)
    step = 1e-6  # upwards alone: a target is not negative
    start = cross_entropy_loss(MASKED, given)
    for i, j in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (1, 3)):
        more = targets.copy()
        more[i, j] += step
        slope = (cross_entropy_loss(MASKED, more.tolist()) - start) / step
        np.testing.assert_allclose(found[i, j], slope, atol=1e-5)
    np.testing.assert_array_equal(found[2], 0)
