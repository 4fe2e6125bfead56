"""N-pairs with other candidates in the denominator than all of them.

Let s be the scores of an anchor, N those of its negatives, and t its targets scaled to
sum to 1. Where each positive competes with itself and the negatives alone [1]_::

    loss = sum(t * softplus(lse(N) - s)),    dloss/ds = -q, or sum(q) * softmax(N)

with ``q = t * sigmoid(lse(N) - s)`` at the positives. Where the positives are left out
of the denominator [2]_::

    loss = lse(N) - sum(t * s),              dloss/ds = -t, or softmax(N)

.. [1] T. Chen et al., "A Simple Framework for Contrastive Learning of Visual
   Representations", ICML 2020, equation 1, here for classes of any size.
.. [2] C.-H. Yeh et al., "Decoupled Contrastive Learning", ECCV 2022, equation 6.
"""

from dataclasses import dataclass
from typing import NamedTuple

from metricops._frameworks import Library
from metricops._frameworks.programs import register_record
from metricops._losses.npairs_terms import finite
from metricops._panels.objective import Objective, Pairs, Slopes, negatives
from metricops._typing import Array


class Negatives(NamedTuple):
    """The negatives of each row of a panel."""

    exponentials: Array  # (b, m), relative to the largest of them
    partition: Array  # (b, 1): their sum, 1 where there are none
    peak: Array  # (b, 1): the largest of them
    logs: Array  # (b, 1): log(partition), minus infinity where there are none


@dataclass(frozen=True)
class OwnDenominator(Objective):
    """Each positive competes with itself and the negatives."""

    def counted(self, lib: Library, pairs: Pairs) -> Array | None:
        """Return which rows have a positive, shape (b, 1)."""
        return pairs.total != 0

    def losses(self, lib: Library, scores: Array, pairs: Pairs) -> Array:
        """Return the rows' losses."""
        share = _share(lib, pairs)
        gap = _gap(lib, scores, share, _negatives(lib, scores, pairs))
        return lib.xp.sum(share * _softplus(lib, gap), axis=1)

    def slopes(self, lib: Library, scores: Array, pairs: Pairs) -> Slopes:
        """Return losses and derivatives."""
        xp, share = lib.xp, _share(lib, pairs)
        others = _negatives(lib, scores, pairs)
        gap = _gap(lib, scores, share, others)
        pull = share * _sigmoid(lib, gap)
        push = xp.sum(pull, axis=1, keepdims=True) / others.partition
        error = others.exponentials * push - pull
        return Slopes(xp.sum(share * _softplus(lib, gap), axis=1), error)


@dataclass(frozen=True)
class NegativesDenominator(Objective):
    """The positives are left out of the denominator."""

    by_labels = True

    def counted(self, lib: Library, pairs: Pairs) -> Array | None:
        """Return which rows have a positive and a negative, shape (b, 1)."""
        others = negatives(lib, pairs, pairs.targets)
        some = lib.xp.any(others, axis=1, keepdims=True)
        return lib.xp.logical_and(pairs.total != 0, some)

    def losses(self, lib: Library, scores: Array, pairs: Pairs) -> Array:
        """Return the rows' losses."""
        return self._losses(lib, scores, pairs, _negatives(lib, scores, pairs))

    def slopes(self, lib: Library, scores: Array, pairs: Pairs) -> Slopes:
        """Return losses and derivatives."""
        others = _negatives(lib, scores, pairs)
        error = others.exponentials / others.partition - _share(lib, pairs)
        return Slopes(self._losses(lib, scores, pairs, others), error)

    def _losses(
        self, lib: Library, scores: Array, pairs: Pairs, others: Negatives
    ) -> Array:
        share = _share(lib, pairs)
        gap = _gap(lib, scores, share, others)
        return lib.xp.sum(share * gap, axis=1)


def _share(lib: Library, pairs: Pairs) -> Array:
    """Return the targets, scaled to sum to 1; 0 of a row without any."""
    return pairs.targets / lib.xp.where(pairs.total == 0, 1.0, pairs.total)


def _negatives(lib: Library, scores: Array, pairs: Pairs) -> Negatives:
    """Return the negatives of each row; scores that take no part are -inf already."""
    xp = lib.xp
    others = xp.where(pairs.targets == 0, scores, -float("inf"))
    peak = finite(lib, lib.peak(others, 1))
    exponentials = lib.exp(lib.minus(others, peak))
    partition = xp.sum(exponentials, axis=1, keepdims=True)
    some = partition != 0
    partition = xp.where(some, partition, 1.0)
    logs = xp.where(some, xp.log(partition), -float("inf"))
    return Negatives(exponentials, partition, peak, logs)


def _gap(lib: Library, scores: Array, share: Array, others: Negatives) -> Array:
    """Return how far the negatives are above each positive, 0 of other candidates.

    Scores are taken from each other first, as beside large ones the logarithm is lost.
    """
    xp = lib.xp
    less = others.peak - xp.where(share != 0, scores, others.peak)
    return xp.where(share != 0, others.logs + less, 0.0)


def _softplus(lib: Library, x: Array) -> Array:
    """Return log(1 + exp(x)), of which autodiff has the slope at 0 too."""
    xp = lib.xp
    above = x > 0
    return xp.log1p(xp.exp(xp.where(above, -x, x))) + xp.where(above, x, 0.0)


def _sigmoid(lib: Library, x: Array) -> Array:
    """Return 1 / (1 + exp(-x)), which overflows nowhere."""
    xp = lib.xp
    small = xp.exp(xp.where(x > 0, -x, x))
    return xp.where(x > 0, 1.0, small) / (1 + small)


register_record("npairs_own", OwnDenominator)
register_record("npairs_negatives", NegativesDenominator)
