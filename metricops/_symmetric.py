"""Both directions of N-pairs from embeddings, from one panel of similarities each.

A column's log-sum-exp closes only with the last panel, so gradients take a second pass:
`losses` is one matrix product a panel and returns `Sums`, `gradients` is three.
"""

from typing import Any, NamedTuple

from metricops._frameworks import Arrays, Step
from metricops._streaming import (
    Candidates,
    Panel,
    Plan,
    diagonal,
    scaled,
    target_panel,
)
from metricops._typing import Array


class Sums(NamedTuple):
    """What closes the softmaxes of one direction, each of shape (n,)."""

    peak: Array
    partition: Array  # the sum of exp(similarity - peak)
    positive: Array  # the sum of targets * (similarity - peak)
    total: Array  # the sum of targets


class Both(NamedTuple):
    """The two directions."""

    rows: Sums
    columns: Sums


def sums(plan: Plan, rows: Panel, candidates: Candidates) -> Both:
    """Return what closes the softmax of each row and of each column."""

    def body(carry: Any, panel: Arrays, consts: Arrays) -> Step:
        part, given = Panel(*panel), Candidates(*consts)
        scores, targets = _scores(plan, part, given)
        columns = _sums(plan, scores, targets, axis=0)
        if carry is not None:
            columns = _merged(plan, Sums(*carry), columns)
        return columns, _sums(plan, scores, targets, axis=1)

    columns, of_rows = plan.library.fold(body, rows, candidates, plan.block)
    return Both(Sums(*of_rows), Sums(*columns))


def losses(plan: Plan, one: Sums) -> tuple[Array, Array]:
    """Return the losses of one direction, and which of them count."""
    xp = plan.library.xp
    counted, ones = one.total != 0, xp.ones_like(one.total)
    partition = xp.where(counted, one.partition, ones)
    positive = one.positive / xp.where(counted, one.total, ones)
    loss = xp.log(partition) - positive
    return xp.where(counted, loss, xp.zeros_like(loss)), counted


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
    peak, push, pull = _coefficients(plan, both.columns, of_columns)
    own = _coefficients(plan, both.rows, of_rows)

    def body(carry: Any, panel: Arrays, consts: Arrays) -> Step:
        part, given = Panel(*panel[:4]), Candidates(*consts[:3])
        row_peak, row_push, row_pull = (x[:, None] for x in panel[4:])
        column_peak, column_push, column_pull = (x[None, :] for x in consts[3:])
        scores, targets = _scores(plan, part, given)
        difference = (
            xp.exp(scores - row_peak) * row_push
            + xp.exp(scores - column_peak) * column_push
            - targets * (row_pull + column_pull)
        )
        transposed = xp.matrix_transpose(difference)
        of_candidates = lib.product(transposed, scaled(part.anchors, given.scale))
        total = of_candidates if carry is None else carry[0] + of_candidates
        of_anchors = lib.product(difference, given.embeddings)
        return (total,), (scaled(of_anchors, given.scale),)

    consts = (*candidates, peak, push, pull)
    (of_candidates,), (of_anchors,) = lib.fold(body, (*rows, *own), consts, plan.block)
    return of_anchors, of_candidates


def _scores(plan: Plan, panel: Panel, candidates: Candidates) -> tuple[Array, Array]:
    lib, xp = plan.library, plan.library.xp
    columns = xp.matrix_transpose(candidates.embeddings)
    scores = lib.product(scaled(panel.anchors, candidates.scale), columns)
    if plan.exclude_diagonal:
        closed = xp.full_like(scores, -float("inf"))
        scores = xp.where(diagonal(lib, panel, scores), closed, scores)
    if plan.targets == "position":
        own = diagonal(lib, panel, scores)
        return scores, xp.astype(own, scores.dtype)
    return scores, target_panel(plan, panel, candidates)


def _sums(plan: Plan, scores: Array, targets: Array, axis: int) -> Sums:
    xp = plan.library.xp
    peak = _finite(plan, plan.library.peak(scores, axis))
    shifted = scores - peak
    kept = xp.where(targets != 0, shifted, xp.zeros_like(shifted))
    one = xp.squeeze(peak, axis=axis)
    partition, positive = (
        xp.sum(xp.exp(shifted), axis=axis),
        xp.sum(targets * kept, axis=axis),
    )
    return Sums(one, partition, positive, xp.sum(targets, axis=axis))


def _merged(plan: Plan, old: Sums, new: Sums) -> Sums:
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


def _finite(plan: Plan, peak: Array) -> Array:
    """Return `peak`, 0 where all is masked."""
    if not plan.exclude_diagonal:
        return peak
    xp = plan.library.xp
    return xp.where(peak == -float("inf"), xp.zeros_like(peak), peak)


def _coefficients(plan: Plan, one: Sums, upstream: Array) -> tuple[Array, Array, Array]:
    """Return a direction's peaks, and the factors of its exponentials and targets."""
    xp = plan.library.xp
    counted, ones = one.total != 0, xp.ones_like(one.total)
    upstream = xp.where(counted, upstream, xp.zeros_like(upstream))
    push = upstream / xp.where(counted, one.partition, ones)
    return one.peak, push, upstream / xp.where(counted, one.total, ones)
