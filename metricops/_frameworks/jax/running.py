"""JAX: running sums of exponentials, whose derivatives are numbers."""

from functools import partial

import jax
import jax.numpy as jnp

from metricops._typing import Array


@jax.custom_jvp
def log_sums(x: Array) -> Array:
    """Return the logarithms of the cumulative sums of exp(x) along each row.

    The derivatives that JAX has are NaN where the first entries are minus infinity.
    """
    return jax.lax.cumlogsumexp(x, axis=1)


@log_sums.defjvp
def _derivative(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    run = partial(jax.lax.associative_scan, _log_sum, axis=1)
    found: tuple[Array, Array] = jax.jvp(run, primals, tangents)
    return found


def _log_sum(x: Array, y: Array) -> Array:
    """Return log(exp(x) + exp(y)), with derivatives of 0 where both are 0."""
    peak = jax.lax.stop_gradient(jnp.maximum(x, y))
    nothing = peak == -jnp.inf
    peak = jnp.where(nothing, 0.0, peak)
    total = jnp.exp(x - peak) + jnp.exp(y - peak)
    found = jnp.log(jnp.where(nothing, 1.0, total)) + peak
    return jnp.where(nothing, -jnp.inf, found)
