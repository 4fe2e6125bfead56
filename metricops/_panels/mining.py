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
from metricops._panels.mining_keys import Keys, few_candidates, keys_of
from metricops._panels.term_records import Problem, Rows
from metricops._panels.terms import Extremes, Masks, Part
from metricops._similarity.ordering import LARGEST
from metricops._typing import Array

_FEW = 64  # with fewer candidates, computing all distances costs no more


class Extreme(NamedTuple):
    """The nearest or the farthest of a few candidates."""

    distance: Array  # (b, 1), 0 where there is none
    shares: Array  # (b, w): 1 over how many are at that distance, and 0 for others


class Mined(NamedTuple):
    """What is found of the rows of a panel, of a few candidates of each."""

    columns: Array  # (b, w)
    differences: Array  # (b, w, d): they less the row
    slopes: Array  # (b, w): of the loss by half the square of each one's distance
    part: Part
    complete: Array  # (), bool: whether all of it is right


def by_keys(problem: Problem, way: Callable[..., Any]) -> Any:
    """Return ``way(problem, keys)``, with keys to mine where that is faster."""
    if not _suits(problem):
        return way(problem, None)

    def short(lib: Library, *_: Array) -> Any:
        same = problem._replace(library=lib)
        return way(same, keys_of(same))

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
    least, largest = lib.extremes(side.rows)
    if not (least >= -LARGEST[32] and largest <= LARGEST[32]):  # False for NaN
        return False
    return side.missing is None or not bool(lib.xp.any(side.missing > 0))


def mined(
    problem: Problem, keys: Keys, rows: Rows, masks: Callable[[], Masks]
) -> Mined:
    """Return the terms of some rows, whose masks are made if they are needed."""
    lib, xp, terms = problem.library, problem.library.xp, problem.config.terms
    wanted = terms.extremes or Extremes(True, False)
    both = positives, negatives = few_candidates(problem, keys, rows, masks, wanted)
    columns = xp.concat([few.columns for few in both], axis=1)
    differences = _differences(problem, rows, columns)
    lengths, count = _lengths(problem, differences), positives.columns.shape[1]
    near = _extreme(lib, lengths[:, :count], positives.there, wanted.far_positive)
    far = _extreme(lib, lengths[:, count:], negatives.there, wanted.far_negative)
    losses, slopes = terms.of_two(lib, near.distance, far.distance)
    counted = xp.logical_and(*(xp.any(few.there, axis=1) for few in both))
    ones = xp.astype(counted, losses.dtype)
    losses = xp.where(counted, losses[:, 0], 0.0)  # of no triplet it may be infinite
    slopes = xp.where(counted[:, None], slopes, 0.0)
    part = Part(losses, ones, lib.step(losses))
    shares = xp.concat([near.shares, -far.shares], axis=1)
    slopes = _by_squares(problem, lengths) * shares * slopes
    complete = xp.all(xp.logical_and(*(few.complete for few in both)))
    differences = xp.astype(differences, lengths.dtype)
    return Mined(columns, differences, slopes, part, complete)


def _differences(problem: Problem, rows: Rows, columns: Array) -> Array:
    """Return a few candidates less their row, (b, w, d), in a wider dtype."""
    lib, own = problem.library, rows.side.rows
    wide = lib.exact_dtype(own)
    others = lib.gather(problem.candidates.side.rows, columns)
    return lib.minus(lib.xp.astype(others, wide), lib.xp.astype(own, wide)[:, None, :])


def _lengths(problem: Problem, differences: Array) -> Array:
    """Return the distances of candidates whose differences from a row are given."""
    lib, metric = problem.library, problem.config.metric
    found = lib.dots(differences, differences, -1)
    if metric == "euclidean":
        found = lib.xp.sqrt(found)
    elif metric == "cosine":
        found = lib.clip(found / 2, 0.0, 2.0)
    return lib.xp.astype(found, problem.rows.side.rows.dtype)


def _extreme(lib: Library, distances: Array, there: Array, far: bool) -> Extreme:
    """Return the nearest, or the farthest, of those of a few that are meant."""
    xp = lib.xp
    if distances.shape[1] == 1:
        shares = xp.astype(there, distances.dtype)
        return Extreme(xp.where(there, distances, 0.0), shares)
    signed = xp.where(there, distances if far else -distances, -float("inf"))
    best = lib.peak(signed, 1)
    ties = xp.astype(xp.logical_and(there, signed == best), distances.dtype)
    count = lib.clip(xp.sum(ties, axis=1, keepdims=True), 1.0, float("inf"))
    distance = xp.where(best == -float("inf"), 0.0, best if far else -best)
    return Extreme(distance, ties / count)


def pulled(
    problem: Problem, found: Mined, weights: Array | None, total: Array | None
) -> tuple[Array, Array]:
    """Return the gradients of the rows, and of all candidates, (m, d).

    The latter are added to `total`, which may be overwritten.
    """
    lib, slopes = problem.library, found.slopes
    slopes = slopes if weights is None else slopes * weights[:, None]
    if total is None:
        total = lib.xp.zeros_like(problem.candidates.side.rows)
    moved = found.differences * slopes[..., None]
    of_candidates = lib.plus_rows(total, found.columns, moved)
    return -lib.xp.sum(moved, axis=1), of_candidates


def _by_squares(problem: Problem, distances: Array) -> Array | float:
    """Return the derivative of distances by half the squares, 0 of equal rows."""
    metric, lib = problem.config.metric, problem.library
    if metric == "euclidean":
        return lib.inverses(distances)
    return 2.0 if metric == "squared_euclidean" else 1.0
