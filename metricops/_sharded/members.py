"""What the call of a member says of its own rows, however it meets the others'."""

from typing import Any

from metricops._frameworks import Library
from metricops._losses.solvable import Solvable
from metricops._panels.records import Given, Labels
from metricops._sharded.groups import Group
from metricops._typing import Array


def labels_of_sides(own: Solvable, named: dict[str, Any]) -> Labels:
    """Return the labels and ids of both sides; no labels where pairs are by position.

    `named` are the arguments of the call by their names.
    """
    labels = Labels(*own.constants)
    others = labels.anchors if labels.candidates is None else labels.candidates
    ids = labels.ids if labels.candidate_ids is None else labels.candidate_ids
    if named["labels"] is None:  # whatever the objective made of it
        return Labels(None, None, labels.ids, ids)
    return Labels(labels.anchors, others, labels.ids, ids)


def is_one_set(own: Solvable) -> bool:
    """Return whether both sides are the same, so that both directions are."""
    given, labels = Given(*own.arrays), Labels(*own.constants)
    roles = labels.candidates, labels.candidate_ids
    return given.candidates is None and roles == (None, None)


def wide_sides(lib: Library, given: Given, dtype: Any) -> tuple[Array, Array]:
    """Return both sides in the dtype in which a loss is computed."""
    every = given.anchors if given.candidates is None else given.candidates
    one, other = (
        x if x.dtype == dtype else lib.xp.astype(x, dtype)
        for x in (given.anchors, every)
    )
    return one, other


def penalty(
    group: Group,
    lib: Library,
    weight: float,
    sides: tuple[Array, Array],
    counts: tuple[list[Any], list[Any]],
) -> Array | float:
    """Return own share of the penalty of the lengths of everybody's rows."""
    one, other = (
        lib.xp.sum(x * x) / group.number(n) for x, n in zip(sides, counts, strict=True)
    )
    return (one + other) * (weight * group.size / 4)
