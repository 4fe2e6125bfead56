"""What a call's arguments become: arrays of one library, in a dtype to compute in."""

from typing import Any, NamedTuple

from metricops import _checks
from metricops._frameworks import Library, known_library, library, unwrap
from metricops._frameworks.host import from_plain, is_numpy, is_plain
from metricops._typing import Array, Namespace


class Inputs(NamedTuple):
    """The main arrays of a call, widened to float32 at least."""

    library: Library
    xp: Namespace
    arrays: tuple[Array, ...]
    dtype: Any
    """The dtype in which the result goes out."""

    def narrow(self, result: Array) -> Array:
        """Return `result` in the dtype that goes out."""
        return (
            result if result.dtype == self.dtype else self.xp.astype(result, self.dtype)
        )


def main_arrays(**given: Any) -> tuple[Library, list[Array]]:
    """Return the one library of the main arrays of a call, and them, real and dense."""
    lib = known_library(*given.values())
    if lib is None:
        lib, given = _one_library(given)
    arrays = []
    for name, value in given.items():
        x = lib.convert(name, value)
        found = lib.dtype(x)
        if found.kind not in ("float", "int"):
            _checks.refuse_dtype(name, "of integers or real floats", found.name)
        arrays.append(x)
    return lib, arrays


def _one_library(given: dict[str, Any]) -> tuple[Library, dict[str, Any]]:
    """Return the library of arguments that may be lists or variables, and them."""
    values = {name: unwrap(x) for name, x in given.items()}
    if all(is_plain(x) for x in values.values()):
        values = {name: from_plain(name, x) for name, x in values.items()}
    main = next(name for name, x in values.items() if not is_plain(x))
    lib = library(main, values[main])
    for name, x in values.items():
        if is_plain(x):
            _checks.refuse_library(name, main, lib.label, f"a {type(x).__name__}")
        other = library(name, x)
        if other is not lib:
            _checks.refuse_library(name, main, lib.label, f"an array of {other.label}")
    return lib, values


def float_arrays(**given: Any) -> Inputs:
    """Return the main arrays of a call in the float dtype to compute in."""
    lib, arrays = main_arrays(**given)
    dtype, wide, narrow = float_dtypes(lib, arrays)
    wider = [x if x.dtype == wide else lib.xp.astype(x, wide) for x in arrays]
    return Inputs(lib, lib.xp, tuple(wider), dtype if wide == dtype else narrow)


def float_dtypes(lib: Library, arrays: list[Array]) -> tuple[Any, Any, Any]:
    """Return the dtype that `arrays` promote to, to compute in, and of results."""
    dtype = arrays[0].dtype
    if arrays[-1].dtype == dtype:  # there are two at most
        found = lib.dtype(arrays[0])
        if found.kind == "float" and found.bits >= 32:
            return dtype, dtype, dtype
    floats = {
        x.dtype: lib.dtype(x).bits for x in arrays if lib.dtype(x).kind == "float"
    }
    if not floats:
        dtype = lib.default_float()
        return dtype, dtype, dtype
    bits = max(floats.values())
    widest = [dtype for dtype, width in floats.items() if width == bits]
    # float16 and bfloat16 hold none of each other.
    dtype = widest[0] if len(widest) == 1 else lib.xp.float32
    if bits >= 32:
        return dtype, dtype, dtype
    return dtype, lib.xp.float32, lib.narrow_dtype(dtype, arrays[0])


def companion(lib: Library, name: str, value: Any, main: str, like: Array) -> Array:
    """Return a companion of `main` as an array of its library, on its device."""
    value = unwrap(value)
    if is_plain(value):
        value = from_plain(name, value)
    if is_numpy(value) and type(value) is not type(like):
        return lib.asarray(value, like)
    other = library(name, value)
    if other is not lib:
        _checks.refuse_companion(name, main, lib.label, f"an array of {other.label}")
    return lib.convert(name, value)
