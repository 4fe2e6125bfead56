"""Both directions of N-pairs from embeddings, from one panel of similarities each.

A column's log-sum-exp closes only with the last panel, so gradients take a second pass:
`losses` is one matrix product a panel and returns `Sums`, `gradients` is three.
"""

from typing import Any, NamedTuple

from metricops._frameworks import Arrays, Library, Step
from metricops._panels.streaming import (
    Candidates,
    Panel,
    Plan,
    scaled,
    scores_of,
    target_panel,
)
from metricops._typing import Array


class Sums(NamedTuple):
    """What closes the softmaxes of one direction, each of shape (n,)."""

    peak: Array
    partition: Array  # the sum of exp(similarity - peak)
    positive: Array  # the sum of targets * (similarity - peak)
    total: Array  # the sum of targets


Closed = tuple[Array, Array]
"""Peaks, and factors of the exponentials less them."""


class Both(NamedTuple):
    """The two directions."""

    rows: Sums
    columns: Sums


def sums(plan: Plan, rows: Panel, candidates: Candidates) -> Both:
    """Return what closes the softmax of each row and of each column."""
    lib, by_position = plan.library, plan.targets == "position"

    def body(carry: Any, panel: Arrays, consts: Arrays) -> Step:
        part, given = Panel(*panel), Candidates(*consts)
        scores = scores_of(plan, part, given)
        targets = None if by_position else target_panel(plan, part, given)
        columns = tile_sums(plan, scores, targets, axis=0)
        if carry is not None:
            columns = merged(plan, Sums(*carry), columns)
        own = (lib.pick(scores, part.positions),) if by_position else ()
        return columns, (*tile_sums(plan, scores, targets, axis=1, lost=True), *own)

    columns, of_rows = lib.fold(body, rows, candidates, plan.block)
    both = Both(Sums(*of_rows[:4]), Sums(*columns))
    if not by_position:
        return both
    own, ones_like = of_rows[4][:, 0], lib.xp.ones_like
    return Both(
        *(x._replace(positive=own - x.peak, total=ones_like(own)) for x in both)
    )


def losses(plan: Plan, one: Sums) -> tuple[Array, Array]:
    """Return the losses of one direction, and which of them count."""
    xp = plan.library.xp
    counted = one.total != 0
    partition = xp.where(counted, one.partition, 1.0)
    positive = one.positive / xp.where(counted, one.total, 1.0)
    loss = xp.log(partition) - positive
    return xp.where(counted, loss, 0.0), counted


def gradients(
    plan: Plan,
    rows: Panel,
    candidates: Candidates,
    both: Both,
    of_rows: Array,
    of_columns: Array,
) -> tuple[Array, Array]:
    """Return the gradients of both losses' sums with the weights given."""
    lib, xp = plan.library, plan.library.xp
    own = coefficients(plan, both.rows, of_rows)
    others = coefficients(plan, both.columns, of_columns)

    def body(carry: Any, panel: Arrays, consts: Arrays) -> Step:
        part, given = Panel(*panel[:4]), Candidates(*consts[:4])
        row_peak, row_push, row_pull = (x[:, None] for x in panel[4:])
        column_peak, column_push, column_pull = (x[None, :] for x in consts[4:])
        scores = scores_of(plan, part, given)
        error = two_softmaxes(
            lib, scores, (row_peak, row_push), (column_peak, column_push)
        )
        if plan.targets != "position":
            targets = target_panel(plan, part, given)
            error = lib.minus(error, lib.times(targets, row_pull + column_pull))
        of_anchors = lib.product(error, given.embeddings)
        left = xp.matrix_transpose(scaled(part.anchors, given.scale))
        total = lib.plus_product(None if carry is None else carry[0], left, error)
        return (total,), (scaled(of_anchors, given.scale),)

    given = (*rows, *own), (*candidates, *others)
    (total,), (of_anchors,) = lib.fold(body, *given, plan.block)
    of_candidates = xp.matrix_transpose(total)
    if plan.targets != "position":
        return of_anchors, of_candidates
    pull = (of_rows + of_columns)[:, None] * candidates.scale
    paired = candidates.embeddings * pull, rows.anchors * pull
    return of_anchors - paired[0], of_candidates - paired[1]


def two_softmaxes(lib: Library, scores: Array, first: Closed, second: Closed) -> Array:
    """Return the sum of exp(scores - peak) * push for rows, and for columns."""
    error = lib.times(lib.exp(scores - first[0]), first[1])
    other = lib.times(lib.exp(lib.minus(scores, second[0])), second[1])
    return lib.plus(error, other)


def tile_sums(
    plan: Plan, scores: Array, targets: Array | None, axis: int, lost: bool = False
) -> Sums:
    """Return a panel's sums; of no targets the peak takes the place.

    `lost` is whether nobody needs the scores any more.
    """
    lib, xp = plan.library, plan.library.xp
    peak = lib.peak(scores, axis)
    shifted = lib.minus(scores, peak) if lost else scores - peak
    peak = xp.squeeze(peak, axis=axis)
    positive = total = peak
    if targets is not None:
        positive, total = lib.dots(targets, shifted, axis), xp.sum(targets, axis=axis)
    return Sums(peak, xp.sum(lib.exp(shifted), axis=axis), positive, total)


def nothing(plan: Plan, rows: Array) -> Sums:
    """Return the sums of rows that have met no other."""
    zero = plan.library.xp.sum(rows * 0, axis=1)
    return Sums(zero + plan.library.lowest(rows), zero, zero, zero)


def merged(plan: Plan, old: Sums, new: Sums) -> Sums:
    """Return the sums over two sets of panels."""
    xp = plan.library.xp
    peak = xp.maximum(old.peak, new.peak)
    down, up = old.peak - peak, new.peak - peak
    return Sums(
        peak,
        old.partition * xp.exp(down) + new.partition * xp.exp(up),
        old.positive + old.total * down + new.positive + new.total * up,
        old.total + new.total,
    )


def coefficients(plan: Plan, one: Sums, upstream: Array) -> tuple[Array, Array, Array]:
    """Return a direction's peaks, and the factors of its exponentials and targets."""
    xp = plan.library.xp
    counted = one.total != 0
    upstream = xp.where(counted, upstream, 0.0)
    push = upstream / xp.where(counted, one.partition, 1.0)
    return one.peak, push, upstream / xp.where(counted, one.total, 1.0)
