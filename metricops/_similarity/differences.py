"""Sums over the differences of all pairs of rows: an operation with its gradient.

Differences are formed and summed in panels that stay in the caches, forward and
backward. The usual expansion, |x|² + |y|² - 2 x·y, is one matrix product and 10 to 40
times as fast on a processor, but its error is that of |x|², so that rows that are near
each other in a wide cloud keep no digit of their distance, wherever its centre is put;
exact products of split rows would cost as much as the differences. These sums are right
to a few ulps for any rows. Of squares and absolute values they take what `torch.cdist`
takes without its product, and of lengths, which are scaled to hold 1e30, twice that.
"""

from typing import Any, NamedTuple

from metricops._checks import Shape
from metricops._frameworks import Arrays, Library, Operation, Step, register
from metricops._typing import Array

_PANEL = 2**18  # differences: 1 MiB of float32, in the second level of a cache


class Scales(NamedTuple):
    """What a dtype can hold."""

    top: float  # sums of 2**20 squares of this are finite: the largest is scaled to it
    low: float  # what rows count as at least,
    high: float  # and at most, so that their scale is finite
    least: float  # the smallest normal number


_SCALES = {
    32: Scales(2.0**53, 2.0**-73, 2.0**127, 2.0**-126),
    64: Scales(2.0**500, 2.0**-520, 2.0**1023, 2.0**-1022),
}


class Config(NamedTuple):
    """What is static about a call."""

    kind: str  # "absolute", "squares" or "length"
    centred: bool  # whether a difference's own mean is taken off first; of "length"


def value(lib: Library, config: Config, arrays: Arrays, constants: Arrays) -> Array:
    """Return the sums, shape (..., n, m).

    `arrays` are x (..., n, d), and y (..., m, d) or None for x; there are no constants.
    """
    x, y = (_moved(lib, z, -2, 0) for z in _both(arrays))
    sizes = [_largest(lib, z) if config.kind == "length" else None for z in (x, y)]
    rows, columns = _panels(lib, x, y)

    def row_panel(_: Any, own: Arrays, others: Arrays) -> Step:
        def panel(_: Any, other: Arrays, own: Arrays) -> Step:
            return (), (_moved(lib, _sums(lib, config, own, other), -1, 0),)

        _, (found,) = lib.fold(panel, others, own, columns)
        return (), (_moved(lib, found, 0, -1),)

    _, (found,) = lib.fold(row_panel, (x, sizes[0]), (y, sizes[1]), rows)
    return _moved(lib, found, 0, -2)


def is_small(lib: Library, config: Config, arrays: Arrays) -> bool:
    """Return whether one panel holds all, so that plain autodiff serves best."""
    if config.kind == "absolute" and not lib.abs_is_flat_at_zero:
        return False
    if config.kind == "length":  # the slope of a tiny one is lost on the way
        return False
    x, y = (lib.shape(z) for z in _both(arrays))
    return None not in (*x, y[-2]) and _product((*x, y[-2])) <= _PANEL


def saves_gradients(config: Config) -> bool:
    """Return False: the value is a matrix."""
    return False


def value_and_saved(
    lib: Library,
    config: Config,
    arrays: Arrays,
    constants: Arrays,
    wanted: tuple[bool, ...],
) -> tuple[Array, tuple[Array, ...]]:
    """Return the sums, and of lengths their reciprocals: 0 of 0, where no slope is."""
    found = value(lib, config, arrays, constants)
    if config.kind != "length":
        return found, ()
    zero = found == 0
    inverse = 1 / lib.xp.where(zero, lib.xp.ones_like(found), found)
    return found, (lib.xp.where(zero, lib.xp.zeros_like(found), inverse),)


def backward(
    lib: Library,
    config: Config,
    arrays: Arrays,
    constants: Arrays,
    saved: tuple[Array, ...],
    upstream: Array,
    wanted: tuple[bool, ...],
) -> Arrays:
    """Return the gradients of ``sum(upstream * value)``."""
    xp = lib.xp
    weights = upstream * saved[0] if config.kind == "length" else upstream
    weights = weights * 2 if config.kind == "squares" else weights
    turned = xp.matrix_transpose(weights)
    x, y = _both(arrays)
    if arrays[1] is None:
        return _pull(lib, config, x, x, weights + turned), None
    of_x = _pull(lib, config, x, y, weights) if wanted[0] else None
    return of_x, _pull(lib, config, y, x, turned) if wanted[1] else None


def _pull(lib: Library, config: Config, x: Array, y: Array, weights: Array) -> Array:
    """Return the weighted sums of each row's differences, or their signs."""
    x, y, weights = (_moved(lib, z, -2, 0) for z in (x, y, weights))
    rows, columns = _panels(lib, x, y)

    def row_panel(_: Any, own: Arrays, others: Arrays) -> Step:
        def panel(carry: Any, other: Arrays, own: Arrays) -> Step:
            weight = _moved(lib, other[1], 0, -1)
            part = _weighted(lib, config, own[0], other[0], weight)
            return (part if carry is None else carry[0] + part,), ()

        weight = _moved(lib, own[1], -1, 0)
        (total,), _ = lib.fold(panel, (others[0], weight), (own[0],), columns)
        return (), (total,)

    _, (found,) = lib.fold(row_panel, (x, weights), (y,), rows)
    found = _moved(lib, found, 0, -2)
    if config.centred and 0 not in found.shape:
        found = found - lib.xp.mean(found, axis=-1, keepdims=True)
    return found


def _sums(lib: Library, config: Config, own: Arrays, other: Arrays) -> Array:
    """Return the sums of a panel, shape (b, ..., c)."""
    xp = lib.xp
    differences = _differences(lib, own[0], other[0])
    if config.kind == "absolute":
        return xp.sum(xp.abs(differences), axis=-1)
    if config.kind == "squares":
        return xp.sum(differences * differences, axis=-1)
    if config.centred and 0 not in differences.shape:
        differences = differences - xp.mean(differences, axis=-1, keepdims=True)
    top = _scales(lib, differences).top
    size = xp.maximum(own[1][..., None], _moved(lib, other[1], 0, -1))
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
    return x[..., None, :] - _moved(lib, y, 0, -2)


def _largest(lib: Library, x: Array) -> Array:
    """Return the largest entry of each row by size, within what can be a scale."""
    scales = _scales(lib, x)
    size = lib.peak(lib.xp.abs(x), axis=-1)[..., 0]
    return lib.clip(size, scales.low, scales.high)


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


def _both(arrays: Arrays) -> tuple[Array, Array]:
    return arrays[0], arrays[0] if arrays[1] is None else arrays[1]


def _moved(lib: Library, x: Array, axis: int, place: int) -> Array:
    """Return `x` with one axis at another place."""
    order = list(range(x.ndim))
    order.insert(place % x.ndim, order.pop(axis))
    return x if order == sorted(order) else lib.xp.permute_dims(x, tuple(order))


OPERATION = register(
    Operation(
        "differences",
        Config,
        value,
        value_and_saved,
        backward,
        is_small,
        saves_gradients,
    )
)
