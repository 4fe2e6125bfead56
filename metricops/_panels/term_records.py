"""What a call of a loss of distances is made of, and what its terms may ask."""

from typing import Any, NamedTuple

from metricops._frameworks import Library
from metricops._panels.distances import Side, distances_of, pulled, side_of
from metricops._panels.records import block_of
from metricops._panels.roles import Roles
from metricops._panels.terms import Known, Terms
from metricops._similarity.normalize import Units
from metricops._typing import Array


class Config(NamedTuple):
    """What is static about a call."""

    terms: Terms
    roles: Roles
    metric: str
    normalize: bool
    exclude_diagonal: bool
    reduction: str
    block_size: int | None  # None: as many rows as suit the device


class Given(NamedTuple):
    """The arrays of a call that have derivatives."""

    anchors: Array
    candidates: Array | None  # None: the anchors
    weights: Array | None  # (n,); None: all 1
    scales: Array | None = None  # (parts,): of the sum of each part; None: all 1


class Wanted(NamedTuple):
    """Whose gradients are wanted: a bool for each array of `Given`."""

    anchors: bool
    candidates: bool
    weights: bool
    scales: bool = False


class Labels(NamedTuple):
    """The labels of a call; (n,), or multi-hot (n, c)."""

    anchors: Array | None  # None: candidate i is the positive of anchor i
    candidates: Array | None  # None: those of the anchors


class Rows(NamedTuple):
    """Some anchors, and what belongs to each of them."""

    side: Side
    labels: Array | None
    positions: Array | None  # (b,): where they stand among all anchors
    weights: Array | None = None  # (b,): what their losses are multiplied by
    known: Array | None = None  # (b,): what a first pass found


class Candidates(NamedTuple):
    """All candidates, and what belongs to them."""

    side: Side
    labels: Array | None
    known: Array | None = None  # (m,): what a first pass found


class Problem(NamedTuple):
    """A call as the passes over its panels take it."""

    library: Library
    config: Config
    rows: Rows
    candidates: Candidates
    row_units: Units | None  # how the rows came to have unit length
    units: Units | None  # how the candidates did
    shared: bool  # whether candidate i is anchor i itself
    block: int | None  # the rows of a panel; None: all


def problem_of(lib: Library, config: Config, given: Given, labels: Labels) -> Problem:
    """Return a call in the form that the passes take."""
    anchors, one = given.anchors, given.candidates is None
    every = anchors if one else given.candidates
    own, row_units = side_of(lib, config.metric, config.normalize, anchors)
    side, units = own, row_units
    if not one:
        side, units = side_of(lib, config.metric, config.normalize, every)
    others = labels.anchors if labels.candidates is None else labels.candidates
    shared = one or config.exclude_diagonal
    positions = None
    if shared or labels.anchors is None:
        positions = lib.positions(anchors, 0, "anchors")
    doubled = config.terms.looks_first
    return Problem(
        lib,
        config,
        Rows(own, labels.anchors, positions),
        Candidates(side, others),
        row_units,
        units,
        shared,
        block_of(lib, config.block_size, doubled, anchors, every),
    )


class FromSide:
    """What a panel's own distances do not tell; see `terms.Among`."""

    def __init__(self, problem: Problem, rows: Rows, candidates: Candidates) -> None:
        self.library, self.metric = problem.library, problem.config.metric
        self.side, self.weights = candidates.side, rows.weights
        self.known = None
        if rows.known is not None and candidates.known is not None:
            self.known = Known(rows.known[:, None], candidates.known[None, :])

    def distances(self, columns: Array) -> tuple[Array, Any]:
        """Return those of the candidates at `columns`, (b,), to all, and a state."""
        own = self._at(columns)
        return distances_of(self.library, self.metric, own, self.side, columns)

    def pulled(self, columns: Array, state: Any, error: Array) -> Array:
        """Return the gradient of ``sum(w * error * distances)``, shape (m, d).

        The weights w are those of the rows of the panel.
        """
        lib, own = self.library, self._at(columns)
        if self.weights is not None:
            error = error * self.weights[:, None]
        of_own, of_all = pulled(
            lib, self.metric, own, self.side, columns, state, error, (True, True)
        )
        every = lib.positions(self.side.rows, 0, "candidates")
        here = lib.xp.astype(every[:, None] == columns[None, :], of_own.dtype)
        found: Array = of_all + lib.product(here, of_own)
        return found

    def nothing(self) -> Array:
        """Return a gradient of 0."""
        return self.library.xp.zeros_like(self.side.rows)

    def _at(self, columns: Array) -> Side:
        lib, (rows, missing) = self.library, self.side
        found = lib.gather(rows, columns[:, None])[:, 0, :]
        if missing is not None:
            missing = lib.gather(missing, columns[:, None])[:, 0]
        return Side(found, missing)
