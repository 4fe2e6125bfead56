"""The losses of similarities whose candidates are passed around a group."""

from typing import Any, NamedTuple

from metricops import _checks
from metricops._arguments.weights import mass_of, reciprocal
from metricops._frameworks import Library
from metricops._losses.solvable import Solvable
from metricops._panels.records import Config, Given
from metricops._sharded import ring
from metricops._sharded.embeddings import (
    is_one_set,
    labels_of_sides,
    penalty,
    wide_sides,
)
from metricops._sharded.groups import RingGroup
from metricops._sharded.ring_scores import Scores
from metricops._similarity.normalize import unit
from metricops._typing import Array


class Way(NamedTuple):
    """The losses of one direction, and which of them count."""

    losses: Array
    counted: Array


def check(own: Solvable, named: dict[str, Any]) -> None:
    """Raise unless the rows of a loss can be closed after visits in any order."""
    if own.config.objective.visited_sums() is None:
        name = "denominator"
        need = '"all" or "negatives" where `gather` is "ring"'
        _checks.refuse_value(name, need, named[name])


def loss_of_group(
    group: RingGroup, own: Solvable, named: dict[str, Any], counts: list[list[int]]
) -> Array:
    """Return a member's loss, of its own call and of all arguments by their names."""
    lib, config = own.inputs.library, own.config
    given = Given(*own.arrays)
    of_rows, *_ = counts
    *_, of_columns = counts
    wide = lib.multiplying(config.operands).wide_dtype(given.anchors)
    sides = wide_sides(lib, given, wide)
    found = _lapped(group, own, sides, named, tuple(of_columns))
    losses = [_reduced(group, lib, config, given.weights, way) for way in found]
    loss = sum(losses[1:], start=losses[0]) / len(losses)
    if config.l2_weight != 0:
        rows_of = of_rows, of_columns
        loss = loss + penalty(group, lib, config.l2_weight, sides, rows_of)
    return own.inputs.narrow(loss)


def _lapped(
    group: RingGroup,
    own: Solvable,
    sides: tuple[Array, Array],
    named: dict[str, Any],
    counts: tuple[int, ...],
) -> list[Way]:
    """Return the losses of each direction, after everybody's candidates came by."""
    lib, config = own.inputs.library, own.config
    given, both = Given(*own.arrays), config.symmetric and not is_one_set(own)
    rows, columns = sides
    if config.normalize:
        rows, columns = unit(lib, rows), unit(lib, columns)
    number = config.temperature
    scale = 1 / given.temperature if number is None else 1 / number
    rows, beside = rows * scale, None
    if config.operands:
        column = lib.xp.zeros_like(lib.xp.sum(rows, axis=1, keepdims=True))
        beside = lib.stop_gradient(column + scale)
    bias = given.bias
    if bias is not None and bias.ndim == 0:
        bias = lib.xp.zeros_like(lib.xp.sum(columns, axis=1)) + bias
    static = ring.Config(group, counts, _encounter(config, both))
    constants = (*labels_of_sides(own, named), beside)
    found = lib.differentiable(ring.OPERATION, static, (rows, columns, bias), constants)
    first = Way(found[0, :], found[1, :] != 0)
    return [first, Way(found[2, :], found[3, :] != 0)] if both else [first]


def _encounter(config: Config, both: bool) -> Scores:
    """Return what rows and visitors make of each other."""
    return Scores(
        config.objective.visited_sums(),
        config.roles,
        both,
        config.exclude_diagonal,
        config.block_size,
        # bfloat16 would round panels too much that hold positives.
        "bfloat16, float16" if config.operands == "bfloat16" else config.operands,
        not config.normalize,
    )


def _reduced(
    group: RingGroup, lib: Library, config: Config, weights: Array | None, way: Way
) -> Array:
    """Return the loss of a direction, whose mean over the members is the batch's."""
    weighted = way.losses if weights is None else way.losses * weights
    if config.reduction == "none":
        return weighted
    loss = lib.xp.sum(weighted) * group.size
    if config.reduction == "sum":
        return loss
    mass = mass_of(lib, config.reduction, way.losses, weights, way.counted)
    return loss * reciprocal(lib, group.total(mass))
