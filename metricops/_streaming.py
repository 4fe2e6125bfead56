"""N-pairs from embeddings, panel by panel: never the matrix of all similarities.

A panel holds some anchors against all candidates, so a row's log-sum-exp closes inside
it, and so does the row's gradient. Everything here is array API functions: `_forward`
is one matrix product a panel, `_gradients` three.
"""

from typing import NamedTuple

from metricops._frameworks import Arrays, Library
from metricops._labels import matches
from metricops._npairs import shared
from metricops._typing import Array


class Plan(NamedTuple):
    """What is static about a call."""

    library: Library
    targets: str  # "position", "labels" or "multihot"
    exclude_diagonal: bool
    block: int | None


class Panel(NamedTuple):
    """Some anchors, and what belongs to them."""

    anchors: Array
    weights: Array | None
    labels: Array | None
    positions: Array | None


class Candidates(NamedTuple):
    """All candidates, and what belongs to them."""

    embeddings: Array
    labels: Array | None
    scale: Array | float  # 1 / temperature


class Rows(NamedTuple):
    """A panel's similarities, ready for any softmax over its rows."""

    exponentials: Array  # exp(similarity - peak), shape (b, m)
    partition: Array  # their sums, shape (b, 1)
    losses: Array  # shape (b, 1)
    counted: Array | None  # whether an anchor has a positive, shape (b, 1)
    targets: Array | None  # shape (b, m)
    share: Array | None  # 1 / the sum of a row of targets, shape (b, 1)
    anchors: Array  # those that count, others are 0


def losses(plan: Plan, rows: Panel, candidates: Candidates) -> tuple[Array, Array | None]:
    """Return the loss of each anchor, and which of them count (None: all)."""

    def body(_: object, panel: Arrays, consts: Arrays) -> tuple[tuple[()], tuple[Array, ...]]:
        found = _rows(plan, Panel(*panel), Candidates(*consts))
        return (), _without_none(found.losses[:, 0], _flat(found.counted))

    _, outs = plan.library.fold(body, rows, candidates, plan.block)
    return outs[0], outs[1] if len(outs) > 1 else None


def gradients(
    plan: Plan, rows: Panel, candidates: Candidates
) -> tuple[Array, Array | None, Array, Array]:
    """Return losses, which count, and the gradients of the sum of weighted losses.

    The gradients are those of the anchors and the candidates.
    """
    lib = plan.library

    def body(
        carry: tuple[Array] | None, panel: Arrays, consts: Arrays
    ) -> tuple[tuple[Array], tuple[Array, ...]]:
        part, given = Panel(*panel), Candidates(*consts)
        found = _rows(plan, part, given)
        anchors, candidates = _products(lib, found, part, given)
        total = candidates if carry is None else carry[0] + candidates
        return (total,), _without_none(found.losses[:, 0], anchors, _flat(found.counted))

    (of_candidates,), outs = lib.fold(body, rows, candidates, plan.block)
    of_anchors, counted = outs[1], outs[2] if len(outs) > 2 else None
    if plan.targets == "position":
        of_anchors, of_candidates = _less_positives(
            lib, rows, candidates, of_anchors, of_candidates
        )
    return outs[0], counted, of_anchors, of_candidates


def _rows(plan: Plan, panel: Panel, candidates: Candidates) -> Rows:
    lib, xp = plan.library, plan.library.xp
    anchors, targets, counted, share = panel.anchors, None, None, None
    if plan.targets != "position":
        targets = target_panel(plan, panel, candidates)
        total = xp.sum(targets, axis=1, keepdims=True)
        counted = total != 0
        share = 1 / xp.where(counted, total, xp.ones_like(total))
        # An anchor left out may hold a NaN, and 0 * NaN is one.
        anchors = xp.where(counted, anchors, xp.zeros_like(anchors))
    columns = xp.matrix_transpose(candidates.embeddings)
    scores = lib.product(scaled(anchors, candidates.scale), columns)
    if plan.exclude_diagonal:
        own = diagonal(lib, panel, scores)
        scores = xp.where(own, xp.full_like(scores, -float("inf")), scores)
    peak = lib.peak(scores, 1)
    if plan.exclude_diagonal:
        peak = xp.where(counted, peak, xp.zeros_like(peak))
    scores = scores - peak
    exponentials = xp.exp(scores)
    partition = xp.sum(exponentials, axis=1, keepdims=True)
    if targets is None:
        row_losses = xp.log(partition) - lib.pick(scores, panel.positions)
        return Rows(exponentials, partition, row_losses, None, None, None, anchors)
    partition = xp.where(counted, partition, xp.ones_like(partition))
    zero = xp.zeros_like(scores)
    positive = xp.sum(targets * xp.where(targets != 0, scores, zero), axis=1, keepdims=True)
    row_losses = xp.log(partition) - positive * share
    row_losses = xp.where(counted, row_losses, xp.zeros_like(row_losses))
    return Rows(exponentials, partition, row_losses, counted, targets, share, anchors)


def _products(
    lib: Library, found: Rows, panel: Panel, candidates: Candidates
) -> tuple[Array, Array]:
    """Return a panel's part of both gradients; without the targets' if by position."""
    xp = lib.xp
    base = _row_scale(panel, candidates)
    weight = base / found.partition
    if found.targets is None:
        # Scaling the thin side of each product spares a pass over the panel.
        of_anchors = lib.product(found.exponentials, candidates.embeddings) * weight
        transposed = xp.matrix_transpose(found.exponentials)
        return of_anchors, lib.product(transposed, found.anchors * weight)
    pull = base * found.share
    pull = xp.where(found.counted, pull, xp.zeros_like(pull))
    weight = xp.where(found.counted, weight, xp.zeros_like(weight))
    difference = found.exponentials * weight - found.targets * pull
    transposed = xp.matrix_transpose(difference)
    of_anchors = lib.product(difference, candidates.embeddings)
    return of_anchors, lib.product(transposed, found.anchors)


def _less_positives(
    lib: Library, rows: Panel, candidates: Candidates, of_anchors: Array, of_candidates: Array
) -> tuple[Array, Array]:
    """Return both gradients less the part of each anchor's positive, at its position."""
    pull = _row_scale(rows, candidates)
    paired, rest = lib.split(candidates.embeddings, rows.anchors)
    of_anchors = of_anchors - paired * pull
    near, far = lib.split(of_candidates, rows.anchors)
    near = near - rows.anchors * pull
    return of_anchors, near if rest is None else lib.xp.concat([near, far], axis=0)


def _row_scale(panel: Panel, candidates: Candidates) -> Array | float:
    """Return what turns a gradient of the logits' loss into one of the weighted loss."""
    if panel.weights is None:
        return candidates.scale
    return panel.weights[:, None] * candidates.scale


def target_panel(plan: Plan, panel: Panel, candidates: Candidates) -> Array:
    lib, xp = plan.library, plan.library.xp
    dtype = panel.anchors.dtype
    if plan.targets == "labels":
        same = matches(lib, panel.labels, candidates.labels)
        if plan.exclude_diagonal:
            same = xp.logical_and(same, xp.logical_not(diagonal(lib, panel, same)))
        return xp.astype(same, dtype)
    counts = shared(lib, panel.labels, candidates.labels, dtype)
    if plan.exclude_diagonal:
        counts = xp.where(diagonal(lib, panel, counts), xp.zeros_like(counts), counts)
    return counts


def diagonal(lib: Library, panel: Panel, like: Array) -> Array:
    """Return where a candidate is the anchor itself, shape (b, m)."""
    return panel.positions[:, None] == lib.positions(like, 1)[None, :]


def scaled(x: Array, scale: Array | float) -> Array:
    """Return `x` times a scale that is often 1."""
    return x if isinstance(scale, float) and scale == 1.0 else x * scale


def _flat(column: Array | None) -> Array | None:
    return None if column is None else column[:, 0]


def _without_none(*arrays: Array | None) -> tuple[Array, ...]:
    return tuple(x for x in arrays if x is not None)
