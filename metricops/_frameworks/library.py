"""What every array library can do, and the hooks that a framework overrides."""

from collections.abc import Callable
from typing import Any, NamedTuple

import array_api_compat
import numpy as np

from metricops._checks import Shape
from metricops._frameworks.operations import Arrays, Operation
from metricops._frameworks.records import leaves, refilled, sliced
from metricops._typing import Array, Namespace

LONG_DOUBLES = ("longdouble", "float96", "float128")  # by machine
_LEAST = np.finfo(np.longdouble).smallest_normal
# Where a float is normal and so is its reciprocal, which XLA may multiply by.
_RANGE: dict[int, tuple[Any, Any]] = {
    32: (2.0**-126, 2.0**125),
    64: (2.0**-1022, 2.0**1021),
    96: (_LEAST, 1 / _LEAST / 2),
    128: (_LEAST, 1 / _LEAST / 2),
}
# What may hold the numbers of a dtype that a library or a device does not have.
INSTEAD = {
    "float16": "float32",
    "bfloat16": "float32",
    **dict.fromkeys(LONG_DOUBLES, "float64"),
    "float64": "float32",
    "int64": "int32",
    "uint64": "uint32",
}
# An alias each: Dynamo cannot trace the union types of an inner function's signature.
Body = Callable[[Any, Any, Any], tuple[Any, Any]]
Step = tuple[Any, tuple[Array, ...]]
Square = Callable[[Any, Any], Any]
Meeting = Callable[[Any, Any, Any], tuple[Any, Any]]
Merge = Callable[[Any, Any], Any]


class CrossEntropy(NamedTuple):
    """What a framework has for the cross-entropy of rows with one positive each.

    Each takes scores (b, m) and the columns of the positives (b,); None: it has none.
    """

    mean: Callable[[Array, Array], Array] | None = None
    losses: Callable[[Array, Array], Array] | None = None
    slopes: Callable[[Array, Array], tuple[Array, Array]] | None = None
    """The losses, and their derivative by the scores."""


def spread(arrays: Arrays, gradients: tuple[Array, ...]) -> Arrays:
    """Return the gradients, one for each of `arrays` that is not None."""
    return placed(is_given(arrays), gradients)


def is_given(arrays: Arrays) -> tuple[bool, ...]:
    """Return which of `arrays` are not None."""
    return tuple(x is not None for x in arrays)


def placed(wanted: tuple[bool, ...], gradients: tuple[Array, ...]) -> Arrays:
    """Return the gradients at the places that are wanted, and None at the others."""
    rest = iter(gradients)
    return tuple(next(rest) if there else None for there in wanted)


class Dtype(NamedTuple):
    """What a dtype is, in words."""

    name: str
    kind: str  # "float", "int", "bool", "complex" or "other"
    bits: int
    is_wide: bool  # whether arrays of this dtype are computed in it, as they are

    @property
    def signed(self) -> bool:
        """Return whether integers of this dtype may be negative."""
        return not self.name.startswith("uint")


def describe(name: str, native: bool = True) -> Dtype:
    """Return what the dtype called `name` is; `native`: in the usual byte order."""
    if name == "longdouble":
        return Dtype(name, "float", 128, native)
    stem = name.rstrip("0123456789")
    kinds = {"float": "float", "bfloat": "float", "int": "int", "uint": "int"}
    digits = name[len(stem) :]
    if stem in kinds and digits:
        kind, bits = kinds[stem], int(digits)
        return Dtype(name, kind, bits, kind == "float" and bits >= 32 and native)
    kind = stem if stem in ("bool", "complex") else "other"
    return Dtype(name, kind, 8, False)


class Library:
    """An array library that the array API standard and plain Python describe in full.

    NumPy, CuPy and array-api-strict are such; the subclasses are the others.
    """

    panel = 2**21  # similarities: 8 MiB of float32 stay in the caches of a processor
    spreads = False  # whether rows of an array may be spread over devices
    converts = False  # whether `convert` does anything
    abs_is_flat_at_zero = True  # whether autodiff has the slope of `abs` at 0 be 0

    def __init__(self, xp: Namespace, label: str) -> None:
        self.xp = xp
        self.label = label
        self.dtypes: dict[Any, Dtype] = {}

    def convert(self, name: str, x: Array) -> Array:
        """Return the array in the variable `x`, or raise for a sparse one."""
        return x

    def check_whole(self, name: str, x: Array) -> None:
        """Raise where the rows of `x` are spread over devices, each with its own."""

    def dtype(self, x: Array) -> Dtype:
        """Return what the dtype of `x` is."""
        found = self.dtypes.get(x.dtype)
        if found is None:
            name = getattr(x.dtype, "name", None) or str(x.dtype).rpartition(".")[2]
            found = describe(name, getattr(x.dtype, "isnative", True))
            self.dtypes[x.dtype] = found
        return found

    def dtype_called(self, name: str) -> Any:
        """Return the dtype of that name."""
        return getattr(self.xp, name)

    def default_float(self, like: Array) -> Any:
        """Return the dtype that integers become on the device of `like`."""
        info = self.xp.__array_namespace_info__()
        device = array_api_compat.device(like)
        return info.default_dtypes(device=device)["real floating"]

    def host_dtype(self, name: str, like: Array) -> str:
        """Return in which dtype NumPy numbers go to the device of `like`.

        The one called `name`, which is theirs, or a narrower one where the device has
        no such dtype.
        """
        info = self.xp.__array_namespace_info__()
        dtypes = info.dtypes(device=array_api_compat.device(like))
        while name not in dtypes and name in INSTEAD:
            name = INSTEAD[name]
        return name

    def narrow_dtype(self, dtype: Any, like: Array) -> Any:
        """Return the dtype in which a result of half precision goes out."""
        return dtype

    def shape(self, x: Array) -> Shape:
        """Return the shape of `x`, None where a size is unknown."""
        return tuple(x.shape)

    def size(self, x: Array, axis: int) -> Any:
        """Return the size of an axis, as an int, or as an array in a graph."""
        return x.shape[axis]

    def known_rows(self, x: Array) -> int | None:
        """Return the number of rows of `x`, None where it is open while tracing."""
        return self.shape(x)[0]

    def cover(self, x: Array, other: Array, need: str) -> Array:
        """Return `x`, checked at run time to have as many rows as `other` or more."""
        return x

    def agree(
        self, x: Array, axis: int, other: Array, other_axis: int, need: str
    ) -> Array:
        """Return `x`, checked at run time where a size is unknown while tracing."""
        return x

    def asarray(self, value: Any, like: Array, dtype: Any = None) -> Array:
        """Return a number or NumPy array as an array on the device of `like`."""
        return self.xp.asarray(value, dtype=dtype, device=array_api_compat.device(like))

    def traced_number(self, number: float, like: Array) -> Array | None:
        """Return a number as an array, where each other one would be another program.

        None where a number costs nothing, and is best left as it is.
        """
        return None

    def peak(self, x: Array, axis: int | tuple[int, ...]) -> Array:
        """Return the largest along `axis`, kept, as a constant; 0 of an empty array."""
        if 0 in x.shape:
            return self.xp.sum(x, axis=axis, keepdims=True)
        return self.xp.max(self.stop_gradient(x), axis=axis, keepdims=True)

    def clip(self, x: Array, low: float, high: float) -> Array:
        """Return `x`, no less than `low` and no more than `high`; NaN stays."""
        return self.xp.minimum(self.xp.maximum(x, low), high)

    def divisors(self, x: Array) -> Array:
        """Return sizes as what may divide: not zero, nor without a reciprocal."""
        bits = self.dtype(x).bits
        return self.clip(x, *_RANGE.get(bits, _RANGE[64]))

    def one_integer_dtype(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Return integers of two dtypes in the widest dtype there is."""
        names = {self.dtype(x).name, self.dtype(y).name}
        one = names.pop() if len(names) == 1 else self.host_dtype("int64", x)
        wide = self.dtype_called(one)
        return self.xp.astype(x, wide), self.xp.astype(y, wide)

    def traces_numpy(self) -> bool:
        """Return whether NumPy arrays are being traced, and cannot be looked at."""
        return False

    def check_beside_host(self, name: str, x: Array) -> None:
        """Raise unless NumPy arrays can be laid beside `x`, the argument `name`."""

    def stop_gradient(self, x: Array) -> Array:
        """Return `x`, seen as a constant by derivatives."""
        return x

    def product(self, x: Array, y: Array) -> Array:
        """Return the matrix product of two arrays of one dtype, in that dtype."""
        return x @ y

    def plus_product(self, total: Array | None, x: Array, y: Array) -> Array:
        """Return ``x @ y`` added to `total`, which may be overwritten."""
        product = self.product(x, y)
        return product if total is None else total + product

    def widened_product(self, x: Array, y: Array, dtype: Any) -> Array:
        """Return the matrix product in a wider `dtype` than that of `x` and `y`."""
        return self.product(self.xp.astype(x, dtype), self.xp.astype(y, dtype))

    def positions(self, x: Array, axis: int, name: str) -> Array:
        """Return 0, 1, ... along an axis of the argument `name`, on its device."""
        return self.xp.arange(x.shape[axis], device=array_api_compat.device(x))

    def split(self, x: Array, like: Array) -> tuple[Array, Array | None]:
        """Return the first rows of `x`, as many as `like` has, and the rest if any."""
        count = like.shape[0]
        return (x, None) if x.shape[0] == count else (x[:count, ...], x[count:, ...])

    def first_column(self, x: Array) -> Array:
        """Return the first column of a matrix that may have none, then as zeros."""
        return x[:, 0]

    def only_column(self, x: Array, need: str) -> Array:
        """Return the column of a matrix of unknown width, checked at run time."""
        return x[:, 0]

    def pick(self, x: Array, columns: Array) -> Array:
        """Return one column of each row of the matrix `x`, shape (n, 1)."""
        return x[self.positions(x, 0, "anchors"), columns][:, None]

    def cross_entropy(self, scores: Array) -> CrossEntropy:
        """Return what there is for the cross-entropy of rows of such scores."""
        return CrossEntropy()

    # Of the next few, `x` may be overwritten: nobody else holds it.

    def plus(self, x: Array, y: Array) -> Array:
        """Return ``x + y``."""
        return x + y

    def minus(self, x: Array, y: Array) -> Array:
        """Return ``x - y``."""
        return x - y

    def times(self, x: Array, y: Array) -> Array:
        """Return ``x * y``."""
        return x * y

    def exp(self, x: Array) -> Array:
        """Return the exponentials of `x`."""
        return self.xp.exp(x)

    def put(self, x: Array, columns: Array, value: float) -> Array:
        """Return `x` with one column of each row replaced."""
        own = columns[:, None] == self.positions(x, 1, "candidates")[None, :]
        return self.xp.where(own, value, x)

    def dots(self, x: Array, y: Array, axis: int) -> Array:
        """Return the sums of the products of two matrices along an axis."""
        return self.xp.sum(x * y, axis=axis)

    def log_softmax(self, scores: Array) -> Array:
        """Return the logarithms of each row's softmax."""
        shifted = scores - self.peak(scores, 1)
        partition = self.xp.sum(self.xp.exp(shifted), axis=1, keepdims=True)
        return shifted - self.xp.log(partition)

    def gather(self, x: Array, indices: Array) -> Array:
        """Return the entries, or rows, of `x` at a matrix of indices."""
        flat = self.xp.take(x, self.xp.reshape(indices, (-1,)), axis=0)
        return self.xp.reshape(flat, (*indices.shape, *x.shape[1:]))

    def chosen(self, x: Array, columns: Array) -> Array:
        """Return the entries of each row of `x` at its row of `columns`."""
        return self.xp.take_along_axis(x, columns, axis=1)

    def running(self, x: Array) -> Array:
        """Return the sums of each row up to each of its entries."""
        return self.xp.cumulative_sum(x, axis=1)

    def largest(self, x: Array, k: int) -> tuple[Array, Array]:
        """Return the `k` largest of each row and their columns, ties by column.

        NaN comes after all numbers.
        """
        order = self.xp.argsort(-x, axis=1, stable=True)[:, :k]
        return self.xp.take_along_axis(x, order, axis=1), order

    def sees_values(self, x: Array) -> bool:
        """Return whether what is done may depend on the numbers in `x`."""
        return False

    def records(self, *arrays: Array) -> bool:
        """Return whether autodiff records what becomes of one of `arrays`."""
        return False

    def exact_dtype(self, x: Array) -> Any:
        """Return a dtype in which sums of the numbers of `x` are exact to its own."""
        return x.dtype

    def within(self, x: Array, k: int, slack: Array) -> tuple[Array, Array, Array]:
        """Return the columns of each row that are near its `k` largest, and more.

        Those that are `slack` or less below the k-th largest: columns in order, which
        of them are such, and of each row whether no other one is.
        """
        raise NotImplementedError

    def redone(
        self,
        right: Array,
        function: Callable[[Array], Arrays],
        rows: Array,
        found: Arrays,
    ) -> Arrays:
        """Return what was `found`, for rows that are not `right` by ``function(rows)``.

        What was found is the caller's to lose.
        """
        raise NotImplementedError

    def count(self, x: Array) -> Any:
        """Return the number of rows of `x`, at least 1, to divide by."""
        return max(x.shape[0], 1)

    def block(self, anchors: Array, candidates: Array) -> int | None:
        """Return how many anchors a panel should hold."""
        return max(self.panel // max(candidates.shape[0], 1), 64)

    def fold(
        self, body: Body, rows: Any, consts: Any, block: int | None
    ) -> tuple[Any, Any]:
        """Run ``body(carry, panel of rows, consts)`` over panels of `block` rows.

        `rows`, what is carried and what each panel gives are records of arrays, whose
        entries may be None or records. The first carry is None. Returns the last one,
        and what the panels give of their rows, joined.
        """
        total = leaves(rows)[0].shape[0]
        if block is None or block >= total:
            return body(None, rows, consts)
        carry, parts = None, []
        for start in range(0, total, block):
            panel = sliced(rows, start, min(start + block, total))
            carry, out = body(carry, panel, consts)
            parts.append(out)
        return carry, self.joined(parts)

    def joined(self, parts: list[Any]) -> Any:
        """Return records of the same form as one, their arrays end to end."""
        columns = zip(*map(leaves, parts), strict=True)
        return refilled(
            parts[0], [self.xp.concat(list(column), axis=0) for column in columns]
        )

    def several(self, x: Array, block: int | None) -> bool:
        """Return whether the rows of `x` may be several panels."""
        return block is not None and x.shape[0] > block

    def sweep(
        self,
        square: Square,
        rest: Meeting,
        merge: Merge,
        start: Any,
        rows: Any,
        block: int | None,
    ) -> Any:
        """Have each two panels of one set meet once, and return what comes of it.

        ``square(panel, exists)`` returns what comes of a panel of rows with itself, and
        ``rest(panel, others, exists)`` what comes of its meeting with others: for the
        panel, and for the others. `exists` is which of their pairs there are, or None:
        all. ``merge(old, new)`` adds up what came of the same rows, of which nothing
        came at the `start`.
        """
        total = leaves(rows)[0].shape[0]
        if block is None or block >= total:
            return square(rows, None)
        met, parts = start, []
        for first in range(0, total, block):
            count = min(block, total - first)
            panel = sliced(rows, first, first + count)
            found = merge(sliced(met, 0, count), square(panel, None))
            met = sliced(met, count, total - first)
            if first + count < total:
                own, others = rest(panel, sliced(rows, first + count, total), None)
                found, met = merge(found, own), merge(met, others)
            parts.append(found)
        return self.joined(parts)

    def when(self, some: Array, yes: Any, no: Any) -> Any:
        """Return ``yes()`` if `some` is true, else ``no()``, of the same shapes."""
        return yes() if bool(some) else no()

    def shortcut(self, short: Any, exact: Any, arrays: Arrays) -> tuple[Array, ...]:
        """Return ``exact(lib, *arrays)``, by `short` where that can be taken.

        `short` is a faster way to the same values, by float64 and a look at them. Its
        derivatives are those of `exact`.
        """
        info = self.xp.__array_namespace_info__()
        device = array_api_compat.device(arrays[0])
        known = info.dtypes(device=device, kind="real floating")
        return (short if "float64" in known else exact)(self, *arrays)

    def inverses(self, lengths: Array) -> Array:
        """Return the reciprocals of lengths: 0 of 0, where no slope is."""
        zero = lengths == 0
        inverse = 1 / self.xp.where(zero, self.xp.ones_like(lengths), lengths)
        return self.xp.where(zero, self.xp.zeros_like(lengths), inverse)

    # For `short` alone: the memory of the last panel may serve for the next.

    def panel_product(self, x: Array, y: Array) -> Array:
        """Return the matrix product of two arrays of one dtype."""
        return self.product(x, y)

    def narrowed(self, x: Array, dtype: Any, root: bool, sizes: Array) -> Array:
        """Return `x`, which is the caller's to lose, or its square root, in `dtype`.

        No square of a row of `x` that is not infinite is more than 2 of its `sizes`.
        """
        if root:  # less than 0 are some that will be made anew
            x = self.xp.sqrt(self.clip(x, 0.0, float("inf")))
        return self.xp.astype(x, dtype)

    def manhattan(self, x: Array, y: Array) -> Array | None:
        """Return the sums of absolute differences of rows, if there is a fast way."""
        return None

    def weights(self, upstream: Array, inverse: Array | None) -> Array:
        """Return their product, or `upstream`, in float64."""
        found = upstream if inverse is None else upstream * inverse
        return self.xp.astype(found, self.xp.float64)

    def within_one(self, x: Array) -> Array:
        """Return `x`, which is the caller's to lose, between -1 and 1.

        That is for what rounding took past 1: its gradient is kept.
        """
        fixed = self.stop_gradient(x)
        return x - (fixed - self.clip(fixed, -1.0, 1.0))

    def differentiable(
        self, operation: Operation, config: Any, arrays: Arrays, constants: Arrays
    ) -> Array:
        """Return the value of `operation`, with its gradient if there is autodiff."""
        return operation.value(self, config, arrays, constants)

    def constant(self, function: Callable[..., Any], config: Any, *arrays: Any) -> Any:
        """Return ``function(self, config, *arrays)``, a constant to autodiff.

        `function`, `config` and `arrays` are as `compiled` takes them.
        """
        return function(self, config, *arrays)

    def compiled(self, function: Callable[..., Any], config: Any, *arrays: Any) -> Any:
        """Return ``function(self, config, *arrays)``, compiled if the library compiles.

        `function` and `config` are the same, by ``==`` and by hash, in calls that do
        the same. Of `arrays` each is an array, None, or a tuple of both.
        """
        return function(self, config, *arrays)


class Ring(NamedTuple):
    """Panels that stand in a ring: each meets the half of the others after it."""

    panels: int  # an odd number, so that the others have halves
    block: int  # the rows of a panel
    half: int  # the rows of the panels that one meets
    width: int  # the same with its own
    end: int  # the rows of all panels, of which the last may be none


def ring_of(total: int, block: int) -> Ring:
    """Return the ring for `total` rows in panels of `block` or a few less."""
    count = -(-total // block) | 1
    block = -(-total // count)
    half = count // 2 * block
    return Ring(count, block, half, half + block, count * block)


def meeting(
    square: Square, rest: Meeting, merge: Merge, ring: Ring, window: Any, real: Any
) -> tuple[Any, Any]:
    """Return what comes of the first panel of a window, for itself and the others.

    `real` is which rows of the window there are, or None: all.
    """
    panel = sliced(window, 0, ring.block)
    others = sliced(window, ring.block, ring.width)
    alone = between = None
    if real is not None:
        own = real[: ring.block, None]
        alone, between = own & real[None, : ring.block], own & real[None, ring.block :]
    mine, theirs = rest(panel, others, between)
    return merge(square(panel, alone), mine), theirs
