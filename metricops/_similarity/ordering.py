"""Keys in the order of their distance by one matrix product, up to a known error.

For a row x and keys y, ``x·y - |y|²/2`` is the largest where the distance is the
smallest. Rows and keys are taken less the mean of the keys, which changes no distance
and makes products and errors smaller. A product of d terms is off by at most about d
roundings of ``|x| |y| + |y|²/2``.
"""

from typing import NamedTuple

from metricops._frameworks import Library
from metricops._typing import Array

# Half the distance of 1 from the next number: how far a sum or product is off.
ROUNDING = {32: 2.0**-24, 64: 2.0**-53}
# Entries up to this have squares that are far from infinite.
LARGEST = {32: 2.0**40, 64: 2.0**400}
# What is lost of products that are too small for a number.
_LOST = {32: 2.0**-120, 64: 2.0**-1000}


class Centred(NamedTuple):
    """Keys less their mean."""

    centre: Array  # (1, d)
    rows: Array  # (m, d)
    squares: Array  # (m,): of their lengths


def centred(lib: Library, keys: Array) -> Centred:
    """Return keys less their mean."""
    centre = lib.xp.mean(keys, axis=0, keepdims=True)
    rows = keys - centre
    return Centred(centre, rows, lib.dots(rows, rows, 1))


def keys_factor(lib: Library, keys: Centred) -> Array:
    """Return one side of the product, shape (m, d + 1)."""
    return lib.xp.concat([keys.rows, -keys.squares[:, None] / 2], axis=1)


def rows_factor(lib: Library, rows: Array) -> Array:
    """Return the other side, of rows less the centre of the keys, (n, d + 1)."""
    return lib.xp.concat([rows, lib.xp.ones_like(rows[:, :1])], axis=1)


def error(width: int, bits: int, size: Array) -> Array:
    """Return how far products of `width` terms are off, of the numbers' `size`."""
    terms = 1.01 * (width + 9)
    return size * (terms * ROUNDING[bits]) + terms * _LOST[bits]


def rounded(width: int, bits: int, lengths: Array, longest: Array) -> Array:
    """Return how far products may be apart of keys whose distances are equal numbers.

    `lengths` are those of the rows, and `longest` that of the longest key. Distances
    of float32 are computed in float64 and rounded once; others each time.
    """
    most, times = lengths + longest, 1 if bits == 32 else width + 3
    return most * most * (2.02 * times * ROUNDING[bits])
