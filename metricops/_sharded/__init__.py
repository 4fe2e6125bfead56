"""The loss of a batch that several processes or devices hold.

Each member of the group takes its own anchors against everybody's candidates, its own
candidates first. What it returns is scaled so that the *mean* over the members is the
loss of the whole batch: data parallel training averages gradients over the members, and
so gets the whole batch's gradient.

Members meet everybody's candidates all at once, gathered (`embeddings`, `distances`),
or one member's at a time, in a ring (`ring`), which takes less memory and one product
more.

Nothing here knows a framework: an adapter brings its collectives, as a `Group`.
"""

from collections.abc import Callable
from typing import Any, cast

from metricops._frameworks.public import public
from metricops._frameworks.records import each, leaves
from metricops._losses.solvable import SIGNATURES, Solvable
from metricops._panels import term_records
from metricops._sharded import distances, embeddings, ring_distances, ring_embeddings
from metricops._sharded.groups import (
    Group,
    RingGroup,
    Visits,
    check_alike,
    check_gather,
    described,
)
from metricops._typing import Array

__all__ = ["Group", "Visits", "check_gather", "each", "leaves", "loss_of_group"]

_COMPARED = ("labels", "candidate_labels", "ids", "candidate_ids")


@public
def loss_of_group(
    group: Group,
    loss: Callable[..., Array],
    anchors: Array,
    candidates: Array | None,
    labels: Any,
    **options: Any,
) -> Array:
    """Return a loss whose mean over the members is the loss of the whole batch.

    `loss` is one of anchors against candidates, such as `npairs_loss_from_embeddings`,
    and the other arguments are its own, of this member alone. With
    ``reduction="none"``, return the losses of its own anchors.
    """
    named = {"anchors": anchors, "candidates": candidates, "labels": labels, **options}
    named = {"anchors": anchors} | SIGNATURES[loss].defaults | named
    if named["exclude_diagonal"] is None:
        named["exclude_diagonal"] = candidates is None
    try:
        call = _admitted(group, loss, named)
    except Exception as error:
        group.fail(error)
        raise
    sides = (anchors,) if candidates is None else (anchors, candidates)
    words = {"loss": loss.__name__, "gather": repr("ring" if group.ring else "all")}
    told = described(call.inputs.library, named | _labels_of_lists(call, named))
    counts = group.meet(words | told, sides)
    terms = isinstance(call.config, term_records.Config)
    if group.ring:
        ring = ring_distances if terms else ring_embeddings
        return ring.loss_of_group(cast(RingGroup, group), call, named, counts)
    if terms:
        return distances.loss_of_group(group, call, named, counts)
    return embeddings.loss_of_group(group, loss, call, named, counts)


def _labels_of_lists(call: Solvable, named: dict[str, Any]) -> dict[str, Array]:
    """Return the arrays that labels and ids have become which are given as lists."""
    pairs = zip(_COMPARED, call.constants, strict=False)
    return {name: x for name, x in pairs if isinstance(named.get(name), (list, tuple))}


def _admitted(
    group: Group, loss: Callable[..., Array], named: dict[str, Any]
) -> Solvable:
    """Return a member's own call, having made sure that a group can share it."""
    call = SIGNATURES[loss].solvable(**named)
    for name in _COMPARED:
        if name in named:
            check_alike(call.inputs, name, named[name])
    if group.ring and not isinstance(call.config, term_records.Config):
        ring_embeddings.check(call, named)
    return call
