"""`pairwise_*_distance`."""

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest

import metricops
from metricops import (
    cosine_similarity,
    l2_normalize,
    nearest_neighbors,
    pairwise_cosine_distance,
    pairwise_cosine_similarity,
    pairwise_euclidean_distance,
    pairwise_manhattan_distance,
    pairwise_snr_distance,
    pairwise_squared_euclidean_distance,
    recall_at_k,
)
from tests.conftest import require
from tests.definitions import numeric_gradient, pairwise

X = [[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]]
Y = [[2.0, 1.0, 1.0], [0.0, -1.0, 0.25], [1.0, 1.0, -1.0], [4.0, 0.0, 0.5]]
UPSTREAM = [[1.0, -2.0, 0.5, 3.0], [0.25, 1.0, -1.0, 2.0]]
WORKING = mpmath.MPContext()
WORKING.dps = 60


def exact(row):
    """Return the entries of a row as they are, so that sums of them are exact."""
    return [Fraction(float(a)) for a in row]


def root(x):
    return float(WORKING.sqrt(WORKING.mpf(x.numerator) / x.denominator))


def squares(x, y):
    return sum((a - b) ** 2 for a, b in zip(exact(x), exact(y), strict=True))


def variance(x):
    mean = sum(x) / len(x)
    return sum((a - mean) ** 2 for a in x) / len(x)


def squared_euclidean(x, y):
    return float(squares(x, y))


def euclidean(x, y):
    return root(squares(x, y))


def manhattan(x, y):
    return float(sum(abs(a - b) for a, b in zip(exact(x), exact(y), strict=True)))


def snr(x, y):
    noise = variance([a - b for a, b in zip(exact(x), exact(y), strict=True)])
    signal = variance(exact(x))
    if noise == 0:
        return 0.0
    return math.inf if signal == 0 else float(noise / signal)


def cosine_distance(x, y):
    """Return 1 less the cosine, in digits enough for the nearest of vectors."""
    x, y = ([WORKING.mpf(float(a)) for a in row] for row in (x, y))
    lengths = WORKING.norm(x) * WORKING.norm(y)
    if lengths == 0:
        return 1.0
    return float(1 - WORKING.fdot(x, y) / lengths)


DISTANCES = {
    pairwise_cosine_distance: cosine_distance,
    pairwise_euclidean_distance: euclidean,
    pairwise_manhattan_distance: manhattan,
    pairwise_snr_distance: snr,
    pairwise_squared_euclidean_distance: squared_euclidean,
}
every = pytest.mark.parametrize(
    ("function", "pair"),
    DISTANCES.items(),
    ids=[f.__name__.split("_", 1)[1].removesuffix("_distance") for f in DISTANCES],
)
exactly = pytest.mark.parametrize(
    ("function", "pair"),
    [item for item in DISTANCES.items() if item[0] is not pairwise_cosine_distance],
    ids=["euclidean", "manhattan", "snr", "squared_euclidean"],
)


def rows(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


# Values.


@every
def test_every_row_meets_every_row(run, function, pair):
    result = run(function, X, Y)
    np.testing.assert_allclose(result, pairwise(pair, X, Y), rtol=2e-6)


@every
def test_every_row_meets_every_row_when_traced(traced, function, pair):
    result = traced(function, X, Y)
    np.testing.assert_allclose(result, pairwise(pair, X, Y), rtol=2e-6)


@every
def test_one_set_meets_itself(run, function, pair):
    result = run(function, Y)
    np.testing.assert_allclose(result, pairwise(pair, Y, Y), rtol=2e-6, atol=1e-15)


def test_one_set_meets_itself_when_traced(traced):
    result = traced(pairwise_euclidean_distance, Y)
    np.testing.assert_allclose(result, pairwise(euclidean, Y, Y), rtol=2e-6)


@every
def test_leading_axes_are_a_batch(run, function, pair):
    leading = (2, 3)
    x = rows(3 * math.prod(leading), 4).reshape(*leading, 3, 4)
    y = rows(5 * math.prod(leading), 4, seed=1).reshape(*leading, 5, 4)
    expected = np.zeros((*leading, 3, 5))
    for index in np.ndindex(leading):
        expected[index] = pairwise(pair, x[index], y[index])
    np.testing.assert_allclose(run(function, x, y), expected, rtol=1e-5)


def test_leading_axes_are_a_batch_when_traced(traced):
    x = rows(6, 4).reshape(2, 3, 4)
    expected = [pairwise(euclidean, part, part) for part in x]
    result = traced(pairwise_euclidean_distance, x)
    np.testing.assert_allclose(result, expected, rtol=1e-5)


# So wide that a panel holds a part of the rows and of the columns: 2**18 differences.
WIDE = rows(33, 1400), rows(23, 1400, seed=1)


# The definitions take their time, so they are asked of some pairs.
SOME = slice(None, None, 11), slice(None, None, 7)


def assert_some(result, pair):
    assert result.shape == (33, 23)
    expected = pairwise(pair, WIDE[0][SOME[0]], WIDE[1][SOME[1]])
    np.testing.assert_allclose(result[SOME], expected, rtol=3e-6)


@every
def test_panels_make_no_difference(run, function, pair):
    assert_some(run(function, *WIDE), pair)


def test_panels_make_no_difference_when_traced(traced):
    assert_some(traced(pairwise_snr_distance, *WIDE), snr)


@every
@pytest.mark.parametrize(("n", "m"), [(0, 3), (2, 0)])
def test_no_rows_give_no_pairs(run, function, pair, n, m):
    x, y = np.zeros((n, 4), np.float32), np.zeros((m, 4), np.float32)
    assert run(function, x, y).shape == (n, m)


@every
def test_no_features_are_as_far_as_zero_rows(run, function, pair):
    x, y = np.zeros((2, 0), np.float32), np.zeros((3, 0), np.float32)
    expected = float(pair is cosine_distance)
    np.testing.assert_array_equal(run(function, x, y), np.full((2, 3), expected))


@every
@pytest.mark.parametrize("n", [2, 600])  # in one panel, and in several
def test_no_features_are_as_far_as_zero_rows_when_traced(traced, function, pair, n):
    x, y = np.zeros((n, 0), np.float32), np.zeros((n + 1, 0), np.float32)
    expected = float(pair is cosine_distance)
    np.testing.assert_array_equal(traced(function, x, y), np.full((n, n + 1), expected))


@every
@pytest.mark.parametrize("n", [2, 600])
def test_no_features_have_a_gradient(gradient, function, pair, n):
    x, y = np.zeros((n, 0), np.float32), np.zeros((n + 1, 0), np.float32)
    result = gradient(function, x, y, upstream=np.ones((n, n + 1)))
    assert [got.shape for got in result] == [x.shape, y.shape]


@every
@pytest.mark.parametrize("n", [2, 600])
def test_no_features_have_a_gradient_when_traced(traced_gradient, function, pair, n):
    x, y = np.zeros((n, 0), np.float32), np.zeros((n + 1, 0), np.float32)
    result = traced_gradient(function, x, y, upstream=np.ones((n, n + 1)))
    assert [got.shape for got in result] == [x.shape, y.shape]


@every
def test_a_nan_stays_in_its_row(run, function, pair):
    result = run(function, [[math.nan, 1.0], [1.0, 0.0]], [[1.0, 0.0], [2.0, 0.5]])
    expected = pairwise(pair, [[1.0, 0.0]], [[1.0, 0.0], [2.0, 0.5]])
    assert np.all(np.isnan(result[0]))
    np.testing.assert_allclose(result[1:], expected, rtol=1e-6)


# Accuracy: what the expansion |x|^2 + |y|^2 - 2 x.y gets wrong.


def near_in_a_cloud(step):
    x = rows(8, 33)
    return x, x + np.float32(step) * rows(8, 33, seed=1)


def around(offset):
    return rows(8, 33) + np.float32(offset), rows(8, 33, seed=1) + np.float32(offset)


def times(scale):
    return tuple(z * np.float32(scale) for z in around(0))


def few(x, y):
    """Return two sets of a few short rows, filled up with zeros."""
    given = np.zeros((2, 8, 33), np.float32)
    for side, part in enumerate((x, y)):
        given[side, : len(part), : len(part[0])] = part
    return tuple(given)


HARD = [
    near_in_a_cloud(1e-3),
    near_in_a_cloud(1e-6),
    around(1e4),
    (around(1e4)[0], around(0)[1]),
    times(1e30),
    times(1e-30),
    tuple(np.concatenate([z[:3], z[3:6] * 1e30, z[6:] * 1e-30]) for z in around(0)),
    few([[1000, 1]], [[1000.001, 1]]),
    few([[1, 0], [1e-20, 0]], [[1, 1e-30], [1, 1e-15], [1e-20, 1e30]]),
]
HARD_X, HARD_Y = (np.stack(side) for side in zip(*HARD, strict=True))


def assert_within_ulps(result, pair):
    """Assert that what float32 holds is right to a few ulps: 2e-6 is 17 of them."""
    expected = np.asarray([pairwise(pair, *both) for both in HARD])
    held = (expected <= np.finfo(np.float32).max) & (expected > 1e-37)
    np.testing.assert_allclose(result[held], expected[held], rtol=2e-6)
    assert np.all(result[expected < 1e-45] == 0)


@exactly
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_distances_are_right_to_a_few_ulps(run, function, pair):
    assert_within_ulps(run(function, HARD_X, HARD_Y), pair)


def test_distances_are_right_to_a_few_ulps_when_traced(traced):
    result = traced(pairwise_euclidean_distance, HARD_X, HARD_Y)
    assert_within_ulps(result, euclidean)


@pytest.mark.parametrize(("step", "rtol"), [(1e-1, 1e-5), (1e-3, 1e-4), (1e-4, 1e-3)])
def test_nearly_equal_directions_have_an_accurate_cosine_distance(run, step, rtol):
    x, y = near_in_a_cloud(step)
    result = run(pairwise_cosine_distance, x, 7 * y)
    np.testing.assert_allclose(result, pairwise(cosine_distance, x, 7 * y), rtol=rtol)


@exactly
def test_the_diagonal_is_exactly_zero(run, function, pair):
    x = around(1e4)[0]
    np.testing.assert_array_equal(np.diagonal(run(function, x)), np.zeros(8))


@exactly
def test_a_copy_is_exactly_at_zero(run, function, pair):
    x = around(0)[0]
    np.testing.assert_array_equal(np.diagonal(run(function, x, x)), np.zeros(8))


def test_the_diagonal_of_cosine_distances_is_zero_to_rounding(run):
    # XLA rounds once where it fuses the scaling of a row with a difference.
    result = run(pairwise_cosine_distance, around(0)[0])
    np.testing.assert_allclose(np.diagonal(result), np.zeros(8), atol=1e-15)


def whole(n, d, seed=0):
    return np.random.default_rng(seed).integers(-5, 6, (n, d)).astype(np.float32)


def all_squares(x, y):
    return np.sum((x[:, None, :] - y[None, :, :]).astype(int) ** 2, axis=-1)


# In one panel, and in several.
@pytest.mark.parametrize(("n", "m"), [(20, 30), (200, 300)])
@pytest.mark.parametrize("scale", [1.0, 3 * 2.0**60])
def test_equal_distances_of_whole_rows_are_equal_numbers(run, n, m, scale):
    x, y = whole(n, 6), whole(m, 6, seed=1)
    result = run(pairwise_euclidean_distance, x * scale, y * scale)
    squares = all_squares(x, y)
    first = {square: result.flat[i] for i, square in enumerate(squares.flat)}
    np.testing.assert_array_equal(result, np.vectorize(first.get)(squares))


def test_equal_distances_of_whole_rows_are_equal_numbers_when_traced(traced):
    x, y = whole(200, 6), whole(300, 6, seed=1)
    result, squares = traced(pairwise_euclidean_distance, x, y), all_squares(x, y)
    first = {square: result.flat[i] for i, square in enumerate(squares.flat)}
    np.testing.assert_array_equal(result, np.vectorize(first.get)(squares))


def test_squares_too_large_for_float16_have_a_distance(framework):
    x = framework.asarray([[300.0, 400.0]], "float16")
    y = framework.asarray([[0.0, 0.0]], "float16")
    result = pairwise_euclidean_distance(x, y)
    assert framework.dtype_of(result) == "float16"
    assert framework.to_numpy(result).tolist() == [[500.0]]


# What has no obvious value.


def test_a_zero_vector_has_cosine_distance_one(run):
    result = run(pairwise_cosine_distance, [[0.0, 0.0], [1.0, 2.0]])
    np.testing.assert_array_equal(result, [[1.0, 1.0], [1.0, 0.0]])


def test_opposite_vectors_have_cosine_distance_two(run):
    x = rows(50, 3)
    result = run(pairwise_cosine_distance, x, -x)
    np.testing.assert_allclose(np.diagonal(result), np.full(50, 2.0), rtol=1e-6)
    assert np.all(result <= 2)


def test_without_normalize_products_are_taken_as_cosines(run):
    result = run(pairwise_cosine_distance, X, Y, normalize=False)
    expected = [
        [max(1 - np.dot(x, y), 0.0) for y in np.asarray(Y)] for x in np.asarray(X)
    ]
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-6)


def test_a_constant_anchor_has_snr_zero_to_constants_and_else_infinity(run):
    x, y = [[0.1, 0.1, 0.1]], [[0.1, 0.1, 0.1], [0.7, 0.7, 0.7], [0.1, 0.1, 0.3]]
    result = run(pairwise_snr_distance, x, y)
    np.testing.assert_array_equal(result, [[0.0, 0.0, math.inf]])


@pytest.mark.parametrize("count", [3, 10], ids=["one panel", "several"])
@pytest.mark.parametrize(("dtype", "size"), [("float32", 1e37), ("float64", 1e307)])
def test_snr_of_rows_of_infinite_length_is_a_number(library, count, dtype, size):
    y = rows(count, 4096).astype(np.float64)
    expected = [np.var(row - y, axis=1) / np.var(row) for row in y]
    with library.x64():
        result = pairwise_snr_distance(library.asarray(y * size, dtype))
    np.testing.assert_allclose(
        library.to_numpy(result), expected, rtol=1e-5, atol=1e-12
    )


def test_an_infinite_entry_is_infinitely_far(run):
    x, y = [[math.inf, 0.0]], [[1.0, 2.0]]
    for function in (pairwise_euclidean_distance, pairwise_manhattan_distance):
        np.testing.assert_array_equal(run(function, x, y), [[math.inf]])


@pytest.mark.parametrize("count", [6, 700])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numpy_warns_of_no_infinite_entry(count, dtype):
    """Tests take warnings as errors."""
    x = rows(count, 8).astype(dtype)
    x[1, 2] = math.inf
    for function in (
        *(pairwise_cosine_distance, pairwise_cosine_similarity, l2_normalize),
        *(pairwise_euclidean_distance, pairwise_squared_euclidean_distance),
        *(pairwise_manhattan_distance, pairwise_snr_distance),
    ):
        assert not np.isfinite(function(x)[1]).all()
    assert np.isnan(cosine_similarity(x, x)[1])
    for metric in ("inner_product", "cosine", "euclidean", "sql2", "manhattan", "snr"):
        nearest_neighbors(x, k=2, metric=metric)
        nearest_neighbors(rows(count, 8).astype(dtype) * 1e30, k=2, metric=metric)


# Gradients.


def weighted(pair, upstream, x, y):
    return float(np.sum(np.multiply(upstream, pairwise(pair, x, y))))


@every
def test_the_gradient_is_that_of_the_definition(gradient, function, pair):
    expected = numeric_gradient(lambda x, y: weighted(pair, UPSTREAM, x, y), X, Y)
    result = gradient(function, np.asarray(X), np.asarray(Y), upstream=UPSTREAM)
    for got, want in zip(result, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)


@every
def test_the_gradient_is_that_of_the_definition_when_traced(
    traced_gradient, function, pair
):
    expected = numeric_gradient(lambda x, y: weighted(pair, UPSTREAM, x, y), X, Y)
    result = traced_gradient(function, np.asarray(X), np.asarray(Y), upstream=UPSTREAM)
    for got, want in zip(result, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)


@every
def test_both_parts_of_the_gradient_of_one_set_arrive(gradient, function, pair):
    x = Y[:3]
    upstream = [[0.0, 2.0, 1.0], [-3.0, 0.0, 0.5], [0.25, -1.0, 0.0]]
    (expected,) = numeric_gradient(lambda x: weighted(pair, upstream, x, x), x)
    (result,) = gradient(function, np.asarray(x), upstream=upstream)
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "function",
    [
        pairwise_manhattan_distance,
        pairwise_snr_distance,
        pairwise_squared_euclidean_distance,
    ],
)
def test_the_gradient_of_many_panels_is_the_slope(gradient, function):
    x, y = (z.astype(np.float64) for z in WIDE)
    upstream = rows(33, 23, seed=2).astype(np.float64)
    steps = [
        1e-6 * z.astype(np.float64) for z in (rows(33, 1400, 3), rows(23, 1400, 4))
    ]
    result = gradient(function, x, y, upstream=upstream)
    slope = sum(np.sum(got * step) for got, step in zip(result, steps, strict=True))
    ends = [function(x + s * steps[0], y + s * steps[1]) for s in (0.5, -0.5)]
    expected = np.sum(upstream * (ends[0] - ends[1]))
    np.testing.assert_allclose(slope, expected, rtol=1e-5)


@every
def test_equal_rows_have_gradient_zero(gradient, function, pair):
    x = np.asarray([[1.0, 2.0, 3.0], [-1.0, 0.5, 4.0]], np.float32)
    result = gradient(function, x, x.copy(), upstream=np.eye(2))
    for got in result:
        np.testing.assert_allclose(got, np.zeros((2, 3)), atol=1e-6)


def test_no_gradient_is_nan_at_zero_and_constant_rows(gradient):
    x = np.asarray([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, 2.0, 4.0]], np.float32)
    for function in DISTANCES:
        result = gradient(function, x, x.copy(), upstream=np.ones((3, 3)))
        assert all(np.all(np.isfinite(got)) for got in result), function


@pytest.mark.parametrize(
    ("scale", "size"), [(1e30, 1.0), (1e-30, 1.0), (1e30, 1e-9), (1e-30, 1e10)]
)
def test_the_gradient_of_a_distance_is_of_no_scale(gradient, scale, size):
    x, y = (
        np.asarray(X, np.float32) * np.float32(scale),
        np.asarray(Y, np.float32) * np.float32(scale),
    )
    upstream = np.asarray(UPSTREAM) * size
    result = gradient(pairwise_euclidean_distance, x, y, upstream=upstream)
    expected = numeric_gradient(lambda x, y: weighted(euclidean, UPSTREAM, x, y), X, Y)
    for got, want in zip(result, expected, strict=True):
        np.testing.assert_allclose(got / size, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-38, 1e-42])
def test_the_gradient_of_a_distance_is_finite_where_its_reciprocal_is_not(
    gradient, scale
):
    x = np.asarray(X, np.float32) * np.float32(scale)
    for given in ((x,), (x, x[::-1].copy())):
        count = len(x)
        upstream = np.ones((count, count))
        result = gradient(pairwise_euclidean_distance, *given, upstream=upstream)
        assert all(np.isfinite(got).all() for got in result)
        # Each row has a unit vector to each other, or 0.
        assert all(np.abs(got).max() <= 2 * count for got in result)


def test_products_above_one_keep_their_gradient(gradient):
    x, y = np.asarray([[2.0, 1.0]], np.float32), np.asarray([[3.0, 1.0]], np.float32)
    of_x, of_y = gradient(
        pairwise_cosine_distance, x, y, upstream=[[1.0]], normalize=False
    )
    np.testing.assert_array_equal(of_x, [[-3.0, -1.0]])
    np.testing.assert_array_equal(of_y, [[-2.0, -1.0]])


# Transforms.


@pytest.mark.parametrize(
    "function", [pairwise_manhattan_distance, pairwise_snr_distance]
)
def test_jax_maps_and_differentiates_twice(jax, function):
    x, y = jax.numpy.asarray(X), jax.numpy.asarray(Y)

    def loss(x):
        return jax.numpy.sum(function(x, y) ** 2)

    once = jax.grad(lambda x: jax.numpy.vdot(jax.grad(loss)(x), x))
    assert np.all(np.isfinite(jax.jit(once)(x)))
    batch = jax.numpy.stack([x, 2 * x]), jax.numpy.stack([y, y])
    mapped = jax.jit(jax.vmap(function))(*batch)
    expected = pairwise(DISTANCES[function], (2 * np.asarray(X)).tolist(), Y)
    np.testing.assert_allclose(mapped[1], expected, rtol=1e-6)


@every
@pytest.mark.parametrize("n", [3, 200])  # in one panel, and in several
def test_jax_may_refuse_arrays_of_other_ranks(jax, function, pair, n):
    x, y = jax.numpy.asarray(rows(n, 9)), jax.numpy.asarray(rows(n + 1, 9, seed=1))
    batches = x[None, ...], y[None, ...]
    with jax.numpy_rank_promotion("raise"):
        result = jax.grad(lambda x: jax.numpy.sum(function(x, y)))(x)
        assert result.shape == x.shape
        assert function(*batches).shape == (1, n, n + 1)
        assert function(x).shape == (n, n)


@every
def test_torch_maps_and_differentiates_twice(torch, function, pair):
    x, y = (torch.asarray(z, dtype=torch.float64) for z in (X, rows(4, 3)))
    leaves = [z.clone().requires_grad_() for z in (x, y)]
    assert torch.autograd.gradcheck(function, leaves)
    assert torch.autograd.gradgradcheck(function, leaves)
    mapped = torch.func.vmap(function)(torch.stack([x, 2 * x]), torch.stack([y, y]))
    torch.testing.assert_close(mapped[1], function(2 * x, y))
    each = torch.func.vmap(torch.func.grad(lambda x, y: function(x, y).sum()))
    found = each(torch.stack([x, 2 * x]), torch.stack([y, y]))
    (expected,) = torch.autograd.grad(function(leaves[0], y).sum(), leaves[0])
    torch.testing.assert_close(found[0], expected)


@every
def test_no_array_of_all_differences_is_held(torch, function, pair):
    x, y = (torch.asarray(z, dtype=torch.float32).requires_grad_() for z in WIDE)
    largest = 0
    mode: Any = require("torch.utils._python_dispatch").TorchDispatchMode

    class Sizes(mode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            nonlocal largest
            result = operation(*args, **(kwargs or {}))
            for out in result if isinstance(result, tuple | list) else [result]:
                if isinstance(out, torch.Tensor):
                    largest = max(largest, out.numel())
            return result

    with Sizes():
        function(x, y).sum().backward()
    assert largest <= 2**18 < 33 * 23 * 1400


@every
def test_a_call_is_few_operations(torch, function, pair):
    # Each waits for its slowest thread, which on a busy machine may take a while.
    x, y = (torch.asarray(rows(700, 128, seed)).requires_grad_() for seed in range(2))
    count = 0
    mode: Any = require("torch.utils._python_dispatch").TorchDispatchMode

    class Counts(mode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            nonlocal count
            count += 1
            return operation(*args, **(kwargs or {}))

    with Counts():
        function(x, y).sum().backward()
    assert count <= 500


# The originals.

with np.load(Path(__file__).parent / "data" / "originals.npz") as stored:
    ARRAYS = dict(stored)
CASES = [
    case for case in json.loads(bytes(ARRAYS["manifest"])) if case["op"] == "distance"
]


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_distances_are_those_of_tensorflow_similarity(run, case):
    name = case["params"]["name"]
    query, key = (ARRAYS[f"{case['case']}/in/{side}"] for side in ("query", "key"))
    options = {"normalize": False} if name == "cosine" else {}
    suffix = "" if name == "inner_product" else "_distance"
    function = getattr(metricops, f"pairwise_{name}{suffix}")
    result = run(function, query, key, **options)
    expected = ARRAYS[f"{case['case']}/out/out"]
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


# Arguments.


@every
@pytest.mark.parametrize(
    ("dtype", "rtol"), [("float16", 2e-3), ("bfloat16", 2e-2), ("float64", 1e-14)]
)
def test_the_dtype_stays(run, function, pair, dtype, rtol):
    library, dtypes = run.library, []
    if not library.supports(dtype):
        pytest.skip(f"{library.name} has no {dtype}")

    def noted(x, y):
        result = function(x, y)
        dtypes.append(library.dtype_of(result))
        return result

    result = run(noted, library.asarray(X, dtype), library.asarray(Y, dtype))
    assert set(dtypes) == {dtype}
    np.testing.assert_allclose(result, pairwise(pair, X, Y), rtol=rtol)


@every
def test_integers_are_taken_as_floats(run, function, pair):
    x, y = [[1, 2, -1], [5, 0, 3]], [[2, 1, 1], [0, -1, 4]]
    result = run(function, x, y)
    assert result.dtype.kind == "f"
    np.testing.assert_allclose(result, pairwise(pair, x, y), rtol=2e-6)


@every
def test_rows_that_do_not_fit_are_named(library, function, pair):
    x, y = library.asarray(X), library.asarray([[1.0, 2.0]])
    message = r"`y` must have shape \(m, 3\), to fit `x`; got shape \(1, 2\)\."
    with pytest.raises(ValueError, match=message):
        function(x, y)
    with pytest.raises(ValueError, match=r"`x` must have shape \(\.\.\., n, d\); got"):
        function(library.asarray([1.0, 2.0]))


# Neighbours by distance.

METRICS = {
    "euclidean": ("l2", " Pythagorean", "EuclideanDistance"),
    "manhattan": ("L1", "taxicab\n", "ManhattanDistance"),
    "snr": ("signal-to-noise-ratio", "SNRDistance"),
    "squared_euclidean": ("SQL2", "sqeuclidean", "SquaredEuclideanDistance"),
}
PAIRS = dict(zip(METRICS, (euclidean, manhattan, snr, squared_euclidean), strict=True))
metrics = pytest.mark.parametrize("metric", METRICS)


def assert_nearest(result, metric, queries, keys, k):
    distances = np.asarray(pairwise(PAIRS[metric], queries, keys))
    if queries is keys:
        np.fill_diagonal(distances, math.inf)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(result[1], order)
    expected = np.take_along_axis(distances, order, axis=1)
    np.testing.assert_allclose(result[0], expected, rtol=2e-6)


@metrics
def test_the_nearest_keys_come_first(run, metric):
    queries, keys = rows(6, 4), rows(9, 4, seed=1)
    for block_size in (None, 4):
        result = run(
            nearest_neighbors, queries, keys, k=3, metric=metric, block_size=block_size
        )
        assert_nearest(result, metric, queries, keys, 3)


def test_the_nearest_keys_come_first_when_traced(traced):
    queries, keys = rows(6, 4), rows(9, 4, seed=1)
    result = traced(nearest_neighbors, queries, keys, k=3, metric="euclidean")
    assert_nearest(result, "euclidean", queries, keys, 3)


@metrics
def test_no_query_is_its_own_neighbour(run, metric):
    queries = rows(7, 4)
    result = run(nearest_neighbors, queries, k=6, metric=metric)
    assert_nearest(result, metric, queries, queries, 6)


@pytest.mark.parametrize(
    ("metric", "alias"), [(m, alias) for m in METRICS for alias in METRICS[m]]
)
def test_an_alias_is_the_metric(metric, alias):
    queries = rows(7, 4)
    result = nearest_neighbors(queries, k=2, metric=alias)
    assert_nearest(result, metric, queries, queries, 2)


def test_equally_near_keys_come_by_index(run):
    keys = [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, 0.5]]
    result = run(nearest_neighbors, [[0.0, 0.0]], keys, k=4, metric="euclidean")
    np.testing.assert_array_equal(result[1], [[3, 0, 1, 2]])


def test_equally_far_whole_rows_come_by_index(run):
    queries, keys = whole(60, 4), whole(70, 4, seed=1)
    result = run(nearest_neighbors, queries, keys, k=70, metric="euclidean")
    order = np.argsort(all_squares(queries, keys), axis=1, kind="stable")
    np.testing.assert_array_equal(result[1], order)


def test_recall_by_distance_is_the_share_of_hits(run):
    x = [[0.0, 0.0], [0.0, 1.0], [5.0, 5.0], [5.0, 7.0], [1.0, 1.0]]
    result = run(recall_at_k, x, [0, 0, 1, 1, 1], k=(1, 2), metric="l1")
    assert [round(float(result[k]), 6) for k in (1, 2)] == [0.8, 0.8]


def test_an_unknown_metric_is_named_with_the_nearest():
    with pytest.raises(ValueError, match=r"got 'euclidian'\. Nearest: 'euclidean'\."):
        nearest_neighbors(rows(3, 2), metric="euclidian")


def slope_of(framework, function):
    """Return the derivative of a function of a number, itself differentiable."""
    if framework.name == "jax":
        return require("jax").grad(function)

    def slope(s):
        if framework.name == "torch":
            (found,) = framework.module.autograd.grad(function(s), s, create_graph=True)
            return found
        with framework.module.GradientTape() as tape:
            tape.watch(s)
            result = function(s)
        return tape.gradient(result, s)

    return slope


def test_a_length_has_derivatives_of_every_order(framework):
    # Of √(1 + s²), at 1.
    def distance(s):
        rows = framework.asarray([[1.0, 0.0]]) * s + framework.asarray([[0.0, 1.0]])
        return pairwise_euclidean_distance(rows, rows * 0.0)[0, 0]

    one = framework.asarray(np.float32(1))
    if framework.name == "torch":
        one.requires_grad_()
    third = slope_of(framework, slope_of(framework, slope_of(framework, distance)))
    found = [framework.to_numpy(f(one)) for f in (third, slope_of(framework, third))]
    np.testing.assert_allclose(found, [-3 / 2**2.5, 9 / 2**3.5], rtol=1e-5)
