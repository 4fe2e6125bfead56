"""Steps over panels in NumPy: parts that stay in caches, and a few of many columns."""

import numpy as np

from metricops._typing import Array

_PART = 2**16  # numbers at a time: a panel of what is between would be new memory
_GROUP = 16  # columns of which only the largest is looked at first


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


def within(x: Array, k: int, slack: Array) -> tuple[Array, Array, Array]:
    """Return the columns of each row that are near its `k` largest, and more.

    By the maxima of groups of columns, as in `selection`. Where there are fewer than
    `k` but minus infinity, there are none.
    """
    width, count = x.shape[1] // _GROUP, x.shape[1]
    peaks = _maxima(x, width)
    last = peaks.shape[1] - k
    least = np.partition(peaks, last, axis=1)[:, last, None]
    least = np.where(least == -np.inf, np.inf, least - slack)
    rows, groups = np.nonzero(peaks >= least)
    columns = groups[:, None] + width * np.arange(_GROUP)
    # What is left of the groups are columns on their own.
    alone = groups >= width
    columns[alone] += width * (_GROUP - 1)
    columns[alone, 1:] = count
    exists = columns < count
    places = rows[:, None] * count + np.where(exists, columns, 0)
    chosen = exists & (x.ravel().take(places) >= least[rows])
    return _padded(np.sort(places[chosen]), x.shape, k, 4 * k + 64)


def _maxima(x: Array, width: int) -> Array:
    """Return the maxima of groups of columns, and then the columns that are left."""
    grouped = x[:, : width * _GROUP].reshape(-1, _GROUP, width).max(axis=1)
    rest = x[:, width * _GROUP :]
    return np.concatenate([grouped, rest], axis=1) if rest.size else grouped


def _padded(
    places: Array, shape: tuple[int, int], k: int, most: int
) -> tuple[Array, Array, Array]:
    """Return ordered places in a matrix as columns, `k` to `most` a row.

    And which of them are there, and of each row whether all are.
    """
    rows, columns = np.divmod(places, shape[1])
    counts = np.bincount(rows, minlength=shape[0])
    complete = counts <= most
    width = int(counts[complete].max(initial=k))
    place = np.arange(rows.size) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = complete[rows]
    padded = np.zeros((shape[0], width), columns.dtype)
    padded[rows[kept], place[kept]] = columns[kept]
    return padded, np.arange(width) < counts[:, None], complete
