"""`l2_normalize`: every row to length 1, and zero to zero."""

import math
from functools import partial

import numpy as np
import pytest

from metricops import cosine_similarity, cosine_similarity_loss, l2_normalize
from tests.conftest import having
from tests.definitions import normalized, numeric_gradient

X = [[3.0, 4.0], [-1.0, 2.0], [0.5, 0.25]]
CUBE = np.random.default_rng(0).standard_normal((2, 3, 4))


def expected_rows(rows):
    return [normalized(row) for row in rows]


def test_rows_are_divided_by_their_length(run):
    np.testing.assert_allclose(run(l2_normalize, X), expected_rows(X), rtol=1e-6)


def test_rows_are_divided_by_their_length_when_traced(traced):
    np.testing.assert_allclose(traced(l2_normalize, X), expected_rows(X), rtol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_the_axis_is_the_one_asked_for(run, axis):
    rows = np.moveaxis(CUBE, axis, -1)
    expected = np.asarray([expected_rows(matrix) for matrix in rows])
    result = run(l2_normalize, CUBE.astype(np.float32), axis=axis)
    np.testing.assert_allclose(np.moveaxis(result, axis, -1), expected, rtol=1e-5)


@pytest.mark.parametrize("axis", [(1, 2), (0, -1), [0, 2]])
def test_several_axes_are_normalised_as_one(run, axis):
    lengths = np.zeros_like(CUBE)
    for index in np.ndindex(CUBE.shape):
        chosen = [i % 3 for i in axis]
        cut = tuple(slice(None) if i in chosen else index[i] for i in range(3))
        lengths[index] = math.hypot(*CUBE[cut].ravel())
    result = run(l2_normalize, CUBE.astype(np.float32), axis=axis)
    np.testing.assert_allclose(result, CUBE / lengths, rtol=1e-5)


def test_a_vector_is_one_row(run):
    np.testing.assert_allclose(run(l2_normalize, [3.0, 4.0]), [0.6, 0.8], rtol=1e-6)


def test_a_zero_row_stays_zero(run):
    np.testing.assert_array_equal(run(l2_normalize, [[0.0, 0.0]]), [[0.0, 0.0]])


@pytest.mark.parametrize("other", [0.0, 1e-30, 1e30, np.nan])
def test_a_row_is_the_same_beside_any_other(run, other):
    rows = np.random.default_rng(0).standard_normal((200, 48)).astype("f4")
    every = np.concatenate([rows, np.full((1, 48), other, "f4")])
    alone, beside = run(l2_normalize, rows), run(l2_normalize, every)
    np.testing.assert_array_equal(beside[:-1], alone)


@having(
    "run",
    "dtype, scale",
    [
        ("float16", 6e4),
        ("float16", 1e-4),
        ("bfloat16", 1e30),
        ("bfloat16", 1e-30),
        ("float32", 1e30),
        ("float32", 3e38),
        ("float32", 1e-30),
        ("float64", 1e200),
        ("float64", 1e-200),
    ],
)
def test_a_length_neither_overflows_nor_underflows(run, dtype, scale):
    x = run.library.asarray([[scale, -scale, 0.0, scale]], dtype)
    third = 1 / math.sqrt(3)
    expected = [[third, -third, 0.0, third]]
    rtol = {"float16": 1e-3, "bfloat16": 8e-3}.get(dtype, 1e-6)
    np.testing.assert_allclose(run(l2_normalize, x), expected, rtol=rtol)


@pytest.mark.parametrize("scale", [8.5e37, 1e30, 1e-30])
def test_a_length_neither_overflows_nor_underflows_when_traced(traced, scale):
    result = traced(l2_normalize, [[3 * scale, 4 * scale]])
    np.testing.assert_allclose(result, [[0.6, 0.8]], rtol=1e-6)


def test_a_nan_stays_in_its_row(run):
    result = run(l2_normalize, [[math.nan, 1.0], [3.0, 4.0]])
    np.testing.assert_allclose(result, [[math.nan] * 2, [0.6, 0.8]], rtol=1e-6)


def test_a_nan_stays_in_its_row_when_traced(traced):
    result = traced(l2_normalize, [[math.nan, 1.0], [3.0, 4.0]])
    np.testing.assert_allclose(result, [[math.nan] * 2, [0.6, 0.8]], rtol=1e-6)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 0, 4)])
def test_nothing_normalises_to_nothing(run, shape):
    assert run(l2_normalize, np.zeros(shape, np.float32)).shape == shape


UPSTREAM = [[1.0, 2.0], [-3.0, 0.5], [0.0, 4.0]]


def weighted(x):
    """Return one number that depends on every entry of a normalised matrix."""
    return float(np.sum(np.multiply(UPSTREAM, expected_rows(x))))


def test_the_gradient_is_that_of_the_definition(gradient):
    (expected,) = numeric_gradient(weighted, X)
    (result,) = gradient(l2_normalize, np.asarray(X), upstream=UPSTREAM)
    np.testing.assert_allclose(result, expected, atol=1e-8)


def test_the_gradient_is_that_of_the_definition_when_traced(traced_gradient):
    (expected,) = numeric_gradient(weighted, X)
    (result,) = traced_gradient(l2_normalize, np.asarray(X), upstream=UPSTREAM)
    np.testing.assert_allclose(result, expected, atol=1e-8)


def test_a_zero_row_has_no_gradient(gradient):
    x = np.asarray([[0.0, 0.0], [1.0, 2.0], [0.0, 0.0]], np.float32)
    (result,) = gradient(l2_normalize, x, upstream=UPSTREAM)
    np.testing.assert_array_equal(result[[0, 2]], np.zeros((2, 2)))


def test_a_zero_row_has_no_gradient_when_traced(traced_gradient):
    x = np.asarray([[0.0, 0.0], [1.0, 2.0], [0.0, 0.0]], np.float32)
    (result,) = traced_gradient(l2_normalize, x, upstream=UPSTREAM)
    np.testing.assert_array_equal(result[[0, 2]], np.zeros((2, 2)))


def beside_zeros(library, shape, x):
    """Return the cosines with rows of which a compiler knows that they are 0."""
    return cosine_similarity(library.module.zeros(shape), x)


@pytest.mark.parametrize("shape", [(2, 3), (2, 1), (1, 3)])
def test_rows_that_are_known_to_be_zero_have_no_gradient(gradient, shape):
    # XLA makes one square of what all entries are multiplied by: 0 times infinity.
    call = partial(beside_zeros, gradient.library, shape)
    (result,) = gradient(call, np.ones(shape, np.float32), upstream=np.ones(shape[0]))
    np.testing.assert_array_equal(result, np.zeros(shape))


@pytest.mark.parametrize("shape", [(2, 3), (2, 1), (1, 3)])
def test_rows_that_are_known_to_be_zero_have_no_gradient_traced(traced_gradient, shape):
    call = partial(beside_zeros, traced_gradient.library, shape)
    (result,) = traced_gradient(
        call, np.ones(shape, np.float32), upstream=np.ones(shape[0])
    )
    np.testing.assert_array_equal(result, np.zeros(shape))


@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_the_gradient_of_extreme_rows_is_right(gradient, scale):
    # A row's gradient is inversely proportional to its scale, and can be represented.
    (expected,) = numeric_gradient(weighted, X)
    (result,) = gradient(
        l2_normalize, np.float32(np.asarray(X) * scale), upstream=UPSTREAM
    )
    np.testing.assert_allclose(
        np.float64(result) * scale, expected, rtol=1e-5, atol=1e-6
    )


# Their lengths are no float32, but their gradients are.
LONGEST = np.asarray([[3e38, -3e38, 1e38], [2e38, 3e38, -3e38]], np.float32)
LARGE = 1e6 * np.asarray([[1.0, 2.0, -1.0], [0.5, 3.0, 2.0]])


def of_unit(x, upstream):
    """Return the gradient by x of ``sum(upstream * x / |x|)``."""
    x = np.float64(x)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    unit = x / length
    return (upstream - unit * np.sum(upstream * unit, axis=1, keepdims=True)) / length


def test_the_gradient_of_a_row_of_infinite_length_is_right(gradient):
    (result,) = gradient(l2_normalize, LONGEST, upstream=LARGE)
    np.testing.assert_allclose(result, of_unit(LONGEST, LARGE), rtol=1e-5)


def test_the_gradient_of_a_loss_of_rows_of_infinite_length_is_right(gradient):
    loss = partial(cosine_similarity_loss, reduction="none")
    _, result = gradient(loss, np.float32(LARGE), LONGEST, upstream=[1e6, -1e6])
    unit = LARGE / np.linalg.norm(LARGE, axis=1, keepdims=True)
    expected = of_unit(LONGEST, -unit * [[1e6], [-1e6]])
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_rows_that_a_jitted_function_holds_may_be_zero(jax):
    # They are no tracers, and XLA knows them as constants.
    x, y = (
        jax.numpy.asarray([[3.0, 4.0], [0, 0]]),
        jax.numpy.asarray([[4.0, 3.0], [1, 0]]),
    )
    units = jax.jit(lambda: l2_normalize(x))()
    np.testing.assert_allclose(units, [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)
    cosines = jax.jit(lambda: cosine_similarity(x, y))()
    np.testing.assert_allclose(cosines, [0.96, 0], rtol=1e-6)


def test_jax_may_refuse_arrays_of_other_ranks(jax):
    with jax.numpy_rank_promotion("raise"):
        result = jax.grad(lambda x: jax.numpy.sum(l2_normalize(x)))
        assert result(jax.numpy.ones((2, 3))).shape == (2, 3)
