"""What the labels of a call become: arrays of its library that keep them apart."""

from typing import Any, NamedTuple

from metricops import _checks
from metricops._arguments.arrays import companion, numbers, refuse_list_of_arrays
from metricops._frameworks import Library, known_library, library, unwrap
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

_MANY = 2**31 - 128  # more rows than there are, and a number in float32
_KINDS = ("int", "bool", "float")
_LABELS = "of integers, bools or real floats, or a list of strings"
_MULTIHOT = "of integers, bools or real floats where it is multi-hot"


class Indices(NamedTuple):
    """Labels that are the index of a row, and -1 for others."""

    places: Array  # (n,)
    complete: bool  # whether it is known that none is -1


def label_arrays(
    lib: Library, main: str, like: Array, **given: Any
) -> dict[str, Array]:
    """Return each of the labels `given` as an array of the library of `main`.

    Lists and NumPy arrays that the library cannot hold exactly (strings, or 64-bit
    integers in JAX) become small integers first, the same for the same label. Labels
    have no derivatives.
    """
    arrays = _known(lib, given)
    if arrays is not None:
        return arrays
    arrays = _companions(lib, main, like, given)
    for name, x in arrays.items():
        found = lib.dtype(x)
        if found.kind not in _KINDS:
            _checks.refuse_dtype(name, _LABELS, found.name)
    return {name: _constant(lib, x) for name, x in arrays.items()}


def multihot_arrays(
    lib: Library, main: str, like: Array, **given: Any
) -> dict[str, Array]:
    """Return labels known to be multi-hot as arrays of the library of `main`.

    They are counts, in the dtype of `like`, and have no derivative.
    """
    return {
        name: _constant(lib, numbers(lib, name, x, main, like, _MULTIHOT))
        for name, x in given.items()
    }


def _constant(lib: Library, labels: Array) -> Array:
    return lib.stop_gradient(labels) if lib.dtype(labels).kind == "float" else labels


def _known(lib: Library, given: dict[str, Any]) -> dict[str, Array] | None:
    """Return labels that are arrays of numbers of the library already, or else None."""
    if known_library(*given.values()) is not lib:
        return None
    arrays = {}
    for name, value in given.items():
        x = lib.convert(name, value)
        kind = lib.dtype(x).kind
        if kind not in _KINDS:
            return None
        arrays[name] = lib.stop_gradient(x) if kind == "float" else x
    return arrays


def _companions(
    lib: Library, main: str, like: Array, given: dict[str, Any]
) -> dict[str, Array]:
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
    return {
        name: companion(lib, name, x, main, like, dtype) for name, x in values.items()
    }


def _on_host(name: str, value: Any) -> Any:
    """Return a list of labels as a NumPy array, and anything else as it is."""
    if is_plain(value):
        refuse_list_of_arrays(name, value)
        value = labels_from_plain(name, value)
    if is_numpy(value):
        refuse_subclass(name, value)
        if value.dtype.kind == "c" or value.dtype.names is not None:
            _checks.refuse_dtype(name, _LABELS, value.dtype.name)
    return value


def is_held(lib: Library, like: Array, labels: Array) -> bool:
    """Return whether the library can hold NumPy labels exactly."""
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


def check_classes(lib: Library, multihot: dict[str, Array]) -> None:
    """Raise unless all multi-hot labels have the same number of classes."""
    (first, labels), *others = multihot.items()
    classes = lib.shape(labels)[1]
    for name, x in others:
        if not _checks.same(classes, lib.shape(x)[1]):
            need = f"{classes} classes, as `{first}`"
            _checks.refuse_shape(name, need, lib.shape(x))


def _refuse_beside_array(host: dict[str, Array], values: dict[str, Any]) -> None:
    name = next(iter(host))
    other = next(key for key in values if key not in host)
    kind = library(other, values[other]).label
    word = dtype_word(from_plain(name, host[name].tolist()))
    _checks.refuse_dtype(name, f"of numbers that {kind} holds, as `{other}` is", word)


def indices(lib: Library, labels: Array, like: Array, name: str) -> Indices:
    """Return labels as the indices of rows of `like`.

    `name` is the argument that `like` is. Only labels that fit are cast.
    """
    xp, places = lib.xp, lib.positions(like, 0, name)
    kind, count = lib.dtype(labels), lib.shape(like)[0]
    if kind.kind == "bool":
        labels, kind = xp.astype(labels, places.dtype), lib.dtype(places)
    elif kind.bits < 32 and kind.kind == "float":  # its largest number is small
        labels = xp.astype(labels, lib.dtype_called("float32"))
    most = _MANY if count is None else min(count, _MANY)
    if kind.kind == "int" and kind.bits < 32:
        most = min(most, 2 ** (kind.bits - kind.signed))
    fits = xp.logical_and(labels >= 0, labels <= max(most, 1) - 1)
    whole = kind.kind == "int" and type(count) is int and count > 0
    if whole and lib.looks(fits) and bool(xp.all(fits)):
        return Indices(xp.astype(labels, places.dtype), True)
    found = xp.astype(xp.where(fits, labels, xp.zeros_like(labels)), places.dtype)
    if kind.kind == "float":
        fits = xp.logical_and(fits, xp.astype(found, labels.dtype) == labels)
    # Beside so many, a float may have been rounded; or they were not compared.
    if not whole:
        fits = xp.logical_and(fits, found < lib.size(like, 0))
    return Indices(xp.where(fits, found, -xp.ones_like(found)), False)
