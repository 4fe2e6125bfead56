"""Loops over panels in a graph."""

from typing import Any

import tensorflow as tf

from metricops._frameworks.library import (
    Body,
    Meeting,
    Merge,
    Ring,
    Square,
    meeting,
    ring_of,
)
from metricops._frameworks.records import each, leaves, refilled, sliced
from metricops._typing import Array


def fold(body: Body, rows: Any, consts: Any, block: int, total: Any) -> tuple[Any, Any]:
    """Run `body` over panels, all of one size but the first, a shorter one."""
    if not isinstance(total, int):
        total = tf.maximum(total, 1)
        block = tf.minimum(block, total)
    count = (total - 1) // block
    first = total - count * block
    form, start = body(None, each(rows, lambda x: x[:first]), consts)
    panels = each(rows, lambda x: tf.reshape(x[first:], _panel_shape(x, count, block)))
    # Lists by the raw operations: their element shape may be computed, as XLA wants it
    # for a batch that was unknown while tracing.
    heads = leaves(start)
    shapes = [_panel_shape(x, block) for x in heads]
    handles = [
        tf.raw_ops.TensorListReserve(
            element_shape=shape, num_elements=count, element_dtype=x.dtype
        )
        for shape, x in zip(shapes, heads, strict=True)
    ]

    def step(i: Array, carried: Any, handles: Any) -> Any:
        panel = each(panels, lambda x: tf.gather(x, i))
        carry, out = body(refilled(form, carried), panel, consts)
        new = zip(handles, leaves(out), strict=True)
        return i + 1, leaves(carry), [_written(handle, i, x) for handle, x in new]

    _, carried, handles = tf.while_loop(
        lambda i, *_: i < count,
        step,
        (tf.constant(0), leaves(form), handles),
        parallel_iterations=1,  # more would hold more panels
        maximum_iterations=count,
    )
    outs = zip(heads, handles, shapes, strict=True)
    joined = [_joined(head, handle, shape) for head, handle, shape in outs]
    return refilled(form, carried), refilled(start, joined)


def sweep(
    square: Square, rest: Meeting, merge: Merge, start: Any, rows: Any, block: int
) -> Any:
    """Have each two panels meet: in a ring, whose windows are alike."""
    total = leaves(rows)[0].shape[0]
    ring = ring_of(total, block)
    real = None
    if ring.end != total:
        start, rows = (_padded(x, ring.end - total) for x in (start, rows))
        real = tf.range(ring.end) < total
    # XLA takes a slice again for each element of what reads it: so vectors turn with
    # the state from step to step, and their window always stands first.
    flat = [*leaves(rows), *([] if real is None else [real])]
    lines = [x for x in flat if x.shape.rank == 1]
    tables = [tf.concat([x, x[: ring.half]], axis=0) for x in flat if x.shape.rank != 1]

    def step(i: Array, state: Any, lines: Any) -> Any:
        near = iter([x[: ring.width] for x in lines])
        far = iter([_rows(x, i * ring.block, ring.width) for x in tables])
        given = [next(near) if x.shape.rank == 1 else next(far) for x in flat]
        exists = None if real is None else given.pop()
        window, old = refilled(rows, given), refilled(start, state)
        own, others = meeting(square, rest, merge, ring, window, exists)
        own = merge(sliced(old, 0, ring.block), own)
        others = merge(sliced(old, ring.block, ring.width), others)
        turned = zip(leaves(others), state, leaves(own), strict=True)
        state = [
            tf.concat([new, x[ring.width :], done], axis=0) for new, x, done in turned
        ]
        return i + 1, state, [_turned(x, ring) for x in lines]

    _, state, _ = tf.while_loop(
        lambda i, *_: i < ring.panels,
        step,
        (tf.constant(0), leaves(start), lines),
        parallel_iterations=1,  # more would hold more panels
        maximum_iterations=ring.panels,
    )
    return refilled(start, [x[:total] for x in state])


def _turned(x: Array, ring: Ring) -> Array:
    """Return a vector with its first panel at the end."""
    return tf.concat([x[ring.block :], x[: ring.block]], axis=0)


def _rows(x: Array, start: Array, count: int) -> Array:
    found = tf.slice(
        x, [start, *(0 for _ in x.shape[1:])], [count, *(-1 for _ in x.shape[1:])]
    )
    found.set_shape([count, *x.shape[1:]])
    return found


def _padded(rows: Any, count: int) -> Any:
    """Return arrays with some more rows of zeros."""
    return each(rows, lambda x: tf.pad(x, [[0, count], *([0, 0] for _ in x.shape[1:])]))


def _panel_shape(x: Array, *leading: Any) -> list[Any]:
    return [*leading, *(_size(x, axis) for axis in range(1, x.shape.rank))]


def _written(handle: Array, i: Array, item: Array) -> Array:
    return tf.raw_ops.TensorListSetItem(input_handle=handle, index=i, item=item)


def _joined(head: Array, handle: Array, shape: list[Any]) -> Array:
    stacked = tf.raw_ops.TensorListStack(
        input_handle=handle, element_shape=shape, element_dtype=head.dtype
    )
    # Not -1: of rows without features, it could be any number.
    count = _size(stacked, 0) * _size(stacked, 1)
    rest = tf.reshape(stacked, _panel_shape(head, count))
    joined = tf.concat([head, rest], axis=0)
    joined.set_shape([None, *head.shape[1:]])
    return joined


def _size(x: Array, axis: int) -> Any:
    """Return the size of an axis, as a tensor where it is unknown."""
    known = x.shape[axis]
    return tf.shape(x)[axis] if known is None else known
