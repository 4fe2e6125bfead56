"""Layers: similarities within a model, and an embedding of unit length.

The module is long, as each layer has its options and their description.
"""

import operator
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

import metricops

from ._inputs import python_ints, tensor

_register = keras.saving.register_keras_serializable

Shape = tuple[int | None, ...]

_SMALL = ("int8", "int16", "uint8", "uint16")


@_register(package="metricops")
class Dot(keras.layers.Dot):
    """Dot product along an axis of each sample of two inputs.

    ``keras.layers.Dot`` over `metricops.dot`, called on a list of two: two inputs of
    shape (batch, d) give (batch, 1). Integers stay integers unless normalised, and
    sizes may be unknown. Sparse inputs go to Keras' own.

    Parameters
    ----------
    axes : int or tuple of two ints
        The axis of the first input and that of the second, or one for both; not the
        batch axis.
    normalize : bool
        Whether to scale the vectors along those axes to unit length first, so that the
        result holds cosines.
    **kwargs
        What every `keras.layers.Layer` takes: `name`, `dtype`, `trainable`.

    Raises
    ------
    TypeError
        If `axes` is neither an int nor a pair.
    ValueError
        If it is no pair of ints or, at the first call, does not fit the inputs.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops.adapters.keras import Dot
    >>> x, y = np.arange(10).reshape(1, 5, 2), np.arange(10, 20).reshape(1, 2, 5)
    >>> np.asarray(Dot(axes=(1, 2))([x, y])).tolist()
    [[[260, 360], [320, 445]]]
    """

    def __init__(
        self, axes: int | Sequence[int], normalize: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(python_ints(axes), normalize, **kwargs)

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the products of a list of two inputs, tensors or nested lists."""
        if _is_list(inputs):
            inputs = [tensor(x) if isinstance(x, list) else x for x in inputs]
        return super().__call__(inputs, *args, **kwargs)

    def build(self, input_shape: Sequence[Shape]) -> None:
        """Raise unless the axes fit the shapes."""
        if len(input_shape) == 2 and all(map(_is_list, input_shape)):
            metricops.dot(*map(_no_samples, input_shape), axes=self.axes)
            pair = self.axes if _is_list(self.axes) else (self.axes, self.axes)
            if None in (input_shape[0][pair[0]], input_shape[1][pair[1]]):
                return
        super().build(input_shape)

    def call(self, inputs: Sequence[Any]) -> Any:
        """Return the products of the two inputs."""
        if any(map(_is_not_dense, inputs)):
            return super().call(inputs)
        out = metricops.dot(*inputs, axes=self.axes, normalize=self.normalize)
        return ops.cast(out, self.compute_dtype) if self.normalize else out

    def compute_output_spec(self, inputs: Sequence[Any]) -> Any:
        """Return the shape and dtype of the result for symbolic inputs."""
        spec = super().compute_output_spec(inputs)
        if self.normalize or spec.sparse:
            return spec
        return keras.KerasTensor(spec.shape, dtype=_product_dtype(self, inputs))


class _Pairwise(keras.layers.Layer):
    """A layer on a list of two inputs, or on one input that stands for both."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Raise unless the two inputs fit each other."""
        x, y = _two_shapes(input_shape)
        sizes = zip((*x[:-2], x[-1]), (*y[:-2], y[-1]), strict=False)
        unequal = any(None not in pair and pair[0] != pair[1] for pair in sizes)
        if len(x) < 2 or len(x) != len(y) or unequal:
            need = "shapes (..., n, d) and (..., m, d)"
            msg = f"`inputs` must have {need}; got {tuple(x)} and {tuple(y)}."
            raise ValueError(msg)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        """Return (..., n, m) for (..., n, d) and (..., m, d)."""
        x, y = _two_shapes(input_shape)
        return (*x[:-1], y[-2])

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """Return the mask of the rows, as `keras.layers.Attention` does."""
        return previous_mask[0] if _is_list(inputs) else previous_mask


@_register(package="metricops")
class PairwiseInnerProduct(_Pairwise):
    """Inner product of each vector of one input with each vector of another.

    `metricops.pairwise_inner_product`, called on a list of two, of shapes (..., n, d)
    and (..., m, d), or on one for its vectors among themselves. The result has shape
    (..., n, m). Integers stay integers, and sizes may be unknown.

    Parameters
    ----------
    **kwargs
        What every `keras.layers.Layer` takes: `name`, `dtype`, `trainable`.

    Raises
    ------
    ValueError
        If the shapes do not fit each other.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops.adapters.keras import PairwiseInnerProduct
    >>> x = np.asarray([[1.0, 2.0], [3.0, 4.0]])
    >>> np.asarray(PairwiseInnerProduct()([x, x[:1]])).tolist()
    [[5.0], [11.0]]
    """

    def call(self, inputs: Any) -> Any:
        """Return the inner products, of shape (..., n, m)."""
        return metricops.pairwise_inner_product(*_arguments(inputs))

    def compute_output_spec(self, inputs: Any) -> Any:
        """Return the shape and dtype of the result for symbolic inputs."""
        shape = super().compute_output_spec(inputs).shape
        return keras.KerasTensor(shape, dtype=_product_dtype(self, _arguments(inputs)))


@_register(package="metricops")
class PairwiseCosineSimilarity(_Pairwise):
    """Cosine of each vector of one input with each vector of another.

    `metricops.pairwise_cosine_similarity`, called on a list of two, of shapes
    (..., n, d) and (..., m, d), or on one for its vectors among themselves. The result
    has shape (..., n, m). A zero vector has cosine 0 with all.

    Parameters
    ----------
    **kwargs
        What every `keras.layers.Layer` takes: `name`, `dtype`, `trainable`.

    Raises
    ------
    ValueError
        If the shapes do not fit each other.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops.adapters.keras import PairwiseCosineSimilarity
    >>> cosines = PairwiseCosineSimilarity()(np.asarray([[1.0, 0.0], [3.0, 4.0]]))
    >>> round(float(cosines[0, 1]), 4)
    0.6
    """

    def call(self, inputs: Any) -> Any:
        """Return the cosines, of shape (..., n, m)."""
        cosines = metricops.pairwise_cosine_similarity(*_arguments(inputs))
        return ops.cast(cosines, self.compute_dtype)


@_register(package="metricops")
class MetricEmbedding(keras.layers.Dense):
    """Dense layer whose output has unit length.

    ``tensorflow_similarity.layers.MetricEmbedding``: `keras.layers.Dense` with its
    activation, then `metricops.l2_normalize`. A zero vector stays zero, with gradient
    zero.

    Parameters
    ----------
    units : int
        The number of dimensions of the embedding.
    *args
        What `keras.layers.Dense` takes after `units`, in its order.
    axis : int or tuple of ints
        The axis along which vectors are scaled to unit length. The original had 1,
        which for inputs of shape (batch, d) is the last.
    unit : int, optional
        The name of `units` in TensorFlow Similarity before 0.15.
    **kwargs
        What `keras.layers.Dense` takes, by name.

    Raises
    ------
    TypeError
        If neither `units` nor `unit` is given, or both, or it is no int.
    ValueError
        If `axis` is not an axis, or `keras.layers.Dense` refuses an argument.

    Examples
    --------
    >>> import keras
    >>> import numpy as np
    >>> from metricops.adapters.keras import MetricEmbedding
    >>> layer = MetricEmbedding(4, kernel_initializer="ones")
    >>> keras.ops.convert_to_numpy(layer(np.ones((1, 3)))).tolist()
    [[0.5, 0.5, 0.5, 0.5]]
    """

    def __init__(
        self,
        units: int | None = None,
        *args: Any,
        axis: int | Sequence[int] = -1,
        unit: int | None = None,
        **kwargs: Any,
    ) -> None:
        count = unit if units is None else units
        if count is None or (units is not None and unit is not None):
            msg = f"`units` must be given, once; got units={units} and unit={unit}."
            raise TypeError(msg)
        super().__init__(operator.index(count), *args, **kwargs)
        self.axis = python_ints(axis)

    def build(self, input_shape: Shape) -> None:
        """Make the weights; raise unless `axis` is an axis of the output."""
        metricops.l2_normalize(_no_samples(input_shape), axis=self.axis)
        super().build(input_shape)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the embeddings, of the shape of `inputs` with `units` last."""
        return metricops.l2_normalize(super().call(inputs, training), axis=self.axis)

    def quantized_call(self, *args: Any, **kwargs: Any) -> Any:
        """Return what `call` does, by weights that Keras has quantised."""
        out = super().quantized_call(*args, **kwargs)
        return metricops.l2_normalize(out, axis=self.axis)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this layer again."""
        return {**super().get_config(), "axis": self.axis}


def _no_samples(shape: Shape) -> Any:
    """Return an empty array of the rank of `shape`, for metricops to check axes on."""
    return np.empty((0,) * len(shape))


def _is_list(inputs: Any) -> bool:
    return isinstance(inputs, (list, tuple))


def _arguments(inputs: Any) -> tuple[Any, ...]:
    if _is_list(inputs) and len(inputs) != 2:
        msg = f"`inputs` must be a tensor or a list of two; got {len(inputs)} of them."
        raise ValueError(msg)
    return tuple(inputs) if _is_list(inputs) else (inputs,)


def _two_shapes(shape: Any) -> tuple[Shape, Shape]:
    pair = _arguments(shape) if _is_list(shape[0]) else (shape, shape)
    return pair[0], pair[1]


def _product_dtype(layer: keras.layers.Layer, inputs: Sequence[Any]) -> Any:
    """Return the dtype of products: integers are not cast, small ones are widened."""
    dtypes = {"int32" if x.dtype in _SMALL else x.dtype for x in inputs}
    if any(map(keras.backend.is_float_dtype, dtypes)):
        return layer.compute_dtype
    # By both dtypes: of int64 alone, Keras makes int32 on some backends.
    return dtypes.pop() if len(dtypes) == 1 else keras.backend.result_type(*dtypes)


def _is_not_dense(x: Any) -> bool:
    # By name, as the classes belong to TensorFlow and JAX, which may not be installed.
    return type(x).__name__ in ("SparseTensor", "RaggedTensor", "BCOO")
