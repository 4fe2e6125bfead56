"""The chain rule around the panels: unit length, temperature, penalty, weights."""

from typing import NamedTuple

from metricops._arguments.weights import factor_of, reduce_losses, slopes_of_reduced
from metricops._frameworks import Library
from metricops._panels.records import Config, Given, Problem, Wanted
from metricops._similarity.normalize import unit_gradient
from metricops._typing import Array


class Direction(NamedTuple):
    """The losses of the anchors, or of the candidates, and which of them count."""

    losses: Array
    counted: Array | None  # None: all
    factor: Array | float | None = None  # of their sum, if it is known: see `factor_of`


class Products(NamedTuple):
    """What the passes over panels give: gradients of the sum of the weighted losses.

    The gradient of the candidates is by their unit vectors. That of the anchors is by
    the rows as given, or by their unit vectors if `Problem.row_units` is not None. One
    set by halves has the sum of both as that of the candidates.
    """

    anchors: Array | None
    candidates: Array | None
    along: Array | None  # (n,): sum(u * dL/du) of each anchor u
    bias: Array | None = None  # (m,): that of the bias, divided by the temperature
    lost: Array | None = None  # (): how much more the loss is of units not rounded


def combined(
    lib: Library, config: Config, given: Given, directions: tuple[Direction, ...]
) -> Array:
    """Return the mean of the directions, each reduced by its own count."""
    weights, how = given.weights, config.reduction
    parts = [
        reduce_losses(lib, one.losses, weights, how, one.counted, one.factor)
        for one in directions
    ]
    loss, *others = parts
    for other in others:
        loss = (loss + other) / 2
    return penalised(lib, config, given, loss)


def penalised(lib: Library, config: Config, given: Given, loss: Array) -> Array:
    """Return the loss plus l2_weight / 4 times the mean squared lengths of both sides.

    With one set, both sides are the anchors.
    """
    if config.l2_weight == 0:
        return loss
    every = given.anchors if given.candidates is None else given.candidates
    lib = lib.multiplying(config.operands)
    sides = (lib.wide(given.anchors), lib.wide(every))
    one, other = (lib.xp.sum(x * x) / lib.count(x) for x in sides)
    return loss + (one + other) * (config.l2_weight / 4)


def upstream_of(
    lib: Library, config: Config, weights: Array | None, one: Direction
) -> Array:
    """Return the derivative of the reduced loss by each of a direction's losses."""
    each = lib.xp.ones_like(one.losses) if weights is None else weights
    return each * factor_of(lib, config.reduction, one.losses, weights, one.counted)


def weights_gradient(
    lib: Library, config: Config, weights: Array, directions: tuple[Direction, ...]
) -> Array:
    """Return the gradient of the sample weights."""
    total = lib.xp.zeros_like(weights)
    for one in directions:
        how = lib, config.reduction, one.losses, weights, one.counted
        _, part = slopes_of_reduced(*how)
        total = total + part / len(directions)
    return total


def chained(
    problem: Problem, given: Given, wanted: Wanted, products: Products
) -> Given:
    """Return the gradients by the arrays as given, through their unit length."""
    lib = problem.library
    of_anchors, of_candidates = products.anchors, products.candidates
    one = given.candidates is None and wanted.anchors
    if one and problem.row_units is not None:  # both are by the same unit vectors
        of_anchors, of_candidates = None, _sum_of(of_anchors, of_candidates)
    if of_anchors is not None and problem.row_units is not None:
        of_anchors = unit_gradient(lib, problem.row_units, of_anchors)
    if of_candidates is not None and problem.units is not None:
        of_candidates = unit_gradient(lib, problem.units, of_candidates)
    if one:
        of_anchors, of_candidates = _sum_of(of_anchors, of_candidates), None
    of_temperature = None
    if wanted.temperature:
        of_temperature = -lib.xp.sum(products.along) * problem.candidates.scale
    of_bias = None
    if given.bias is not None and products.bias is not None:
        of_bias = products.bias / problem.candidates.scale
        of_bias = lib.xp.sum(of_bias) if given.bias.ndim == 0 else of_bias
    return Given(of_anchors, of_candidates, of_temperature, None, of_bias)


def _sum_of(x: Array | None, y: Array | None) -> Array | None:
    """Return the sum of what is there."""
    return y if x is None else x + y


def with_penalty(lib: Library, config: Config, given: Given, gradients: Given) -> Given:
    """Return the gradients with that of the penalty, l2_weight / 2 / n * x."""
    if config.l2_weight == 0:
        return gradients
    sides = 2 if given.candidates is None else 1
    factor = config.l2_weight * sides / 2

    def moved(x: Array | None, gradient: Array | None) -> Array | None:
        return None if gradient is None else gradient + x * (factor / lib.count(x))

    return gradients._replace(
        anchors=moved(given.anchors, gradients.anchors),
        candidates=moved(given.candidates, gradients.candidates),
    )
