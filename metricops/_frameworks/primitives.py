"""Operations that a framework may do better than the functions of the standard.

The module is long, as one class has all that frameworks may do in another way.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from metricops._frameworks import selection
from metricops._frameworks.operands import Operands
from metricops._frameworks.operations import Arrays
from metricops._typing import Array, Namespace

_LEAST = np.finfo(np.longdouble).smallest_normal
# The floats that are normal and whose reciprocal is: XLA may multiply by that instead.
_RANGE: dict[int, tuple[Any, Any]] = {
    32: (2.0**-126, 2.0**125),
    64: (2.0**-1022, 2.0**1021),
    96: (_LEAST, 1 / _LEAST / 2),
    128: (_LEAST, 1 / _LEAST / 2),
}

# From 1 to the next number.
_STEP: dict[int, Any] = {32: 2.0**-23, 64: 2.0**-52}
_STEP[96] = _STEP[128] = np.finfo(np.longdouble).eps

SMALL = 0.01  # a loss of which a softmax beside 1 keeps too few digits


class CrossEntropy(NamedTuple):
    """What a framework has for the cross-entropy of rows with one positive each.

    Each takes scores (b, m) and the columns of the positives (b,); None: it has none.
    """

    mean: Callable[[Array, Array], Array | None] | None = None
    """None where it is less than `SMALL`."""
    losses: Callable[[Array, Array], Array] | None = None
    slopes: Callable[[Array, Array], tuple[Array, Array]] | None = None
    """The losses, and their derivative by the scores."""


NO_CROSS_ENTROPY = CrossEntropy()


def of_width_two(xp: Namespace, x: Array, y: Array) -> tuple[Array, Array]:
    """Return the sides of a product of width 1 with zeros beside them.

    XLA turns a product of width 1 into an elementwise one and fuses it with a later
    subtraction, in one rounding: a score would differ from the peak of its row, which
    was rounded by itself.
    """
    columns = xp.concat([x, xp.zeros_like(x)], axis=-1)
    return columns, xp.concat([y, xp.zeros_like(y)], axis=-2)


class Primitives(Operands):
    """Functions of arrays, each written with the functions of the standard."""

    def stop_gradient(self, x: Array) -> Array:
        """Return `x` as a constant to autodiff."""
        return x

    def pick(self, x: Array, columns: Array) -> Array:
        """Return one column of each row of the matrix `x`, shape (n, 1)."""
        return x[self.positions(x, 0, "anchors"), columns][:, None]

    def gather(self, x: Array, indices: Array) -> Array:
        """Return the entries, or rows, of `x` at a matrix of indices."""
        flat = self.xp.take(x, self.xp.reshape(indices, (-1,)), axis=0)
        return self.xp.reshape(flat, (*indices.shape, *x.shape[1:]))

    def rows(self, x: Array, indices: Array) -> Array:
        """Return the rows of the matrix `x` at a vector of indices."""
        return self.xp.take(x, indices, axis=0)

    def columns(self, x: Array, indices: Array) -> Array:
        """Return the columns of the matrix `x` at a vector of indices."""
        return self.xp.take(x, indices, axis=1)

    def first_equals(self, x: Array) -> Array:
        """Return for each number in `x` the place of the first that equals it."""
        order = self.xp.argsort(x, stable=True)
        ordered = self.xp.take(x, order)
        return self.xp.take(order, self.xp.searchsorted(ordered, x))

    def plus_rows(self, total: Array, columns: Array, rows: Array) -> Array:
        """Return `total`, (m, d), with rows (b, w, d) added at `columns`, (b, w).

        The total may be overwritten. It is there where `looks` may be True.
        """
        raise NotImplementedError

    def put_each(self, x: Array, columns: Array, value: float) -> Array:
        """Return `x` with the columns (b, w) of its rows replaced by a number.

        It may be overwritten. It is there where `looks` may be True.
        """
        raise NotImplementedError

    def chosen(self, x: Array, columns: Array) -> Array:
        """Return the entries of each row of `x` at its row of `columns`."""
        return self.xp.take_along_axis(x, columns, axis=1)

    def peak(self, x: Array, axis: int | tuple[int, ...]) -> Array:
        """Return the maxima along `axis`, kept, as constants; 0 for an empty array."""
        if 0 in x.shape:
            return self.xp.sum(x, axis=axis, keepdims=True)
        return self.xp.max(self.stop_gradient(x), axis=axis, keepdims=True)

    def lengths(self, x: Array, axes: tuple[int, ...]) -> Array:
        """Return the lengths of vectors along `axes`, kept; inf of zero vectors.

        So a zero vector over its length is zero, and has a gradient, which is zero too.
        The squares of the entries must be normal numbers.
        """
        squares = self.xp.sum(x * x, axis=axes, keepdims=True)
        return self.xp.sqrt(self.xp.where(squares == 0, float("inf"), squares))

    def clip(self, x: Array, low: float, high: float) -> Array:
        """Return `x` limited to the range from `low` to `high`; NaN stays NaN."""
        return self.xp.minimum(self.xp.maximum(x, low), high)

    def step(self, x: Array) -> Array:
        """Return 1 where numbers that are not negative are above 0, and 0 elsewhere."""
        return self.xp.astype(x > 0, x.dtype)

    def divisors(self, x: Array) -> Array:
        """Return sizes limited to divisors: normal numbers with a normal reciprocal."""
        return self.clip(x, *_RANGE.get(self.dtype(x).bits, _RANGE[64]))

    def inverse_powers(self, x: Array) -> Array:
        """Return reciprocals of powers of two near sizes: factors that lose no digit.

        They are factors, as XLA may make one division of two, by a product of both
        divisors that is infinite.
        """
        smallest, largest = _RANGE.get(self.dtype(x).bits, _RANGE[64])
        step = _STEP.get(self.dtype(x).bits, _STEP[64])
        return self._last_digits(1 / step / self.clip(x, smallest / step, largest))

    def near_powers(self, x: Array) -> Array:
        """Return powers of two near sizes, which must be far from underflow."""
        return self._last_digits(x) / _STEP.get(self.dtype(x).bits, _STEP[64])

    def _last_digits(self, x: Array) -> Array:
        """Return one unit in the last place of each number, or two: powers of two."""
        # ``x * step`` is one to two such units. Adding `x` and subtracting it again
        # rounds this to one unit or two.
        step = _STEP.get(self.dtype(x).bits, _STEP[64])
        return (x + x * step) - x

    def normal_lengths(self, x: Array, axes: tuple[int, ...]) -> Array | None:
        """Return the lengths of vectors along `axes`, kept, if none is 0 or extreme.

        None where that is not so, or where a look at numbers costs something.
        """
        if not self.looks(x) or 0 in x.shape:
            return None
        found = self.norms(x, axes)
        shortest, longest = self.extremes(self.stop_gradient(found))
        smallest, largest = _RANGE.get(self.dtype(x).bits, _RANGE[64])
        low, high = smallest ** (1 / 3), largest ** (1 / 3)
        return found if shortest > low and longest < high else None

    def norms(self, x: Array, axes: tuple[int, ...]) -> Array:
        """Return the lengths of vectors along `axes`, kept, none of which is 0."""
        return self.xp.sqrt(self.xp.sum(x * x, axis=axes, keepdims=True))

    def extremes(self, x: Array) -> tuple[Array, Array]:
        """Return the least and the largest number in an array that is not empty."""
        return self.xp.min(x), self.xp.max(x)

    def shortest(self, x: Array) -> Any:
        """Return the least length in the dtype of `x` whose reciprocal is of use.

        A sum of 64 such reciprocals is still a number.
        """
        smallest, _ = _RANGE.get(self.dtype(x).bits, _RANGE[64])
        return smallest * 16

    def one_integer_dtype(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Return integers of two dtypes in the widest dtype there is."""
        names = {self.dtype(x).name, self.dtype(y).name}
        one = names.pop() if len(names) == 1 else self.host_dtype("int64", x)
        wide = self.dtype_called(one)
        return self.xp.astype(x, wide), self.xp.astype(y, wide)

    def unfolded(self, x: Array) -> Array:
        """Return `x`, whose entries no compiler knows while it compiles.

        It may make c**2 * s**2 of the square of c * s where it knows c: not a number
        where c is 0 and s**2 infinite.
        """
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

    def pair_product(self, x: Array, y: Array) -> Array:
        """Return the product of two matrices, with all its derivatives."""
        return self.product(x, y)

    def dots(self, x: Array, y: Array, axis: int) -> Array:
        """Return the sums of the products of two matrices along an axis."""
        return self.xp.sum(x * y, axis=axis)

    def running(self, x: Array) -> Array:
        """Return the cumulative sums of each row."""
        return self.xp.cumulative_sum(x, axis=1)

    def running_log_sums(self, x: Array) -> Array:
        """Return the logarithms of the cumulative sums of exp(x) along each row.

        The size of the rows is known. With each step, sums reach twice as far.
        """
        xp, step, size = self.xp, 1, x.shape[1]
        while step < size:
            head = xp.full_like(x[:, :step], -float("inf"))
            x = self.log_sum(x, xp.concat([head, x[:, : size - step]], axis=1))
            step *= 2
        return x

    def log_sum(self, x: Array, y: Array) -> Array:
        """Return log(exp(x) + exp(y)), with derivatives of 0 where both are 0."""
        xp = self.xp
        peak = self.stop_gradient(xp.maximum(x, y))
        nothing = peak == -float("inf")
        peak = xp.where(xp.abs(peak) == float("inf"), 0.0, peak)
        total = xp.exp(x - peak) + xp.exp(y - peak)
        found = xp.log(xp.where(nothing, 1.0, total)) + peak
        return xp.where(nothing, -float("inf"), found)

    def log_softmax(self, scores: Array) -> Array:
        """Return the logarithms of each row's softmax."""
        shifted = scores - self.peak(scores, 1)
        partition = self.xp.sum(self.xp.exp(shifted), axis=1, keepdims=True)
        return shifted - self.xp.log(partition)

    def softplus(self, x: Array) -> Array:
        """Return log(1 + exp(x)), of any x."""
        xp = self.xp
        return xp.log1p(xp.exp(-xp.abs(x))) + self.clip(x, 0.0, float("inf"))

    def sigmoid(self, x: Array) -> Array:
        """Return 1 / (1 + exp(-x)), of any x."""
        small = self.xp.exp(-self.xp.abs(x))
        return self.xp.where(x < 0, small, 1.0) / (1 + small)

    def cross_entropy(self, scores: Array) -> CrossEntropy:
        """Return the framework's functions for the cross-entropy of such scores."""
        return NO_CROSS_ENTROPY

    def largest(self, x: Array, k: int) -> tuple[Array, Array]:
        """Return the `k` largest of each row and their columns, ties by column.

        NaN comes after all numbers.
        """
        order = self.xp.argsort(-x, axis=1, stable=True)[:, :k]
        return self.xp.take_along_axis(x, order, axis=1), order

    def top(self, x: Array, k: int) -> tuple[Array, Array]:
        """Return the `k` largest of each row of constants, and their columns.

        None is NaN. Among equals any may be chosen.
        """
        return self.largest(x, k)

    def within(self, x: Array, k: int, slack: Array) -> tuple[Array, Array, Array]:
        """Return the columns of each row that are near its `k` largest, and more.

        Those that are `slack` or less below the k-th largest: columns in order, which
        of them are such, and of each row whether no other one is.
        """
        return selection.within(self, x, k, slack)

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

        def again() -> Arrays:
            pairs = zip(found, function(rows), strict=True)
            return tuple(self.xp.where(right[:, None], x, new) for x, new in pairs)

        wrong = self.xp.any(self.xp.logical_not(right))
        result: Arrays = self.when(wrong, again, lambda: found)
        return result

    def when(self, some: Array, yes: Any, no: Any) -> Any:
        """Return ``yes()`` if `some` is true, else ``no()``; their shapes are equal."""
        return yes() if bool(some) else no()

    # The next ones may overwrite `x`, which the caller must not use again.

    def plus(self, x: Array, y: Array) -> Array:
        """Return ``x + y``."""
        return x + y

    def minus(self, x: Array, y: Array) -> Array:
        """Return ``x - y``."""
        return x - y

    def times(self, x: Array, y: Array) -> Array:
        """Return ``x * y``."""
        return x * y

    def only(self, x: Array, kept: Array) -> Array:
        """Return `x`, and 0 where it is not `kept`."""
        return self.xp.where(kept, x, 0.0)

    def over(self, x: Array, y: Array) -> Array:
        """Return ``x / y``."""
        return x / y

    def less(self, x: Array, y: Array, factor: Array) -> Array:
        """Return ``x - y * factor``."""
        return x - y * factor

    def exp(self, x: Array) -> Array:
        """Return the exponentials of `x`."""
        return self.xp.exp(x)

    def scaled_peak(self, x: Array, scale: Array) -> Array:
        """Return the maxima of the rows of ``x * scale``, as constants."""
        return self.peak(x * scale, 1)

    def exponentials(
        self, x: Array, peak: Array, scale: Array | None
    ) -> tuple[Array, Array | None]:
        """Return ``exp(x * scale - peak)`` as it is multiplied, over a number a row.

        That number is (b, 1), or None for 1. The scale may be None for 1.
        """
        x = x if scale is None else self.times(x, scale)
        return self.exp(self.minus(x, peak)), None

    def put(self, x: Array, columns: Array, value: Any) -> Array:
        """Return `x` with one column of each row replaced, by a number or by (n,)."""
        own = columns[:, None] == self.positions(x, 1, "candidates")[None, :]
        value = value[:, None] if getattr(value, "ndim", 0) else value
        return self.xp.where(own, value, x)

    def put_own(self, x: Array, places: Array, value: Any) -> Array:
        """Return `x` with a number where each row meets itself.

        `places` are the columns, each by one more than that of the row before.
        """
        return self.put(x, places, value)

    def puts_in_place(self) -> bool:
        """Return whether `put` writes a column alone, and makes no new panel."""
        return False

    def fuses(self) -> bool:
        """Return whether a compiler makes one pass of steps that follow each other."""
        return False
