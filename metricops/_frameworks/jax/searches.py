"""JAX: the largest of many, and what a search does again in a loop."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from metricops._frameworks.jax import distances
from metricops._frameworks.library import Library
from metricops._frameworks.operations import Arrays, Search
from metricops._typing import Array

_AGAIN = 16  # rows that are done again at a time


def largest(x: Array, k: int) -> tuple[Array, Array]:
    """Return the `k` largest of each row and their columns, ties by column."""
    _, columns = jax.lax.top_k(_ranks(jax.lax.stop_gradient(x)), k)
    # Where XLA sees that only some of them are read, it sorts all columns instead.
    columns = jax.lax.optimization_barrier(columns)
    return jnp.take_along_axis(x, columns, axis=1), columns


def _ranks(x: Array) -> Array:
    """Return numbers in the order of `x`, of which NaN is less than all others."""
    # Halves leave room between the least number and minus infinity. To XLA -0 is not 0.
    x, least = jnp.where(x == 0, 0, x), jnp.finfo(x.dtype).min
    return jnp.where(jnp.isnan(x), -jnp.inf, jnp.maximum(x / 2, least))


def redone(
    right: Array, function: Callable[[Array], Arrays], rows: Array, found: Arrays
) -> Arrays:
    """Return what was `found`, with the rows that are not `right` done again."""
    count = min(_AGAIN, rows.shape[0])

    def some(state: tuple[Array, Arrays]) -> Array:
        wrong, _ = state
        return jnp.any(wrong)

    def step(state: tuple[Array, Arrays]) -> tuple[Array, Arrays]:
        wrong, found = state
        _, places = jax.lax.top_k(wrong.astype(jnp.float32), count)
        pairs = zip(found, function(rows[places]), strict=True)
        return wrong.at[places].set(False), tuple(x.at[places].set(y) for x, y in pairs)

    _, result = jax.lax.while_loop(some, step, (~right, tuple(found)))
    return result


def found(
    lib: Library, search: Search, config: Any, queries: Array, keys: Array
) -> tuple[Array, Array]:
    """Return what a search finds, by way of float64 where it can be switched on."""
    integer = jax.dtypes.canonicalize_dtype(jnp.int64)

    def exact(lib: Library, queries: Array, keys: Array) -> tuple[Array, Array]:
        scores, indices = search.found(lib, config, queries, keys)
        return scores, indices.astype(integer)

    scores, indices = distances.shortcut(lib, exact, exact, (queries, keys))
    return scores, indices


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def derived(function: Callable[..., Array], value: Array, *arrays: Array) -> Array:
    """Return `value`, with the derivatives of ``function(*arrays)``."""
    return value


@derived.defjvp
def _derivative(function: Callable[..., Array], primals: Any, tangents: Any) -> Any:
    (_, *arrays), (_, *along) = primals, tangents
    return jax.jvp(function, arrays, along)
