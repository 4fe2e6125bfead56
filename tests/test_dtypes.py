"""Dtypes: what is computed in which, and what comes back."""

import math
from functools import partial
from typing import Any

import numpy as np
import pytest

import metricops
from tests.conftest import Library, having
from tests.definitions import (
    cosine,
    cross_entropy_loss,
    embeddings_loss,
    equal_labels,
    inner_product,
    normalized,
    pairwise,
    reduced,
    shared_labels,
)

FLOATS = ["float16", "bfloat16", "float32", "float64"]
X = [[1.0, 2.0, -1.0], [0.5, 0.0, 3.0], [1.0, 1.0, 0.0]]
Y = [[2.0, 1.0, 1.0], [0.0, -1.0, 0.25], [1.0, 1.0, 1.0]]
TARGETS = [[1, 0, 2], [0, 1, 0], [1, 1, 1]]
LABELS = [0, 1, 0]
HOT = [[1, 0], [0, 1], [1, 1]]

# Each function as a call of two (3, 3) arrays.
FUNCTIONS: dict[str, Any] = {
    "l2_normalize": lambda x, y: metricops.l2_normalize(x),
    "cosine_similarity": metricops.cosine_similarity,
    "dot": partial(metricops.dot, axes=1),
    "dot, normalised": partial(metricops.dot, axes=1, normalize=True),
    "pairwise_inner_product": metricops.pairwise_inner_product,
    "pairwise_cosine_similarity": metricops.pairwise_cosine_similarity,
    "cosine_similarity_loss": metricops.cosine_similarity_loss,
    "softmax_cross_entropy": lambda x, y: metricops.softmax_cross_entropy(x, TARGETS),
    "npairs_loss": lambda x, y: metricops.npairs_loss(x, LABELS),
    "npairs_multilabel_loss": lambda x, y: metricops.npairs_multilabel_loss(x, HOT),
    "npairs_loss_from_embeddings": metricops.npairs_loss_from_embeddings,
    "npairs_loss_and_grad": lambda x, y: metricops.npairs_loss_and_grad(x, y)[0],
    "nearest_neighbors": lambda x, y: metricops.nearest_neighbors(x, y)[0],
}
ONE_ARRAY = {
    "l2_normalize",
    "softmax_cross_entropy",
    "npairs_loss",
    "npairs_multilabel_loss",
}
STAY_INTEGERS = {"dot", "pairwise_inner_product"}
TWO_ARRAYS = [name for name in FUNCTIONS if name not in ONE_ARRAY]
functions = pytest.mark.parametrize("name", FUNCTIONS)
pairs = pytest.mark.parametrize("name", TWO_ARRAYS)


@functions
@having("library", "dtype", FLOATS)
def test_the_result_has_the_dtype_of_the_input(library, name, dtype):
    result = FUNCTIONS[name](library.asarray(X, dtype), library.asarray(Y, dtype))
    assert library.owns(result)
    assert library.dtype_of(result) == dtype


@functions
@having("library", "dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_wide(library, name, dtype):
    x, y = library.asarray(X, dtype), library.asarray(Y, dtype)
    wide = FUNCTIONS[name](library.cast(x, "float32"), library.cast(y, "float32"))
    result = FUNCTIONS[name](x, y)
    expected = library.cast(wide, dtype)
    np.testing.assert_array_equal(library.to_numpy(result), library.to_numpy(expected))


SUM = [2048.0] + [1.0] * 16  # as float16, 2048 + 1 is 2048


@pytest.mark.parametrize("name", sorted(STAY_INTEGERS))
@having("library", "dtype", ["float16"])
def test_a_sum_of_halves_is_exact(library, name, dtype):
    x, y = library.asarray([SUM], dtype), library.asarray([[1.0] * 17], dtype)
    result = library.to_numpy(FUNCTIONS[name](x, y))
    np.testing.assert_array_equal(result, [[2064.0]])


@having("library", "dtype", ["float16"])
def test_a_sum_of_many_losses_in_halves_is_exact(library, dtype):
    similarity = library.asarray(np.zeros((400, 400)), dtype)
    loss = metricops.npairs_loss(similarity, np.arange(400), reduction="sum")
    expected = np.float16(400 * math.log(400))
    np.testing.assert_array_equal(library.to_numpy(loss), expected)


@having("library", "dtype", ["float16"])
def test_a_mean_of_large_losses_in_halves_does_not_overflow(library, dtype):
    similarity = np.full((4, 4), 3e4)
    np.fill_diagonal(similarity, -3e4)
    loss = metricops.npairs_loss(library.asarray(similarity, dtype), [0, 1, 2, 3])
    np.testing.assert_array_equal(library.to_numpy(loss), np.float16(6e4))


@pytest.mark.parametrize("name", sorted(STAY_INTEGERS))
@having(
    "library",
    "dtype, expected",
    [
        ("int8", "int32"),
        ("uint8", "int32"),
        ("int16", "int32"),
        ("uint16", "int32"),
        ("int32", "int32"),
        ("int64", "int64"),
    ],
)
def test_integer_products_stay_integers(library, name, dtype, expected):
    x = library.asarray([[100, 100], [1, 2]], dtype)
    y = library.asarray([[100, 50], [0, 3]], dtype)
    result = FUNCTIONS[name](x, y)
    assert library.dtype_of(result) == expected
    wanted = [[15000], [6]] if name == "dot" else [[15000, 300], [200, 6]]
    np.testing.assert_array_equal(library.to_numpy(result), wanted)


@having("library", "dtype", ["int64"])
def test_integers_of_64_bits_are_exact(library, dtype):
    x = library.asarray([[2**40, 1]], dtype)
    y = library.asarray([[2**20, 1]], dtype)
    result = library.to_numpy(metricops.pairwise_inner_product(x, y))
    np.testing.assert_array_equal(result, [[2**60 + 1]])


def test_integers_of_two_widths_take_the_wider(library):
    x = library.asarray([[100, 100]], "int8")
    y = library.asarray([[1000, 1000]], "int32")
    result = metricops.pairwise_inner_product(x, y)
    assert library.dtype_of(result) == "int32"
    np.testing.assert_array_equal(library.to_numpy(result), [[200_000]])


DEFAULT = {
    "numpy": "float64",
    "torch": "float32",
    "jax": "float32",
    "tensorflow": "float32",
    "dask": "float64",
    "array_api_strict": "float64",
}
INTEGERS = [[1, 2, -1], [5, 0, 3], [1, 1, 0]]


@pytest.mark.parametrize("name", sorted(FUNCTIONS.keys() - STAY_INTEGERS))
@pytest.mark.parametrize("dtype", ["int8", "int32"])
def test_integers_alone_become_the_default_float(library, name, dtype):
    default = DEFAULT[library.name]
    rows, others = np.asarray(INTEGERS), np.asarray(INTEGERS[::-1])
    result = FUNCTIONS[name](*(library.asarray(x, dtype) for x in (rows, others)))
    assert library.dtype_of(result) == default
    floats = FUNCTIONS[name](*(library.asarray(x, default) for x in (rows, others)))
    np.testing.assert_array_equal(library.to_numpy(result), library.to_numpy(floats))


@pairs
@having(
    "library",
    "dtype, integer",
    [
        ("float16", "int32"),
        ("bfloat16", "uint8"),
        ("float32", "int32"),
        ("float32", "int64"),
        ("float64", "int8"),
    ],
)
def test_integers_beside_floats_take_their_dtype(library, name, dtype, integer):
    floats = library.asarray(X, dtype)
    integers = library.asarray(np.abs(INTEGERS), integer)
    expected = FUNCTIONS[name](floats, library.cast(integers, dtype))
    for x, y in ((floats, integers), (integers, floats)):
        assert library.dtype_of(FUNCTIONS[name](x, y)) == dtype
    result = FUNCTIONS[name](floats, integers)
    np.testing.assert_array_equal(library.to_numpy(result), library.to_numpy(expected))


@pairs
@having(
    "library",
    "first, second, expected",
    [
        ("float32", "float64", "float64"),
        ("float16", "float32", "float32"),
        ("bfloat16", "float32", "float32"),
        ("bfloat16", "float64", "float64"),
        ("float16", "bfloat16", "float32"),
    ],
)
def test_mixed_floats_promote(library, name, first, second, expected):
    x, y = library.asarray(X, first), library.asarray(Y, second)
    assert library.dtype_of(FUNCTIONS[name](x, y)) == expected
    assert library.dtype_of(FUNCTIONS[name](y, x)) == expected


@functions
@pytest.mark.parametrize("dtype", ["bool", "complex64"])
def test_bools_and_complex_numbers_are_refused(library, name, dtype):
    x = library.asarray(X, dtype)
    with pytest.raises(TypeError, match=f"got dtype {dtype}"):
        FUNCTIONS[name](x, x)


@having("library", "dtype", ["float16", "float32"])
def test_wider_weights_do_not_widen_the_loss(library, dtype):
    similarity = library.asarray(X, dtype)
    loss = metricops.npairs_loss(similarity, [0, 1, 0], sample_weight=np.ones(3))
    assert library.dtype_of(loss) == dtype


@having("library", "dtype", ["float16", "float32"])
def test_a_wider_temperature_does_not_widen_the_loss(library, dtype):
    x, y = library.asarray(X, dtype), library.asarray(Y, dtype)
    for temperature in (0.5, np.float64(0.5), np.asarray(0.5)):
        loss = metricops.npairs_loss_from_embeddings(x, y, temperature=temperature)
        assert library.dtype_of(loss) == dtype


@having("library", "dtype", FLOATS)
def test_gradients_have_the_dtype_of_the_embeddings(library, dtype):
    x, y = library.asarray(X, dtype), library.asarray(Y, dtype)
    _, gradients = metricops.npairs_loss_and_grad(x, y)
    assert [library.dtype_of(g) for g in gradients[:2]] == [dtype, dtype]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_gradients_of_halves_are_computed_wide(gradient, dtype):
    x, y = gradient.library.asarray(X, dtype), gradient.library.asarray(Y, dtype)
    wide = [gradient.library.cast(array, "float32") for array in (x, y)]
    expected = gradient(metricops.npairs_loss_from_embeddings, *wide)
    result = gradient(metricops.npairs_loss_from_embeddings, x, y)
    rtol = 1e-3 if dtype == "float16" else 8e-3
    for got, want in zip(result, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=rtol)


EXACT: dict[str, Any] = {
    "l2_normalize": lambda x, y: [normalized(row) for row in x],
    "cosine_similarity": lambda x, y: list(map(cosine, x, y)),
    "dot": lambda x, y: [[value] for value in map(inner_product, x, y)],
    "dot, normalised": lambda x, y: [[value] for value in map(cosine, x, y)],
    "pairwise_inner_product": partial(pairwise, inner_product),
    "pairwise_cosine_similarity": partial(pairwise, cosine),
    "cosine_similarity_loss": lambda x, y: -reduced(list(map(cosine, x, y))),
    "softmax_cross_entropy": lambda x, y: cross_entropy_loss(x, TARGETS),
    "npairs_loss": lambda x, y: cross_entropy_loss(x, equal_labels(LABELS, LABELS)),
    "npairs_multilabel_loss": lambda x, y: cross_entropy_loss(
        x, shared_labels(HOT, HOT)
    ),
    "npairs_loss_from_embeddings": embeddings_loss,
    "npairs_loss_and_grad": embeddings_loss,
    "nearest_neighbors": lambda x, y: [[max(row)] for row in pairwise(cosine, x, y)],
}


@functions
def test_double_precision_is_kept_throughout(library, name):
    x, y = np.asarray(X) + 1 / 3, np.asarray(Y) + 1 / 7
    with library.x64():
        result = FUNCTIONS[name](library.asarray(x), library.asarray(y))
        values = library.to_numpy(result)
    expected = EXACT[name](x.tolist(), y.tolist())
    np.testing.assert_allclose(values, expected, rtol=1e-13, atol=1e-15)


# Floats of NumPy that no other library has.


@pairs
@pytest.mark.parametrize("dtype", ["f4", "f8", "i4"])
def test_the_order_of_bytes_does_not_matter(name, dtype):
    x, y = (np.asarray(z).astype(dtype) for z in (X, Y))
    swapped = [z.astype(z.dtype.newbyteorder(">")) for z in (x, y)]
    expected = FUNCTIONS[name](x, y)
    for given in ((x, swapped[1]), (swapped[0], y), swapped):
        result = FUNCTIONS[name](*given)
        assert result.dtype.name == expected.dtype.name
        np.testing.assert_array_equal(result, expected)


def test_the_order_of_bytes_of_companions_does_not_matter(library):
    similarity = library.asarray(X)
    result = metricops.npairs_loss(
        similarity,
        np.asarray(LABELS, ">i8"),
        sample_weight=np.asarray([1.0, 2.0, 0.5], ">f8"),
    )
    expected = metricops.npairs_loss(similarity, LABELS, sample_weight=[1.0, 2.0, 0.5])
    np.testing.assert_array_equal(library.to_numpy(result), library.to_numpy(expected))


@pytest.mark.parametrize("dtype", ["longdouble", "float16"])
def test_companions_may_have_a_dtype_that_the_library_lacks(library, dtype):
    similarity = library.asarray(X)
    result = metricops.npairs_loss(
        similarity,
        np.asarray([0.25, 1.5, 0.25], dtype),
        sample_weight=np.asarray([1.0, 2.0, 0.5], dtype),
    )
    expected = metricops.npairs_loss(similarity, LABELS, sample_weight=[1.0, 2.0, 0.5])
    np.testing.assert_array_equal(library.to_numpy(result), library.to_numpy(expected))


LONG = np.finfo(np.longdouble)
longdoubles = pytest.mark.skipif(LONG.maxexp < 16384, reason="longdouble is a double")


@longdoubles
@pytest.mark.parametrize("exponent", [-3000, 0, 3000, -4900, 4900])
@pytest.mark.parametrize("kind", ["numpy", "dask"])
def test_long_doubles_keep_their_range(kind, exponent):
    rows = np.asarray([[3.0, 4.0], [0.0, 0.0]], np.longdouble)
    rows = rows * np.longdouble(10) ** exponent
    x = rows if kind == "numpy" else Library(kind).module.from_array(rows)
    result = metricops.l2_normalize(x)
    assert result.dtype == np.longdouble
    np.testing.assert_allclose(np.asarray(result), [[0.6, 0.8], [0.0, 0.0]], rtol=1e-15)
    cosine_of_both = metricops.pairwise_cosine_similarity(x)
    np.testing.assert_allclose(np.asarray(cosine_of_both), [[1, 0], [0, 0]], atol=1e-15)


@longdoubles
def test_long_doubles_beside_doubles_stay_long():
    x, y = np.asarray(X, np.longdouble), np.asarray(Y)
    for given in ((x, y), (y, x)):
        assert metricops.cosine_similarity(*given).dtype == np.longdouble
