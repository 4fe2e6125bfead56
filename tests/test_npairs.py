"""`npairs_loss` and `npairs_multilabel_loss` of a similarity matrix."""

import math

import numpy as np
import pytest

from metricops import npairs_loss, npairs_multilabel_loss
from tests.definitions import (
    cross_entropy_loss,
    equal_labels,
    numeric_gradient,
    shared_labels,
)

INF, NAN = math.inf, math.nan
SIMILARITY = [
    [2.0, 0.0, 1.0, -1.0],
    [0.5, 2.0, 1.0, 0.25],
    [1.0, 1.5, 3.0, 0.0],
    [0.0, 1.0, -2.0, 1.0],
]
WIDE = [[*row, 0.5, -0.5] for row in SIMILARITY]
LABELS = [3, 1, 3, 2]
COLUMNS = [1, 3, 7, 3, 2, 1]
HOT = [[1, 1, 0], [0, 1, 1], [1, 1, 1], [1, 0, 0]]
HOT_COLUMNS = [[1, 0, 0], [1, 1, 1], [0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1]]
WEIGHTS = [0.5, 2.0, 0.0, 1.5]
REDUCTIONS = ["mean", "sum", "weighted_mean", "none"]


def labelled(similarity, labels, columns=None, weights=None, reduction="mean"):
    targets = equal_labels(labels, labels if columns is None else columns)
    return cross_entropy_loss(similarity, targets, weights, reduction)


def multilabelled(similarity, labels, columns=None, weights=None, reduction="mean"):
    targets = shared_labels(labels, labels if columns is None else columns)
    return cross_entropy_loss(similarity, targets, weights, reduction)


def with_columns(function, **options):
    return lambda s, rows, columns: function(s, rows, column_labels=columns, **options)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weights", [None, 2.0, WEIGHTS], ids=["no", "one", "each"])
def test_positives_are_the_columns_with_the_rows_label(run, weights, reduction):
    expected = labelled(SIMILARITY, LABELS, None, weights, reduction)
    options = {"sample_weight": weights, "reduction": reduction}
    result = run(npairs_loss, SIMILARITY, LABELS, **options)
    assert result.shape == np.shape(expected)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_positives_are_the_columns_with_the_rows_label_when_traced(traced, reduction):
    def loss(similarity, labels, weights):
        return npairs_loss(
            similarity, labels, sample_weight=weights, reduction=reduction
        )

    expected = labelled(SIMILARITY, LABELS, None, WEIGHTS, reduction)
    result = traced(loss, SIMILARITY, LABELS, WEIGHTS)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_columns_may_have_labels_of_their_own(run, reduction):
    expected = labelled(WIDE, LABELS, COLUMNS, None, reduction)
    loss = with_columns(npairs_loss, reduction=reduction)
    result = run(loss, WIDE, LABELS, COLUMNS)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_columns_may_have_labels_of_their_own_when_traced(traced):
    result = traced(with_columns(npairs_loss), WIDE, LABELS, COLUMNS)
    np.testing.assert_allclose(result, labelled(WIDE, LABELS, COLUMNS), rtol=1e-6)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_targets_are_the_numbers_of_shared_labels(run, reduction):
    expected = multilabelled(SIMILARITY, HOT, None, WEIGHTS, reduction)
    options = {"sample_weight": WEIGHTS, "reduction": reduction}
    result = run(npairs_multilabel_loss, SIMILARITY, HOT, **options)
    assert result.shape == np.shape(expected)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_targets_are_the_numbers_of_shared_labels_when_traced(traced):
    result = traced(npairs_multilabel_loss, SIMILARITY, HOT)
    np.testing.assert_allclose(result, multilabelled(SIMILARITY, HOT), rtol=1e-6)


def test_columns_may_have_multilabels_of_their_own(run):
    result = run(with_columns(npairs_multilabel_loss), WIDE, HOT, HOT_COLUMNS)
    expected = multilabelled(WIDE, HOT, HOT_COLUMNS)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_columns_may_have_multilabels_of_their_own_when_traced(traced):
    result = traced(with_columns(npairs_multilabel_loss), WIDE, HOT, HOT_COLUMNS)
    expected = multilabelled(WIDE, HOT, HOT_COLUMNS)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "float32"])
def test_multilabels_may_be_of_any_real_dtype(run, dtype):
    hot = np.asarray(HOT).astype(dtype)
    result = run(npairs_multilabel_loss, SIMILARITY, hot)
    np.testing.assert_allclose(result, multilabelled(SIMILARITY, HOT), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8"])
def test_the_number_of_shared_labels_does_not_wrap(run, dtype):
    hot = np.zeros((2, 300), dtype)
    hot[0], hot[1, :2] = 1, 1
    expected = cross_entropy_loss([[1.0, 0.0]] * 2, [[300, 2], [2, 2]])
    result = run(npairs_multilabel_loss, [[1.0, 0.0]] * 2, hot)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_a_single_column_of_multilabels_is_multi_hot_here(run):
    # Unlike the (n, 1) labels of `npairs_loss`: 0 is no label.
    result = run(npairs_multilabel_loss, [[1.0, 0.0]] * 2, [[1], [0]], reduction="none")
    np.testing.assert_allclose(result, [math.log(1 + 1 / math.e), 0.0], rtol=1e-6)


def test_a_batch_of_one_has_no_loss(run):
    assert run(npairs_loss, [[5.0]], [1]) == 0


def test_the_loss_of_an_empty_batch_is_zero(run):
    empty = np.zeros((0, 0), np.float32)
    result = run(npairs_loss, empty, np.zeros(0, np.int32))
    assert result.shape == ()
    assert result == 0


def test_the_loss_of_an_empty_batch_is_zero_when_traced(traced):
    empty = np.zeros((0, 0), np.float32)
    assert traced(npairs_loss, empty, np.zeros(0, np.int32)) == 0


def test_the_multilabel_loss_of_an_empty_batch_is_zero(run):
    empty, labels = np.zeros((0, 0), np.float32), np.zeros((0, 3), np.int32)
    assert run(npairs_multilabel_loss, empty, labels) == 0


# Anchors without a positive: left out.

ALONE = [3, 9, 1, 8]  # of COLUMNS' labels 3 and 1 occur, 9 and 8 do not
ALONE_NAN = [WIDE[0], [NAN] * 6, WIDE[2], [INF, *WIDE[3][1:]]]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["no", "each"])
def test_an_anchor_without_a_positive_is_left_out(run, weights, reduction):
    expected = labelled(WIDE, ALONE, COLUMNS, weights, reduction)
    loss = with_columns(npairs_loss, sample_weight=weights, reduction=reduction)
    result = run(loss, WIDE, ALONE, COLUMNS)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_an_anchor_without_a_positive_is_left_out_with_its_nan(run, reduction):
    expected = labelled(WIDE, ALONE, COLUMNS, WEIGHTS, reduction)
    loss = with_columns(npairs_loss, sample_weight=WEIGHTS, reduction=reduction)
    result = run(loss, ALONE_NAN, ALONE, COLUMNS)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_an_anchor_without_a_positive_is_left_out_when_traced(traced):
    result = traced(with_columns(npairs_loss), ALONE_NAN, ALONE, COLUMNS)
    np.testing.assert_allclose(result, labelled(WIDE, ALONE, COLUMNS), rtol=1e-6)


def test_an_anchor_without_a_positive_has_no_gradient(gradient):
    (expected,) = numeric_gradient(lambda s: labelled(s, ALONE, COLUMNS), WIDE)
    (result,) = gradient(
        lambda s: npairs_loss(s, ALONE, column_labels=COLUMNS), np.asarray(ALONE_NAN)
    )
    np.testing.assert_allclose(result, expected, atol=1e-8)
    np.testing.assert_array_equal(result[[1, 3]], np.zeros((2, 6)))


def test_an_anchor_without_a_positive_has_no_gradient_when_traced(traced_gradient):
    (expected,) = numeric_gradient(lambda s: labelled(s, ALONE, COLUMNS), WIDE)
    (result,) = traced_gradient(
        lambda s: npairs_loss(s, ALONE, column_labels=COLUMNS), np.asarray(ALONE_NAN)
    )
    np.testing.assert_allclose(result, expected, atol=1e-8)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_without_any_positive_the_loss_is_zero(run, reduction):
    loss = with_columns(npairs_loss, reduction=reduction)
    result = run(loss, WIDE, LABELS, [-1] * 6)
    np.testing.assert_array_equal(result, np.zeros(4 if reduction == "none" else ()))


def test_without_any_positive_the_gradient_is_zero(gradient):
    (result,) = gradient(
        lambda s: npairs_loss(s, LABELS, column_labels=[-1] * 6), np.asarray(ALONE_NAN)
    )
    np.testing.assert_array_equal(result, np.zeros((4, 6)))


def test_a_sample_without_a_label_is_left_out(run):
    hot = [[1, 1, 0], [0, 0, 0], [1, 0, 1], [0, 0, 1]]
    result = run(npairs_multilabel_loss, SIMILARITY, hot)
    np.testing.assert_allclose(result, multilabelled(SIMILARITY, hot), rtol=1e-6)


# Masks.

MASKED = [
    [2.0, -INF, 1.0, -1.0],
    [0.5, -INF, 1.0, 0.25],
    [-INF, 1.5, 3.0, 0.0],
    [0.0, 1.0, -2.0, 1.0],
]


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_masked_pair_takes_no_part(run, reduction):
    expected = labelled(MASKED, LABELS, None, None, reduction)
    result = run(npairs_loss, MASKED, LABELS, reduction=reduction)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_a_masked_pair_takes_no_part_when_traced(traced):
    result = traced(npairs_loss, MASKED, LABELS)
    np.testing.assert_allclose(result, labelled(MASKED, LABELS), rtol=1e-6)


def test_a_masked_pair_has_no_gradient(gradient):
    finite = np.where(np.isinf(MASKED), -1e3, MASKED)  # as good as masked, yet finite
    masked_positive = [1]  # the row whose only positive is masked
    (result,) = gradient(lambda s: npairs_loss(s, LABELS), np.asarray(MASKED))
    np.testing.assert_array_equal(result[masked_positive], np.zeros((1, 4)))
    np.testing.assert_array_equal(result[np.isinf(MASKED)], 0)
    rows = [0, 3]
    (expected,) = numeric_gradient(
        lambda s: labelled(s, LABELS, None, None, "sum"), finite
    )
    np.testing.assert_allclose(result[rows], expected[rows] / 3, atol=1e-8)
    assert np.all(np.isfinite(result))


@pytest.mark.parametrize("function", [npairs_loss, npairs_multilabel_loss])
def test_the_gradient_is_that_of_the_definition(gradient, function):
    labels, definition = (
        (LABELS, labelled) if function is npairs_loss else (HOT, multilabelled)
    )
    (expected,) = numeric_gradient(
        lambda s: definition(s, labels, None, WEIGHTS), SIMILARITY
    )
    (result,) = gradient(
        lambda s: function(s, labels, sample_weight=WEIGHTS), np.asarray(SIMILARITY)
    )
    np.testing.assert_allclose(result, expected, atol=1e-8)


def test_the_gradient_is_that_of_the_definition_when_traced(traced_gradient):
    (expected,) = numeric_gradient(lambda s: labelled(s, LABELS), SIMILARITY)
    (result,) = traced_gradient(
        lambda s: npairs_loss(s, LABELS), np.asarray(SIMILARITY)
    )
    np.testing.assert_allclose(result, expected, atol=1e-8)


def test_a_nan_stays_in_its_row(run):
    similarity = [*SIMILARITY[:3], [NAN, 0.0, 0.0, 1.0]]
    expected = [*labelled(SIMILARITY, LABELS, None, None, "none")[:3], NAN]
    result = run(npairs_loss, similarity, LABELS, reduction="none")
    np.testing.assert_allclose(result, expected, rtol=1e-6)
