"""Search in Dask: the best of each chunk of keys, lazily, and the best of those.

A chunk of queries meets one chunk of keys at a time, in panels, and what is kept of it
are the few that it found. So no array of all pairs is ever planned.
"""

import math
from functools import partial
from typing import Any

import dask
import dask.array as da
import numpy as np

from metricops._frameworks.operations import Search
from metricops._typing import Array


def found(
    search: Search, config: Any, queries: Array, keys: Array
) -> tuple[Array, Array]:
    """Return the scores and the indices of the best keys of each query."""
    queries, keys = (x.rechunk({1: -1}) for x in (queries, keys))
    rights = list(keys.to_delayed()[:, 0])
    firsts = np.cumsum([0, *keys.chunks[0]])[:-1].tolist()
    lefts = queries.to_delayed()[:, 0]
    best = [_best(search, config, left, rights, firsts) for left in lefts]
    width = keys.shape[0] if config.k is None else min(config.k, keys.shape[0])
    shapes = [(rows, width) for rows in queries.chunks[0]]
    return _joined(best, 0, shapes, queries.dtype), _joined(best, 1, shapes, np.int64)


def _best(
    search: Search, config: Any, left: Any, rights: list[Any], firsts: list[int]
) -> Any:
    """Return what is best for a chunk of queries, delayed."""
    part = dask.delayed(partial(_part, search, config), pure=False)
    merged = dask.delayed(partial(_merged, search, config), pure=False)
    pairs = zip(rights, firsts, strict=True)
    return merged([part(left, right, first) for right, first in pairs])


def _part(
    search: Search, config: Any, left: Array, right: Array, first: int
) -> tuple[Array, Array]:
    """Return what is best of the chunk of keys whose first row is `first`."""
    scores, indices = search.found(_library(left), config, left, right)
    return scores, indices + first


def _merged(search: Search, config: Any, parts: list[Any]) -> tuple[Array, Array]:
    """Return what is best of all chunks of keys."""
    scores, _ = parts[0]
    return search.merged(_library(scores), config, parts)


def _library(chunk: Array) -> Any:
    from metricops._frameworks import library

    return library("queries", chunk)


def _joined(best: list[Any], place: int, shapes: list[Any], dtype: Any) -> Array:
    """Return one of the two arrays that were found for each chunk of queries."""
    chunks = [
        da.from_delayed(chunk[place], shape, dtype=dtype)
        for chunk, shape in zip(best, shapes, strict=True)
    ]
    unknown = any(math.isnan(rows) for rows, _ in shapes)
    return da.concatenate(chunks, axis=0, allow_unknown_chunksizes=unknown)
