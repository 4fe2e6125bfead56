"""What the layers make of shapes, dtypes, masks and extreme values."""

import keras
import numpy as np
import pytest
from metricops.adapters.keras import (
    Dot,
    MetricEmbedding,
    PairwiseCosineSimilarity,
    PairwiseInnerProduct,
)

from tests.conftest import require
from tests.definitions import cosine, inner_product, normalized, pairwise
from tests.keras.conftest import BACKEND, gradient, masked, random, to_numpy

X, Y = random(4, 5, 3, seed=1), random(4, 2, 3, seed=2)
COSINES = [pairwise(cosine, x, y) for x, y in zip(X.tolist(), Y.tolist(), strict=True)]
PRODUCTS = [
    pairwise(inner_product, x, y) for x, y in zip(X.tolist(), Y.tolist(), strict=True)
]


def close(found, expected, rtol=1e-5, atol=1e-6):
    np.testing.assert_allclose(to_numpy(found), expected, rtol=rtol, atol=atol)


def dtype_of(x):
    return keras.backend.standardize_dtype(x.dtype)


# Dot.


@pytest.mark.parametrize(
    "axes", [2, -1, (2, -1), [-1, 2], np.int64(2), np.asarray(2)[()]]
)
def test_dot_takes_axes_of_python_or_numpy(axes):
    layer = Dot(axes=axes)
    close(layer([X, Y]), PRODUCTS)
    close(Dot.from_config(layer.get_config())([X, Y]), PRODUCTS)


@pytest.mark.parametrize(
    ("shapes", "axes", "words"),
    [
        (((3, 4), (3, 4)), 0, "other than the batch axis"),
        (((3, 4), (3, 4)), (1, -2), "other than the batch axis"),
        (((3, 4), (3, 4)), -5, "an axis of 2 dimensions"),
        (((3, 4), (3, 4)), 5, "an axis of 2 dimensions"),
        (((3, 4), (3, 5)), 1, "4 .*5"),
        (((3,), (3, 4)), 1, "two axes or more"),
    ],
)
@pytest.mark.parametrize("symbolic", [True, False])
def test_dot_refuses_axes_that_do_not_fit(shapes, axes, words, symbolic):
    make = keras.KerasTensor if symbolic else np.ones
    with pytest.raises(ValueError, match=words):
        Dot(axes)([make(shape) for shape in shapes])


def test_dot_refuses_different_batches():
    with pytest.raises(ValueError, match="batch size"):
        Dot(1)([np.ones((2, 3), np.float32), np.ones((1, 3), np.float32)])


@pytest.mark.parametrize("count", [1, 3])
def test_dot_takes_two_inputs(count):
    with pytest.raises(ValueError, match="list of 2 inputs"):
        Dot(1)([keras.Input((3,))] * count)


@pytest.mark.parametrize("axes", ["1", 1.0, None])
def test_dot_refuses_axes_that_are_no_ints(axes):
    with pytest.raises(TypeError, match="`axes`"):
        Dot(axes)


def test_dot_takes_nested_lists():
    close(Dot(1)([[[1.0, 2.0]], [[3.0, 4.0]]]), [[11.0]])


def test_dot_fits_a_size_that_is_unknown_to_one_that_is_not():
    inputs = [keras.Input((None, 3)), keras.Input((4, 5))]
    output = Dot((1, 2))(inputs)
    assert output.shape == (None, 3, 4)
    x, y = random(2, 5, 3), random(2, 4, 5)
    close(keras.Model(inputs, output)([x, y]), np.einsum("nij,nkj->nik", x.mT, y))


@pytest.mark.parametrize("layer", [Dot(2), PairwiseInnerProduct()])
@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        (("int8", "int8"), "int32"),
        (("uint8", "int16"), "int32"),
        (("int32", "int32"), "int32"),
        (("int64", "int64"), "int32" if BACKEND == "jax" else "int64"),
        (("int32", "float32"), "float32"),
        (("float64", "float64"), "float32"),
    ],
)
def test_integers_stay_integers_and_floats_take_the_layers_dtype(
    layer, dtypes, expected
):
    arrays = [np.full((1, 2, 2), 100, dtype) for dtype in dtypes]
    found = layer(arrays)
    assert dtype_of(found) == expected
    np.testing.assert_array_equal(to_numpy(found), np.full((1, 2, 2), 20_000))
    symbolic = [keras.KerasTensor(x.shape, dtype_of(layer_input(x))) for x in arrays]
    assert layer(symbolic).dtype == expected


def layer_input(x):
    """Return an array as the backend holds it: JAX cuts 64 bits."""
    return keras.ops.convert_to_tensor(x)


@pytest.mark.skipif(BACKEND == "jax", reason="JAX has 32 bits unless told")
def test_long_integers_do_not_overflow():
    x = np.full((1, 1), 100_000, np.int64)
    assert to_numpy(Dot(1)([x, x])).item() == 10**10


@pytest.mark.skipif(BACKEND == "jax", reason="JAX has 32 bits unless told")
def test_a_float64_layer_computes_in_float64():
    x, y = (np.asarray([[1.0, 1e-12]]), np.asarray([[1.0, 1.0]]))
    assert to_numpy(Dot(1, dtype="float64")([x, y])).item() == 1 + 1e-12


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        ("float32", 1e30),
        ("float32", 1e-20),
        ("float16", 1e4),
        ("float16", 1e-4),
        ("mixed_bfloat16", 1e30),
    ],
)
def test_normalised_products_do_not_depend_on_lengths(dtype, scale):
    x = np.asarray([[3.0, 4.0], [0.0, 1.0]], np.float32) * np.float32(scale)
    for layer in (
        Dot(1, normalize=True, dtype=dtype),
        PairwiseCosineSimilarity(dtype=dtype),
    ):
        expected = (
            [[1.0], [1.0]] if isinstance(layer, Dot) else [[1.0, 0.8], [0.8, 1.0]]
        )
        close(layer([x, x]), expected, rtol=1e-2)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("kind", ["dot", "pairwise", "embedding"])
def test_a_zero_vector_gives_zero_with_gradient_zero(kind, dtype):
    layers = {
        "dot": Dot(1, normalize=True, dtype=dtype),
        "pairwise": PairwiseCosineSimilarity(dtype=dtype),
        "embedding": MetricEmbedding(3, kernel_initializer="ones", dtype=dtype),
    }
    layer, ones = layers[kind], np.ones((2, 3), dtype)
    zero = np.zeros((2, 3), dtype)

    def total(x):
        out = layer(x) if kind == "embedding" else layer([x, ones])
        return keras.ops.sum(keras.ops.cast(out, "float32"))

    assert to_numpy(total(keras.ops.convert_to_tensor(zero))) == 0
    np.testing.assert_array_equal(gradient(total, zero), 0)


@pytest.mark.parametrize("kind", ["dot", "pairwise"])
def test_integers_are_normalised_in_the_layers_dtype(kind):
    layer = Dot(1, normalize=True) if kind == "dot" else PairwiseCosineSimilarity()
    layer.dtype_policy = "float16"
    x = np.asarray([[3, 4]])
    assert dtype_of(layer([x, x])) == "float16"
    assert layer([keras.KerasTensor((1, 2), "int32")] * 2).dtype == "float16"


@pytest.mark.skipif(BACKEND != "tensorflow", reason="its sparse tensors are meant")
def test_sparse_inputs_go_to_kerass_own_dot():
    tf = require("tensorflow")
    x, y = random(2, 3), random(2, 3)
    sparse = tf.sparse.from_dense(x)
    expected = to_numpy(keras.layers.Dot(1)([sparse, y]))
    close(Dot(1)([sparse, y]), expected)
    symbolic = [keras.KerasTensor((2, 3), sparse=True)] * 2
    assert Dot(1)(symbolic).sparse == keras.layers.Dot(1)(symbolic).sparse


def test_dot_passes_no_mask_on():
    assert not hasattr(Dot(1)([masked(X[0], [True] * 5), X[0]]), "_keras_mask")


# Pairwise.


@pytest.mark.parametrize(
    ("layer", "expected"),
    [(PairwiseInnerProduct(), PRODUCTS), (PairwiseCosineSimilarity(), COSINES)],
)
def test_pairwise_layers_compare_two_inputs_or_one_with_itself(layer, expected):
    close(layer([X, Y]), expected)
    close(layer((X[0], Y[0])), expected[0])
    itself = to_numpy(layer(X))
    np.testing.assert_array_equal(itself, to_numpy(layer([X, X])))


@pytest.mark.parametrize("layer", [PairwiseInnerProduct(), PairwiseCosineSimilarity()])
@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([(None, 3)], (None, None)),
        ([(None, 3), (7, 3)], (None, 7)),
        ([(None, None, 3), (None, 5, None)], (None, None, 5)),
    ],
)
def test_pairwise_layers_know_shapes_before_values(layer, shapes, expected):
    inputs = [keras.KerasTensor(shape) for shape in shapes]
    given = inputs[0] if len(inputs) == 1 else inputs
    assert layer(given).shape == expected
    assert (
        layer.compute_output_shape(shapes[0] if len(shapes) == 1 else shapes)
        == expected
    )


@pytest.mark.parametrize("layer", [PairwiseInnerProduct, PairwiseCosineSimilarity])
@pytest.mark.parametrize(
    "shapes",
    [[(2, 3), (2, 4)], [(2, 3), (1, 2, 3)], [(2, 5, 3), (1, 5, 3)], [(3,), (3,)]],
)
@pytest.mark.parametrize("symbolic", [True, False])
def test_pairwise_layers_refuse_shapes_that_do_not_fit(layer, shapes, symbolic):
    make = keras.KerasTensor if symbolic else np.ones
    with pytest.raises(ValueError, match=r"must have shapes \(..., n, d\)"):
        layer()([make(shape) for shape in shapes])


def test_pairwise_layers_take_no_three_inputs():
    with pytest.raises(ValueError, match="a tensor or a list of two"):
        PairwiseInnerProduct()([X, X, X])


def test_the_mask_of_a_pairwise_layer_is_that_of_its_rows():
    rows, columns = np.eye(4, 5, dtype=bool), np.ones((4, 2), bool)
    found = PairwiseInnerProduct()([masked(X, rows), masked(Y, columns)])
    np.testing.assert_array_equal(to_numpy(found._keras_mask), rows)
    found = PairwiseInnerProduct()(masked(X, rows))
    np.testing.assert_array_equal(to_numpy(found._keras_mask), rows)


# MetricEmbedding.


def test_units_may_be_positional_named_unit_or_of_numpy():
    for layer in (
        MetricEmbedding(4),
        MetricEmbedding(unit=4),
        MetricEmbedding(np.int64(4)),
    ):
        assert layer.get_config()["units"] == 4
        assert "unit" not in layer.get_config()
        assert MetricEmbedding.from_config(layer.get_config()).units == 4
    assert MetricEmbedding.from_config({"unit": 4}).units == 4


@pytest.mark.parametrize("given", [{}, {"units": 4, "unit": 4}])
def test_units_are_given_once(given):
    with pytest.raises(TypeError, match="`units` must be given, once"):
        MetricEmbedding(**given)


def test_the_features_of_a_sequence_are_normalised_not_its_steps():
    x = random(2, 4, 3)
    close(keras.ops.sum(MetricEmbedding(5)(x) ** 2, axis=-1), np.ones((2, 4)))
    close(keras.ops.sum(MetricEmbedding(5, axis=1)(x) ** 2, axis=1), np.ones((2, 5)))
    close(keras.ops.sum(MetricEmbedding(5, axis=(1, 2))(x) ** 2, axis=(1, 2)), [1, 1])


@pytest.mark.parametrize("symbolic", [True, False])
def test_an_axis_that_the_embedding_lacks_is_refused(symbolic):
    make = keras.KerasTensor if symbolic else np.ones
    with pytest.raises(ValueError, match="`axis` must be an axis of 2 dimensions"):
        MetricEmbedding(3, axis=2)(make((2, 3)))


def test_the_activation_comes_before_the_length():
    layer = MetricEmbedding(2, "relu", use_bias=False)
    layer.build((None, 2))
    layer.set_weights([np.asarray([[3.0, -1.0], [4.0, 1.0]])])
    expected = [normalized([3.0, 0.0]), normalized([7.0, 0.0])]
    close(layer(np.asarray([[1.0, 0.0], [1.0, 1.0]])), expected)


@pytest.mark.parametrize("scale", [1e20, 256.0, 1e-7])
def test_an_embedding_has_length_one_at_any_scale(scale):
    dtype = "float16" if scale == 256 else "float32"
    layer = MetricEmbedding(4, kernel_initializer="ones", dtype=dtype)
    found = layer(np.full((2, 3), scale, dtype))
    close(found, np.full((2, 4), 0.5), rtol=1e-3)


@pytest.mark.parametrize("mode", ["int8", "float8"])
def test_a_quantised_embedding_has_length_one(mode):
    # Keras calls another method of a layer whose weights it has quantised.
    layer, x = MetricEmbedding(4), random(5, 3)
    before = to_numpy(layer(x))
    layer.quantize(mode, type_check=False)
    after = to_numpy(layer(x))
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(after, before, atol=0.1)


def test_an_embedding_keeps_its_mask_and_unknown_sizes():
    layer = MetricEmbedding(4)
    mask = np.eye(2, 3, dtype=bool)
    found = layer(masked(random(2, 3, 5), mask))
    np.testing.assert_array_equal(to_numpy(found._keras_mask), mask)
    assert layer(keras.Input((None, 5))).shape == (None, None, 4)
    assert layer.compute_output_shape((None, 5)) == (None, 4)
