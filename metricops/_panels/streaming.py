"""N-pairs from embeddings, panel by panel: never the matrix of all similarities.

A panel holds some anchors against all candidates, so a row's log-sum-exp closes inside
it, and so does the row's gradient. Everything here is array API functions: `_forward`
is one matrix product a panel, `_gradients` three.
"""

from typing import Any, NamedTuple

from metricops._arguments.labels import matches, shared
from metricops._frameworks import Arrays, Library, Step
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
    weights: Array  # or None
    labels: Array  # or None
    positions: Array  # or None


class Candidates(NamedTuple):
    """All candidates, and what belongs to them."""

    embeddings: Array
    labels: Array  # or None
    scale: Array | float  # 1 / temperature
    pull: Array | float  # the same times a factor of all gradients


class Softmax(NamedTuple):
    """A panel's softmax against any targets."""

    exponentials: Array  # of the similarities less their row's peak, shape (b, m)
    partition: Array  # their sums, shape (b, 1)
    losses: Array  # shape (b, 1)
    counted: Array  # whether an anchor has a positive, shape (b, 1)
    targets: Array  # shape (b, m)
    share: Array  # 1 / the sum of a row of targets, shape (b, 1)
    anchors: Array  # those that count, others are 0


class Found(NamedTuple):
    """What one pass over the panels gives."""

    losses: Array  # shape (n,)
    counted: Array  # which anchors have a positive, or None: all
    of_anchors: Array  # gradient of the weighted losses' sum, shape (n, d)
    of_candidates: Array  # the same, shape (m, d)


def losses(
    plan: Plan, rows: Panel, candidates: Candidates
) -> tuple[Array, Array | None]:
    """Return the loss of each anchor, and which of them count (None: all)."""
    lib = plan.library

    def body(_: Any, panel: Arrays, consts: Arrays) -> Step:
        part, given = Panel(*panel), Candidates(*consts)
        if plan.targets == "position":
            scores = scores_of(plan, part, given)
            return (), (lib.position_losses(scores, part.positions),)
        found = _softmax(plan, part, given)
        return (), (found.losses[:, 0], found.counted[:, 0])

    _, outs = lib.fold(body, rows, candidates, plan.block)
    return outs[0], outs[1] if len(outs) == 2 else None


def mean_loss(plan: Plan, rows: Panel, candidates: Candidates) -> Array:
    """Return the mean of the losses by position, from one panel."""
    lib = plan.library
    scores = scores_of(plan, rows, candidates)
    return lib.position_loss(scores, rows.positions)


def gradients(plan: Plan, rows: Panel, candidates: Candidates) -> Found:
    """Return losses, and the gradients of the sum of the weighted losses."""
    lib, xp, by_position = plan.library, plan.library.xp, plan.targets == "position"

    def body(carry: Any, panel: Arrays, consts: Arrays) -> Step:
        part, given = Panel(*panel), Candidates(*consts)
        push = _by_position if by_position else _by_targets
        error, weighted, row_factor, outs = push(plan, part, given)
        of_anchors = lib.product(error, given.embeddings)
        of_anchors = of_anchors * row_factor
        # The panel as it lies: to transpose it costs more than the thin sum, at last.
        left = xp.matrix_transpose(weighted)
        total = lib.plus_product(None if carry is None else carry[0], left, error)
        return (total,), (of_anchors, *outs)

    (total,), outs = lib.fold(body, rows, candidates, plan.block)
    of_candidates = xp.matrix_transpose(total)
    of_anchors, row_losses, *counted = outs
    if by_position and not lib.position_error_is_whole:
        of_anchors, of_candidates = _less_positives(
            lib, rows, candidates, of_anchors, of_candidates
        )
    kept = counted[0] if counted else None
    return Found(row_losses, kept, of_anchors, of_candidates)


def _by_position(plan: Plan, panel: Panel, candidates: Candidates) -> Any:
    """Return a panel's error, the anchors to meet it, and a factor of its rows.

    Scaling the thin side of each product spares a pass over the panel.
    """
    lib = plan.library
    scores = scores_of(plan, panel, candidates)
    row_losses, error, factor = lib.position_error(scores, panel.positions)
    weight = _row_scale(panel, candidates)
    weight = weight if factor is None else weight * factor
    return error, panel.anchors * weight, weight, (row_losses,)


def _by_targets(plan: Plan, panel: Panel, candidates: Candidates) -> Any:
    """Return what `_by_position` does, for any targets."""
    xp = plan.library.xp
    found = _softmax(plan, panel, candidates)
    targets = found.targets * (found.share * found.partition)
    error = plan.library.minus(found.exponentials, targets)
    kept = xp.astype(found.counted, found.share.dtype)
    weight = kept * _row_scale(panel, candidates) / found.partition
    outs = (found.losses[:, 0], found.counted[:, 0])
    return error, found.anchors * weight, weight, outs


def scores_of(plan: Plan, panel: Panel, candidates: Candidates) -> Array:
    """Return a panel's similarities over the temperature, shape (b, m)."""
    lib, columns = plan.library, plan.library.xp.matrix_transpose(candidates.embeddings)
    scores = lib.product(scaled(panel.anchors, candidates.scale), columns)
    if not plan.exclude_diagonal:
        return scores
    return lib.put(scores, panel.positions, lib.lowest(scores))


def _softmax(plan: Plan, panel: Panel, candidates: Candidates) -> Softmax:
    lib, xp = plan.library, plan.library.xp
    targets = target_panel(plan, panel, candidates)
    total = xp.sum(targets, axis=1, keepdims=True)
    counted = total != 0
    share = 1 / xp.where(counted, total, 1.0)
    # An anchor left out may hold a NaN, and 0 * NaN is one.
    anchors = xp.where(counted, panel.anchors, 0.0)
    scores = scores_of(plan, panel._replace(anchors=anchors), candidates)
    scores = lib.minus(scores, lib.peak(scores, 1))
    positive = lib.dots(targets, scores, 1)[:, None] * share
    exponentials = lib.exp(scores)
    partition = xp.sum(exponentials, axis=1, keepdims=True)
    row_losses = xp.where(counted, xp.log(partition) - positive, 0.0)
    return Softmax(
        exponentials, partition, row_losses, counted, targets, share, anchors
    )


def _less_positives(
    lib: Library,
    rows: Panel,
    candidates: Candidates,
    of_anchors: Array,
    of_candidates: Array,
) -> tuple[Array, Array]:
    """Return both gradients less the part of each anchor's positive."""
    pull = _row_scale(rows, candidates)
    paired, rest = lib.split(candidates.embeddings, rows.anchors)
    near, far = lib.split(of_candidates, rows.anchors)
    near = near - rows.anchors * pull
    of_candidates = near if rest is None else lib.xp.concat([near, far], axis=0)
    return of_anchors - paired * pull, of_candidates


def _row_scale(panel: Panel, candidates: Candidates) -> Array | float:
    """Return what makes a gradient by logits one of the loss by inner products."""
    if panel.weights is None:
        return candidates.pull
    return panel.weights[:, None] * candidates.pull


def target_panel(plan: Plan, panel: Panel, candidates: Candidates) -> Array:
    """Return how much each candidate is a positive of each anchor, shape (b, m)."""
    lib = plan.library
    targets = targets_of(plan, panel.labels, candidates.labels, panel.anchors.dtype)
    if not plan.exclude_diagonal:
        return targets
    return lib.put(targets, panel.positions, 0.0)


def targets_of(plan: Plan, labels: Array, others: Array, dtype: Any) -> Array:
    """Return how far two sets of labels agree."""
    lib = plan.library
    if plan.targets == "labels":
        return lib.xp.astype(matches(lib, labels, others), dtype)
    return shared(lib, labels, others, dtype)


def scaled(x: Array, scale: Array | float) -> Array:
    """Return `x` times a scale that is often 1."""
    return x if isinstance(scale, float) and scale == 1.0 else x * scale
