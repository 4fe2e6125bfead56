"""Loops over panels that are one operation in a trace."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from metricops._frameworks.library import Body, Meeting, Merge, by_rank, ring_of
from metricops._frameworks.operations import Arrays
from metricops._typing import Array


def fold(
    body: Body, rows: Arrays, consts: Arrays, block: int | None
) -> tuple[Any, tuple[Array, ...]]:
    """Run `body` over panels, all but the first, a shorter one, in a scan."""
    total = next(x.shape[0] for x in rows if x is not None)
    if block is None or block >= total:
        return body(None, rows, consts)
    count = (total - 1) // block
    first = total - count * block
    head = jax.tree.map(lambda x: x[:first], rows)
    tail = jax.tree.map(lambda x: x[first:].reshape(count, block, *x.shape[1:]), rows)
    carry, start = body(None, head, consts)
    carry, rest = jax.lax.scan(lambda c, panel: body(c, panel, consts), carry, tail)
    joined = [
        jnp.concatenate([a, b.reshape(-1, *b.shape[2:])])
        for a, b in zip(start, rest, strict=True)
    ]
    return carry, tuple(joined)


def sweep(
    body: Meeting,
    merge: Merge,
    start: Arrays,
    rows: Arrays,
    block: int | None,
) -> Arrays:
    """Have each two panels meet, in a scan over a ring, whose windows are alike."""
    total = start[0].shape[0]
    if block is None or block >= total:
        return body(rows, rows, None)[0]
    count, block, half, width, end = ring_of(total, block)
    valid = None
    if end != total:
        start, rows = _padded((start, rows), end - total)
        valid = jnp.arange(end) < total
    state = _closed(start, half)
    # What reads a slice takes it again for each of its elements: so a vector turns
    # from step to step, and its window always stands first.
    lines, tables = by_rank((*rows, valid))
    tables = _closed(tables, half)

    def step(carry: Any, first: Array) -> Any:
        def part(x: Array) -> Array:
            return jax.lax.dynamic_slice_in_dim(x, first, width)

        state, lines = carry
        near, far = _cut(lines, 0, width), jax.tree.map(part, tables)
        *window, real = (x if y is None else y for x, y in zip(near, far, strict=True))
        panel = _cut(tuple(window), 0, block)
        there = None if real is None else real[:block, None] & real[None, :]
        met = jax.tree.map(_joined, *body(panel, tuple(window), there))
        met = merge(jax.tree.map(part, state), met)
        state = jax.tree.map(partial(_replaced, first), state, met)
        return (state, jax.tree.map(lambda x: jnp.roll(x, -block), lines)), None

    firsts = block * jnp.arange(count)
    (state, _), _ = jax.lax.scan(step, (state, lines), firsts)
    head = merge(_cut(state, 0, half), _cut(state, end, end + half))
    joined = jax.tree.map(_joined, head, _cut(state, half, end))
    return tuple(_cut(joined, 0, total))


def _padded(rows: Any, count: int) -> Any:
    """Return arrays with some more rows of zeros."""
    return jax.tree.map(
        lambda x: _joined(x, jnp.zeros_like(x, shape=(count, *x.shape[1:]))), rows
    )


def _closed(rows: Any, count: int) -> Any:
    """Return arrays with their first rows once more at the end."""
    return jax.tree.map(lambda x: _joined(x, x[:count]), rows)


def _cut(rows: Any, first: int, last: int) -> Any:
    return jax.tree.map(lambda x: x[first:last], rows)


def _joined(x: Array, y: Array) -> Array:
    return jnp.concatenate([x, y])


def _replaced(first: Array, x: Array, part: Array) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(x, part, first, 0)
