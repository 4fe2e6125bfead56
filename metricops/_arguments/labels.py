"""Labels as arrays to compare: never cast to a float, never cut to 32 bits."""

from typing import Any

from metricops import _checks
from metricops._arguments.arrays import companion
from metricops._frameworks import Library, known_library, library, unwrap
from metricops._frameworks.host import (
    codes,
    is_numeric,
    is_numpy,
    is_plain,
    labels_from_plain,
)
from metricops._typing import Array


def label_arrays(lib: Library, main: str, like: Array, **given: Any) -> list[Array]:
    """Return each of the labels `given` as an array of the library of `main`.

    Lists and NumPy arrays that the library would change (strings, or 64-bit integers
    in JAX) become small codes first, the same code for the same label.
    """
    if known_library(*given.values()) is lib and not is_numpy(like):
        arrays = [lib.convert(name, x) for name, x in given.items()]
    else:
        values = {name: unwrap(x) for name, x in given.items()}
        if not lib.traces_numpy():
            values = _coded(lib, values)
        arrays = [companion(lib, name, x, main, like) for name, x in values.items()]
    for name, x in zip(given, arrays, strict=True):
        found = lib.dtype(x)
        if found.kind not in ("int", "bool", "float"):
            need = "of integers, bools, real floats or strings"
            _checks.refuse_dtype(name, need, found.name)
    return arrays


def _coded(lib: Library, values: dict[str, Any]) -> dict[str, Any]:
    """Return the labels, as codes where they are lists or NumPy arrays that need it."""
    values = {
        name: labels_from_plain(name, x) if is_plain(x) else x
        for name, x in values.items()
    }
    host = {name: x for name, x in values.items() if is_numpy(x)}
    if any(not is_numeric(x) or lib.would_cut(x) for x in host.values()):
        for name, x in host.items():
            if x.ndim > 1 and x.shape[-1] != 1:
                _checks.refuse_dtype(name, "of small numbers if it is multi-hot", "str")
        if len(host) < len(values):
            _refuse_beside_array(host, values)
        return dict(zip(host, codes(list(host.values())), strict=True))
    return values


def matches(lib: Library, labels: Array, others: Array) -> Array:
    """Return which labels are the same, shape (n, m), bool."""
    if labels.dtype != others.dtype:
        labels, others = lib.comparable(labels, others)
    return lib.xp.equal(labels[:, None], others[None, :])


def shared(lib: Library, labels: Array, others: Array, dtype: Any) -> Array:
    """Return how many labels each two multi-hot rows share, shape (n, m)."""
    # Counts, not labels: these may be floats.
    rows = labels if labels.dtype == dtype else lib.xp.astype(labels, dtype)
    columns = others if others.dtype == dtype else lib.xp.astype(others, dtype)
    return lib.product(rows, lib.xp.matrix_transpose(columns))


def column(lib: Library, name: str, labels: Array) -> Array:
    """Return labels of shape (n,) or (n, 1) in shape (n,)."""
    shape = lib.shape(labels)
    if len(shape) == 2 and shape[1] == 1:
        return labels[:, 0]
    if len(shape) != 1:
        _checks.refuse_shape(name, "shape (n,) or (n, 1)", shape)
    return labels


def check_classes(
    lib: Library, multihot: list[Array], name: str = "column_labels"
) -> None:
    """Raise unless both multi-hot labels have the same number of classes."""
    classes = [lib.shape(x)[1] for x in multihot]
    if not _checks.same(classes[0], classes[-1]):
        need = f"{classes[0]} classes, as `labels`"
        _checks.refuse_shape(name, need, lib.shape(multihot[-1]))


def _refuse_beside_array(host: dict[str, Array], values: dict[str, Any]) -> None:
    name = next(iter(host))
    other = next(key for key in values if key not in host)
    kind = library(other, values[other]).label
    need = f"of 32-bit numbers beside `{other}`, an array of {kind}"
    _checks.refuse_dtype(name, need, str(host[name].dtype))
