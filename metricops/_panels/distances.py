"""The distances of a panel of anchors to all candidates, and their gradients.

A cosine distance of unit vectors u and v is |u - v|² / 2, and a zero row, whose length
is not 1, lacks a half of that. So all of them are lengths of differences, or squares,
which are right also where rows are near each other; see `_similarity.products`.
"""

from typing import Any, NamedTuple

from metricops._frameworks import Arrays, Library
from metricops._similarity import operation
from metricops._similarity.normalize import Units, unit_and_norm, unit_gradient
from metricops._similarity.panel_sums import Config as Kind
from metricops._typing import Array

METRICS = ("euclidean", "squared_euclidean", "cosine")


class Side(NamedTuple):
    """Anchors, or candidates, as they enter distances."""

    rows: Array  # (n, d), of unit length where that is asked for
    missing: Array = None  # (n,): what cosine distances lack, where they are asked for


class Distances(NamedTuple):
    """The distances of a panel, and what their gradients need."""

    values: Array  # (b, m)
    saved: Arrays


def side_of(lib: Library, metric: str, normalize: bool, x: Array) -> tuple[Side, Any]:
    """Return rows as they enter distances, and how they came to have unit length."""
    if not normalize and metric != "cosine":
        return Side(x), None
    units = unit_and_norm(lib, x)
    if metric != "cosine":
        return Side(units.unit), units
    zero = lib.peak(lib.xp.abs(x), axis=1)[:, 0] <= 0
    return Side(units.unit, lib.xp.astype(zero, x.dtype) / 2), units


def of_rows(lib: Library, units: Units | None, gradient: Array) -> Array:
    """Return the gradient by rows as given, of that by the rows of a side."""
    return gradient if units is None else unit_gradient(lib, units, gradient)


def distances_of(
    lib: Library, metric: str, own: Side, others: Side, places: Array | None
) -> Distances:
    """Return the distances of some rows to others, shape (b, m).

    `places` is where each row stands among the others, if it does: its distance to
    itself is 0, and costs nothing.
    """
    arrays = own.rows, others.rows
    found, saved = operation.value_and_saved(
        lib, _kind(metric), arrays, (places,), (True, True)
    )
    if metric != "cosine":
        return Distances(found, saved)
    found = found / 2 + own.missing[:, None] + others.missing[None, :]
    return Distances(lib.xp.where(found > 2, 2.0, found), saved)


def pulled(
    lib: Library,
    metric: str,
    own: Side,
    others: Side,
    places: Array | None,
    saved: Arrays,
    errors: Array,
    wanted: tuple[bool, bool],
) -> Arrays:
    """Return the gradients of ``sum(errors * distances)``, None if not wanted."""
    errors = errors / 2 if metric == "cosine" else errors
    arrays = own.rows, others.rows
    return operation.backward(
        lib, _kind(metric), arrays, (places,), saved, errors, wanted
    )


def _kind(metric: str) -> Kind:
    return Kind("length" if metric == "euclidean" else "squares", False)
