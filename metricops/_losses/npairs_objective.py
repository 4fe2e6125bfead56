"""What N-pairs asks of a row of scores: the cross-entropy of its softmax.

Of a row of scores s with peak p, and targets t scaled to sum to 1::

    Z = sum(exp(s - p)),    loss = log Z - sum(t * (s - p)),
    dloss/ds = exp(s - p) / Z - t

By position a row has one positive, of score s₊. Let R be Z without its exponential, and
d = s₊ - p, which is never above 0. Then nothing cancels where the loss is small::

    loss = log1p(R + expm1(d)) - d,    dloss/ds₊ = -R / Z
"""

from dataclasses import dataclass

from metricops._frameworks import Library
from metricops._frameworks.programs import register_record
from metricops._losses.npairs_sums import PositionSums, TargetSums, finite, of_positive
from metricops._panels.objective import Objective, Pairs, Slopes, Sums, masked
from metricops._typing import Array

_BY_POSITION, _BY_TARGETS = PositionSums(), TargetSums()


@dataclass(frozen=True)
class NPairs(Objective):
    """The cross-entropy of a row's softmax against its targets.

    With `smoothing` e against ``(1 - e) * t``; the engine does the rest.
    """

    smoothing: float = 0.0

    def counted(self, lib: Library, pairs: Pairs) -> Array | None:
        """Return which rows have a positive, shape (b, 1)."""
        return None if pairs.targets is None else pairs.total != 0

    def losses(self, lib: Library, scores: Array, pairs: Pairs) -> Array:
        """Return the rows' losses. The scores may be overwritten."""
        if pairs.targets is not None:
            return _softmax(lib, scores, pairs, self.smoothing)[0]
        fused = lib.cross_entropy(scores).losses
        if fused is not None:
            return fused(scores, pairs.positive)
        _, rest, difference = _parts(lib, scores, pairs)
        return of_positive(lib, rest, difference)[:, 0]

    def slopes(self, lib: Library, scores: Array, pairs: Pairs) -> Slopes:
        """Return losses and derivatives. The scores may be overwritten."""
        if pairs.targets is None:
            fused = lib.cross_entropy(scores).slopes
            if fused is not None:
                return Slopes(*fused(scores, pairs.positive))
            return _by_position(lib, scores, pairs)
        found = _softmax(lib, scores, pairs, self.smoothing)
        losses, exponentials, partition = found
        share = partition / lib.xp.where(pairs.total == 0, 1.0, pairs.total)
        if self.smoothing != 0:
            share = share * (1 - self.smoothing)
        error = lib.minus(exponentials, lib.times(pairs.targets, share))
        return Slopes(losses, error, 1 / partition)

    def mean(self, lib: Library, scores: Array, pairs: Pairs) -> Array:
        """Return the mean of the losses, which a framework may have in one call."""
        fused = lib.cross_entropy(scores).mean
        if pairs.targets is not None or fused is None:
            return super().mean(lib, scores, pairs)
        return fused(scores, pairs.positive)

    def sums(self, paired: bool) -> Sums | None:
        """Return how rows are closed that are met in parts."""
        if paired:
            return _BY_POSITION
        return _BY_TARGETS if self.smoothing == 0 else TargetSums(self.smoothing)


def _parts(lib: Library, scores: Array, pairs: Pairs) -> tuple[Array, Array, Array]:
    """Return the exponentials without the positive's, R, and d of the formula."""
    peak = lib.peak(scores, 1)
    difference = lib.pick(scores, pairs.positive) - peak
    exponentials = lib.exp(lib.minus(scores, peak))
    exponentials = lib.put(exponentials, pairs.positive, 0.0)
    rest = lib.xp.sum(exponentials, axis=1, keepdims=True)
    return exponentials, rest, difference


def _by_position(lib: Library, scores: Array, pairs: Pairs) -> Slopes:
    """Return what the formula for one positive gives."""
    exponentials, rest, difference = _parts(lib, scores, pairs)
    partition = rest + lib.xp.exp(difference)
    losses = of_positive(lib, rest, difference)
    own = -rest / partition
    return Slopes(losses[:, 0], exponentials, 1 / partition, own[:, 0])


def _softmax(
    lib: Library, scores: Array, pairs: Pairs, smoothing: float
) -> tuple[Array, Array, Array]:
    """Return the losses against targets, the exponentials, and their sums.

    A row without a target has loss 0.
    """
    xp = lib.xp
    counted = pairs.total != 0
    peak = finite(lib, lib.peak(scores, 1))
    shifted = masked(lib, lib.minus(scores, peak), pairs, 0.0)
    share = 1 / xp.where(counted, pairs.total, 1.0)
    positive = lib.dots(pairs.targets, shifted, 1)[:, None] * share
    exponentials = masked(lib, lib.exp(shifted), pairs, 0.0)
    partition = xp.sum(exponentials, axis=1, keepdims=True)
    partition = xp.where(counted, partition, 1.0)
    losses = xp.log(partition) - positive
    if smoothing != 0:
        losses = losses + smoothing * (positive + peak)
    losses = xp.where(counted, losses, 0.0)
    return losses[:, 0], exponentials, partition


register_record("npairs", NPairs)
