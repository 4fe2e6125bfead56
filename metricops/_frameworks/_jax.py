"""JAX: custom gradients, and loops that are one operation in a trace."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metricops._frameworks._library import (
    Arrays,
    Body,
    Library,
    Meeting,
    Merge,
    Operation,
    by_rank,
    ring_of,
)
from metricops._typing import Array


class Jax(Library):
    """JAX arrays and tracers."""

    panel = 2**20  # XLA holds several panels at once
    abs_is_flat_at_zero = False

    def default_float(self) -> Any:
        """Return the dtype that integers become."""
        return jnp.result_type(float)

    def asarray(self, value: Any, like: Array, dtype: Any = None) -> Array:
        """Return a number or NumPy array as a JAX array."""
        # Uncommitted, so that it goes to the device of whatever it meets.
        return jnp.asarray(value, dtype=dtype)

    def comparable(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Return labels of two dtypes as they are: JAX may have no wider ones."""
        return x, y

    def would_cut(self, value: Array) -> bool:
        """Return whether NumPy numbers lose digits when JAX makes them 32 bits wide."""
        short = value.astype(jax.dtypes.canonicalize_dtype(value.dtype))
        return not np.array_equal(short, value, equal_nan=value.dtype.kind == "f")

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
        self, body: Body, rows: Arrays, consts: Arrays, block: int | None
    ) -> tuple[Any, tuple[Array, ...]]:
        """Run `body` over panels, all but the first, a shorter one, in a scan."""
        total = next(x.shape[0] for x in rows if x is not None)
        if block is None or block >= total:
            return body(None, rows, consts)
        count = (total - 1) // block
        first = total - count * block
        head = jax.tree.map(lambda x: x[:first], rows)
        tail = jax.tree.map(
            lambda x: x[first:].reshape(count, block, *x.shape[1:]), rows
        )
        carry, start = body(None, head, consts)
        carry, rest = jax.lax.scan(lambda c, panel: body(c, panel, consts), carry, tail)
        joined = [
            jnp.concatenate([a, b.reshape(-1, *b.shape[2:])])
            for a, b in zip(start, rest, strict=True)
        ]
        return carry, tuple(joined)

    def sweep(
        self,
        body: Meeting,
        merge: Merge,
        start: Arrays,
        rows: Arrays,
        block: int | None,
    ) -> Arrays:
        """Have each two panels meet, in a scan over a ring, whose windows are alike."""
        total = start[0].shape[0]
        if block is None or block >= total:
            return body(rows, rows, None)[0]
        count, block, half, width, end = ring_of(total, block)
        valid = None
        if end != total:
            start, rows = _padded((start, rows), end - total)
            valid = jnp.arange(end) < total
        state = _closed(start, half)
        # What reads a slice takes it again for each of its elements: so a vector turns
        # from step to step, and its window always stands first.
        lines, tables = by_rank((*rows, valid))
        tables = _closed(tables, half)

        def step(carry: Any, first: Array) -> Any:
            def part(x: Array) -> Array:
                return jax.lax.dynamic_slice_in_dim(x, first, width)

            state, lines = carry
            near, far = _cut(lines, 0, width), jax.tree.map(part, tables)
            *window, real = (
                x if y is None else y for x, y in zip(near, far, strict=True)
            )
            panel = _cut(tuple(window), 0, block)
            there = None if real is None else real[:block, None] & real[None, :]
            met = jax.tree.map(_joined, *body(panel, tuple(window), there))
            met = merge(jax.tree.map(part, state), met)
            state = jax.tree.map(partial(_replaced, first), state, met)
            return (state, jax.tree.map(lambda x: jnp.roll(x, -block), lines)), None

        firsts = block * jnp.arange(count)
        (state, _), _ = jax.lax.scan(step, (state, lines), firsts)
        head = merge(_cut(state, 0, half), _cut(state, end, end + half))
        joined = jax.tree.map(_joined, head, _cut(state, half, end))
        return tuple(_cut(joined, 0, total))

    def differentiable(
        self, operation: Operation, config: Any, arrays: Arrays, constants: Arrays
    ) -> Array:
        """Return the value of `operation`, with its gradient."""
        if operation.is_small(self, config, arrays):
            return operation.value(self, config, arrays, constants)
        return _differentiable(operation, config, _alike(arrays), constants)


def _padded(rows: Any, count: int) -> Any:
    """Return arrays with some more rows of zeros."""
    return jax.tree.map(
        lambda x: _joined(x, jnp.zeros_like(x, shape=(count, *x.shape[1:]))), rows
    )


def _closed(rows: Any, count: int) -> Any:
    """Return arrays with their first rows once more at the end."""
    return jax.tree.map(lambda x: _joined(x, x[:count]), rows)


def _cut(rows: Any, first: int, last: int) -> Any:
    return jax.tree.map(lambda x: x[first:last], rows)


def _joined(x: Array, y: Array) -> Array:
    return jnp.concatenate([x, y])


def _replaced(first: Array, x: Array, part: Array) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(x, part, first, 0)


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
    value, saved = operation.value_and_saved(JAX, config, arrays, constants)
    return value, (arrays, constants, saved)


def _backward(
    operation: Operation, config: Any, residuals: Any, upstream: Array
) -> tuple[Arrays, None]:
    arrays, constants, saved = residuals
    return operation.backward(JAX, config, arrays, constants, saved, upstream), None


_differentiable.defvjp(_forward, _backward)

JAX = Jax(jnp, "JAX")
