"""What the triplet loss asks of a row of distances: which triplets, and their costs.

A triplet of an anchor, a positive at distance p and a negative at distance n costs
max(p - n + margin, 0), or softplus(p - n). Which triplets there are is decided by the
distances as numbers: that has no derivative. Where several are the nearest or farthest,
each has its share.

The module is long, as each way to mine has its part in every step.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from metricops._frameworks import Library
from metricops._frameworks.programs import register_record
from metricops._losses.triplet_sorted import all_by_all
from metricops._panels.terms import Among, Extremes, Found, Masks, Part, Terms
from metricops._typing import Array


class Sums(NamedTuple):
    """What the triplets so far come to."""

    place: Array  # (b, 1): how many positives of each row were met
    losses: Array  # (b,)
    count: Array  # (b,)
    active: Array  # (b,)
    error: Array  # (b, m)
    moved: Array | None  # (m, d)


class Costs(NamedTuple):
    """What the triplets of one positive a row come to."""

    losses: Array  # (b,)
    count: Array  # (b,)
    active: Array  # (b,)
    pull: Array  # (b,): the slope by the distance of the positive
    push: Array  # (b, m): minus those by the distances of the negatives


class Seen(NamedTuple):
    """The distances of a panel, as they are for one positive a row."""

    distances: Array  # (b, m)
    masks: Masks
    among: Among


@dataclass(frozen=True)
class Triplets(Terms):
    """Triplets of all positives, or of one, with all negatives, or with one."""

    margin: float | None = 1.0  # None: softplus
    positives: str = "all"
    negatives: str = "semihard"
    swap: bool = False

    def counted(self, lib: Library, masks: Masks) -> Array:
        """Return which rows have a positive and a negative."""
        some = lib.xp.any(masks.positives, axis=1)
        return lib.xp.logical_and(some, lib.xp.any(masks.negatives, axis=1))

    @property
    def extremes(self) -> Extremes | None:
        """Which two pairs of a row its only triplet is made of; None: others."""
        if self.swap or not {self.positives, self.negatives} <= {"hard", "easy"}:
            return None
        return Extremes(self.positives == "hard", self.negatives == "easy")

    def of_two(
        self, lib: Library, positive: Array, negative: Array
    ) -> tuple[Array, Array]:
        """Return the losses of such triplets, and their slopes."""
        return cost(lib, positive - negative, self.margin)

    def found(
        self, lib: Library, distances: Array, masks: Masks, among: Among
    ) -> Found:
        """Return what the triplets of each row come to, and their derivatives."""
        xp = lib.xp
        every = self.positives == self.negatives == "all" and not self.swap
        if every and self.margin is not None:
            sums = all_by_all(lib, distances, masks, self.margin)
            part, error, moved = sums.part, sums.error, None
        else:
            seen = Seen(distances, masks, among)
            total = self._met(lib, seen)
            part = Part(total.losses, total.count, total.active)
            error, moved = total.error, total.moved
        pairs = xp.logical_or(masks.positives, masks.negatives)
        # Mining may pass over a NaN, but the loss is one then.
        no_number = xp.logical_and(pairs, distances != distances)
        spoilt = xp.sum(xp.where(no_number, distances, 0.0), axis=1)
        losses = part.losses + xp.where(part.count > 0, spoilt, 0.0)
        return Found((part._replace(losses=losses),), (error,), moved)

    def _met(self, lib: Library, seen: Seen) -> Sums:
        """Return the sum over the positives that there are, or over the one chosen."""
        xp, positives = lib.xp, seen.masks.positives
        zeros = xp.sum(seen.distances * 0, axis=1)
        moved = seen.among.nothing() if self.swap else None
        empty = xp.zeros_like(zeros)
        start = Sums(
            empty[:, None], empty, empty, empty, xp.zeros_like(seen.distances), moved
        )
        if self.positives != "all":
            far = self.positives == "hard"
            return self._next(lib, seen, _extreme(lib, seen, positives, far), start)
        rank = lib.running(xp.astype(positives, zeros.dtype))

        def step(sums: Sums) -> Sums:
            chosen = xp.logical_and(positives, rank == sums.place + 1)
            return self._next(lib, seen, chosen, sums)

        most = xp.sum(xp.astype(positives, zeros.dtype), axis=1)
        total: Sums = lib.loops.repeat(step, start, most, lib.size(positives, 1))
        return total

    def _next(self, lib: Library, seen: Seen, chosen: Array, sums: Sums) -> Sums:
        """Return the sums with the triplets of a positive, or of several that tie."""
        xp, dtype = lib.xp, seen.distances.dtype
        moved, first, state = sums.moved, None, None
        nearest, own = seen.distances, xp.ones_like(seen.distances)
        if self.swap:
            chosen = _first(lib, chosen, dtype)
            columns = lib.positions(chosen, 1, "candidates")[None, :]
            places = xp.where(chosen, xp.astype(columns, dtype), 0.0)
            first = xp.astype(xp.sum(places, axis=1), columns.dtype)
            others, state = seen.among.distances(first)
            nearest = xp.minimum(seen.distances, others)
            own = xp.astype(seen.distances < others, dtype)
            own = own + xp.astype(seen.distances == others, dtype) / 2
        share = _shares(lib, chosen, dtype)
        costs = self._costs(lib, seen, chosen, share, nearest)
        error = costs.pull[:, None] * share - costs.push * own
        if self.swap:
            moved = moved + seen.among.pulled(first, state, costs.push * (own - 1))
        return Sums(
            sums.place + 1,
            sums.losses + costs.losses,
            sums.count + costs.count,
            sums.active + costs.active,
            sums.error + error,
            moved,
        )

    def _costs(
        self, lib: Library, seen: Seen, chosen: Array, share: Array, nearest: Array
    ) -> Costs:
        """Return what the triplets of the chosen positives come to."""
        xp, dtype = lib.xp, nearest.dtype
        # Of NaN none is the farthest, but the anchor counts.
        met = chosen if self.positives == "all" else seen.masks.positives
        there = xp.any(met, axis=1)[:, None]
        positive = _picked(lib, seen.distances, chosen, share)
        negatives = xp.logical_and(seen.masks.negatives, there)
        if self.negatives != "all":
            near = chosen if self.negatives == "semihard" else seen.masks.positives
            level = lib.peak(xp.where(near, seen.distances, -float("inf")), 1)
            other = self._mined(lib, seen, level)
            other = _first(lib, other, dtype) if self.swap else other
            weights = _shares(lib, other, dtype)
            nearest = _picked(lib, nearest, other, weights)
            some = xp.any(seen.masks.negatives, axis=1)[:, None]
            negatives = xp.logical_and(some, there)
        losses, slopes = cost(lib, positive - nearest, self.margin)
        losses = xp.where(negatives, losses, 0.0)
        slopes = xp.where(negatives, slopes, 0.0)
        return Costs(
            xp.sum(losses, axis=1),
            xp.sum(xp.astype(negatives, dtype), axis=1),
            xp.sum(lib.step(losses), axis=1),
            xp.sum(slopes, axis=1),
            slopes if self.negatives == "all" else slopes * weights,
        )

    def _mined(self, lib: Library, seen: Seen, level: Array) -> Array:
        """Return which negatives are chosen for positives at a distance, (b, 1)."""
        xp, negatives = lib.xp, seen.masks.negatives
        if self.negatives in ("hard", "easy"):
            return _extreme(lib, seen, negatives, self.negatives == "easy")
        beyond = xp.logical_and(negatives, seen.distances > level)
        near = _extreme(lib, seen, beyond, False)
        far = _extreme(lib, seen, negatives, True)
        return xp.where(xp.any(beyond, axis=1)[:, None], near, far)


def cost(lib: Library, excess: Array, margin: float | None) -> tuple[Array, Array]:
    """Return what triplets cost, and the slopes, by how much the positive is farther.

    Without a margin it is the softplus. Where a triplet costs 0 the slope is 0 by
    autodiff too: that of a maximum differs by framework where both are equal.
    """
    if margin is None:
        return lib.softplus(excess), lib.sigmoid(excess)
    losses = excess + margin
    losses = lib.xp.where(losses <= 0, 0.0, losses)
    return losses, lib.step(losses)


def _extreme(lib: Library, seen: Seen, mask: Array, far: bool) -> Array:
    """Return which of some pairs are the nearest, or the farthest, of their row."""
    signed = seen.distances if far else -seen.distances
    signed = lib.xp.where(mask, signed, -float("inf"))
    return lib.xp.logical_and(mask, signed == lib.peak(signed, 1))


def _first(lib: Library, mask: Array, dtype: Any) -> Array:
    """Return the first of each row."""
    found = lib.running(lib.xp.astype(mask, dtype)) == 1
    return lib.xp.logical_and(mask, found)


def _shares(lib: Library, mask: Array, dtype: Any) -> Array:
    """Return 1 over how many a row has, for each of them, and 0 for others."""
    ones = lib.xp.astype(mask, dtype)
    count = lib.xp.sum(ones, axis=1, keepdims=True)
    return ones / lib.clip(count, 1.0, float("inf"))


def _picked(lib: Library, distances: Array, mask: Array, share: Array) -> Array:
    """Return the distance that those of a row have in common, shape (b, 1)."""
    kept = lib.xp.where(mask, distances * share, 0.0)
    return lib.xp.sum(kept, axis=1, keepdims=True)


register_record("triplets", Triplets)
