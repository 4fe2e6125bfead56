"""N-pairs with other candidates in the denominator than all of them.

Let s be the scores of an anchor, N those of its negatives, and t its targets scaled to
sum to 1. Where each positive competes with itself and the negatives alone [1]_::

    loss = sum(t * softplus(lse(N) - s)),    dloss/ds = -q, or sum(q) * softmax(N)

with ``q = t * sigmoid(lse(N) - s)`` at the positives. Where the positives are left out
of the denominator [2]_::

    loss = lse(N) - sum(t * s),              dloss/ds = -t, or softmax(N)

Scores are always less the largest negative's, as beside large ones lse(N) would lose
its digits.

.. [1] T. Chen et al., "A Simple Framework for Contrastive Learning of Visual
   Representations", ICML 2020, equation 1, here for classes of any size.
.. [2] C.-H. Yeh et al., "Decoupled Contrastive Learning", ECCV 2022, equation 6.
"""

from dataclasses import dataclass
from typing import NamedTuple

from metricops._frameworks import Library
from metricops._frameworks.programs import register_record
from metricops._losses.npairs_terms import finite
from metricops._losses.npairs_visited import NegativeSums, others_of
from metricops._panels.objective import Objective, Pairs, Slopes, Sums, masked
from metricops._typing import Array


class Negatives(NamedTuple):
    """The negatives of each row of a panel."""

    exponentials: Array  # (b, m), relative to the largest of them
    partition: Array  # (b, 1): their sum, 1 where there are none
    peak: Array  # (b, 1): the largest of them, 0 where there are none
    logs: Array  # (b, 1): log(partition), minus infinity where there are none


@dataclass(frozen=True)
class OwnDenominator(Objective):
    """Each positive competes with itself and the negatives."""

    def losses(self, lib: Library, scores: Array, pairs: Pairs) -> Array:
        """Return the rows' losses. The scores may be overwritten."""
        gap = _gap(lib, scores, pairs, _negatives(lib, others_of(lib, scores, pairs)))
        share = 1 / _at_least_one(lib, pairs.total)
        return lib.dots(pairs.targets, lib.softplus(gap), 1) * share[:, 0]

    def slopes(self, lib: Library, scores: Array, pairs: Pairs) -> Slopes:
        """Return losses and derivatives. The scores may be overwritten."""
        found = _negatives(lib, others_of(lib, scores, pairs))
        gap = _gap(lib, scores, pairs, found)
        share = 1 / _at_least_one(lib, pairs.total)
        losses = lib.dots(pairs.targets, lib.softplus(gap), 1) * share[:, 0]
        pull = lib.times(lib.sigmoid(gap), pairs.targets)
        push = lib.xp.sum(pull, axis=1, keepdims=True) / found.partition
        return Slopes(losses, lib.minus(found.exponentials * push, pull), share)


@dataclass(frozen=True)
class NegativesDenominator(Objective):
    """The positives are left out of the denominator."""

    needs_negatives = True

    def losses(self, lib: Library, scores: Array, pairs: Pairs) -> Array:
        """Return the rows' losses. The scores may be overwritten."""
        if pairs.targets is None:
            return _by_position(lib, scores, pairs)[0]
        found = _negatives(lib, others_of(lib, scores, pairs))
        return _above_positives(lib, scores, pairs, found)

    def slopes(self, lib: Library, scores: Array, pairs: Pairs) -> Slopes:
        """Return losses and derivatives. The scores may be overwritten."""
        if pairs.targets is None:
            losses, found = _by_position(lib, scores, pairs)
            own = -found.partition[:, 0]
            return Slopes(losses, found.exponentials, 1 / found.partition, own)
        found = _negatives(lib, others_of(lib, scores, pairs))
        share = found.partition / _at_least_one(lib, pairs.total)
        losses = _above_positives(lib, scores, pairs, found)
        error = lib.less(found.exponentials, pairs.targets, share)
        return Slopes(losses, error, 1 / found.partition)

    def visited_sums(self) -> Sums:
        """Return how rows are closed whose candidates come by a few at a time."""
        return NegativeSums()


def _by_position(lib: Library, scores: Array, pairs: Pairs) -> tuple[Array, Negatives]:
    """Return the losses of rows with one positive each, and their negatives."""
    positive = lib.pick(scores, pairs.positive)
    found = _negatives(lib, lib.put(scores, pairs.positive, -float("inf")))
    return (found.logs + (found.peak - positive))[:, 0], found


def _above_positives(
    lib: Library, scores: Array, pairs: Pairs, found: Negatives
) -> Array:
    """Return how far the negatives are above the mean of the positives, shape (b,)."""
    shifted = masked(lib, lib.minus(scores, found.peak), pairs, 0.0)
    positive = lib.dots(pairs.targets, shifted, 1)[:, None]
    positive = positive / _at_least_one(lib, pairs.total)
    return (found.logs - positive)[:, 0]


def _gap(lib: Library, scores: Array, pairs: Pairs, found: Negatives) -> Array:
    """Return how far the negatives are above each positive, 0 of other candidates."""
    shifted = masked(lib, lib.minus(scores, found.peak), pairs, 0.0)
    return lib.xp.where(pairs.targets != 0, found.logs - shifted, 0.0)


def _negatives(lib: Library, others: Array) -> Negatives:
    """Return the negatives of rows; `others` may be overwritten."""
    xp = lib.xp
    peak = finite(lib, lib.peak(others, 1))
    exponentials = lib.exp(lib.minus(others, peak))
    partition = xp.sum(exponentials, axis=1, keepdims=True)
    some = partition != 0
    partition = xp.where(some, partition, 1.0)
    logs = xp.where(some, xp.log(partition), -float("inf"))
    return Negatives(exponentials, partition, peak, logs)


def _at_least_one(lib: Library, total: Array) -> Array:
    """Return the sums of rows' targets, 1 of rows without any."""
    return lib.xp.where(total == 0, 1.0, total)


register_record("npairs_own", OwnDenominator)
register_record("npairs_negatives", NegativesDenominator)
