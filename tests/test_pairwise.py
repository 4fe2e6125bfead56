"""`pairwise_inner_product` and `pairwise_cosine_similarity`."""

import math

import numpy as np
import pytest

from metricops import pairwise_cosine_similarity, pairwise_inner_product
from tests.conftest import having
from tests.definitions import cosine, inner_product, numeric_gradient, pairwise

X = [[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]]
Y = [[2.0, 1.0, 1.0], [0.0, -1.0, 0.25], [1.0, 1.0, 1.0], [4.0, 0.0, 0.5]]

both = pytest.mark.parametrize(
    ("function", "pair"),
    [(pairwise_inner_product, inner_product), (pairwise_cosine_similarity, cosine)],
    ids=["inner_product", "cosine"],
)


@both
def test_every_row_meets_every_row(run, function, pair):
    result = run(function, X, Y)
    np.testing.assert_allclose(result, pairwise(pair, X, Y), rtol=1e-6, atol=1e-7)


@both
def test_every_row_meets_every_row_when_traced(traced, function, pair):
    result = traced(function, X, Y)
    np.testing.assert_allclose(result, pairwise(pair, X, Y), rtol=1e-6, atol=1e-7)


@both
def test_one_set_meets_itself(run, function, pair):
    result = run(function, Y)
    np.testing.assert_allclose(result, pairwise(pair, Y, Y), rtol=1e-6, atol=1e-7)


@both
def test_one_set_meets_itself_when_traced(traced, function, pair):
    result = traced(function, Y)
    np.testing.assert_allclose(result, pairwise(pair, Y, Y), rtol=1e-6, atol=1e-7)


@both
@pytest.mark.parametrize("leading", [(2,), (2, 3)])
def test_leading_axes_are_a_batch(run, function, pair, leading):
    generator = np.random.default_rng(0)
    x = generator.standard_normal((*leading, 3, 4)).astype(np.float32)
    y = generator.standard_normal((*leading, 5, 4)).astype(np.float32)
    expected = np.zeros((*leading, 3, 5))
    for index in np.ndindex(leading):
        expected[index] = pairwise(pair, x[index].tolist(), y[index].tolist())
    np.testing.assert_allclose(run(function, x, y), expected, rtol=1e-5, atol=1e-6)


@both
def test_leading_axes_are_a_batch_when_traced(traced, function, pair):
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    expected = [pairwise(pair, rows, rows) for rows in x.tolist()]
    np.testing.assert_allclose(traced(function, x), expected, rtol=1e-5, atol=1e-6)


@both
@pytest.mark.parametrize(("n", "m"), [(0, 3), (2, 0), (0, 0)])
def test_no_rows_give_no_pairs(run, function, pair, n, m):
    x, y = np.zeros((n, 4), np.float32), np.zeros((m, 4), np.float32)
    assert run(function, x, y).shape == (n, m)


@both
def test_no_features_give_zeros(run, function, pair):
    x, y = np.zeros((2, 0), np.float32), np.zeros((3, 0), np.float32)
    np.testing.assert_array_equal(run(function, x, y), np.zeros((2, 3)))


@both
def test_a_nan_stays_in_its_row(run, function, pair):
    result = run(function, [[math.nan, 1.0], [1.0, 0.0]], [[1.0, 0.0], [2.0, 0.0]])
    expected = [[math.nan] * 2, [1.0, 1.0 if pair is cosine else 2.0]]
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_the_values_of_tensorflow_similaritys_tests_are_exact(run):
    # Its `test_inner_product_vals` asserts these bits.
    a = np.asarray([[0.1, 0.3, 0.2], [0.0, 0.1, 0.5]], np.float32)
    x = np.float32(a / np.sqrt(np.sum(np.float64(a) ** 2, axis=1, keepdims=True)))
    result = run(pairwise_inner_product, x)
    np.testing.assert_allclose(np.diagonal(result), [1, 1], atol=1.2e-7)
    np.testing.assert_allclose(result[0, 1], 0.68138516, atol=1.2e-7)


def test_a_zero_row_is_at_right_angles_to_everything(run):
    result = run(pairwise_cosine_similarity, [[0.0, 0.0], [1.0, 0.0]])
    np.testing.assert_array_equal(result, [[0.0, 0.0], [0.0, 1.0]])


@having(
    "run",
    "dtype, scale",
    [
        ("float16", 6e4),
        ("float16", 1e-4),
        ("bfloat16", 1e30),
        ("float32", 1e30),
        ("float32", 3e38),
        ("float32", 1e-30),
        ("float64", 1e200),
        ("float64", 1e-200),
    ],
)
def test_the_scale_of_a_row_does_not_matter(run, dtype, scale):
    x = run.library.asarray([[scale, scale]], dtype)
    y = run.library.asarray([[1.0, 1.0], [0.0, -scale]], dtype)
    rtol = {"float16": 1e-3, "bfloat16": 8e-3}.get(dtype, 1e-6)
    result = run(pairwise_cosine_similarity, x, y)
    np.testing.assert_allclose(result, [[1.0, -math.sqrt(0.5)]], rtol=rtol)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_cosine_is_never_more_than_one(run, sign):
    x = np.random.default_rng(0).standard_normal((200, 7)).astype(np.float32)
    result = run(pairwise_cosine_similarity, x, sign * x)
    assert np.max(np.abs(result)) <= 1
    np.testing.assert_allclose(np.diagonal(result), sign, rtol=1e-6)


def test_a_cosine_is_never_more_than_one_when_traced(traced):
    x = np.random.default_rng(0).standard_normal((200, 7)).astype(np.float32)
    assert np.max(np.abs(traced(pairwise_cosine_similarity, x))) <= 1


UPSTREAM = [[1.0, 2.0, -3.0, 0.5], [0.0, 4.0, 1.0, -2.0]]


def weighted(pair, x, y):
    """Return one number that depends on every pair of a 2 x 4 matrix."""
    return float(np.sum(np.multiply(UPSTREAM, pairwise(pair, x, y))))


@both
def test_the_gradient_is_that_of_the_definition(gradient, function, pair):
    expected = numeric_gradient(lambda x, y: weighted(pair, x, y), X, Y)
    result = gradient(function, np.asarray(X), np.asarray(Y), upstream=UPSTREAM)
    for got, want in zip(result, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-8)


@both
def test_the_gradient_is_that_of_the_definition_when_traced(
    traced_gradient, function, pair
):
    expected = numeric_gradient(lambda x, y: weighted(pair, x, y), X, Y)
    result = traced_gradient(function, np.asarray(X), np.asarray(Y), upstream=UPSTREAM)
    for got, want in zip(result, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-8)


@both
def test_both_parts_of_the_gradient_of_one_set_arrive(gradient, function, pair):
    upstream = [[1.0, 2.0], [-3.0, 0.5]]

    def weighted_pairs(x):
        return float(np.sum(np.multiply(upstream, pairwise(pair, x, x))))

    (expected,) = numeric_gradient(weighted_pairs, X)
    (result,) = gradient(function, np.asarray(X), upstream=upstream)
    np.testing.assert_allclose(result, expected, atol=1e-8)


def test_a_zero_row_has_no_gradient(gradient):
    x = np.asarray([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]], np.float32)
    result, _ = gradient(
        pairwise_cosine_similarity, x, np.asarray(Y, np.float32), upstream=UPSTREAM
    )
    np.testing.assert_array_equal(result[0], [0.0, 0.0, 0.0])
    assert np.all(np.isfinite(result))
    assert np.all(result[1] != 0)


@both
def test_jax_may_refuse_arrays_of_other_ranks(jax, function, pair):
    x, y = jax.numpy.asarray(X), jax.numpy.asarray(Y)
    with jax.numpy_rank_promotion("raise"):
        gradient = jax.grad(lambda x: jax.numpy.sum(function(x, y)))(x)
        assert gradient.shape == x.shape
        assert function(x[None, ...], y[None, ...]).shape == (1, 2, 4)
