"""Squared differences of all pairs of rows, and their roots, from matrix products.

|x - y|² = |x|² + |y|² - 2 x·y is one product. In float64, of rows less their mean, it
is off by at most (3 d + 8)·2⁻⁵³·(|x|² + |y|²): less than 1e-7 of itself for all pairs
but those that are very near each other, or not finite. These are made anew from their
differences. The gradient is two products: of W, what is upstream over the length, it is
the rows of ``rowsum(W)·x - W·y``, once more without the pairs that are too near. Where
no pair is much nearer than rows are long, float32 holds that difference as well.

Nothing need be scaled, since float64 holds the squares of all that float32 holds; very
long and very short rows keep to it.

The module is long, as values and gradients share all that one derivation needs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from metricops._frameworks import Arrays, Library, Step
from metricops._similarity import differences
from metricops._similarity.panel_sums import Config, without_mean
from metricops._typing import Array

_ERROR = 1e-7  # relative, of squares from a product
_LOW, _HIGH = 2.0**-103, 2.0**126  # between these, roots lose nothing in float32
_FAR = 8.0  # how much longer than a distance rows may be, for gradients in float32


class Rows(NamedTuple):
    """Rows, or a panel of them."""

    given: Array  # in float32
    centred: Array  # less the mean of all rows; in float64, or float32 in `pull`
    norms: Array  # (n,) their squared lengths; infinite of rows that are not finite
    places: Array | None  # (n,) where a row is among those that it meets, if it is
    upstream: Array | None = None  # (n, m), in float32
    lengths: Array | None = None  # (n, m), the distances, where they are lengths


def sums(
    config: Config, lib: Library, x: Array, y: Array | None, places: Array | None = None
) -> tuple[Array, ...]:
    """Return the sums, shape (n, m)."""
    xp = lib.xp
    left, right = _prepared(lib, config, x, y, places)
    factor = xp.matrix_transpose(_right(lib, right))

    def panel(_: Any, own: Arrays, others: Arrays) -> Step:
        own, (factor, *rest) = Rows(*own), others
        other, tau = Rows(*rest), _threshold(lib, x)
        squares = _squares(lib, own, factor)
        least, sizes = xp.min(squares, axis=1), own.norms + xp.max(other.norms)
        some = _some_near(lib, least, tau * sizes)
        narrow = xp.logical_and(xp.min(least) > _LOW, xp.max(sizes) < _HIGH)
        found = lib.narrowed(squares, x.dtype, root, narrow)
        if own.places is not None:
            found = lib.put(found, own.places, 0.0)

        def anew() -> Array:
            size = xp.astype(found, xp.float64)
            near = _near(lib, size * size if root else size, tau, own, other)
            return differences.repaired(
                lib, config, own.given, other.given, found, near
            )

        return (), (lib.when(some, anew, lambda: found),)

    root = config.kind == "length"
    block = lib.distances_block(left.given, right.given)
    found: tuple[Array, ...]
    _, found = lib.loops.fold(panel, left, (factor, *right), block)
    return found


def pull(
    config: Config,
    wanted: tuple[bool, ...],
    lib: Library,
    x: Array,
    y: Array | None,
    upstream: Array,
    lengths: Array | None,
    places: Array | None = None,
) -> tuple[Array, ...]:
    """Return the gradients that are wanted."""
    left, right = _prepared(lib, config, x, y, places)
    left = left._replace(upstream=upstream, lengths=lengths)
    sides = (True, True) if y is None else wanted
    found = None
    if _all_far(lib, left, right):
        one, other = (
            z._replace(centred=lib.xp.astype(z.centred, x.dtype)) for z in (left, right)
        )
        found = _pulled(lib, config, one, other, sides)
    # Sums of what is upstream may be too large for float32.
    if found is None or not all(bool(lib.xp.all(lib.xp.isfinite(z))) for z in found):
        found = _pulled(lib, config, left, right, sides)
    if y is None:
        of_rows, of_others = found
        found = (of_rows + of_others,)
    each = (lib.xp.astype(z, x.dtype) for z in found)
    return tuple(without_mean(lib, config, z) for z in each)


def _pulled(
    lib: Library, config: Config, left: Rows, right: Rows, sides: tuple[bool, ...]
) -> Arrays:
    """Return the gradients of the sides that are wanted, in the dtype of `centred`."""
    of_left, of_right = sides
    transposed = lib.xp.matrix_transpose

    def panel(carry: Any, own: Arrays, others: Arrays) -> Step:
        own, (closed, *rest) = Rows(*own), others
        weights, *near = _weights(lib, config, own, Rows(*rest), sides)
        of_rows: Arrays = ()
        if of_left:
            met = lib.product(closed, transposed(weights))
            of_rows = (_added(_difference(lib, own.centred, met), near[0]),)
        if not of_right:
            return (), of_rows
        total, exact = carry or (None, None)
        total = lib.plus_product(total, _closed(lib, own.centred), weights)
        return (total, _added(exact, near[-1])), of_rows

    block = _block(lib, left, right)
    consts = (_closed(lib, right.centred), *right)
    found: Arrays
    carry, found = lib.loops.fold(panel, left, consts, block)
    if not of_right:
        return found
    total, exact = carry
    return (*found, _added(_difference(lib, right.centred, total), exact))


def _added(x: Any, y: Any) -> Any:
    """Return the sum of two arrays, of which None is nothing."""
    return x if y is None else y if x is None else x + y


def _weights(
    lib: Library, config: Config, own: Rows, other: Rows, sides: tuple[bool, ...]
) -> tuple[Any, ...]:
    """Return W without the pairs that are too near, and the gradients by these.

    Those are None where there are no such pairs, if it can be seen.
    """
    xp, tau = lib.xp, _threshold(lib, own.given)
    weights, peaks = lib.weights(own.upstream, own.lengths, own.centred.dtype)
    if config.kind == "squares":
        weights = 2 * weights
    if own.places is not None:
        weights = lib.put(weights, own.places, 0.0)

    def apart() -> Arrays:
        near = _near(lib, squares(), tau, own, other)
        kept = xp.where(near, xp.zeros_like(weights), weights)
        few = xp.where(near, weights, xp.zeros_like(weights))
        return kept, *_exact(lib, own, other, few, sides)

    def together() -> Arrays:
        given = (z.centred for z, side in zip((own, other), sides, strict=True) if side)
        return weights, *(xp.zeros_like(z) for z in given)

    if own.centred.dtype == own.given.dtype:
        return weights, None, None
    squares, some = _nearness(lib, tau, own, other, peaks)
    if lib.looks(weights) and not bool(some):
        return weights, None, None
    found: Arrays = lib.when(some, apart, together)
    return found


def _all_far(lib: Library, left: Rows, right: Rows) -> bool:
    """Return whether gradients need no float64, where a look is cheap.

    Squares of lengths that are far from the ends of float32 keep all digits there.
    """
    xp, lengths = lib.xp, left.lengths
    if lengths is None or not lib.looks(lengths) or 0 in lengths.shape:
        return False
    if lib.rounds_products(left.given):
        return False
    size = xp.maximum(xp.max(left.norms), xp.max(right.norms))
    if not bool(xp.logical_and(size >= 2.0**-100, size <= 2.0**100)):
        return False

    def panel(_: Any, own: Arrays, __: Any) -> Step:
        return (), (lib.peaks(*own),)

    def far(lengths: Array) -> bool:
        _, (peaks,) = lib.loops.fold(panel, (lengths,), (), 512)
        peak = xp.astype(xp.max(peaks), size.dtype)
        return bool(peak * peak * size <= _FAR * _FAR)  # False for NaN

    # Where the first rows are near others, there is no need to read all.
    return far(lengths[:64, :]) and far(lengths)


def _nearness(
    lib: Library, tau: Any, own: Rows, other: Rows, peaks: Array | None
) -> tuple[Callable[[], Array], Array]:
    """Return a function to the squared distances, and whether any may be too near.

    Rows that are equal do not count as near: their reciprocal is 0, as is their weight.
    """
    xp = lib.xp
    if peaks is None:
        found = _squares(lib, own, xp.matrix_transpose(_right(lib, other)))
        bound = tau * (own.norms + xp.max(other.norms))
        return lambda: found, _some_near(lib, xp.min(found, axis=1), bound)
    peaks = xp.astype(peaks, xp.float64)
    low = tau * peaks * peaks * (own.norms + xp.max(other.norms))

    def squares() -> Array:
        lengths = xp.astype(own.lengths, xp.float64)
        return lengths * lengths

    return squares, xp.any(xp.logical_not(low < 1))


def _exact(
    lib: Library, own: Rows, other: Rows, weights: Array, sides: tuple[bool, ...]
) -> list[Array]:
    """Return the gradients by a few pairs, from their differences."""
    xp, config = lib.xp, Config("length", False)
    weights = xp.astype(weights, own.given.dtype)
    turned = xp.matrix_transpose(weights)
    pairs = ((own, other, weights), (other, own, turned))
    return [
        xp.astype(
            differences.pull(lib, config, x.given, y.given, weight, few=True),
            xp.float64,
        )
        for (x, y, weight), side in zip(pairs, sides, strict=True)
        if side
    ]


def _prepared(
    lib: Library, config: Config, x: Array, y: Array | None, places: Array | None
) -> tuple[Rows, Rows]:
    """Return the rows of both sides, in float64 and centred."""
    given = [x] if y is None or y is x else [x, y]
    wide = [lib.xp.astype(z, lib.xp.float64) for z in given]
    wide = [without_mean(lib, config, z) for z in wide]
    centre = _centre(lib, wide)
    less = [z - centre for z in wide]
    rows = [_rows(lib, *pair) for pair in zip(given, less, strict=True)]
    places = lib.positions(x, 0, "x") if y is None else places
    return rows[0]._replace(places=places), rows[-1]


def _centre(lib: Library, wide: list[Array]) -> Array:
    """Return the mean of the finite entries of all rows, shape (1, d).

    It is rounded to 16 binary digits, which keeps products of small integers exact.
    """
    xp = lib.xp
    means = [_finite_sum(lib, z) / lib.count(z) for z in wide]
    mean = means[0] if len(means) == 1 else (means[0] + means[1]) / 2
    size = lib.peak(xp.abs(mean), axis=(0, 1))
    # Beside this, numbers are multiples of a power of two over 2**16.
    large = lib.near_powers(size) * (1.5 * 2.0**36)
    return (mean + large) - large


def _finite_sum(lib: Library, x: Array) -> Array:
    """Return the sums of the finite entries of all rows, shape (1, d)."""
    xp = lib.xp
    total = xp.sum(x, axis=0, keepdims=True)
    if lib.looks(total) and bool(xp.all(xp.isfinite(total))):
        return total
    kept = xp.where(xp.abs(x) < float("inf"), x, xp.zeros_like(x))
    return xp.sum(kept, axis=0, keepdims=True)


def _rows(lib: Library, given: Array, centred: Array) -> Rows:
    """Return rows, of which those that are not finite are zeros of infinite length.

    So they spoil no product, and all their pairs are made anew.
    """
    xp = lib.xp
    norms = xp.sum(centred * centred, axis=1)
    finite = norms < float("inf")
    norms = xp.where(finite, norms, xp.full_like(norms, float("inf")))
    centred = lib.only(centred, finite[:, None])
    return Rows(given, centred, norms, None)


def _squares(lib: Library, own: Rows, factor: Array) -> Array:
    """Return the squared distances of a panel; infinite that of a row to itself."""
    ones = lib.xp.ones_like(own.norms)[:, None]
    left = lib.xp.concat([-2 * own.centred, own.norms[:, None], ones], axis=1)
    squares = lib.panel_product(left, factor)
    if own.places is None:
        return squares
    return lib.put(squares, own.places, float("inf"))


def _right(lib: Library, rows: Rows) -> Array:
    ones = lib.xp.ones_like(rows.norms)[:, None]
    return lib.xp.concat([rows.centred, ones, rows.norms[:, None]], axis=1)


def _closed(lib: Library, x: Array) -> Array:
    """Return columns with a last row of ones, whose product is the sum of weights."""
    turned = lib.xp.matrix_transpose(x)
    return lib.xp.concat([turned, lib.xp.ones_like(turned[:1, :])], axis=0)


def _difference(lib: Library, x: Array, met: Array) -> Array:
    """Return ``rowsum(W)·x - W·y``, of a product with what `_closed` returns."""
    met = lib.xp.matrix_transpose(met)
    return x * met[:, -1:] - met[:, :-1]


def _near(lib: Library, squares: Array, tau: Any, own: Rows, other: Rows) -> Array:
    """Return which pairs are too near, or not finite."""
    sizes = own.norms[:, None] + other.norms[None, :]
    return lib.xp.logical_not(squares > tau * sizes)


def _some_near(lib: Library, least: Array, bound: Array) -> Array:
    """Return whether any pair may be too near: False is right, True may not be."""
    return lib.xp.any(lib.xp.logical_not(least > bound))


def _threshold(lib: Library, x: Array) -> Any:
    """Return how near is too near, as a share of |x|² + |y|²."""
    width = lib.size(x, 1)
    if lib.shape(x)[1] is None:
        width = lib.xp.astype(width, lib.xp.float64)
    return (1.5 * width + 4) * 2.0**-53 / _ERROR


def _block(lib: Library, left: Rows, right: Rows) -> int | None:
    """Return how many rows a panel has: twice as many as others, so that few are made.

    On a busy machine each product waits for its slowest thread.
    """
    block = lib.block(left.given, right.given)
    return None if block is None else 2 * block
