"""Steps over panels in NumPy, whose parts stay in the caches of a processor."""

import numpy as np

from metricops._typing import Array

_PART = 2**16  # numbers at a time: a panel of what is between would be new memory


def less(x: Array, y: Array, factor: Array) -> Array:
    """Return ``x - y * factor``, in place."""
    if x.size <= _PART or x.ndim == 1:
        return np.subtract(x, y * factor, out=x)
    step = max(_PART * x.shape[0] // x.size, 1)
    room = np.empty((step, *x.shape[1:]), x.dtype)
    for i in range(0, x.shape[0], step):
        rows = slice(i, min(i + step, x.shape[0]))
        own = factor[rows] if factor.shape[0] == x.shape[0] else factor
        part = np.multiply(y[rows], own, out=room[: rows.stop - i])
        np.subtract(x[rows], part, out=x[rows])
    return x


def absolute(x: Array, y: Array) -> Array:
    """Return the sums of the absolute differences of rows."""
    found = np.zeros((x.shape[0], y.shape[0]), x.dtype)
    for first in range(0, x.shape[1], 1024):  # what a product adds up one by one
        features = slice(first, first + 1024)
        _add_absolute(found, x[:, features], y[:, features])
    return found


def _add_absolute(found: Array, x: Array, y: Array) -> None:
    rows, columns = 16, max(2**17 // (16 * x.shape[1]), 1)
    room = np.empty((rows, columns, x.shape[1]), x.dtype)
    for i in range(0, x.shape[0], rows):
        for j in range(0, y.shape[0], columns):
            own, others = x[i : i + rows, None, :], y[None, j : j + columns, :]
            tile = room[: own.shape[0], : others.shape[1]]
            np.abs(np.subtract(own, others, out=tile), out=tile)
            # A product would round the same numbers differently in some columns.
            found[i : i + rows, j : j + columns] += np.einsum("ijk->ij", tile)
