"""Sample weights, and the reduction of losses to one number."""

from typing import Any

from metricops import _checks
from metricops._arguments.arrays import float_arrays, numbers
from metricops._frameworks import Library
from metricops._frameworks.public import public
from metricops._typing import Array, Reduction


def sample_weights(lib: Library, value: Any, main: str, losses: Array) -> Array:
    """Return weights that broadcast against `losses` from the front, or None."""
    if value is None:
        return None
    weights = numbers(lib, "sample_weight", value, main, losses)
    given, shape = lib.shape(weights), lib.shape(losses)
    while weights.ndim > 0 and weights.shape[-1] == 1:
        weights = weights[..., 0]
    rank = weights.ndim
    if not _checks.fits(lib.shape(weights), shape[:rank]):
        need = f"no shape, or a leading part of the loss's shape {shape}"
        _checks.refuse_shape("sample_weight", need, given)
    for axis in range(rank):
        need = "`sample_weight` must have a leading part of the loss's shape."
        weights = lib.agree(weights, axis, losses, axis, need)
    for _ in range(len(shape) - rank if rank else 0):
        weights = weights[..., None]
    return weights


def reduce_losses(
    lib: Library,
    losses: Array,
    weights: Array | None,
    reduction: str,
    counted: Array | None = None,
    factor: Array | float | None = None,
) -> Array:
    """Return the reduced loss. Losses that are not `counted` are 0 already.

    `factor` is `factor_of` the same, if it is known.
    """
    weighted = losses if weights is None else losses * weights
    if reduction == "none":
        return weighted
    everyone = counted is None and all(lib.shape(losses))  # no size is unknown, nor 0
    if everyone and (reduction == "mean" or (weights is None and reduction != "sum")):
        return lib.xp.mean(weighted)
    total = lib.xp.sum(weighted)
    if reduction == "sum":
        return total
    if factor is None:
        factor = factor_of(lib, reduction, losses, weights, counted)
    return total * factor


def factor_of(
    lib: Library,
    reduction: str,
    losses: Array,
    weights: Array | None,
    counted: Array | None = None,
) -> Array | float:
    """Return what turns the sum of the weighted losses into the reduced loss.

    1 for "sum"; else 1 over the mass, or 0 where there is none.
    """
    if reduction == "sum":
        return 1.0
    alike = counted is None and (weights is None or reduction == "mean")
    if alike and losses.ndim == 1:
        return 1.0 / lib.count(losses)
    return reciprocal(lib, mass_of(lib, reduction, losses, weights, counted))


def slopes_of_reduced(
    lib: Library,
    reduction: str,
    losses: Array,
    weights: Array | None,
    counted: Array | None = None,
) -> tuple[Array, Array]:
    """Return the derivatives of the reduced loss by the losses, and by the weights.

    With losses l, and a factor f that turns their sum into the reduced loss,
    d(f * sum(w * l)) / dw is f * l. In a weighted mean f is 1 / sum(w), which depends
    on w too: then it is f * (l - f * sum(w * l)).
    """
    xp = lib.xp
    factor = factor_of(lib, reduction, losses, weights, counted)
    each = xp.ones_like(losses) if weights is None else xp.ones_like(losses) * weights
    of_weights = losses
    if reduction == "weighted_mean":
        of_weights = losses - xp.sum(losses * each) * factor
    if counted is not None:
        of_weights = xp.where(counted, of_weights, 0.0)
    return each * factor, of_weights * factor


def mass_of(
    lib: Library,
    reduction: str,
    losses: Array,
    weights: Array | None,
    counted: Array | None = None,
) -> Array:
    """Return what a mean divides by: how many losses count, or their weights' sum."""
    xp = lib.xp
    part = xp.ones_like(losses) if counted is None else xp.astype(counted, losses.dtype)
    if reduction == "weighted_mean" and weights is not None:
        part = part * weights
    return xp.sum(part)


def reciprocal(lib: Library, mass: Array) -> Array:
    """Return 1 over a mass, 0 where there is none."""
    return 1 / lib.xp.where(mass == 0, float("inf"), mass)


@public
def reduced_rows(
    losses: Array, *, sample_weight: Any = None, reduction: Reduction = "mean"
) -> Array:
    """Return losses that are computed elsewhere, weighted and reduced as all are."""
    _checks.check_reduction(reduction)
    inputs = float_arrays(losses=losses)
    lib, wide = inputs.library, inputs.first
    weights = sample_weights(lib, sample_weight, "losses", wide)
    return inputs.narrow(reduce_losses(lib, wide, weights, reduction))
