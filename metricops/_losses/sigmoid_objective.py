"""What the sigmoid loss asks of a row of scores: each pair is told apart on its own.

Of a score s a positive costs softplus(-s), and a negative softplus(s); a row's loss is
their sum. The slopes are -sigmoid(-s) and sigmoid(s): nothing cancels.
"""

from dataclasses import dataclass
from typing import NamedTuple

from metricops._frameworks import Library
from metricops._frameworks.programs import register_record
from metricops._panels.objective import Objective, Pairs, Slopes, Sums
from metricops._typing import Array


@dataclass(frozen=True)
class Sigmoids(Objective):
    """The sum of a row's softplus losses."""

    counts_all = True
    has_bias = True

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

    def visited_sums(self) -> Sums:
        """Return the sums of rows whose candidates come by a few at a time."""
        return SigmoidSums()


class SigmoidRows(NamedTuple):
    """The sums of rows, of shape (n,)."""

    losses: Array


class SigmoidClosing(NamedTuple):
    """What the derivative needs of each row, of shape (n,)."""

    upstream: Array


@dataclass(frozen=True)
class SigmoidSums(Sums):
    """The sums of rows whose pairs are seen in parts."""

    def of(
        self, lib: Library, scores: Array, pairs: Pairs, axis: int, last: bool
    ) -> SigmoidRows:
        """Return the sums along an axis."""
        costs = lib.softplus(_turned(lib, scores, pairs))
        return SigmoidRows(lib.xp.sum(costs, axis=axis))

    def nothing(self, lib: Library, zeros: Array) -> SigmoidRows:
        """Return the sums of rows that have seen no candidate."""
        return SigmoidRows(zeros)

    def merged(self, lib: Library, old: SigmoidRows, new: SigmoidRows) -> SigmoidRows:
        """Return the sums of the same rows over two sets of candidates."""
        return SigmoidRows(old.losses + new.losses)

    def losses(self, lib: Library, sums: SigmoidRows) -> tuple[Array, None]:
        """Return the losses; all count."""
        return sums.losses, None

    def closing(
        self, lib: Library, sums: SigmoidRows, upstream: Array
    ) -> SigmoidClosing:
        """Return each row's closing numbers, for losses weighted by `upstream`."""
        return SigmoidClosing(upstream)

    def error(
        self,
        lib: Library,
        scores: Array,
        pairs: Pairs,
        rows: SigmoidClosing,
        columns: None,
    ) -> Array:
        """Return the derivative by the scores of the rows' losses."""
        slopes = lib.sigmoid(_turned(lib, scores, pairs))
        if pairs.targets is not None:
            slopes = lib.xp.where(pairs.targets != 0, -slopes, slopes)
        return lib.times(slopes, rows.upstream[:, None])


def _parted(lib: Library, scores: Array, pairs: Pairs) -> tuple[Array, Array]:
    """Return the score of each row's positive, and those of the others."""
    own = lib.pick(scores, pairs.positive)[:, 0]
    return own, lib.put(scores, pairs.positive, -float("inf"))


def _turned(lib: Library, scores: Array, pairs: Pairs) -> Array:
    """Return the scores, those of positives with the other sign."""
    if pairs.targets is None:  # of a visitor without positives
        return scores
    return lib.xp.where(pairs.targets != 0, -scores, scores)


register_record("sigmoids", Sigmoids)
