"""What is computed of Dask arrays by tasks of NumPy, and how large their chunks are.

What has a number for each pair of rows is computed by pairs of chunks, and no chunk of
such a result is larger than Dask's option ``array.chunk-size``. A loss of embeddings is
one task, which takes all rows and compares them in NumPy's panels: a softmax of chunks
would keep the scores of all of them. In a search, a chunk of queries meets one chunk of
keys at a time, in panels, and what is kept of it are the few that it found.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import dask
import dask.array as da
import numpy as np

from metricops._frameworks.loops import Body, Whole
from metricops._frameworks.operations import Search
from metricops._frameworks.records import each, leaves, refilled
from metricops._typing import Array


class Chunks(Whole):
    """Loops whose panels are chunks, all of them in one lazy plan."""

    def fold(
        self, body: Body, rows: Any, consts: Any, block: int | None
    ) -> tuple[Any, Any]:
        """Run `body` once, over rows in chunks of at most `block`."""
        first, *_ = leaves(rows)
        own = first.chunks[0]
        if block is not None and not any(math.isnan(count) for count in own):
            cut = tuple(part for count in own for part in parts(count, block))
            rows = each(rows, lambda x: x.rechunk({0: cut}))
        return body(None, rows, consts)


def parts(count: int, most: int) -> list[int]:
    """Return how many rows parts of at most `most` have, as even as they can be."""
    number = max(-(-count // most), 1)
    return [(i + 1) * count // number - i * count // number for i in range(number)]


def narrow(x: Array, columns: tuple[Any, ...]) -> Array:
    """Return `x`, its rows in chunks that few enough pairs with chunks of columns."""
    limit = dask.utils.parse_bytes(dask.config.get("array.chunk-size"))
    own, widest = x.chunks[-2], max(columns, default=0)
    if math.isnan(widest) or any(math.isnan(count) for count in own):
        return x
    most = max(limit // (max(widest, 1) * max(x.dtype.itemsize, 4)), 1)
    if max(own, default=0) <= most:
        return x
    cut = tuple(part for count in own for part in parts(count, most))
    return x.rechunk({x.ndim - 2: cut})


def pairs(function: Callable[..., Array], x: Array, y: Array) -> Array:
    """Return ``function(lib, x, y)``, shape (..., n, m), by pairs of chunks of rows."""
    x, rank = narrow(x, y.chunks[-2]), x.ndim
    leading, n, m, d = tuple(range(rank - 2)), rank, rank + 1, rank + 2
    return da.blockwise(
        _called,
        (*leading, n, m),
        function,
        None,
        x,
        (*leading, n, d),
        y,
        (*leading, m, d),
        dtype=x.dtype,
        concatenate=True,
        meta=np.empty((0,) * x.ndim, x.dtype),
    )


def summed(
    function: Callable[..., Array], x: Array, y: Array, *factors: Array
) -> Array:
    """Return ``function(lib, x, y, *factors)``, the sum of what chunks of `y` give."""
    rank = x.ndim
    leading, n, m, d = tuple(range(rank - 2)), rank, rank + 1, rank + 2
    found = da.blockwise(
        _apart,
        (*leading, m, n, d),
        function,
        None,
        x.rechunk({rank - 1: -1}),
        (*leading, n, d),
        y.rechunk({rank - 1: -1}),
        (*leading, m, d),
        *(part for factor in factors for part in (factor, (*leading, n, m))),
        dtype=x.dtype,
        adjust_chunks={m: 1},
        meta=np.empty((0,) * x.ndim, x.dtype),
    )
    return da.sum(found, axis=rank - 2)


def in_one_task(
    function: Callable[..., Any], records: Any, outline: list[Array]
) -> list[Array]:
    """Return the arrays of ``function(lib, *records)``, computed by one process.

    They are in order, and have the shapes and dtypes of those of `outline`.
    """
    form = each(records, lambda x: 0)
    run = dask.delayed(partial(_flat, function, form), pure=False, nout=len(outline))
    found = run(*leaves(records))
    return [
        da.from_delayed(result, like.shape, dtype=like.dtype)
        for result, like in zip(found, outline, strict=True)
    ]


def _flat(function: Callable[..., Any], form: Any, *arrays: Any) -> list[Any]:
    chunks = [np.asarray(x) for x in arrays]
    first, *_ = chunks
    found = function(_library(first), *refilled(form, chunks))
    found = found if isinstance(found, tuple) else (found,)
    return [np.asarray(x) for x in leaves(found)]


def _called(function: Callable[..., Array], *chunks: Any) -> Any:
    """Return the result of a function for chunks, with their library."""
    first, *_ = chunks
    return function(_library(first), *chunks)


def _apart(function: Callable[..., Array], *chunks: Any) -> Any:
    """Return what a chunk of `y` gives, with an axis for it before that of the rows."""
    return _called(function, *chunks)[..., None, :, :]


def _library(chunk: Any) -> Any:
    from metricops._frameworks import library

    return library("x", chunk)


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


def _joined(best: list[Any], place: int, shapes: list[Any], dtype: Any) -> Array:
    """Return one of the two arrays that were found for each chunk of queries."""
    chunks = [
        da.from_delayed(chunk[place], shape, dtype=dtype)
        for chunk, shape in zip(best, shapes, strict=True)
    ]
    unknown = any(math.isnan(rows) for rows, _ in shapes)
    return da.concatenate(chunks, axis=0, allow_unknown_chunksizes=unknown)
