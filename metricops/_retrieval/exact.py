"""The values of pairs, computed one by one, the same for equal rows."""

from metricops._frameworks import Library
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
    return lib.xp.astype(score(lib, x, y), queries.dtype)


def exact_scores(
    lib: Library, metric: str, queries: Array, keys: Array, columns: Array
) -> Array:
    """Return the scores of a few keys of each query, the same for equal keys.

    `keys` are the exact ones.
    """
    xp, dtype = lib.xp, queries.dtype
    x = exact_rows(lib, metric, queries)[:, None, :]
    y = lib.panel_rows(keys, columns)
    if metric == "inner_product":
        found = lib.dots(y, x, -1)
    elif metric == "cosine":
        found = lib.clip(lib.dots(y, x, -1), -1.0, 1.0)
    else:
        found = -_distances(lib, lib.minus(y, x), metric, keys.dtype != dtype)
    return xp.astype(found, dtype)


def _distances(lib: Library, differences: Array, metric: str, wide: bool) -> Array:
    """Return the lengths of differences, or their squares."""
    xp = lib.xp
    if metric == "squared_euclidean":
        return lib.dots(differences, differences, -1)
    scale = None
    if not wide:
        # Their squares may be too small for a number.
        scale = lib.divisors(lib.peak(xp.abs(differences), axis=-1))
        differences = differences / scale
    squares = lib.dots(differences, differences, -1)
    zero = squares == 0
    lengths = xp.sqrt(xp.where(zero, xp.ones_like(squares), squares))
    lengths = lengths if scale is None else lengths * scale[..., 0]
    return xp.where(zero, squares, lengths)


def exact_rows(lib: Library, metric: str, rows: Array) -> Array:
    """Return rows to compute pairs exactly with: wider, and of length one by cosine."""
    dtype = lib.exact_dtype(rows)
    wide = rows if rows.dtype == dtype else lib.xp.astype(rows, dtype)
    return unit(lib, wide) if metric == "cosine" else wide
