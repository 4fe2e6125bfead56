"""The members of the class of each row, found by one sort of all labels.

Where classes are small they replace a mask of all pairs: a row's positives are looked
up, and its negatives are all others.
"""

from typing import NamedTuple

from metricops._panels.roles import ByLabels
from metricops._panels.term_records import Problem, Rows
from metricops._typing import Array

_MOST = 16  # members of a class; of more, masks take less time


class Classes(NamedTuple):
    """The labels of one set, in order."""

    labels: Array  # (m,), ascending
    order: Array  # (m,): where they stand in the set
    places: Array  # (w,): 0, 1, ... up to the size of the largest class


class Few(NamedTuple):
    """A few candidates of each row, (b, w)."""

    columns: Array
    there: Array  # bool: which of them are meant
    complete: Array  # (b,), bool: whether these are all


def classes_of(problem: Problem) -> Classes | None:
    """Return the classes of one set, None where masks do better.

    Only where it may be looked at how large the classes are.
    """
    lib, xp, labels = problem.library, problem.library.xp, problem.candidates.labels
    one = problem.rows.side is problem.candidates.side
    if not (one and labels is not None and isinstance(problem.config.roles, ByLabels)):
        return None
    kind = lib.dtype(labels)
    if kind.kind != "int" or not kind.signed:  # others are not sorted everywhere
        return None
    order = xp.argsort(labels, stable=True)
    ordered = xp.take(labels, order, axis=0)
    ends = xp.searchsorted(ordered, ordered, side="right")
    most = int(xp.max(ends - xp.searchsorted(ordered, ordered)))
    if most > _MOST:
        return None
    return Classes(ordered, order, lib.positions(order[:most], 0, "candidates"))


def members(problem: Problem, classes: Classes, rows: Rows) -> Few:
    """Return the members of the class of each row.

    The last is repeated in classes that are smaller than the largest.
    """
    lib, xp, labels = problem.library, problem.library.xp, rows.labels
    first = xp.searchsorted(classes.labels, labels)[:, None]
    last = xp.searchsorted(classes.labels, labels, side="right")[:, None] - 1
    places = first + classes.places[None, :]
    there = places <= last
    columns = lib.gather(classes.order, xp.minimum(places, last))
    if problem.config.exclude_diagonal and rows.positions is not None:
        there = xp.logical_and(there, columns != rows.positions[:, None])
    return Few(columns, there, xp.ones_like(there[:, 0]))
