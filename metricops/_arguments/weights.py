"""Sample weights, and how losses become one."""

from typing import Any

from metricops import _checks
from metricops._arguments.arrays import numbers
from metricops._frameworks import Library
from metricops._typing import Array


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
) -> Array:
    """Return the losses combined; those not `counted` are 0 and take no part."""
    xp = lib.xp
    weighted = losses if weights is None else losses * weights
    if reduction == "none":
        return weighted
    everyone = counted is None and all(lib.shape(losses))  # none unknown, nor empty
    if reduction != "sum" and everyone and (reduction == "mean" or weights is None):
        return xp.mean(weighted)
    total = xp.sum(weighted)
    if reduction == "sum":
        return total
    part = xp.ones_like(losses) if counted is None else xp.astype(counted, losses.dtype)
    if reduction == "mean" or weights is None:
        return total / lib.clip(xp.sum(part), 1.0, float("inf"))
    mass = xp.sum(part * weights)
    nothing = mass == 0
    safe = xp.where(nothing, 1.0, mass)
    return xp.where(nothing, 0.0, total / safe)
