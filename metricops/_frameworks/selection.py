"""Selection of a few of many columns, in the same steps whatever the numbers are."""

from typing import Any

from metricops._typing import Array

_GROUP = 16  # columns of which only the largest is looked at first
_MORE = 8  # groups, and candidates, beside the best ones


def within(lib: Any, x: Array, k: int, slack: Array) -> tuple[Array, Array, Array]:
    """Return the columns of each row that are near its `k` largest, and more.

    A group is worth a look only where its maximum is among the largest. The k-th
    largest of what is in those is no more than the k-th largest of all. A row with
    fewer than `k` numbers above minus infinity has none.
    """
    xp, count = lib.xp, x.shape[1]
    peaks = _maxima(xp, x)
    highest, groups = lib.top(peaks, min(k + _MORE, peaks.shape[1]))
    columns = _members(lib, x, groups)
    scores = _chosen(lib, x, columns)
    best, places = lib.top(scores, min(k + _MORE, scores.shape[1]))
    last = best[:, k - 1 : k]
    least = xp.where(last == -float("inf"), float("inf"), last - slack)
    complete = xp.logical_and(highest[:, -1:] < least, best[:, -1:] < least)
    columns = xp.take_along_axis(columns, places, axis=1)
    # In order, those that are no candidates last.
    columns = xp.sort(xp.where(best >= least, columns, count), axis=1)
    there = columns < count
    return xp.where(there, columns, 0), there, complete[:, 0]


def _maxima(xp: Any, x: Array) -> Array:
    """Return the maxima of groups of columns, and then the columns that are left."""
    width = x.shape[1] // _GROUP
    grouped = xp.reshape(x[:, : width * _GROUP], (-1, _GROUP, width))
    peaks = xp.max(grouped, axis=1)
    if x.shape[1] % _GROUP == 0:
        return peaks
    return xp.concat([peaks, x[:, width * _GROUP :]], axis=1)


def _chosen(lib: Any, x: Array, columns: Array) -> Array:
    """Return what is in columns of each row, minus infinity where there is none."""
    xp, count = lib.xp, x.shape[1]
    if count % _GROUP == 0:  # then all are there
        return lib.chosen(x, columns)
    exists = columns < count
    scores = lib.chosen(x, xp.where(exists, columns, 0))
    return xp.where(exists, scores, -float("inf"))


def _members(lib: Any, x: Array, groups: Array) -> Array:
    """Return the columns of groups, and the number of columns where there is none.

    A column that is left of the groups has one of its own, whose first member it is.
    The first members of all groups come first: they stand near each other.
    """
    xp, width = lib.xp, x.shape[1] // _GROUP
    place = lib.positions(x[:, :_GROUP], 1, "keys")[None, :, None]
    groups = groups[:, None, :]
    found = groups + width * xp.astype(place, groups.dtype)
    if x.shape[1] % _GROUP:
        alone = xp.where(place == 0, groups + width * (_GROUP - 1), x.shape[1])
        found = xp.where(groups < width, found, alone)
    return xp.reshape(found, (-1, found.shape[2] * _GROUP))
