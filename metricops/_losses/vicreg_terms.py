"""The three terms of the VICReg loss, and their gradients."""

from typing import NamedTuple

from metricops._frameworks import Arrays, Library
from metricops._losses.column_products import at_least_one, centred, count, squares
from metricops._losses.solvable import Solved, number
from metricops._typing import Array


class Config(NamedTuple):
    """What is static about a call."""

    invariance: float
    variance: float
    covariance: float
    epsilon: float
    ddof: int


def _solve(
    lib: Library, config: Config, arrays: Arrays, constants: Arrays, slopes: bool
) -> Solved:
    """Return the loss, and its gradients."""
    first, second = arrays
    apart = first - second
    entries = count(lib, first, 0) * count(lib, first, 1)
    share = config.invariance / at_least_one(lib, entries)
    one, other = (_spread(lib, config, x, slopes) for x in arrays)
    loss = share * lib.xp.sum(apart * apart) + one.loss + other.loss
    if not slopes:
        return Solved(loss)
    pull = 2 * share * apart
    (of_first,), (of_second,) = one.gradients, other.gradients
    return Solved(loss, (of_first + pull, of_second - pull))


def _spread(lib: Library, config: Config, view: Array, slopes: bool) -> Solved:
    """Return the terms of variance and covariance of one view."""
    xp, x = lib.xp, centred(lib, view)
    n, width = count(lib, x, 0), at_least_one(lib, count(lib, x, 1))
    freedom = at_least_one(lib, n - config.ddof)
    squared = xp.sum(x * x, axis=0, keepdims=True)
    deviation = xp.sqrt(squared / freedom + config.epsilon)
    # One row has no variance, nor have as few as its degrees of freedom leave out.
    short = lib.clip(1 - deviation, 0.0, float("inf"))
    short = xp.where(n > max(config.ddof, 1), short, 0.0)
    scale = 1 / xp.sqrt(at_least_one(lib, n - 1))
    found = squares(lib, x * scale, None, slopes)
    of_variance = config.variance / 2 / width
    of_covariance = config.covariance / width
    loss = of_variance * xp.sum(short) + of_covariance * found.total
    if not slopes:
        return Solved(loss)
    pull = xp.where(short > 0, -of_variance / (deviation * freedom), 0.0)
    return Solved(loss, (pull * x + of_covariance * scale * found.first,))


LOSS = number("vicreg", Config, _solve)
