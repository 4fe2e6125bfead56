"""The loss of an objective as an operation: its value, and its gradients.

The differentiable arrays are those of `Given`, the constant ones those of `Labels`.
"""

from itertools import compress

from metricops._frameworks import Arrays, Library, Operation, placed, register
from metricops._panels import both_ways, one_way, plans, smoothing
from metricops._panels.chain import (
    combined,
    penalised,
    upstream_of,
    weights_gradient,
    with_penalty,
)
from metricops._panels.records import (
    Config,
    Given,
    Labels,
    Wanted,
    given_of,
    labels_of,
    problem_of,
    sums_of,
)
from metricops._panels.roles import BY_POSITION
from metricops._typing import Array

_SMALL = 2**17  # scores: for so few, plain autodiff costs less than an operation


def value(lib: Library, config: Config, arrays: Arrays, constants: Arrays) -> Array:
    """Return the loss."""
    given, labels = given_of(arrays), labels_of(constants)
    one_mean = config.reduction == "mean" and given.weights is None
    if one_mean and not (config.symmetric or config.operands):
        loss = one_way.mean(lib, config, given, labels)
        if loss is not None:
            return penalised(lib, config, given, loss)
    problem = problem_of(lib, config, given, labels)
    directions: plans.Directions
    if problem.symmetric and not problem.several and sums_of(problem) is not None:
        directions = both_ways.losses(problem)
    else:
        by_halves = problem.one_set and problem.several
        directions, _ = plans.losses(problem, given, labels, by_halves)
    if config.objective.smoothing != 0:
        directions = smoothing.losses(problem, given, labels, directions)
    return combined(lib, config, given, directions)


def is_small(lib: Library, config: Config, arrays: Arrays) -> bool:
    """Return whether all fits one small panel, so that plain autodiff is fastest."""
    if config.operands:  # autodiff would multiply other dtypes
        return False
    given = given_of(arrays)
    plain = config.roles is BY_POSITION and given.weights is None
    if not (plain and config.objective.fuses_mean):
        one_pass = saves_gradients(config) and not config.symmetric
        if one_pass and lib.looks(given.anchors):
            return False  # the gradient's own formula takes fewer steps
    every = given.anchors if given.candidates is None else given.candidates
    rows, columns = lib.known_rows(given.anchors), lib.known_rows(every)
    if rows is None or columns is None or rows * columns > _SMALL:
        return False
    return config.block_size is None or rows <= config.block_size


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
    """Return the loss and its gradients; for losses of rows, what gradients need."""
    given, labels, asked = Given(*arrays), Labels(*constants), Wanted(*wanted)
    problem = problem_of(lib, config, given, labels)
    if config.reduction == "none":
        # Decided by what is static, as the number of saved arrays depends on it.
        directions, sums = plans.losses(problem, given, labels, problem.one_set)
        if config.objective.smoothing != 0:
            directions = smoothing.losses(problem, given, labels, directions)
        return combined(lib, config, given, directions), sums
    directions, gradients, lost = plans.gradients(problem, given, labels, asked)
    if config.objective.smoothing != 0:
        directions = smoothing.losses(problem, given, labels, directions)
        pulls = [upstream_of(lib, config, given.weights, one) for one in directions]
        more = smoothing.gradients(problem, given, labels, directions, pulls)
        gradients = smoothing.plus(gradients, more)
    gradients = with_penalty(lib, config, given, gradients)
    if asked.weights:
        of_weights = weights_gradient(lib, config, given.weights, directions)
        gradients = gradients._replace(weights=of_weights)
    saved = tuple(compress(gradients, asked))
    loss = combined(lib, config, given, directions)
    return (loss if lost is None else loss + lost), saved


def value_and_gradients(
    lib: Library, static: tuple[Config, Wanted], given: Given, labels: Labels
) -> tuple[Array, Arrays]:
    """Return a loss that is a number, and those of its gradients that are wanted."""
    config, wanted = static
    return value_and_saved(lib, config, given, labels, wanted)


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
        found = placed(wanted, tuple(x * upstream for x in saved))
        return _as_given(lib, config, arrays, found)
    given, labels, asked = Given(*arrays), Labels(*constants), Wanted(*wanted)
    problem = problem_of(lib, config, given, labels)
    pull = upstream if given.weights is None else upstream * given.weights
    back = plans.Back(saved, pull)
    directions, gradients, _ = plans.gradients(problem, given, labels, asked, back)
    if config.objective.smoothing != 0:
        directions = smoothing.losses(problem, given, labels, directions)
        pulls = [pull for _ in directions]
        more = smoothing.gradients(problem, given, labels, directions, pulls)
        gradients = smoothing.plus(gradients, more)
    if asked.weights:
        losses = sum(one.losses for one in directions) / len(directions)
        gradients = gradients._replace(weights=upstream * losses)
    # A program exported before there was a bias has no entry for it in `wanted`.
    each = zip(gradients, wanted, strict=False)
    found = tuple(x if there else None for x, there in each)
    return _as_given(lib, config, arrays, found)


def _as_given(lib: Library, config: Config, arrays: Arrays, found: Arrays) -> Arrays:
    """Return gradients in the dtypes of their arrays, which may be halves."""
    if not config.operands:
        return found
    return tuple(
        x if x is None or x.dtype == own.dtype else lib.xp.astype(x, own.dtype)
        for own, x in zip(arrays, found, strict=False)
    )


OPERATION = register(
    Operation(
        "loss_from_embeddings",
        Config,
        value,
        value_and_saved,
        backward,
        is_small,
        saves_gradients,
    )
)
