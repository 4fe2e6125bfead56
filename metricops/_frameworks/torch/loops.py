"""Loops over panels where nothing records them: what comes out is written in place.

A small tensor that stays alive is cut from the memory that a panel left, which then no
longer fits the next panel: kept in a list, the rows of each panel's result made the
heap grow by a panel each, to 900 MiB at 16,384 rows.

In the triangle of `Library.sweep` each window has a width of its own, and what oneDNN
keeps for the products of each adds up: 200 MiB at 16,384 rows. In a ring of panels that
differ by a row at most, windows have one of two widths.
"""

from typing import Any

import torch

from metricops._frameworks.library import Body, Meeting, Merge, Square, ring_of
from metricops._frameworks.records import each, leaves, sliced


def fold(body: Body, rows: Any, consts: Any, block: int) -> tuple[Any, Any]:
    """Do what `Library.fold` does where nothing records it."""
    total = leaves(rows)[0].shape[0]
    carry, out = body(None, sliced(rows, 0, block), consts)
    outs = each(out, lambda x: x.new_empty((total, *x.shape[1:])))
    for first in range(0, total, block):
        last = min(first + block, total)
        if first > 0:
            carry, out = body(carry, sliced(rows, first, last), consts)
        for whole, part in zip(leaves(outs), leaves(out), strict=True):
            whole[first:last] = part
    return carry, outs


def sweep(
    square: Square, rest: Meeting, merge: Merge, start: Any, rows: Any, block: int
) -> Any:
    """Do what `Library.sweep` does where nothing records it."""
    total = leaves(rows)[0].shape[0]
    count = ring_of(total, block).panels
    half = count // 2
    # Where each panel starts, in rows of which the first stand twice.
    starts = [i * total // count for i in range(count + half + 2)]
    rows, met = (
        each(x, lambda y: torch.cat((y, y[: starts[half]]))) for x in (rows, start)
    )
    for i in range(count):
        first, own, last = starts[i], starts[i + 1], starts[i + half + 1]
        if first == own:
            continue
        panel = sliced(rows, first, own)
        found = square(panel, None)
        mine, theirs = rest(panel, sliced(rows, own, last), None)
        _add(merge, sliced(met, first, own), merge(found, mine))
        _add(merge, sliced(met, own, last), theirs)
    over = sliced(met, total, total + starts[half])
    _add(merge, sliced(met, 0, starts[half]), over)
    return sliced(met, 0, total)


def _add(merge: Merge, old: Any, new: Any) -> None:
    """Have the old tensors hold what comes of both."""
    for x, y in zip(leaves(old), leaves(merge(old, new)), strict=True):
        if y is not x:
            x.copy_(y)
