"""Two log-sum-exps a row: one of its positives, and one of its negatives.

A pair has a logit, which says how wrong it is. With P the log-sum-exp of a row's
positives and N that of its negatives, multi-similarity closes a row by
``softplus(P) / alpha + softplus(N) / beta``, circle by ``softplus(P + N)``. The slope
by a logit is that by P or N, times the logit's share of its sum: nothing cancels.
"""

from typing import NamedTuple

from metricops._frameworks import Library
from metricops._losses.npairs_terms import finite
from metricops._panels.objective import Pairs, negatives
from metricops._panels.terms import Masks
from metricops._typing import Array


class TwoSides(NamedTuple):
    """The two sums of each row of a panel."""

    exponentials: Array  # (b, m), each relative to the largest of its role
    positives: Array  # (b, 1): their sum, 1 where there are none
    negatives: Array  # (b, 1): the same
    near: Array  # (b,): P, minus infinity where there are no positives
    far: Array  # (b,): N, the same


def masks_of(lib: Library, scores: Array, pairs: Pairs) -> Masks:
    """Return which pairs of a panel of scores are positives, and which negatives."""
    others = negatives(lib, pairs, scores)
    if pairs.targets is not None:
        return Masks(pairs.targets != 0, others)
    columns = lib.positions(scores, 1, "candidates")[None, :]
    return Masks(columns == pairs.positive[:, None], others)


def complete(lib: Library, pairs: Pairs) -> Array:
    """Return which rows have a positive and a negative, shape (b, 1)."""
    others = negatives(lib, pairs, pairs.targets)
    some = lib.xp.any(others, axis=1, keepdims=True)
    return lib.xp.logical_and(pairs.total != 0, some)


def two_sides(lib: Library, logits: Array, masks: Masks) -> TwoSides:
    """Return the sums of logits, which are finite also where a pair takes no part."""
    xp = lib.xp
    low = -float("inf")
    near, far = (xp.where(mask, logits, low) for mask in masks)
    peaks = [finite(lib, lib.peak(x, 1)) for x in (near, far)]
    shifted = xp.where(masks.positives, near, far)
    shifted = lib.minus(shifted, xp.where(masks.positives, *peaks))
    exponentials = lib.exp(shifted)
    both = (xp.where(mask, exponentials, 0.0) for mask in masks)
    sums = [xp.sum(x, axis=1, keepdims=True) for x in both]
    partitions = [xp.where(x == 0, 1.0, x) for x in sums]
    logs = [
        xp.where(total == 0, low, xp.log(partition) + peak)[:, 0]
        for total, partition, peak in zip(sums, partitions, peaks, strict=True)
    ]
    return TwoSides(exponentials, *partitions, *logs)
