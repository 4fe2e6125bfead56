"""The dot product along an axis of each sample of a batch."""

from typing import Any, NamedTuple

from metricops import _checks
from metricops._arguments.arrays import float_arrays, main_arrays
from metricops._frameworks import Library
from metricops._frameworks.public import public
from metricops._similarity.normalize import cosines, unit
from metricops._similarity.pairwise import promoted_product
from metricops._typing import Array


@public
def dot(
    x: Array, y: Array, *, axes: int | tuple[int, int], normalize: bool = False
) -> Array:
    r"""Contract an axis of each sample of `x` with an axis of its sample of `y`.

    ``keras.layers.Dot`` [1]_ as a function.

    Parameters
    ----------
    x, y : arrays of shape (batch, ...), real floating or integer
        Two batches of one length, of two axes or more.
    axes : int or tuple of two ints
        The axis of `x` and the axis of `y`, or one for both; not the batch axis.
    normalize : bool
        Whether to scale the vectors along those axes to unit length first, so that the
        result holds cosines.

    Returns
    -------
    array of shape (batch, \*rest of x, \*rest of y), or (batch, 1) for two matrices
        In the dtype that `x` and `y` promote to. Half precision is summed in float32.
        Unless normalised, integers stay integers, as in `pairwise_inner_product`.

    Raises
    ------
    TypeError
        If an argument is not a real array, or they are of two libraries.
    ValueError
        If a shape or an axis does not fit.

    References
    ----------
    .. [1] Keras 3, ``keras.layers.Dot``.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import dot
    >>> x = np.arange(10).reshape(1, 5, 2)
    >>> y = np.arange(10, 20).reshape(1, 2, 5)
    >>> dot(x, y, axes=(1, 2)).tolist()
    [[[260, 360], [320, 445]]]
    """
    if _checks.check_bool("normalize", normalize):
        inputs = float_arrays(x=x, y=y)
        lib = inputs.library
        left, right = _factors(lib, inputs.first, inputs.second, axes)
        if left.array.ndim == right.array.ndim == 2:
            of_rows = cosines(lib, left.array, right.array, (1,))
            return inputs.narrow(of_rows[:, None])
        left, right = (
            Factor(unit(lib, side.array, (side.axis,)), side.axis)
            for side in (left, right)
        )
        return inputs.narrow(lib.within_one(_contract(lib, left, right)))
    main = main_arrays(x=x, y=y)
    left, right = _factors(main.library, main.first, main.second, axes)
    return _contract(main.library, left, right)


class Factor(NamedTuple):
    """An array of a product, and the axis along which it is summed."""

    array: Array
    axis: int


class Matrices(NamedTuple):
    """A factor as a batch of matrices."""

    array: Array  # (batch, others, axis)
    sizes: list[Any]  # of the other axes


def _contract(lib: Library, left: Factor, right: Factor) -> Array:
    """Return the product of two factors, summed along their axes."""
    x, y = left.array, right.array
    if x.ndim == y.ndim == 2 and x.dtype == y.dtype and _is_wide_float(lib, x):
        return lib.xp.sum(x * y, axis=1, keepdims=True)
    rows, columns = _matrices(lib, left), _matrices(lib, right)
    out = promoted_product(lib, rows.array, lib.xp.matrix_transpose(columns.array))
    if len(rows.sizes) > 1 or len(columns.sizes) > 1:
        return lib.xp.reshape(out, (lib.size(x, 0), *rows.sizes, *columns.sizes))
    if not rows.sizes:
        return out[:, 0, ...]
    return out if columns.sizes else out[..., 0]


def _is_wide_float(lib: Library, x: Array) -> bool:
    found = lib.dtype(x)
    return found.kind == "float" and found.bits >= 32


def _matrices(lib: Library, factor: Factor) -> Matrices:
    """Return a factor as a batch of matrices.

    Nothing is reshaped that need not be: Dask may not know the sizes.
    """
    x, axis = factor.array, factor.axis
    others = [i for i in range(1, x.ndim) if i != axis]
    sizes = [lib.size(x, i) for i in others]
    moved = lib.xp.permute_dims(x, (0, *others, axis))
    if not others:
        return Matrices(moved[:, None, :], sizes)
    if len(others) == 1:
        return Matrices(moved, sizes)
    shape = (lib.size(x, 0), _product(sizes), lib.size(x, axis))
    return Matrices(lib.xp.reshape(moved, shape), sizes)


def _product(sizes: list[Any]) -> Any:
    total = 1
    for size in sizes:
        total = total * size
    return total


def _factors(lib: Library, x: Array, y: Array, axes: Any) -> tuple[Factor, Factor]:
    """Return both factors, having made sure that they fit each other."""
    pair = tuple(axes) if isinstance(axes, (tuple, list)) else (axes, axes)
    if len(pair) != 2:
        _checks.refuse_value("axes", "an int or a pair of ints", axes)
    first, second = pair
    left, right = lib.shape(x), lib.shape(y)
    first = _checked_axis("x", left, first, axes)
    second = _checked_axis("y", right, second, axes)
    if not _checks.same(left[0], right[0]):
        _checks.refuse_shape("y", f"the batch size of `x`, {left[0]}", right)
    if not _checks.same(left[first], right[second]):
        need = f"size {left[first]} along axis {second}, as `x` along axis {first}"
        _checks.refuse_shape("y", need, right)
    y = lib.agree(y, 0, x, 0, "`y` must have the batch size of `x`.")
    need = "`y` must have the size of `x` along its axis."
    return Factor(x, first), Factor(lib.agree(y, second, x, first, need), second)


def _checked_axis(name: str, shape: _checks.Shape, axis: Any, axes: Any) -> int:
    """Return an axis counted from the front, having made sure that it is no batch."""
    if len(shape) < 2:
        _checks.refuse_shape(name, "shape (batch, ...) of two axes or more", shape)
    found = _checks.check_axis(axis, len(shape), "axes")
    if found == 0:
        _checks.refuse_value("axes", "axes other than the batch axis, 0", axes)
    return found
