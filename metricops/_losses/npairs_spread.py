"""How N-pairs with smoothed labels closes a row whose candidates come by in parts.

A share e of a row's target is spread over its candidates that take part. With M the
mean of their scores, the loss is what `TargetSums` has, less ``e * M``.
"""

from dataclasses import dataclass
from typing import NamedTuple

from metricops._frameworks import Library
from metricops._losses.npairs_sums import ClosingTargets, TargetRows, TargetSums
from metricops._panels.objective import Pairs, Sums
from metricops._typing import Array


class SpreadRows(NamedTuple):
    """The sums of rows, of shape (n,)."""

    rows: TargetRows
    scores: Array  # the sum of the scores that take part
    count: Array  # how many they are


class SpreadClosing(NamedTuple):
    """What the derivative needs of each row, of shape (n,)."""

    rows: ClosingTargets
    share: Array  # what is taken from the slope of each candidate


@dataclass(frozen=True)
class SpreadSums(Sums):
    """The sums of a softmax against smoothed targets."""

    smoothing: float

    @property
    def targets(self) -> TargetSums:
        """The sums without the spread share."""
        return TargetSums(self.smoothing)

    def of(
        self, lib: Library, scores: Array, pairs: Pairs, axis: int, last: bool
    ) -> SpreadRows:
        """Return the sums along an axis; the `last` to ask may overwrite the scores."""
        xp, there = lib.xp, _there(lib, scores, pairs)
        known = scores if pairs.exists is None else xp.where(pairs.exists, scores, 0.0)
        total, count = xp.sum(known, axis=axis), xp.sum(there, axis=axis)
        return SpreadRows(self.targets.of(lib, scores, pairs, axis, last), total, count)

    def nothing(self, lib: Library, zeros: Array) -> SpreadRows:
        """Return the sums of rows that have seen no candidate."""
        return SpreadRows(self.targets.nothing(lib, zeros), zeros, zeros)

    def merged(self, lib: Library, old: SpreadRows, new: SpreadRows) -> SpreadRows:
        """Return the sums of the same rows over two sets of candidates."""
        rows = self.targets.merged(lib, old.rows, new.rows)
        return SpreadRows(rows, old.scores + new.scores, old.count + new.count)

    def losses(self, lib: Library, sums: SpreadRows) -> tuple[Array, Array]:
        """Return the losses, 0 of rows without a target, which do not count."""
        losses, counted = self.targets.losses(lib, sums.rows)
        mean = sums.scores / _at_least_one(lib, sums.count)
        return lib.xp.where(counted, losses - self.smoothing * mean, 0.0), counted

    def closing(self, lib: Library, sums: SpreadRows, upstream: Array) -> SpreadClosing:
        """Return each row's closing numbers, for losses weighted by `upstream`."""
        counted = sums.rows.total != 0
        share = upstream * self.smoothing / _at_least_one(lib, sums.count)
        rows = self.targets.closing(lib, sums.rows, upstream)
        return SpreadClosing(rows, lib.xp.where(counted, share, 0.0))

    def error(
        self,
        lib: Library,
        scores: Array,
        pairs: Pairs,
        rows: SpreadClosing,
        columns: SpreadClosing | None,
    ) -> Array:
        """Return the derivative by the scores of rows, and of columns if given."""
        there, share = _there(lib, scores, pairs), rows.share[:, None]
        theirs = None if columns is None else columns.rows
        error = self.targets.error(lib, scores, pairs, rows.rows, theirs)
        if columns is not None:
            share = share + columns.share[None, :]
        return lib.less(error, there, share)


def _there(lib: Library, scores: Array, pairs: Pairs) -> Array:
    """Return 1 for the pairs of a panel that take part, and 0 for others."""
    if pairs.exists is None:
        return lib.xp.ones_like(scores)
    return lib.xp.astype(pairs.exists, scores.dtype)


def _at_least_one(lib: Library, count: Array) -> Array:
    """Return numbers of candidates, 1 where there are none."""
    return lib.xp.where(count < 1, 1.0, count)
