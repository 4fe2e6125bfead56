"""NumPy: what is the standard's too, by calls that cost less."""

from types import SimpleNamespace
from typing import Any

import array_api_compat.numpy
import numpy as np

from metricops._frameworks._library import Library
from metricops._typing import Array


class NumPy(Library):
    """NumPy arrays."""

    def asarray(self, value: Any, like: Array, dtype: Any = None) -> Array:
        """Return a number or array as an array."""
        return np.asarray(value, dtype=dtype)

    def positions(self, x: Array, axis: int, name: str) -> Array:
        """Return 0, 1, ... along an axis of `x`."""
        return np.arange(x.shape[axis])

    def pick(self, x: Array, columns: Array) -> Array:
        """Return one column of each row of the matrix `x`, shape (n, 1)."""
        return x[np.arange(x.shape[0]), columns][:, None]

    def plus_product(self, total: Array | None, x: Array, y: Array) -> Array:
        """Return ``x @ y`` added to `total`, in place."""
        product = x @ y
        return product if total is None else np.add(total, product, out=total)

    def position_error(
        self, scores: Array, columns: Array
    ) -> tuple[Array, Array, Array | None]:
        """Return each row's cross-entropy against one column, and its derivative."""
        # In place, as the panel is nobody else's: a new one costs its page faults.
        scores -= self.peak(scores, 1)
        own = self.pick(scores, columns)
        np.exp(scores, out=scores)
        partition = np.sum(scores, axis=1, keepdims=True)
        return (np.log(partition) - own)[:, 0], scores, 1 / partition


def _transposed(x: Array) -> Array:
    return x.mT


def _sum(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    return np.add.reduce(x, axis=axis, keepdims=keepdims)


def _max(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    return np.maximum.reduce(x, axis=axis, keepdims=keepdims)


def _mean(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    total = _sum(x, axis, keepdims)
    return total / x.dtype.type(x.size // max(np.size(total), 1))


# On tiny arrays the functions of NumPy cost more than the reductions that they call.
NUMPY = NumPy(
    SimpleNamespace(
        **vars(array_api_compat.numpy)
        | {"matrix_transpose": _transposed, "max": _max, "mean": _mean}
        | {"sum": _sum}
    ),
    "NumPy",
)
