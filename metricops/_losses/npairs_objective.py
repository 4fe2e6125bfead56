"""The N-pairs loss of a row of scores: the cross-entropy of its softmax.

For a row of scores s with peak p, and targets t scaled to sum to 1::

    Z = sum(exp(s - p)),    loss = log Z - sum(t * (s - p)),
    dloss/ds = exp(s - p) / Z - t

Where the loss is small, a row has one positive, its score s₊ is the peak, and all of
these are differences of numbers near 1. By position, let R be Z without the positive's
exponential, and d = s₊ - p, which is never above 0. Then nothing cancels::

    loss = log1p(R + (exp(d) - 1)) - d,    dloss/ds₊ = -R / Z

Against targets, let R = Z - 1 be the sum of exp(s - p) - t. A positive that is alone
and the peak has exactly 0 there, so that nothing cancels in::

    loss = log1p(R) - sum(t * (s - p)),    dloss/ds = (exp(s - p) - t - R * t) / Z

Autodiff takes neither apart. What it sees is the loss as a softplus, where the scores
of positives that are alone are left out of the sum::

    loss = log(1 + exp(z)),    z = log(sum of the others' exp(s)) - s₊
"""

from dataclasses import dataclass
from typing import NamedTuple

from metricops._frameworks import Library
from metricops._frameworks.primitives import SMALL
from metricops._frameworks.programs import register_record
from metricops._losses.npairs_sums import PositionSums, TargetSums
from metricops._losses.npairs_terms import (
    against_targets,
    of_positive,
    of_recorded_positive,
    slopes_against_targets,
)
from metricops._losses.npairs_visited import SpreadSums
from metricops._panels.objective import Objective, Pairs, Slopes, Sums
from metricops._typing import Array

_BY_POSITION, _BY_TARGETS = PositionSums(), TargetSums()


@dataclass(frozen=True)
class NPairs(Objective):
    """The cross-entropy of a row's softmax against its targets.

    With `smoothing` e the targets are ``(1 - e) * t``; `smoothing` of the engine adds
    the rest.
    """

    smoothing: float = 0.0

    within_one = True
    fuses_mean = True

    def losses(self, lib: Library, scores: Array, pairs: Pairs) -> Array:
        """Return the rows' losses. The scores may be overwritten."""
        if pairs.targets is not None:
            return against_targets(lib, scores, pairs, self.smoothing)
        fused = lib.cross_entropy(scores).losses
        if fused is None:
            return _by_position(lib, scores, pairs)
        found = fused(scores, pairs.positive)
        return lib.when(
            lib.xp.any(found < SMALL),
            lambda: _by_position(lib, scores, pairs),
            lambda: found,
        )

    def slopes(self, lib: Library, scores: Array, pairs: Pairs) -> Slopes:
        """Return losses and derivatives. The scores may be overwritten."""
        if pairs.targets is not None:
            return slopes_against_targets(lib, scores, pairs, self.smoothing)
        fused = lib.cross_entropy(scores).slopes
        if fused is None:
            return _slopes_by_position(lib, scores, pairs)
        losses, error = fused(scores, pairs.positive)
        found = lib.when(
            lib.xp.any(losses < SMALL),
            lambda: _repaired(lib, losses, error, pairs),
            lambda: (losses, error),
        )
        return Slopes(*found)

    def mean(self, lib: Library, scores: Array, pairs: Pairs) -> Array:
        """Return the mean of the losses, which a framework may have in one call."""
        fused = lib.cross_entropy(scores).mean if pairs.targets is None else None
        if fused is None and pairs.targets is None and _may_look(lib, scores):
            return _mean_by_position(lib, scores, pairs)
        if fused is None:
            return lib.xp.mean(self.losses(lib, scores, pairs))
        found = fused(scores, pairs.positive)
        if found is None:
            return lib.xp.mean(_by_position(lib, scores, pairs))
        return found

    def sums(self, paired: bool) -> Sums | None:
        """Return how rows are closed that are seen in parts."""
        if paired:
            return _BY_POSITION
        return _BY_TARGETS if self.smoothing == 0 else TargetSums(self.smoothing)

    def visited_sums(self) -> Sums:
        """Return how rows are closed whose candidates come by a few at a time."""
        return _BY_TARGETS if self.smoothing == 0 else SpreadSums(self.smoothing)


def _may_look(lib: Library, scores: Array) -> bool:
    """Return whether a number may decide how the loss is computed."""
    return lib.looks(scores) and not lib.recorded(scores)


class Shifted(NamedTuple):
    """Rows of scores less their peaks."""

    difference: Array  # (b, 1): d
    exponentials: Array  # (b, m): exp(s - p), over `back`
    back: Array | None = None  # (b, 1); None: 1


class Parts(NamedTuple):
    """What the formula for one positive is made of."""

    losses: Array  # (b, 1)
    exponentials: Array  # (b, m): exp(s - p), 0 at the positives, over `back`
    total: Array  # (b, 1): their sum, R over `back`
    partition: Array  # (b, 1): Z


def _by_position(lib: Library, scores: Array, pairs: Pairs) -> Array:
    """Return the losses of rows with one positive each."""
    if not lib.recorded(scores):
        return _parts(lib, _shifted(lib, scores, pairs), pairs).losses[:, 0]
    shifted = lib.minus(scores, lib.peak(scores, 1))
    positive = lib.pick(shifted, pairs.positive)
    others = lib.exp(lib.put(shifted, pairs.positive, -float("inf")))
    rest = lib.xp.sum(others, axis=1, keepdims=True)
    return of_recorded_positive(lib, rest, positive)[:, 0]


def _mean_by_position(lib: Library, scores: Array, pairs: Pairs) -> Array:
    """Return the mean loss of rows with one positive each, where a look is cheap.

    Where it is not small, no digits are lost beside 1.
    """
    shifted = _shifted(lib, scores, pairs)
    partition = lib.xp.sum(shifted.exponentials, axis=1, keepdims=True)
    found = lib.xp.mean(lib.xp.log(partition) - shifted.difference)
    return lib.when(
        found < SMALL,
        lambda: lib.xp.mean(_parts(lib, shifted, pairs).losses),
        lambda: found,
    )


def _slopes_by_position(lib: Library, scores: Array, pairs: Pairs) -> Slopes:
    """Return losses and derivatives of rows with one positive each."""
    shifted = _shifted(lib, scores, pairs)
    parts = _parts(lib, shifted, pairs)
    factor = (1.0 if shifted.back is None else shifted.back) / parts.partition
    return Slopes(parts.losses[:, 0], parts.exponentials, factor, -parts.total[:, 0])


def _shifted(lib: Library, scores: Array, pairs: Pairs) -> Shifted:
    """Return scores less their peaks. The scores may be overwritten."""
    if pairs.scale is None and not lib.halves:
        shifted = lib.minus(scores, lib.peak(scores, 1))
        return Shifted(lib.pick(shifted, pairs.positive), lib.exp(shifted))
    scale, own = pairs.scale, lib.pick(scores, pairs.positive)
    if scale is not None:
        peak = lib.scaled_peak(scores, scale)
        exponentials = lib.exponentials(scores, peak, scale)
        return Shifted(own * scale - peak, *exponentials)
    peak = lib.peak(scores, 1)
    return Shifted(own - peak, *lib.exponentials(scores, peak, None))


def _parts(lib: Library, shifted: Shifted, pairs: Pairs) -> Parts:
    """Return the parts of the formula. What was shifted may be overwritten."""
    difference = shifted.difference
    exponentials = lib.put(shifted.exponentials, pairs.positive, 0.0)
    total = lib.row_sums(exponentials)
    rest = total if shifted.back is None else total * shifted.back
    own = lib.xp.exp(difference)
    losses = of_positive(lib, rest, difference, own)
    return Parts(losses, exponentials, total, rest + own)


def _repaired(
    lib: Library, losses: Array, error: Array, pairs: Pairs
) -> tuple[Array, Array]:
    """Return losses and their slopes, those of the positives from all the others."""
    xp = lib.xp
    error = lib.put(error, pairs.positive, 0.0)
    rest = xp.sum(error, axis=1)
    exact = -xp.log1p(-xp.minimum(rest, 0.5 * xp.ones_like(rest)))
    losses = xp.where(losses < SMALL, exact, losses)
    return losses, lib.put(error, pairs.positive, -rest)


register_record("npairs", NPairs)
