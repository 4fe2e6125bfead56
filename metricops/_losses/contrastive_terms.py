"""What the contrastive loss asks of a row of distances: its pairs, by role.

A positive costs what its distance is beyond a margin, a negative what it is short of
one, or the square of that::

    max(d - positive_margin, 0)**power,    max(negative_margin - d, 0)**power
"""

from dataclasses import dataclass

from metricops._frameworks import Library
from metricops._frameworks.programs import register_record
from metricops._panels.terms import Among, Found, Masks, Part, Terms
from metricops._typing import Array


@dataclass(frozen=True)
class Contrastive(Terms):
    """All pairs: the positives, and the negatives."""

    parts: int = 2
    positive_margin: float = 0.0
    negative_margin: float = 1.0
    power: int = 2

    def found(
        self, lib: Library, distances: Array, masks: Masks, among: Among
    ) -> Found:
        """Return what the pairs of each row come to, and their derivatives."""
        return self.of_pairs(lib, distances, masks)

    def of_pairs(self, lib: Library, distances: Array, masks: Masks) -> Found:
        """Return what some of the pairs come to, and their derivatives."""
        beyond = distances - self.positive_margin
        short = self.negative_margin - distances
        part, error = self._pairs(lib, beyond, masks.positives)
        other, rising = self._pairs(lib, short, masks.negatives)
        return Found((part, other), (error, -rising))

    def _pairs(self, lib: Library, excess: Array, there: Array) -> tuple[Part, Array]:
        """Return what the pairs of one role come to, and the slopes by the excess."""
        xp = lib.xp
        excess = lib.clip(xp.where(there, excess, 0.0), 0.0, float("inf"))
        active = xp.astype(excess > 0, excess.dtype)
        losses, slopes = excess, active
        if self.power == 2:
            losses, slopes = excess * excess, 2 * excess
        count = xp.sum(xp.astype(there, excess.dtype), axis=1)
        part = Part(xp.sum(losses, axis=1), count, xp.sum(active, axis=1))
        return part, slopes


register_record("contrastive", Contrastive)
