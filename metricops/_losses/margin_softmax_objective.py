"""What the softmax with a margin asks of a row of scaled cosines to all classes.

The cosine c of the own class becomes f(c) = cos(acos(c) + angular_margin) - margin.
With N the log-sum-exp of the other classes, and s the own score after that::

    loss = softplus(N - s),    dloss/ds = -sigmoid(N - s)

which keep their digits where the loss is small. The other classes share the slope by
their softmax. Smoothing by e adds ``e * (s - mean of all)``.

By ``c * cos(m) - sqrt(1 - c**2) * sin(m)`` the angle itself is not needed. Its slope
has no limit where a row is its proxy: there the root is taken for a constant.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from metricops._frameworks import Library
from metricops._frameworks.programs import register_record
from metricops._losses.npairs_terms import Side, side_of
from metricops._panels.objective import Objective, Pairs, Slopes
from metricops._typing import Array


class Parts(NamedTuple):
    """What the loss of a row is made of."""

    score: Array  # (b, 1): its score, with the margin
    slope: Array | float  # (b, 1): of that by the score without it
    others: Side  # the sum of the other classes
    gap: Array  # (b, 1): how far the others are above the own class
    mean: Array | None  # (b, 1): that of all scores, for smoothing


@dataclass(frozen=True)
class MarginSoftmax(Objective):
    """The cross-entropy of a softmax whose own class has to win by a margin."""

    scale: float = 64.0
    margin: float = 0.35
    angular_margin: float = 0.0
    label_smoothing: float = 0.0

    def losses(self, lib: Library, scores: Array, pairs: Pairs) -> Array:
        """Return the rows' losses. The scores may be overwritten."""
        if scores.shape[1] == 0:  # no row is of a class
            return lib.xp.sum(scores, axis=1)
        return self._closed(lib, self._parts(lib, scores, pairs))

    def slopes(self, lib: Library, scores: Array, pairs: Pairs) -> Slopes:
        """Return losses and derivatives. The scores may be overwritten."""
        if scores.shape[1] == 0:
            return Slopes(lib.xp.sum(scores, axis=1), scores)
        found = self._parts(lib, scores, pairs)
        losses, pull = self._closed(lib, found), lib.sigmoid(found.gap)
        factor = pull / found.others.partition
        if self.label_smoothing == 0:
            own = -found.slope * found.others.partition
            error = lib.put(found.others.exponentials, pairs.positive, own[:, 0])
            return Slopes(losses, error, factor)
        each = self.label_smoothing / lib.count(lib.xp.matrix_transpose(scores))
        own = (self.label_smoothing - each - pull) * found.slope
        error = lib.minus(lib.times(found.others.exponentials, factor), each)
        return Slopes(losses, lib.put(error, pairs.positive, own[:, 0]))

    def _closed(self, lib: Library, found: Parts) -> Array:
        losses = lib.softplus(found.gap)
        if found.mean is not None:
            losses = losses + self.label_smoothing * (found.score - found.mean)
        return losses[:, 0]

    def _parts(self, lib: Library, scores: Array, pairs: Pairs) -> Parts:
        score, slope = self._moved(lib, lib.pick(scores, pairs.positive))
        mean = None
        if self.label_smoothing != 0:
            scores = lib.put(scores, pairs.positive, score[:, 0])
            mean = lib.xp.mean(scores, axis=1, keepdims=True)
        others = side_of(lib, lib.put(scores, pairs.positive, -float("inf")))
        return Parts(score, slope, others, others.logs[:, None] - score, mean)

    def _moved(self, lib: Library, score: Array) -> tuple[Array, Array | float]:
        """Return the score of the own class with the margins, and the slope of it."""
        if self.angular_margin == 0:
            return score - self.scale * self.margin, 1.0
        xp, angle, cosine = lib.xp, self.angular_margin, score / self.scale
        cos, sin = math.cos(angle), math.sin(angle)
        squares = (1 - cosine) * (1 + cosine)
        apart = squares > 0
        length = xp.sqrt(xp.where(apart, squares, 1.0))
        turned = cosine * cos - xp.where(apart, length, 0.0) * sin
        slope = cos + xp.where(apart, cosine / length, 0.0) * sin
        # From where on the angle would be more than pi, the slope is 1.
        within = cosine > -cos
        moved = xp.where(within, turned, cosine - angle * sin)
        moved = self.scale * (moved - self.margin)
        return moved, xp.where(within, slope, 1.0)


register_record("margin_softmax", MarginSoftmax)
