"""What two views of a batch have in common: their columns, and products of these.

The products of all columns of x, (n, d), and y make a matrix ``xᵀ @ y``, (d, d). It is
never held: there are panels of its rows. Where there are fewer rows than columns, its
squares come from the products of rows, as ``|xᵀ @ y|² = sum((x @ xᵀ) * (y @ yᵀ))``.
"""

from typing import Any, NamedTuple

from metricops import _checks
from metricops._arguments.arrays import Inputs, float_arrays
from metricops._frameworks import Library
from metricops._typing import Array

# Differences of entries up to this can be added up for any number of rows.
_HUGE = {32: 2.0**96, 64: 2.0**960}


class Squares(NamedTuple):
    """The sum of squared products, and its gradients."""

    total: Array
    first: Any = None
    second: Any = None  # None for one matrix with itself


class Columns(NamedTuple):
    """Some columns of x, as rows."""

    rows: Array  # (b, n)
    places: Array  # (b,): which they are


class Sides(NamedTuple):
    """Rows of x and of y, or all of them."""

    first: Array
    second: Array


class Out(NamedTuple):
    """What a panel gives of its rows."""

    sums: Array
    first: Array | None = None
    second: Array | None = None


def two_views(first: Any, second: Any) -> Inputs:
    """Return two views of a batch, having made sure that they fit."""
    inputs = float_arrays(first=first, second=second)
    lib, one, other = inputs.library, inputs.first, inputs.second
    lib.check_whole("first", one)
    lib.check_whole("second", other)
    _checks.check_rank("first", lib.shape(one), 2, "(n, d)")
    return inputs._replace(second=lib.shaped("second", other, "first", one))


def count(lib: Library, x: Array, axis: int) -> Array:
    """Return how many rows, or columns, a matrix has, as an array of shape ()."""
    return lib.xp.sum(lib.xp.ones_like(_first(lib, x, 1 - axis)))


def _first(lib: Library, x: Array, axis: int) -> Array:
    """Return the first row or column, kept as one; none where there is none."""
    last = 0 if lib.shape(x)[axis] == 0 else 1
    return x[:last, :] if axis == 0 else x[:, :last]


def at_least_one(lib: Library, number: Array) -> Array:
    """Return a number to divide by."""
    return lib.clip(number, 1.0, float("inf"))


def factors_of(lib: Library, x: Array) -> Array:
    """Return what columns of huge entries are multiplied by, so that sums are numbers.

    It is 1 or a power of 2, by which no digit is lost.
    """
    size = lib.peak(lib.xp.abs(x), 0)
    most = _HUGE.get(lib.dtype(x).bits, _HUGE[64])
    return lib.xp.where(size > most, lib.xp.ones_like(size) * 2.0**-32, 1.0)


def centred(lib: Library, x: Array) -> Array:
    """Return columns less their mean: 0 exactly where a column is constant."""
    return less_mean(lib, x - lib.stop_gradient(_first(lib, x, 0)))


def less_mean(lib: Library, x: Array) -> Array:
    """Return columns less their mean."""
    rows = at_least_one(lib, count(lib, x, 0))
    return x - lib.xp.sum(x, axis=0, keepdims=True) / rows


def squares(lib: Library, x: Array, y: Array | None, slopes: bool) -> Squares:
    """Return the sum of the squared products of different columns of x and y, or x."""
    n, d = lib.shape(x)
    if n is not None and d is not None and n < d:
        return _by_rows(lib, x, y, slopes)
    return _by_columns(lib, x, y, slopes)


def _by_columns(lib: Library, x: Array, y: Array | None, slopes: bool) -> Squares:
    turn, sum_of = lib.xp.matrix_transpose, lib.xp.sum
    other = x if y is None else y
    columns = Columns(turn(x), lib.positions(x, 1, "first"))

    def body(total: Any, panel: Columns, sides: Sides) -> tuple[Any, Out]:
        products = lib.product(panel.rows, sides.second)
        products = lib.put(products, panel.places, 0.0)
        sums = sum_of(products * products, axis=1)
        if not slopes:
            return (), Out(sums)
        out = Out(sums, lib.product(products, sides.first))
        if y is None:
            return (), out
        (sofar,) = total or (None,)
        return (lib.plus_product(sofar, turn(panel.rows), products),), out

    sides = Sides(turn(other), other)
    block = lib.block(columns.rows, sides.first)
    total, out = lib.loops.fold(body, columns, sides, block)
    loss = sum_of(out.sums)
    if not slopes:
        return Squares(loss)
    if y is None:
        return Squares(loss, 4 * turn(out.first))
    return Squares(loss, 2 * turn(out.first), 2 * total[0])


def _by_rows(lib: Library, x: Array, y: Array | None, slopes: bool) -> Squares:
    turn, sum_of = lib.xp.matrix_transpose, lib.xp.sum
    other = x if y is None else y

    def body(_: Any, panel: Sides, sides: Sides) -> tuple[Any, Out]:
        of_x = of_y = lib.product(panel.first, turn(sides.first))
        if y is not None:
            of_y = lib.product(panel.second, turn(sides.second))
        sums = sum_of(of_x * of_y, axis=1)
        if not slopes:
            return (), Out(sums)
        of_first, of_second = lib.product(of_y, sides.first), None
        if y is not None:
            of_second = lib.product(of_x, sides.second)
        return (), Out(sums, of_first, of_second)

    sides = Sides(x, other)
    _, out = lib.loops.fold(body, sides, sides, lib.block(x, other))
    own = sum_of(x * other, axis=0)
    loss = lib.clip(sum_of(out.sums) - sum_of(own * own), 0.0, float("inf"))
    if not slopes:
        return Squares(loss)
    if y is None:
        return Squares(loss, 4 * (out.first - own * x))
    return Squares(loss, 2 * (out.first - own * y), 2 * (out.second - own * x))
