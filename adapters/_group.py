"""N-pairs from embeddings over a batch that several processes or devices share.

Everything here is true of any framework; an adapter brings its collectives, as a
`Group`. Each member takes its own anchors against everybody's candidates. What it
returns is scaled so that the *mean* over the members is the loss of the whole batch:
data parallel training averages gradients over the members, and so gets its gradient.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

import metricops

Array = Any
Loss = Callable[..., Array]


class Group(Protocol):
    """Those that share a batch, as one of them sees them."""

    @property
    def size(self) -> int:
        """Return how many they are."""

    def check(self, loss: Loss, *arrays: Array, **given: Any) -> None:
        """Raise what ``loss(*arrays, **given)`` raises, at next to no cost."""

    def counts(self, x: Array) -> list[int]:
        """Return how many rows of `x` each member has, own first."""

    def gather(self, x: Array, counts: list[int]) -> Array:
        """Return everybody's rows of `x`, own first, differentiably."""

    def total(self, x: Array) -> Array:
        """Return the sum of everybody's `x`, of shape (), differentiably."""

    def asarray(self, value: Any, like: Array) -> Array:
        """Return `value` as an array on the device of `like`."""

    def weights(self, value: Any, rows: Array) -> Array:
        """Return a weight for each of `rows`, in float32 at least; 1 for None."""

    def isin(self, x: Array, others: Array) -> Array:
        """Return which elements of `x` are among `others`."""


class Side(NamedTuple):
    """The anchors, or the candidates, of one member."""

    embeddings: Array
    labels: Array | None  # None: candidate i is the positive of anchor i
    counts: list[int]  # everybody's rows, own first

    def gathered(self, group: Group) -> "Side":
        """Return the anchors, or the candidates, of all."""
        labels = None if self.labels is None else group.gather(self.labels, self.counts)
        return Side(group.gather(self.embeddings, self.counts), labels, self.counts)


class Call(NamedTuple):
    """What a call is made of besides the two sides."""

    group: Group
    loss: Loss
    weights: Array  # of own anchors
    l2_weight: float
    reduction: str


def npairs_loss_of_group(
    group: Group,
    anchors: Array,
    candidates: Array | None,
    labels: Any,
    *,
    candidate_labels: Any,
    sample_weight: Any,
    symmetric: bool,
    exclude_diagonal: bool,
    l2_weight: float,
    reduction: str,
    **options: Any,
) -> Array:
    """Return a loss whose mean over the members is the loss of the whole batch.

    With ``reduction="none"``, return the losses of the member's own anchors.
    """
    loss: Loss = partial(metricops.npairs_loss_from_embeddings, **options)
    square: Loss = partial(loss, symmetric=symmetric, exclude_diagonal=exclude_diagonal)
    # The function's own errors, before anybody waits for anybody.
    group.check(
        square,
        anchors,
        candidates,
        labels,
        candidate_labels=candidate_labels,
        sample_weight=sample_weight,
        l2_weight=l2_weight,
        reduction=reduction,
    )
    rows, columns = _sides(group, anchors, candidates, labels, candidate_labels)
    weights = group.weights(sample_weight, anchors)
    call = Call(group, loss, weights, l2_weight, reduction)
    if exclude_diagonal:
        return _whole(call._replace(loss=square), rows, columns)
    found = _one_way(call, rows, columns)
    return (found + _one_way(call, columns, rows)) / 2 if symmetric else found


def _sides(
    group: Group, anchors: Array, candidates: Any, labels: Any, candidate_labels: Any
) -> tuple[Side, Side]:
    if labels is not None:
        labels = group.asarray(labels, anchors)
    rows = Side(anchors, labels, group.counts(anchors))
    if candidate_labels is not None:
        labels = group.asarray(candidate_labels, anchors)
    if candidates is None:
        return rows, rows._replace(labels=labels)
    return rows, Side(candidates, labels, group.counts(candidates))


def _whole(call: Call, rows: Side, columns: Side) -> Array:
    """Return the loss of the whole batch, which only has a diagonal as a whole."""
    anchors, candidates = rows.gathered(call.group), columns.gathered(call.group)
    found = call.loss(
        anchors.embeddings,
        candidates.embeddings,
        anchors.labels,
        candidate_labels=candidates.labels,
        sample_weight=call.group.gather(call.weights, rows.counts),
        l2_weight=call.l2_weight,
        reduction=call.reduction,
    )
    return found[: rows.counts[0]] if call.reduction == "none" else found


def _one_way(call: Call, rows: Side, columns: Side) -> Array:
    """Return the loss of own rows against everybody's columns."""
    # Own columns come first, at the positions of their rows.
    others = columns.gathered(call.group)
    weights, l2_weight, reduction = call.weights, call.l2_weight, call.reduction
    if reduction != "none":
        weights = weights * _factor(call, rows, others)
        share = rows.counts[0] / max(1, sum(rows.counts))
        l2_weight, reduction = l2_weight * call.group.size * share, "sum"
    return call.loss(
        rows.embeddings,
        others.embeddings,
        rows.labels,
        candidate_labels=others.labels,
        sample_weight=weights,
        l2_weight=l2_weight,
        reduction=reduction,
    )


def _factor(call: Call, rows: Side, others: Side) -> Array:
    """Return what turns the sum of own weighted losses into what is to be returned."""
    group, part = call.group, call.weights
    if call.reduction == "sum":
        return group.size
    if call.reduction == "mean":
        part = group.weights(None, part)
    mass = group.total((part * _counted(group, rows.labels, others.labels)).sum())
    return group.size / (mass + (mass == 0))


def _counted(group: Group, labels: Array | None, others: Array | None) -> Array:
    """Return which anchors have a positive."""
    if labels is None or others is None:
        return True
    if labels.ndim == 1 or labels.shape[1] == 1:
        return group.isin(labels.reshape(-1), others.reshape(-1))
    return ((labels != 0) & (others != 0).any(0)).any(1)
