"""What the nnx and the Linen modules share."""

from collections.abc import Hashable
from typing import Any

import jax
import jax.numpy as jnp

from ._embedding_loss import MAX_LOG_SCALE, module_loss

AxisName = Hashable | tuple[Hashable, ...]


def loss_over_axis(
    module: Any, axis_name: AxisName | None, *arrays: Any, **given: Any
) -> jax.Array:
    """Return the loss of a module; with `axis_name` it is the same on every device."""
    group = None if axis_name is None else _Axis(axis_name)
    loss: jax.Array = module_loss(module, group, *arrays, **given)
    if group is None or module.reduction == "none":
        return loss
    return jax.lax.pmean(loss, axis_name)


@jax.custom_vjp
def capped(log_scale: jax.Array) -> jax.Array:
    """Return the log of a scale, at most `MAX_LOG_SCALE`.

    Above it, only a gradient that leads back passes: without any the scale would be
    stuck.
    """
    return jnp.minimum(log_scale, MAX_LOG_SCALE)


def _capped_forward(log_scale: jax.Array) -> tuple[jax.Array, jax.Array]:
    return capped(log_scale), log_scale


def _capped_backward(log_scale: jax.Array, upstream: jax.Array) -> tuple[jax.Array]:
    away = (log_scale > MAX_LOG_SCALE) & (upstream < 0)
    return (jnp.where(away, jnp.zeros_like(upstream), upstream),)


capped.defvjp(_capped_forward, _capped_backward)


class _Axis:
    """The devices along a mapped axis, as `loss_of_group` takes them."""

    def __init__(self, name: AxisName) -> None:
        self.name = name
        self.size: int = jax.lax.axis_size(name)

    def counts(self, x: jax.Array) -> list[int]:
        """Return how many rows of `x` each device has: all the same."""
        return [len(x)] * self.size

    def number(self, counts: list[int]) -> int:
        """Return how many rows all devices have, at least 1."""
        return max(sum(counts), 1)

    def gather(self, x: jax.Array, counts: list[int]) -> jax.Array:
        """Return the rows of all devices, own first, differentiably."""
        rows = jax.lax.all_gather(x, self.name, tiled=True)
        return jnp.roll(rows, -jax.lax.axis_index(self.name) * len(x), axis=0)

    def total(self, x: jax.Array) -> jax.Array:
        """Return the sum over the devices, differentiably."""
        return jax.lax.psum(x, self.name)
