"""Which labels are the same: never cut to 32 bits, never rounded to a float."""

import math
from typing import Any

from metricops._frameworks import Dtype, Library
from metricops._typing import Array


def matches(lib: Library, labels: Array, others: Array) -> Array:
    """Return which labels of two rows of them are the same, shape (n, m), bool."""
    return same_labels(lib, labels[:, None], others[None, :])


def same_labels(lib: Library, labels: Array, others: Array) -> Array:
    """Return where labels are the same number, whatever their dtypes; NaN never is."""
    if labels.dtype != others.dtype:
        labels, others = _comparable(lib, labels, others)
    return lib.xp.equal(labels, others)


def _comparable(lib: Library, x: Array, y: Array) -> tuple[Array, Array]:
    """Return labels of two dtypes in one dtype, equal where they are the same number.

    It is no wider than theirs, as the device may have no wider one.
    """
    left, right = lib.dtype(x), lib.dtype(y)
    if left.kind == "bool":
        return lib.xp.astype(x, y.dtype), y
    if right.kind == "bool":
        return x, lib.xp.astype(y, x.dtype)
    if left.kind == right.kind == "int":
        return _integers(lib, x, y)
    return _floats(lib, x, y)


def _integers(lib: Library, x: Array, y: Array) -> tuple[Array, Array]:
    left, right = lib.dtype(x), lib.dtype(y)
    bits = max(left.bits, right.bits)
    if left.signed == right.signed:
        wide = lib.dtype_called(f"int{bits}" if left.signed else f"uint{bits}")
        return lib.xp.astype(x, wide), lib.xp.astype(y, wide)
    # A large unsigned label may become negative, and must then equal no other label.
    wide = lib.dtype_called(f"int{bits}")
    rows, columns = lib.xp.astype(x, wide), lib.xp.astype(y, wide)
    return (
        lib.xp.where(rows < 0, -1 if left.signed else -2, rows),
        lib.xp.where(columns < 0, -1 if right.signed else -2, columns),
    )


def _floats(lib: Library, x: Array, y: Array) -> tuple[Array, Array]:
    """Return labels of which one or both are floats as floats."""
    kinds = [lib.dtype(x), lib.dtype(y)]
    bits = max(found.bits for found in kinds if found.kind == "float")
    names = [x.name for x in kinds if x.kind == "float" and x.bits == bits]
    wide = lib.dtype_called(names[0] if bits >= 32 else "float32")
    return _as_floats(lib, x, kinds[0], wide), _as_floats(lib, y, kinds[1], wide)


def _as_floats(lib: Library, labels: Array, found: Dtype, wide: Any) -> Array:
    """Return labels as floats; NaN for an integer that no such float equals."""
    xp = lib.xp
    floats = xp.astype(labels, wide)
    if found.kind == "float":
        return floats
    # A float beyond the largest integer cannot be converted back.
    inside = floats < 2.0 ** (found.bits - found.signed)
    back = xp.astype(xp.where(inside, floats, 0.0), labels.dtype)
    same = xp.logical_and(inside, xp.equal(back, labels))
    return xp.where(same, floats, math.nan)


def shared(lib: Library, labels: Array, others: Array, dtype: Any) -> Array:
    """Return how many labels each two multi-hot rows share, shape (n, m)."""
    # Multi-hot entries are counts, so they may be floats.
    rows = labels if labels.dtype == dtype else lib.xp.astype(labels, dtype)
    columns = others if others.dtype == dtype else lib.xp.astype(others, dtype)
    return lib.product(rows, lib.xp.matrix_transpose(columns))


def shared_or_same(lib: Library, labels: Array, others: Array, dtype: Any) -> Array:
    """Return what `shared` does, or for labels of one column whether they are the same.

    Where their width is unknown while tracing, this is decided at run time.
    """
    counts = shared(lib, labels, others, dtype)
    if None not in (lib.shape(labels)[1], lib.shape(others)[1]):
        return counts
    same = matches(lib, lib.first_column(labels), lib.first_column(others))
    one = lib.size(labels, 1) == 1
    return lib.xp.where(one, lib.xp.astype(same, dtype), counts)
