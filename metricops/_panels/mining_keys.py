"""The few candidates of each row that may be its nearest, or its farthest.

Where the classes of one set are small, a sort of all labels finds the members of each:
a row's positives are looked up, and its negatives are all others, without a mask of all
pairs.
"""

from collections.abc import Callable
from typing import NamedTuple

from metricops._frameworks import Library
from metricops._panels.roles import ByLabels
from metricops._panels.term_records import Problem, Rows
from metricops._panels.terms import Extremes, Masks
from metricops._similarity.ordering import (
    centred,
    error,
    keys_factor,
    rounded,
    rows_factor,
)
from metricops._typing import Array


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


class Keys(NamedTuple):
    """All candidates, as they are mined."""

    centre: Array  # (1, d), their mean
    factor: Array  # (d + 1, m), the right side of the product
    length: Array  # (), that of the longest, less the mean
    classes: Classes | None  # their classes, if all are small


def keys_of(problem: Problem) -> Keys:
    """Return the candidates as they are mined."""
    lib, xp, rows = problem.library, problem.library.xp, problem.candidates.side.rows
    keys = centred(lib, rows)
    factor = xp.matrix_transpose(keys_factor(lib, keys))
    length = xp.sqrt(xp.max(keys.squares))
    return Keys(keys.centre, factor, length, _classes_of(problem))


def few_candidates(
    problem: Problem,
    keys: Keys,
    rows: Rows,
    masks: Callable[[], Masks],
    wanted: Extremes,
) -> tuple[Few, Few]:
    """Return the few positives, and negatives, that may be the ones asked for."""
    lib, less = problem.library, rows.side.rows - keys.centre
    scores = lib.panel_product(rows_factor(lib, less), keys.factor)
    slack = _slack(lib, less, keys)
    # The nearest have the largest scores, and the farthest those of the other sign.
    scores = lib.times(scores, -1.0) if wanted.far_negative else scores
    turned = wanted.far_negative != wanted.far_positive
    if keys.classes is None:
        return _apart(lib, scores, slack, masks(), turned)
    return _known(lib, scores, slack, _members(problem, keys.classes, rows), turned)


def _apart(
    lib: Library, scores: Array, slack: Array, masks: Masks, turned: bool
) -> tuple[Few, Few]:
    """Return the few positives, and negatives, that may be the ones asked for.

    Where `turned`, the positives are those with the least scores.
    """
    negatives = _few(lib, scores, masks.negatives, slack)
    scores = lib.times(scores, -1.0) if turned else scores
    return _few(lib, scores, masks.positives, slack), negatives


def _known(
    lib: Library, scores: Array, slack: Array, own: Few, turned: bool
) -> tuple[Few, Few]:
    """Return the same, of rows of which all members of their class are known."""
    near = lib.chosen(scores, own.columns)
    positives = _few(lib, -near if turned else near, own.there, slack)
    columns = lib.chosen(own.columns, positives.columns)
    scores = lib.put_each(scores, own.columns, -float("inf"))
    negatives = Few(*lib.within(scores, 1, slack))
    return positives._replace(columns=columns), negatives


def _slack(lib: Library, rows: Array, keys: Keys) -> Array:
    """Return twice the error of each row's products, and what float32 rounds.

    Distances that differ by less than that may be equal numbers.
    """
    lengths = lib.xp.sqrt(lib.dots(rows, rows, 1))[:, None]
    size = lengths * keys.length + keys.length * keys.length / 2
    off = error(rows.shape[1], 32, size)
    return 2 * off + rounded(rows.shape[1], 32, lengths, keys.length)


def _few(lib: Library, scores: Array, mask: Array, slack: Array) -> Few:
    """Return those of some candidates that may have the largest score."""
    kept = lib.xp.where(mask, scores, -float("inf"))
    return Few(*lib.within(kept, 1, slack))


def _classes_of(problem: Problem) -> Classes | None:
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
    if 16 * most > ordered.shape[0]:  # then masks take less time
        return None
    return Classes(ordered, order, lib.positions(order[:most], 0, "candidates"))


def _members(problem: Problem, classes: Classes, rows: Rows) -> Few:
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
