"""`nearest_neighbors` and `recall_at_k`."""

from typing import Any

import numpy as np
import pytest

from metricops import nearest_neighbors, recall_at_k
from tests.definitions import cosine, inner_product

_GENERATOR = np.random.default_rng(0)
QUERIES = np.round(_GENERATOR.standard_normal((5, 3)), 2).tolist()
KEYS = np.round(_GENERATOR.standard_normal((8, 3)), 2).tolist()
PAIRS = {"inner_product": inner_product, "cosine": cosine}
metrics = pytest.mark.parametrize("metric", PAIRS)


def nearest(queries, keys, k, metric):
    """Return the k best keys of each query: sorted by value, then by index."""
    values, indices = [], []
    for i, query in enumerate(queries):
        found = [
            (-PAIRS[metric](query, key), j)
            for j, key in enumerate(queries if keys is None else keys)
            if keys is not None or i != j
        ]
        best = sorted(found)[:k]
        values.append([-value for value, _ in best])
        indices.append([j for _, j in best])
    return values, indices


def assert_nearest(result, queries, keys, k, metric):
    values, indices = nearest(queries, keys, k, metric)
    np.testing.assert_array_equal(result[1], indices)
    np.testing.assert_allclose(result[0], values, rtol=1e-5, atol=1e-6)


@metrics
@pytest.mark.parametrize("k", [1, 3, 8])
def test_the_best_keys_come_best_first(run, metric, k):
    result = run(nearest_neighbors, QUERIES, KEYS, k=k, metric=metric)
    assert_nearest(result, QUERIES, KEYS, k, metric)


@metrics
def test_the_best_keys_come_best_first_when_traced(traced, metric):
    result = traced(nearest_neighbors, QUERIES, KEYS, k=3, metric=metric)
    assert_nearest(result, QUERIES, KEYS, 3, metric)


@metrics
@pytest.mark.parametrize("k", [1, 7])
def test_queries_among_themselves_leave_themselves_out(run, metric, k):
    result = run(nearest_neighbors, KEYS, k=k, metric=metric)
    assert_nearest(result, KEYS, None, k, metric)


def test_queries_among_themselves_leave_themselves_out_when_traced(traced):
    result = traced(nearest_neighbors, KEYS, k=3)
    assert_nearest(result, KEYS, None, 3, "cosine")


def test_one_neighbour_by_cosine_is_the_default(run):
    assert_nearest(run(nearest_neighbors, QUERIES, KEYS), QUERIES, KEYS, 1, "cosine")


@pytest.mark.parametrize("block_size", [1, 2, 100])
@pytest.mark.parametrize("keys", [KEYS, None], ids=["keys", "itself"])
def test_the_block_size_changes_nothing(run, keys, block_size):
    given = [QUERIES] if keys is None else [QUERIES, keys]
    result = run(nearest_neighbors, *given, k=3, block_size=block_size)
    assert_nearest(result, QUERIES, keys, 3, "cosine")


TIES = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]]


@metrics
def test_ties_go_to_the_lower_index(run, metric):
    _, indices = run(
        nearest_neighbors, [[1.0, 0.0], [0.0, 1.0]], TIES, k=6, metric=metric
    )
    expected = [[0, 2, 4, 1, 3, 5], [1, 3, 0, 2, 4, 5]]
    np.testing.assert_array_equal(indices, expected)


def test_ties_go_to_the_lower_index_when_traced(traced):
    _, indices = traced(nearest_neighbors, [[1.0, 0.0], [0.0, 1.0]], TIES, k=6)
    expected = [[0, 2, 4, 1, 3, 5], [1, 3, 0, 2, 4, 5]]
    np.testing.assert_array_equal(indices, expected)


def test_zeros_of_both_signs_tie(run):
    keys = np.resize([-1, 1, -2, 0], (300, 1)).astype(np.float32)
    query = np.zeros((1, 1), np.float32)
    _, indices = run(nearest_neighbors, query, keys, k=4, metric="ip")
    np.testing.assert_array_equal(indices, [[0, 1, 2, 3]])


def test_zeros_of_both_signs_tie_when_traced(traced):
    test_zeros_of_both_signs_tie(traced)


def test_many_ties_go_to_the_lower_index(run):
    # Enough of them that an unstable sort or a partial one shows.
    keys = np.ones((3000, 2), np.float32)
    _, indices = run(nearest_neighbors, [[1.0, 2.0]], keys, k=20)
    np.testing.assert_array_equal(indices, [list(range(20))])


def test_equal_rows_find_each_other_and_not_themselves(run):
    _, indices = run(nearest_neighbors, [[1.0, 2.0]] * 3, k=2)
    np.testing.assert_array_equal(indices, [[1, 2], [0, 2], [0, 1]])


@pytest.mark.parametrize("alias", ["ip", "INNER_PRODUCT", " innerproductsimilarity "])
def test_an_alias_is_the_inner_product(run, alias):
    result = run(nearest_neighbors, QUERIES, KEYS, k=2, metric=alias)
    assert_nearest(result, QUERIES, KEYS, 2, "inner_product")


@pytest.mark.parametrize("alias", ["Cosine", "cosine\n", "CosineDistance"])
def test_an_alias_is_the_cosine(run, alias):
    result = run(nearest_neighbors, QUERIES, KEYS, k=2, metric=alias)
    assert_nearest(result, QUERIES, KEYS, 2, "cosine")


def test_a_zero_vector_is_at_right_angles_to_everything(run):
    values, indices = run(nearest_neighbors, [[0.0, 0.0]], TIES, k=3)
    np.testing.assert_array_equal(values, [[0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(indices, [[0, 1, 2]])


def test_the_scale_of_a_row_does_not_matter_to_a_cosine(run):
    queries = (np.asarray(QUERIES) * 1e30).astype(np.float32)
    result = run(nearest_neighbors, queries, KEYS, k=3)
    assert_nearest(result, QUERIES, KEYS, 3, "cosine")


def test_no_queries_have_no_neighbours(run):
    values, indices = run(nearest_neighbors, np.zeros((0, 3), np.float32), KEYS, k=2)
    assert values.shape == indices.shape == (0, 2)


def test_indices_are_integers_and_values_keep_their_dtype(library):
    queries = library.asarray(QUERIES, "float32")
    values, indices = nearest_neighbors(queries, library.asarray(KEYS), 2)
    assert library.dtype_of(values) == "float32"
    assert library.dtype_of(indices) in ("int32", "int64")


# Recall.

QUERY_LABELS = [0, 1, 2, 0, 9]
KEY_LABELS = [1, 0, 0, 2, 1, 3, 2, 0]


def recall(k, queries, labels, keys, key_labels, metric="cosine"):
    _, indices = nearest(queries, keys, k, metric)
    others = labels if keys is None else key_labels
    hits = [
        any(others[j] == label for j in row)
        for label, row in zip(labels, indices, strict=True)
    ]
    return sum(hits) / len(hits)


def assert_recall(result, ks, *arguments: Any, **options):
    assert list(result) == list(ks)
    for k in ks:
        assert result[k].shape == ()
        np.testing.assert_allclose(
            result[k], recall(k, *arguments, **options), rtol=1e-6
        )


@metrics
def test_recall_is_the_share_of_queries_with_a_hit(run, metric):
    arguments = (QUERIES, QUERY_LABELS, KEYS, KEY_LABELS)
    result = run(recall_at_k, *arguments, k=(1, 2, 5), metric=metric)
    assert_recall(result, (1, 2, 5), *arguments, metric=metric)


def test_recall_is_the_share_of_queries_with_a_hit_when_traced(traced):
    arguments = (QUERIES, QUERY_LABELS, KEYS, KEY_LABELS)
    result = traced(recall_at_k, *arguments, k=(1, 3))
    assert_recall(result, (1, 3), *arguments)


@pytest.mark.parametrize("block_size", [None, 3])
def test_recall_among_the_queries_leaves_each_out(run, block_size):
    result = run(recall_at_k, KEYS, KEY_LABELS, k=(1, 2, 7), block_size=block_size)
    assert_recall(result, (1, 2, 7), KEYS, KEY_LABELS, None, None)


def test_a_label_that_no_key_has_is_a_miss(run):
    result = run(recall_at_k, QUERIES, [5] * 5, KEYS, KEY_LABELS, k=(8,))
    assert result[8] == 0


def test_recall_looks_at_one_five_and_ten_unless_told(run):
    rows = np.random.default_rng(0).standard_normal((12, 3)).astype(np.float32)
    result = run(recall_at_k, rows, [0, 1] * 6)
    assert_recall(result, (1, 5, 10), rows.tolist(), [0, 1] * 6, None, None)


def test_recall_keeps_the_order_of_k(library):
    rows = library.asarray(KEYS)
    assert list(recall_at_k(rows, KEY_LABELS, k=(5, 1))) == [5, 1]


def test_recall_takes_labels_in_a_column(run):
    column, other = [[x] for x in QUERY_LABELS], [[x] for x in KEY_LABELS]
    result = run(recall_at_k, QUERIES, column, KEYS, other, k=(2,))
    assert_recall(result, (2,), QUERIES, QUERY_LABELS, KEYS, KEY_LABELS)


def test_recall_takes_labels_that_are_strings(run):
    names, others = [f"n{x}" for x in QUERY_LABELS], [f"n{x}" for x in KEY_LABELS]

    def with_names(queries, keys):
        return recall_at_k(queries, names, keys, others, k=(2,))

    result = run(with_names, QUERIES, KEYS)
    assert_recall(result, (2,), QUERIES, QUERY_LABELS, KEYS, KEY_LABELS)


def test_recall_is_perfect_for_separate_classes(run):
    rows = [[1.0, 0.01], [1.0, 0.0], [0.0, 1.0], [0.01, 1.0]]
    result = run(recall_at_k, rows, [4, 4, 6, 6], k=(1,))
    assert result[1] == 1
