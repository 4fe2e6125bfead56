"""Terms of a softmax that keep their digits, and the N-pairs loss against targets.

The formulas are in `npairs_objective`.
"""

from typing import NamedTuple

from metricops._frameworks import Library
from metricops._frameworks.primitives import SMALL
from metricops._panels.objective import Pairs, Slopes, masked
from metricops._typing import Array


class Side(NamedTuple):
    """The sum of the exponentials of some logits of each row of a panel."""

    exponentials: Array  # (b, m), relative to the largest; 0 of other logits
    partition: Array  # (b, 1): their sum, 1 where there are none
    logs: Array  # (b,): the log-sum-exp, minus infinity where there are none


def of_positive(lib: Library, rest: Array, difference: Array, own: Array) -> Array:
    """Return the loss of a row with one positive.

    It is less than the peak by `difference`, of which `own` is the exponential. Where
    that is not exactly 1, the peak is among the rest: so ``rest >= 1``, and what the
    subtraction of 1 rounds is small beside it.
    """
    return lib.xp.log1p(rest + (own - 1.0)) - difference


def of_recorded_positive(
    lib: Library, rest: Array, positive: Array, alone: Array | None = None
) -> Array:
    """Return the loss ``log(R + exp(d)) - d`` of each row, for autodiff.

    `rest` is R, `positive` is d, both (b, 1). In a row that is not `alone` its
    positives are part of the rest, and exp(d) is left out. The plain formula's
    derivative by d, ``exp(d) / (R + exp(d)) - 1``, loses its digits where the loss is
    small. But to move a positive up is to move the rest down: with d0 the value of d,
    the loss is ``log(R * exp(d0 - d) + exp(d0)) - d0``, and its derivative
    ``-R / (R + exp(d))``.
    """
    fixed = lib.stop_gradient(positive)
    rest = rest * lib.xp.exp(finite(lib, fixed) - finite(lib, positive))
    own = lib.xp.exp(fixed)
    own = own if alone is None else lib.xp.where(alone, own, 0.0)
    return of_positive(lib, rest, fixed, own)


def log_ratio(lib: Library, rest: Array, difference: Array) -> Array:
    """Return log(rest) + difference; where rest is 0, -inf with a derivative of 0."""
    xp = lib.xp
    nothing = rest == 0
    found = xp.log(xp.where(nothing, 1.0, rest)) + difference
    return xp.where(nothing, -float("inf"), found)


def finite(lib: Library, peak: Array) -> Array:
    """Return a peak that can be subtracted: 0 for minus infinity."""
    return lib.xp.where(peak == -float("inf"), 0.0, peak)


def side_of(lib: Library, logits: Array) -> Side:
    """Return the sums of logits, minus infinity of others, and overwrite them."""
    xp = lib.xp
    peak = finite(lib, lib.peak(logits, 1))
    exponentials = lib.exp(lib.minus(logits, peak))
    total = xp.sum(exponentials, axis=1, keepdims=True)
    nothing = total == 0
    partition = xp.where(nothing, 1.0, total)
    logs = xp.where(nothing, -float("inf"), xp.log(partition) + peak)
    return Side(exponentials, partition, logs[:, 0])


def may_hold(lib: Library, x: Array) -> bool:
    """Return whether some of `x` may not be 0; exact where reading a value is cheap."""
    return not lib.looks(x) or bool(lib.xp.any(x != 0))


def against_targets(
    lib: Library, scores: Array, pairs: Pairs, smoothing: float
) -> Array:
    """Return the losses against targets; 0 for a row without any."""
    exact = lib.recorded(scores) and smoothing == 0
    if not exact or lib.looks(scores):
        found = _target_parts(lib, scores, pairs, smoothing).losses[:, 0]
        if not exact or lib.xp.mean(found).item() >= SMALL:
            return found
    return _apart_from_targets(lib, scores, pairs)


def _apart_from_targets(lib: Library, scores: Array, pairs: Pairs) -> Array:
    """Return the losses against targets, for autodiff."""
    xp = lib.xp
    counted = pairs.total != 0
    share = pairs.targets / xp.where(counted, pairs.total, 1.0)
    alone = share == 1
    shifted = lib.minus(scores, finite(lib, lib.peak(scores, 1)))
    positive = lib.dots(share, xp.where(share == 0, 0.0, shifted), 1)[:, None]
    others = lib.exp(xp.where(alone, -float("inf"), shifted))
    rest = xp.sum(others, axis=1, keepdims=True)
    one = xp.any(alone, axis=1, keepdims=True)
    found = of_recorded_positive(lib, rest, positive, one)
    return xp.where(counted, found, 0.0)[:, 0]


def slopes_against_targets(
    lib: Library, scores: Array, pairs: Pairs, smoothing: float
) -> Slopes:
    """Return losses and derivatives against targets; a row without any has loss 0."""
    parts = _target_parts(lib, scores, pairs, smoothing)
    rest = parts.rest
    pull = rest if smoothing == 0 else rest - smoothing * (1 + rest)
    error = lib.less(parts.error, pairs.targets, pull * parts.share)
    return Slopes(parts.losses[:, 0], error, 1 / (1 + rest))


class TargetParts(NamedTuple):
    """What the loss of rows against targets is made of."""

    losses: Array  # (b, 1)
    error: Array  # (b, m): exp(s - p) - t
    rest: Array  # (b, 1): R, its sum
    share: Array  # (b, 1): what scales the targets to sum to 1


def _target_parts(
    lib: Library, scores: Array, pairs: Pairs, smoothing: float
) -> TargetParts:
    """Return the losses of rows against targets, and what they are made of."""
    xp = lib.xp
    counted = pairs.total != 0
    share = 1 / xp.where(counted, pairs.total, 1.0)
    peak = finite(lib, lib.peak(scores, 1))
    shifted = masked(lib, lib.minus(scores, peak), pairs, 0.0)
    positive = lib.dots(pairs.targets, shifted, 1)[:, None] * share
    exponentials = masked(lib, lib.exp(shifted), pairs, 0.0)
    error = lib.less(exponentials, pairs.targets, share)
    rest = xp.where(counted, xp.sum(error, axis=1, keepdims=True), 0.0)
    losses = xp.log1p(rest) - positive
    if smoothing != 0:
        losses = losses + smoothing * (positive + peak)
    losses = xp.where(counted, losses, 0.0)
    return TargetParts(losses, error, rest, share)
