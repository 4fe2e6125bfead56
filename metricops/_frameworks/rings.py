"""Rings of panels, in which each two panels meet once, by steps of one shape.

The panels stand in a ring. Each meets the half of the others that come after it, so the
steps of a compiled loop differ only in where their window of panels starts.
"""

from typing import Any, NamedTuple

from metricops._frameworks.loops import Meetings
from metricops._frameworks.records import sliced


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
