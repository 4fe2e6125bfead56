"""The values of pairs, computed one by one, the same for equal rows."""

from typing import Any

from metricops._frameworks import Arrays, Library, Step
from metricops._similarity.metrics import DISTANCES, cosine_similarity, inner_product
from metricops._similarity.normalize import unit
from metricops._typing import Array


def all_scores(lib: Library, metric: str, queries: Array, keys: Array) -> Array:
    """Return numbers that are the larger, the better a key is, of all pairs."""
    if metric in DISTANCES:
        return -DISTANCES[metric](lib, queries, keys)
    # A product may round the same numbers differently from column to column; in a
    # wider dtype that is lost, and equal keys have equal scores.
    x, y = exact_rows(lib, metric, queries), exact_rows(lib, metric, keys)
    score = cosine_similarity if metric == "cosine" else inner_product
    found = score(lib, x, y)
    if x.dtype != queries.dtype:
        return lib.xp.astype(found, queries.dtype)
    return lib.columns(found, _first_equals(lib, y))


def _first_equals(lib: Library, keys: Array) -> Array:
    """Return for each key the place of the first key that equals it, shape (m,)."""
    xp = lib.xp
    places = lib.positions(keys, 0, "keys")
    if lib.shape(keys)[1] == 0:
        return xp.zeros_like(places)
    # Equal keys have equal sums, and other keys hardly ever; so that is looked at.
    weights = 1 / (xp.astype(lib.positions(keys, 1, "keys"), keys.dtype) + 3.14)
    sums = xp.sum(keys * weights[None, :], axis=1)
    sums = xp.where(sums == sums, sums, xp.zeros_like(sums))  # NaN equals nothing
    first = xp.astype(lib.first_equals(sums), places.dtype)
    same = xp.all(lib.rows(keys, first) == keys, axis=1)
    return xp.where(same, first, places)


def exact_scores(
    lib: Library, metric: str, queries: Array, keys: Array, columns: Array
) -> Array:
    """Return the scores of a few keys of each query, the same for equal keys.

    `keys` are the exact ones.
    """
    rows = exact_rows(lib, metric, queries)
    wide = rows.dtype != queries.dtype

    def panel(_: Any, own: Arrays, consts: Arrays) -> Step:
        (rows, columns), (keys,) = own, consts
        x, y = rows[:, None, :], lib.panel_rows(keys, columns)
        return (), (_scores(lib, x, y, metric, wide),)

    block = lib.exact_block(rows, columns)
    _, (found,) = lib.loops.fold(panel, (rows, columns), (keys,), block)
    return lib.xp.astype(found, queries.dtype)


def _scores(lib: Library, x: Array, y: Array, metric: str, wide: bool) -> Array:
    """Return the scores of pairs along the last axis; `y` may be overwritten."""
    if metric == "inner_product":
        return _dots(lib, y, x, wide)
    if metric == "cosine":
        return lib.clip(_dots(lib, y, x, wide), -1.0, 1.0)
    return -_distances(lib, lib.minus(y, x), metric, wide)


def _dots(lib: Library, x: Array, y: Array, wide: bool) -> Array:
    """Return inner products along the last axis; `x` may be overwritten.

    Those that are not `wide` are added up in the same order, wherever they are.
    """
    return lib.panel_dots(x, y) if wide else lib.xp.sum(lib.times(x, y), axis=-1)


def _distances(lib: Library, differences: Array, metric: str, wide: bool) -> Array:
    """Return the lengths of differences, or their squares."""
    xp = lib.xp
    if metric == "squared_euclidean":
        return _dots(lib, differences, differences, wide)
    scale = None
    if not wide:
        # Their squares may be too small for a number.
        scale = lib.divisors(lib.peak(xp.abs(differences), axis=-1))
        differences = differences / scale
    squares = _dots(lib, differences, differences, wide)
    zero = squares == 0
    lengths = xp.sqrt(xp.where(zero, xp.ones_like(squares), squares))
    lengths = lengths if scale is None else lengths * scale[..., 0]
    return xp.where(zero, squares, lengths)


def exact_rows(lib: Library, metric: str, rows: Array) -> Array:
    """Return rows to compute pairs exactly with: wider, and of length one by cosine."""
    dtype = lib.exact_dtype(rows)
    wide = rows if rows.dtype == dtype else lib.xp.astype(rows, dtype)
    return unit(lib, wide) if metric == "cosine" else wide
