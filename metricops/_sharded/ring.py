"""Losses whose candidates are passed around the members of a group.

Each member's candidates visit all members, one at a time. In a first lap a member adds
up what its rows see of each visitor, such as the peak of their scores and the sum of
exponentials, and closes its rows after the last one. In a second lap the visitors come
by again, and their gradients travel with them and come home at the end. So a member
never holds more than its own rows, one visitor, and the one that is on its way.

An `Encounter` is what a loss does with its rows and a visitor.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

from metricops._frameworks import Arrays, Library, Operation
from metricops._frameworks.records import leaves, refilled
from metricops._sharded.groups import RingGroup, Visits
from metricops._typing import Array


class Sides(NamedTuple):
    """A member's own rows, and its candidates as a visitor of others: two records."""

    rows: Any
    visitor: Any


class Results(NamedTuple):
    """What a lap gives: a record of own rows, and one that came home with a visitor."""

    own: Any
    theirs: Any


class Encounter(Protocol):
    """What rows and visitors make of each other; hashable, of words and numbers."""

    def sides(self, lib: Library, arrays: Arrays, constants: Arrays) -> Sides:
        """Return both sides."""

    def gathered(self, lib: Library, rows: Any, visitor: Any, home: bool) -> Results:
        """Return what own rows see of a visitor, and what it takes along.

        `home` is whether the visitor are own candidates.
        """

    def nothing(self, lib: Library, sides: Sides) -> Results:
        """Return what is seen of no visitor, whose records have the same form."""

    def merged(self, lib: Library, old: Any, new: Any) -> Any:
        """Return what was seen at two visits as one."""

    def value(self, lib: Library, found: Results) -> Array:
        """Return what a whole lap comes to, as one array."""

    def closed(
        self, lib: Library, sides: Sides, found: Results, upstream: Array
    ) -> Sides:
        """Return both sides with what gradients need of the first lap."""

    def pulled(self, lib: Library, rows: Any, visitor: Any, home: bool) -> Results:
        """Return the gradients of own rows, and of a visitor, from its visit."""

    def gradients(self, lib: Library, arrays: Arrays, found: Results) -> Arrays:
        """Return the gradient of each of the arrays, None where there is none."""


class Config(NamedTuple):
    """What is static about a lap."""

    group: RingGroup
    counts: tuple[int, ...]  # how many candidates each member has, own first
    encounter: Any


def value(lib: Library, config: Config, arrays: Arrays, constants: Arrays) -> Array:
    """Return what the first lap comes to."""
    found, _ = value_and_saved(lib, config, arrays, constants, ())
    return found


def value_and_saved(
    lib: Library,
    config: Config,
    arrays: Arrays,
    constants: Arrays,
    wanted: tuple[bool, ...],
) -> tuple[Array, Arrays]:
    """Return what the first lap comes to, and what was seen in it."""
    encounter = config.encounter
    sides = encounter.sides(lib, arrays, constants)
    merged = partial(encounter.merged, lib)
    found = _lap(config, sides, partial(encounter.gathered, lib), merged)
    return encounter.value(lib, found), tuple(leaves(found))


def backward(
    lib: Library,
    config: Config,
    arrays: Arrays,
    constants: Arrays,
    saved: Arrays,
    upstream: Array,
    wanted: tuple[bool, ...],
) -> Arrays:
    """Return the gradients of ``sum(upstream * value)``, of all members' values."""
    encounter = config.encounter
    sides = encounter.sides(lib, arrays, constants)
    seen = refilled(encounter.nothing(lib, sides), saved)
    sides = encounter.closed(lib, sides, seen, upstream)
    found = _lap(config, sides, partial(encounter.pulled, lib), partial(sum_of, lib))
    # All are computed, whatever is wanted here: others may want their part of it.
    gradients = encounter.gradients(lib, arrays, found)
    pairs = zip(gradients, wanted, strict=True)
    return tuple(x if there else None for x, there in pairs)


# Of no size is autodiff as good: it would keep every visitor.
OPERATION = Operation("lap", Config, value, value_and_saved, backward)


def _lap(
    config: Config,
    sides: Sides,
    visit: Callable[[Any, Any, bool], Results],
    merged: Callable[[Any, Any], Any],
) -> Results:
    """Have everybody's candidates come by, and return the results of all visits."""
    rows, visitor = sides
    visits = Visits(rows, partial(visit, rows), merged)
    return Results(*config.group.lap(visits, visitor, list(config.counts)))


def sum_of(lib: Library, old: Any, new: Any) -> Any:
    """Return the sums of two records of one form."""
    pairs = zip(leaves(old), leaves(new), strict=True)
    return refilled(old, [lib.plus(x, y) for x, y in pairs])
