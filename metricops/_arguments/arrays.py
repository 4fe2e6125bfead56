"""The main arrays of a call, and those beside them: of one library and one dtype."""

from typing import Any, NamedTuple

from metricops import _checks
from metricops._frameworks import Dtype, Library, known_library, library, unwrap
from metricops._frameworks.host import (
    array_inside,
    cast,
    dtype_word,
    from_plain,
    is_numpy,
    is_plain,
    kind_of,
    refuse_subclass,
)
from metricops._typing import Array, Namespace


class Main(NamedTuple):
    """The one or two main arrays of a call, as they are given."""

    library: Library
    first: Array
    second: Array  # the first one again, where there is only one


class Inputs(NamedTuple):
    """The one or two main arrays of a call, widened to float32 at least."""

    library: Library
    xp: Namespace
    first: Array
    second: Array  # the first one again, where there is only one
    dtype: Any  # of the result
    half: str = ""  # what products take their sides in; "": what these are

    def narrow(self, result: Array) -> Array:
        """Return `result` in the dtype of results."""
        return (
            result if result.dtype == self.dtype else self.xp.astype(result, self.dtype)
        )


class FloatDtypes(NamedTuple):
    """The dtypes of a computation with arrays of several dtypes."""

    promoted: Any  # what the arrays promote to, as a float
    computed: Any  # the same, or float32 where that is wider
    result: Any  # of the result


def main_arrays(**given: Any) -> Main:
    """Return the main arrays of a call, one or two, all real and of one library."""
    lib, arrays, _ = _admitted(given)
    return Main(lib, *(arrays if len(arrays) == 2 else arrays * 2))


def _admitted(given: dict[str, Any]) -> tuple[Library, list[Array], list[Dtype]]:
    """Return the library of the main arrays, the arrays, and their dtypes in words."""
    lib = known_library(*given.values())
    if lib is None:
        lib, given = _one_library(given)
    arrays, dtypes = [], []
    for name, value in given.items():
        x = lib.convert(name, value) if lib.converts else value
        found = lib.dtypes.get(x.dtype)
        if found is None:
            found = lib.dtype(x)
        if found.kind not in ("float", "int"):
            _checks.refuse_dtype(name, "of integers or real floats", found.name)
        arrays.append(x)
        dtypes.append(found)
    return lib, arrays, dtypes


def _one_library(given: dict[str, Any]) -> tuple[Library, dict[str, Any]]:
    """Return the library of main arguments that may be lists or variables, and them."""
    values = {name: unwrap(x) for name, x in given.items()}
    if all(is_plain(x) for x in values.values()):
        values = {name: array_of_plain(name, x) for name, x in values.items()}
    main = next(name for name, x in values.items() if not is_plain(x))
    lib = library(main, values[main])
    for name, x in values.items():
        if is_plain(x):
            _checks.refuse_library(name, main, lib.label, f"a {type(x).__name__}")
        other = library(name, x)
        if other is not lib:
            _checks.refuse_library(name, main, lib.label, f"an array of {other.label}")
    return lib, values


def float_arrays(normalize: bool | None = None, /, **given: Any) -> Inputs:
    """Return the main arrays of a call in the float dtype to compute in.

    Unless `normalize` is None, for a call whose products may take halves: of vectors of
    unit length if it is true. Halves that are multiplied then stay as they are.
    """
    lib, arrays, dtypes = _admitted(given)
    first, second = arrays if len(arrays) == 2 else arrays * 2
    one, half = dtypes[0], ""
    if normalize is not None and lib.has_halves:
        half = lib.operands(first, second, normalize)
    if one.is_wide and dtypes.count(one) == len(dtypes):
        return Inputs(lib, lib.xp, first, second, first.dtype, half)
    found = float_dtypes(lib, first, second)
    if half:
        return Inputs(lib, lib.xp, first, second, found.result, half)
    wide = found.computed
    wider = [x if x.dtype == wide else lib.xp.astype(x, wide) for x in arrays]
    first, second = wider if len(wider) == 2 else wider * 2
    return Inputs(lib, lib.xp, first, second, found.result)


def widened(inputs: Inputs) -> Inputs:
    """Return inputs whose halves are widened, `half` if they were of that dtype.

    Then products of them, rounded to it again, lose nothing.
    """
    lib, first, second = inputs.library, inputs.first, inputs.second
    if not inputs.half or lib.dtype(first).is_wide:
        return inputs._replace(half="") if inputs.half else inputs
    wide = lib.multiplying(inputs.half).wide
    left = wide(first)
    right = left if second is first else wide(second)
    return inputs._replace(first=left, second=right)


def float_dtypes(lib: Library, first: Array, second: Array) -> FloatDtypes:
    """Return the dtypes of a computation with two arrays."""
    both = [(lib.dtype(x), x.dtype) for x in (first, second)]
    floats = [(word, dtype) for word, dtype in both if word.kind == "float"]
    if not floats:
        dtype = lib.default_float(first)
        return FloatDtypes(dtype, dtype, dtype)
    bits = max(word.bits for word, _ in floats)
    widest = {word.name: dtype for word, dtype in floats if word.bits == bits}
    name, dtype = next(iter(widest.items()))
    if bits >= 32:  # by its name, as NumPy arrays may have another byte order
        dtype = lib.dtype_called(name)
        return FloatDtypes(dtype, dtype, dtype)
    if len(widest) == 2:  # float16 and bfloat16 promote to float32
        dtype = lib.xp.float32
    return FloatDtypes(dtype, lib.xp.float32, lib.narrow_dtype(dtype, first))


def array_of_plain(name: str, value: Any) -> Array:
    """Return a list or a number as a NumPy array."""
    refuse_list_of_arrays(name, value)
    return from_plain(name, value)


def refuse_list_of_arrays(name: str, value: Any) -> None:
    """Raise if `value` is a list of arrays, which NumPy would convert one by one."""
    inside = array_inside(value)
    if inside is not None:
        refuse_subclass(name, inside)
        _checks.refuse_list_of_arrays(name, library(name, unwrap(inside)).label)


def companion(
    lib: Library, name: str, value: Any, main: str, like: Array, dtype: Any = None
) -> Array:
    """Return an argument that goes with `main` as an array of its library and device.

    Lists and NumPy arrays become arrays of `dtype`, of floats. If it is None, they keep
    their own dtype, or get the nearest that the device has.
    """
    value = unwrap(value)
    if is_plain(value):
        value = array_of_plain(name, value)
    if is_numpy(value) and type(value) is not type(like):
        refuse_subclass(name, value)
        if value.size != 1:
            lib.check_beside_host(main, like)
        if not lib.traces_numpy():
            own = value.dtype
            word = "float64" if dtype is not None and own.itemsize == 8 else own.name
            value = cast(value, lib.host_dtype(word, like))
        return lib.asarray(value, like, dtype)
    other = library(name, value)
    if other is not lib:
        _checks.refuse_companion(name, main, lib.label, f"an array of {other.label}")
    return lib.convert(name, value)


def numbers(
    lib: Library,
    name: str,
    value: Any,
    main: str,
    like: Array,
    need: str = "of real numbers",
    kinds: tuple[str, ...] = ("float", "int", "bool"),
) -> Array:
    """Return an argument that goes with `main` as numbers in the dtype of `like`.

    Lists and NumPy arrays become arrays of that dtype directly, as the device may not
    have their own. Dtypes of other `kinds` are refused.
    """
    if type(value) in (int, float):
        return lib.asarray(_checks.to_float(value), like, like.dtype)
    if known_library(value) is lib:
        array = lib.convert(name, value)
    else:
        if is_plain(value):
            value = array_of_plain(name, value)
        if is_numpy(value) and not lib.traces_numpy() and kind_of(value) not in kinds:
            _checks.refuse_dtype(name, need, dtype_word(value))
        array = companion(lib, name, value, main, like, like.dtype)
    found = lib.dtype(array)
    if found.kind not in kinds:
        word = dtype_word(array) if is_numpy(array) else found.name
        _checks.refuse_dtype(name, need, word)
    return array if array.dtype == like.dtype else lib.xp.astype(array, like.dtype)
