"""The dot product along an axis of each sample of a batch."""

from typing import Any, NoReturn

from metricops import _checks
from metricops._arguments.arrays import float_arrays, main_arrays
from metricops._frameworks import Library
from metricops._frameworks.public import public
from metricops._similarity.cosine import cosines
from metricops._similarity.normalize import unit
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
    if normalize:
        inputs = float_arrays(x=x, y=y)
        lib, arrays = inputs.library, list(inputs.arrays)
        first, second = _check(lib, arrays, axes)
        if arrays[0].ndim == arrays[1].ndim == 2:
            return inputs.narrow(cosines(lib, arrays[0], arrays[1], (1,))[:, None])
        units = [unit(lib, arrays[0], (first,)), unit(lib, arrays[1], (second,))]
        return inputs.narrow(lib.within_one(_contract(lib, units, first, second)))
    lib, arrays = main_arrays(x=x, y=y)
    first, second = _check(lib, arrays, axes)
    return _contract(lib, arrays, first, second)


def _contract(lib: Library, arrays: list[Array], first: int, second: int) -> Array:
    x, y = arrays
    if x.ndim == y.ndim == 2 and x.dtype == y.dtype and _is_wide_float(lib, x):
        return lib.xp.sum(x * y, axis=1, keepdims=True)
    left, rows = _flattened(lib, x, first)
    right, columns = _flattened(lib, y, second)
    out = promoted_product(lib, left, lib.xp.matrix_transpose(right))
    if len(rows) > 1 or len(columns) > 1:
        return lib.xp.reshape(out, (lib.size(x, 0), *rows, *columns))
    if not rows:
        return out[:, 0, ...]
    return out if columns else out[..., 0]


def _is_wide_float(lib: Library, x: Array) -> bool:
    found = lib.dtype(x)
    return found.kind == "float" and found.bits >= 32


def _flattened(lib: Library, x: Array, axis: int) -> tuple[Array, list[Any]]:
    """Return `x` as (batch, others, axis), and the sizes of the others.

    Nothing is reshaped that need not be: Dask may not know the sizes.
    """
    others = [i for i in range(1, x.ndim) if i != axis]
    sizes = [lib.size(x, i) for i in others]
    moved = lib.xp.permute_dims(x, (0, *others, axis))
    if not others:
        return moved[:, None, :], sizes
    if len(others) == 1:
        return moved, sizes
    total = _product(sizes)
    return lib.xp.reshape(moved, (lib.size(x, 0), total, lib.size(x, axis))), sizes


def _product(sizes: list[Any]) -> Any:
    total = 1
    for size in sizes:
        total = total * size
    return total


def _check(lib: Library, arrays: list[Array], axes: Any) -> tuple[int, int]:
    """Return the axes counted from the front, having made sure that they fit."""
    x, y = arrays
    shapes = {"x": lib.shape(x), "y": lib.shape(y)}
    pair = tuple(axes) if isinstance(axes, (tuple, list)) else (axes, axes)
    if len(pair) != 2:
        _checks.refuse_value("axes", "an int or a pair of ints", axes)
    found = []
    for (name, shape), axis in zip(shapes.items(), pair, strict=True):
        if len(shape) < 2:
            _checks.refuse_shape(name, "shape (batch, ...) of two axes or more", shape)
        found.append(_checks.check_axis(axis, len(shape), "axes"))
        if found[-1] == 0:
            _refuse_batch_axis(axes)
    first, second = found
    if not _checks.same(shapes["x"][0], shapes["y"][0]):
        _checks.refuse_shape(
            "y", f"the batch size of `x`, {shapes['x'][0]}", shapes["y"]
        )
    length = shapes["x"][first]
    if not _checks.same(length, shapes["y"][second]):
        need = f"size {length} along axis {second}, as `x` along axis {first}"
        _checks.refuse_shape("y", need, shapes["y"])
    y = lib.agree(y, 0, x, 0, "`y` must have the batch size of `x`.")
    arrays[1] = lib.agree(
        y, second, x, first, "`y` must have the size of `x` along its axis."
    )
    return first, second


def _refuse_batch_axis(axes: Any) -> NoReturn:
    _checks.refuse_value("axes", "axes other than the batch axis, 0", axes)
