"""Vectors of length one, and the cosines of rows."""

from typing import NamedTuple

from metricops import _checks
from metricops._arguments.arrays import Inputs, float_arrays
from metricops._frameworks import Library
from metricops._frameworks.public import public
from metricops._typing import Array


@public
def l2_normalize(x: Array, *, axis: int | tuple[int, ...] = -1) -> Array:
    """Scale the vectors along an axis to unit length.

    Parameters
    ----------
    x : array of any shape, real floating or integer
        Vectors along `axis`.
    axis : int or tuple of ints
        The axis, or axes, that make up a vector.

    Returns
    -------
    array of the shape of `x`, in its dtype
        Vectors of L2 norm 1. A zero vector stays zero, and its gradient is zero.
        Vectors of any representable length are normalised: the norm neither overflows
        nor underflows on the way.

    Raises
    ------
    TypeError
        If `x` is not a real array, or `axis` no int.
    ValueError
        If `x` has no dimension, or `axis` is not an axis of it, or twice the same one.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import l2_normalize
    >>> l2_normalize(np.asarray([[3e30, 4e30], [0.0, 0.0]])).round(4).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    inputs = float_arrays(x=x)
    axes = _checks.check_axes_of("x", inputs.first.ndim, axis)
    return inputs.narrow(inputs.library.quietly(unit, inputs.first, axes))


class Units(NamedTuple):
    """Vectors of unit length, and what they were multiplied by and divided by then."""

    unit: Array
    factor: Array | float  # a power of two
    length: Array


def unit(lib: Library, x: Array, axes: tuple[int, ...] = (-1,)) -> Array:
    """Return `x` with the vectors along `axes` scaled to unit length."""
    return unit_and_norm(lib, x, axes).unit


def unit_and_norm(
    lib: Library, x: Array, axes: tuple[int, ...] = (-1,), kept: Array | None = None
) -> Units:
    """Return the unit vectors of `x`, and what makes them of `x`.

    A zero vector gets infinite length, so that it stays zero, and its gradient too.
    So does a vector that is not `kept`, whatever it holds.
    """
    length = lib.normal_lengths(x, axes)
    if length is not None:
        length = length if kept is None else lib.xp.where(kept, length, float("inf"))
        return Units(x / length, 1.0, length)
    y, factor = rescaled(lib, x, axes, kept)
    length = lib.lengths(y, axes)
    return Units(lib.over(y, length), factor, length)


def rescaled(
    lib: Library, x: Array, axes: tuple[int, ...], kept: Array | None = None
) -> tuple[Array, Array]:
    """Return vectors whose squares are normal, and what they were multiplied by.

    The factors are powers of two, so results do not depend on them, not by a bit, and
    they have no derivative. Vectors that are not `kept` become zero.
    """
    x = lib.unfolded(x)
    factor = lib.inverse_powers(lib.peak(lib.xp.abs(x), axes))
    if kept is None:
        return x * factor, factor
    factor = lib.xp.where(kept, factor, 1.0)  # NaN would be in the gradient too
    return lib.only(x * factor, kept), factor


def unit_gradient(
    lib: Library, units: Units, upstream: Array, axes: tuple[int, ...] = (-1,)
) -> Array:
    """Return the gradient of the vectors x that `units` are of, along `axes`.

    With u = x / |x| and g the gradient by u, it is (g - u (g · u)) / |x|. `upstream`,
    which is g, may be overwritten.
    """
    along = lib.xp.sum(upstream * units.unit, axis=axes, keepdims=True)
    across = lib.less(upstream, units.unit, along)
    found = lib.over(across, units.length)
    return found if isinstance(units.factor, float) else lib.times(found, units.factor)


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
