"""Dask: lazy and chunked already, so kernels take all rows at once."""

import math
from typing import Any

import dask.array as da
import numpy as np

from metricops._checks import Shape, refuse_shape
from metricops._frameworks import dask_searches
from metricops._frameworks.library import Library
from metricops._frameworks.loops import Whole
from metricops._frameworks.operations import Arrays, Search
from metricops._typing import Array


class Dask(Library):
    """Dask arrays."""

    looping = Whole

    def shape(self, x: Array) -> Shape:
        """Return the shape of `x`, None where the chunks are unknown."""
        return tuple(None if math.isnan(size) else size for size in x.shape)

    def dtype_called(self, name: str) -> Any:
        """Return the dtype of that name."""
        return np.dtype(name)

    def host_dtype(self, name: str, like: Array) -> str:
        """Return the dtype of NumPy numbers, which is kept."""
        return name

    def check_beside_host(self, name: str, x: Array) -> None:
        """Raise unless the chunks of `x` are known."""
        for axis in range(x.ndim):
            self._check_known(name, x, axis)

    def agree(
        self, x: Array, axis: int, other: Array, other_axis: int, need: str
    ) -> Array:
        """Return `x`, or raise where one of two sizes is of unknown chunks.

        Two of unknown chunks are taken to be the same, as Dask does.
        """
        sizes = self.shape(x)[axis], self.shape(other)[other_axis]
        if None in sizes and sizes != (None, None):
            msg = f"{need} One has unknown chunks: call its compute_chunk_sizes()."
            raise ValueError(msg)
        return x

    def asarray(self, value: Any, like: Array, dtype: Any = None) -> Array:
        """Return a number or NumPy array as a Dask array."""
        return self.xp.asarray(np.asarray(value, dtype=dtype))

    def count(self, x: Array) -> Any:
        """Return the number of rows of `x`, at least 1, to divide by."""
        if self.shape(x)[0] is not None:
            return super().count(x)
        return self.xp.sum(self.xp.ones_like(x if x.ndim == 1 else x[:, 0]))

    def split(self, x: Array, like: Array) -> tuple[Array, Array | None]:
        """Return the first rows of `x`, as many as `like` has, and the rest if any."""
        self.positions(x, 0, "candidates"), self.positions(like, 0, "anchors")
        return super().split(x, like)

    def positions(self, x: Array, axis: int, name: str) -> Array:
        """Return 0, 1, ... along an axis of `x`, chunked as it is."""
        self._check_known(name, x, axis)
        return self.xp.arange(x.shape[axis], chunks=(x.chunks[axis],))

    def _check_known(self, name: str, x: Array, axis: int) -> None:
        shape = self.shape(x)
        if shape[axis] is None:
            need = "known chunks, as its compute_chunk_sizes() gives"
            refuse_shape(name, need, shape)

    def pick(self, x: Array, columns: Array) -> Array:
        """Return one column of each row of the matrix `x`, shape (n, 1)."""
        chosen = columns[:, None] == self.positions(x, 1, "candidates")[None, :]
        kept = self.xp.where(chosen, x, self.xp.zeros_like(x))
        return self.xp.sum(kept, axis=1, keepdims=True)

    def block(self, anchors: Array, candidates: Array) -> int | None:
        """Return None: all anchors at once, since Dask has chunks of its own."""
        return None

    def several(self, x: Array, block: int | None) -> bool:
        """Return False, whatever the size of a panel."""
        return False

    def shortcut(self, short: Any, exact: Any, arrays: Arrays) -> tuple[Array, ...]:
        """Return ``exact(lib, *arrays)``: lazy arrays cannot be looked at."""
        return exact(self, *arrays)

    def gather(self, x: Array, indices: Array) -> Array:
        """Return the entries, or rows, of `x` at a matrix of indices."""
        rest = "d" * (x.ndim - 1)
        return da.blockwise(
            lambda at, whole: whole[at],
            f"ij{rest}",
            indices,
            "ij",
            x,
            f"k{rest}",
            dtype=x.dtype,
            concatenate=True,
        )

    def chosen(self, x: Array, columns: Array) -> Array:
        """Return the entries of each row of `x` at its row of `columns`."""
        return da.blockwise(
            lambda whole, at: np.take_along_axis(whole, at, axis=1),
            "ij",
            x.rechunk({1: -1}),
            "ik",
            columns,
            "ij",
            dtype=x.dtype,
            concatenate=True,
        )

    def largest(self, x: Array, k: int) -> tuple[Array, Array]:
        """Return the `k` largest of each row and their columns, ties by column."""
        whole = x.rechunk({1: -1})
        chunks = (whole.chunks[0], (k,))

        def order(block: Array) -> Array:
            return np.argsort(-block, axis=1, kind="stable")[:, :k]

        columns = whole.map_blocks(order, chunks=chunks, dtype=np.int64)
        return self.chosen(whole, columns), columns

    def running(self, x: Array) -> Array:
        """Return the sums of each row up to each of its entries."""
        return da.cumsum(x, axis=1)

    def running_log_sums(self, x: Array) -> Array:
        """Return the logarithms of the cumulative sums of exp(x) along each row."""
        whole = x.rechunk({1: -1})
        return whole.map_blocks(np.logaddexp.accumulate, axis=1, dtype=x.dtype)

    def found(
        self, search: Search, config: Any, queries: Array, keys: Array
    ) -> tuple[Array, Array]:
        """Return the best keys of each query: those of each chunk of keys, merged."""
        self._check_known("keys", keys, 0)
        return dask_searches.found(search, config, queries, keys)
