"""Sums over the differences of all pairs of rows, in panels, and their gradients.

Differences are formed and summed in panels that stay in the caches, forward and
backward. These sums are right to a few ulps for any rows, however near each other they
are in a wide cloud, and cost 10 to 40 times as much as a matrix product: so they are
for what a product cannot give (see `products`), and for the pairs that it gets wrong.
"""

from typing import Any, NamedTuple

from metricops._checks import Shape
from metricops._frameworks import Arrays, Library, Step
from metricops._typing import Array

_PANEL = 2**18  # differences: 1 MiB of float32, in the second level of a cache


class Scales(NamedTuple):
    """What a dtype can hold."""

    top: float  # sums of 2**20 squares of this are finite: the largest is scaled to it
    low: float  # what rows count as at least,
    high: float  # and at most, so that their scale is finite
    least: float  # the smallest normal number
    step: float  # the distance from 1 to the next number


_SCALES = {
    32: Scales(2.0**52, 2.0**-73, 2.0**127, 2.0**-126, 2.0**-23),
    64: Scales(2.0**500, 2.0**-520, 2.0**1023, 2.0**-1022, 2.0**-52),
}


class Config(NamedTuple):
    """What is static about a call."""

    kind: str  # "absolute", "squares" or "length"
    centred: bool  # whether a difference's own mean is taken off first; of "length"


def sums(lib: Library, config: Config, x: Array, y: Array) -> Array:
    """Return the sums of x (..., n, d) and y (..., m, d), shape (..., n, m)."""
    x, y = (_moved(lib, lib.unfolded(z), -2, 0) for z in (x, y))
    sizes = [_largest(lib, z) if config.kind == "length" else None for z in (x, y)]
    rows, columns = _panels(lib, x, y)

    def row_panel(_: Any, own: Arrays, others: Arrays) -> Step:
        def panel(_: Any, other: Arrays, own: Arrays) -> Step:
            return (), (_moved(lib, _sums(lib, config, own, other), -1, 0),)

        _, (found,) = lib.loops.fold(panel, others, own, columns)
        return (), (_moved(lib, found, 0, -1),)

    _, (found,) = lib.loops.fold(row_panel, (x, sizes[0]), (y, sizes[1]), rows)
    return _moved(lib, found, 0, -2)


def repaired(
    lib: Library, config: Config, x: Array, y: Array, found: Array, near: Array
) -> Array:
    """Return `found`, sums of two matrices, with those that are `near` made anew."""
    transposed = lib.xp.matrix_transpose
    sizes = [_largest(lib, z) if config.kind == "length" else None for z in (x, y)]
    rows, columns = _panels(lib, x, y)

    def row_panel(_: Any, own: Arrays, others: Arrays) -> Step:
        def panel(_: Any, other: Arrays, own: Arrays) -> Step:
            y, y_size, found, near = other
            found, near = transposed(found), transposed(near)

            def anew() -> Array:
                return lib.xp.where(near, _sums(lib, config, own, (y, y_size)), found)

            found = lib.when(lib.xp.any(near), anew, lambda: found)
            return (), (transposed(found),)

        x, x_size, found, near = own
        other = (*others, transposed(found), transposed(near))
        _, (found,) = lib.loops.fold(panel, other, (x, x_size), columns)
        return (), (transposed(found),)

    _, (found,) = lib.loops.fold(
        row_panel, (x, sizes[0], found, near), (y, sizes[1]), rows
    )
    return found


def pull(
    lib: Library,
    config: Config,
    x: Array,
    y: Array,
    weights: Array,
    few: bool = False,
) -> Array:
    """Return the weighted sums of each row's differences, or their signs.

    `few` says that most weights are 0, so that it pays to look for panels without any.
    """
    x, y, weights = (_moved(lib, z, -2, 0) for z in (x, y, weights))
    rows, columns = _panels(lib, x, y)

    def row_panel(_: Any, own: Arrays, others: Arrays) -> Step:
        def panel(carry: Any, other: Arrays, own: Arrays) -> Step:
            weight = _moved(lib, other[1], 0, -1)

            def part() -> Array:
                return _weighted(lib, config, own[0], other[0], weight)

            found = (
                lib.when(
                    lib.xp.any(weight != 0), part, lambda: lib.xp.zeros_like(own[0])
                )
                if few
                else part()
            )
            return (found if carry is None else carry[0] + found,), ()

        weight = _moved(lib, own[1], -1, 0)
        (total,), _ = lib.loops.fold(panel, (others[0], weight), (own[0],), columns)
        return (), (total,)

    _, (found,) = lib.loops.fold(row_panel, (x, weights), (y,), rows)
    return without_mean(lib, config, _moved(lib, found, 0, -2))


def without_mean(lib: Library, config: Config, x: Array) -> Array:
    """Return rows less their own mean, if `config` asks for that."""
    if not config.centred or 0 in x.shape:
        return x
    return x - lib.xp.mean(x, axis=-1, keepdims=True)


def is_one_panel(lib: Library, x: Array, y: Array) -> bool:
    """Return whether one panel is known to hold the differences of all pairs."""
    sizes = (*lib.shape(x), lib.shape(y)[-2])
    return None not in sizes and _product(sizes) <= _PANEL


def _sums(lib: Library, config: Config, own: Arrays, other: Arrays) -> Array:
    """Return the sums of a panel, shape (b, ..., c)."""
    xp = lib.xp
    differences = _differences(lib, own[0], other[0])
    if config.kind == "absolute":
        return xp.sum(xp.abs(differences), axis=-1)
    if config.kind == "squares":
        return xp.sum(differences * differences, axis=-1)
    differences = without_mean(lib, config, differences)
    top = _scales(lib, differences).top
    size = xp.maximum(own[1][..., None], _moved(lib, other[1], 0, -1)[None, ...])
    scaled = differences * (top / size)[..., None]
    squares = xp.sum(scaled * scaled, axis=-1)
    zero = squares == 0
    lengths = xp.sqrt(xp.where(zero, xp.ones_like(squares), squares))
    return xp.where(zero, squares, lengths * (size / top))


def _weighted(
    lib: Library, config: Config, x: Array, y: Array, weights: Array
) -> Array:
    """Return a panel's part of the weighted sums, shape (b, ..., d)."""
    differences = _differences(lib, x, y)
    if config.kind == "absolute":
        # The sign, by fewer passes than array-api-compat takes for PyTorch's.
        least = lib.asarray(_scales(lib, x).least, x, x.dtype)
        size = lib.xp.abs(differences)
        differences = lib.stop_gradient(differences / lib.xp.maximum(size, least))
    return lib.xp.sum(weights[..., None] * differences, axis=-2)


def _differences(lib: Library, x: Array, y: Array) -> Array:
    """Return x (b, ..., d) less y (c, ..., d), shape (b, ..., c, d)."""
    return x[..., None, :] - _moved(lib, y, 0, -2)[None, ...]


def _largest(lib: Library, x: Array) -> Array:
    """Return the power of two near each row's largest entry, within what can scale.

    Scaled by powers of two, squares of small integers stay exact, so that equal
    distances are equal numbers.
    """
    scales = _scales(lib, x)
    size = lib.peak(lib.xp.abs(x), axis=-1)[..., 0]
    size = lib.clip(size, scales.low, scales.high)
    # The sum lies between numbers that are a power of two times the step apart, and is
    # rounded to the next or the next but one.
    return ((size + size * scales.step) - size) / scales.step


def _scales(lib: Library, x: Array) -> Scales:
    return _SCALES[min(lib.dtype(x).bits, 64)]


def _panels(lib: Library, x: Array, y: Array) -> tuple[int, int]:
    """Return how many rows and columns a panel has."""
    width = _product(lib.shape(x)[1:])
    count = lib.shape(y)[0]
    columns = max(_PANEL // (16 * width), 1)
    columns = columns if count is None else max(min(columns, count), 1)
    return max(_PANEL // (columns * width), 1), columns


def _product(sizes: Shape) -> int:
    """Return the product of sizes, of which those unknown and those 0 count as 1."""
    product = 1
    for size in sizes:  # Dynamo does not trace math.prod
        product *= size or 1
    return product


def _moved(lib: Library, x: Array, axis: int, place: int) -> Array:
    """Return `x` with one axis at another place."""
    order = list(range(x.ndim))
    order.insert(place % x.ndim, order.pop(axis))
    return x if order == sorted(order) else lib.xp.permute_dims(x, tuple(order))
