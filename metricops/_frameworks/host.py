"""Lists, numbers and NumPy arrays, before they become arrays of the call's library."""

import math
from typing import Any

import numpy as np

from metricops._checks import Sentence, refuse_kind
from metricops._frameworks.dtypes import describe
from metricops._typing import Array

_PLAIN = frozenset((int, float, complex, bool, str, bytes, type(None), np.ndarray))
_PROTOCOLS = ("__array__", "__array_namespace__", "__dlpack__")
_WORDS = {"U": "str", "T": "str", "S": "bytes", "O": "object"}


def is_plain(x: Any) -> bool:
    """Return whether `x` is a list or a number, of no library."""
    return isinstance(x, (list, tuple, range, int, float))


def is_numpy(x: Any) -> bool:
    """Return whether `x` is a NumPy array or number."""
    return isinstance(x, (np.ndarray, np.generic))


def refuse_subclass(name: str, x: Any) -> None:
    """Raise if `x` is a NumPy array with masked values, or of the class `matrix`."""
    if isinstance(x, np.ma.MaskedArray):
        refuse_kind(name, "MaskedArray")
    if isinstance(x, np.matrix):
        refuse_kind(name, "matrix")


def from_plain(name: str, x: Any) -> Array:
    """Return a list or a number as a NumPy array."""
    try:
        return np.asarray(x)
    except ValueError:
        msg = f"`{name}` must be a rectangular list; got a ragged list."
        raise ValueError(Sentence(msg)) from None


def array_inside(x: Any) -> Any:
    """Return an array that a list holds, of another library or masked, or None."""
    if not isinstance(x, (list, tuple)) or _PLAIN.issuperset(map(type, x)):
        return None
    for item in x:
        if isinstance(item, (list, tuple)):
            item = array_inside(item)
            if item is not None:
                return item
        elif isinstance(item, np.ma.MaskedArray) or _is_foreign(item):
            return item
    return None


def _is_foreign(x: Any) -> bool:
    """Return whether `x` is an array of another library than NumPy."""
    return not is_numpy(x) and any(hasattr(x, word) for word in _PROTOCOLS)


def is_number(x: Any) -> bool:
    """Return whether `x` is a real number of Python or NumPy, and no bool."""
    if isinstance(x, (int, float)):
        return not isinstance(x, bool)
    return isinstance(x, np.generic) and kind_of(x) in ("int", "float")


def labels_from_plain(name: str, x: Any) -> Array:
    """Return a list of labels as a NumPy array that keeps them apart."""
    array = from_plain(name, x)
    if array.size == 0:  # of which NumPy makes floats
        return array.astype(np.int64)
    if array.dtype.kind in "biuc":
        return array
    objects = np.asarray(x, dtype=object)
    # NumPy makes floats of [2**63, -1] and strings of [1, "1"].
    pairs = zip(array.ravel().tolist(), objects.ravel().tolist(), strict=True)
    exact = array.dtype.kind == "f" and all(_is_same(x, y) for x, y in pairs)
    return array if exact else objects


def indices_from_plain(name: str, x: Any) -> Array:
    """Return numbers that may be indices of rows as small integers, -1 for others."""
    array = from_plain(name, x)
    if array.dtype.kind not in "biu":  # the largest number of a half is small
        array = array.astype(np.float64)
    fits = (array >= 0) & (array < 2**31 - 1) & (array == np.floor(array))
    known = np.where(fits, array, 0).astype(np.int32)
    return np.where(fits, known, np.int32(-1))


def _is_same(x: float, y: Any) -> bool:
    y = y.item() if isinstance(y, np.generic) else y
    return bool(x == y) or bool(x != x and y != y)


def kind_of(x: Array) -> str:
    """Return the kind of the dtype of a NumPy array, in words."""
    return describe(x.dtype.name).kind


def dtype_word(x: Array) -> str:
    """Return what to call the dtype of a NumPy array."""
    return _WORDS.get(x.dtype.kind, x.dtype.name)


def is_numeric(x: Array) -> bool:
    """Return whether a NumPy array holds numbers, and so can become a library's."""
    return x.dtype.kind in "biufcV"


def is_kept(x: Array, dtype: str) -> bool:
    """Return whether no number of a NumPy array changes in the dtype of that name."""
    if x.dtype.name == dtype:
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        short = x.astype(dtype)
        back = short.astype(x.dtype)  # NumPy compares integers with floats as floats
    return all(
        np.array_equal(y, x, equal_nan=x.dtype.kind == "f") for y in (short, back)
    )


def in_order(x: Array, dtype: str) -> Array:
    """Return a NumPy array, or its ranks where the dtype of that name would round it.

    A NaN has no rank, and stays.
    """
    plain = type(x) is np.ndarray and kind_of(x) in ("int", "float")
    if not plain or is_kept(x, dtype):
        return x
    _, ranks = np.unique(x, return_inverse=True)
    return np.where(x != x, math.nan, ranks.reshape(x.shape))


def cast(x: Array, dtype: str) -> Array:
    """Return a NumPy array in the dtype of that name, its bytes in the usual order."""
    return x if x.dtype.name == dtype and x.dtype.isnative else x.astype(dtype)


def codes(arrays: list[Array]) -> list[Array]:
    """Return a number for each label, the same one for the same label.

    A NaN equals no label, not even itself: its number is NaN.
    """
    found: dict[Any, int] = {}
    coded = [_coded(x, found) for x in arrays]
    unequal = [np.asarray(x != x, dtype=bool) for x in arrays]
    if not any(x.any() for x in unequal):
        return coded
    # Floats for all, so that one may be NaN: code k becomes the k-th float after 1.
    one = np.ones((), np.float32).view(np.int32)
    floats = [(one + x).view(np.float32) for x in coded]
    pairs = zip(unequal, floats, strict=True)
    return [np.where(x, np.float32("nan"), y) for x, y in pairs]


def _coded(x: Array, found: dict[Any, int]) -> Array:
    numbers = [found.setdefault(label, len(found)) for label in x.ravel().tolist()]
    return np.asarray(numbers, dtype=np.int32).reshape(x.shape)


def traced_codes(values: dict[str, Any]) -> dict[str, Any]:
    """Return labels with codes in place of strings, in lists alone.

    Only plain Python runs while NumPy is traced.
    """
    lists = [x for x in values.values() if is_plain(x)]
    if len(lists) < len(values) or not any(_has_string(x) for x in lists):
        return values
    found: dict[Any, int] = {}
    return {name: _coded_list(x, found) for name, x in values.items()}


def _has_string(x: Any) -> bool:
    if isinstance(x, (list, tuple)):
        return any(_has_string(part) for part in x)
    return isinstance(x, str)


def _coded_list(x: Any, found: dict[Any, int]) -> Any:
    if isinstance(x, (list, tuple)):
        return [_coded_list(part, found) for part in x]
    return found.setdefault(x, len(found))
