"""Search where numbers end: infinite distances, NaN, nothing to search, open sizes."""

import math
from typing import Any

import numpy as np
import pytest

import metricops
from metricops import (
    mean_average_precision,
    mean_reciprocal_rank,
    nearest_neighbors,
    recall_at_k,
)
from tests.conftest import require

METRICS = (
    *("inner_product", "cosine", "euclidean", "squared_euclidean"),
    *("manhattan", "snr"),
)
metrics = pytest.mark.parametrize("metric", METRICS)
# All queries in one panel, or in several.
blocks = pytest.mark.parametrize("block_size", [None, 2])
INF, NAN = math.inf, math.nan


# A constant anchor is infinitely far from all that are not constant.
CONSTANT = [[1.0, 1.0], [0.0, 1.0], [2.0, 5.0]]


@blocks
def test_no_query_is_its_own_neighbour_where_all_others_are_infinitely_far(
    run, block_size
):
    values, indices = run(
        nearest_neighbors, CONSTANT, k=2, metric="snr", block_size=block_size
    )
    np.testing.assert_array_equal(indices[0], [1, 2])
    np.testing.assert_array_equal(values[0], [INF, INF])


def test_no_query_is_its_own_neighbour_where_all_are_infinitely_far_traced(traced):
    values, indices = traced(nearest_neighbors, CONSTANT, k=2, metric="snr")
    np.testing.assert_array_equal(indices[0], [1, 2])
    np.testing.assert_array_equal(values[0], [INF, INF])


@metrics
def test_no_query_is_its_own_neighbour_among_equal_rows(run, metric):
    rows = [[1.0, 2.0, 0.5]] * 4
    _, indices = run(nearest_neighbors, rows, k=3, metric=metric)
    np.testing.assert_array_equal(
        indices, [[j for j in range(4) if j != i] for i in range(4)]
    )


# Keys of which some are NaN, before and after the numbers.
HOLES = [[NAN, 1.0], [2.0, 1.0], [0.5, 3.0], [1.0, NAN], [NAN, NAN], [3.0, 1.0]]
WHERE = [1, 2, 5]


@blocks
@metrics
def test_a_key_that_is_nan_comes_after_all_numbers(run, metric, block_size):
    queries = [[1.0, 2.0], [3.0, 1.0], [0.5, 3.0]]
    values, indices = run(
        nearest_neighbors, queries, HOLES, k=5, metric=metric, block_size=block_size
    )
    assert np.isfinite(values[:, :3]).all()
    assert np.isnan(values[:, 3:]).all()
    assert {tuple(sorted(row)) for row in indices[:, :3].tolist()} == {(1, 2, 5)}
    np.testing.assert_array_equal(indices[:, 3:], [[0, 3]] * 3)


@metrics
def test_a_key_that_is_nan_comes_after_all_numbers_traced(traced, metric):
    queries = [[1.0, 2.0], [3.0, 1.0], [0.5, 3.0]]
    values, indices = traced(nearest_neighbors, queries, HOLES, k=5, metric=metric)
    assert np.isfinite(values[:, :3]).all()
    assert np.isnan(values[:, 3:]).all()
    np.testing.assert_array_equal(indices[:, 3:], [[0, 3]] * 3)


@pytest.mark.parametrize("metric", ["squared_euclidean", "euclidean", "manhattan"])
def test_an_infinitely_far_key_comes_before_one_that_is_nan(run, metric):
    keys = [[NAN, 0.0], [INF, 0.0], [1.0, 0.0], [-INF, 0.0], [0.0, NAN]]
    values, indices = run(nearest_neighbors, [[0.0, 0.0]], keys, k=5, metric=metric)
    np.testing.assert_array_equal(indices, [[2, 1, 3, 0, 4]])
    np.testing.assert_array_equal(values, [[1, INF, INF, NAN, NAN]])


def test_an_infinitely_far_key_comes_before_one_that_is_nan_traced(traced):
    keys = [[NAN, 0.0], [INF, 0.0], [1.0, 0.0], [-INF, 0.0], [0.0, NAN]]
    values, indices = traced(
        nearest_neighbors, [[0.0, 0.0]], keys, k=5, metric="euclidean"
    )
    np.testing.assert_array_equal(indices, [[2, 1, 3, 0, 4]])
    np.testing.assert_array_equal(values, [[1, INF, INF, NAN, NAN]])


def test_an_infinite_inner_product_is_the_best_or_the_last_number(run):
    keys = [[NAN], [-INF], [1.0], [INF], [-3e38]]
    values, indices = run(nearest_neighbors, [[1.0]], keys, k=5, metric="inner_product")
    np.testing.assert_array_equal(indices, [[3, 2, 4, 1, 0]])
    np.testing.assert_allclose(values, [[INF, 1, -3e38, -INF, NAN]], rtol=1e-6)


@metrics
def test_a_query_that_is_nan_finds_nan_in_order(run, metric):
    queries = [[NAN, 1.0], [1.0, 2.0]]
    keys = [[1.0, 2.0], [2.0, 1.0], [0.5, 3.0]]
    values, indices = run(nearest_neighbors, queries, keys, k=2, metric=metric)
    assert np.isnan(values[0]).all()
    np.testing.assert_array_equal(indices[0], [0, 1])
    assert np.isfinite(values[1]).all()


@blocks
def test_a_query_that_is_nan_is_a_miss(run, block_size):
    rows = [[1.0, 0.0], [1.0, 0.1], [NAN, 1.0], [1.0, 0.2]]
    result = run(recall_at_k, rows, [0, 0, 0, 0], k=(1, 3), block_size=block_size)
    assert result[1] == result[3] == 0.75


def test_a_query_that_is_nan_is_a_miss_traced(traced):
    rows = [[1.0, 0.0], [1.0, 0.1], [NAN, 1.0], [1.0, 0.2]]
    result = traced(lambda x: recall_at_k(x, [0, 0, 0, 0], k=(1, 3)), rows)
    assert result[1] == result[3] == 0.75


# Labels.


def test_recall_keeps_labels_apart_that_one_dtype_does_not_hold(library):
    if library.name == "jax":
        pytest.skip("no int64 beside float32 in its default 32 bits")
    rows = library.asarray([[1.0, 0.0], [0.0, 1.0]])
    ours = library.asarray([2**24 + 1, 2**24], "int64")
    theirs = library.asarray([2**24, 2**24], "float32")
    result = recall_at_k(rows, ours, rows, theirs, k=1)
    assert float(library.to_numpy(result[1])) == 0.5


def test_recall_takes_labels_of_two_widths(library):
    if not library.supports("int64"):
        pytest.skip("no int64 beside int32")
    rows = library.asarray([[1.0, 0.0], [0.0, 1.0]])
    ours, theirs = library.asarray([7, 8], "int64"), library.asarray([7, 9], "int32")
    result = recall_at_k(rows, ours, rows, theirs, k=1)
    assert float(library.to_numpy(result[1])) == 0.5


# Nothing to search, nothing to search in, nothing to search by.


# Few keys, of which each is computed, and enough of them for products.
counts = pytest.mark.parametrize("count", [4, 300])


@metrics
@counts
def test_rows_of_no_width_are_all_alike(run, metric, count):
    queries, keys = np.zeros((2, 0), np.float32), np.zeros((count, 0), np.float32)
    values, indices = run(nearest_neighbors, queries, keys, k=3, metric=metric)
    np.testing.assert_array_equal(values, np.zeros((2, 3)))
    np.testing.assert_array_equal(indices, [[0, 1, 2]] * 2)


@metrics
@blocks
@counts
@pytest.mark.parametrize("k", [1, 2])
def test_no_queries_find_nothing(run, metric, block_size, count, k):
    values, indices = run(
        nearest_neighbors,
        np.zeros((0, 3), np.float32),
        np.ones((count, 3), np.float32),
        k=k,
        metric=metric,
        block_size=block_size,
    )
    assert values.shape == indices.shape == (0, k)


def test_torch_compile_finds_nothing_for_no_queries(torch):
    compiled = torch.compile(nearest_neighbors, fullgraph=True, backend="eager")
    values, indices = compiled(torch.zeros(0, 3), torch.ones(300, 3), 2)
    assert values.shape == indices.shape == (0, 2)


def test_a_graph_searches_rows_whose_width_it_does_not_know():
    tf = require("tensorflow")
    signature = [tf.TensorSpec((2, None)), tf.TensorSpec((300, None))]
    search = tf.function(nearest_neighbors, input_signature=signature)
    for width in (0, 3):
        _, indices = search(tf.ones((2, width)), tf.ones((300, width)))
        np.testing.assert_array_equal(indices, [[0], [0]])


def test_no_queries_have_no_recall(run):
    def call(queries, keys):
        return recall_at_k(queries, np.zeros(0, int), keys, [0, 1], k=1)

    result = run(call, np.zeros((0, 3), np.float32), np.ones((2, 3), np.float32))
    assert result[1] == 0


@pytest.mark.parametrize("keys", [0, None], ids=["none", "itself"])
def test_no_keys_are_refused(library, keys):
    queries = library.asarray(np.ones((1, 3), np.float32))
    given = None if keys is None else library.asarray(np.ones((0, 3), np.float32))
    message = "`k` must be at most 0, the number of keys to choose from; got 1."
    with pytest.raises(ValueError, match=message):
        nearest_neighbors(queries, given)


# Ints.

X = np.random.default_rng(0).normal(size=(6, 3, 2)).astype(np.float32)
LABELS = [0, 1, 0, 1, 0, 1]
INTS = {
    "l2_normalize": lambda i, x: metricops.l2_normalize(x, axis=i),
    "cosine_similarity": lambda i, x: metricops.cosine_similarity(x, x + 1, axis=i),
    "cosine_similarity_loss": lambda i, x: metricops.cosine_similarity_loss(
        x, x + 1, axis=i
    ),
    "dot": lambda i, x: metricops.dot(x, x + 1, axes=i),
    "nearest_neighbors k": lambda i, x: nearest_neighbors(x[:, 0], k=i)[0],
    "nearest_neighbors block_size": lambda i, x: nearest_neighbors(
        x[:, 0], block_size=i
    )[0],
    "recall_at_k k": lambda i, x: recall_at_k(x[:, 0], LABELS, k=i)[i],
    "recall_at_k block_size": lambda i, x: recall_at_k(
        x[:, 0], LABELS, k=1, block_size=i
    )[1],
    "npairs_loss_from_embeddings": lambda i, x: metricops.npairs_loss_from_embeddings(
        x[:, 0], x[:, 1], block_size=i
    ),
    "npairs_loss_and_grad": lambda i, x: metricops.npairs_loss_and_grad(
        x[:, 0], x[:, 1], block_size=i
    )[0],
}


@pytest.mark.parametrize("name", INTS)
def test_torch_compile_takes_another_value_of_an_int(torch, name):
    x = torch.asarray(X)
    compiled = torch.compile(INTS[name], fullgraph=True, backend="eager")
    for value in (1, 2, 1):
        expected = INTS[name](value, X)
        np.testing.assert_allclose(compiled(value, x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", [[1, 2], np.asarray([1, 2]), 1.0, True, "1"])
@pytest.mark.parametrize("name", ["k", "block_size"])
def test_an_int_is_one_int(library, name, value):
    rows = library.asarray(np.ones((3, 2), np.float32))
    with pytest.raises(TypeError, match=f"`{name}` must be an int; got "):
        nearest_neighbors(rows, **{name: value})


def test_recall_takes_no_array_of_depths(library):
    rows = library.asarray(np.ones((3, 2), np.float32))
    depths: Any = np.asarray([1, 2])
    with pytest.raises(TypeError, match="`k` must be an int; got an array of shape"):
        recall_at_k(rows, [0, 0, 0], k=depths)


# Sizes that are open in an exported program.


def _search(queries, keys):
    return nearest_neighbors(queries, keys, k=3)[0]


def _among(queries, keys):
    return nearest_neighbors(queries, k=3)[0]


def _recall(queries, keys):
    return recall_at_k(queries, queries[:, 0], keys, keys[:, 0], k=(1, 2))[2]


def _in_panels(queries, keys):
    return mean_average_precision(queries, queries[:, 0] > 0, block_size=2)


def _first_hits(queries, keys):
    return mean_reciprocal_rank(queries, queries[:, 0] > 0)


FUNCTIONS = [_search, _among, _recall, _in_panels, _first_hits]
OPEN = pytest.mark.parametrize("function", FUNCTIONS)
ROWS = np.random.default_rng(1).normal(size=(2, 9, 3)).astype(np.float32)


@OPEN
def test_torch_export_leaves_the_number_of_rows_open(torch, function):
    base: Any = torch.nn.Module

    class Module(base):
        def forward(self, queries, keys):
            return function(queries, keys)

    sizes = [torch.export.Dim(name, min=5, max=1000) for name in ("n", "m")]
    queries, keys = torch.asarray(ROWS[0, :6]), torch.asarray(ROWS[1, :7])
    program = torch.export.export(
        Module(), (queries, keys), dynamic_shapes=({0: sizes[0]}, {0: sizes[1]})
    )
    for n, m in ((6, 7), (9, 5), (5, 9)):
        queries, keys = torch.asarray(ROWS[0, :n]), torch.asarray(ROWS[1, :m])
        result = program.module()(queries, keys)
        np.testing.assert_allclose(result, function(queries, keys), rtol=1e-5)


@OPEN
def test_jax_export_leaves_the_number_of_rows_open(function):
    jax = require("jax")
    require("jax.export")
    n, m = jax.export.symbolic_shape("n, m", constraints=["n >= 4", "m >= 4"])
    shapes = [jax.ShapeDtypeStruct((size, 3), np.float32) for size in (n, m)]
    program = jax.export.export(jax.jit(function))(*shapes)
    for n, m in ((6, 7), (9, 5), (5, 9)):
        queries, keys = (jax.numpy.asarray(x) for x in (ROWS[0, :n], ROWS[1, :m]))
        result = program.call(queries, keys)
        np.testing.assert_allclose(result, function(queries, keys), rtol=1e-5)


# Eager JAX.


@pytest.mark.parametrize("block_size", [None, 2, 4])
@pytest.mark.parametrize("name", ["nearest_neighbors", "recall_at_k"])
def test_eager_jax_compiles_a_search_once(jax, name, block_size):
    rows = jax.numpy.asarray(ROWS[0])

    def call(x):
        if name == "recall_at_k":
            return recall_at_k(x, [0, 1, 2] * 3, k=2, block_size=block_size)
        return nearest_neighbors(x, k=2, metric="euclidean", block_size=block_size)

    call(rows)
    compiled = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for _ in range(3):
            call(rows + 1)
    finally:
        jax.monitoring.clear_event_listeners()
    assert len(compiled) <= 1  # of the addition
