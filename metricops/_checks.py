"""What a call may be given, and the words of every error.

One sentence each: the argument, what it must be, what it was. Nothing here knows a
framework: callers pass names, dtypes as words and shapes as tuples, in which None is a
size that is unknown until a graph runs.

The module is long, as every sentence stands here.
"""

import operator
from collections.abc import Mapping
from typing import Any, NoReturn

Shape = tuple[int | None, ...]

REDUCTIONS = ("mean", "sum", "weighted_mean", "none")
_LAYERS = "Dot, PairwiseInnerProduct, PairwiseCosineSimilarity, MetricEmbedding"
_CONVERSIONS = {
    "KerasTensor": f"use a layer of metricops.adapters.keras ({_LAYERS}) or a loss",
    "RaggedTensor": "convert it with .to_tensor()",
    "SparseTensor": "convert it with tf.sparse.to_dense()",
    "IndexedSlices": "convert it with tf.convert_to_tensor()",
    "MaskedArray": "convert it with .filled()",
    "matrix": "convert it with numpy.asarray()",
    "sparse tensor": "convert it with .to_dense()",
    "nested tensor": "convert it with .to_padded_tensor()",
    "DTensor": "gather it with .full_tensor()",
    "sparse matrix": "convert it with .toarray()",
    "sparse array": "convert it with .todense()",
    "DataFrame": "convert it with .to_numpy()",
    "Series": "convert it with .to_numpy()",
}
_LONGEST = 80  # letters of a value in a sentence


class Sentence(str):
    """The words of an error of ours, which an adapter may put into its own."""

    __slots__ = ()

    def calling(self, names: Mapping[str, str]) -> "Sentence":
        """Return the sentence with other `names` of arguments."""
        words = str(self)
        for name, other in names.items():
            words = words.replace(f"`{name}`", f"`{other}`")
        return Sentence(words)


def rename(error: Exception, names: Mapping[str, str]) -> None:
    """Have an error call arguments by other `names`, if its words are ours."""
    if error.args and isinstance(error.args[0], Sentence):
        error.args = (error.args[0].calling(names),)


def refuse_kind(name: str, kind: str) -> NoReturn:
    """Raise because `name` is no dense array but a `kind`, and say what to do."""
    advice = _CONVERSIONS.get(kind)
    msg = f"`{name}` must be a dense array; got {kind}" + (
        f": {advice}." if advice else "."
    )
    raise TypeError(Sentence(msg))


def refuse_version(name: str, oldest: str, label: str, version: str) -> NoReturn:
    """Raise because the library of `name` implements too old an array API standard."""
    msg = (
        f"`{name}` must be of a library that implements version {oldest} of the array "
        f"API standard, or a later one; got an array of {label}, with {version}."
    )
    raise TypeError(Sentence(msg))


def refuse_list_of_arrays(name: str, label: str) -> NoReturn:
    """Raise because `name` is a list of arrays, of the library called `label`."""
    msg = (
        f"`{name}` must be one array, or a list of numbers; "
        f"got a list of arrays of {label}: stack them first."
    )
    raise TypeError(Sentence(msg))


def refuse_type(name: str, need: str, got: Any) -> NoReturn:
    """Raise because `name` is not of the type that it `need`s to be."""
    msg = f"`{name}` must be {need}; got {shown(got)}."
    raise TypeError(Sentence(msg))


def refuse_library(name: str, first: str, expected: str, got: str) -> NoReturn:
    """Raise because the main argument `name` is not of the library of `first`."""
    msg = f"`{name}` must be of the library of `{first}`, {expected}; got {got}."
    raise TypeError(Sentence(msg))


def refuse_companion(name: str, main: str, expected: str, got: str) -> NoReturn:
    """Raise because the companion `name` is of another library than `main`."""
    msg = (
        f"`{name}` must be a number, a list, a NumPy array or of the library of "
        f"`{main}`, {expected}; got {got}."
    )
    raise TypeError(Sentence(msg))


def refuse_dtype(name: str, need: str, dtype: str) -> NoReturn:
    """Raise because the dtype of `name` is not what it `need`s to be."""
    msg = f"`{name}` must be {need}; got dtype {dtype}."
    raise TypeError(Sentence(msg))


def refuse_shape(name: str, need: str, shape: Shape) -> NoReturn:
    """Raise because the shape of `name` is not what it `need`s to be."""
    msg = f"`{name}` must have {need}; got shape {shape}."
    raise ValueError(Sentence(msg))


def refuse_value(name: str, need: str, got: Any) -> NoReturn:
    """Raise because the value of `name` is not what it `need`s to be."""
    msg = f"`{name}` must be {need}; got {shown(got)}."
    raise ValueError(Sentence(msg))


def shown(got: Any) -> str:
    """Return a value in words, on one line: an array by its shape, a long one cut."""
    shape = _shape_of(got)
    if shape:
        return f"an array of shape {shape}"
    words = " ".join(repr(got).split())
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}..."


def _shape_of(value: Any) -> tuple[Any, ...] | None:
    """Return the shape of an array, () of one that hides it; None of what is none."""
    try:
        found = getattr(value, "shape", None)
        return None if found is None else tuple(found)
    except (RuntimeError, TypeError, ValueError):  # of a nested tensor, say
        return ()


def same(left: int | None, right: int | None) -> bool:
    """Return whether two sizes may be equal: an unknown size fits any."""
    return left is None or right is None or left == right


def fits(shape: Shape, other: Shape) -> bool:
    """Return whether two shapes may be equal."""
    return len(shape) == len(other) and all(map(same, shape, other))


def check_rank(name: str, shape: Shape, rank: int, meaning: str) -> None:
    """Raise unless `shape` has `rank` axes, which mean `meaning`."""
    if len(shape) != rank:
        refuse_shape(name, f"shape {meaning}", shape)


def check_same_shape(name: str, shape: Shape, other: str, expected: Shape) -> None:
    """Raise unless `name` has the shape of `other`; nothing is broadcast."""
    if not fits(shape, expected):
        refuse_shape(name, f"the shape of `{other}`, {expected}", shape)


def check_reduction(reduction: Any, allowed: tuple[str, ...] = REDUCTIONS) -> None:
    """Raise unless `reduction` is one of those `allowed`."""
    check_word("reduction", reduction, allowed)


def check_word(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Raise unless `value` is one of the words that are `allowed`."""
    if isinstance(value, str):
        if value not in allowed:
            refuse_value(name, one_of(allowed), value)
        return
    refuse = refuse_value if _shape_of(value) is None else refuse_type
    refuse(name, one_of(allowed), value)


def one_of(names: tuple[str, ...]) -> str:
    """Return a list of `names` for a sentence."""
    quoted = [f'"{name}"' for name in names]
    return f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def is_int(value: Any) -> bool:
    """Return whether `value` is an integer, of Python or of shape (), and no bool."""
    if isinstance(value, int):  # first, as Dynamo traces no other test of a size
        return not isinstance(value, bool)
    try:
        operator.index(value)
    except (AttributeError, NotImplementedError, TypeError, ValueError):
        return False
    return len(getattr(value, "shape", ())) == 0


def check_int(name: str, value: Any) -> int:
    """Return `value` as an int, or raise unless it is one."""
    if not is_int(value):
        refuse_type(name, "an int", value)
    # For a symbol of Dynamo, a range gives its number.
    return range(value).stop if isinstance(value, int) else operator.index(value)


def check_axis(axis: Any, rank: int, name: str = "axis") -> int:
    """Return `axis` counted from the front, or raise unless it is an axis."""
    number = check_int(name, axis)
    if not -rank <= number < rank:
        refuse_value(name, f"an axis of {rank} dimensions", number)
    return number % rank


def check_axes(axis: Any, rank: int) -> tuple[int, ...]:
    """Return one axis or several, counted from the front and all different."""
    given = tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
    axes = tuple(check_axis(one, rank) for one in given)
    if not axes or len(set(axes)) != len(axes):
        refuse_value("axis", "an int or a tuple of different ints", axis)
    return axes


def check_axes_of(name: str, rank: int, axis: Any) -> tuple[int, ...]:
    """Return what `check_axes` does, or raise because the array `name` has no axis."""
    if rank == 0:
        refuse_shape(name, "at least one dimension", ())
    return check_axes(axis, rank)


def check_bool(name: str, value: Any) -> bool:
    """Return `value` as a bool, or raise unless it is one, of Python or of NumPy."""
    if not isinstance(value, bool) and type(value).__name__ not in ("bool", "bool_"):
        refuse_type(name, "True or False", value)
    return bool(value)


def check_positive_int(name: str, value: Any) -> int:
    """Return `value` as an int, or raise unless it is at least 1."""
    number = check_int(name, value)
    if number < 1:
        refuse_value(name, "at least 1", number)
    return number


def check_block_size(value: Any) -> int | None:
    """Return how many rows a panel is to hold, or None, or raise."""
    return None if value is None else check_positive_int("block_size", value)


def to_float(value: Any) -> float:
    """Return a number as a float, infinite if it is an integer beyond all floats."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else -float("inf")


def check_temperature(value: float) -> float:
    """Return a temperature given as a number, or raise unless it is positive."""
    number = value if type(value) is float else to_float(value)
    if not 0 < number < float("inf"):
        refuse_value("temperature", "positive and finite", value)
    return number
