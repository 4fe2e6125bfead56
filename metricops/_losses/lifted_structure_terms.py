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
from metricops._losses.npairs_terms import finite, side_of
from metricops._panels.terms import Among, Found, Known, Masks, Part, Terms
from metricops._typing import Array


class Costs(NamedTuple):
    """The pairs of positives of a panel."""

    joint: Array  # (b, m): J, 0 for others
    count: Array  # (b,): how many have a negative, of either row
    push: Array  # (b, 1): minus the derivative by l_i


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
        return side_of(lib, self._near(lib, distances, masks)).logs

    def found(
        self, lib: Library, distances: Array, masks: Masks, among: Among
    ) -> Found:
        """Return what the pairs of each row come to, and their derivatives."""
        xp, known = lib.xp, cast(Known, among.known)
        joint, count, push = self._costs(lib, distances, masks, known)
        losses = lib.dots(joint, joint, 1) / 4
        active = xp.sum(lib.step(joint), axis=1) / 2
        near = lib.minus(self._near(lib, distances, masks), finite(lib, known.rows))
        near = lib.times(lib.exp(near), push)
        error = lib.minus(lib.times(joint, 0.5), near)
        return Found((Part(losses, count / 2, active),), (error,))

    def _near(self, lib: Library, distances: Array, masks: Masks) -> Array:
        """Return the margin less the distances of negatives, -inf of other pairs."""
        far = lib.xp.where(masks.negatives, distances, float("inf"))
        return lib.times(lib.minus(far, self.margin), -1.0)

    def _costs(
        self, lib: Library, distances: Array, masks: Masks, known: Known
    ) -> Costs:
        xp = lib.xp
        top = xp.maximum(known.rows, known.candidates)
        there = xp.logical_and(masks.positives, top != -float("inf"))
        share = lib.sigmoid(lib.minus(*(xp.where(there, x, 0.0) for x in known)))
        # log(exp(l_i) + exp(l_p)), of which the larger has the larger share
        larger = xp.log(xp.maximum(share, 1 - share))
        joint = xp.where(there, lib.plus(lib.minus(top, larger), distances), 0.0)
        joint = lib.clip(joint, 0.0, float("inf"))
        count = xp.sum(xp.astype(there, joint.dtype), axis=1)
        return Costs(joint, count, lib.dots(joint, share, 1)[:, None])


register_record("lifted_pairs", LiftedPairs)
