"""Sums over the differences of all pairs of rows, in panels, and their gradients.

Differences are computed and summed in panels that fit the caches, forward and backward.
The sums are right to a few units in the last place, even for rows that lie near each
other and far from 0. They cost 10 to 40 times as much as a matrix product. So they are
used where a product does not apply, and for the pairs that it gets wrong: `products`.
"""

from typing import Any, NamedTuple

from metricops._checks import Shape
from metricops._frameworks import Library
from metricops._similarity.panel_sums import (
    Config,
    Rows,
    moved,
    panel_sums,
    panel_weighted,
    rows_of,
    without_mean,
)
from metricops._typing import Array

_PANEL = 2**18  # differences: 1 MiB of float32, in the second level of a cache


class Pairs(NamedTuple):
    """Rows, and what is known of their pairs with the rows of the other side."""

    rows: Rows
    found: Array  # the sums, as far as they are right
    near: Array  # bool: which are to be computed again


class Weighted(NamedTuple):
    """Rows, and the weights of their pairs with the rows of the other side."""

    vectors: Array
    factors: tuple[Array, ...]  # the weights, and the reciprocals of lengths if given


class Sums(NamedTuple):
    """The sums of a panel, or of panels so far."""

    sums: Array


def sums(lib: Library, config: Config, x: Array, y: Array) -> Array:
    """Return the sums of x (..., n, d) and y (..., m, d), shape (..., n, m)."""
    left, right = (rows_of(lib, config, moved(lib, z, -2, 0)) for z in (x, y))
    rows, columns = _panels(lib, left.vectors, right.vectors)

    def row_panel(_: Any, own: Rows, others: Rows) -> tuple[Any, Sums]:
        def panel(_: Any, other: Rows, own: Rows) -> tuple[Any, Sums]:
            return (), Sums(moved(lib, panel_sums(lib, config, own, other), -1, 0))

        _, found = lib.loops.fold(panel, others, own, columns)
        return (), Sums(moved(lib, found.sums, 0, -1))

    _, found = lib.loops.fold(row_panel, left, right, rows)
    return moved(lib, found.sums, 0, -2)


def repaired(
    lib: Library, config: Config, x: Array, y: Array, found: Array, near: Array
) -> Array:
    """Return `found`, the sums of two matrices, with the `near` ones computed again."""
    turned = lib.xp.matrix_transpose
    left, right = (rows_of(lib, config, z) for z in (x, y))
    rows, columns = _panels(lib, x, y)

    def row_panel(_: Any, own: Pairs, others: Rows) -> tuple[Any, Sums]:
        def panel(_: Any, other: Pairs, own: Rows) -> tuple[Any, Sums]:
            found, near = turned(other.found), turned(other.near)

            def anew() -> Array:
                return lib.xp.where(
                    near, panel_sums(lib, config, own, other.rows), found
                )

            found = lib.when(lib.xp.any(near), anew, lambda: found)
            return (), Sums(turned(found))

        pairs = Pairs(others, turned(own.found), turned(own.near))
        _, found = lib.loops.fold(panel, pairs, own.rows, columns)
        return (), Sums(turned(found.sums))

    _, result = lib.loops.fold(row_panel, Pairs(left, found, near), right, rows)
    return result.sums


def pull(
    lib: Library,
    config: Config,
    x: Array,
    y: Array,
    weights: Array,
    inverse: Array | None = None,
    few: bool = False,
) -> Array:
    """Return the weighted sums of each row's differences, or of their signs.

    The differences are multiplied by their `inverse` first, if it is given: it times a
    weight may be too small, or too large, for a number. `few` says that most weights
    are 0, so that it pays to look for panels without any.
    """
    factors = [weights] if inverse is None else [weights, inverse]
    chunked = lib.summed_by_chunks(_pull, (config, few), x, y, *factors)
    if chunked is not None:
        return chunked
    x, y, *factors = (moved(lib, z, -2, 0) for z in (x, y, *factors))
    rows, columns = _panels(lib, x, y)

    def row_panel(_: Any, own: Weighted, others: Rows) -> tuple[Any, Sums]:
        def panel(
            total: Sums | None, other: Weighted, own: Rows
        ) -> tuple[Sums, tuple[()]]:
            weight, *scale = (moved(lib, z, 0, -1) for z in other.factors)

            def part() -> Array:
                sides = own.vectors, other.vectors
                return panel_weighted(lib, config, *sides, weight, *scale)

            def nothing() -> Array:
                return lib.xp.zeros_like(own.vectors)

            some = lib.xp.any(weight != 0) if few else None
            found = part() if some is None else lib.when(some, part, nothing)
            return Sums(found if total is None else total.sums + found), ()

        factors = tuple(moved(lib, z, -1, 0) for z in own.factors)
        other = Weighted(others.vectors, factors)
        total, _ = lib.loops.fold(panel, other, Rows(own.vectors, None), columns)
        return (), total

    own = Weighted(x, tuple(factors))
    _, found = lib.loops.fold(row_panel, own, Rows(y, None), rows)
    return without_mean(lib, config, moved(lib, found.sums, 0, -2))


def _pull(
    how: tuple[Config, bool],
    lib: Library,
    x: Array,
    y: Array,
    weights: Array,
    inverse: Array | None = None,
) -> Array:
    config, few = how
    return pull(lib, config, x, y, weights, inverse, few)


def is_one_panel(lib: Library, x: Array, y: Array) -> bool:
    """Return whether one panel is known to hold the differences of all pairs."""
    sizes = (*lib.shape(x), lib.shape(y)[-2])
    # An export leaves a size open, which is None or a symbol.
    return all(isinstance(size, int) for size in sizes) and _product(sizes) <= _PANEL


def _panels(lib: Library, x: Array, y: Array) -> tuple[int, int]:
    """Return how many rows and columns a panel has."""
    width = _product(lib.shape(x)[1:])
    count = lib.shape(y)[0]
    columns = max(_PANEL // (16 * width), 1)
    columns = columns if count is None else max(min(columns, count), 1)
    return max(_PANEL // (columns * width), 1), columns


def _product(sizes: Shape) -> int:
    """Return the product of sizes; unknown ones and zeros count as 1."""
    product = 1
    for size in sizes:  # Dynamo does not trace math.prod
        product *= size or 1
    return product
