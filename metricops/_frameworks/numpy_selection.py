"""Selection in NumPy: a few of many columns, by passes that are cheap."""

import numpy as np

from metricops._typing import Array

_GROUP = 16  # columns of which only the largest is looked at first


def within(x: Array, k: int, slack: Array) -> tuple[Array, Array, Array]:
    """Return the columns of each row that are near its `k` largest, and more.

    The k-th largest of the maxima of groups of columns is no more than the k-th
    largest of all, and a group is worth a look only where its maximum is near that.
    """
    width = -(-x.shape[1] // _GROUP)
    peaks = _maxima(x, width)
    least = np.partition(peaks, width - k, axis=1)[:, width - k, None] - slack
    rows, groups = np.nonzero(peaks >= least)
    columns = groups[:, None] + width * np.arange(_GROUP)
    exists = columns < x.shape[1]
    scores = x[rows[:, None], np.where(exists, columns, 0)]
    chosen = exists & (scores >= least[rows])
    places = np.sort((rows[:, None] * x.shape[1] + columns)[chosen])
    return _padded(places, x.shape, k, 4 * k + 64)


def _maxima(x: Array, width: int) -> Array:
    """Return the largest of columns 0, width, 2 width...; of 1, 1 + width...; ..."""
    peaks = x[:, :width].copy()
    for first in range(width, x.shape[1], width):
        part = x[:, first : first + width]
        own = peaks[:, : part.shape[1]]
        np.maximum(own, part, out=own)
    return peaks


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
