"""NumPy: what is the standard's too, by calls that cost less."""

from types import SimpleNamespace
from typing import Any

import array_api_compat.numpy
import numpy as np

from metricops._frameworks.library import Library
from metricops._typing import Array

_vecdot: Any = np.vecdot  # its types know of no axis


class NumPy(Library):
    """NumPy arrays."""

    def default_float(self, like: Array) -> Any:
        """Return the dtype that integers become."""
        return np.float64

    def host_dtype(self, name: str, like: Array) -> str:
        """Return the dtype of NumPy numbers, which is kept."""
        return name

    def asarray(self, value: Any, like: Array, dtype: Any = None) -> Array:
        """Return a number or array as an array."""
        return np.asarray(value, dtype=dtype)

    def positions(self, x: Array, axis: int, name: str) -> Array:
        """Return 0, 1, ... along an axis of `x`."""
        return np.arange(x.shape[axis])

    def pick(self, x: Array, columns: Array) -> Array:
        """Return one column of each row of the matrix `x`, shape (n, 1)."""
        return x[np.arange(x.shape[0]), columns][:, None]

    # In place, where a panel is nobody else's: a new one costs its page faults.

    def plus(self, x: Array, y: Array) -> Array:
        """Return ``x + y``, in place."""
        return np.add(x, y, out=x)

    def times(self, x: Array, y: Array) -> Array:
        """Return ``x * y``, in place."""
        return np.multiply(x, y, out=x)

    def minus(self, x: Array, y: Array) -> Array:
        """Return ``x - y``, in place."""
        return np.subtract(x, y, out=x)

    def exp(self, x: Array) -> Array:
        """Return the exponentials of `x`, in place."""
        return np.exp(x, out=x)

    def put(self, x: Array, columns: Array, value: float) -> Array:
        """Return `x` with one column of each row replaced, in place."""
        x[np.arange(x.shape[0]), columns] = value
        return x

    def dots(self, x: Array, y: Array, axis: int) -> Array:
        """Return the sums of the products of two matrices along an axis."""
        return _vecdot(x, y, axis=axis)

    def plus_product(self, total: Array | None, x: Array, y: Array) -> Array:
        """Return ``x @ y`` added to `total`, in place."""
        product = x @ y
        return product if total is None else np.add(total, product, out=total)


def _transposed(x: Array) -> Array:
    return x.mT


def _sum(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    return x.sum(axis=axis, keepdims=keepdims)


def _max(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    return x.max(axis=axis, keepdims=keepdims)


def _mean(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    total = _sum(x, axis, keepdims)
    return total / x.dtype.type(x.size // max(np.size(total), 1))


# On tiny arrays the functions of NumPy cost more than the methods that they call.
NUMPY = NumPy(
    SimpleNamespace(
        **vars(array_api_compat.numpy)
        | {"matrix_transpose": _transposed, "max": _max, "mean": _mean}
        | {"sum": _sum}
    ),
    "NumPy",
)
