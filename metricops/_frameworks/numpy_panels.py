"""Steps over panels in NumPy, whose parts stay in the caches of a processor."""

import numpy as np

from metricops._typing import Array

_PART = 2**16  # numbers at a time: a panel of what is between would be new memory


def less(x: Array, y: Array, factor: Array) -> Array:
    """Return ``x - y * factor``, in place."""
    if x.size <= _PART:
        return np.subtract(x, y * factor, out=x)
    step = max(_PART // x.shape[1], 1)
    room = np.empty((step, x.shape[1]), x.dtype)
    for i in range(0, x.shape[0], step):
        rows = slice(i, min(i + step, x.shape[0]))
        own = factor[rows] if factor.shape[0] == x.shape[0] else factor
        part = np.multiply(y[rows], own, out=room[: rows.stop - i])
        np.subtract(x[rows], part, out=x[rows])
    return x
