"""Labels are compared as they are, whatever they are."""

import math

import numpy as np
import pytest

import metricops
from tests.conftest import TRACED, Library, having, require
from tests.definitions import cross_entropy_loss

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


# One rule to compare labels, everywhere: as numbers, whatever their dtypes.

NAN = math.nan
OTHERWISE = [
    ("uint64", 2**63, "int64", -(2**63)),
    ("uint64", 2**64 - 1, "int64", -1),
    ("uint64", 2**63, "float64", 2.0**63),
    ("uint64", 2**64 - 1, "float64", 2.0**64),
    ("uint32", 2**31, "int32", -(2**31)),
    ("uint32", 2**32 - 1, "int64", 2**32 - 1),
    ("uint32", 2**32 - 1, "float32", 2.0**32),
    ("uint16", 2**15, "int16", -(2**15)),
    ("uint8", 255, "int8", -1),
    ("uint8", 255, "int16", 255),
    ("uint16", 65535, "uint32", 65535),
    ("int64", 2**32 + 5, "int32", 5),
    ("int64", 2**24 + 1, "float32", 2.0**24),
    ("int32", 2**24 + 1, "float32", 2.0**24),
    ("int32", 2**31 - 1, "float32", 2.0**31),
    ("int64", 2**53 + 1, "float64", 2.0**53),
    ("int64", 2**63 - 1, "float64", 2.0**63),
    ("int32", 70_000, "float16", math.inf),
    ("int32", 2049, "float16", 2048.0),
    ("int32", 257, "bfloat16", 256.0),
    ("int8", -128, "float32", -128.0),
    ("float16", 0.5, "bfloat16", 0.5),
    ("float32", 0.1, "float64", 0.1),
    ("int32", 0, "float32", NAN),
    ("float32", NAN, "float64", NAN),
]


def array_of(library, values, dtype):
    """Return an array, of integers that are never floats on the way."""
    host = np.asarray(values, dtype) if dtype.startswith(("int", "uint")) else values
    return library.asarray(host, dtype)


def same_numbers(library, first, one, second, other):
    """Return whether two labels are equal, of the values that their dtypes give."""
    sides = (array_of(library, [one], first), array_of(library, [other], second))
    x, y = (library.to_numpy(side).ravel()[0].item() for side in sides)
    return bool(x == y)


def labelled(library, labels, others):
    """Return for three uses of labels whether the only candidate is a positive."""
    row = library.asarray([[1.0, 2.0]])
    loss = metricops.npairs_loss_from_embeddings(
        row, library.asarray([[1.0, 2.0], [0.0, 1.0]]), labels, candidate_labels=others
    )
    of_similarity = metricops.npairs_loss(
        library.asarray([[5.0, 2.0]]), labels, column_labels=others
    )
    keys = library.asarray([[1.0, 2.0], [-1.0, -2.0]])
    recall = metricops.recall_at_k(row, labels, keys, others, k=1)[1]
    found = (loss, of_similarity, recall)
    return [bool(library.to_numpy(value) > 0) for value in found]


@having("library", "first, one, second, other", OTHERWISE)
def test_labels_of_two_dtypes_are_compared_as_numbers(
    library, first, one, second, other
):
    same = same_numbers(library, first, one, second, other)
    # The second candidate has a label of neither.
    for dtypes, pair in (
        ((first, second), (one, other)),
        ((second, first), (other, one)),
    ):
        labels = array_of(library, [pair[0]], dtypes[0])
        others = array_of(library, [pair[1], 77], dtypes[1])
        assert labelled(library, labels, others) == [same] * 3


@pytest.mark.parametrize(("first", "one", "second", "other"), OTHERWISE)
def test_labels_of_two_dtypes_are_compared_as_numbers_with_64_bits(
    jax, first, one, second, other
):
    library = Library("jax")
    with library.x64():
        same = same_numbers(library, first, one, second, other)
        labels = array_of(library, [one], first)
        others = array_of(library, [other, 77], second)
        assert labelled(library, labels, others) == [same] * 3


@pytest.mark.parametrize(
    ("library", "mode"), [*TRACED, ("jax", "jit")], indirect=["library"]
)
def test_labels_of_two_dtypes_are_compared_as_numbers_when_traced(library, mode):
    def loss(similarity, labels, others):
        return metricops.npairs_loss(
            similarity, labels, column_labels=others, reduction="none"
        )

    labels = [2**24 + 1, 2**24, -1]
    given = (
        library.asarray(SIMILARITY),
        library.asarray(labels, "int32"),
        library.asarray([2.0**24, math.nan, -1.0], "float32"),
    )
    result = library.to_numpy(library.trace(loss, mode, given)(*given))
    expected = cross_entropy_loss(
        SIMILARITY, [[0, 0, 0], [1, 0, 0], [0, 0, 1]], reduction="none"
    )
    np.testing.assert_allclose(result, expected, rtol=1e-5)
    unsigned = library.asarray([5, 2**31, 2**32 - 1], "uint32")
    signed = library.asarray([5, -(2**31), -1], "int32")
    given = (given[0], unsigned, signed)
    result = library.to_numpy(library.trace(loss, mode, given)(*given))
    np.testing.assert_allclose(result, [expected_of_first(), 0, 0], rtol=1e-5)


def expected_of_first():
    return cross_entropy_loss([SIMILARITY[0]], [[1, 0, 0]])


WITHOUT = [NAN, 1.0, 1.0]
NANS = [
    WITHOUT,
    tuple(WITHOUT),
    ["a", NAN, "b"],
    [2**63, NAN, -1],
    [[1], [NAN], [1]],
    [NAN, 0.1, 2**24 + 1],
    np.asarray(WITHOUT),
    np.asarray([0.1, NAN, 0.1]),
    np.asarray([1, NAN, "b"], dtype=object),
    np.asarray(["2020-01-01", "NaT", "2020-01-01"], dtype="M8[D]"),
]


@pytest.mark.parametrize("labels", NANS, ids=repr)
def test_a_nan_label_equals_nothing(library, labels):
    flat = np.asarray(labels, dtype=object).ravel().tolist()
    if getattr(labels, "dtype", None) == "M8[D]":
        flat = [1, NAN, 1]
    targets = [[float(a == b and b == b) for b in flat] for a in flat]
    similarity = library.asarray(SIMILARITY)
    losses = metricops.npairs_loss(similarity, labels, reduction="none")
    expected = cross_entropy_loss(SIMILARITY, targets, reduction="none")
    np.testing.assert_allclose(library.to_numpy(losses), expected, rtol=1e-5)
    of_one_set = metricops.npairs_loss_from_embeddings(
        similarity, None, labels, reduction="none"
    )
    nothing = [sum(row) == 0 for row in targets]
    np.testing.assert_array_equal(library.to_numpy(of_one_set) == 0, nothing)
    recall = metricops.recall_at_k(similarity, labels, k=2)[2]
    hits = [sum(row) > 1 for row in targets]
    np.testing.assert_allclose(library.to_numpy(recall), np.mean(hits), rtol=1e-6)


def test_a_nan_label_of_an_array_equals_nothing(run):
    def loss(similarity, labels):
        return metricops.npairs_loss(similarity, labels, reduction="none")

    result = run(loss, SIMILARITY, WITHOUT)
    targets = [[0, 0, 0], [0, 1, 1], [0, 1, 1]]
    expected = cross_entropy_loss(SIMILARITY, targets, reduction="none")
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_a_range_is_a_list_of_labels(library):
    expected = loss_of(library, [0, 1, 2])
    assert loss_of(library, range(3)) == pytest.approx(expected)


@having("library", "dtype", ["uint16", "uint32", "uint64"])
def test_unsigned_labels_are_searched(library, dtype):
    rows = library.asarray(SIMILARITY)
    labels = library.asarray([1, 2, 1], dtype)
    recall = metricops.recall_at_k(rows, labels, k=2)[2]
    np.testing.assert_allclose(library.to_numpy(recall), 2 / 3, rtol=1e-6)


@pytest.mark.parametrize("hot", [[[1.0, 0.0], [0.5, 1.0], [0.0, 1.0]], [[2], [0], [1]]])
def test_lists_of_numbers_are_multilabels(library, hot):
    similarity = library.asarray(SIMILARITY)
    loss = metricops.npairs_multilabel_loss(similarity, hot)
    targets = np.asarray(hot, float) @ np.asarray(hot, float).T
    expected = cross_entropy_loss(SIMILARITY, targets.tolist())
    np.testing.assert_allclose(library.to_numpy(loss), expected, rtol=1e-5)
    if len(hot[0]) > 1:
        loss = metricops.npairs_loss_from_embeddings(
            similarity, library.asarray(np.eye(3), "float32"), hot
        )
        np.testing.assert_allclose(library.to_numpy(loss), expected, rtol=1e-5)


@pytest.mark.parametrize("names", [[["a"], ["b"], ["a"]], [["a", "b"]] * 3])
@pytest.mark.parametrize("kind", [list, np.asarray])
def test_strings_are_no_counts_of_labels(library, names, kind):
    similarity = library.asarray(SIMILARITY)
    with pytest.raises(TypeError) as caught:
        metricops.npairs_multilabel_loss(similarity, kind(names))
    assert str(caught.value) == (
        "`labels` must be of integers, bools or real floats where it is multi-hot; "
        "got dtype str."
    )


# Labels have no gradient, whatever their dtype and however large the batch.


def several(x, y, labels, **options):
    return metricops.npairs_loss_from_embeddings(x, y, labels, block_size=2, **options)


LABELLED = {
    "similarity": metricops.npairs_loss,
    "multilabel": metricops.npairs_multilabel_loss,
    "one panel": lambda x, y: metricops.npairs_loss_from_embeddings(x, x + 1, y),
    "several panels": lambda x, y: several(x, x + 1, y),
    "one set": lambda x, y: several(x, None, y),
}


@pytest.mark.parametrize("name", LABELLED)
@pytest.mark.parametrize("hot", [False, True], ids=["labels", "multi-hot"])
def test_labels_have_no_gradient(framework, name, hot):
    if (name, hot) in (("similarity", True), ("multilabel", False)):
        pytest.skip("the other kind of labels")
    x = framework.asarray(SIMILARITY)
    y = [[1.0, 0.5], [0.0, 2.0], [1.0, 1.0]] if hot else [1.0, 0.0, 1.0]
    labels = framework.asarray(y)
    call = LABELLED[name]
    if framework.name == "torch":
        labels.requires_grad_()
        x.requires_grad_()
        call(x, labels).backward()
        assert x.grad is not None
        assert labels.grad is None
    elif framework.name == "tensorflow":
        with framework.module.GradientTape() as tape:
            tape.watch([x, labels])
            loss = call(x, labels)
        found = tape.gradient(loss, [x, labels])
        assert found[0] is not None
        assert found[1] is None
    else:
        found = require("jax").grad(call, argnums=1)(x, labels)
        np.testing.assert_array_equal(found, np.zeros_like(y))
