"""Loops over panels in a graph."""

from typing import Any

import tensorflow as tf

from metricops._frameworks.library import Body, Meeting, Merge, by_rank, ring_of, spread
from metricops._frameworks.operations import Arrays
from metricops._typing import Array


def fold(
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


def sweep(
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
    return [*leading, *(_size(x, axis) for axis in range(1, x.shape.rank))]


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


def _size(x: Array, axis: int) -> Any:
    """Return the size of an axis, as a tensor where it is unknown."""
    known = x.shape[axis]
    return tf.shape(x)[axis] if known is None else known
