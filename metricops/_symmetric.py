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
    lib, by_position = plan.library, plan.targets == "position"

    def body(carry: Any, panel: Arrays, consts: Arrays) -> Step:
        part, given = Panel(*panel), Candidates(*consts)
        scores = _scores(plan, part, given)
        targets = None if by_position else target_panel(plan, part, given)
        columns = _sums(plan, scores, targets, axis=0)
        if carry is not None:
            columns = _merged(plan, Sums(*carry), columns)
        outs = _sums(plan, scores, targets, axis=1)
        return columns, (
            *outs,
            lib.pick(scores, part.positions),
        ) if by_position else outs

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
    own = _coefficients(plan, both.rows, of_rows)
    others = _coefficients(plan, both.columns, of_columns)

    def body(carry: Any, panel: Arrays, consts: Arrays) -> Step:
        part, given = Panel(*panel[:4]), Candidates(*consts[:3])
        row_peak, row_push, row_pull = (x[:, None] for x in panel[4:])
        column_peak, column_push, column_pull = (x[None, :] for x in consts[3:])
        scores = _scores(plan, part, given)
        error = xp.exp(scores - row_peak) * row_push
        error = error + xp.exp(scores - column_peak) * column_push
        if plan.targets != "position":
            error = error - target_panel(plan, part, given) * (row_pull + column_pull)
        of_anchors = lib.product(error, given.embeddings)
        left, right = xp.matrix_transpose(error), scaled(part.anchors, given.scale)
        total = lib.plus_product(None if carry is None else carry[0], left, right)
        return (total,), (scaled(of_anchors, given.scale),)

    given = (*rows, *own), (*candidates, *others)
    (of_candidates,), (of_anchors,) = lib.fold(body, *given, plan.block)
    if plan.targets != "position":
        return of_anchors, of_candidates
    pull = (of_rows + of_columns)[:, None] * candidates.scale
    paired = candidates.embeddings * pull, rows.anchors * pull
    return of_anchors - paired[0], of_candidates - paired[1]


def _scores(plan: Plan, panel: Panel, candidates: Candidates) -> Array:
    lib, xp = plan.library, plan.library.xp
    columns = xp.matrix_transpose(candidates.embeddings)
    scores = lib.product(scaled(panel.anchors, candidates.scale), columns)
    if not plan.exclude_diagonal:
        return scores
    return xp.where(diagonal(lib, panel, scores), -float("inf"), scores)


def _sums(plan: Plan, scores: Array, targets: Array | None, axis: int) -> Sums:
    """Return a panel's sums; of no targets the peak takes the place."""
    xp = plan.library.xp
    peak = _finite(plan, plan.library.peak(scores, axis))
    shifted = scores - peak
    peak, partition = xp.squeeze(peak, axis=axis), xp.sum(xp.exp(shifted), axis=axis)
    if targets is None:
        return Sums(peak, partition, peak, peak)
    kept = targets * xp.where(targets != 0, shifted, 0.0)
    return Sums(peak, partition, xp.sum(kept, axis=axis), xp.sum(targets, axis=axis))


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
    return xp.where(peak == -float("inf"), 0.0, peak)


def _coefficients(plan: Plan, one: Sums, upstream: Array) -> tuple[Array, Array, Array]:
    """Return a direction's peaks, and the factors of its exponentials and targets."""
    xp = plan.library.xp
    counted = one.total != 0
    upstream = xp.where(counted, upstream, 0.0)
    push = upstream / xp.where(counted, one.partition, 1.0)
    return one.peak, push, upstream / xp.where(counted, one.total, 1.0)
