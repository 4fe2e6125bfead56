"""The few candidates of each row that may be its nearest, or its farthest."""

from collections.abc import Callable
from typing import NamedTuple

from metricops._frameworks import Library
from metricops._panels.classes import Classes, Few, classes_of, members
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
    return Keys(keys.centre, factor, length, classes_of(problem))


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
    return _known(lib, scores, slack, members(problem, keys.classes, rows), turned)


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
