"""JAX: running sums of exponentials, whose derivatives are numbers."""

from collections.abc import Callable
from functools import partial

import jax

from metricops._typing import Array

LogSum = Callable[[Array, Array], Array]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def log_sums(log_sum: LogSum, x: Array) -> Array:
    """Return the logarithms of the cumulative sums of exp(x) along each row.

    The derivatives that JAX has are NaN where the first entries are minus infinity:
    they are those of a scan with ``log_sum(x, y)``, which is log(exp(x) + exp(y)).
    """
    return jax.lax.cumlogsumexp(x, axis=1)


@log_sums.defjvp
def _derivative(
    log_sum: LogSum, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    run = partial(jax.lax.associative_scan, log_sum, axis=1)
    found: tuple[Array, Array] = jax.jvp(run, primals, tangents)
    return found
