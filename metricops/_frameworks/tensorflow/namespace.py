"""The array API over TensorFlow: the functions that the kernels use, a line each.

Names and signatures are the standard's. A size that a graph does not know while it is
traced is None in `x.shape`; nothing here needs it.
"""

from typing import Any

import tensorflow as tf

from metricops._typing import Array

int32 = tf.int32
float32 = tf.float32
float64 = tf.float64

abs = tf.abs
all = tf.reduce_all
any = tf.reduce_any
exp = tf.exp
expm1 = tf.math.expm1
log = tf.math.log
log1p = tf.math.log1p
logaddexp = tf.experimental.numpy.logaddexp
logical_and = tf.logical_and
logical_not = tf.logical_not
logical_or = tf.logical_or
maximum = tf.maximum
minimum = tf.minimum
matrix_transpose = tf.linalg.matrix_transpose
ones_like = tf.ones_like
sqrt = tf.sqrt
zeros_like = tf.zeros_like


def asarray(obj: Any, /, *, dtype: Any = None) -> Array:
    return tf.convert_to_tensor(obj, dtype=dtype)


def astype(x: Array, dtype: Any, /) -> Array:
    return tf.cast(x, dtype)


def arange(
    start: Any, /, stop: Any = None, step: Any = 1, *, dtype: Any = None
) -> Array:
    start, stop = (0, start) if stop is None else (start, stop)
    return tf.range(start, stop, step, dtype=dtype)


def concat(arrays: Any, /, *, axis: int = 0) -> Array:
    return tf.concat(arrays, axis=axis)


def cumulative_sum(x: Array, /, *, axis: int) -> Array:
    return tf.cumsum(x, axis=axis)


def equal(x1: Array, x2: Array, /) -> Array:
    return tf.equal(x1, x2)


def full_like(x: Array, /, fill_value: Any) -> Array:
    return tf.fill(tf.shape(x), tf.cast(fill_value, x.dtype))


def max(x: Array, /, *, axis: Any = None, keepdims: bool = False) -> Array:
    return tf.reduce_max(x, axis=axis, keepdims=keepdims)


def mean(x: Array, /, *, axis: Any = None, keepdims: bool = False) -> Array:
    return tf.reduce_mean(x, axis=axis, keepdims=keepdims)


def min(x: Array, /, *, axis: Any = None, keepdims: bool = False) -> Array:
    return tf.reduce_min(x, axis=axis, keepdims=keepdims)


def permute_dims(x: Array, /, axes: tuple[int, ...]) -> Array:
    return tf.transpose(x, axes)


def reshape(x: Array, /, shape: Any) -> Array:
    return tf.reshape(x, shape)


def sort(x: Array, /, *, axis: int = -1) -> Array:
    return tf.sort(x, axis=axis)


def squeeze(x: Array, /, axis: Any) -> Array:
    return tf.squeeze(x, axis)


def sum(x: Array, /, *, axis: Any = None, keepdims: bool = False) -> Array:
    return tf.reduce_sum(x, axis=axis, keepdims=keepdims)


def take_along_axis(x: Array, indices: Array, /, *, axis: int = -1) -> Array:
    if axis not in (-1, x.ndim - 1):
        msg = "`axis` must be the last axis; other axes are not implemented."
        raise NotImplementedError(msg)
    return tf.gather(x, indices, axis=-1, batch_dims=x.ndim - 1)


def where(condition: Array, x1: Any, x2: Any, /) -> Array:
    # A number is of the dtype of the array beside it, not of float32.
    dtype = getattr(x1, "dtype", None) or x2.dtype
    x1, x2 = tf.convert_to_tensor(x1, dtype), tf.convert_to_tensor(x2, dtype)
    return tf.where(condition, x1, x2)
