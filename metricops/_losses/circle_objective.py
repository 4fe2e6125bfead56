"""What the circle loss asks of a row of similarities.

A positive has the logit -gamma * w * (s - 1 + margin), a negative gamma * w * (s -
margin); see `two_sided`. The weights w = max(1 + margin - s, 0) and max(s + margin, 0)
say how far a pair is from its optimum. They are constants: they have no derivative.
"""

from dataclasses import dataclass

from metricops._frameworks import Library
from metricops._frameworks.programs import register_record
from metricops._losses.two_sided import (
    Side,
    complete,
    parted,
    positives_of,
    slopes_of,
)
from metricops._panels.objective import Objective, Pairs, Slopes, masked
from metricops._typing import Array


@dataclass(frozen=True)
class Circles(Objective):
    """The softplus of the sum of both log-sum-exps of a row."""

    gamma: float = 80.0
    margin: float = 0.4

    needs_negatives = True

    def counted(self, lib: Library, pairs: Pairs) -> Array:
        """Return which rows have a positive and a negative, shape (b, 1)."""
        return complete(lib, pairs)

    def losses(self, lib: Library, scores: Array, pairs: Pairs) -> Array:
        """Return the rows' losses. The scores may be overwritten."""
        near, far, _ = self._sides(lib, scores, pairs)
        return lib.softplus(near.logs + far.logs)

    def slopes(self, lib: Library, scores: Array, pairs: Pairs) -> Slopes:
        """Return losses and derivatives. The scores may be overwritten."""
        near, far, weights = self._sides(lib, scores, pairs)
        total = near.logs + far.logs
        slope = lib.sigmoid(total)
        error = lib.times(slopes_of(lib, near, far, slope, slope), weights)
        return Slopes(lib.softplus(total), error)

    def _sides(
        self, lib: Library, scores: Array, pairs: Pairs
    ) -> tuple[Side, Side, Array]:
        """Return both sides, and the slopes of the logits."""
        xp = lib.xp
        positives = positives_of(lib, scores, pairs)
        scores = masked(lib, scores, pairs, 0.0)
        fixed = lib.stop_gradient(scores)
        near = lib.clip(1 + self.margin - fixed, 0.0, float("inf"))
        far = lib.clip(fixed + self.margin, 0.0, float("inf"))
        weights = self.gamma * xp.where(positives, -near, far)
        short, beyond = scores - (1 - self.margin), scores - self.margin
        logits = weights * xp.where(positives, short, beyond)
        logits = masked(lib, logits, pairs, -float("inf"))
        return *parted(lib, logits, positives), weights


register_record("circles", Circles)
