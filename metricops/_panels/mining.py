"""The nearest or farthest pairs of each row: one product a panel, then exactly.

The product of centred rows orders candidates by distance, up to a known error. Only
candidates whose product is within that error of the best can be the ones asked for.
They are few: their distances are computed exactly, from differences in a wider dtype,
and the gradient is that of these pairs alone. Panels in which a row has too many such
pairs (of many equal rows, say) are computed as a whole.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from metricops._frameworks import Library
from metricops._panels.distances import Side
from metricops._panels.term_records import Problem, Rows
from metricops._panels.terms import Extremes, Masks, Part
from metricops._similarity.ordering import (
    LARGEST,
    centred,
    error,
    keys_factor,
    rounded,
    rows_factor,
)
from metricops._typing import Array

_FEW = 64  # with fewer candidates, computing all distances costs no more


class Keys(NamedTuple):
    """All candidates, as they are mined."""

    exact: Array  # (m, d), in a wider dtype
    centre: Array  # (1, d), their mean
    factor: Array  # (d + 1, m), the right side of the product
    length: Array  # (), that of the longest, less the mean


class Few(NamedTuple):
    """A few candidates of each row, (b, w)."""

    columns: Array
    there: Array  # bool: which of them are meant
    complete: Array  # (b,), bool: whether these are all


class Chosen(NamedTuple):
    """Those of a few candidates that are at the distance that is asked for."""

    columns: Array  # (b, w)
    shares: Array  # (b, w): 1 over how many there are, and 0 for others
    distances: Array  # (b, 1)
    differences: Array  # (b, w, d): they less the row


class Mined(NamedTuple):
    """What is found of the rows of a panel."""

    positives: Chosen
    negatives: Chosen
    part: Part
    slopes: Array  # (b, 1): by the distance of the positive; minus the negative's
    complete: Array  # (), bool: whether all of it is right


def by_keys(problem: Problem, way: Callable[..., Any]) -> Any:
    """Return ``way(problem, keys)``, with keys to mine where that is faster."""
    if not _suits(problem):
        return way(problem, None)

    def short(lib: Library, *_: Array) -> Any:
        same = problem._replace(library=lib)
        return way(same, _keys_of(same))

    def exact(lib: Library, *_: Array) -> Any:
        return way(problem, None)

    sides = problem.rows.side.rows, problem.candidates.side.rows
    return problem.library.shortcut(short, exact, sides)


def _suits(problem: Problem) -> bool:
    """Return whether the terms of a call are found so: where a look is cheap."""
    lib, own, every = problem.library, problem.rows.side, problem.candidates.side
    if problem.config.terms.extremes is None or not lib.looks(own.rows):
        return False
    few = every.rows.shape[0] < _FEW or 0 in (*own.rows.shape, *every.rows.shape)
    if few or lib.dtype(own.rows).bits != 32 or lib.rounds_products(own.rows):
        return False
    return _is_plain(lib, own) and (own is every or _is_plain(lib, every))


def _is_plain(lib: Library, side: Side) -> bool:
    """Return whether squares of all rows are finite, and none lacks a direction."""
    size = lib.xp.max(lib.xp.abs(side.rows))
    if not bool(size <= LARGEST[32]):  # False for NaN
        return False
    return side.missing is None or not bool(lib.xp.any(side.missing > 0))


def _keys_of(problem: Problem) -> Keys:
    """Return the candidates as they are mined."""
    lib, xp, rows = problem.library, problem.library.xp, problem.candidates.side.rows
    keys = centred(lib, rows)
    factor = xp.matrix_transpose(keys_factor(lib, keys))
    exact = xp.astype(rows, lib.exact_dtype(rows))
    return Keys(exact, keys.centre, factor, xp.sqrt(xp.max(keys.squares)))


def mined(problem: Problem, keys: Keys, rows: Rows, masks: Masks) -> Mined:
    """Return the terms of some rows."""
    lib, xp, terms = problem.library, problem.library.xp, problem.config.terms
    wanted = terms.extremes or Extremes(True, False)
    less = rows.side.rows - keys.centre
    scores = lib.panel_product(rows_factor(lib, less), keys.factor)
    slack = _slack(lib, less, keys)
    # The nearest have the largest scores, and the farthest those of the other sign.
    scores = lib.times(scores, -1.0) if wanted.far_negative else scores
    few_negatives = _few(lib, scores, masks.negatives, slack)
    turned = wanted.far_negative != wanted.far_positive
    scores = lib.times(scores, -1.0) if turned else scores
    few_positives = _few(lib, scores, masks.positives, slack)
    counted = xp.logical_and(
        xp.any(few_negatives.there, axis=1), xp.any(few_positives.there, axis=1)
    )
    exact = xp.astype(rows.side.rows, keys.exact.dtype)
    positives = _chosen(problem, keys, exact, few_positives, wanted.far_positive)
    negatives = _chosen(problem, keys, exact, few_negatives, wanted.far_negative)
    losses, slopes = terms.of_two(lib, positives.distances, negatives.distances)
    ones = xp.astype(counted, losses.dtype)
    losses = xp.where(counted, losses[:, 0], 0.0)  # of no triplet it may be infinite
    slopes = xp.where(counted[:, None], slopes, 0.0)
    part = Part(losses, ones, xp.astype(losses > 0, losses.dtype))
    complete = xp.all(xp.logical_and(few_negatives.complete, few_positives.complete))
    return Mined(positives, negatives, part, slopes, complete)


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


def _chosen(problem: Problem, keys: Keys, rows: Array, few: Few, far: bool) -> Chosen:
    """Return those of a few candidates that are the nearest, or the farthest."""
    lib, xp = problem.library, problem.library.xp
    differences = lib.gather(keys.exact, few.columns) - rows[:, None, :]
    found = lib.dots(differences, differences, -1)
    metric, dtype = problem.config.metric, problem.rows.side.rows.dtype
    if metric == "euclidean":
        found = xp.sqrt(found)
    elif metric == "cosine":
        found = lib.clip(found / 2, 0.0, 2.0)
    found = xp.astype(found, dtype)
    signed = xp.where(few.there, found if far else -found, -float("inf"))
    best = lib.peak(signed, 1)
    ties = xp.astype(xp.logical_and(few.there, signed == best), dtype)
    count = lib.clip(xp.sum(ties, axis=1, keepdims=True), 1.0, float("inf"))
    nothing = best == -float("inf")
    distances = xp.where(nothing, 0.0, best if far else -best)
    differences = xp.astype(differences, dtype)
    return Chosen(few.columns, ties / count, distances, differences)


def pulled(
    problem: Problem, found: Mined, weights: Array | None, total: Array | None
) -> tuple[Array, Array]:
    """Return the gradients of the rows, and of all candidates, (m, d).

    The latter are added to `total`, which may be overwritten.
    """
    lib, slopes = problem.library, found.slopes
    slopes = slopes if weights is None else slopes * weights[:, None]
    of_rows, of_candidates = None, total
    if of_candidates is None:
        of_candidates = lib.xp.zeros_like(problem.candidates.side.rows)
    for chosen, sign in ((found.positives, 1.0), (found.negatives, -1.0)):
        factor = _by_squares(problem, chosen) * chosen.shares * (slopes * sign)
        moved = chosen.differences * factor[..., None]
        own = lib.xp.sum(moved, axis=1)
        of_rows = -own if of_rows is None else of_rows - own
        of_candidates = lib.plus_rows(of_candidates, chosen.columns, moved)
    return of_rows, of_candidates


def _by_squares(problem: Problem, chosen: Chosen) -> Array | float:
    """Return the derivative of distances by half the squares, 0 of equal rows."""
    metric, lib = problem.config.metric, problem.library
    if metric == "euclidean":
        return lib.inverses(chosen.distances)
    return 2.0 if metric == "squared_euclidean" else 1.0
