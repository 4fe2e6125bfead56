"""The losses of distances of a batch that several processes or devices hold.

As in `_sharded`, each member takes its own anchors against everybody's candidates, its
own first, and the mean over the members of what they return is the loss of the batch.
"""

from typing import Any

from metricops._arguments.weights import reciprocal
from metricops._frameworks import unwrap
from metricops._losses.distances import Arguments, admitted
from metricops._losses.embeddings_call import Call, loss_of
from metricops._losses.solvable import Solvable
from metricops._panels.term_operation import sized_parts
from metricops._panels.term_records import Labels
from metricops._panels.terms import masses_of, vector_of
from metricops._sharded.groups import Group, gathered
from metricops._typing import Array


def loss_of_group(
    group: Group, own: Solvable, named: dict[str, Any], counts: list[list[int]]
) -> Array:
    """Return a member's loss, of its own call and of all arguments by their names."""
    asked = Arguments(**{name: named[name] for name in Arguments._fields})
    call = admitted(own.config.terms, _among_all(group, own, asked, counts))
    if asked.reduction == "none":
        return loss_of(call)
    if asked.reduction == "sum":
        return loss_of(call) * group.size
    return loss_of(_scaled(group, call))


def _among_all(
    group: Group, own: Solvable, asked: Arguments, counts: list[list[int]]
) -> Arguments:
    """Return a member's arguments with everybody's candidates, its own first."""
    labels = Labels(*own.constants)
    every = asked.anchors if asked.candidates is None else asked.candidates
    others = labels.anchors if labels.candidates is None else labels.candidates
    *_, of_candidates = counts
    lib, mine = own.inputs.library, (unwrap(every), others)
    candidates, others = gathered(group, lib, mine, of_candidates)
    return asked._replace(
        candidates=candidates, labels=labels.anchors, candidate_labels=others
    )


def _scaled(group: Group, call: Call) -> Call:
    """Return a call for the sum of each part, divided by everybody's mass of it."""
    lib, config, given = call.inputs.library, call.config, call.given
    parts = lib.constant(sized_parts, config, given, call.labels)
    masses = masses_of(lib, config.reduction, given.weights, parts)
    scales = reciprocal(lib, group.total(vector_of(lib, masses))) * group.size
    return call._replace(
        config=config._replace(reduction="sum"), given=given._replace(scales=scales)
    )
