"""Loops over panels that write results in place where autograd does not record them.

A list of the panels' results would waste memory: the allocator cuts each small result
from the memory of a panel that was freed, which is then too short for the next panel.
At 16,384 rows the heap grew to 900 MiB so.

`Loops.sweep` takes windows of rows that get shorter and shorter. oneDNN keeps memory
for products of each width, 200 MiB in all at 16,384 rows. In a ring of panels that
differ by one row at most, windows have one of two widths.
"""

from typing import Any

import torch

from metricops._frameworks.loops import Body, Loops, Meetings, filled, ring_of
from metricops._frameworks.records import each, leaves, sliced
from metricops._frameworks.torch import private, selection
from metricops._typing import Array


class InPlace(Loops):
    """Loops that write into their results, unless something records them."""

    def fold(
        self, body: Body, rows: Any, consts: Any, block: int | None
    ) -> tuple[Any, Any]:
        """Run `body` over panels, or over all rows where their number is left open."""
        total = leaves(rows)[0].shape[0]
        if private.exporting() and not isinstance(total, int):
            return body(None, rows, consts)
        if block is None or block >= total or private.recorded():
            return super().fold(body, rows, consts, block)
        return filled(body, rows, consts, block, _empty)

    def sweep(self, meetings: Meetings, rows: Any, block: int | None) -> Any:
        """Take each pair of rows once, in a ring of panels."""
        if block is None or block >= leaves(rows)[0].shape[0] or private.recorded():
            return super().sweep(meetings, rows, block)
        return _sweep(meetings, rows, block)

    def runs(self, counts: Array, most: int) -> int:
        """Return the largest of some counts, or the most where none may look."""
        if not selection.sees_values(counts):
            return most
        return super().runs(counts, most)


def _empty(count: int, x: Array) -> Array:
    return x.new_empty((count, *x.shape[1:]))


def _sweep(meetings: Meetings, rows: Any, block: int) -> Any:
    """Do what `Loops.sweep` does where autograd does not record it."""
    total = leaves(rows)[0].shape[0]
    count = ring_of(total, block).panels
    half = count // 2
    # Where each panel starts. The rows of the first panels stand once more at the end.
    starts = [i * total // count for i in range(count + half + 2)]
    rows, met = (
        each(x, lambda y: torch.cat((y, y[: starts[half]])))
        for x in (rows, meetings.start)
    )
    for i in range(count):
        first, own, last = starts[i], starts[i + 1], starts[i + half + 1]
        if first == own:
            continue
        panel = sliced(rows, first, own)
        found = meetings.within(panel, None)
        mine, theirs = meetings.between(panel, sliced(rows, own, last), None)
        _add(meetings, sliced(met, first, own), meetings.merge(found, mine))
        _add(meetings, sliced(met, own, last), theirs)
    over = sliced(met, total, total + starts[half])
    _add(meetings, sliced(met, 0, starts[half]), over)
    return sliced(met, 0, total)


def _add(meetings: Meetings, old: Any, new: Any) -> None:
    """Write ``merge(old, new)`` into the old tensors."""
    for x, y in zip(leaves(old), leaves(meetings.merge(old, new)), strict=True):
        if y is not x:
            x.copy_(y)
