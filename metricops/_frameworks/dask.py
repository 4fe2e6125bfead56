"""Dask: lazy and chunked already, so kernels take all rows at once.

The module is long, as one class says all that Dask does in another way.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import dask.array as da
import numpy as np

from metricops._checks import Shape, refuse_shape
from metricops._frameworks import dask_chunks
from metricops._frameworks.library import Library
from metricops._frameworks.operations import Arrays, Operation, Search
from metricops._typing import Array


class Dask(Library):
    """Dask arrays."""

    looping = dask_chunks.Chunks
    panel = 2**22  # several chunks are at work at once

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

    def _check_positions(self, config: Any, given: Any, labels: Any) -> None:
        """Raise where positions matter and the rows before a chunk are not known."""
        if labels.anchors is None or config.exclude_diagonal:
            self._check_known("anchors", given.anchors, 0)
            if given.candidates is not None:
                self._check_known("candidates", given.candidates, 0)

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

    def several(self, x: Array, block: int | None) -> bool:
        """Return False, whatever the size of a panel."""
        return False

    def shortcut(self, short: Any, exact: Any, arrays: Arrays) -> tuple[Array, ...]:
        """Return ``exact(lib, *arrays)``: lazy arrays cannot be looked at."""
        return exact(self, *arrays)

    def block(
        self, anchors: Array, candidates: Array, *, paired: bool = False
    ) -> int | None:
        """Return how many anchors a chunk should hold; None where it is unknown."""
        if self.shape(candidates)[0] is None:
            return None
        return super().block(anchors, candidates)

    def product(self, x: Array, y: Array) -> Array:
        """Return the matrix product of two arrays of one dtype, in that dtype."""
        return dask_chunks.narrow(x, y.chunks[-1]) @ y

    def by_chunks(
        self, function: Callable[..., Array], config: Any, x: Array, y: Array
    ) -> Array | None:
        """Return a number for each pair of rows, computed for each pair of chunks."""
        return dask_chunks.pairs(partial(function, config), x, y)

    def summed_by_chunks(
        self, function: Callable[..., Array], config: Any, *arrays: Array
    ) -> Array | None:
        """Return a sum for each row of x, of the sums over each chunk of y."""
        return dask_chunks.summed(partial(function, config), *arrays)

    def differentiable(
        self, operation: Operation, config: Any, arrays: Arrays, constants: Arrays
    ) -> Array:
        """Return the value of `operation`; of embeddings, by one task."""
        if not _compares(config):
            return operation.value(self, config, arrays, constants)
        given: Any = arrays
        self._check_positions(config, given, constants)
        axis = None if operation.saves_gradients(config) else 1
        outline = [da.sum(given.anchors, axis=axis)]
        run = partial(_value, operation, config)
        (found,) = dask_chunks.in_one_task(run, (arrays, constants), outline)
        return found

    def constant(self, function: Callable[..., Any], config: Any, *arrays: Any) -> Any:
        """Return ``function(self, config, *arrays)``; of embeddings, by one task.

        `config` is (config, wanted). The result is the value, and the gradient of each
        wanted array of the first record.
        """
        if type(config) is not tuple:  # what it is asked for has no gradients
            return function(self, config, *arrays)
        own, wanted = config
        if not _compares(own):
            return function(self, config, *arrays)
        first, constants = arrays
        self._check_positions(own, first, constants)
        value = da.sum(first.anchors)
        pairs = zip(first, wanted, strict=False)
        # A temperature that is a number has a gradient too.
        given = [value if x is None else x for x, there in pairs if there]
        outline = [value, *given]
        run = partial(_with_config, function, config)
        value, *saved = dask_chunks.in_one_task(run, arrays, outline)
        return value, tuple(saved)

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
        return dask_chunks.found(search, config, queries, keys)


def _compares(config: Any) -> bool:
    """Return whether a call compares all embeddings: such calls have a block size."""
    return "block_size" in getattr(config, "_fields", ())


def _value(operation: Operation, config: Any, lib: Any, *records: Any) -> Array:
    return operation.value(lib, config, *records)


def _with_config(
    function: Callable[..., Any], config: Any, lib: Any, *records: Any
) -> Any:
    return function(lib, config, *records)
