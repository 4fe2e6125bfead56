"""Loops over panels that are one operation in a trace."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from metricops._frameworks.loops import Body, Loops, Meetings, Ring, meeting, ring_of
from metricops._frameworks.records import each, leaves, refilled, sliced
from metricops._typing import Array


class Scans(Loops):
    """Loops that are one operation in a trace."""

    def fold(
        self, body: Body, rows: Any, consts: Any, block: int | None
    ) -> tuple[Any, Any]:
        """Run `body` over panels."""
        total = leaves(rows)[0].shape[0]
        if block is None:
            return body(None, rows, consts)
        if not isinstance(total, int):
            return _fold_any(body, rows, consts, block, total)
        if block >= total:
            return body(None, rows, consts)
        return _fold(body, rows, consts, block, total)

    def walk(
        self, body: Body, rows: Any, consts: Any, block: int | None
    ) -> tuple[Any, Any]:
        """Do what `fold` does, without the copy of the rows that a scan takes."""
        total = leaves(rows)[0].shape[0]
        if block is None or not isinstance(total, int) or block >= total:
            return self.fold(body, rows, consts, block)
        count = (total - 1) // block
        first = total - count * block
        carry, out = body(None, sliced(rows, 0, first), consts)

        def step(i: Array, carry: Any) -> Any:
            panel = each(rows, partial(_part, first + i * block, block))
            return body(carry, panel, consts)[0]

        return jax.lax.fori_loop(0, count, step, carry), out

    def sweep(self, meetings: Meetings, rows: Any, block: int | None) -> Any:
        """Take each pair of rows once."""
        total = leaves(rows)[0].shape[0]
        if block is None or block >= total:
            return meetings.within(rows, None)
        return _sweep(meetings, rows, ring_of(total, block))

    def repeat(
        self, body: Callable[[Any], Any], state: Any, counts: Array, most: int
    ) -> Any:
        """Return what `body` makes of a state, by as many runs as the largest count."""
        runs = jnp.max(counts, initial=0).astype(jnp.int32)
        return jax.lax.fori_loop(0, runs, lambda _, state: body(state), state)


def _fold(
    body: Body, rows: Any, consts: Any, block: int, total: int
) -> tuple[Any, Any]:
    """Run `body` over panels, all but the first, a shorter one, in a scan.

    Panels are read from the rows and written into the results by their place: a scan
    over the rows would hold a copy of them, and of the results one more.
    """
    count = (total - 1) // block
    first = total - count * block
    carry, head = body(None, sliced(rows, 0, first), consts)

    def step(state: Any, place: Array) -> tuple[Any, None]:
        carry, outs = state
        panel = each(rows, partial(_part, place, block))
        carry, found = body(carry, panel, consts)
        return (carry, jax.tree.map(partial(_replaced, place), outs, found)), None

    state = (carry, _padded(head, total - first))
    places = first + block * jnp.arange(count, dtype=jnp.int32)
    return jax.lax.scan(step, state, places)[0]


def _fold_any(
    body: Body, rows: Any, consts: Any, block: int, total: Any
) -> tuple[Any, Any]:
    """Run `body` over panels of rows whose number is a symbol of `jax.export`.

    An export refuses a scan that might have no steps, so a window is moved over the
    rows instead.
    """
    count = (total - 1) // block
    first = total - count * block
    carry, head = body(None, sliced(rows, 0, first), consts)
    rows = _padded(rows, block)  # a window fits, however few rows there are
    outs = _padded(head, total - first + block)

    def step(i: Array, state: Any) -> Any:
        carry, outs = state
        place = first + i * block
        panel = each(rows, partial(_part, place, block))
        carry, found = body(carry, panel, consts)
        return carry, jax.tree.map(partial(_replaced, place), outs, found)

    carry, outs = jax.lax.fori_loop(0, count, step, (carry, outs))
    return carry, sliced(outs, 0, total)


def _sweep(meetings: Meetings, rows: Any, ring: Ring) -> Any:
    """Take each pair of rows once, in a scan over a ring, whose windows are alike."""
    total = leaves(rows)[0].shape[0]
    start, real = meetings.start, None
    if ring.end != total:
        start, rows = (_padded(x, ring.end - total) for x in (start, rows))
        real = jnp.arange(ring.end) < total
    state = each(start, partial(_closed, ring.half))
    # XLA repeats the slice of a vector for each element of a panel that reads it. So a
    # vector is rotated from step to step, and its window always comes first.
    flat = [*leaves(rows), *([] if real is None else [real])]
    lines = [x for x in flat if x.ndim == 1]
    tables = [_closed(ring.half, x) for x in flat if x.ndim != 1]

    def step(carry: Any, first: Array) -> Any:
        state, lines = carry
        part = partial(_part, first, ring.width)
        given = _interleaved(flat, [x[: ring.width] for x in lines], map(part, tables))
        exists = None if real is None else given.pop()
        window = refilled(rows, given)
        met = meeting(meetings, ring, window, exists)
        met = meetings.merge(each(state, part), jax.tree.map(_joined, *met))
        state = jax.tree.map(partial(_replaced, first), state, met)
        return (state, [jnp.roll(x, -ring.block) for x in lines]), None

    firsts = ring.block * jnp.arange(ring.panels)
    (state, _), _ = jax.lax.scan(step, (state, lines), firsts)
    return sliced(_opened(state, meetings, ring), 0, total)


def _opened(state: Any, meetings: Meetings, ring: Ring) -> Any:
    """Return a state without the copy of its first rows, which is merged into these."""
    over = sliced(state, ring.end, ring.end + ring.half)
    head = meetings.merge(sliced(state, 0, ring.half), over)
    return jax.tree.map(_joined, head, sliced(state, ring.half, ring.end))


def _interleaved(form: list[Array], lines: Any, tables: Any) -> list[Array]:
    """Return vectors and tables in the order that they have in `form`."""
    lines, tables = iter(lines), iter(tables)
    return [next(lines) if x.ndim == 1 else next(tables) for x in form]


def _padded(rows: Any, count: int) -> Any:
    """Return arrays with some more rows of zeros."""
    return each(
        rows, lambda x: _joined(x, jnp.zeros_like(x, shape=(count, *x.shape[1:])))
    )


def _closed(count: int, x: Array) -> Array:
    """Return an array with its first rows repeated at the end."""
    return _joined(x, x[:count])


def _part(first: Array, width: int, x: Array) -> Array:
    return jax.lax.dynamic_slice_in_dim(x, first, width)


def _joined(x: Array, y: Array) -> Array:
    return jnp.concatenate([x, y])


def _replaced(first: Array, x: Array, part: Array) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(x, part, first, 0)
