"""The sums over the differences of one panel of pairs."""

from typing import NamedTuple

from metricops._frameworks import Library
from metricops._typing import Array


class Scales(NamedTuple):
    """Numbers of a dtype that keep sums of squares in range."""

    top: float  # the size that rows are scaled to: 2**20 of its squares can be added
    low: float  # the least size that rows are scaled from; smaller ones count as this
    high: float  # the largest one
    least: float  # the smallest normal number


_SCALES = {
    32: Scales(2.0**52, 2.0**-73, 2.0**127, 2.0**-126),
    64: Scales(2.0**500, 2.0**-520, 2.0**1023, 2.0**-1022),
}


class Config(NamedTuple):
    """What is static about a call."""

    kind: str  # "absolute", "squares" or "length"
    centred: bool  # whether differences are taken less their own mean, for "length"


class Rows(NamedTuple):
    """Rows, or a panel of them."""

    vectors: Array  # (b, ..., d)
    sizes: Array  # (b, ...), what `_size` returns of each; None unless "length"


def rows_of(lib: Library, config: Config, x: Array) -> Rows:
    """Return rows with their sizes, where `config` asks for lengths."""
    return Rows(x, _size(lib, x) if config.kind == "length" else None)


def panel_sums(lib: Library, config: Config, own: Rows, other: Rows) -> Array:
    """Return the sums of a panel, shape (b, ..., c)."""
    xp = lib.xp
    differences = _differences(lib, own.vectors, other.vectors)
    if config.kind == "absolute":
        return xp.sum(xp.abs(differences), axis=-1)
    if config.kind == "squares":
        return xp.sum(differences * differences, axis=-1)
    differences = without_mean(lib, config, differences)
    top = _scales(lib, differences).top
    others = moved(lib, other.sizes, 0, -1)[None, ...]
    size = xp.maximum(own.sizes[..., None], others)
    scaled = differences * (top / size)[..., None]
    squares = xp.sum(scaled * scaled, axis=-1)
    zero = squares == 0
    lengths = lib.root(xp.where(zero, xp.ones_like(squares), squares))
    return xp.where(zero, xp.zeros_like(squares), lengths * (size / top))


def panel_weighted(
    lib: Library,
    config: Config,
    x: Array,
    y: Array,
    weights: Array,
    inverse: Array | None = None,
) -> Array:
    """Return a panel's part of the weighted sums, shape (b, ..., d)."""
    differences = _differences(lib, x, y)
    if inverse is not None:
        differences = lib.times(differences, inverse[..., None])
    if config.kind == "absolute":
        # The sign: `xp.sign` of array-api-compat takes more passes over the panel.
        least = lib.asarray(_scales(lib, x).least, x, x.dtype)
        size = lib.xp.abs(differences)
        differences = lib.stop_gradient(differences / lib.xp.maximum(size, least))
    return lib.xp.sum(weights[..., None] * differences, axis=-2)


def _differences(lib: Library, x: Array, y: Array) -> Array:
    """Return x (b, ..., d) less y (c, ..., d), shape (b, ..., c, d)."""
    return x[..., None, :] - moved(lib, y, 0, -2)[None, ...]


def _size(lib: Library, x: Array) -> Array:
    """Return the power of two near each row's largest entry, within what can scale.

    Scaled by powers of two, squares of small integers stay exact, so that equal
    distances are equal numbers.
    """
    scales = _scales(lib, x)
    size = lib.peak(lib.xp.abs(x), axis=-1)[..., 0]
    size = lib.clip(size, scales.low, scales.high)
    return lib.near_powers(size)


def _scales(lib: Library, x: Array) -> Scales:
    return _SCALES[min(lib.dtype(x).bits, 64)]


def without_mean(lib: Library, config: Config, x: Array) -> Array:
    """Return rows less their own mean, if `config` asks for that."""
    if not config.centred or 0 in x.shape:
        return x
    return x - lib.xp.mean(x, axis=-1, keepdims=True)


def moved(lib: Library, x: Array, axis: int, place: int) -> Array:
    """Return `x` with one axis at another place."""
    order = list(range(x.ndim))
    order.insert(place % x.ndim, order.pop(axis))
    return x if order == sorted(order) else lib.xp.permute_dims(x, tuple(order))
