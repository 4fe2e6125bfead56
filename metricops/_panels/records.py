"""The records that a call of the engine is made of."""

from typing import Any, NamedTuple

from metricops._frameworks import Arrays, Library
from metricops._panels.objective import Objective
from metricops._panels.roles import Roles
from metricops._similarity.normalize import Units, unit_and_norm
from metricops._typing import Array


class Config(NamedTuple):
    """What is static about a call: its loss, and its options."""

    objective: Objective
    roles: Roles
    temperature: float | None  # None: an array
    normalize: bool
    symmetric: bool
    exclude_diagonal: bool
    l2_weight: float
    reduction: str
    block_size: int | None  # None: as many rows as suit the device
    operands: str = ""  # the half that sides are multiplied in; "": as they are


class Given(NamedTuple):
    """The arrays of a call that have derivatives."""

    anchors: Array
    candidates: Array | None  # None: the anchors
    temperature: Array  # None: a number, in `Config`
    weights: Array | None  # (n,); None: all 1
    bias: Array | None = None  # (m,) or (): added to the scores; None: 0


class Wanted(NamedTuple):
    """Whose gradients are wanted: a bool for each array of `Given`."""

    anchors: bool
    candidates: bool
    temperature: bool
    weights: bool
    bias: bool = False


class Labels(NamedTuple):
    """The labels of a call, (n,) or multi-hot (n, c), and its ids, (n,).

    A pair of equal ids takes no part, unless it is a positive.
    """

    anchors: Array | None  # None: candidate i is the positive of anchor i
    candidates: Array | None  # None: those of the anchors
    ids: Array | None = None  # None: all pairs take part
    candidate_ids: Array | None = None  # None: those of the anchors


def given_of(arrays: Arrays) -> Given:
    """Return arrays as a record, where they are not one already."""
    return arrays if type(arrays) is Given else Given(*arrays)


def labels_of(constants: Arrays) -> Labels:
    """Return the same of what has no derivative."""
    return constants if type(constants) is Labels else Labels(*constants)


class Rows(NamedTuple):
    """Some anchors, and what belongs to each of them."""

    anchors: Array  # (b, d)
    labels: Array | None = None
    positions: Array | None = None  # (b,): their indices among all anchors
    paired: Array | None = None  # (b, d): their positives, by position
    weights: Array | None = None  # (b,): what their losses are multiplied by
    ids: Array | None = None


class Candidates(NamedTuple):
    """All candidates, and what belongs to them."""

    embeddings: Array  # (m, d), of unit length where that is asked for
    labels: Array | None
    scale: Array | float  # 1 / temperature
    bias: Array | None = None
    ids: Array | None = None
    beside: Array | None = None  # the embeddings as panels are multiplied with them
    back: Array | float = 1.0  # what those products are multiplied by


class Problem(NamedTuple):
    """A call in the form that the passes over its panels take."""

    library: Library
    config: Config
    rows: Rows
    candidates: Candidates
    units: Units | None  # the candidates, if they were scaled to unit length
    row_units: Units | None  # the rows, if they were scaled once for all passes
    one_set: bool  # whether the candidates are the anchors, labels too
    symmetric: bool  # whether there are two directions; False where they are equal
    block: int | None  # the rows of a panel; None: all
    several: bool  # whether there may be several panels


def problem_of(lib: Library, config: Config, given: Given, labels: Labels) -> Problem:
    """Return a call in the form that the passes take."""
    anchors = given.anchors
    if config.operands:
        lib = lib.multiplying(config.operands)
    every = anchors if given.candidates is None else given.candidates
    how = config.block_size, config.symmetric
    block = block_of(lib, *how, anchors, every, paired=labels.anchors is None)
    units = unit_and_norm(lib, lib.wide(every)) if config.normalize else None
    others = labels.anchors if labels.candidates is None else labels.candidates
    ids = labels.ids if labels.candidate_ids is None else labels.candidate_ids
    number = config.temperature
    temperature = given.temperature if number is None else number
    embeddings = every if units is None else units.unit
    paired = positions = None
    if labels.anchors is None:
        paired, _ = lib.split(embeddings, anchors)
    if labels.anchors is None or config.exclude_diagonal:
        positions = lib.positions(anchors, 0, "anchors")
    if config.operands:
        embeddings = lib.operand(embeddings)
    one_set = given.candidates is None and labels.candidates is None
    one_set = one_set and labels.candidate_ids is None and given.bias is None
    one_set = one_set and lib.shape(anchors)[0] is not None
    if one_set and config.objective.sums(labels.anchors is None) is not None:
        block = ring_block_of(lib, config.block_size, block)
    return Problem(
        lib,
        config,
        Rows(anchors, labels.anchors, positions, paired, None, labels.ids),
        Candidates(embeddings, others, 1 / temperature, given.bias, ids),
        units,
        None,
        one_set,
        config.symmetric and not one_set,
        block,
        lib.several(anchors, block),
    )


def sums_of(problem: Problem) -> Any:
    """Return the `Sums` for rows that are seen in parts, or None if there are none."""
    return problem.config.objective.sums(problem.rows.labels is None)


def block_of(
    lib: Library,
    given: int | None,
    doubled: bool,
    anchors: Array,
    candidates: Array,
    *,
    paired: bool = False,
) -> int | None:
    """Return how many rows a panel has, or None for all.

    `doubled` is whether a call holds twice as many arrays of a panel's size: with two
    directions two softmaxes, or with what a first pass over the rows has found.
    `paired` is whether each anchor's positive is at its own position.
    """
    if given is not None:
        return given
    block = lib.block(anchors, candidates, paired=paired)
    doubled = doubled and not (paired and lib.fits_both_directions())
    return block // 2 if doubled and block is not None else block


def ring_block_of(lib: Library, given: int | None, block: int | None) -> int | None:
    """Return how many rows a panel of one set has, where `block` may meet all others.

    It meets half of them, so it may have twice as many rows.
    """
    if given is not None or block is None:
        return block
    return max(block, min(2 * block, lib.ring))
