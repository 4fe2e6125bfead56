"""How N-pairs closes a row of scores that is seen in parts; see `npairs_objective`.

The sums of two parts are merged relative to the larger of their peaks.

The module is long, as sums by position and against targets are one derivation.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from metricops._frameworks import Library
from metricops._losses.npairs_terms import finite, log_ratio, may_hold, of_positive
from metricops._panels.objective import Pairs, Sums, masked
from metricops._typing import Array


class PositionRows(NamedTuple):
    """The sums of rows with one positive each, of shape (n,)."""

    peak: Array
    rest: Array  # sum(exp(s - peak)) without the positive
    positive: Array  # its score


class TargetRows(NamedTuple):
    """The sums of rows with targets, of shape (n,)."""

    peak: Array  # minus infinity for a row that has seen no candidate
    rest: Array  # sum(exp(s - peak)) less `apart`
    apart: Array  # in how many parts a positive is alone
    positive: Array  # sum(t * (s - peak))
    total: Array  # sum(t)


class Closing(NamedTuple):
    """What the derivative needs of each row, of shape (n,)."""

    peak: Array
    push: Array  # what exp(s - peak) is multiplied by: upstream / Z
    pull: Array  # what t is multiplied by, or the slope at the only positive


class ClosingTargets(NamedTuple):
    """The same against targets, whose factor is `alone` plus `pull`.

    `alone` is subtracted first, which leaves exactly 0 at a positive that is the peak
    and alone.
    """

    peak: Array
    push: Array
    pull: Array
    alone: Array


class PositionSums(Sums):
    """The sums of a softmax with one positive each, at the row's position."""

    record = PositionRows

    def of(
        self, lib: Library, scores: Array, pairs: Pairs, axis: int, last: bool
    ) -> PositionRows:
        """Return the sums along an axis.

        Those of columns lack the positive, which `paired` takes from the rows.
        """
        peak = lib.peak(scores, axis)
        flat = lib.xp.squeeze(peak, axis=axis)
        positive = lib.pick(scores, pairs.positive)[:, 0] if axis == 1 else flat
        peak = finite(lib, peak)  # all rows of a column may have its id
        if lib.puts_in_place():
            shifted = lib.minus(scores, peak) if last else scores - peak
            exponentials = lib.put(lib.exp(shifted), pairs.positive, 0.0)
        else:  # XLA fuses an exponential with its sum if nothing is between
            others = lib.put(scores, pairs.positive, -float("inf"))
            exponentials = lib.exp(lib.minus(others, peak))
        return PositionRows(flat, lib.xp.sum(exponentials, axis=axis), positive)

    def merged(
        self, lib: Library, old: PositionRows, new: PositionRows
    ) -> PositionRows:
        """Return the sums of the same rows over two sets of candidates."""
        xp = lib.xp
        peak = xp.maximum(old.peak, new.peak)
        safe = finite(lib, peak)
        rest = old.rest * xp.exp(old.peak - safe) + new.rest * xp.exp(new.peak - safe)
        return PositionRows(peak, rest, new.positive)

    def paired(self, rows: PositionRows, columns: PositionRows) -> PositionRows:
        """Return the columns' sums with their positives' scores, which rows know."""
        # A copy, as frameworks refuse to save one array twice.
        return columns._replace(positive=rows.positive + 0.0)

    def losses(self, lib: Library, sums: PositionRows) -> tuple[Array, None]:
        """Return the losses; all count."""
        difference = sums.positive - sums.peak
        if not lib.recorded(sums.peak):
            own = lib.xp.exp(difference)
            return of_positive(lib, sums.rest, difference, own), None
        less = log_ratio(lib, sums.rest, -difference)
        return lib.xp.logaddexp(less, lib.xp.zeros_like(less)), None

    def closing(self, lib: Library, sums: PositionRows, upstream: Array) -> Closing:
        """Return each row's closing numbers, for losses weighted by `upstream`."""
        partition = sums.rest + lib.xp.exp(sums.positive - sums.peak)
        push = upstream / partition
        return Closing(sums.peak, push, -sums.rest * push)

    def error(
        self, lib: Library, scores: Array, pairs: Pairs, rows: Closing, columns: Closing
    ) -> Array:
        """Return the derivative by the scores, 0 at the positives."""
        return lib.put(pushes_of(lib, scores, rows, columns), pairs.positive, 0.0)

    def joint_error(
        self, lib: Library, scores: Array, pairs: Pairs, rows: Closing, columns: Closing
    ) -> Array:
        """Return the same where no upstream is below 0, by one exponential a pair."""
        levels = (lib.xp.log(x.push) - x.peak for x in (rows, columns))
        pushes = lib.joint_exponentials(scores, *levels)
        return lib.put(pushes, pairs.positive, 0.0)

    def own(self, rows: Closing, columns: Closing) -> Array:
        """Return the derivative at the positives."""
        return rows.pull + columns.pull


@dataclass(frozen=True)
class TargetSums(Sums):
    """The sums of a softmax against targets, as `NPairs` smoothes them."""

    record = TargetRows
    smoothing: float = 0.0

    def of(
        self, lib: Library, scores: Array, pairs: Pairs, axis: int, last: bool
    ) -> TargetRows:
        """Return the sums along an axis; the `last` to ask may overwrite the scores."""
        xp = lib.xp
        peak = lib.peak(scores, axis)
        safe = finite(lib, peak)
        shifted = lib.minus(scores, safe) if last else scores - safe
        if pairs.targets is None:
            return self._of_others(lib, peak, shifted, axis)
        shifted = masked(lib, shifted, pairs, 0.0)
        positive = lib.dots(pairs.targets, shifted, axis)
        exponentials = masked(lib, lib.exp(shifted), pairs, 0.0)
        total = lib.row_sums(pairs.targets, axis)
        alone = xp.astype(total == 1, scores.dtype)
        if may_hold(lib, alone):
            exponentials = lib.less(exponentials, pairs.targets, alone)
        rest = xp.sum(exponentials, axis=axis)
        flat = (xp.squeeze(x, axis=axis) for x in (peak, alone, total))
        peak, alone, total = flat
        return TargetRows(peak, rest, alone, positive, total)

    def _of_others(
        self, lib: Library, peak: Array, shifted: Array, axis: int
    ) -> TargetRows:
        """Return the sums along an axis where there are no targets."""
        rest = lib.xp.sum(lib.exp(shifted), axis=axis)
        zeros = lib.xp.zeros_like(rest)
        flat = lib.xp.squeeze(peak, axis=axis)
        return TargetRows(flat, rest, zeros, zeros, zeros)

    def nothing(self, lib: Library, zeros: Array) -> TargetRows:
        """Return the sums of rows that have seen no candidate."""
        return TargetRows(zeros - float("inf"), zeros, zeros, zeros, zeros)

    def merged(self, lib: Library, old: TargetRows, new: TargetRows) -> TargetRows:
        """Return the sums of the same rows over two sets of candidates."""
        xp = lib.xp
        peak = xp.maximum(old.peak, new.peak)
        first, second = (self._relative(lib, one, peak) for one in (old, new))
        return TargetRows(
            peak,
            first.rest + second.rest,
            first.apart + second.apart,
            first.positive + second.positive,
            first.total + second.total,
        )

    def losses(self, lib: Library, sums: TargetRows) -> tuple[Array, Array]:
        """Return the losses, 0 of rows without a target, which do not count."""
        xp = lib.xp
        counted = sums.total != 0
        rest = xp.where(counted, sums.rest + (sums.apart - 1), 0.0)
        positive = sums.positive / xp.where(counted, sums.total, 1.0)
        losses = xp.log1p(rest) - positive
        if self.smoothing != 0:
            losses = losses + self.smoothing * (positive + finite(lib, sums.peak))
        return xp.where(counted, losses, 0.0), counted

    def closing(
        self, lib: Library, sums: TargetRows, upstream: Array
    ) -> ClosingTargets:
        """Return each row's closing numbers, for losses weighted by `upstream`."""
        xp = lib.xp
        counted = sums.total != 0
        upstream = xp.where(counted, upstream, 0.0)
        push = upstream / xp.where(counted, sums.rest + sums.apart, 1.0)
        pull = upstream / xp.where(counted, sums.total, 1.0)
        if self.smoothing != 0:
            pull, alone = pull * (1 - self.smoothing), xp.zeros_like(push)
            return ClosingTargets(finite(lib, sums.peak), push, pull, alone)
        one = xp.logical_and(sums.total == 1, sums.apart == 1)
        pull = xp.where(one, push * sums.rest, pull)
        return ClosingTargets(
            finite(lib, sums.peak), push, pull, xp.where(one, push, 0.0)
        )

    def error(
        self,
        lib: Library,
        scores: Array,
        pairs: Pairs,
        rows: ClosingTargets,
        columns: ClosingTargets | None,
    ) -> Array:
        """Return the derivative by the scores of rows, and of columns if given.

        There is no `joint_error`, which would leave no digits of a positive that is
        alone.
        """
        error = pushes_of(lib, scores, rows, columns)
        if pairs.targets is None:
            return error
        alone, pull = rows.alone[:, None], rows.pull[:, None]
        some = may_hold(lib, alone)
        if columns is not None:
            some = some or may_hold(lib, columns.alone)
            alone = alone + columns.alone[None, :] if some else alone
            pull = pull + columns.pull[None, :]
        if some:
            error = lib.less(error, pairs.targets, alone)
        return lib.less(error, pairs.targets, pull)

    def _relative(self, lib: Library, sums: TargetRows, peak: Array) -> TargetRows:
        """Return the sums relative to another peak; 0 where no candidate was seen."""
        xp = lib.xp
        peak = finite(lib, peak)
        down = xp.where(sums.peak == -float("inf"), peak, sums.peak) - peak
        return sums._replace(
            rest=sums.rest * xp.exp(down) + sums.apart * xp.expm1(down),
            positive=sums.positive + sums.total * down,
        )


def pushes_of(lib: Library, scores: Array, rows: Any, columns: Any) -> Array:
    """Return the sum of exp(scores - peak) * push for rows, and for columns if given.

    The scores may be overwritten.
    """
    peak, push = rows.peak[:, None], rows.push[:, None]
    if columns is None:
        return lib.times(lib.exp(lib.minus(scores, peak)), push)
    error = lib.times(lib.exp(scores - peak), push)
    peak, push = columns.peak[None, :], columns.push[None, :]
    other = lib.times(lib.exp(lib.minus(scores, peak)), push)
    return lib.plus(error, other)
