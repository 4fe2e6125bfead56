"""Lists and NumPy arrays as arguments next to an array of another library.

The functions refuse them as main arrays; the distance objects take them, as those of
TensorFlow Similarity do.
"""

from typing import Any

from metricops._arguments.arrays import main_arrays
from metricops._frameworks import Library, library, unwrap
from metricops._frameworks.host import from_plain, is_numpy, is_plain
from metricops._frameworks.public import public
from metricops._typing import Array


@public
def of_one_library(x: Any, y: Any) -> tuple[Any, Any]:
    """Return `x` and `y`, the arguments of a distance, as arrays of one library.

    A list or NumPy array becomes an array of the other one's library. All else is left
    for the distance function to refuse.
    """
    x, y = unwrap(x), unwrap(y)
    if y is None:
        return x, y
    if _joins(x, y):
        return _joined("x", x, library("y", y), y), y
    if _joins(y, x):
        return x, _joined("y", y, library("x", x), x)
    return x, y


def _joins(value: Any, other: Any) -> bool:
    """Return whether `value` is to become an array of the library of `other`."""
    if is_plain(value):
        return not is_plain(other)
    return is_numpy(value) and not (is_plain(other) or is_numpy(other))


def _joined(name: str, value: Any, lib: Library, other: Array) -> Array:
    """Return a list or NumPy array as an array of the library of `other`."""
    host = from_plain(name, value) if is_plain(value) else value
    if not lib.traces_numpy():
        main_arrays(**{name: host})  # raises unless it is a real array
    array = lib.asarray(host, other)
    if not is_plain(value) or lib.dtype(array).kind != "float":
        return array
    # Numbers in a list have no dtype of their own.
    floats = lib.dtype(other).kind == "float"
    return lib.xp.astype(array, other.dtype if floats else lib.default_float(other))
