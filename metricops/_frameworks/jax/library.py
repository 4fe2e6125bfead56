"""JAX: custom gradients, and loops that are one operation in a trace."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from metricops._frameworks.jax import loops
from metricops._frameworks.library import (
    LONG_DOUBLES,
    Body,
    Library,
    Meeting,
    Merge,
    Square,
    is_given,
)
from metricops._frameworks.operations import Arrays, Operation
from metricops._typing import Array


class Jax(Library):
    """JAX arrays and tracers."""

    panel = 2**20  # XLA holds several panels at once
    abs_is_flat_at_zero = False

    def default_float(self, like: Array) -> Any:
        """Return the dtype that integers become."""
        return jnp.result_type(float)

    def asarray(self, value: Any, like: Array, dtype: Any = None) -> Array:
        """Return a number or NumPy array as a JAX array."""
        # Uncommitted, so that it goes to the device of whatever it meets.
        return jnp.asarray(value, dtype=dtype)

    def host_dtype(self, name: str, like: Array) -> str:
        """Return in which dtype NumPy numbers become an array: 32 bits by default."""
        name = "float64" if name in LONG_DOUBLES else name
        return jax.dtypes.canonicalize_dtype(name).name

    def one_integer_dtype(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Return integers of two dtypes as they are: JAX promotes them."""
        return x, y

    def stop_gradient(self, x: Array) -> Array:
        """Return `x`, seen as a constant by derivatives."""
        return jax.lax.stop_gradient(x)

    def widened_product(self, x: Array, y: Array, dtype: Any) -> Array:
        """Return the product in `dtype`, of halves as they are."""
        return jnp.matmul(x, y, preferred_element_type=dtype)

    def positions(self, x: Array, axis: int, name: str) -> Array:
        """Return 0, 1, ... along an axis of `x`."""
        return jnp.arange(x.shape[axis])

    def pick(self, x: Array, columns: Array) -> Array:
        """Return one column of each row of the matrix `x`, shape (n, 1)."""
        return jnp.take_along_axis(x, columns[:, None], axis=1)

    def largest(self, x: Array, k: int) -> tuple[Array, Array]:
        """Return the `k` largest of each row and their columns, ties by column."""
        values, columns = jax.lax.top_k(x, k)
        return values, columns

    def fold(
        self, body: Body, rows: Any, consts: Any, block: int | None
    ) -> tuple[Any, Any]:
        """Run `body` over panels, all but the first, a shorter one, in a scan."""
        return loops.fold(body, rows, consts, block)

    def sweep(
        self,
        square: Square,
        rest: Meeting,
        merge: Merge,
        start: Any,
        rows: Any,
        block: int | None,
    ) -> Any:
        """Have each two panels meet, in a scan over a ring, whose windows are alike."""
        return loops.sweep(square, rest, merge, start, rows, block)

    def differentiable(
        self, operation: Operation, config: Any, arrays: Arrays, constants: Arrays
    ) -> Array:
        """Return the value of `operation`, with its gradient."""
        if operation.is_small(self, config, arrays):
            return operation.value(self, config, arrays, constants)
        return _differentiable(operation, config, _alike(arrays), constants)


def _alike(arrays: Arrays) -> Arrays:
    """Return traced arrays that all vary over the mesh axes that any varies over.

    `jax.shard_map` wants the type of a gradient to be that of its array, and that of a
    replicated array would vary.
    """
    present = [x for x in arrays if x is not None]
    if not any(isinstance(x, jax.core.Tracer) for x in present):
        return arrays
    zero = sum(jnp.zeros_like(x, shape=()) for x in present)
    return tuple(None if x is None else x + zero for x in arrays)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _differentiable(
    operation: Operation, config: Any, arrays: Arrays, constants: Arrays
) -> Array:
    return operation.value(JAX, config, arrays, constants)


def _forward(
    operation: Operation, config: Any, arrays: Arrays, constants: Arrays
) -> tuple[Array, Any]:
    value, saved = operation.value_and_saved(
        JAX, config, arrays, constants, is_given(arrays)
    )
    return value, (arrays, constants, saved)


def _backward(
    operation: Operation, config: Any, residuals: Any, upstream: Array
) -> tuple[Arrays, None]:
    arrays, constants, saved = residuals
    return operation.backward(
        JAX, config, arrays, constants, saved, upstream, is_given(arrays)
    ), None


_differentiable.defvjp(_forward, _backward)

JAX = Jax(jnp, "JAX")
