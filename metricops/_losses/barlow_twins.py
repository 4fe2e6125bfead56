"""The Barlow Twins loss of two views of a batch."""

from typing import Any, NamedTuple

from metricops._arguments.options import check_number
from metricops._frameworks import Arrays, Library
from metricops._frameworks.public import public
from metricops._losses.column_products import (
    centred,
    count,
    factors_of,
    less_mean,
    squares,
    two_views,
)
from metricops._losses.solvable import Solvable, Solved, differentiated, number
from metricops._similarity.normalize import Units, unit_and_norm, unit_gradient
from metricops._typing import Array


class Config(NamedTuple):
    """What is static about a call."""

    off_diagonal_weight: float


def _solve(
    lib: Library, config: Config, arrays: Arrays, constants: Arrays, slopes: bool
) -> Solved:
    """Return the loss, and its gradients.

    A correlation is the product of two columns of unit length.
    """
    xp, weight = lib.xp, config.off_diagonal_weight
    factors = [factors_of(lib, x) for x in arrays]
    pairs = zip(arrays, factors, strict=True)
    views = [unit_and_norm(lib, centred(lib, x * factor), (0,)) for x, factor in pairs]
    first, second = (view.unit for view in views)
    found = squares(lib, first, second, slopes)
    short = 1 - xp.sum(first * second, axis=0, keepdims=True)
    short = short * lib.clip(count(lib, first, 0), 0.0, 1.0)  # of no rows it is 0
    loss = xp.sum(short * short) + weight * found.total
    if not slopes:
        return Solved(loss)
    pulls = weight * found.first, weight * found.second
    sides = zip(views, pulls, (second, first), strict=True)
    found_of = (_of_view(lib, *side, short) for side in sides)
    return Solved(
        loss, tuple(x * factor for x, factor in zip(found_of, factors, strict=True))
    )


def _of_view(
    lib: Library, view: Units, pull: Array, other: Array, short: Array
) -> Array:
    """Return the gradient of a view, of which `pull` is the part of the squares."""
    of_unit = pull - 2 * short * other
    return less_mean(lib, unit_gradient(lib, view, of_unit, (0,)))


_LOSS = number("barlow_twins", Config, _solve)


def _solvable(first: Any, second: Any, off_diagonal_weight: Any) -> Solvable:
    """Return a call as `value_and_grad` takes it."""
    config = Config(check_number("off_diagonal_weight", off_diagonal_weight))
    inputs = two_views(first, second)
    arrays = inputs.first, inputs.second
    return Solvable(inputs, _LOSS.solve, config, arrays, (), ("first", "second"))


@public
@differentiated(_solvable)
def barlow_twins_loss(
    first: Array, second: Array, *, off_diagonal_weight: float = 5e-3
) -> Array:
    """Return the Barlow Twins loss of two views of a batch.

    The features of one view are to correlate with those of the other each with itself
    alone [1]_: with the matrix C of their correlations over the batch, the loss is
    ``sum((1 - C[i, i])**2) + off_diagonal_weight * sum(C[i, j]**2 for i != j)``. The
    matrix is never held whole.

    Parameters
    ----------
    first, second : arrays of shape (n, d), real floating or integer
        The embeddings of the two views of each sample.
    off_diagonal_weight : float
        What correlations of different features weigh.

    Returns
    -------
    array of shape ()
        In the dtype that the embeddings promote to. A feature that is constant over the
        batch correlates with none, and has gradient 0: of a batch of one, the loss is
        d. Of an empty batch it is 0.

    Raises
    ------
    TypeError
        If an argument is of a wrong dtype or library.
    ValueError
        If a shape or a value does not fit.

    References
    ----------
    .. [1] J. Zbontar, L. Jing, I. Misra, Y. LeCun, S. Deny, "Barlow Twins:
       Self-Supervised Learning via Redundancy Reduction", ICML 2021, equations 1 and 2.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import barlow_twins_loss
    >>> first = np.asarray([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    >>> round(float(barlow_twins_loss(first, 2 * first)), 4)
    0.0025
    """
    return _LOSS.loss_of(_solvable(first, second, off_diagonal_weight))
