"""The N-pairs loss of rows against targets; the formula is in `npairs_objective`."""

from typing import NamedTuple

from metricops._frameworks import Library
from metricops._frameworks.primitives import SMALL
from metricops._losses.npairs_terms import finite, of_recorded_positive
from metricops._panels.objective import Pairs, Slopes, masked
from metricops._typing import Array


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
