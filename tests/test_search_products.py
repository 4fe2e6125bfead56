"""Search by products finds what a full sort of exact values finds."""

import itertools
import math
import tracemalloc
from typing import Any

import numpy as np
import pytest

from metricops import nearest_neighbors, pairwise_manhattan_distance
from metricops._frameworks import numpy_panels
from tests.conftest import Library, require

METRICS = ("inner_product", "cosine", "euclidean", "squared_euclidean")
metrics = pytest.mark.parametrize("metric", METRICS)
N, M, D, K = 37, 700, 6, 5


def random(rng, count):
    return rng.normal(size=(count, D))


def clustered(rng, count):
    centres = np.random.default_rng(9).normal(size=(8, D)) + 3
    return centres[rng.integers(0, 8, count)] + 0.05 * rng.normal(size=(count, D))


def wide(rng, count):
    """Return rows far from zero of which some are 1e-5 apart."""
    rows = np.random.default_rng(9).normal(size=(count, D)) * 30 + 100
    return rows + 1e-5 * rng.normal(size=(count, D))


def integers(rng, count):
    return rng.integers(-2, 3, size=(count, D))


def equal(rng, count):
    return np.ones((count, D)) * rng.integers(1, 3, size=(count, 1))


def with_holes(rng, count):
    rows = random(rng, count)
    rows[::7, 2] = math.nan
    rows[3] = math.inf
    return rows


def huge(rng, count):
    return random(rng, count) * 1e17


def tiny(rng, count):
    return random(rng, count) * 1e-30


def mixed(rng, count):
    return random(rng, count) * 10.0 ** rng.integers(-12, 12, size=(count, 1))


KINDS = (random, clustered, wide, integers, equal, with_holes, huge, tiny, mixed)
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def table(metric, x, y, dtype):
    """Return all values, computed in float64."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    with np.errstate(all="ignore"):
        if metric == "inner_product":
            return np.sum(x[:, None] * y, axis=-1).astype(dtype)
        if metric == "cosine":
            units = [z / np.maximum(_length(z), 1e-300) for z in (x, y)]
            return np.sum(units[0][:, None] * units[1], axis=-1).astype(dtype)
        squares = np.sum((x[:, None] - y) ** 2, axis=-1)
        return (np.sqrt(squares) if metric == "euclidean" else squares).astype(dtype)


def _length(z):
    return np.sqrt(np.sum(z * z, axis=-1, keepdims=True))


def assert_sorted(result, metric, x, y, k, alone=False):
    """Assert that no key left out is better, and that equals come by index."""
    values, indices = (np.asarray(part) for part in result)
    found = table(metric, x, y, values.dtype).astype(np.float64)
    sign = -1 if metric in ("inner_product", "cosine") else 1
    cost = np.where(np.isnan(found), np.nan, sign * found)
    if alone:
        keep = ~np.eye(len(x), dtype=bool)
        cost = cost[keep].reshape(len(x), -1)
        places = np.tile(np.arange(len(y)), (len(x), 1))[keep].reshape(len(x), -1)
    else:
        places = np.tile(np.arange(len(y)), (len(x), 1))
    order = np.argsort(cost, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(cost, order, axis=1)
    tolerance: Any = {"rtol": 1e-6, "atol": 2e-7 if metric == "cosine" else 0}
    if metric == "inner_product":
        scale = np.nanmax(np.where(np.isinf(found), 0, np.abs(found)))
        tolerance["atol"] = 1e-6 * scale
    own = sign * np.take_along_axis(found, indices, axis=1)
    np.testing.assert_allclose(sign * values, best, **tolerance)
    np.testing.assert_allclose(own, best, **tolerance)
    for row in indices:
        assert len(set(row)) == k
    exact = np.diff(best, axis=1) == 0
    if metric != "cosine" and np.array_equal(x, np.round(x)):  # nothing is rounded
        expected = np.take_along_axis(places, order, axis=1)
        np.testing.assert_array_equal(indices, expected)
    else:
        same = exact & (np.diff(own, axis=1) == 0) & (np.diff(values, axis=1) == 0)
        assert (np.diff(indices, axis=1)[same] > 0).all()


def rows_of(kind, dtype="float32"):
    with np.errstate(over="ignore"):
        return (
            kind(np.random.default_rng(0), N).astype(dtype),
            kind(np.random.default_rng(1), M).astype(dtype),
        )


# NumPy warns of values that are infinite or NaN, as they are here.
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@kinds
@metrics
def test_the_best_keys_are_found(run, metric, kind):
    x, y = rows_of(kind)
    result = run(nearest_neighbors, x, y, k=K, metric=metric)
    assert_sorted(result, metric, x, y, K)


def test_keys_of_zeros_are_at_right_angles_to_everything(run):
    x, y = (np.random.default_rng(i).standard_normal((M, 32)) for i in range(2))
    x[3], y[5:25] = 0, 0
    x, y = x[:7].astype(np.float32), y.astype(np.float32)
    values, indices = run(nearest_neighbors, x, y, k=K)
    assert_sorted((values, indices), "cosine", x, y, K)
    assert (values[:3] > 0).all()
    np.testing.assert_array_equal(indices[3], np.arange(K))


@pytest.mark.parametrize("kind", [random, integers, wide], ids=lambda f: f.__name__)
@metrics
def test_the_best_keys_are_found_in_float64(library, metric, kind):
    if not library.supports("float64"):
        pytest.skip("no float64")
    x, y = rows_of(kind, "float64")
    given = library.asarray(x), library.asarray(y)
    result = library.to_numpy(nearest_neighbors(*given, K, metric=metric))
    assert_sorted(result, metric, x, y, K)


@pytest.mark.parametrize("kind", [random, integers, equal], ids=lambda f: f.__name__)
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_best_keys_are_found_in_panels(library, monkeypatch, metric, kind):
    x, y = rows_of(kind)
    monkeypatch.setattr("metricops._retrieval.best._KEYS", 400)
    given = library.asarray(x), library.asarray(y)
    found = nearest_neighbors(*given, K, metric=metric, block_size=10)
    assert_sorted(library.to_numpy(found), metric, x, y, K)


@pytest.mark.parametrize("kind", [random, integers, equal], ids=lambda f: f.__name__)
@metrics
def test_no_query_is_its_own_neighbour_among_many(run, metric, kind):
    _, y = rows_of(kind)
    result = run(nearest_neighbors, y, k=K, metric=metric)
    assert (result[1] != np.arange(M)[:, None]).all()
    assert_sorted(result, metric, y, y, K, alone=True)


@metrics
def test_the_best_keys_are_found_when_traced(traced, metric):
    for kind in (random, integers):
        x, y = rows_of(kind)
        result = traced(nearest_neighbors, x, y, k=K, metric=metric)
        assert_sorted(result, metric, x, y, K)


def test_rows_whose_squares_are_no_numbers_are_searched_without_a_warning(library):
    if not library.supports("float64"):
        pytest.skip("no float64")
    x, y = rows_of(random, "float64")
    x[3], y[5] = math.nan, math.nan
    found = [
        library.to_numpy(
            nearest_neighbors(
                library.asarray(x * scale),
                library.asarray(y * scale),
                K,
                metric="euclidean",
            )
        )
        for scale in (1, 2.0**600)
    ]
    np.testing.assert_array_equal(found[1][1], found[0][1])
    np.testing.assert_allclose(found[1][0], found[0][0] * 2.0**600, rtol=1e-14)


@metrics
@pytest.mark.parametrize("name", ["numpy", "dask"])
def test_rows_of_longdouble_are_searched(name, metric):
    library = Library(name)
    x, y = rows_of(random, "longdouble")
    given = library.asarray(x), library.asarray(y)
    found = library.to_numpy(nearest_neighbors(*given, K, metric=metric))
    assert found[0].dtype == np.longdouble
    assert_sorted(found, metric, x, y, K)


@pytest.mark.parametrize(
    ("metric", "width"),
    [("inner_product", 37), ("cosine", 129), ("euclidean", 37), ("manhattan", 37)],
)
def test_equal_keys_come_by_index(library, metric, width):
    """A product may round equal columns differently, at the edge of a tile."""
    rng = np.random.default_rng(1)
    queries, key = rng.normal(size=(3, width)), rng.normal(size=(1, width))
    for dtype, count in (("float32", 203), ("float64", 203), ("float64", 1003)):
        with library.x64():
            keys = library.asarray(np.repeat(key, count, axis=0), dtype)
            given = library.asarray(queries, dtype), keys
            values, indices = library.to_numpy(
                nearest_neighbors(*given, K, metric=metric)
            )
        np.testing.assert_array_equal(indices, [list(range(K))] * 3)
        assert (values == values[:, :1]).all()


@pytest.mark.parametrize(
    ("metric", "dtype", "seed"),
    [("euclidean", "float32", 11), ("inner_product", "float64", 1)],
)
def test_equal_keys_of_several_panels_come_by_index(
    library, monkeypatch, metric, dtype, seed
):
    """Also where a panel has so many of them that it is searched in another way."""
    monkeypatch.setattr("metricops._retrieval.best._KEYS", 300)
    rng = np.random.default_rng(seed)
    factor = 1.1 if metric == "euclidean" else 3.0
    queries, keys = rng.normal(size=(12, 37)), rng.normal(size=(600, 37))
    copies = [*range(3), *range(300, 450)]
    keys[copies] = factor * queries[0] + 0.01
    with library.x64():
        left, right = (library.asarray(z, dtype) for z in (queries, keys))
        result = nearest_neighbors(left, right, K, metric=metric)
        _, found = library.to_numpy(result)
    np.testing.assert_array_equal(found[0], copies[:K])


@metrics
def test_where_few_keys_are_finite_the_others_follow(run, metric):
    x, y = rows_of(random)
    y[3:] = math.nan
    found = run(nearest_neighbors, x, y, k=K, metric=metric)
    assert_sorted(found, metric, x, y, K)


@pytest.mark.parametrize("name", ["numpy", "torch"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("metric", METRICS[1:])
def test_a_key_that_is_not_finite_costs_nothing(name, value, metric, monkeypatch):
    monkeypatch.setattr("metricops._retrieval.best.all_scores", None)
    x, y = (z.astype(np.float32) for z in rows_of(random))
    y[::50, 2] = value
    left, right = (require(name).asarray(z) for z in (x, y))
    result = nearest_neighbors(left, right, K, metric=metric)
    found = tuple(np.asarray(z) for z in result)
    assert_sorted(found, metric, x, y, K)


def test_manhattan_distances_of_equal_rows_are_equal_numbers():
    rng = np.random.default_rng(0)
    for width, dtype in itertools.product(range(1, 140, 3), ("float32", "float64")):
        x, y = (rng.normal(size=(n, width)).astype(dtype) for n in (3, 1))
        found = pairwise_manhattan_distance(x, np.repeat(y, 203, axis=0))
        assert (found == found[:, :1]).all()


@pytest.mark.parametrize("name", ["numpy", "torch"])
@pytest.mark.parametrize("metric", ["inner_product", "euclidean"])
def test_values_that_are_rounded_to_equal_numbers_come_by_index(name, metric):
    """Far from the mean of the keys, many values are the same number of float32."""
    asarray = require(name).asarray
    rng = np.random.default_rng(0)
    keys, queries = rng.normal(size=(4000, 4)) * 0.01, rng.normal(size=(N, 4)) + 1e4
    keys = keys + 1e3 * (metric == "inner_product")
    x, y = queries.astype(np.float32), keys.astype(np.float32)
    _, found = nearest_neighbors(asarray(x), asarray(y), 20, metric=metric)
    cost = table(metric, x, y, np.float32)
    cost = -cost if metric == "inner_product" else cost
    expected = np.argsort(cost, axis=1, kind="stable")[:, :20]
    np.testing.assert_array_equal(np.asarray(found), expected)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("count", "k"), [(64, 1), (259, 4), (261, 8), (700, 40)])
def test_numpy_finds_what_is_near_the_largest(count, k, turned):
    rng = np.random.default_rng(count)
    x = rng.random((40, count))
    x[3], x[4, k - 1 :] = -np.inf, -np.inf  # no row has k numbers there
    x[5, :60], x[6, 1:] = 0.99, -np.inf
    slack = rng.random((40, 1)) / 20
    given = np.asfortranarray(x) if turned else x
    columns, there, complete = numpy_panels.within(given, k, slack)
    least = np.sort(x, axis=1)[:, -k, None]
    near = x >= np.where(least == -np.inf, np.inf, least - slack)
    for row in np.flatnonzero(complete):
        found = columns[row][there[row]]
        assert set(np.flatnonzero(near[row])) <= set(found)
        assert (np.diff(found) > 0).all()
        assert (found.size == 0) == (near[row].sum() == 0)
    assert complete[[3, 4]].all()
    assert complete.mean() > 0.9


@metrics
def test_numpy_holds_a_panel_of_products(metric):
    rows = np.random.default_rng(0).normal(size=(3000, 8)).astype(np.float32)
    tracemalloc.start()
    nearest_neighbors(rows, k=K, metric=metric, block_size=50)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= 4 * len(rows) ** 2 / 8


@pytest.mark.parametrize("name", ["torch", "jax", "tensorflow"])
@metrics
def test_values_are_differentiable(name, metric):
    library, (x, y) = Library(name), rows_of(random)
    dtype = "float32"
    upstream = np.random.default_rng(2).normal(size=(N, K))
    given: Any = [library.asarray(z, dtype) for z in (x, y)]

    def total(x, y):
        values = nearest_neighbors(x, y, k=K, metric=metric)[0]
        return (values * library.asarray(upstream, dtype)).sum()

    if name == "torch":
        given = [z.requires_grad_() for z in given]
        found = require("torch").autograd.grad(total(*given), given)
    elif name == "jax":
        found = require("jax").grad(total, (0, 1))(*given)
    else:
        tf = require("tensorflow")
        with tf.GradientTape() as tape:
            tape.watch(given)
            values = nearest_neighbors(given[0], given[1], K, metric=metric)[0]
            loss = tf.reduce_sum(values * library.asarray(upstream, dtype))
        found = tape.gradient(loss, given)
    expected = _slopes(metric, x.astype(float), y.astype(float), upstream)
    for ours, theirs in zip(library.to_numpy(tuple(found)), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_torch_func_grad_is_the_gradient_of_the_values(torch):
    x, y = (torch.asarray(z) for z in rows_of(random))

    def total(x):
        return nearest_neighbors(x, y, k=K)[0].sum()

    found = torch.func.grad(total)(x)
    batched = torch.func.vmap(torch.func.grad(total))(torch.stack([x, 2 * x]))
    left, right = x.double().numpy(), y.double().numpy()
    expected, _ = _slopes("cosine", left, right, np.ones((N, K)))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(batched[0], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(batched[1], expected / 2, rtol=1e-4, atol=1e-5)


def _slopes(metric, x, y, upstream):
    """Return the gradient of the sum of the weighted values, by the formulas."""
    found = table(metric, x, y, float)
    sign = -1 if metric in ("inner_product", "cosine") else 1
    order = np.argsort(sign * found, axis=1, kind="stable")[:, :K]
    of_x, of_y = np.zeros_like(x), np.zeros_like(y)
    for i, j in np.ndindex(order.shape):
        a, b, weight = x[i], y[order[i, j]], upstream[i, j]
        if metric == "inner_product":
            left, right = b, a
        elif metric == "cosine":
            p, q = np.linalg.norm(a), np.linalg.norm(b)
            cosine = a @ b / p / q
            left, right = b / p / q - cosine * a / p**2, a / p / q - cosine * b / q**2
        else:
            left = 2 * (a - b)
            if metric == "euclidean":
                left = (a - b) / np.linalg.norm(a - b)
            right = -left
        of_x[i] += weight * left
        of_y[order[i, j]] += weight * right
    return of_x, of_y


def test_torch_searches_by_products_only_where_they_are_exact(torch):
    from metricops._frameworks.torch.library import TORCH

    x = torch.ones(3, 2)
    found = []
    try:
        for word in ("highest", "high", "medium"):
            torch.set_float32_matmul_precision(word)
            found.append(TORCH.rounds_products(x))
    finally:
        torch.set_float32_matmul_precision("highest")
    assert found == [False, True, True]
    assert not TORCH.rounds_products(x.double())
