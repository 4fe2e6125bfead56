"""Selection in NumPy: a few of many columns, by passes that are cheap."""

import numpy as np

from metricops._typing import Array

_GROUP = 16  # columns of which only the largest is looked at first


def within(x: Array, k: int, slack: Array) -> tuple[Array, Array, Array]:
    """Return the columns of each row that are near its `k` largest, and more.

    The k-th largest of the maxima of groups of columns is no more than the k-th
    largest of all, and a group is worth a look only where its maximum is near that.
    Where there are fewer than `k` but minus infinity, there are none.
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
