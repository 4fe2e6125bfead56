"""What the multi-similarity loss asks of a row of similarities.

Of the pairs that are mined, positives have the logit -alpha * (s - base) and negatives
beta * (s - base); see `two_sided`. A positive is left out that is more similar by
epsilon than every negative, and a negative less similar by epsilon than every positive.
"""

from dataclasses import dataclass

from metricops._frameworks import Library
from metricops._frameworks.programs import register_record
from metricops._losses.two_sided import (
    Side,
    complete,
    positives_of,
    side_of,
    slopes_of,
)
from metricops._panels.objective import Objective, Pairs, Slopes
from metricops._typing import Array


@dataclass(frozen=True)
class MultiSimilarities(Objective):
    """The softplus of both sums of a row, each divided by its sharpness."""

    alpha: float = 2.0
    beta: float = 40.0
    base: float = 0.5
    epsilon: float | None = 0.1  # None: all pairs

    needs_negatives = True

    def counted(self, lib: Library, pairs: Pairs) -> Array:
        """Return which rows have a positive and a negative, shape (b, 1)."""
        return complete(lib, pairs)

    def losses(self, lib: Library, scores: Array, pairs: Pairs) -> Array:
        """Return the rows' losses. The scores may be overwritten."""
        return self._closed(lib, *self._sides(lib, scores, pairs))

    def slopes(self, lib: Library, scores: Array, pairs: Pairs) -> Slopes:
        """Return losses and derivatives. The scores may be overwritten."""
        near, far = self._sides(lib, scores, pairs)
        losses = self._closed(lib, near, far)
        pull, push = -lib.sigmoid(near.logs), lib.sigmoid(far.logs)
        return Slopes(losses, slopes_of(lib, near, far, pull, push))

    def _closed(self, lib: Library, near: Side, far: Side) -> Array:
        return lib.softplus(near.logs) / self.alpha + lib.softplus(far.logs) / self.beta

    def _sides(self, lib: Library, scores: Array, pairs: Pairs) -> tuple[Side, Side]:
        """Return the positives and the negatives that are mined."""
        xp, high = lib.xp, float("inf")
        positives = positives_of(lib, scores, pairs)
        near = xp.where(positives, scores, high)
        far = xp.where(positives, -high, scores)
        if self.epsilon is not None:  # one that is NaN is not left out
            most = lib.peak(far, 1) + self.epsilon
            least = -lib.peak(-near, 1) - self.epsilon
            near = xp.where(near >= most, high, near)
            far = xp.where(far <= least, -high, far)
        near = lib.times(lib.minus(near, self.base), -self.alpha)
        far = lib.times(lib.minus(far, self.base), self.beta)
        return side_of(lib, near), side_of(lib, far)


register_record("multi_similarities", MultiSimilarities)
