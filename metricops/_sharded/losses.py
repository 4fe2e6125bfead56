"""Any loss of embeddings, of a batch that several processes or devices hold."""

from collections.abc import Callable
from typing import Any

from metricops._losses.solvable import SIGNATURES
from metricops._panels import term_records
from metricops._sharded import distances, embeddings
from metricops._sharded.groups import Group, check_alike
from metricops._typing import Array

_COMPARED = ("labels", "candidate_labels", "ids", "candidate_ids")


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
    signature = SIGNATURES[loss]
    named = {"anchors": anchors, "candidates": candidates, "labels": labels, **options}
    named = signature.defaults | named
    # A member with bad arguments raises here, before any other waits for it.
    call = signature.solvable(**named)
    for name in _COMPARED:
        if name in named:
            check_alike(call.inputs, name, named[name])
    if named["exclude_diagonal"] is None:
        named["exclude_diagonal"] = candidates is None
    if isinstance(call.config, term_records.Config):
        return distances.loss_of_group(group, call, named)
    return embeddings.loss_of_group(group, loss, call, named)
