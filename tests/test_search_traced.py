"""Search in programs: as exact as eagerly, for any numbers, and in memory of panels."""

import math
from typing import Any

import numpy as np
import pytest

from metricops import nearest_neighbors, pairwise_euclidean_distance
from tests.conftest import require

N, M, D, K = 40, 600, 6, 5


def rows(count, seed):
    return np.random.default_rng(seed).normal(size=(count, D)).astype(np.float32)


def crowded():
    """Return queries and keys of which many are equal, and some not finite."""
    x, y = rows(N, 0), rows(M, 1)
    y[100:400] = y[50]
    y[401:440] = np.nextafter(y[50], np.float32(9))
    x[:20] = y[50]
    x[30, 2] = math.nan
    x[31] = 1e30
    return x, y


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_a_traced_search_does_crowded_rows_again(traced, metric):
    x, y = crowded()
    expected = nearest_neighbors(x, y, k=K, metric=metric)
    values, indices = traced(nearest_neighbors, x, y, k=K, metric=metric)
    np.testing.assert_array_equal(indices, expected[1])
    np.testing.assert_allclose(values, expected[0], rtol=4e-7)


@pytest.mark.parametrize("k", [1, 37])
def test_a_search_takes_its_candidates_from_columns_beside_the_groups(run, k):
    # 599 columns are 37 groups of 16, and 7 more, among which the best are.
    x, y = rows(N, 0), rows(599, 1)
    y[592:] = x[:7] * (1 + 1e-3)
    _, indices = run(nearest_neighbors, x, y, k=k, metric="euclidean")
    np.testing.assert_array_equal(indices[:7, 0], np.arange(592, 599))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_a_search_returns_as_many_neighbours_as_there_are_keys(run, metric):
    x, y = rows(9, 0), rows(300, 1)
    _, indices = run(nearest_neighbors, x, y, k=300, metric=metric)
    np.testing.assert_array_equal(np.sort(indices, axis=1), [np.arange(300)] * 9)


def test_a_device_without_float64_is_searched():
    xp = require("array_api_strict")
    device = xp.Device("no_float64")
    x, y = crowded()
    queries, keys = (xp.asarray(z, device=device) for z in (x, y))
    found = nearest_neighbors(queries, keys, K, metric="euclidean")
    expected = nearest_neighbors(x, y, K, metric="euclidean")
    for ours, theirs in zip(found, expected, strict=True):
        host = np.asarray(xp.asarray(ours, device=xp.Device("CPU_DEVICE")))
        np.testing.assert_allclose(host, theirs, rtol=4e-6)


def test_a_compiled_search_is_one_node(torch):
    graphs = []

    def keep(graph, _):
        graphs.append(graph)
        return graph.forward

    def search(x, y):
        return nearest_neighbors(x, y, k=K, metric="euclidean")

    x, y = (torch.asarray(z) for z in crowded())
    torch.compile(search, backend=keep, fullgraph=True)(x, y)
    names = [str(node.target) for graph in graphs for node in graph.graph.nodes]
    assert sum("metricops" in name for name in names) == 1, names


def test_jax_searches_keys_in_the_memory_of_a_panel(jax, monkeypatch):
    monkeypatch.setattr("metricops._retrieval.best._KEYS", 2**11)
    shapes: Any = [
        jax.ShapeDtypeStruct((count, 16), np.float32) for count in (64, 2**16)
    ]
    search = jax.jit(lambda x, y: nearest_neighbors(x, y, k=K))
    used = search.lower(*shapes).compile().memory_analysis().temp_size_in_bytes
    assert used < 2**16 * 16 * 4  # less than the keys themselves


def test_dask_merges_what_each_chunk_of_keys_holds():
    da, dask = require("dask.array"), require("dask")
    x, y = rows(90, 0), rows(4000, 1)
    widest = []

    def note(chunk):
        widest.append(chunk.shape)
        return chunk

    given = da.from_array(x, chunks=30), da.from_array(y, chunks=(500, D))
    found = nearest_neighbors(given[0], given[1].map_blocks(note, dtype=y.dtype), k=K)
    assert not [shape for shape in widest if shape[0] == 500]  # nothing is computed yet
    widest.clear()
    graph = dask.base.collections_to_expr(found).__dask_graph__()
    assert all(getattr(x, "shape", ()) != (30, 4000) for x in graph.values())
    values, indices = dask.compute(*found, scheduler="synchronous")
    expected = nearest_neighbors(x, y, k=K)
    np.testing.assert_array_equal(indices, expected[1])
    np.testing.assert_array_equal(values, expected[0])


def test_numpy_searches_many_keys_in_the_memory_of_panels():
    import tracemalloc

    keys = np.random.default_rng(0).standard_normal((2**16, 64)).astype(np.float32)
    queries = keys[:1024]
    tracemalloc.start()
    nearest_neighbors(queries, keys, 10, metric="euclidean")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 * 2**20  # all pairs would be 256 MiB


def test_near_pairs_in_a_wide_cloud_keep_their_digits(run):
    cloud = 100 + 30 * np.random.default_rng(0).standard_normal((300, 33))
    x = cloud.astype(np.float32)
    y = (cloud + 1e-5 * np.random.default_rng(1).standard_normal((300, 33))).astype(
        np.float32
    )
    wide = x.astype(np.longdouble)[:, None, :] - y.astype(np.longdouble)[None, :, :]
    expected = np.sqrt(np.sum(wide * wide, axis=-1)).astype(float)
    distances = run(pairwise_euclidean_distance, x, y)
    np.testing.assert_allclose(distances, expected, rtol=4e-7)
    values, indices = run(nearest_neighbors, x, y, k=3, metric="euclidean")
    order = np.argsort(expected, axis=1)[:, :3]
    np.testing.assert_array_equal(indices[:, 0], order[:, 0])
    best = np.take_along_axis(expected, order, axis=1)
    np.testing.assert_allclose(values, best, rtol=4e-7)
