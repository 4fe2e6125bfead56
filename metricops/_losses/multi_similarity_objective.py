"""What the multi-similarity loss asks of a row of similarities.

Of the pairs that are mined, positives have the logit -alpha * (s - base) and negatives
beta * (s - base); see `two_sided`. A positive is left out that is more similar by
epsilon than every negative, and a negative less similar by epsilon than every positive.
"""

from dataclasses import dataclass

from metricops._frameworks import Library
from metricops._frameworks.programs import register_record
from metricops._losses.two_sided import TwoSides, complete, masks_of, two_sides
from metricops._panels.objective import Objective, Pairs, Slopes, masked
from metricops._panels.terms import Masks
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
        _, found = self._sides(lib, scores, pairs)
        return self._closed(lib, found)

    def slopes(self, lib: Library, scores: Array, pairs: Pairs) -> Slopes:
        """Return losses and derivatives. The scores may be overwritten."""
        masks, found = self._sides(lib, scores, pairs)
        pull = lib.sigmoid(found.near)[:, None] / found.positives
        push = lib.sigmoid(found.far)[:, None] / found.negatives
        factor = lib.xp.where(masks.positives, -pull, push)
        return Slopes(self._closed(lib, found), lib.times(found.exponentials, factor))

    def _closed(self, lib: Library, found: TwoSides) -> Array:
        near, far = lib.softplus(found.near), lib.softplus(found.far)
        return near / self.alpha + far / self.beta

    def _sides(
        self, lib: Library, scores: Array, pairs: Pairs
    ) -> tuple[Masks, TwoSides]:
        """Return the pairs that are mined, and the sums of their logits."""
        masks = masks_of(lib, scores, pairs)
        scores = masked(lib, scores, pairs, 0.0)
        if self.epsilon is not None:
            masks = self._mined(lib, scores, masks, self.epsilon)
        above = scores - self.base
        near, far = above * -self.alpha, above * self.beta
        return masks, two_sides(lib, lib.xp.where(masks.positives, near, far), masks)

    def _mined(
        self, lib: Library, scores: Array, masks: Masks, epsilon: float
    ) -> Masks:
        """Return the pairs that are not easy; one that is NaN is not."""
        xp, low = lib.xp, -float("inf")
        fixed = lib.stop_gradient(scores)
        most = lib.peak(xp.where(masks.negatives, fixed, low), 1)
        least = -lib.peak(xp.where(masks.positives, -fixed, low), 1)
        near = xp.logical_not(fixed - epsilon >= most)
        far = xp.logical_not(fixed + epsilon <= least)
        return Masks(
            xp.logical_and(masks.positives, near), xp.logical_and(masks.negatives, far)
        )


register_record("multi_similarities", MultiSimilarities)
