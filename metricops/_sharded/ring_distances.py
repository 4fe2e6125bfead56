"""The losses of distances whose candidates are passed around a group.

Each pair is a term of its own, so what rows see of their visitors is added up.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from metricops._arguments.weights import reciprocal
from metricops._frameworks import Arrays, Library
from metricops._losses.solvable import Solvable
from metricops._panels.distances import Side, distances_of, of_rows, pulled, side_of
from metricops._panels.records import block_of
from metricops._panels.roles import Roles
from metricops._panels.term_records import Given, Labels
from metricops._panels.terms import (
    Found,
    Masks,
    Part,
    Terms,
    masses_of,
    reduced,
    sum_of,
    vector_of,
)
from metricops._sharded import ring
from metricops._sharded.groups import RingGroup
from metricops._sharded.ring import OPERATION, Results, Sides
from metricops._typing import Array


class Members(NamedTuple):
    """Own rows, or a visitor, and what belongs to them."""

    side: Side
    positions: Array  # among own rows, or among the visitor's
    labels: Array | None
    upstream: tuple[Array, ...] = ()  # of each part of own rows


class Gradient(NamedTuple):
    """The gradient of rows, or of a visitor."""

    rows: Array


class Seen(NamedTuple):
    """What own rows have seen."""

    parts: tuple[Part, ...]


class Met(NamedTuple):
    """What comes of the distances of rows to a visitor."""

    saved: tuple[Array, ...]  # what the gradient of the distances needs
    found: Found


@dataclass(frozen=True)
class Distances:
    """What the distances of rows and visitors come to; an `Encounter`."""

    terms: Terms
    roles: Roles
    metric: str
    normalize: bool
    exclude_diagonal: bool
    block_size: int | None

    def sides(self, lib: Library, arrays: Arrays, constants: Arrays) -> Sides:
        """Return both sides."""
        labels, found = Labels(*constants), []
        for x, own in zip(arrays, (labels.anchors, labels.candidates), strict=True):
            side, _ = side_of(lib, self.metric, self.normalize, x)
            found.append(Members(side, lib.positions(x, 0, "candidates"), own))
        return Sides(*found)

    def gathered(
        self, lib: Library, rows: Members, visitor: Members, home: bool
    ) -> Results:
        """Return what the terms of own rows come to with a visitor."""

        def body(_: Any, rows: Members, visitor: Members) -> tuple[Any, Seen]:
            met = self._met(lib, rows, visitor, home)
            return (), Seen(met.found.parts)

        _, own = self._fold(lib, body, rows, visitor)
        return Results(own, ())

    def nothing(self, lib: Library, sides: Sides) -> Results:
        """Return what no terms come to."""
        zeros = lib.xp.sum(lib.xp.zeros_like(sides.rows.side.rows), axis=1)
        return Results(Seen((Part(zeros, zeros, zeros),) * self.terms.parts), ())

    def merged(self, lib: Library, old: Any, new: Any) -> Any:
        """Return the sums of both."""
        return ring.sum_of(lib, old, new)

    def value(self, lib: Library, found: Results) -> Array:
        """Return the losses, the numbers of terms and of active ones of each part."""
        lines = [x[None, :] for part in found.own.parts for x in part]
        return lib.xp.concat(lines, axis=0)

    def closed(
        self, lib: Library, sides: Sides, found: Results, upstream: Array
    ) -> Sides:
        """Return both sides, the rows with the upstream of each part's losses."""
        parts = _parts_of(self.terms, upstream)
        losses = tuple(part.losses for part in parts)
        return sides._replace(rows=sides.rows._replace(upstream=losses))

    def pulled(
        self, lib: Library, rows: Members, visitor: Members, home: bool
    ) -> Results:
        """Return the gradients of own rows, and of a visitor."""

        def body(
            total: Gradient | None, rows: Members, visitor: Members
        ) -> tuple[Gradient, Gradient]:
            met = self._met(lib, rows, visitor, home)
            pairs = zip(met.found.errors, rows.upstream, strict=True)
            error = sum_of([x * up[:, None] for x, up in pairs])
            both = rows.side, visitor.side
            how = None, met.saved, error, (True, True)
            of_own, of_all = pulled(lib, self.metric, *both, *how)
            of_all = of_all if total is None else total.rows + of_all
            return Gradient(of_all), Gradient(of_own)

        theirs, own = self._fold(lib, body, rows, visitor)
        return Results(own, theirs)

    def gradients(self, lib: Library, arrays: Arrays, found: Results) -> Arrays:
        """Return the gradients of anchors and candidates."""
        gradients = []
        for x, gradient in zip(arrays, found, strict=True):
            _, units = side_of(lib, self.metric, self.normalize, x)
            gradients.append(of_rows(lib, units, gradient.rows))
        return tuple(gradients)

    def _fold(self, lib: Library, body: Any, rows: Members, visitor: Members) -> Any:
        """Run `body` over panels of rows against a visitor."""
        sides = rows.side.rows, visitor.side.rows
        block = block_of(lib, self.block_size, False, *sides)
        return lib.loops.fold(body, rows, visitor, block)

    def _met(self, lib: Library, rows: Members, visitor: Members, home: bool) -> Met:
        met = distances_of(lib, self.metric, rows.side, visitor.side, None)
        masks = self._masks(lib, rows, visitor, home)
        return Met(met.saved, self.terms.of_pairs(lib, met.values, masks))

    def _masks(
        self, lib: Library, rows: Members, visitor: Members, home: bool
    ) -> Masks:
        xp, like = lib.xp, rows.side.rows
        own = rows.positions[:, None] == visitor.positions[None, :]
        own = own if home else xp.zeros_like(own)
        if rows.labels is None:
            return Masks(own, xp.logical_not(own))
        labels = rows.labels, visitor.labels
        positives = self.roles.positives(lib, *labels, like.dtype)
        others = xp.logical_not(positives)
        if not self.exclude_diagonal:
            return Masks(positives, others)
        there = xp.logical_not(own)
        return Masks(xp.logical_and(positives, there), xp.logical_and(others, there))


def _parts_of(terms: Terms, lines: Array) -> tuple[Part, ...]:
    """Return the parts that `Distances.value` wrote, a line for each field."""
    width = len(Part._fields)
    starts = range(0, width * terms.parts, width)
    return tuple(Part(*(lines[i + j, :] for j in range(width))) for i in starts)


def loss_of_group(
    group: RingGroup, own: Solvable, named: dict[str, Any], counts: list[list[int]]
) -> Array:
    """Return a member's loss, of its own call and of all arguments by their names."""
    lib, config, given = own.inputs.library, own.config, Given(*own.arrays)
    found, weights = _lapped(group, own, counts), given.weights
    parts = _parts_of(config.terms, found)
    loss = reduced(lib, "none", weights, None, parts)
    if config.reduction == "none":
        return own.inputs.narrow(loss)
    if config.reduction == "sum":
        return own.inputs.narrow(lib.xp.sum(loss) * group.size)
    masses = masses_of(lib, config.reduction, weights, parts)
    every = group.total(vector_of(lib, masses))
    scales = reciprocal(lib, every) * group.size
    return own.inputs.narrow(reduced(lib, "sum", weights, scales, parts))


def _lapped(group: RingGroup, own: Solvable, counts: list[list[int]]) -> Array:
    """Return what the terms of own rows come to, after everybody came by."""
    lib, config, given = own.inputs.library, own.config, Given(*own.arrays)
    labels = Labels(*own.constants)
    every = given.anchors if given.candidates is None else given.candidates
    others = labels.anchors if labels.candidates is None else labels.candidates
    *_, of_all = counts
    encounter = Distances(
        config.terms,
        config.roles,
        config.metric,
        config.normalize,
        config.exclude_diagonal,
        config.block_size,
    )
    static = ring.Config(group, tuple(of_all), encounter)
    arrays, constants = (given.anchors, every), Labels(labels.anchors, others)
    return lib.differentiable(OPERATION, static, arrays, constants)
