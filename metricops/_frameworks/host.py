"""Lists and NumPy arrays, before they become arrays of the call's library."""

from typing import Any

import numpy as np

from metricops._typing import Array


def is_plain(x: Any) -> bool:
    """Return whether `x` is a list or a number, of no library."""
    return isinstance(x, (list, tuple, int, float))


def is_numpy(x: Any) -> bool:
    """Return whether `x` is a NumPy array or number."""
    return isinstance(x, (np.ndarray, np.generic))


def from_plain(name: str, x: Any) -> Array:
    """Return a list or a number as a NumPy array."""
    try:
        return np.asarray(x)
    except ValueError:
        msg = f"`{name}` must be a rectangular list; got a ragged list."
        raise ValueError(msg) from None


def labels_from_plain(name: str, x: Any) -> Array:
    """Return a list of labels as a NumPy array that keeps them apart."""
    array = from_plain(name, x)
    # NumPy makes floats of [2**63, -1] and strings of [1, "1"].
    return array if array.dtype.kind in "biu" else np.asarray(x, dtype=object)


def is_numeric(x: Array) -> bool:
    """Return whether a NumPy array holds numbers, and so can become a library's."""
    return x.dtype.kind in "biufcV"


def codes(arrays: list[Array]) -> list[Array]:
    """Return small integers for the labels, the same one for the same label."""
    found: dict[Any, int] = {}
    coded = []
    for x in arrays:
        # A NaN is no label's equal, so each gets a code of its own.
        numbers = [
            found.setdefault(label if label == label else object(), len(found))
            for label in x.ravel().tolist()
        ]
        coded.append(np.asarray(numbers, dtype=np.int32).reshape(x.shape))
    return coded
