"""What the sigmoid loss asks of a row of scores: each pair is told apart on its own.

Of a score s a positive costs softplus(-s), and a negative softplus(s); a row's loss is
their sum. The slopes are -sigmoid(-s) and sigmoid(s): nothing cancels.
"""

from dataclasses import dataclass

from metricops._frameworks import Library
from metricops._frameworks.programs import register_record
from metricops._panels.objective import Objective, Pairs, Slopes
from metricops._typing import Array


@dataclass(frozen=True)
class Sigmoids(Objective):
    """The sum of a row's softplus losses."""

    counts_all = True

    def losses(self, lib: Library, scores: Array, pairs: Pairs) -> Array:
        """Return the rows' losses. The scores may be overwritten."""
        if pairs.targets is None:
            own, others = _parted(lib, scores, pairs)
            return lib.xp.sum(lib.softplus(others), axis=1) + lib.softplus(-own)
        costs = lib.softplus(_turned(lib, scores, pairs))
        return lib.xp.sum(costs, axis=1)

    def slopes(self, lib: Library, scores: Array, pairs: Pairs) -> Slopes:
        """Return losses and derivatives. The scores may be overwritten."""
        xp = lib.xp
        if pairs.targets is None:
            own, others = _parted(lib, scores, pairs)
            losses = xp.sum(lib.softplus(others), axis=1) + lib.softplus(-own)
            return Slopes(losses, lib.sigmoid(others), None, -lib.sigmoid(-own))
        scores = _turned(lib, scores, pairs)
        losses, slopes = xp.sum(lib.softplus(scores), axis=1), lib.sigmoid(scores)
        return Slopes(losses, xp.where(pairs.targets != 0, -slopes, slopes))


def _parted(lib: Library, scores: Array, pairs: Pairs) -> tuple[Array, Array]:
    """Return the score of each row's positive, and those of the others."""
    own = lib.pick(scores, pairs.positive)[:, 0]
    return own, lib.put(scores, pairs.positive, -float("inf"))


def _turned(lib: Library, scores: Array, pairs: Pairs) -> Array:
    """Return the scores, those of positives with the other sign."""
    return lib.xp.where(pairs.targets != 0, -scores, scores)


register_record("sigmoids", Sigmoids)
