"""`pairwise_*_distance` of rows so many that they come from matrix products."""

import math
from typing import Any

import numpy as np
import pytest

from metricops import (
    pairwise_euclidean_distance,
    pairwise_snr_distance,
    pairwise_squared_euclidean_distance,
)
from metricops._frameworks import library
from tests.conftest import Gradient, Library, require


def rows(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def cloud(n, m, d):
    """Return rows around 100 with spread 30, some equal, and some 1e-5 apart."""
    x = 100 + 30 * rows(n, d)
    y = 100 + 30 * rows(m, d, seed=1)
    count = min(n, m) // 4
    y[:count] = x[:count]
    y[count : 2 * count] = x[count : 2 * count] + 1e-5 * rows(count, d, seed=2)
    return x.astype(np.float32), y.astype(np.float32)


def clusters(n, m, d):
    """Return rows as a trained model gives them: around 64 centres, off the origin."""
    generator = np.random.default_rng(0)
    centres = 3 + generator.standard_normal((64, d))
    return tuple(
        (
            centres[generator.integers(0, 64, count)]
            + 0.05 * generator.standard_normal((count, d))
        ).astype(np.float32)
        for count in (n, m)
    )


def of_all_sizes(n, m, d):
    x, y = rows(n, d), rows(m, d, seed=1)
    for side in (x, y):
        side[3] *= np.float32(1e30)
        side[5] *= np.float32(1e-30)
    return x, y


def random(n, m, d):
    return rows(n, d), rows(m, d, seed=1)


def huge(n, m, d):
    return tuple(z * np.float32(1e30) for z in random(n, m, d))


def tiny(n, m, d):
    return tuple(z * np.float32(1e-30) for z in random(n, m, d))


MANY = {
    make.__name__: make for make in (random, cloud, clusters, huge, tiny, of_all_sizes)
}
many = pytest.mark.parametrize("make", MANY.values(), ids=MANY)
SIZES = (150, 260, 33)


def wide_lengths(x, y):
    """Return lengths in the widest floats that NumPy has, from differences."""
    x, y = (z.astype(np.longdouble) for z in (x, y))
    return np.sqrt(np.sum((x[:, None, :] - y[None, :, :]) ** 2, axis=-1))


def wide_snr(x, y):
    x, y = (z.astype(np.longdouble) for z in (x, y))
    x, y = (z - np.mean(z, axis=-1, keepdims=True) for z in (x, y))
    return (wide_lengths(x, y) / np.sqrt(np.sum(x * x, axis=-1))[:, None]) ** 2


WIDE_LENGTHS = {
    pairwise_euclidean_distance: wide_lengths,
    pairwise_squared_euclidean_distance: lambda x, y: wide_lengths(x, y) ** 2,
    pairwise_snr_distance: wide_snr,
}
by_products = pytest.mark.parametrize(
    ("function", "definition"),
    WIDE_LENGTHS.items(),
    ids=["euclidean", "squared_euclidean", "snr"],
)


def assert_right(result, expected):
    held = (expected < np.finfo(np.float32).max) & (expected > 1e-36)
    np.testing.assert_allclose(result[held], expected[held], rtol=1e-6)
    assert np.all(result[expected < 1e-46] == 0)
    assert np.all(np.isinf(result[expected > 4e38]))


@by_products
@many
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_many_rows_are_as_right_as_few(run, function, definition, make):
    x, y = make(*SIZES)
    assert_right(run(function, x, y), definition(x, y))


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("name", ["random", "cloud"])
def test_many_rows_are_as_right_as_few_when_traced(traced, name):
    x, y = MANY[name](*SIZES)
    result = traced(pairwise_euclidean_distance, x, y)
    assert_right(result, wide_lengths(x, y))


@by_products
def test_many_rows_meet_themselves(run, function, definition):
    x = np.concatenate(cloud(100, 150, 33))
    result = run(function, x)
    assert_right(result, definition(x, x))
    np.testing.assert_array_equal(np.diagonal(result), np.zeros(250))


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_rows_that_are_not_finite_keep_to_themselves(run):
    x, y = random(*SIZES)
    x[2, 1], x[9, 3], y[4, 2], y[7, 3] = math.nan, math.inf, math.nan, -math.inf
    expected = wide_lengths(x, y)
    result = run(pairwise_euclidean_distance, x, y)
    np.testing.assert_allclose(result, expected, rtol=1e-6)
    alone = run(pairwise_euclidean_distance, np.concatenate([x, y]))
    np.testing.assert_allclose(alone[:150, 150:], expected, rtol=1e-6)
    assert np.all(np.isnan(np.diagonal(alone)[[2, 9, 154, 157]]))


def test_panels_of_products_make_no_difference(run, monkeypatch):
    lib = type(library("x", run.library.asarray([0.0])))
    monkeypatch.setattr(lib, "panel", 2**14)
    x, y = cloud(*SIZES)
    result = run(pairwise_euclidean_distance, x, y)
    assert_right(result, wide_lengths(x, y))
    alone = run(pairwise_euclidean_distance, np.concatenate([x, y]))
    np.testing.assert_allclose(alone[:150, 150:], result, rtol=2e-7)


def test_a_device_without_float64_has_distances():
    xp = require("array_api_strict")
    device = xp.Device("no_float64")
    x, y = cloud(*SIZES)
    given = [xp.asarray(z, device=device) for z in (x, y)]
    result = np.asarray(
        xp.asarray(pairwise_euclidean_distance(*given), device=xp.Device("CPU_DEVICE"))
    )
    assert_right(result, wide_lengths(x, y))


def wide_gradient(x, y, upstream, power):
    """Return the gradients of lengths (1) or of their squares (2), in wide floats."""
    lengths = wide_lengths(x, y)
    x, y = (z.astype(np.longdouble) for z in (x, y))
    slope = 2.0 if power == 2 else 1 / np.where(lengths == 0, np.inf, lengths)
    each = (upstream * slope)[:, :, None] * (x[:, None, :] - y[None, :, :])
    return np.sum(each, axis=1), -np.sum(each, axis=0)


@pytest.mark.parametrize(
    ("function", "power"),
    [(pairwise_euclidean_distance, 1), (pairwise_squared_euclidean_distance, 2)],
)
@pytest.mark.parametrize("name", ["random", "cloud", "clusters"])
def test_the_gradient_of_many_rows_is_right(gradient, function, power, name):
    x, y = MANY[name](*SIZES)
    upstream = rows(150, 260, seed=3)
    result = gradient(function, x, y, upstream=upstream)
    for got, want in zip(result, wide_gradient(x, y, upstream, power), strict=True):
        error = np.linalg.norm((got - want).astype(float), axis=1)
        assert np.max(error / np.linalg.norm(want.astype(float), axis=1)) < 2e-6


@pytest.mark.parametrize(("scale", "size"), [(1e-30, 1e10), (1e30, 1e-9)])
def test_the_gradient_of_many_rows_is_of_no_scale(gradient, scale, size):
    check_scale(gradient, scale, size)


@pytest.mark.parametrize(("scale", "size"), [(1e-37, 1.0), (1e-30, 1e6), (1e37, 1.0)])
def test_the_gradient_of_far_rows_is_of_no_scale(scale, size):
    # PyTorch looks where float32 will do.
    check_scale(Gradient(Library("torch"), "eager"), scale, size)


def check_scale(gradient, scale, size):
    x, y = random(*SIZES)
    upstream = np.abs(rows(150, 260, seed=3)) * np.float32(size)
    sides = (z * np.float32(scale) for z in (x, y))
    result = gradient(pairwise_euclidean_distance, *sides, upstream=upstream)
    for got, want in zip(result, wide_gradient(x, y, upstream, 1), strict=True):
        error = np.linalg.norm((got - want).astype(float), axis=1)
        assert np.max(error / np.linalg.norm(want.astype(float), axis=1)) < 2e-6


def test_the_gradient_of_many_rows_is_right_when_traced(traced_gradient):
    x, y = cloud(*SIZES)
    upstream = rows(150, 260, seed=3)
    result = traced_gradient(pairwise_euclidean_distance, x, y, upstream=upstream)
    for got, want in zip(result, wide_gradient(x, y, upstream, 1), strict=True):
        error = np.linalg.norm((got - want).astype(float), axis=1)
        assert np.max(error / np.linalg.norm(want.astype(float), axis=1)) < 2e-6


@pytest.mark.parametrize(
    "function", [pairwise_euclidean_distance, pairwise_squared_euclidean_distance]
)
def test_many_equal_rows_have_gradient_zero(gradient, function):
    x = cloud(200, 200, 33)[0]
    for got in gradient(function, x, x.copy(), upstream=np.eye(200)):
        np.testing.assert_array_equal(got, np.zeros((200, 33)))


def test_the_gradient_of_one_set_of_many_rows_is_right(gradient):
    x = np.concatenate(cloud(100, 150, 33))
    upstream = rows(250, 250, seed=3)
    (result,) = gradient(pairwise_euclidean_distance, x, upstream=upstream)
    expected = np.add(*wide_gradient(x, x, upstream, 1))
    error = np.linalg.norm((result - expected).astype(float), axis=1)
    assert np.max(error / np.linalg.norm(expected.astype(float), axis=1)) < 2e-6


def torch_curvature(function, x, y, step):
    torch = require("torch")
    x, y, step = (torch.asarray(z) for z in (x, y, step))

    def slope(x):
        return torch.func.grad(lambda x: function(x, y).square().sum())(x)

    return torch.func.vjp(slope, x)[1](step)[0].numpy()


def jax_curvature(function, x, y, step):
    jax = require("jax")
    x, y, step = (jax.numpy.asarray(z) for z in (x, y, step))

    def slope(x):
        return jax.grad(lambda x: jax.numpy.sum(function(x, y) ** 2))(x)

    return np.asarray(jax.jit(lambda x: jax.vjp(slope, x)[1](step)[0])(x))


def tf_curvature(function, x, y, step):
    tf = require("tensorflow")
    x, y, step = (tf.constant(z) for z in (x, y, step))
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            total = tf.reduce_sum(function(x, y) ** 2)
        slope = inner.gradient(total, x)
    return outer.gradient(slope, x, output_gradients=step).numpy()


@pytest.mark.parametrize("name", ["torch", "jax", "tensorflow"])
def test_many_rows_have_a_second_derivative(name):
    curvature = {
        "torch": torch_curvature,
        "jax": jax_curvature,
        "tensorflow": tf_curvature,
    }[name]
    x, y = random(*SIZES)
    step = rows(150, 33, seed=5)
    result = curvature(pairwise_euclidean_distance, x, y, step)
    # The sum of squares over all y has the slope 2 (m x - sum of y).
    np.testing.assert_allclose(result, 2 * 260 * step, rtol=1e-3, atol=0.05)


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_many_rows_are_mapped_over(name):
    batches = [np.stack([z, 2 * z]) for z in cloud(*SIZES)]
    vmap: Any = require("torch").vmap if name == "torch" else require("jax").vmap
    array = require("torch").asarray if name == "torch" else np.asarray
    result = vmap(pairwise_euclidean_distance)(*map(array, batches))
    assert_right(np.asarray(result[1]), wide_lengths(*(z[1] for z in batches)))


@pytest.mark.parametrize("n", [6, 250])
def test_distances_are_all_that_is_kept_for_their_gradient(n):
    torch = require("torch")
    x, y = (torch.asarray(z, requires_grad=True) for z in random(n, n + 10, 33))
    kept = []

    def keep(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        found = pairwise_euclidean_distance(x, y)
    assert [tuple(z.shape) for z in kept if z.shape not in (x.shape, y.shape)] == [
        (n, n + 10)
    ]
    assert found.data_ptr() in [z.data_ptr() for z in kept]
    found = pairwise_euclidean_distance(x, y)
    found.detach().mul_(2.0)  # as with `torch.cdist`
    with pytest.raises(RuntimeError, match="inplace"):
        found.sum().backward()
