"""How N-pairs without the positives in the denominator closes rows seen in parts.

The formula is in `npairs_denominators`. Sums are relative to the largest negative's
score, or to 0 where a row has seen none.
"""

from dataclasses import dataclass
from typing import NamedTuple

from metricops._frameworks import Library
from metricops._losses.npairs_sums import Closing, pushes_of
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
        xp, others = lib.xp, _others(lib, scores, pairs)
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
        error = pushes_of(lib, _others(lib, scores, pairs), rows, columns)
        if pairs.targets is None:
            return error
        pull = rows.pull[:, None]
        if columns is not None:
            pull = pull + columns.pull[None, :]
        return lib.less(error, pairs.targets, pull)


def _others(lib: Library, scores: Array, pairs: Pairs) -> Array:
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
