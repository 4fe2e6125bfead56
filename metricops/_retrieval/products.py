"""Search by matrix products: candidates that hold every true neighbour, then exactly.

A product of rows in the dtype of the rows is off by a little that is known. So the best
keys are all among those whose product is at most twice that below the k-th best
product: the candidates, some more than k. Only theirs are computed exactly. For a query
with more candidates than are worth it (many equal keys), or with rows too large for the
bound, all keys are.

Keys less their mean keep their order by inner product, and have smaller products and
errors. By distance, and by cosine where all keys have length one, `ordering` says what
is multiplied.
"""

from typing import NamedTuple

from metricops._frameworks import Library
from metricops._retrieval.exact import exact_rows
from metricops._similarity.normalize import unit
from metricops._similarity.ordering import (
    LARGEST,
    ROUNDING,
    centred,
    error,
    keys_factor,
    rounded,
    rows_factor,
)
from metricops._typing import Array

METRICS = ("inner_product", "cosine", "euclidean", "squared_euclidean")
"""The metrics that a product orders by."""
_FEW = 256  # keys that are as soon sorted


class Keys(NamedTuple):
    """A panel of keys."""

    exact: Array  # (m, d), in the dtype in which pairs are computed exactly
    centre: Array  # (1, d), their mean
    factor: Array  # (m, d) or (m, d + 1), the right factor of the product
    length: Array  # (), the length of the longest, less the mean
    half: Array  # (), half the square of that, by distances, and 0 by products
    bounded: Array  # (), bool: whether the bound of the error holds for all
    count: Array  # (), how many keys may be found


class Queries(NamedTuple):
    """Queries, for the products with a panel of keys."""

    rows: Array  # (n, d), as they are
    factor: Array  # (n, d) or (n, d + 1), the left factor of the product
    slack: Array  # (n, 1), twice the error of the products
    bounded: Array  # (n,), bool: whether that holds


class Candidates(NamedTuple):
    """The keys that may be among the best ones of each query."""

    columns: Array  # (n, c), in order
    there: Array  # (n, c), bool: which of them are candidates
    complete: Array  # (n,), bool: whether these are all


def serve(lib: Library, metric: str, queries: Array, count: int | None, k: int) -> bool:
    """Return whether products are to find the `k` best of `count` keys."""
    many = count is not None and count >= max(_FEW, 16 * k)
    has_features = bool(lib.shape(queries)[1])  # None: unknown
    has_bound = lib.dtype(queries).bits in ROUNDING
    ordered = metric in METRICS and has_features and has_bound
    fits = many and ordered and lib.selects(queries)
    return fits and not lib.rounds_products(queries)


def prepared(lib: Library, metric: str, keys: Array) -> Keys:
    """Return what the products with a panel of keys need.

    A key that is not finite comes last by distance or cosine. So it is left out.
    """
    xp = lib.xp
    size = lib.peak(xp.abs(keys), axis=1)
    keys, there = _bounded(lib, keys, size)
    bounded = there
    wide = exact_rows(lib, metric, keys)
    less = centred(lib, xp.astype(wide, keys.dtype))
    if metric == "cosine":  # zero with all, as of length one at right angles to all
        zero = xp.astype(xp.all(wide == 0, axis=1), keys.dtype)
        less = less._replace(squares=less.squares + zero)
    largest = xp.max(less.squares)
    factor, half = less.rows, xp.zeros_like(largest)
    if metric != "inner_product":
        bounded = xp.logical_or(there, xp.logical_not(size < float("inf")))
        squares = xp.where(there[:, 0], less.squares, float("inf"))
        factor = keys_factor(lib, less._replace(squares=squares))
        half = largest / 2
    count = xp.sum(xp.astype(there, lib.positions(keys, 0, "keys").dtype))
    longest, bounded = xp.sqrt(largest), xp.all(bounded)
    return Keys(wide, less.centre, factor, longest, half, bounded, count)


def prepared_queries(lib: Library, metric: str, queries: Array, keys: Keys) -> Queries:
    """Return what the products of queries with a panel of keys need."""
    xp = lib.xp
    rows, bounded = _bounded(lib, queries, lib.peak(xp.abs(queries), axis=1))
    by_distance = metric != "inner_product"
    if metric == "cosine":
        rows = unit(lib, rows)  # a length that is a little off changes no order
    factor = rows - keys.centre if by_distance else rows
    lengths = xp.sqrt(lib.dots(factor, factor, 1))[:, None]
    if by_distance:
        factor = rows_factor(lib, factor)
    slack = _slack(lib, metric, queries, lengths, keys)
    bounded = xp.logical_and(bounded[:, 0], keys.bounded)
    return Queries(queries, factor, slack, bounded)


def candidates(
    lib: Library, metric: str, queries: Queries, keys: Keys, k: int
) -> Candidates:
    """Return the keys that may be among the `k` best ones of each query."""
    scores = lib.search_product(queries.factor, keys.factor)
    columns, there, complete = lib.within(scores, k, queries.slack)
    bounded = lib.xp.logical_and(queries.bounded, keys.count >= k)
    return Candidates(columns, there, lib.xp.logical_and(complete, bounded))


def _bounded(lib: Library, rows: Array, size: Array) -> tuple[Array, Array]:
    """Return rows whose squares are finite, zero in place of others, and which.

    `size` is that of each row's largest entry.
    """
    xp = lib.xp
    fits = size <= LARGEST[lib.dtype(rows).bits]  # False for NaN
    return xp.where(fits, rows, xp.zeros_like(rows)), fits


def _slack(
    lib: Library, metric: str, queries: Array, lengths: Array, keys: Keys
) -> Array:
    """Return twice the error of each query's products, shape (n, 1)."""
    bits, size = lib.dtype(queries).bits, lengths * keys.length + keys.half
    off = error(queries.shape[1], bits, size)
    if metric == "cosine":  # rows of length one are themselves rounded
        return 2 * (off + 8 * ROUNDING[bits])
    if metric != "inner_product":
        return 2 * off + rounded(queries.shape[1], bits, lengths, keys.length)
    # Values are not less the mean of the keys, and may be equal numbers.
    mean = lib.xp.sqrt(lib.dots(keys.centre, keys.centre, 1))[:, None]
    return 2 * (off + lengths * mean * ROUNDING[bits])
