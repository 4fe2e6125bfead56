"""Terms of a softmax that keep their digits; see `npairs_objective`."""

from metricops._frameworks import Library
from metricops._typing import Array


def of_positive(lib: Library, rest: Array, difference: Array, own: Array) -> Array:
    """Return the loss of a row with one positive.

    It is less than the peak by `difference`, of which `own` is the exponential. Where
    that is not exactly 1, the peak is among the rest: so ``rest >= 1``, and what the
    subtraction of 1 rounds is small beside it.
    """
    return lib.xp.log1p(rest + (own - 1.0)) - difference


def log_ratio(lib: Library, rest: Array, difference: Array) -> Array:
    """Return log(rest) + difference; where rest is 0, -inf with a derivative of 0."""
    xp = lib.xp
    nothing = rest == 0
    found = xp.log(xp.where(nothing, 1.0, rest)) + difference
    return xp.where(nothing, -float("inf"), found)


def finite(lib: Library, peak: Array) -> Array:
    """Return a peak that can be subtracted: 0 for minus infinity."""
    return lib.xp.where(peak == -float("inf"), 0.0, peak)


def may_hold(lib: Library, x: Array) -> bool:
    """Return whether some of `x` may not be 0; exact where reading a value is cheap."""
    return not lib.looks(x) or bool(lib.xp.any(x != 0))


def of_others(
    lib: Library, others: Array, positive: Array, own: Array | float
) -> Array:
    """Return log(exp(z) + exp(own)), which autodiff sees as it is."""
    peak = lib.peak(others, 1)
    exponentials = lib.exp(lib.minus(others, finite(lib, peak)))
    rest = lib.xp.sum(exponentials, axis=1, keepdims=True)
    less = log_ratio(lib, rest, peak - positive)
    return lib.xp.logaddexp(less, own + lib.xp.zeros_like(less))
