"""Rings of panels: how each two meet in steps that are all alike."""

from typing import Any, NamedTuple

from metricops._frameworks.loops import Meeting, Merge, Square
from metricops._frameworks.records import sliced


class Ring(NamedTuple):
    """Panels that stand in a ring: each meets the half of the others after it."""

    panels: int  # an odd number, so that the others have halves
    block: int  # the rows of a panel
    half: int  # the rows of the panels that one meets
    width: int  # the same with its own
    end: int  # the rows of all panels, of which the last may be none


def ring_of(total: int, block: int) -> Ring:
    """Return the ring for `total` rows in panels of `block` or a few less."""
    count = -(-total // block) | 1
    block = -(-total // count)
    half = count // 2 * block
    return Ring(count, block, half, half + block, count * block)


def meeting(
    square: Square, rest: Meeting, merge: Merge, ring: Ring, window: Any, real: Any
) -> tuple[Any, Any]:
    """Return what comes of the first panel of a window, for itself and the others.

    `real` is which rows of the window there are, or None: all.
    """
    panel = sliced(window, 0, ring.block)
    others = sliced(window, ring.block, ring.width)
    alone = between = None
    if real is not None:
        own = real[: ring.block, None]
        alone, between = own & real[None, : ring.block], own & real[None, ring.block :]
    mine, theirs = rest(panel, others, between)
    return merge(square(panel, alone), mine), theirs
