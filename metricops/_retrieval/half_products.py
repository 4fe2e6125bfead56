"""Search by products of halves, which find candidates as those in `products` do.

Rows are multiplied as given, since less a mean they would be no halves. Each product is
exact in float32. A sum may be cut by a device where others round it, so its error is
taken to be larger. The lengths of keys meet the sums in float32.
"""

from typing import NamedTuple

from metricops._frameworks import Library
from metricops._retrieval.exact import exact_rows
from metricops._retrieval.products import Candidates, Queries
from metricops._similarity.ordering import LARGEST, error, rounded
from metricops._typing import Array

_CUT = 6.0  # how many times as large an error is as where each sum is rounded


class Keys(NamedTuple):
    """A panel of keys."""

    exact: Array  # (m, d), in the dtype in which pairs are computed exactly
    factor: Array  # (m, d), as they are multiplied
    beside: Array  # (m,): reciprocals of their lengths, by cosine; else half squares
    length: Array  # (), the length of the longest; 1 by cosine
    half: Array  # (), half the square of that, by distances; else 0
    bounded: Array  # (), bool: whether the bound of the error holds for all


def prepared(lib: Library, metric: str, keys: Array) -> Keys:
    """Return what the products with a panel of keys need."""
    xp = lib.xp
    keys, bounded = _bounded(lib, metric, keys)
    squares = lib.dots(keys, keys, 1)
    largest, beside = xp.max(squares), squares / 2
    if metric == "cosine":
        beside = 1 / xp.sqrt(xp.where(squares == 0, float("inf"), squares))
        largest = xp.ones_like(largest)
    by_distance = metric not in ("cosine", "inner_product")
    half = largest / 2 if by_distance else xp.zeros_like(largest)
    wide, factor = exact_rows(lib, metric, keys), lib.operand(keys)
    return Keys(wide, factor, beside, xp.sqrt(largest), half, xp.all(bounded))


def prepared_queries(lib: Library, metric: str, queries: Array, keys: Keys) -> Queries:
    """Return what the products of queries with a panel of keys need."""
    xp = lib.xp
    rows, bounded = _bounded(lib, metric, queries)
    lengths = xp.sqrt(lib.dots(rows, rows, 1))[:, None]
    size = lengths * keys.length + keys.half
    slack = error(queries.shape[1], 32, size) * (2 * _CUT)
    if metric not in ("cosine", "inner_product"):
        slack = slack + rounded(1, 32, lengths, keys.length)
    bounded = xp.logical_and(bounded, keys.bounded)
    return Queries(queries, lib.operand(rows), slack, bounded)


def candidates(
    lib: Library, metric: str, queries: Queries, keys: Keys, k: int
) -> Candidates:
    """Return the keys that may be among the `k` best ones of each query."""
    xp = lib.xp
    scores = lib.scores(queries.factor, xp.matrix_transpose(keys.factor), 1.0)
    if metric == "cosine":  # the length of a query changes no order
        scores = lib.times(scores, keys.beside[None, :])
    elif metric != "inner_product":
        scores = lib.minus(scores, keys.beside[None, :])
    columns, there, complete = lib.within(scores, k, queries.slack)
    return Candidates(columns, there, xp.logical_and(complete, queries.bounded))


def _bounded(lib: Library, metric: str, rows: Array) -> tuple[Array, Array]:
    """Return rows whose squares are numbers, zero in place of others, and which, (n,).

    By cosine also products over the length of a key are.
    """
    xp = lib.xp
    size, most = lib.peak(xp.abs(rows), axis=1), LARGEST[32]
    fits = size <= most  # False for NaN
    if metric == "cosine":
        fits = xp.logical_and(fits, xp.logical_or(size == 0, size >= 1 / most))
    return xp.where(fits, rows, xp.zeros_like(rows)), fits[:, 0]
