"""Labels are compared as they are, whatever they are."""

import math

import numpy as np
import pytest

import metricops
from tests.conftest import TRACED, having

SIMILARITY = [[2.0, 1.0, 0.0], [0.0, 2.0, 1.0], [1.0, 0.0, 2.0]]
APART = math.log(1 + math.exp(-1) + math.exp(-2))  # three labels: one positive a row
TOGETHER = APART + 1  # one label: three positives a row


def loss_of(library, labels, dtype=None):
    similarity = library.asarray(SIMILARITY, dtype)
    loss = metricops.npairs_loss(similarity, labels)
    return float(library.to_numpy(loss))


def test_the_two_expected_values_differ():
    assert APART + 0.5 < TOGETHER


# Integers that a cast to the dtype of the similarity would make equal.
NEIGHBOURS = [
    ("float16", "int32", [2048, 2049, 2050]),
    ("float16", "int32", [70_000, 80_000, 90_000]),
    ("bfloat16", "int32", [256, 257, 258]),
    ("float32", "int32", [2**24, 2**24 + 1, 2**24 + 2]),
    ("float64", "int64", [2**53, 2**53 + 1, 2**53 + 2]),
]


@having("library", "dtype, integer, labels", NEIGHBOURS)
def test_neighbouring_labels_stay_apart(library, dtype, integer, labels):
    loss = loss_of(library, library.asarray(labels, integer), dtype)
    assert loss == pytest.approx(APART, rel=1e-2)


@pytest.mark.parametrize(("dtype", "_", "labels"), NEIGHBOURS)
def test_neighbouring_labels_stay_apart_in_lists_and_numpy(library, dtype, _, labels):
    if not library.supports(dtype):
        dtype = "float32"
    for given in (labels, tuple(labels), np.asarray(labels)):
        loss = loss_of(library, given, dtype)
        assert loss == pytest.approx(APART, rel=1e-2)


BEYOND = [2**40, 2**40 + 2**32, 2**40 + 2**33]  # one and the same in 32 bits


def test_labels_beyond_32_bits_stay_apart_in_lists_and_numpy(library):
    for given in (BEYOND, np.asarray(BEYOND), np.asarray(BEYOND, np.uint64)):
        assert loss_of(library, given) == pytest.approx(APART, rel=1e-6)


def test_labels_beyond_32_bits_stay_apart_when_traced(traced):
    result = traced(lambda s: metricops.npairs_loss(s, np.asarray(BEYOND)), SIMILARITY)
    assert result == pytest.approx(APART, rel=1e-6)


def test_labels_beyond_64_bits_stay_apart_in_lists(library):
    given = [2**70, 2**70 + 1, -(2**70)]
    assert loss_of(library, given) == pytest.approx(APART, rel=1e-6)


@having("library", "dtype", ["int8", "uint8", "int16", "int32", "int64"])
def test_any_integer_dtype_labels(library, dtype):
    labels = library.asarray([0, 1, 0], dtype)
    assert loss_of(library, labels) == pytest.approx(APART + 1 / 2, rel=1e-6)


def test_bools_label(library):
    labels = library.asarray(np.asarray([True, False, True]))
    assert loss_of(library, labels) == pytest.approx(APART + 1 / 2, rel=1e-6)


def test_floats_label_as_they_are(library):
    labels = library.asarray([0.25, 0.5, 0.75], "float32")
    assert loss_of(library, labels) == pytest.approx(APART, rel=1e-6)


@having("library", "dtype", ["float16"])
def test_float_labels_are_not_rounded_to_the_similarity(library, dtype):
    labels = library.asarray([2048.0, 2049.0, 2050.0], "float32")
    loss = loss_of(library, labels, dtype)
    assert loss == pytest.approx(APART, rel=1e-2)


@pytest.mark.parametrize(
    "labels",
    [["cat", "dog", "cat"], np.asarray(["cat", "dog", "cat"]), ["1", "2", "1"]],
    ids=["list", "numpy", "digits"],
)
def test_strings_label(library, labels):
    assert loss_of(library, labels) == pytest.approx(APART + 1 / 2, rel=1e-6)


def test_strings_that_numpy_would_cut_stay_apart(library):
    labels, columns = ["a", "b"], ["abc", "b"]
    similarity = library.asarray([[1.0, 0.0], [0.0, 1.0]])
    losses = metricops.npairs_loss(
        similarity, labels, column_labels=columns, reduction="none"
    )
    expected = [0.0, math.log(1 + math.exp(-1))]
    np.testing.assert_allclose(library.to_numpy(losses), expected, rtol=1e-6)


def test_strings_label_rows_and_columns_alike(library):
    similarity = library.asarray([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    losses = metricops.npairs_loss(
        similarity, ["b", "a"], column_labels=["c", "a", "b"], reduction="none"
    )
    expected = [math.log(2 + math.e), math.log(2 + math.e) - 1]
    np.testing.assert_allclose(library.to_numpy(losses), expected, rtol=1e-6)


def test_a_column_of_labels_is_a_row_of_labels(run):
    column = run(metricops.npairs_loss, SIMILARITY, [[0], [1], [0]])
    np.testing.assert_allclose(column, APART + 1 / 2, rtol=1e-6)


@pytest.mark.parametrize("mode", ["graph", "xla"])
def test_a_column_of_labels_is_a_row_of_labels_in_a_graph(mode, tf):
    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.float32),
            tf.TensorSpec([None, 1], tf.int32),
        ],
        jit_compile=mode == "xla",
    )
    def loss(similarity, labels):
        return metricops.npairs_loss(similarity, labels)

    result = loss(tf.constant(SIMILARITY), tf.constant([[0], [1], [0]]))
    np.testing.assert_allclose(result, APART + 1 / 2, rtol=1e-6)


# A graph that knows no size of the labels cannot know that the second is 1.
KNOWN = [case for case in TRACED if "unknown" not in case]


@pytest.mark.parametrize("traced", KNOWN, ids="-".join, indirect=True)
def test_a_column_of_labels_is_a_row_of_labels_when_traced(traced):
    column = traced(metricops.npairs_loss, SIMILARITY, [[0], [1], [0]])
    np.testing.assert_allclose(column, APART + 1 / 2, rtol=1e-6)


def test_columns_on_both_sides_meet(run):
    def loss(similarity, rows, columns):
        return metricops.npairs_loss(similarity, rows, column_labels=columns)

    result = run(loss, SIMILARITY, [[0], [1], [0]], [[0], [1], [0]])
    np.testing.assert_allclose(result, APART + 1 / 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        (("int8", [-1, 1]), ("uint8", [255, 1])),
        (("int8", [1, 2]), ("int32", [257, 2])),
        (("bool", [1, 0]), ("int32", [2, 0])),
        (("float32", [1.5, 2.0]), ("int32", [1, 2])),
    ],
    ids=lambda side: side[0],
)
def test_dtypes_of_the_two_sides_promote(library, rows, columns):
    similarity = library.asarray([[1.0, 0.0], [0.0, 1.0]])
    losses = metricops.npairs_loss(
        similarity,
        library.asarray(rows[1], rows[0]),
        column_labels=library.asarray(columns[1], columns[0]),
        reduction="none",
    )
    # The first label of each side is the other's only by a cast that loses something.
    expected = [0.0, math.log(1 + math.exp(-1))]
    np.testing.assert_allclose(library.to_numpy(losses), expected, rtol=1e-6)


def test_labels_of_any_kind_label_embeddings(library):
    anchors = library.asarray(SIMILARITY)
    wanted = metricops.npairs_loss_from_embeddings(anchors, anchors, [5, 6, 5])
    for labels in (["a", "b", "a"], [2**40, 2**41, 2**40], [[1], [2], [1]]):
        loss = metricops.npairs_loss_from_embeddings(anchors, anchors, labels)
        np.testing.assert_array_equal(library.to_numpy(loss), library.to_numpy(wanted))


def test_a_list_labels_a_traced_similarity(traced):
    result = traced(lambda s: metricops.npairs_loss(s, [0, 1, 0]), SIMILARITY)
    np.testing.assert_allclose(result, APART + 1 / 2, rtol=1e-6)


def test_numpy_labels_a_traced_similarity(traced):
    labels = np.asarray([0, 1, 0])
    result = traced(lambda s: metricops.npairs_loss(s, labels), SIMILARITY)
    np.testing.assert_allclose(result, APART + 1 / 2, rtol=1e-6)


def test_labels_stay_as_they_were(library):
    labels = np.asarray([2**40, 1, 2])
    loss_of(library, labels)
    np.testing.assert_array_equal(labels, [2**40, 1, 2])
