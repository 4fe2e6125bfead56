"""What a loss of distances gives to the engine: the terms of a row of distances.

A term is one summand of a loss: a pair, or a triplet. An anchor has several of them, or
none, so that a mean divides by a number of terms and not of anchors.

The module is long, as it has what each mean divides by too.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from metricops._arguments.weights import reciprocal
from metricops._frameworks import Library
from metricops._typing import Array


class Masks(NamedTuple):
    """Which pairs of a panel are positives, and which are negatives, (b, m) each."""

    positives: Array
    negatives: Array


class Part(NamedTuple):
    """What terms of one kind come to, for each row of a panel, (b,) each."""

    losses: Array  # their sum
    count: Array  # how many they are
    active: Array  # how many of them have a loss above 0


class Found(NamedTuple):
    """The parts of a panel's rows, and their derivatives by the distances."""

    parts: tuple[Part, ...]
    errors: tuple[Array, ...]  # (b, m), one for each part
    moved: Array | None = None  # (m, d): what candidates get of distances of their own


class Known(NamedTuple):
    """What a first pass found of one set, for the terms of a panel."""

    rows: Array  # (b, 1)
    candidates: Array  # (1, m)


class Extremes(NamedTuple):
    """Which of a row's positives, and of its negatives, a term is made of."""

    far_positive: bool  # the farthest; else the nearest
    far_negative: bool


class Among(Protocol):
    """What a panel's own distances do not tell, where a loss asks for it.

    Mostly the distances of candidates to each other.
    """

    known: Known | None

    def distances(self, columns: Array) -> tuple[Array, Any]:
        """Return those of the candidates at `columns`, (b,), to all, and a state."""

    def pulled(self, columns: Array, state: Any, error: Array) -> Array:
        """Return the gradient of ``sum(w * error * distances)``; w: of the rows."""

    def nothing(self) -> Array:
        """Return a gradient of 0."""


@dataclass(frozen=True)
class Terms:
    """A loss made of terms, of distances; its fields are words and numbers.

    It is registered, so that programs that are exported can name it.
    """

    parts: int = 1
    """How many kinds of terms there are; each has a mean of its own."""

    looks_first = False
    """Whether `first` is asked for in a pass of its own, and is in `Among.known`.

    It is for one set, whose candidates are the rows.
    """

    counts_pairs = False
    """Whether `counts` tells how many terms there are, without a distance."""

    def counts(self, lib: Library, masks: Masks, dtype: Any) -> tuple[Array, ...]:
        """Return how many terms of each kind a row has, (b,) each."""
        raise NotImplementedError

    def counted(self, lib: Library, masks: Masks) -> Array | None:
        """Return which rows have terms, shape (b,); None: all.

        An anchor left out may hold a NaN.
        """
        return None

    def first(self, lib: Library, distances: Array, masks: Masks) -> Array:
        """Return a number for each row, of which terms of other rows are made, (b,)."""
        raise NotImplementedError

    @property
    def extremes(self) -> Extremes | None:
        """Which two pairs of a row its only term is made of; None: others."""
        return None

    def of_two(
        self, lib: Library, positive: Array, negative: Array
    ) -> tuple[Array, Array]:
        """Return their losses, and the slopes by ``positive - negative``."""
        raise NotImplementedError

    def found(
        self, lib: Library, distances: Array, masks: Masks, among: Among
    ) -> Found:
        """Return what the terms of each row come to, and their derivatives."""
        raise NotImplementedError

    def of_pairs(self, lib: Library, distances: Array, masks: Masks) -> Found:
        """Return the same of some of the pairs, where each is a term of its own."""
        raise NotImplementedError


def reduced(
    lib: Library,
    reduction: str,
    weights: Array | None,
    scales: Array | None,
    parts: tuple[Part, ...],
) -> Array:
    """Return the loss: the sum of the parts, each divided by its own mass.

    Or each times its entry of `scales`, where these are given.
    """
    if reduction == "none":
        return sum_of([weighted(part.losses, weights) for part in parts])
    shares = shares_of(lib, reduction, weights, scales, parts)
    pairs = zip(totals(lib, weights, parts), shares, strict=True)
    return sum_of([total * share for total, share in pairs])


def totals(
    lib: Library, weights: Array | None, parts: tuple[Part, ...]
) -> tuple[Array, ...]:
    """Return the sum of the weighted losses of each part."""
    return tuple(lib.xp.sum(weighted(part.losses, weights)) for part in parts)


def shares_of(
    lib: Library,
    reduction: str,
    weights: Array | None,
    scales: Array | None,
    parts: tuple[Part, ...],
) -> tuple[Array | float, ...]:
    """Return what the sum of each part's losses is multiplied by."""
    if scales is not None:
        (count,) = lib.shape(scales)
        return tuple(scales[i] for i in range(count or 0))
    if reduction in ("sum", "none"):
        return (1.0,) * len(parts)
    masses = masses_of(lib, reduction, weights, parts)
    return tuple(reciprocal(lib, mass) for mass in masses)


def masses_of(
    lib: Library, reduction: str, weights: Array | None, parts: tuple[Part, ...]
) -> tuple[Array, ...]:
    """Return what a mean divides the sum of each part's losses by."""
    return tuple(lib.xp.sum(_mass(reduction, weights, part)) for part in parts)


def of_weights(
    lib: Library,
    reduction: str,
    weights: Array,
    scales: Array | None,
    parts: tuple[Part, ...],
) -> Array:
    """Return the derivative of the loss by the weights.

    With losses l, numbers k of terms and a share f, d(f * sum(w * l)) / dw is f * l; of
    a weighted mean, whose share is 1 / sum(w * k), it is f * (l - k * f * sum(w * l)).
    """
    shares = shares_of(lib, reduction, weights, scales, parts)
    found = []
    for part, share in zip(parts, shares, strict=True):
        losses = part.losses
        if reduction == "weighted_mean":
            mean = lib.xp.sum(losses * weights) * share
            losses = losses - part.count * mean
        found.append(losses * share)
    return sum_of(found)


def weighted(x: Array, weights: Array | float | None) -> Array:
    """Return losses, or derivatives, times their weights; None: all are 1."""
    return x if weights is None else x * weights


def vector_of(lib: Library, numbers: tuple[Array, ...]) -> Array:
    """Return a number for each part as an array of shape (parts,)."""
    return lib.xp.concat([x[None] for x in numbers], axis=0)


def sum_of(arrays: list[Array]) -> Array:
    """Return the sum of arrays of one shape."""
    total, *others = arrays
    for x in others:
        total = total + x
    return total


def _mass(reduction: str, weights: Array | None, part: Part) -> Array:
    """Return what each row adds to what a mean divides by."""
    if reduction == "active_mean":
        return part.active
    return weighted(part.count, weights) if reduction == "weighted_mean" else part.count
