"""Labels, as arrays that can be compared: never cast to a float, never cut to 32 bits."""

from typing import Any

import numpy as np

from metricops import _checks
from metricops._frameworks import Library, library, unwrap
from metricops._inputs import companion
from metricops._typing import Array


def label_arrays(lib: Library, main: str, like: Array, **given: Any) -> list[Array]:
    """Return each of the labels `given` as an array of the library of `main`.

    Lists and NumPy arrays that the library would change (strings, or 64-bit integers
    in JAX) become small codes first, the same code for the same label.
    """
    values = {name: _on_host(lib, name, unwrap(x)) for name, x in given.items()}
    host = {name: x for name, x in values.items() if isinstance(x, np.ndarray)}
    if any(_needs_codes(lib, x) for x in host.values()):
        if len(host) < len(values):
            _refuse_beside_array(host, values)
        values = dict(zip(host, _codes(list(host.values())), strict=True))
    arrays = [companion(lib, name, x, main, like) for name, x in values.items()]
    for name, x in zip(values, arrays, strict=True):
        found = lib.dtype(x)
        if found.kind not in ("int", "bool", "float"):
            _checks.refuse_dtype(name, "of integers, bools, real floats or strings", found.name)
    return arrays


def matches(lib: Library, labels: Array, others: Array) -> Array:
    """Return which labels are the same, shape (n, m), bool."""
    if labels.dtype != others.dtype:
        kinds = {lib.dtype(labels).kind, lib.dtype(others).kind}
        wide = lib.xp.float64 if "float" in kinds else lib.xp.int64
        labels, others = lib.xp.astype(labels, wide), lib.xp.astype(others, wide)
    return lib.xp.equal(labels[:, None], others[None, :])


def _on_host(lib: Library, name: str, x: Any) -> Any:
    if isinstance(x, np.generic):
        return np.asarray(x)
    if not isinstance(x, (list, tuple)):
        return x
    try:
        array = np.asarray(x)
    except ValueError:
        msg = f"`{name}` must be a rectangular list of labels; got a ragged list."
        raise ValueError(msg) from None
    # NumPy makes floats of [2**63, -1] and strings of [1, "1"].
    return array if array.dtype.kind in "biu" else np.asarray(x, dtype=object)


def _needs_codes(lib: Library, x: Array) -> bool:
    return x.dtype.kind not in "biufV" or lib.would_cut(x)


def _codes(arrays: list[Array]) -> list[Array]:
    found: dict[Any, int] = {}
    coded = []
    for x in arrays:
        # A NaN is no label's equal, so each gets a code of its own.
        codes = [
            found.setdefault(label if label == label else object(), len(found))
            for label in x.ravel().tolist()
        ]
        coded.append(np.asarray(codes, dtype=np.int32).reshape(x.shape))
    return coded


def _refuse_beside_array(host: dict[str, Array], values: dict[str, Any]) -> None:
    name = next(iter(host))
    other = next(key for key in values if key not in host)
    kind = library(other, values[other]).label
    need = f"of 32-bit numbers beside `{other}`, an array of {kind}"
    _checks.refuse_dtype(name, need, str(host[name].dtype))
