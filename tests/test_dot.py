"""`dot`: `keras.layers.Dot` on arrays."""

import math
from itertools import product

import numpy as np
import pytest

from metricops import dot
from tests.conftest import having
from tests.definitions import inner_product, normalized, numeric_gradient

# Shapes and axes, every rank and sign that `keras.layers.Dot` takes.
CASES = [
    ((3, 4), (3, 4), 1),
    ((3, 4), (3, 4), (-1, 1)),
    ((2, 4), (2, 4, 6), 1),
    ((2, 4), (2, 6, 4), (1, 2)),
    ((2, 6, 4), (2, 4), [2, 1]),
    ((2, 5, 4), (2, 6, 4), -1),
    ((2, 4, 5), (2, 4, 6), 1),
    ((2, 4, 5), (2, 5, 4), (-1, -2)),
    ((2, 2, 5, 3), (2, 4, 3, 2), (3, 2)),
    ((2, 3), (2, 4, 3, 2), (1, 2)),
]


def by_definition(x, y, axes, transform=list):
    """Return the dot product of each pair of fibres of one sample, pair by pair."""
    first, second = (axes, axes) if isinstance(axes, int) else axes
    x = np.moveaxis(np.asarray(x, np.float64), first, -1)
    y = np.moveaxis(np.asarray(y, np.float64), second, -1)
    shape = x.shape[:-1] + y.shape[1:-1]
    result = np.zeros(shape)
    for sample in range(x.shape[0]):
        for i, j in product(np.ndindex(x.shape[1:-1]), np.ndindex(y.shape[1:-1])):
            left, right = x[(sample, *i)].tolist(), y[(sample, *j)].tolist()
            result[(sample, *i, *j)] = inner_product(transform(left), transform(right))
    return result[:, None] if result.ndim == 1 else result


def pair(x_shape, y_shape):
    generator = np.random.default_rng(0)
    x = generator.standard_normal(x_shape).astype(np.float32)
    return x, generator.standard_normal(y_shape).astype(np.float32)


@pytest.mark.parametrize(("x_shape", "y_shape", "axes"), CASES)
def test_the_axes_are_summed_sample_by_sample(run, x_shape, y_shape, axes):
    x, y = pair(x_shape, y_shape)
    expected = by_definition(x, y, axes)
    result = run(dot, x, y, axes=axes)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("x_shape", "y_shape", "axes"), CASES)
def test_normalised_rows_give_cosines(run, x_shape, y_shape, axes):
    x, y = pair(x_shape, y_shape)
    expected = by_definition(x, y, axes, normalized)
    result = run(dot, x, y, axes=axes, normalize=True)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("x_shape", "y_shape", "axes"), [CASES[0], CASES[4], CASES[8]])
def test_the_axes_are_summed_when_traced(traced, x_shape, y_shape, axes):
    x, y = pair(x_shape, y_shape)
    expected = by_definition(x, y, axes)
    result = traced(dot, x, y, axes=axes)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_the_documented_example_of_keras_is_exact(run):
    x = np.arange(10, dtype=np.int64).reshape(1, 5, 2)
    y = np.arange(10, 20, dtype=np.int64).reshape(1, 2, 5)
    result = run(dot, x, y, axes=(1, 2))
    np.testing.assert_array_equal(result, [[[260, 360], [320, 445]]])


def test_numpy_integers_are_axes(run):
    x, y = pair((3, 4), (3, 4))
    result = run(dot, x, y, axes=np.int64(1))
    np.testing.assert_allclose(result, by_definition(x, y, 1), rtol=1e-5)


@pytest.mark.parametrize("normalize", [False, True])
def test_no_samples_give_no_products(run, normalize):
    x, y = np.zeros((0, 4), np.float32), np.zeros((0, 4, 2), np.float32)
    assert run(dot, x, y, axes=1, normalize=normalize).shape == (0, 2)


def test_no_features_give_zero(run):
    x = np.zeros((3, 0), np.float32)
    np.testing.assert_array_equal(run(dot, x, x, axes=1), np.zeros((3, 1)))


@having("run", "dtype, scale", [("float16", 6e4), ("float32", 3e38)])
def test_normalising_neither_overflows_nor_underflows(run, dtype, scale):
    x = run.library.asarray([[scale, scale]], dtype)
    y = run.library.asarray([[1 / 1024, 0.0]], dtype)
    result = run(dot, x, y, axes=1, normalize=True)
    np.testing.assert_allclose(result, [[math.sqrt(0.5)]], rtol=1e-3)


def test_a_zero_row_is_at_right_angles_to_everything(run):
    result = run(dot, [[0.0, 0.0]], [[1.0, 2.0]], axes=1, normalize=True)
    np.testing.assert_array_equal(result, [[0.0]])


def test_a_normalised_row_times_itself_is_at_most_one(run):
    x = np.random.default_rng(0).standard_normal((2000, 7)).astype(np.float32)
    assert np.max(run(dot, x, x, axes=1, normalize=True)) <= 1


@pytest.mark.parametrize("normalize", [False, True])
def test_a_nan_stays_in_its_sample(run, normalize):
    x, y = [[math.nan, 1.0], [2.0, 0.0]], [[1.0, 1.0], [2.0, 0.0]]
    result = run(dot, x, y, axes=1, normalize=normalize)
    expected = [[math.nan], [1.0 if normalize else 4.0]]
    np.testing.assert_allclose(result, expected, rtol=1e-6)


FIRST = np.random.default_rng(1).standard_normal((2, 3, 2))
SECOND = np.random.default_rng(2).standard_normal((2, 2, 2))


UPSTREAM = np.random.default_rng(3).standard_normal((2, 3, 2))


def weighted(x, y, normalize):
    transform = normalized if normalize else list
    return float(np.sum(UPSTREAM * by_definition(x, y, (2, 1), transform)))


@pytest.mark.parametrize("normalize", [False, True])
def test_the_gradient_is_that_of_the_definition(gradient, normalize):
    expected = numeric_gradient(lambda x, y: weighted(x, y, normalize), FIRST, SECOND)
    result = gradient(
        dot, FIRST, SECOND, axes=(2, 1), normalize=normalize, upstream=UPSTREAM
    )
    for got, want in zip(result, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-8)


def test_the_gradient_is_that_of_the_definition_when_traced(traced_gradient):
    expected = numeric_gradient(lambda x, y: weighted(x, y, True), FIRST, SECOND)
    result = traced_gradient(
        dot, FIRST, SECOND, axes=(2, 1), normalize=True, upstream=UPSTREAM
    )
    for got, want in zip(result, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-8)


def test_a_zero_row_has_no_gradient(gradient):
    zero = np.zeros((1, 3))
    grads = gradient(
        dot, zero, np.ones((1, 3)), axes=1, normalize=True, upstream=[[2.0]]
    )
    for grad in grads:
        np.testing.assert_array_equal(grad, zero)


@pytest.mark.parametrize("normalize", [False, True])
def test_jax_may_refuse_arrays_of_other_ranks(jax, normalize):
    x, y = jax.numpy.ones((2, 5, 3)), jax.numpy.ones((2, 3))
    with jax.numpy_rank_promotion("raise"):
        assert dot(x, y, axes=(2, 1), normalize=normalize).shape == (2, 5)
        assert dot(y, y, axes=1, normalize=normalize).shape == (2, 1)
        assert dot(x, x, axes=1, normalize=normalize).shape == (2, 3, 3)
