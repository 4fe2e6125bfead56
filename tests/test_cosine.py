"""`cosine_similarity` and `cosine_similarity_loss`."""

import math

import numpy as np
import pytest

from metricops import cosine_similarity, cosine_similarity_loss
from tests.conftest import having
from tests.definitions import cosine, numeric_gradient, reduced

X = [[1.0, 2.0, 2.0], [0.0, 1.0, -1.0], [2.0, 0.5, 1.0], [1.0, 0.0, 0.0]]
Y = [[2.0, 0.0, 1.0], [3.0, 1.0, 1.0], [-2.0, 1.0, 0.5], [0.0, 2.0, 1.0]]
ROWS = [cosine(x, y) for x, y in zip(X, Y, strict=True)]
WEIGHTS = [0.5, 2.0, 0.0, 1.5]


def test_a_row_is_compared_with_the_row_beside_it(run):
    np.testing.assert_allclose(run(cosine_similarity, X, Y), ROWS, rtol=1e-6, atol=1e-7)


def test_a_row_is_compared_with_the_row_beside_it_when_traced(traced):
    result = traced(cosine_similarity, X, Y)
    np.testing.assert_allclose(result, ROWS, rtol=1e-6, atol=1e-7)


def test_the_axis_is_left_out_of_the_shape(run):
    columns = [cosine(x, y) for x, y in zip(*map(np.transpose, (X, Y)), strict=True)]
    result = run(cosine_similarity, X, Y, axis=0)
    np.testing.assert_allclose(result, columns, rtol=1e-6, atol=1e-7)


def test_two_vectors_give_a_number(run):
    result = run(cosine_similarity, X[0], Y[0])
    assert result.shape == ()
    np.testing.assert_allclose(result, ROWS[0], rtol=1e-6)


def test_leading_axes_are_kept(run):
    x, y = np.random.default_rng(0).standard_normal((2, 2, 3, 4))
    expected = [list(map(cosine, p, q)) for p, q in zip(x, y, strict=True)]
    result = run(cosine_similarity, np.float32(x), np.float32(y))
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_a_zero_row_is_at_right_angles_to_everything(run):
    result = run(cosine_similarity, [[0.0, 0.0], [0.0, 0.0]], [[1.0, 2.0], [0.0, 0.0]])
    np.testing.assert_array_equal(result, [0.0, 0.0])


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
    x = run.library.asarray([[scale, scale], [scale, -scale]], dtype)
    y = run.library.asarray([[1.0, 1.0], [0.0, 2.0]], dtype)
    expected = [1.0, -math.sqrt(0.5)]
    rtol = {"float16": 1e-3, "bfloat16": 8e-3}.get(dtype, 1e-6)
    np.testing.assert_allclose(run(cosine_similarity, x, y), expected, rtol=rtol)


@having("run", "dtype", ["float32", "float64"])
def test_a_cosine_is_never_more_than_one(run, dtype):
    x = np.random.default_rng(0).standard_normal((2000, 7)).astype(dtype)
    result = run(cosine_similarity, np.concatenate([x, x]), np.concatenate([x, -x]))
    assert np.max(np.abs(result)) <= 1
    np.testing.assert_allclose(np.abs(result), 1, rtol=1e-6)


def test_a_cosine_is_never_more_than_one_when_traced(traced):
    x = np.random.default_rng(0).standard_normal((2000, 7)).astype(np.float32)
    result = traced(cosine_similarity, x, x)
    assert np.max(np.abs(result)) <= 1


def test_a_nan_stays_in_its_row(run):
    x, y = [[math.nan, 1.0], [1.0, 0.0]], [[1.0, 1.0], [1.0, 0.0]]
    np.testing.assert_allclose(run(cosine_similarity, x, y), [math.nan, 1.0], rtol=1e-6)


def test_a_nan_stays_in_its_row_when_traced(traced):
    x, y = [[math.nan, 1.0], [1.0, 0.0]], [[1.0, 1.0], [1.0, 0.0]]
    result = traced(cosine_similarity, x, y)
    np.testing.assert_allclose(result, [math.nan, 1.0], rtol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum", "weighted_mean", "none"])
@pytest.mark.parametrize("weights", [None, 2.0, WEIGHTS], ids=["no", "one", "each"])
def test_the_loss_is_minus_the_cosine_weighted_and_reduced(run, weights, reduction):
    expected = reduced([-row for row in ROWS], weights, reduction)
    result = run(
        cosine_similarity_loss, X, Y, sample_weight=weights, reduction=reduction
    )
    assert result.shape == np.shape(expected)
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("reduction", ["weighted_mean", "none"])
def test_the_loss_is_minus_the_cosine_when_traced(traced, reduction):
    def loss(x, y, weights):
        return cosine_similarity_loss(x, y, sample_weight=weights, reduction=reduction)

    expected = reduced([-row for row in ROWS], WEIGHTS, reduction)
    result = traced(loss, X, Y, WEIGHTS)
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-7)


def test_the_loss_takes_the_axis_asked_for(run):
    columns = [-cosine(x, y) for x, y in zip(*map(np.transpose, (X, Y)), strict=True)]
    result = run(cosine_similarity_loss, X, Y, axis=0, reduction="none")
    np.testing.assert_allclose(result, columns, rtol=1e-6, atol=1e-7)


def test_the_loss_of_two_vectors_is_a_number(run):
    result = run(cosine_similarity_loss, X[0], Y[0], reduction="none")
    assert result.shape == ()
    np.testing.assert_allclose(result, -ROWS[0], rtol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum", "weighted_mean"])
@pytest.mark.parametrize("shape", [(0, 3), (0, 2, 3)])
def test_the_loss_of_an_empty_batch_is_zero(run, shape, reduction):
    empty = np.zeros(shape, np.float32)
    result = run(cosine_similarity_loss, empty, empty, reduction=reduction)
    assert result.shape == ()
    assert result == 0


def definition(x, y):
    rows = [-cosine(a, b) for a, b in zip(x, y, strict=True)]
    return reduced(rows, WEIGHTS, "mean")


def kernel(x, y):
    return cosine_similarity_loss(x, y, sample_weight=WEIGHTS)


def test_the_gradient_is_that_of_the_definition(gradient):
    expected = numeric_gradient(definition, X, Y)
    result = gradient(kernel, np.asarray(X), np.asarray(Y))
    for got, want in zip(result, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-8)


def test_the_gradient_is_that_of_the_definition_when_traced(traced_gradient):
    expected = numeric_gradient(definition, X, Y)
    result = traced_gradient(kernel, np.asarray(X), np.asarray(Y))
    for got, want in zip(result, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-8)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_a_zero_row_has_no_gradient(gradient, dtype):
    with gradient.library.x64():
        x = gradient.library.asarray([[0.0, 0.0], [1.0, 2.0]], dtype)
        y = gradient.library.asarray([[1.0, 3.0], [2.0, -1.0]], dtype)
    grad_x, grad_y = gradient(cosine_similarity_loss, x, y)
    np.testing.assert_array_equal(grad_x[0], [0.0, 0.0])
    np.testing.assert_array_equal(grad_y[0], [0.0, 0.0])
    assert np.all(np.isfinite(grad_x))
    assert np.all(grad_x[1] != 0)


def test_a_zero_row_has_no_gradient_when_traced(traced_gradient):
    x = np.asarray([[0.0, 0.0], [1.0, 2.0]], np.float32)
    y = np.asarray([[1.0, 3.0], [2.0, 2.0]], np.float32)
    grad_x, grad_y = traced_gradient(cosine_similarity_loss, x, y)
    np.testing.assert_array_equal(grad_x[0], [0.0, 0.0])
    np.testing.assert_array_equal(grad_y[0], [0.0, 0.0])
    assert np.all(grad_x[1] != 0)


def test_parallel_rows_have_no_gradient_and_no_nan(gradient):
    # At the ends of [-1, 1], where a careless clip or square root breaks.
    x = np.asarray([[1.0, 2.0, 2.0], [3.0, 0.0, 4.0]])
    for grad in gradient(cosine_similarity_loss, x, -2 * x):
        np.testing.assert_allclose(grad, np.zeros((2, 3)), atol=1e-12)


def test_a_cosine_that_rounds_to_one_keeps_its_gradient(gradient):
    generator = np.random.default_rng(0)
    x = generator.standard_normal((50, 5)).astype(np.float32)
    y = (x + 1e-3 * generator.standard_normal((50, 5))).astype(np.float32)
    result, _ = gradient(cosine_similarity_loss, x, y, reduction="sum")
    (expected,) = numeric_gradient(
        lambda rows: -sum(map(cosine, rows, y.tolist())), x, step=1e-4
    )
    np.testing.assert_allclose(result, expected, atol=2e-2 * np.max(np.abs(expected)))
    assert np.all(np.any(result != 0, axis=1))


def test_jax_may_refuse_arrays_of_other_ranks(jax):
    x = jax.numpy.ones((2, 5, 3))
    with jax.numpy_rank_promotion("raise"):
        assert cosine_similarity(x, x, axis=(0, 2)).shape == (5,)
        result = jax.grad(lambda x: cosine_similarity_loss(x, x, sample_weight=[1, 2]))
        assert result(x).shape == x.shape
