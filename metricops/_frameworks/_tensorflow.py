"""TensorFlow: custom gradients, sizes unknown while tracing, and loops in graphs."""

from typing import Any

import tensorflow as tf
from tensorflow.python.eager import record

from metricops import _tensorflow
from metricops._checks import Shape, refuse_shape
from metricops._frameworks._library import (
    Arrays,
    Body,
    Dtype,
    Library,
    Meeting,
    Merge,
    Operation,
    by_rank,
    describe,
    ring_of,
    spread,
)
from metricops._typing import Array


class TensorFlow(Library):
    """TensorFlow tensors, eager and symbolic."""

    panel = 2**20  # XLA holds several panels at once
    position_error_is_whole = True

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

    def agree(
        self, x: Array, axis: int, other: Array, other_axis: int, need: str
    ) -> Array:
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
        result.set_shape(
            x.shape.merge_with(_with_size(x, axis, other.shape[other_axis]))
        )
        return result

    def cover(self, x: Array, other: Array, need: str) -> Array:
        """Return `x`, checked at run time to have as many rows as `other` or more."""
        if None not in (x.shape[0], other.shape[0]):
            return x
        head, tail = self.split(x, other)
        return (
            x
            if tail is None
            else tf.concat([self.agree(head, 0, other, 0, need), tail], 0)
        )

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
        return (
            256 if candidates.shape[0] is None else super().block(anchors, candidates)
        )

    def position_losses(self, scores: Array, columns: Array) -> Array:
        """Return each row's cross-entropy against one column, shape (n,)."""
        if _may_be_empty(scores):
            return super().position_losses(scores, columns)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(columns, scores)

    def position_error(
        self, scores: Array, columns: Array
    ) -> tuple[Array, Array, Array | None]:
        """Return each row's cross-entropy against one column, and its derivative."""
        if _may_be_empty(scores):
            losses, error, factor = super().position_error(scores, columns)
            own = columns[:, None] == tf.range(tf.shape(scores)[1])
            return losses, error * factor - tf.cast(own, error.dtype), None
        losses, error = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(
            features=scores, labels=columns
        )
        return losses, error, None

    def positions(self, x: Array, axis: int, name: str) -> Array:
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

    def sweep(
        self,
        body: Meeting,
        merge: Merge,
        start: Arrays,
        rows: Arrays,
        block: int | None,
    ) -> Arrays:
        """Have each two panels meet; in a graph, in a while loop."""
        if block is None or block >= start[0].shape[0] or tf.executing_eagerly():
            return super().sweep(body, merge, start, rows, block)
        return _ring(body, merge, start, rows, block)

    def differentiable(
        self, operation: Operation, config: Any, arrays: Arrays, constants: Arrays
    ) -> Array:
        """Return the value of `operation`, with its gradient."""
        return _differentiable(operation, config, arrays, constants)


def _with_size(x: Array, axis: int, size: int | None) -> list[int | None]:
    shape = list(x.shape)
    shape[axis] = size
    return shape


def _may_be_empty(scores: Array) -> bool:
    """Return whether there may be no columns, which the fused operation refuses."""
    return not scores.shape[1]


def _while(
    body: Body, rows: Arrays, consts: Arrays, block: int, total: Any
) -> tuple[Any, tuple[Array, ...]]:
    """Run `body` over panels, all of one size but the first, a shorter one."""
    if not isinstance(total, int):
        total = tf.maximum(total, 1)
        block = tf.minimum(block, total)
    count = (total - 1) // block
    first = total - count * block
    carry, start = body(None, _each(rows, lambda x: x[:first]), consts)
    panels = _each(rows, lambda x: tf.reshape(x[first:], _panel_shape(x, count, block)))
    # Lists by the raw operations: their element shape may be computed, as XLA wants it
    # for a batch that was unknown while tracing.
    shapes = [_panel_shape(x, block) for x in start]
    outs = [
        tf.raw_ops.TensorListReserve(
            element_shape=shape, num_elements=count, element_dtype=x.dtype
        )
        for shape, x in zip(shapes, start, strict=True)
    ]

    def step(i: Array, carry: Any, outs: Any) -> Any:
        carry, found = body(carry, _each(panels, lambda x: tf.gather(x, i)), consts)
        return (
            i + 1,
            carry,
            [_written(x, i, new) for x, new in zip(outs, found, strict=True)],
        )

    zero = tf.constant(0)
    _, carry, outs = tf.while_loop(
        lambda i, *_: i < count,
        step,
        (zero, carry, outs),
        parallel_iterations=1,  # more would hold more panels
        maximum_iterations=count,
    )
    joined = (_joined(*each) for each in zip(start, outs, shapes, strict=True))
    return carry, tuple(joined)


def _ring(
    body: Meeting, merge: Merge, start: Arrays, rows: Arrays, block: int
) -> Arrays:
    """Have each two panels meet: in a ring, whose windows are alike."""
    total = start[0].shape[0]
    count, block, half, width, end = ring_of(total, block)
    valid = None
    if end != total:
        start, rows = (_padded(x, end - total) for x in (start, rows))
        valid = tf.range(end) < total
    # XLA takes a slice again for each element of what reads it: so vectors turn with
    # the state from step to step, and their window always stands first.
    lines, tables = by_rank((*rows, valid))
    tables = _each(tables, lambda x: tf.concat([x, x[:half]], axis=0))

    def step(i: Array, state: Any, turned: Any) -> Any:
        near = spread(lines, tuple(x[:width] for x in turned))
        far = _each(tables, lambda x: _rows(x, i * block, width))
        *window, real = (x if y is None else y for x, y in zip(near, far, strict=True))
        there = None if real is None else real[:block, None] & real[None, :]
        panel = _each(tuple(window), lambda x: x[:block])
        own, others = body(panel, tuple(window), there)
        own = merge(_each(state, lambda x: x[:block]), own)
        others = merge(_each(state, lambda x: x[block:width]), others)
        state = tuple(
            tf.concat([new, old[width:], done], axis=0)
            for new, old, done in zip(others, state, own, strict=True)
        )
        return i + 1, state, [tf.concat([x[block:], x[:block]], 0) for x in turned]

    _, state, _ = tf.while_loop(
        lambda i, *_: i < count,
        step,
        (tf.constant(0), tuple(start), [x for x in lines if x is not None]),
        parallel_iterations=1,  # more would hold more panels
        maximum_iterations=count,
    )
    return _each(state, lambda x: x[:total])


def _rows(x: Array, start: Array, count: int) -> Array:
    found = tf.slice(
        x, [start, *(0 for _ in x.shape[1:])], [count, *(-1 for _ in x.shape[1:])]
    )
    found.set_shape([count, *x.shape[1:]])
    return found


def _padded(rows: Arrays, count: int) -> Arrays:
    """Return arrays with some more rows of zeros."""
    return _each(
        rows, lambda x: tf.pad(x, [[0, count], *([0, 0] for _ in x.shape[1:])])
    )


def _each(rows: Arrays, function: Any) -> Arrays:
    return tuple(None if x is None else function(x) for x in rows)


def _panel_shape(x: Array, *leading: Any) -> list[Any]:
    return [*leading, *(TENSORFLOW.size(x, axis) for axis in range(1, x.shape.rank))]


def _written(handle: Array, i: Array, item: Array) -> Array:
    return tf.raw_ops.TensorListSetItem(input_handle=handle, index=i, item=item)


def _joined(start: Array, handle: Array, shape: list[Any]) -> Array:
    stacked = tf.raw_ops.TensorListStack(
        input_handle=handle, element_shape=shape, element_dtype=start.dtype
    )
    rest = tf.reshape(stacked, _panel_shape(start, -1))
    joined = tf.concat([start, rest], axis=0)
    joined.set_shape([None, *start.shape[1:]])
    return joined


def _differentiable(
    operation: Operation, config: Any, arrays: Arrays, constants: Arrays
) -> Array:
    present = [x for x in arrays if x is not None]

    @tf.custom_gradient
    def run(*present: Array) -> Any:
        # Constants in the tape's eyes: it would keep every panel alive otherwise.
        own = spread(arrays, tuple(map(tf.stop_gradient, present)))
        if _recording():
            value, saved = operation.value_and_saved(TENSORFLOW, config, own, constants)
        else:
            value, saved = operation.value(TENSORFLOW, config, own, constants), None

        def pull(upstream: Array) -> list[Array]:
            return _gradient(
                operation, config, spread(arrays, present), constants, saved
            )(upstream, *present)

        return value, pull

    return run(*present)


def _gradient(
    operation: Operation,
    config: Any,
    arrays: Arrays,
    constants: Arrays,
    saved: tuple[Array, ...] | None,
) -> Any:
    """Return a function to the gradients, differentiable by all that it is given."""

    def plain(
        upstream: Array, own: Arrays, known: tuple[Array, ...] | None
    ) -> list[Array]:
        if known is None:
            _, known = operation.value_and_saved(TENSORFLOW, config, own, constants)
        found = operation.backward(TENSORFLOW, config, own, constants, known, upstream)
        return [x for x in found if x is not None]

    @tf.custom_gradient
    def run(upstream: Array, *present: Array) -> Any:
        frozen = [tf.stop_gradient(x) for x in (upstream, *present)]
        value = plain(frozen[0], spread(arrays, tuple(frozen[1:])), saved)

        def pull(*upstreams: Array) -> list[Array]:
            with tf.GradientTape() as tape:
                tape.watch([upstream, *present])
                again = plain(upstream, spread(arrays, present), None)
            zero = tf.UnconnectedGradients.ZERO
            return tape.gradient(again, [upstream, *present], list(upstreams), zero)

        return value, pull

    return run


def _recording() -> bool:
    """Return whether a tape may want the gradient, best formed at once then."""
    return record.could_possibly_record()


TENSORFLOW = TensorFlow(_tensorflow, "TensorFlow")
