"""Distances and similarities by name, for rows that are checked and widened already."""

import difflib
from collections.abc import Callable
from typing import Any

from metricops import _checks
from metricops._frameworks import Library
from metricops._similarity import operation
from metricops._similarity.normalize import unit, unit_and_norm
from metricops._similarity.panel_sums import Config
from metricops._typing import Array

ALIASES = {
    "inner_product": ("innerproductsimilarity", "ip"),
    "cosine": ("cosinedistance",),
    "euclidean": ("euclideandistance", "l2", "pythagorean"),
    "squared_euclidean": ("squaredeuclideandistance", "sql2", "sqeuclidean"),
    "manhattan": ("manhattandistance", "l1", "taxicab"),
    "snr": ("snrdistance", "signal-to-noise-ratio"),
}
"""The metrics, and what TensorFlow Similarity calls them too."""


# A quarter of the largest number, and what makes sums of a million of them finite.
_QUARTER = {32: 2.0**125, 64: 2.0**1021}
_SHORTER = 2.0**24


_NAMES = {alias: name for name, rest in ALIASES.items() for alias in (name, *rest)}


def canonical(metric: Any, argument: str = "metric") -> str:
    """Return the name of a metric that may be given by an alias."""
    wanted = _word(metric, argument)
    if wanted in _NAMES:
        return _NAMES[wanted]
    (nearest,) = difflib.get_close_matches(wanted, _NAMES, n=1, cutoff=0)
    msg = (
        f"`{argument}` must be one of {', '.join(ALIASES)}; got {metric!r}. "
        f"Nearest: {nearest!r}."
    )
    raise ValueError(msg)


def canonical_among(allowed: tuple[str, ...], metric: Any) -> str:
    """Return the name of a metric that may be given by an alias, one of a few."""
    name = _NAMES.get(_word(metric, "metric"), "")
    if name not in allowed:
        _checks.refuse_value("metric", _checks.one_of(allowed), metric)
    return name


def _word(metric: Any, argument: str) -> str:
    """Return the name of a metric as it is looked up."""
    if not isinstance(metric, str):
        _checks.refuse_type(argument, "a string", metric)
    return metric.strip().lower()


def cosine_similarity(lib: Library, x: Array, y: Array) -> Array:
    """Return the cosines of rows of length one."""
    return lib.within_one(lib.product(x, lib.xp.matrix_transpose(y)))


def inner_product(lib: Library, x: Array, y: Array) -> Array:
    """Return the inner products of rows."""
    return lib.product(x, lib.xp.matrix_transpose(y))


def _differences(lib: Library, config: Config, x: Array, y: Array | None) -> Array:
    """Return the sums over the differences of rows that `config` asks for."""
    return lib.differentiable(operation.OPERATION, config, (x, y), ())


def manhattan(lib: Library, x: Array, y: Array | None) -> Array:
    """Return the sums of the absolute differences of rows."""
    return _differences(lib, Config("absolute", False), x, y)


def squared_euclidean(lib: Library, x: Array, y: Array | None) -> Array:
    """Return the sums of the squared differences of rows."""
    return _differences(lib, Config("squares", False), x, y)


def euclidean(lib: Library, x: Array, y: Array | None) -> Array:
    """Return the lengths of the differences of rows."""
    return _differences(lib, Config("length", False), x, y)


def snr(lib: Library, x: Array, y: Array | None) -> Array:
    """Return the variances of the differences of rows over those of the rows of `x`."""
    xp = lib.xp
    divisor = _common_divisor(lib, x, y)
    rows = _without_offset(lib, x / divisor)
    columns = None if y is None else _without_offset(lib, y / divisor)
    noise = _differences(lib, Config("length", True), rows, columns)
    constant = lib.peak(xp.abs(rows), axis=-1) <= 0  # -inf where there are no features
    if 0 not in rows.shape:
        rows = rows - xp.mean(rows, axis=-1, keepdims=True)
    units = unit_and_norm(lib, rows)
    # By lengths: the variances may overflow where their quotient does not.
    ratio = noise / units.length * units.factor
    ratio = xp.where(xp.logical_and(constant, noise == 0), xp.zeros_like(ratio), ratio)
    endless = xp.logical_and(constant, noise > 0)
    ratio = xp.where(endless, xp.full_like(ratio, float("inf")), ratio)
    return ratio * ratio


def _common_divisor(lib: Library, x: Array, y: Array | None) -> Array:
    """Return a number that rows are to be divided by, or the lengths may be infinite.

    It is a power of two, by which no digit is lost, and the same for all pairs.
    """
    xp, width = lib.xp, lib.shape(x)[-1] or 1024
    most = _QUARTER.get(lib.dtype(x).bits, _QUARTER[64]) / width
    size = lib.peak(xp.abs(x), axis=(-2, -1))
    if y is not None:
        size = xp.maximum(size, lib.peak(xp.abs(y), axis=(-2, -1)))
    one = xp.ones_like(size)
    return xp.where(size > most, one * _SHORTER, one)


def _without_offset(lib: Library, x: Array) -> Array:
    """Return rows less their first entry where that is exact; variances stay the same.

    A large offset would cost the mean of a difference its digits. Where all entries are
    within a factor of 2 of the first one, subtracting that is exact. Elsewhere it would
    round, and rows that are near each other would differ. A constant row becomes
    exactly zero.
    """
    xp = lib.xp
    if 0 in x.shape:
        return x
    fixed = lib.stop_gradient(x)
    first = fixed[..., :1]
    near = xp.all(xp.abs(fixed - first) <= xp.abs(first) / 2, axis=-1, keepdims=True)
    return x - xp.where(near, first, xp.zeros_like(first))


def cosine_distance(lib: Library, x: Array, y: Array | None, normalize: bool) -> Array:
    """Return 1 less the cosines of rows, or less their inner products."""
    xp = lib.xp
    if not normalize:
        distance = 1 - inner_product(lib, x, x if y is None else y)
        fixed = lib.stop_gradient(distance)
        zero = xp.zeros_like(fixed)
        return distance - xp.where(fixed < 0, fixed, zero)
    rows, columns = (None if z is None else unit(lib, z) for z in (x, y))
    # 1 - u·v equals |u - v|² / 2 for lengths of 1. Near 0 only the latter keeps digits.
    half = squared_euclidean(lib, rows, columns) / 2
    half = half + _missing(lib, x)
    half = lib.plus(half, xp.matrix_transpose(_missing(lib, x if y is None else y)))
    fixed = lib.stop_gradient(half)
    return half - xp.where(fixed > 2, fixed - 2, xp.zeros_like(fixed))


def _missing(lib: Library, x: Array) -> Array:
    """Return what |u - v|² / 2 lacks for a zero row, whose length is not 1: a half."""
    xp = lib.xp
    size = lib.peak(xp.abs(x), axis=-1)  # -inf if a graph runs without features
    return xp.where(size <= 0, xp.full_like(size, 0.5), xp.zeros_like(size))


DISTANCES: dict[str, Callable[[Library, Array, Array | None], Array]] = {
    "euclidean": euclidean,
    "squared_euclidean": squared_euclidean,
    "manhattan": manhattan,
    "snr": snr,
}
"""The metrics of which small is near, as functions of rows."""
