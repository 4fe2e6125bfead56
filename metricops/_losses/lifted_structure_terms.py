"""What the lifted structure loss asks of a row of distances.

With l_i the log-sum-exp of margin - d over the negatives of row i, which a first pass
finds, a pair of positives costs half of the square of::

    J = max(log(exp(l_i) + exp(l_p)) + d_ip, 0)

Both rows meet the pair: each has half of its cost, whose slope by d_ip is J / 2. That
by l_i is J * sigmoid(l_i - l_p), of both halves; so it is a sum over the row i alone,
and the row's negatives share it by their softmax.
"""

from dataclasses import dataclass
from typing import NamedTuple, cast

from metricops._frameworks import Library
from metricops._frameworks.programs import register_record
from metricops._losses.npairs_terms import finite
from metricops._panels.terms import Among, Found, Known, Masks, Part, Terms
from metricops._typing import Array


class Costs(NamedTuple):
    """The pairs of positives of a panel, (b, m) each."""

    there: Array  # which there are: one of the two rows has a negative
    joint: Array  # J, 0 for others
    share: Array  # sigmoid(l_i - l_p)


@dataclass(frozen=True)
class LiftedPairs(Terms):
    """Pairs of positives, each beside the negatives of both."""

    margin: float = 1.0

    looks_first = True

    def counted(self, lib: Library, masks: Masks) -> Array:
        """Return which rows have a positive."""
        return lib.xp.any(masks.positives, axis=1)

    def first(self, lib: Library, distances: Array, masks: Masks) -> Array:
        """Return the log-sum-exp of each row's negatives, minus infinity of none."""
        xp, low = lib.xp, -float("inf")
        near = xp.where(masks.negatives, self.margin - distances, low)
        peak = finite(lib, lib.peak(near, 1))
        total = xp.sum(lib.exp(lib.minus(near, peak)), axis=1)
        logs = xp.log(xp.where(total == 0, 1.0, total)) + peak[:, 0]
        return xp.where(total == 0, low, logs)

    def found(
        self, lib: Library, distances: Array, masks: Masks, among: Among
    ) -> Found:
        """Return what the pairs of each row come to, and their derivatives."""
        xp, dtype, known = lib.xp, distances.dtype, cast(Known, among.known)
        costs = self._costs(lib, distances, masks, known)
        pull = costs.joint / 2
        push = xp.sum(costs.joint * costs.share, axis=1, keepdims=True)
        near = self.margin - distances - finite(lib, known.rows)
        near = lib.exp(xp.where(masks.negatives, near, -float("inf")))
        error = pull - lib.times(near, push)
        count, active = (
            xp.sum(xp.astype(mask, dtype), axis=1) / 2
            for mask in (costs.there, costs.joint > 0)
        )
        part = Part(xp.sum(pull * pull, axis=1), count, active)
        return Found((part,), (error,))

    def _costs(
        self, lib: Library, distances: Array, masks: Masks, known: Known
    ) -> Costs:
        xp = lib.xp
        top = xp.maximum(known.rows, known.candidates)
        some = xp.logical_not(top == -float("inf"))
        there = xp.logical_and(masks.positives, some)
        rows, others = (xp.where(some, x, 0.0) for x in known)
        gap = rows - others
        top = xp.where(some, top, 0.0) + lib.softplus(-xp.abs(gap))
        joint = lib.clip(xp.where(there, top + distances, 0.0), 0.0, float("inf"))
        return Costs(there, joint, lib.sigmoid(gap))


register_record("lifted_pairs", LiftedPairs)
