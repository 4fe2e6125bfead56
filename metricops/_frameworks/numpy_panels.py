"""Steps over panels in NumPy: parts that stay in caches, and a few of many columns."""

import numpy as np

from metricops._typing import Array

_PART = 2**16  # numbers at a time: a panel of what is between would be new memory
_GROUP = 16  # columns of which only the largest is looked at first
_GROUPS = 4  # groups of which the same holds


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

    By the maxima of groups of columns, as in `selection`, and of groups of those: the
    k-th largest of few is found at once. Where there are fewer than `k` but minus
    infinity, there are none.
    """
    levels, sizes = [x.T], []
    for size, enough in ((_GROUP, k), (_GROUPS, 4 * k)):
        if levels[-1].shape[0] // size >= enough:
            levels.append(_maxima(levels[-1], size))
            sizes.append(size)
    top = levels.pop()
    last = top.shape[0] - k
    least = np.partition(np.ascontiguousarray(top.T), last, axis=1)[:, last]
    least = np.where(least == -np.inf, np.inf, least - slack[:, 0])
    columns, rows = np.nonzero(top >= least)
    while levels:
        columns, rows = _members(levels.pop(), columns, rows, least, sizes.pop())
    return _padded(np.sort(rows * x.shape[1] + columns), x.shape, k, 4 * k + 64)


def _maxima(x: Array, size: int) -> Array:
    """Return the maxima of groups of rows, and then the rows that are left."""
    width = x.shape[0] // size
    grouped = x[: width * size].reshape(size, width, -1).max(axis=0)
    rest = x[width * size :]
    return np.concatenate([grouped, rest]) if rest.size else grouped


def _members(
    x: Array, groups: Array, columns: Array, least: Array, size: int
) -> tuple[Array, Array]:
    """Return which members of groups, each in a column, are at least what is asked for.

    As the rows of `x` where they stand, and their columns.
    """
    count, step = x.shape[0], [stride // x.itemsize for stride in x.strides]
    width = count // size
    alone = groups >= width  # what is left is a group of its own
    first = groups + width * (size - 1) * alone
    strides = width * step[0] * np.arange(size)[:, None]
    places = strides + (first * step[0] + columns * step[1])
    # The matrix or its transpose is contiguous.
    chosen = x.ravel(order="K").take(places, mode="clip") >= least[columns]
    if width * size < count:
        chosen[1:, alone] = False
    member, group = np.divmod(np.flatnonzero(chosen), max(groups.size, 1))
    return first[group] + width * member, columns[group]


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
