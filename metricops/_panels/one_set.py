"""N-pairs of one set against itself: its similarities are symmetric, so half suffice.

A panel of rows meets itself and the rows that it has not met yet, and what is found of
a pair counts for both. `sums` is half a matrix product, `gradient` one and a half: two
in all, where rows against candidates take three.
"""

from typing import NamedTuple

from metricops._frameworks import Arrays, Tiles
from metricops._panels.streaming import Panel, Plan, scaled, targets_of
from metricops._panels.symmetric import (
    Sums,
    coefficients,
    merged,
    nothing,
    tile_sums,
    two_softmaxes,
)
from metricops._typing import Array


class Rows(NamedTuple):
    """Some rows, and what belongs to them."""

    embeddings: Array
    scaled: Array  # embeddings / temperature
    labels: Array
    peak: Array = None
    push: Array = None
    pull: Array = None


def sums(plan: Plan, rows: Panel, scale: Array | float) -> Sums:
    """Return what closes the softmax of each row."""

    def body(panel: Arrays, window: Arrays, there: Array | None) -> Tiles:
        part, given = Rows(*panel), Rows(*window)
        scores, targets = _tile(plan, part, given, there)
        own = tile_sums(plan, scores, targets, axis=1)
        scores, targets = _rest(part, scores), _rest(part, targets)
        return own, tile_sums(plan, scores, targets, axis=0, lost=True)

    def merge(old: Arrays, new: Arrays) -> Arrays:
        return merged(plan, Sums(*old), Sums(*new))

    start, given = nothing(plan, rows.anchors), _rows(rows, scale)
    return Sums(*plan.library.sweep(body, merge, start, given, plan.block))


def gradient(
    plan: Plan, rows: Panel, scale: Array | float, found: Sums, upstream: Array
) -> Array:
    """Return the gradient of the losses' sum with the weights given."""
    lib, xp = plan.library, plan.library.xp

    def body(panel: Arrays, window: Arrays, there: Array | None) -> Tiles:
        part, given = Rows(*panel), Rows(*window)
        scores, targets = _tile(plan, part, given, there)
        rows_closed = part.peak[:, None], part.push[:, None]
        columns_closed = given.peak[None, :], given.push[None, :]
        error = two_softmaxes(lib, scores, rows_closed, columns_closed)
        pull = part.pull[:, None] + given.pull[None, :]
        error = lib.minus(error, lib.times(targets, pull))
        flat = xp.matrix_transpose(part.embeddings)
        others = xp.matrix_transpose(lib.product(flat, _rest(part, error)))
        return (lib.product(error, given.embeddings),), (others,)

    def merge(old: Arrays, new: Arrays) -> Arrays:
        return (lib.plus(old[0], new[0]),)

    peak, push, pull = coefficients(plan, found, upstream)
    given = _rows(rows, scale)._replace(peak=peak, push=push, pull=pull)
    start = (xp.zeros_like(rows.anchors),)
    (total,) = lib.sweep(body, merge, start, given, plan.block)
    return scaled(total, scale)


def _rows(rows: Panel, scale: Array | float) -> Rows:
    x = rows.anchors
    return Rows(x, scaled(x, scale), rows.labels)


def _tile(
    plan: Plan, panel: Rows, window: Rows, there: Array | None
) -> tuple[Array, Array]:
    """Return the similarities of two sets of rows, and their targets."""
    lib, xp = plan.library, plan.library.xp
    scores = lib.product(panel.scaled, xp.matrix_transpose(window.embeddings))
    targets = targets_of(plan, panel.labels, window.labels, scores.dtype)
    low = lib.lowest(scores)
    if plan.exclude_diagonal:
        own = lib.positions(panel.embeddings, 0, "anchors")
        scores, targets = lib.put(scores, own, low), lib.put(targets, own, 0.0)
    if there is None:
        return scores, targets
    return xp.where(there, scores, low), xp.where(there, targets, 0.0)


def _rest(panel: Rows, tile: Array) -> Array:
    """Return a tile less its first columns, where the panel meets itself."""
    return tile[:, panel.embeddings.shape[0] :]
