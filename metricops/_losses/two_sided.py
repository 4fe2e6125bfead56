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
from metricops._typing import Array


class Side(NamedTuple):
    """The positives, or the negatives, of each row of a panel."""

    exponentials: Array  # (b, m), relative to the largest; 0 of other pairs
    partition: Array  # (b, 1): their sum, 1 where there are none
    logs: Array  # (b,): the log-sum-exp, minus infinity where there are none


def positives_of(lib: Library, scores: Array, pairs: Pairs) -> Array:
    """Return which pairs of a panel of scores are positives, shape (b, m)."""
    if pairs.targets is not None:
        return pairs.targets != 0
    columns = lib.positions(scores, 1, "candidates")[None, :]
    return columns == pairs.positive[:, None]


def complete(lib: Library, pairs: Pairs) -> Array:
    """Return which rows have a positive and a negative, shape (b, 1)."""
    others = negatives(lib, pairs, pairs.targets)
    some = lib.xp.any(others, axis=1, keepdims=True)
    return lib.xp.logical_and(pairs.total != 0, some)


def parted(lib: Library, logits: Array, positives: Array) -> tuple[Side, Side]:
    """Return both sides of logits, minus infinity where a pair takes no part."""
    near = lib.xp.where(positives, logits, -float("inf"))
    far = lib.xp.where(positives, -float("inf"), logits)
    return side_of(lib, near), side_of(lib, far)


def side_of(lib: Library, logits: Array) -> Side:
    """Return the sums of logits, minus infinity of other pairs, and overwrite them."""
    xp = lib.xp
    peak = finite(lib, lib.peak(logits, 1))
    exponentials = lib.exp(lib.minus(logits, peak))
    total = xp.sum(exponentials, axis=1, keepdims=True)
    partition = xp.where(total == 0, 1.0, total)
    logs = xp.where(total == 0, -float("inf"), xp.log(partition) + peak)
    return Side(exponentials, partition, logs[:, 0])


def slopes_of(lib: Library, near: Side, far: Side, pull: Array, push: Array) -> Array:
    """Return the derivative by the logits, of that by each row's log-sum-exps, (b,).

    The exponentials are overwritten.
    """
    first = lib.times(near.exponentials, pull[:, None] / near.partition)
    other = lib.times(far.exponentials, push[:, None] / far.partition)
    return lib.plus(first, other)
