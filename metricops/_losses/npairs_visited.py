"""How N-pairs with other options closes rows whose candidates come by in parts.

Without the positives in the denominator, the formula is in `npairs_denominators`. Sums
are relative to the largest negative's score, or to 0 where a row has seen none.

With smoothed labels, a share e of a row's target is spread over its candidates that
take part. With M the mean of their scores, the loss is what `TargetSums` has, less
``e * M``.
"""

from dataclasses import dataclass
from typing import NamedTuple

from metricops._frameworks import Library
from metricops._losses.npairs_sums import (
    Closing,
    ClosingTargets,
    TargetRows,
    TargetSums,
    pushes_of,
)
from metricops._losses.npairs_terms import finite
from metricops._panels.objective import Pairs, Sums
from metricops._typing import Array


class NegativeRows(NamedTuple):
    """The sums of rows, of shape (n,)."""

    peak: Array  # minus infinity for a row that has seen no negative
    rest: Array  # sum(exp(s - peak)) of the negatives
    positive: Array  # sum(t * (s - peak))
    total: Array  # sum(t)


@dataclass(frozen=True)
class NegativeSums(Sums):
    """The sums of a softmax of the negatives, and of the targets."""

    def of(
        self, lib: Library, scores: Array, pairs: Pairs, axis: int, last: bool
    ) -> NegativeRows:
        """Return the sums along an axis."""
        xp, others = lib.xp, others_of(lib, scores, pairs)
        peak = lib.peak(others, axis)
        safe = finite(lib, peak)
        rest = xp.sum(xp.exp(others - safe), axis=axis)
        flat, zeros = xp.squeeze(peak, axis=axis), xp.zeros_like(rest)
        if pairs.targets is None:
            return NegativeRows(flat, rest, zeros, zeros)
        shifted = xp.where(pairs.targets != 0, scores - safe, 0.0)
        positive = lib.dots(pairs.targets, shifted, axis)
        total = xp.squeeze(lib.row_sums(pairs.targets, axis), axis=axis)
        return NegativeRows(flat, rest, positive, total)

    def nothing(self, lib: Library, zeros: Array) -> NegativeRows:
        """Return the sums of rows that have seen no candidate."""
        return NegativeRows(zeros - float("inf"), zeros, zeros, zeros)

    def merged(
        self, lib: Library, old: NegativeRows, new: NegativeRows
    ) -> NegativeRows:
        """Return the sums of the same rows over two sets of candidates."""
        peak = lib.xp.maximum(old.peak, new.peak)
        first, second = (_relative(lib, one, peak) for one in (old, new))
        return NegativeRows(
            peak,
            first.rest + second.rest,
            first.positive + second.positive,
            first.total + second.total,
        )

    def losses(self, lib: Library, sums: NegativeRows) -> tuple[Array, Array]:
        """Return the losses, 0 of rows that lack a positive or a negative."""
        xp, counted = lib.xp, _counted(lib, sums)
        above = xp.log(xp.where(counted, sums.rest, 1.0))
        found = above - sums.positive / xp.where(counted, sums.total, 1.0)
        return xp.where(counted, found, 0.0), counted

    def closing(self, lib: Library, sums: NegativeRows, upstream: Array) -> Closing:
        """Return each row's closing numbers, for losses weighted by `upstream`."""
        xp, counted = lib.xp, _counted(lib, sums)
        upstream = xp.where(counted, upstream, 0.0)
        push = upstream / xp.where(counted, sums.rest, 1.0)
        pull = upstream / xp.where(counted, sums.total, 1.0)
        # A row without a negative has no largest one: 0 would overflow what it pushes.
        peak = xp.where(sums.peak == -float("inf"), float("inf"), sums.peak)
        return Closing(peak, push, pull)

    def error(
        self,
        lib: Library,
        scores: Array,
        pairs: Pairs,
        rows: Closing,
        columns: Closing | None,
    ) -> Array:
        """Return the derivative by the scores of rows, and of columns if given."""
        error = pushes_of(lib, others_of(lib, scores, pairs), rows, columns)
        if pairs.targets is None:
            return error
        pull = rows.pull[:, None]
        if columns is not None:
            pull = pull + columns.pull[None, :]
        return lib.less(error, pairs.targets, pull)


def others_of(lib: Library, scores: Array, pairs: Pairs) -> Array:
    """Return the scores of negatives, minus infinity of all other candidates."""
    if pairs.targets is None:
        return scores
    return lib.xp.where(pairs.targets == 0, scores, -float("inf"))


def _counted(lib: Library, sums: NegativeRows) -> Array:
    """Return which rows have a positive and a negative."""
    return lib.xp.logical_and(sums.total != 0, sums.peak != -float("inf"))


def _relative(lib: Library, sums: NegativeRows, peak: Array) -> NegativeRows:
    """Return the sums relative to another peak."""
    xp, peak = lib.xp, finite(lib, peak)
    down = finite(lib, sums.peak) - peak
    seen = sums.peak != -float("inf")
    return sums._replace(
        rest=xp.where(seen, sums.rest * xp.exp(xp.where(seen, down, 0.0)), 0.0),
        positive=sums.positive + sums.total * down,
    )


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
