"""Similarities of every vector of one set to every vector of another."""

from metricops import _checks
from metricops._arguments.arrays import (
    float_arrays,
    float_dtypes,
    main_arrays,
    widened,
)
from metricops._frameworks import Library
from metricops._frameworks.public import public
from metricops._similarity.normalize import unit
from metricops._typing import Array


@public
def pairwise_inner_product(x: Array, y: Array | None = None) -> Array:
    """Return the inner product of each vector of `x` with each vector of `y`.

    What ``InnerProductSimilarity`` of TensorFlow Similarity computes, for any number
    of leading axes, dtype and library.

    Parameters
    ----------
    x : array of shape (..., n, d), real floating or integer
        The vectors of the rows of the result.
    y : array of shape (..., m, d), real floating or integer, optional
        The vectors of its columns, with the leading axes of `x`. Default: `x`.

    Returns
    -------
    array of shape (..., n, m), in the dtype that `x` and `y` promote to
        Half precision is summed in float32. Integers stay integers: those of 8 and 16
        bits become int32, wider ones keep their dtype and wrap as their library does.

    Raises
    ------
    TypeError
        If an argument is not a real array, or they are of two libraries.
    ValueError
        If `x` has fewer than two axes, or `y` does not fit it.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import pairwise_inner_product
    >>> x = np.asarray([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    >>> pairwise_inner_product(x, np.asarray([[5.0, 9.0], [3.0, 6.0]])).tolist()
    [[23.0, 15.0], [51.0, 33.0], [79.0, 51.0]]
    """
    main = main_arrays(x=x) if y is None else main_arrays(x=x, y=y)
    lib = main.library
    left, right = fitting_pair(lib, main.first, main.second)
    return promoted_product(lib, left, lib.xp.matrix_transpose(right))


@public
def pairwise_cosine_similarity(x: Array, y: Array | None = None) -> Array:
    """Return the cosine of each vector of `x` with each vector of `y`.

    Parameters
    ----------
    x : array of shape (..., n, d), real floating or integer
        The vectors of the rows of the result.
    y : array of shape (..., m, d), real floating or integer, optional
        The vectors of its columns, with the leading axes of `x`. Default: `x`.

    Returns
    -------
    array of shape (..., n, m), in the dtype that `x` and `y` promote to
        Cosines in [-1, 1]; 0 where a vector is zero, with gradient 0 for that vector.

    Raises
    ------
    TypeError
        If an argument is not a real array, or they are of two libraries.
    ValueError
        If `x` has fewer than two axes, or `y` does not fit it.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import pairwise_cosine_similarity
    >>> x = np.asarray([[1.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    >>> pairwise_cosine_similarity(x).round(4).tolist()
    [[1.0, 0.6, 0.0], [0.6, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    given = {"x": x} if y is None else {"x": x, "y": y}
    inputs = widened(float_arrays(True, **given))
    lib = inputs.library
    left, right = fitting_pair(lib, inputs.first, inputs.second)
    rows = lib.quietly(unit, left)
    columns = rows if y is None else lib.quietly(unit, right)
    turned = lib.xp.matrix_transpose(columns)
    cosines = lib.multiplying(inputs.half).pair_product(rows, turned)
    return inputs.narrow(lib.within_one(cosines))


def promoted_product(lib: Library, left: Array, right: Array) -> Array:
    """Return a matrix product, of halves through float32 and of integers exactly."""
    xp = lib.xp
    kinds = [lib.dtype(x) for x in (left, right)]
    if "float" not in (kind.kind for kind in kinds):
        left, right = _widen_small(lib, left), _widen_small(lib, right)
        if left.dtype != right.dtype:
            left, right = lib.one_integer_dtype(left, right)
        product = left @ right
        # Dask sums products of int32 in int64.
        cut = left.dtype == right.dtype != product.dtype
        return xp.astype(product, left.dtype) if cut else product
    dtypes = float_dtypes(lib, left, right)
    left, right = (
        x if x.dtype == dtypes.promoted else xp.astype(x, dtypes.promoted)
        for x in (left, right)
    )
    if dtypes.computed == dtypes.promoted:
        return lib.product(left, right)
    product = lib.widened_product(left, right, dtypes.computed)
    return xp.astype(product, dtypes.result)


def _widen_small(lib: Library, x: Array) -> Array:
    return lib.xp.astype(x, lib.xp.int32) if lib.dtype(x).bits < 32 else x


def fitting_pair(lib: Library, x: Array, y: Array) -> tuple[Array, Array]:
    """Return the rows of both sides, having made sure that they fit each other."""
    shape = lib.shape(x)
    if len(shape) < 2:
        _checks.refuse_shape("x", "shape (..., n, d)", shape)
    other = lib.shape(y)
    expected = (*shape[:-2], "m", shape[-1])
    if len(other) != len(shape) or not _checks.fits(
        (*other[:-2], other[-1]), (*shape[:-2], shape[-1])
    ):
        _checks.refuse_shape("y", f"shape {_words(expected)}, to fit `x`", other)
    for axis in (*range(x.ndim - 2), x.ndim - 1):
        y = lib.agree(y, axis, x, axis, "`y` must fit `x`.") if y is not x else y
    return x, y


def _words(shape: tuple[object, ...]) -> str:
    return f"({', '.join(map(str, shape))})"
