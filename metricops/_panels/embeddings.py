"""The N-pairs loss of embeddings as an operation: its value, and its gradient.

The differentiable arrays are the anchors, the candidates (None: the anchors), the
temperature (None: static) and the sample weights (None: all 1); the constants are the
labels of either side.
"""

from typing import Any, NamedTuple

from metricops._frameworks import Arrays, Library, Operation, placed, register
from metricops._panels import one_set as _one_set
from metricops._panels import streaming as _streaming
from metricops._panels import symmetric as _symmetric
from metricops._panels.streaming import Candidates, Panel, Plan
from metricops._panels.symmetric import Both, Sums
from metricops._similarity.normalize import unit_and_norm, unit_gradient
from metricops._typing import Array

_SMALL = 2**17  # similarities; an autodiff of so few costs less than an operation


class Config(NamedTuple):
    """What is static about a call."""

    targets: str  # "position", "labels" or "multihot"
    exclude_diagonal: bool
    block: int | None  # None: as many rows as suit the device
    symmetric: bool
    normalize: bool
    temperature: float | None
    l2_weight: float
    reduction: str


class Inputs(NamedTuple):
    """The arrays of a call, in the form that the panels take."""

    plan: Plan
    rows: Panel
    candidates: Candidates
    units: tuple[Any, ...]  # what `unit_and_norm` gave for either side
    one_set: bool  # against itself, so that half its similarities suffice
    several: bool  # whether there are several panels, so that it pays


class Direction(NamedTuple):
    """The losses of the anchors, or of the candidates, and which of them count."""

    losses: Array
    counted: Array  # None: all


class Products(NamedTuple):
    """The gradients that the matrix products give, before what came before them."""

    of_anchors: Array
    of_candidates: Array
    counted: Array  # which anchors' gradients to keep, or None


def value(lib: Library, config: Config, arrays: Arrays, constants: Arrays) -> Array:
    """Return the loss."""
    inputs = _inputs(lib, config, arrays, constants)
    if _is_plain(lib, config, inputs) and arrays[3] is None:
        loss = _streaming.mean_loss(*inputs[:3])
        return _penalised(lib, config, arrays, loss)
    by_halves = inputs.one_set and inputs.several
    directions, _ = _directions(config, inputs, by_halves)
    return _combined(lib, config, arrays, directions)


def is_small(lib: Library, config: Config, arrays: Arrays) -> bool:
    """Return whether one panel holds all and is small: plain autodiff serves best."""
    anchors, every = arrays[0], arrays[0] if arrays[1] is None else arrays[1]
    block, size = _block(lib, config, anchors, every), lib.size(anchors, 0)
    fits = block is not None and size <= block
    return fits and size * lib.size(every, 0) <= _SMALL


def _is_plain(lib: Library, config: Config, inputs: Inputs) -> bool:
    """Return whether the loss is the mean of one panel's, by position."""
    if config.targets != "position" or config.reduction != "mean" or config.symmetric:
        return False
    rows = lib.shape(inputs.rows.anchors)[0]
    return rows is not None and rows > 0 and not inputs.several


def saves_gradients(config: Config) -> bool:
    """Return whether a call saves its gradients: where its value is a number."""
    return config.reduction != "none"


def value_and_saved(
    lib: Library,
    config: Config,
    arrays: Arrays,
    constants: Arrays,
    wanted: tuple[bool, ...],
) -> tuple[Array, Arrays]:
    """Return the loss, and its gradients; or, of a loss a row, what they need."""
    inputs = _inputs(lib, config, arrays, constants)
    if config.reduction == "none":
        # By what is static alone, as it decides how many arrays are saved.
        directions, sums = _directions(config, inputs, inputs.one_set)
        return _combined(lib, config, arrays, directions), sums
    solve = _two_ways if config.symmetric else _one_way
    solve = _by_halves if inputs.one_set and inputs.several else solve
    directions, found = solve(lib, config, arrays, inputs)
    gradients = _chain(lib, config, arrays, inputs, found)
    of_weights = _of_weights(lib, config, arrays, directions)
    each = (*gradients, of_weights)
    saved = tuple(x for x, there in zip(each, wanted, strict=True) if there)
    return _combined(lib, config, arrays, directions), saved


def backward(
    lib: Library,
    config: Config,
    arrays: Arrays,
    constants: Arrays,
    saved: Arrays,
    upstream: Array,
    wanted: tuple[bool, ...],
) -> Arrays:
    """Return the gradients of ``sum(upstream * value)``."""
    if config.reduction != "none":
        return placed(wanted, tuple(x * upstream for x in saved))
    inputs, weights = _inputs(lib, config, arrays, constants), arrays[3]
    pull = upstream if weights is None else upstream * weights
    if inputs.one_set:
        sums = Sums(*saved)
        losses, _ = _symmetric.losses(inputs.plan, sums)
        found = _halved(_one_set.gradient(*_set_of(inputs), sums, pull))
    elif config.symmetric:
        pull = pull / 2
        both = Both(Sums(*saved[:4]), Sums(*saved[4:]))
        products = _symmetric.gradients(*inputs[:3], both, pull, pull)
        pair = [_symmetric.losses(inputs.plan, one)[0] for one in both]
        losses, found = (pair[0] + pair[1]) / 2, Products(*products, None)
    else:
        rows = inputs.rows._replace(weights=pull)
        one = _streaming.gradients(inputs.plan, rows, inputs.candidates)
        losses = one.losses
        found = Products(one.of_anchors, one.of_candidates, one.counted)
    gradients = _chain(lib, config, arrays, inputs, found)
    each = (*gradients, None if weights is None else upstream * losses)
    return tuple(x if there else None for x, there in zip(each, wanted, strict=True))


def _one_way(
    lib: Library, config: Config, arrays: Arrays, inputs: Inputs
) -> tuple[list[Direction], Products]:
    """Return the anchors' losses and the gradients, from one pass."""
    rows, candidates = inputs.rows._replace(weights=arrays[3]), inputs.candidates
    factor = None
    if config.targets == "position":  # and so all anchors count
        factor = _factor(lib, config, arrays[3], Direction(rows.anchors[:, 0], None))
        candidates = candidates._replace(pull=candidates.scale * factor)
    found = _streaming.gradients(inputs.plan, rows, candidates)
    one = Direction(found.losses, found.counted)
    if factor is not None:
        return [one], Products(*found[2:], None)
    factor = _factor(lib, config, arrays[3], one)
    gradients = found.of_anchors * factor, found.of_candidates * factor
    return [one], Products(*gradients, found.counted)


def _two_ways(
    lib: Library, config: Config, arrays: Arrays, inputs: Inputs
) -> tuple[list[Direction], Products]:
    """Return both directions' losses and the gradients, from two passes."""
    plan, both = inputs.plan, _symmetric.sums(*inputs[:3])
    directions = [Direction(*_symmetric.losses(plan, one)) for one in both]
    upstream = [_upstream(lib, config, arrays, one) / 2 for one in directions]
    gradients = _symmetric.gradients(*inputs[:3], both, *upstream)
    return directions, Products(*gradients, None)


def _by_halves(
    lib: Library, config: Config, arrays: Arrays, inputs: Inputs
) -> tuple[list[Direction], Products]:
    """Return the losses and the gradient of one set, from half its similarities."""
    sums = _one_set.sums(*_set_of(inputs))
    one = Direction(*_symmetric.losses(inputs.plan, sums))
    upstream = _upstream(lib, config, arrays, one)
    total = _one_set.gradient(*_set_of(inputs), sums, upstream)
    return [one], _halved(total)


def _set_of(inputs: Inputs) -> tuple[Plan, Panel, Any]:
    return inputs.plan, inputs.rows, inputs.candidates.scale


def _halved(total: Array) -> Products:
    """Return the gradient of one set as that of either side: a half each."""
    return Products(total / 2, total / 2, None)


def _inputs(lib: Library, config: Config, arrays: Arrays, constants: Arrays) -> Inputs:
    anchors, candidates, temperature, _ = arrays
    labels, others = constants
    units: tuple[Any, ...] = (None, None)
    if config.normalize:
        units = tuple(None if x is None else unit_and_norm(lib, x) for x in arrays[:2])
        anchors, candidates = (None if x is None else x[0] for x in units)
    fixed = config.temperature
    scale = 1 / fixed if fixed is not None else 1 / temperature
    positions = None
    if config.targets == "position" or config.exclude_diagonal:
        positions = lib.positions(anchors, 0, "anchors")
    rows = Panel(anchors, None, labels, positions)
    others = labels if others is None else others
    every = anchors if candidates is None else candidates
    columns = Candidates(every, others, scale, scale)
    block = _block(lib, config, anchors, every)
    plan = Plan(lib, config.targets, config.exclude_diagonal, block)
    one_set = candidates is None and constants[1] is None
    one_set = one_set and lib.shape(anchors)[0] is not None
    return Inputs(plan, rows, columns, units, one_set, lib.several(anchors, block))


def _block(
    lib: Library, config: Config, anchors: Array, candidates: Array
) -> int | None:
    if config.block is not None:
        return config.block
    block = lib.block(anchors, candidates)
    # Two softmaxes of a panel are alive at once.
    return block // 2 if config.symmetric and block is not None else block


def _directions(
    config: Config, inputs: Inputs, by_halves: bool
) -> tuple[list[Direction], Arrays]:
    """Return the losses, and sums that spare `backward` a pass."""
    plan, sums = inputs.plan, []
    if by_halves:
        sums = [_one_set.sums(*_set_of(inputs))]
    elif config.symmetric:
        sums = list(_symmetric.sums(*inputs[:3]))
    else:
        one = _streaming.losses(plan, inputs.rows, inputs.candidates)
        return [Direction(*one)], ()
    directions = [Direction(*_symmetric.losses(plan, one)) for one in sums]
    return directions, tuple(x for one in sums for x in one)


def _combined(
    lib: Library, config: Config, arrays: Arrays, directions: list[Direction]
) -> Array:
    """Return the mean of the directions, each reduced by its own count."""
    weights = arrays[3]
    parts = [_reduced(lib, config, weights, one) for one in directions]
    loss = parts[0] if len(parts) == 1 else (parts[0] + parts[1]) / 2
    return _penalised(lib, config, arrays, loss)


def _penalised(lib: Library, config: Config, arrays: Arrays, loss: Array) -> Array:
    return loss if config.l2_weight == 0 else loss + _penalty(lib, config, arrays)


def _reduced(
    lib: Library, config: Config, weights: Array | None, one: Direction
) -> Array:
    part = one.losses if weights is None else one.losses * weights
    if config.reduction == "none":
        return part
    everyone = one.counted is None and lib.shape(part)[0] not in (None, 0)
    if config.reduction == "mean" and everyone:
        return lib.xp.mean(part)
    factor = _factor(lib, config, weights, one)
    total = lib.xp.sum(part)
    return total if isinstance(factor, float) and factor == 1.0 else total * factor


def _factor(
    lib: Library, config: Config, weights: Array | None, one: Direction
) -> Array | float:
    """Return what turns the sum of the weighted losses into the reduced loss."""
    if config.reduction == "sum":
        return 1.0
    if one.counted is None and (weights is None or config.reduction == "mean"):
        return 1.0 / lib.count(one.losses)
    xp = lib.xp
    part = xp.ones_like(one.losses)
    if one.counted is not None:
        part = xp.astype(one.counted, part.dtype)
    if config.reduction == "weighted_mean" and weights is not None:
        part = part * weights
    mass = xp.sum(part)
    nothing = mass == 0
    return xp.where(nothing, 0.0, 1 / xp.where(nothing, 1.0, mass))


def _upstream(lib: Library, config: Config, arrays: Arrays, one: Direction) -> Array:
    """Return the derivative of the reduced loss by each of a direction's losses."""
    weights = lib.xp.ones_like(one.losses) if arrays[3] is None else arrays[3]
    return weights * _factor(lib, config, arrays[3], one)


def _of_weights(
    lib: Library, config: Config, arrays: Arrays, directions: list[Direction]
) -> Array | None:
    """Return the gradient of the sample weights."""
    xp, weights = lib.xp, arrays[3]
    if weights is None:
        return None
    total = xp.zeros_like(weights)
    for one in directions:
        factor, part = _factor(lib, config, weights, one), one.losses
        if config.reduction == "weighted_mean":
            part = part - xp.sum(part * weights) * factor
            if one.counted is not None:
                part = xp.where(one.counted, part, 0.0)
        total = total + part * (factor / len(directions))
    return total


def _chain(
    lib: Library,
    config: Config,
    arrays: Arrays,
    inputs: Inputs,
    found: Products,
) -> tuple[Array, Array | None, Array | None]:
    """Return the gradients of anchors, candidates and temperature."""
    of_anchors, of_candidates, counted = found
    of_temperature = None
    if config.temperature is None:
        along = _only(lib, inputs.rows.anchors, counted) * of_anchors
        of_temperature = -lib.xp.sum(along) * inputs.candidates.scale
    sides = [_only(lib, of_anchors, counted), of_candidates]
    if arrays[1] is None:
        sides, counted = [of_anchors + of_candidates], None
    if config.normalize:
        units = inputs.units
        sides = [unit_gradient(lib, units[i], side) for i, side in enumerate(sides)]
        sides[0] = _only(lib, sides[0], counted)
    if config.l2_weight != 0:
        sides = [side + _pull(lib, config, arrays, i) for i, side in enumerate(sides)]
    return sides[0], sides[1] if len(sides) == 2 else None, of_temperature


def _only(lib: Library, x: Array, counted: Array | None) -> Array:
    """Return `x`, 0 for the anchors left out, even where a NaN made it NaN."""
    if counted is None:
        return x
    kept = counted if x.ndim == 1 else counted[:, None]
    return lib.xp.where(kept, x, 0.0)


def _penalty(lib: Library, config: Config, arrays: Arrays) -> Array:
    """Return l2_weight / 4 times the mean squared lengths of both sides."""
    xp = lib.xp
    sides = [arrays[0], arrays[0] if arrays[1] is None else arrays[1]]
    means = [xp.sum(x * x) / lib.count(x) for x in sides]
    return (means[0] + means[1]) * (config.l2_weight / 4)


def _pull(lib: Library, config: Config, arrays: Arrays, side: int) -> Array:
    """Return the gradient of the penalty; of both sides if they are one."""
    x = arrays[side]
    times = 1 if arrays[1] is None else 2
    return x * (config.l2_weight / times / lib.count(x))


OPERATION = register(
    Operation(
        "npairs_from_embeddings",
        Config,
        value,
        value_and_saved,
        backward,
        is_small,
        saves_gradients,
    )
)
