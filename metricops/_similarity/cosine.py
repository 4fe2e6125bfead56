"""Cosine similarity of rows."""

from metricops import _checks
from metricops._arguments.arrays import Inputs, float_arrays
from metricops._frameworks import Library
from metricops._frameworks.public import public
from metricops._similarity.normalize import rescaled
from metricops._typing import Array


@public
def cosine_similarity(x: Array, y: Array, *, axis: int | tuple[int, ...] = -1) -> Array:
    """Return the cosine of the angle between each vector of `x` and its one of `y`.

    Parameters
    ----------
    x, y : arrays of one shape, real floating or integer
        Vectors along `axis`. Nothing is broadcast.
    axis : int or tuple of ints
        The axis, or axes, that make up a vector.

    Returns
    -------
    array of the shape of `x` without `axis`, in the dtype that `x` and `y` promote to
        Cosines in [-1, 1]; 0 where a vector is zero, with gradient 0 for that vector.

    Raises
    ------
    TypeError
        If an argument is not a real array, or they are of two libraries.
    ValueError
        If the shapes differ, or `axis` is not an axis.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import cosine_similarity
    >>> x = np.asarray([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]])
    >>> y = np.asarray([[6.0, 8.0], [0.0, 2.0], [1.0, 1.0]])
    >>> cosine_similarity(x, y).tolist()
    [1.0, 0.0, 0.0]
    """
    inputs = float_arrays(x=x, y=y)
    return inputs.narrow(row_cosines("x", "y", inputs, axis))


def row_cosines(
    first: str, second: str, inputs: Inputs, axis: int | tuple[int, ...]
) -> Array:
    """Return the cosines along `axis` of the arguments called `first` and `second`."""
    lib, x = inputs.library, inputs.first
    y = lib.shaped(second, inputs.second, first, x)
    axes = _checks.check_axes_of(first, x.ndim, axis)
    found: Array = lib.quietly(cosines, x, y, axes)
    return found


def cosines(lib: Library, x: Array, y: Array, axes: tuple[int, ...]) -> Array:
    """Return the cosines of two arrays of one shape, 0 of a zero vector."""
    xp = lib.xp
    (x, _), (y, _) = (rescaled(lib, z, axes) for z in (x, y))
    squares = xp.sum(x * x, axis=axes) * xp.sum(y * y, axis=axes)
    lengths = xp.sqrt(xp.where(squares == 0, float("inf"), squares))
    return lib.within_one(xp.sum(x * y, axis=axes) / lengths)
