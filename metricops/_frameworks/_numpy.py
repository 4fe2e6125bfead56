"""NumPy: what is the standard's too, by calls that cost less."""

from typing import Any

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
