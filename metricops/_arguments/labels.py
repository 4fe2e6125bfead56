"""Labels as arrays to compare: never cut to 32 bits, never rounded to a float."""

import math
from typing import Any

from metricops import _checks
from metricops._arguments.arrays import companion, numbers, refuse_list_of_arrays
from metricops._frameworks import Dtype, Library, known_library, library, unwrap
from metricops._frameworks.host import (
    codes,
    dtype_word,
    from_plain,
    is_kept,
    is_numeric,
    is_numpy,
    is_plain,
    labels_from_plain,
    refuse_subclass,
    traced_codes,
)
from metricops._typing import Array

_KINDS = ("int", "bool", "float")
_LABELS = "of integers, bools, real floats or strings"
_MULTIHOT = "of integers, bools or real floats where it is multi-hot"


def label_arrays(lib: Library, main: str, like: Array, **given: Any) -> list[Array]:
    """Return each of the labels `given` as an array of the library of `main`.

    Lists and NumPy arrays that the library would change (strings, or 64-bit integers
    in JAX) become small codes first, the same code for the same label. No label has a
    derivative.
    """
    arrays = _known(lib, given)
    if arrays is not None:
        return arrays
    arrays = _companions(lib, main, like, given)
    for name, x in zip(given, arrays, strict=True):
        found = lib.dtype(x)
        if found.kind not in _KINDS:
            _checks.refuse_dtype(name, _LABELS, found.name)
    return [_constant(lib, x) for x in arrays]


def multihot_arrays(lib: Library, main: str, like: Array, **given: Any) -> list[Array]:
    """Return labels known to be multi-hot as arrays of the library of `main`.

    They are counts, in the dtype of `like`, and have no derivative.
    """
    return [
        _constant(lib, numbers(lib, name, x, main, like, _MULTIHOT))
        for name, x in given.items()
    ]


def _constant(lib: Library, labels: Array) -> Array:
    return lib.stop_gradient(labels) if lib.dtype(labels).kind == "float" else labels


def _known(lib: Library, given: dict[str, Any]) -> list[Array] | None:
    """Return labels that are numbers in arrays of the library, and None for others."""
    if known_library(*given.values()) is not lib:
        return None
    arrays = []
    for name, value in given.items():
        x = lib.convert(name, value)
        kind = lib.dtype(x).kind
        if kind not in _KINDS:
            return None
        arrays.append(lib.stop_gradient(x) if kind == "float" else x)
    return arrays


def _companions(
    lib: Library, main: str, like: Array, given: dict[str, Any]
) -> list[Array]:
    """Return labels of which some are lists, NumPy arrays or variables."""
    values = {name: unwrap(x) for name, x in given.items()}
    dtype = None
    if lib.traces_numpy():
        values = traced_codes(values)
    else:
        values = {name: _on_host(name, x) for name, x in values.items()}
        host = {name: x for name, x in values.items() if is_numpy(x)}
        if any(x.ndim == 2 and x.shape[1] != 1 for x in host.values()):
            _refuse_strings(host)
            dtype = like.dtype
        elif not all(is_held(lib, like, x) for x in host.values()):
            values = _coded(host, values)
    return [companion(lib, name, x, main, like, dtype) for name, x in values.items()]


def _on_host(name: str, value: Any) -> Any:
    """Return a list of labels as a NumPy array, and anything else as it is."""
    if is_plain(value):
        refuse_list_of_arrays(name, value)
        value = labels_from_plain(name, value)
    if is_numpy(value):
        refuse_subclass(name, value)
        if value.dtype.kind == "c":
            _checks.refuse_dtype(name, _LABELS, value.dtype.name)
    return value


def is_held(lib: Library, like: Array, labels: Array) -> bool:
    """Return whether NumPy labels become an array of the library as they are."""
    if not is_numeric(labels):
        return False
    return is_kept(labels, lib.host_dtype(labels.dtype.name, like))


def _coded(host: dict[str, Array], values: dict[str, Any]) -> dict[str, Any]:
    """Return labels that are all lists or NumPy arrays as codes."""
    if len(host) < len(values):
        _refuse_beside_array(host, values)
    return dict(zip(host, codes(list(host.values())), strict=True))


def _refuse_strings(host: dict[str, Array]) -> None:
    for name, x in host.items():
        if not is_numeric(x):
            word = dtype_word(from_plain(name, x.tolist()))
            _checks.refuse_dtype(name, _MULTIHOT, word)


def matches(lib: Library, labels: Array, others: Array) -> Array:
    """Return which labels of two rows of them are the same, shape (n, m), bool."""
    return same_labels(lib, labels[:, None], others[None, :])


def matches_found(lib: Library, labels: Array, found: Array) -> Array:
    """Return which of the (n, k) labels `found` are that of their row, bool."""
    return same_labels(lib, labels[:, None], found)


def same_labels(lib: Library, labels: Array, others: Array) -> Array:
    """Return where labels are the same number, whatever their dtypes; NaN is none."""
    if labels.dtype != others.dtype:
        labels, others = _comparable(lib, labels, others)
    return lib.xp.equal(labels, others)


def _comparable(lib: Library, x: Array, y: Array) -> tuple[Array, Array]:
    """Return labels of two dtypes in one, equal there where they are the same number.

    It takes no wider dtype than theirs, which the device may not have.
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
    # A large one without a sign may turn negative here, and then equals nothing.
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
    """Return labels as floats; NaN for an integer that is none of these floats."""
    xp = lib.xp
    floats = xp.astype(labels, wide)
    if found.kind == "float":
        return floats
    # Beyond the largest integer there is no way back.
    inside = floats < 2.0 ** (found.bits - found.signed)
    back = xp.astype(xp.where(inside, floats, 0.0), labels.dtype)
    same = xp.logical_and(inside, xp.equal(back, labels))
    return xp.where(same, floats, math.nan)


def shared(lib: Library, labels: Array, others: Array, dtype: Any) -> Array:
    """Return how many labels each two multi-hot rows share, shape (n, m)."""
    # Counts, not labels: these may be floats.
    rows = labels if labels.dtype == dtype else lib.xp.astype(labels, dtype)
    columns = others if others.dtype == dtype else lib.xp.astype(others, dtype)
    return lib.product(rows, lib.xp.matrix_transpose(columns))


def shared_or_same(lib: Library, labels: Array, others: Array, dtype: Any) -> Array:
    """Return what `shared` does; of one column, whether its labels are the same.

    Which of the two labels are is known only at run time if their width is not before.
    """
    counts = shared(lib, labels, others, dtype)
    if None not in (lib.shape(labels)[1], lib.shape(others)[1]):
        return counts
    same = matches(lib, lib.first_column(labels), lib.first_column(others))
    one = lib.size(labels, 1) == 1
    return lib.xp.where(one, lib.xp.astype(same, dtype), counts)


def column(lib: Library, name: str, labels: Array) -> Array:
    """Return labels of shape (n,) or (n, 1) in shape (n,)."""
    shape = lib.shape(labels)
    if len(shape) == 2 and shape[1] == 1:
        return labels[:, 0]
    if len(shape) == 2 and shape[1] is None:
        return lib.only_column(labels, f"`{name}` must have shape (n,) or (n, 1).")
    if len(shape) != 1:
        _checks.refuse_shape(name, "shape (n,) or (n, 1)", shape)
    return labels


def check_classes(
    lib: Library,
    multihot: list[Array],
    name: str = "column_labels",
    first: str = "labels",
) -> None:
    """Raise unless both multi-hot labels have the same number of classes."""
    classes = [lib.shape(x)[1] for x in multihot]
    if not _checks.same(classes[0], classes[-1]):
        need = f"{classes[0]} classes, as `{first}`"
        _checks.refuse_shape(name, need, lib.shape(multihot[-1]))


def _refuse_beside_array(host: dict[str, Array], values: dict[str, Any]) -> None:
    name = next(iter(host))
    other = next(key for key in values if key not in host)
    kind = library(other, values[other]).label
    need = f"of 32-bit numbers beside `{other}`, an array of {kind}"
    _checks.refuse_dtype(name, need, str(host[name].dtype))
