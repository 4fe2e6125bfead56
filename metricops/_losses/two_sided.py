"""Losses of two log-sum-exps a row: one of its positives, and one of its negatives.

A pair has a logit, which says how wrong it is. With P the log-sum-exp of a row's
positives and N that of its negatives, a row is closed by::

    softplus(P) / alpha + softplus(N) / beta,    multi-similarity
    softplus(P + N),                             circle
    softplus(N - P),                             soft nearest neighbour

The last is minus the logarithm of the positives' share of the sum of both, and keeps
its digits also where it is small. The slope by a logit is that by P or N, times the
logit's share of its sum: nothing cancels.
"""

from dataclasses import dataclass

from metricops._frameworks import Library
from metricops._frameworks.programs import register_record
from metricops._losses.npairs_terms import Side, finite, side_of
from metricops._panels.objective import Objective, Pairs, Slopes, masked
from metricops._typing import Array


@dataclass(frozen=True)
class MultiSimilarities(Objective):
    """The softplus of both sums of a row, each divided by its sharpness.

    Of the pairs that are mined, positives have the logit -alpha * (s - base) and
    negatives beta * (s - base). A positive is left out that is more similar by epsilon
    than every negative, and a negative less similar by epsilon than every positive.
    """

    alpha: float = 2.0
    beta: float = 40.0
    base: float = 0.5
    epsilon: float | None = 0.1  # None: all pairs

    needs_negatives = True

    def losses(self, lib: Library, scores: Array, pairs: Pairs) -> Array:
        """Return the rows' losses. The scores may be overwritten."""
        return self._closed(lib, *self._sides(lib, scores, pairs))

    def slopes(self, lib: Library, scores: Array, pairs: Pairs) -> Slopes:
        """Return losses and derivatives. The scores may be overwritten."""
        near, far = self._sides(lib, scores, pairs)
        losses = self._closed(lib, near, far)
        pull, push = -lib.sigmoid(near.logs), lib.sigmoid(far.logs)
        return Slopes(losses, _slopes(lib, near, far, pull, push))

    def _closed(self, lib: Library, near: Side, far: Side) -> Array:
        return lib.softplus(near.logs) / self.alpha + lib.softplus(far.logs) / self.beta

    def _sides(self, lib: Library, scores: Array, pairs: Pairs) -> tuple[Side, Side]:
        """Return the positives and the negatives that are mined."""
        xp, high = lib.xp, float("inf")
        positives = _positives(lib, scores, pairs)
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


@dataclass(frozen=True)
class Circles(Objective):
    """The softplus of the sum of both log-sum-exps of a row.

    A positive has the logit -gamma * w * (s - 1 + margin), a negative gamma * w * (s -
    margin). The weights w = max(1 + margin - s, 0) and max(s + margin, 0) say how far a
    pair is from its optimum. They are constants: they have no derivative.
    """

    gamma: float = 80.0
    margin: float = 0.4

    needs_negatives = True

    def losses(self, lib: Library, scores: Array, pairs: Pairs) -> Array:
        """Return the rows' losses. The scores may be overwritten."""
        near, far, _ = self._sides(lib, scores, pairs)
        return lib.softplus(near.logs + far.logs)

    def slopes(self, lib: Library, scores: Array, pairs: Pairs) -> Slopes:
        """Return losses and derivatives. The scores may be overwritten."""
        near, far, weights = self._sides(lib, scores, pairs)
        total = near.logs + far.logs
        slope = lib.sigmoid(total)
        error = lib.times(_slopes(lib, near, far, slope, slope), weights)
        return Slopes(lib.softplus(total), error)

    def _sides(
        self, lib: Library, scores: Array, pairs: Pairs
    ) -> tuple[Side, Side, Array]:
        """Return both sides, and the slopes of the logits."""
        xp = lib.xp
        positives = _positives(lib, scores, pairs)
        scores = masked(lib, scores, pairs, 0.0)
        fixed = lib.stop_gradient(scores)
        near = lib.clip(1 + self.margin - fixed, 0.0, float("inf"))
        far = lib.clip(fixed + self.margin, 0.0, float("inf"))
        weights = self.gamma * xp.where(positives, -near, far)
        short, beyond = scores - (1 - self.margin), scores - self.margin
        logits = weights * xp.where(positives, short, beyond)
        logits = masked(lib, logits, pairs, -float("inf"))
        return *_parted(lib, logits, positives), weights


@dataclass(frozen=True)
class LogShares(Objective):
    """Minus the logarithm of the positives' share of a row, of the scores as logits."""

    takes_halves = False  # on squares the rows are moved, which would round them

    def losses(self, lib: Library, scores: Array, pairs: Pairs) -> Array:
        """Return the rows' losses. The scores may be overwritten."""
        near, far = _parted(lib, scores, _positives(lib, scores, pairs))
        return lib.softplus(far.logs - finite(lib, near.logs))

    def slopes(self, lib: Library, scores: Array, pairs: Pairs) -> Slopes:
        """Return losses and derivatives. The scores may be overwritten."""
        near, far = _parted(lib, scores, _positives(lib, scores, pairs))
        gap = far.logs - finite(lib, near.logs)
        slope = lib.sigmoid(gap)
        return Slopes(lib.softplus(gap), _slopes(lib, near, far, -slope, slope))


def _positives(lib: Library, scores: Array, pairs: Pairs) -> Array:
    """Return which pairs of a panel of scores are positives, shape (b, m)."""
    if pairs.targets is not None:
        return pairs.targets != 0
    columns = lib.positions(scores, 1, "candidates")[None, :]
    return columns == pairs.positive[:, None]


def _parted(lib: Library, logits: Array, positives: Array) -> tuple[Side, Side]:
    """Return both sides of logits, minus infinity where a pair takes no part."""
    near = lib.xp.where(positives, logits, -float("inf"))
    far = lib.xp.where(positives, -float("inf"), logits)
    return side_of(lib, near), side_of(lib, far)


def _slopes(lib: Library, near: Side, far: Side, pull: Array, push: Array) -> Array:
    """Return the derivative by the logits, of that by each row's log-sum-exps, (b,).

    The exponentials are overwritten.
    """
    first = lib.times(near.exponentials, pull[:, None] / near.partition)
    other = lib.times(far.exponentials, push[:, None] / far.partition)
    return lib.plus(first, other)


register_record("multi_similarities", MultiSimilarities)
register_record("circles", Circles)
register_record("log_shares", LogShares)
