"""The losses of distances of a batch that several processes or devices hold.

As in `_sharded`, each member takes its own anchors against everybody's candidates, its
own first, and the mean over the members of what they return is the loss of the batch.
"""

from typing import Any

from metricops._arguments.weights import reciprocal
from metricops._losses.distances import Arguments, Call, admitted, loss_of
from metricops._losses.solvable import Solvable
from metricops._panels.term_operation import parts_of
from metricops._panels.terms import masses_of, vector_of
from metricops._sharded.groups import Group
from metricops._typing import Array


def loss_of_group(group: Group, own: Solvable, named: dict[str, Any]) -> Array:
    """Return a member's loss, of its own call and of all arguments by their names."""
    asked = Arguments(**{name: named[name] for name in Arguments._fields})
    labels, others = own.constants
    call = admitted(own.config.terms, _among_all(group, asked, labels, others))
    if asked.reduction == "none":
        return loss_of(call)
    if asked.reduction == "sum":
        return loss_of(call) * group.size
    return loss_of(_scaled(group, call))


def _among_all(
    group: Group, asked: Arguments, labels: Array | None, others: Array | None
) -> Arguments:
    """Return a member's arguments with everybody's candidates, its own first."""
    every = asked.anchors if asked.candidates is None else asked.candidates
    others = labels if others is None else others
    counts = group.counts(every)
    return asked._replace(
        candidates=group.gather(every, counts),
        labels=labels,
        candidate_labels=None if others is None else group.gather(others, counts),
    )


def _scaled(group: Group, call: Call) -> Call:
    """Return a call for the sum of each part, divided by everybody's mass of it."""
    lib, config, given = call.inputs.library, call.config, call.given
    parts = lib.constant(parts_of, config, given, call.labels)
    masses = masses_of(lib, config.reduction, given.weights, parts)
    scales = reciprocal(lib, group.total(vector_of(lib, masses))) * group.size
    return call._replace(
        config=config._replace(reduction="sum"), given=given._replace(scales=scales)
    )
