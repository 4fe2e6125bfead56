"""Loops over panels of rows, in Python, and rings of panels for those of compilers.

Panels in a ring meet in pairs, each two once, by steps of one shape: each panel meets
the half of the others that come after it, so the steps of a compiled loop differ only
in where their window of panels starts.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from metricops._frameworks.records import each, leaves, refilled, sliced
from metricops._typing import Array, Namespace

# Aliases, as Dynamo cannot trace union types in the signature of an inner function.
Body = Callable[[Any, Any, Any], tuple[Any, Any]]
Step = tuple[Any, tuple[Array, ...]]

# glibc returns what is free at the end of its heap to the system, if it is more than
# twice the largest block that it has returned before. Then every page of the next
# panel costs a fault: up to 160,000 in a loss of 8,192 rows, a tenth of its time.
# Freeing this once lets it keep 64 MiB; other libraries ignore it. With a header, and
# in whole pages, it is below 32 MiB: glibc learns nothing of larger blocks.
np.empty(2**25 - 2**16, dtype=np.uint8)


class Meetings(NamedTuple):
    """What is done with each pair of panels of one set; see `Loops.sweep`."""

    within: Callable[[Any, Any], Any]
    """``within(panel, exists)``: a panel's results from the pairs within it."""
    between: Callable[[Any, Any, Any], tuple[Any, Any]]
    """``between(panel, others, exists)``, from the pairs of a panel with other rows.

    The results of the panel's rows, and those of the others.
    """
    merge: Callable[[Any, Any], Any]
    """``merge(old, new)``: two results of the same rows as one."""
    start: Any
    """The results of no pairs, for all rows."""


class Loops:
    """Loops over panels of rows, as a library without loops of its own runs them."""

    def __init__(self, xp: Namespace) -> None:
        self.xp = xp

    def fold(
        self, body: Body, rows: Any, consts: Any, block: int | None
    ) -> tuple[Any, Any]:
        """Run ``body(carry, panel, consts)`` over panels of `block` rows.

        `body` returns the next carry, and results with a row for each row of the panel.
        `rows`, the carry and the results are records of arrays, whose entries may be
        None or records. The first carry is None. Returns the last carry, and the
        results of all panels, joined.
        """
        total = leaves(rows)[0].shape[0]
        if block is None or block >= total:
            return body(None, rows, consts)
        carry, parts = None, []
        for start in range(0, total, block):
            panel = sliced(rows, start, min(start + block, total))
            carry, out = body(carry, panel, consts)
            parts.append(out)
        return carry, self.joined(parts)

    def walk(
        self, body: Body, rows: Any, consts: Any, block: int | None
    ) -> tuple[Any, Any]:
        """Do what `fold` does, where panels give nothing of their rows."""
        return self.fold(body, rows, consts, block)

    def joined(self, parts: list[Any]) -> Any:
        """Return records of the same form as one, their arrays end to end."""
        form, *_ = parts
        columns = zip(*map(leaves, parts), strict=True)
        joined = [self.xp.concat(list(column), axis=0) for column in columns]
        return refilled(form, joined)

    def sweep(self, meetings: Meetings, rows: Any, block: int | None) -> Any:
        """Take each pair of rows of one set once, panel by panel; return their results.

        The functions of `meetings` are called with panels of `block` rows, and with
        `exists`, which says which of the pairs are real; None: all.
        """
        total = leaves(rows)[0].shape[0]
        if block is None or block >= total:
            return meetings.within(rows, None)
        met, parts = meetings.start, []
        for first in range(0, total, block):
            count = min(block, total - first)
            panel = sliced(rows, first, first + count)
            found = meetings.merge(sliced(met, 0, count), meetings.within(panel, None))
            met = sliced(met, count, total - first)
            if first + count < total:
                rest = sliced(rows, first + count, total)
                own, others = meetings.between(panel, rest, None)
                found = meetings.merge(found, own)
                met = meetings.merge(met, others)
            parts.append(found)
        return self.joined(parts)

    def repeat(
        self, body: Callable[[Any], Any], state: Any, counts: Array, most: int
    ) -> Any:
        """Return what `body` makes of a state, by as many runs as the largest count.

        The state is a record of arrays; `most` is how many runs there can be, which is
        an array where a graph does not know it.
        """
        for _ in range(self.runs(counts, most)):
            state = body(state)
        return state

    def runs(self, counts: Array, most: int) -> int:
        """Return the largest of some counts, or at least that."""
        return int(self.xp.max(counts)) if counts.shape[0] else 0


class Whole(Loops):
    """No loops: all rows are one panel, whatever its size."""

    def fold(
        self, body: Body, rows: Any, consts: Any, block: int | None
    ) -> tuple[Any, Any]:
        """Run `body` once over all rows."""
        return body(None, rows, consts)

    def sweep(self, meetings: Meetings, rows: Any, block: int | None) -> Any:
        """Take all pairs at once."""
        return meetings.within(rows, None)


def filled(
    body: Body, rows: Any, consts: Any, block: int, empty: Callable[[int, Array], Array]
) -> tuple[Any, Any]:
    """Do what `Loops.fold` does, and copy the results of each panel into place at once.

    ``empty(n, x)`` makes an array of n rows like those of `x`.
    """
    total = leaves(rows)[0].shape[0]
    carry, out = body(None, sliced(rows, 0, block), consts)
    outs = each(out, lambda x: empty(total, x))
    for first in range(0, total, block):
        last = min(first + block, total)
        if first > 0:
            carry, out = body(carry, sliced(rows, first, last), consts)
        for whole, part in zip(leaves(outs), leaves(out), strict=True):
            whole[first:last] = part
    return carry, outs


class Ring(NamedTuple):
    """The sizes of a ring of panels, in rows."""

    panels: int  # how many there are: an odd number, so that the others have a half
    block: int  # a panel
    half: int  # the panels that one panel meets
    width: int  # the window of a step: a panel and those that it meets
    end: int  # all panels; the last rows of the last panels may be padding


def ring_of(total: int, block: int) -> Ring:
    """Return the ring for `total` rows in panels of `block` or a few less."""
    count = -(-total // block) | 1
    block = -(-total // count)
    half = count // 2 * block
    return Ring(count, block, half, half + block, count * block)


def meeting(meetings: Meetings, ring: Ring, window: Any, real: Any) -> tuple[Any, Any]:
    """Return the results of a window, for its first panel and for the others.

    `real` says which rows of the window are no padding; None: all.
    """
    panel = sliced(window, 0, ring.block)
    others = sliced(window, ring.block, ring.width)
    alone = between = None
    if real is not None:
        own = real[: ring.block, None]
        alone, between = own & real[None, : ring.block], own & real[None, ring.block :]
    mine, theirs = meetings.between(panel, others, between)
    return meetings.merge(meetings.within(panel, alone), mine), theirs
