"""TensorFlow: custom gradients, sizes unknown while tracing, and loops in graphs."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from metricops import _tensorflow
from metricops._checks import Shape, refuse_shape
from metricops._frameworks._library import Arrays, Body, Dtype, Library, Operation, describe
from metricops._typing import Array


class TensorFlow(Library):
    """TensorFlow tensors, eager and symbolic."""

    def convert(self, name: str, x: Array) -> Array:
        """Return the tensor in the variable `x`."""
        tensor = tf.convert_to_tensor(x)
        if tensor.shape.rank is None:
            refuse_shape(name, "a known number of dimensions", ())
        return tensor

    def dtype(self, x: Array) -> Dtype:
        """Return what the dtype of `x` is."""
        return describe(x.dtype.name)

    def default_float(self) -> Any:
        """Return the dtype that integers become."""
        return tf.float32

    def shape(self, x: Array) -> Shape:
        """Return the shape of `x`, None where a size is unknown."""
        return tuple(x.shape)

    def size(self, x: Array, axis: int) -> Any:
        """Return the size of an axis, as a tensor where it is unknown."""
        known = x.shape[axis]
        return tf.shape(x)[axis] if known is None else known

    def agree(self, x: Array, axis: int, other: Array, other_axis: int, need: str) -> Array:
        """Return `x`, checked at run time where a size is unknown while tracing."""
        if None not in (x.shape[axis], other.shape[other_axis]):
            return x
        # An assertion is dropped by XLA and a reshape is let through by graphs, each
        # where the other one raises.
        expected = self.size(other, other_axis)
        check = tf.debugging.assert_equal(self.size(x, axis), expected, message=need)
        with tf.control_dependencies([] if check is None else [check]):
            sizes = [self.size(x, i) for i in range(x.shape.rank)]
            sizes[axis] = expected
            result = tf.reshape(x, sizes)
        result.set_shape(x.shape.merge_with(_with_size(x, axis, other.shape[other_axis])))
        return result

    def asarray(self, value: Any, like: Array, dtype: Any = None) -> Array:
        """Return a number or NumPy array as a tensor."""
        return tf.convert_to_tensor(value, dtype=dtype)

    def stop_gradient(self, x: Array) -> Array:
        """Return `x`, seen as a constant by derivatives."""
        return tf.stop_gradient(x)

    def count(self, x: Array) -> Any:
        """Return the number of rows of `x`, at least 1, to divide by."""
        if x.shape[0] is not None:
            return super().count(x)
        return tf.cast(tf.maximum(self.size(x, 0), 1), x.dtype)

    def block(self, anchors: Array, candidates: Array) -> int | None:
        """Return how many anchors a panel should hold."""
        return 256 if candidates.shape[0] is None else super().block(anchors, candidates)

    def positions(self, x: Array, axis: int) -> Array:
        """Return 0, 1, ... along an axis of `x`."""
        return tf.range(self.size(x, axis))

    def split(self, x: Array, like: Array) -> tuple[Array, Array | None]:
        """Return the first rows of `x`, as many as `like` has, and the rest if any."""
        if None not in (x.shape[0], like.shape[0]):
            return super().split(x, like)
        count = self.size(like, 0)
        return x[:count], x[count:]

    def pick(self, x: Array, columns: Array) -> Array:
        """Return one column of each row of the matrix `x`, shape (n, 1)."""
        return tf.gather(x, columns[:, None], axis=1, batch_dims=1)

    def gather(self, x: Array, indices: Array) -> Array:
        """Return the entries of the vector `x` at a matrix of indices."""
        return tf.gather(x, indices)

    def largest(self, x: Array, k: int) -> tuple[Array, Array]:
        """Return the `k` largest of each row and their columns, ties by column."""
        values, columns = tf.math.top_k(x, k)
        return values, columns

    def fold(
        self, body: Body, rows: Arrays, consts: Arrays, block: int | None
    ) -> tuple[Any, tuple[Array, ...]]:
        """Run `body` over panels; in a graph, all but the first in a while loop."""
        leading = next(x for x in rows if x is not None)
        total = leading.shape[0]
        if block is None or (total is not None and block >= total):
            return body(None, rows, consts)
        if tf.executing_eagerly():
            return super().fold(body, rows, consts, block)
        return _while(body, rows, consts, block, self.size(leading, 0))

    def differentiable(
        self, operation: Operation, config: Any, arrays: Arrays, constants: Arrays
    ) -> Array:
        """Return the value of `operation`, with its gradient."""
        return _differentiable(operation, config, arrays, constants)


def _with_size(x: Array, axis: int, size: int | None) -> list[int | None]:
    shape = list(x.shape)
    shape[axis] = size
    return shape


def _while(
    body: Body, rows: Arrays, consts: Arrays, block: int, total: Any
) -> tuple[Any, tuple[Array, ...]]:
    count = (total - 1) // block
    first = total - count * block
    carry, start = body(None, _panel(rows, 0, first), consts)
    carry = carry if isinstance(carry, tuple) else (carry,)
    outs = [_buffer(count, block, out) for out in start]

    def step(i: Array, carry: Any, outs: Any) -> Any:
        panel = _panel(rows, first + i * block, block)
        carry, out = body(carry, panel, consts)
        return i + 1, carry, [b.write(i, o) for b, o in zip(outs, out, strict=True)]

    zero = tf.constant(0)
    _, carry, outs = tf.while_loop(
        lambda i, *_: i < count, step, (zero, carry, outs), maximum_iterations=count
    )
    joined = (tf.concat([a, b.concat()], axis=0) for a, b in zip(start, outs, strict=True))
    return carry, tuple(joined)


def _panel(rows: Arrays, start: Any, count: Any) -> Arrays:
    return tuple(None if x is None else _take(x, start, count) for x in rows)


def _take(x: Array, start: Any, count: Any) -> Array:
    rest = x.shape.rank - 1
    panel = tf.slice(x, [start] + [0] * rest, [count] + [-1] * rest)
    panel.set_shape([count if isinstance(count, int) else None, *x.shape[1:]])
    return panel


def _buffer(count: Any, block: int, like: Array) -> tf.TensorArray:
    return tf.TensorArray(like.dtype, size=count, element_shape=[block, *like.shape[1:]])


def _differentiable(
    operation: Operation, config: Any, arrays: Arrays, constants: Arrays
) -> Array:
    return operation.value(TENSORFLOW, config, arrays, constants)


TENSORFLOW = TensorFlow(_tensorflow, "TensorFlow")
