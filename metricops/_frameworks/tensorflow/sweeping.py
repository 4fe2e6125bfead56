"""A loop in a graph over each pair of panels of one set."""

from typing import Any

import tensorflow as tf

from metricops._frameworks.loops import Meetings, Ring, meeting, ring_of
from metricops._frameworks.records import each, leaves, refilled, sliced
from metricops._typing import Array


def sweep(meetings: Meetings, rows: Any, block: int) -> Any:
    """Take each pair of rows once, in a ring, whose windows are alike."""
    total = leaves(rows)[0].shape[0]
    ring = ring_of(total, block)
    start, real = meetings.start, None
    if ring.end != total:
        start, rows = (_padded(x, ring.end - total) for x in (start, rows))
        real = tf.range(ring.end) < total
    # XLA repeats the slice of a vector for each element of a panel that reads it. So
    # vectors are rotated with the state from step to step, and windows come first.
    flat = [*leaves(rows), *([] if real is None else [real])]
    lines = [x for x in flat if x.shape.rank == 1]
    tables = [tf.concat([x, x[: ring.half]], axis=0) for x in flat if x.shape.rank != 1]

    def step(i: Array, state: Any, lines: Any) -> Any:
        near = iter([x[: ring.width] for x in lines])
        far = iter([_rows(x, i * ring.block, ring.width) for x in tables])
        given = [next(near) if x.shape.rank == 1 else next(far) for x in flat]
        exists = None if real is None else given.pop()
        window, old = refilled(rows, given), refilled(start, state)
        own, others = meeting(meetings, ring, window, exists)
        own = meetings.merge(sliced(old, 0, ring.block), own)
        others = meetings.merge(sliced(old, ring.block, ring.width), others)
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
