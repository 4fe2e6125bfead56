"""A loss of distances as an operation: its value, and its gradients.

The differentiable arrays are those of `Given`, the constant ones those of `Labels`.
"""

from functools import partial

from metricops._frameworks import Arrays, Library, Operation, placed, register
from metricops._panels import term_passes
from metricops._panels.distances import of_rows
from metricops._panels.term_records import (
    Config,
    Given,
    Labels,
    Problem,
    Wanted,
    problem_of,
)
from metricops._panels.terms import (
    Part,
    of_weights,
    reduced,
    shares_of,
    totals,
    vector_of,
    weighted,
)
from metricops._typing import Array


def value(lib: Library, config: Config, arrays: Arrays, constants: Arrays) -> Array:
    """Return the loss."""
    given = Given(*arrays)
    problem = problem_of(lib, config, given, Labels(*constants))
    parts = term_passes.parts_of(problem)
    return reduced(lib, config.reduction, given.weights, given.scales, parts)


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
    """Return the loss, and its gradients; of a loss a row, nothing."""
    if config.reduction == "none":
        return value(lib, config, arrays, constants), ()
    given, asked = Given(*arrays), Wanted(*wanted)
    problem = problem_of(lib, config, given, Labels(*constants))
    parts, found = _gradients(problem, given, asked)
    loss = reduced(lib, config.reduction, given.weights, given.scales, parts)
    each = zip(found, asked, strict=True)
    return loss, tuple(x for x, there in each if there)


def value_and_gradients(
    lib: Library, static: tuple[Config, Wanted], given: Given, labels: Labels
) -> tuple[Array, Arrays]:
    """Return a loss that is a number, and those of its gradients that are wanted."""
    config, wanted = static
    return value_and_saved(lib, config, given, labels, wanted)


def sized_parts(
    lib: Library, config: Config, given: Given, labels: Labels
) -> tuple[Part, ...]:
    """Return parts with at least what a mean divides their losses by."""
    return _sized(problem_of(lib, config, given, labels))


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
    given, asked = Given(*arrays), Wanted(*wanted)
    problem = problem_of(lib, config, given, Labels(*constants))
    pull = weighted(upstream, given.weights)
    shares, sides = _fixed((1.0,) * config.terms.parts), _sides(given, asked)
    parts, *both = term_passes.gradients(problem, pull, shares, sides)
    found = _chained(problem, given, parts, *both)
    if asked.weights:
        losses = reduced(lib, "none", None, None, parts)
        found = found._replace(weights=upstream * losses)
    # A program exported before there were scales has no entry for them in `wanted`.
    each = zip(found, wanted, strict=False)
    return tuple(x if there else None for x, there in each)


def _gradients(
    problem: Problem, given: Given, wanted: Wanted
) -> tuple[tuple[Part, ...], Given]:
    """Return the parts, and the gradients of the reduced loss."""
    lib, config = problem.library, problem.config
    numbers, sides = (given.weights, given.scales), _sides(given, wanted)
    several = config.terms.parts > 1
    shares = _shares(problem, *numbers) if several else _fixed((None,))
    parts, *found = term_passes.gradients(problem, given.weights, shares, sides)
    if not several:  # how many terms there are is known at the end
        (share,) = shares_of(lib, config.reduction, *numbers, parts)
        found = [None if x is None else x * share for x in found]
    gradients = _chained(problem, given, parts, *found)
    if wanted.weights:
        slopes = of_weights(lib, config.reduction, *numbers, parts)
        gradients = gradients._replace(weights=slopes)
    if wanted.scales:
        sums = vector_of(lib, totals(lib, given.weights, parts))
        gradients = gradients._replace(scales=sums)
    return parts, gradients


def _shares(
    problem: Problem, weights: Array | None, scales: Array | None
) -> term_passes.Shares:
    """Return what gives the share of each part, of the parts of a panel.

    A mean divides by the terms of all panels: those of several are counted before.
    """
    lib, config = problem.library, problem.config
    shares = partial(shares_of, lib, config.reduction, weights, scales)
    one = not lib.several(problem.rows.side.rows, problem.block)
    if one or scales is not None or config.reduction == "sum":
        return shares
    return _fixed(shares(_sized(problem)))


def _sized(problem: Problem) -> tuple[Part, ...]:
    """Return the same as `sized_parts`, of a problem."""
    config = problem.config
    if config.terms.counts_pairs and config.reduction != "active_mean":
        return term_passes.counts_of(problem)
    return term_passes.parts_of(problem)


def _fixed(shares: tuple[Array | float | None, ...]) -> term_passes.Shares:
    """Return what gives these shares, of whatever parts."""
    return lambda parts: shares


def _sides(given: Given, wanted: Wanted) -> tuple[bool, bool]:
    """Return the gradients of which sides are wanted."""
    one = given.candidates is None
    return wanted.anchors, wanted.anchors if one else wanted.candidates


def _chained(
    problem: Problem,
    given: Given,
    parts: tuple[Part, ...],
    anchors: Array | None,
    candidates: Array | None,
) -> Given:
    """Return the gradients by what was given, of those by the rows of both sides."""
    lib = problem.library
    if anchors is not None:
        anchors = of_rows(lib, problem.row_units, anchors)
        counts = tuple(_counts(part) for part in parts)
        some = reduced(lib, "none", None, None, counts) > 0
        anchors = lib.only(anchors, some[:, None])
    if candidates is not None:
        candidates = of_rows(lib, problem.units, candidates)
    if given.candidates is None:
        both = None if anchors is None else anchors + candidates
        return Given(both, None, None)
    return Given(anchors, candidates, None)


def _counts(part: Part) -> Part:
    return part._replace(losses=part.count)


# Of no size is autodiff as good: the slopes at equal rows are a rule, which it lacks.
OPERATION = register(
    Operation(
        "loss_of_distances",
        Config,
        value,
        value_and_saved,
        backward,
        saves_gradients=saves_gradients,
    )
)
