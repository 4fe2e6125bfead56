"""The losses of distances of a batch that several processes or devices hold.

As in `_sharded`, each member takes its own anchors against everybody's candidates, its
own first, and the mean over the members of what they return is the loss of the batch.
"""

from collections.abc import Callable
from typing import Any

from metricops._arguments.weights import reciprocal
from metricops._losses.distances import Arguments, Call, admitted, loss_of
from metricops._losses.solvable import SIGNATURES
from metricops._panels.term_operation import parts_of
from metricops._panels.terms import masses_of
from metricops._sharded.groups import Group, check_alike
from metricops._typing import Array


def loss_of_distances_of_group(
    group: Group,
    loss: Callable[..., Array],
    anchors: Array,
    candidates: Array | None,
    labels: Any,
    **options: Any,
) -> Array:
    """Return a loss whose mean over the members is the loss of the whole batch.

    `loss` is a loss of distances, such as `triplet_loss_from_embeddings`, and the other
    arguments are its own, of this member alone. With ``reduction="none"``, return the
    losses of its own anchors.
    """
    signature = SIGNATURES[loss]
    named = {"anchors": anchors, "candidates": candidates, "labels": labels, **options}
    named = signature.defaults | named
    # A member with bad arguments raises here, before any other waits for it.
    found = signature.solvable(**named)
    for name in ("labels", "candidate_labels"):
        check_alike(found.inputs, name, named[name])
    asked = Arguments(**{name: named[name] for name in Arguments._fields})
    own, others = found.constants
    call = admitted(found.config.terms, _among_all(group, asked, own, others))
    if asked.reduction == "none":
        return loss_of(call)
    if asked.reduction == "sum":
        return loss_of(call) * group.size
    return loss_of(_scaled(group, call))


def _among_all(
    group: Group, asked: Arguments, labels: Array | None, others: Array | None
) -> Arguments:
    """Return a member's arguments with everybody's candidates, its own first."""
    one, every = asked.candidates is None, asked.candidates
    every = asked.anchors if one else every
    others = labels if others is None else others
    diagonal, counts = asked.exclude_diagonal, group.counts(every)
    return asked._replace(
        candidates=group.gather(every, counts),
        labels=labels,
        candidate_labels=None if others is None else group.gather(others, counts),
        exclude_diagonal=one if diagonal is None else diagonal,
    )


def _scaled(group: Group, call: Call) -> Call:
    """Return a call for the sum of each part, divided by everybody's mass of it."""
    lib, config, given = call.inputs.library, call.config, call.given
    parts = lib.constant(parts_of, config, given, call.labels)
    masses = masses_of(lib, config.reduction, given.weights, parts)
    scales = (
        reciprocal(lib, group.total(lib.xp.concat([x[None] for x in masses], axis=0)))
        * group.size
    )
    return call._replace(
        config=config._replace(reduction="sum"), given=given._replace(scales=scales)
    )
