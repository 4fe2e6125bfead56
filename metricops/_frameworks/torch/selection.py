"""Selection in PyTorch: the best of many columns, by passes that are cheap."""

import math
from collections.abc import Callable

import torch

from metricops._frameworks.operations import Arrays
from metricops._frameworks.torch import private
from metricops._typing import Array

_GROUP = 16  # columns of which only the largest is looked at first


def sees_values(x: Array) -> bool:
    """Return whether Python code may branch on the values in `x`."""
    # A fake tensor of an export has no values; its class has no public name.
    shape_alone = x.is_meta or type(x).__name__ == "FakeTensor"
    if torch.compiler.is_compiling() or shape_alone:
        return False
    if x.is_cuda and torch.cuda.is_current_stream_capturing():
        return False
    return not private.transforms_active()


def within(x: Array, k: int, slack: Array) -> tuple[Array, Array, Array]:
    """Return the columns of each row that are near its `k` largest, and more.

    By the maxima of groups of columns, as in `selection`. Where there are fewer than
    `k` but minus infinity, there are none.
    """
    if k == 1 and 0 < x.shape[1] < 4 * _GROUP:
        return _nearly_largest(x, slack)
    grouped, rest = _groups(x)
    peaks = grouped.amax(dim=1)
    found = _one(x, peaks, slack) if k == 1 else None
    if found is not None:
        return found
    near = torch.cat([peaks, rest], dim=1) if rest.shape[1] else peaks
    best = torch.topk(near, k, dim=1, sorted=False).values
    least = _less(best.amin(dim=1, keepdim=True), slack)
    count, width = x.shape[1], grouped.shape[2]
    rows, groups = (peaks >= least).nonzero(as_tuple=True)
    members = grouped.transpose(1, 2)[rows, groups]
    group, place = (members >= least[rows]).nonzero(as_tuple=True)
    places = (rows * count + groups)[group] + width * place
    if rest.shape[1]:
        rows, columns = (rest >= least).nonzero(as_tuple=True)
        alone = rows * count + (width * _GROUP + columns)
        places = torch.cat([places, alone])
    return _padded(torch.sort(places).values, x.shape, k, 4 * k + 64)


def _one(x: Array, peaks: Array, slack: Array) -> tuple[Array, Array, Array] | None:
    """Return what `within` does for ``k=1``, in few steps; None where it takes more.

    It does where no row has more than two groups that are near its largest, and no more
    than three columns in those. Mostly it is one of each.
    """
    width, count = x.shape[1] // _GROUP, x.shape[1]
    best = peaks.amax(dim=1, keepdim=True)
    least = _less(best, slack)
    near = _most(peaks >= least)
    if width * _GROUP != count or near > 2:
        return None
    strides = torch.arange(0, count, width, device=x.device)
    _, groups = _top(peaks, near)
    columns = (groups[:, :, None] + strides).flatten(1)
    members = x.gather(1, columns)
    most = _most(members >= least)
    if most > 3:
        return None
    scores, places = _top(members, most)
    return _ordered(columns.gather(1, places), scores >= least, count)


def _nearly_largest(x: Array, slack: Array) -> tuple[Array, Array, Array]:
    """Return what `within` does for ``k=1``, of a few columns."""
    least = _less(x.amax(dim=1, keepdim=True), slack)
    scores, columns = _top(x, _most(x >= least))
    return _ordered(columns, scores >= least, x.shape[1])


def _ordered(columns: Array, there: Array, count: int) -> tuple[Array, Array, Array]:
    """Return columns in order, which are there, and that these are all."""
    if columns.shape[1] > 1:
        columns = torch.sort(torch.where(there, columns, count), dim=1).values
        there = columns < count
        columns = torch.where(there, columns, 0)
    return columns, there, torch.ones_like(there[:, 0])


def _most(marks: Array) -> int:
    """Return the most marks that a row has, at least 1."""
    return max(int(marks.sum(dim=1).max()), 1) if len(marks) else 1


def _top(x: Array, k: int) -> tuple[Array, Array]:
    """Return the `k` largest of each row and their columns.

    Maxima of few columns, one after the other, take less time than `topk`.
    """
    if k > 3 or x.shape[1] > 4 * _GROUP:
        values, columns = torch.topk(x, k, dim=1)
        return values, columns
    values, columns = found = x.max(dim=1, keepdim=True)
    if k == 1:
        return values, columns
    others = _top(x.scatter(1, columns, -math.inf), k - 1)
    values, columns = (torch.cat(z, dim=1) for z in zip(found, others, strict=True))
    return values, columns


def _less(best: Array, slack: Array) -> Array:
    """Return the least score that counts; infinity where the best one is nothing."""
    least = best - slack
    return least.nan_to_num_(nan=math.nan, posinf=math.inf, neginf=math.inf)


def _groups(x: Array) -> tuple[Array, Array]:
    """Return the columns in groups, (n, 16, groups), and those that are left."""
    width = x.shape[1] // _GROUP
    grouped = x[:, : width * _GROUP].unflatten(1, (_GROUP, width))
    return grouped, x[:, width * _GROUP :]


def _padded(
    places: Array, shape: tuple[int, int], k: int, most: int
) -> tuple[Array, Array, Array]:
    """Return ordered places in a matrix as columns, `k` to `most` a row.

    And which of them are there, and of each row whether all are.
    """
    rows = places // shape[1]
    counts = torch.bincount(rows, minlength=shape[0])
    complete = counts <= most
    width = int(torch.where(complete, counts, 0).max()) if shape[0] else 0
    place = torch.arange(max(width, k), device=places.device)
    there = place < counts[:, None]
    if not places.numel():
        return torch.zeros_like(there, dtype=places.dtype), there, complete
    starts = (counts.cumsum(0) - counts)[:, None]
    columns = (places - rows * shape[1])[torch.where(there, starts + place, 0)]
    return torch.where(there, columns, 0), there, complete


def redone(
    right: Array, function: Callable[[Array], Arrays], rows: Array, found: Arrays
) -> Arrays:
    """Return what was `found`, with the rows that are not `right` done again."""
    wrong = (~right).nonzero()[:, 0]
    if not wrong.numel():
        return found
    again = function(rows[wrong])
    return tuple(
        x.index_copy(0, wrong, new) for x, new in zip(found, again, strict=True)
    )
