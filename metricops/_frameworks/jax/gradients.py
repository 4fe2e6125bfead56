"""How an operation meets the derivatives of JAX.

A value that is a number has both modes: its tangent is the sum of its gradients times
the tangents, and JAX transposes that for reverse mode. A value that is an array has
reverse mode only: a rule for both modes would keep all panels, or compute each twice.

Running sums of exponentials have a rule of their own, too.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from metricops._frameworks.library import Library
from metricops._frameworks.operations import Arrays, Operation
from metricops._typing import Array

LogSum = Callable[[Array, Array], Array]


def differentiable(
    lib: Library, operation: Operation, config: Any, arrays: Arrays, constants: Arrays
) -> Array:
    """Return the value of `operation`, with its derivatives."""
    if operation.saves_gradients(config):
        return _number(lib, operation, config, arrays, constants)
    return _array(lib, operation, config, _alike(arrays), constants)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _number(
    lib: Library, operation: Operation, config: Any, arrays: Arrays, constants: Arrays
) -> Array:
    return lib.compiled(operation.value, config, arrays, constants)


@partial(_number.defjvp, symbolic_zeros=True)
def _number_and_tangent(
    lib: Library, operation: Operation, config: Any, primals: Any, tangents: Any
) -> tuple[Array, Array]:
    arrays, constants = primals
    of_arrays, _ = tangents
    given = tuple(None if _is_zero(t) else t for t in of_arrays)
    wanted = tuple(t is not None for t in given)
    static = operation, config, wanted
    value, saved = _number_and_gradients(lib, static, arrays, constants)
    along = [t for t in given if t is not None]
    # A half has a tangent that is one, and a gradient that may be wider.
    pairs = zip(saved, along, strict=True)
    parts = [jnp.sum(g * t.astype(g.dtype)) for g, t in pairs]
    return value, sum(parts, start=jnp.zeros_like(value))


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _number_and_gradients(
    lib: Library, static: Any, arrays: Arrays, constants: Arrays
) -> tuple[Array, Arrays]:
    """Return a number and its gradients; second derivatives are those of the code.

    The rule below says what JAX would do without a rule. But with it, JAX does not look
    into the function when it splits the caller for reverse mode, and so does not move
    what is equal in all steps, such as panels of zeros, out of the loops to keep it.
    """
    return lib.compiled(_value_and_saved, static, arrays, constants)


@_number_and_gradients.defjvp
def _second_derivatives(lib: Library, static: Any, primals: Any, tangents: Any) -> Any:
    run = partial(lib.compiled, _value_and_saved, static)
    return jax.jvp(run, primals, tangents)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _array(
    lib: Library, operation: Operation, config: Any, arrays: Arrays, constants: Arrays
) -> Array:
    return lib.compiled(operation.value, config, arrays, constants)


def _forward(
    lib: Library, operation: Operation, config: Any, arrays: Arrays, constants: Arrays
) -> tuple[Array, Any]:
    wanted = tuple(x is not None and x.perturbed for x in arrays)
    arrays, constants = jax.tree.map(lambda x: x.value, (arrays, constants))
    static = operation, config, wanted
    value, saved = lib.compiled(_value_and_saved, static, arrays, constants)
    # An empty tuple stands for True: a bool would be traced.
    marks = tuple(() if there else None for there in wanted)
    return value, (arrays, constants, saved, marks)


def _backward(
    lib: Library, operation: Operation, config: Any, residuals: Any, upstream: Array
) -> tuple[Arrays | None, None]:
    arrays, constants, saved, marks = residuals
    if isinstance(upstream, SymbolicZero):
        return None, None
    wanted = tuple(mark is not None for mark in marks)
    static = operation, config, wanted
    return lib.compiled(_gradients, static, arrays, constants, saved, upstream), None


_array.defvjp(_forward, _backward, symbolic_zeros=True)


def _alike(arrays: Arrays) -> Arrays:
    """Return traced arrays that all vary over the mesh axes that any of them does.

    `jax.shard_map` wants a gradient to vary over the axes that its array varies over,
    but the gradient of a replicated array varies over those of the other arrays too.
    """
    present = [x for x in arrays if x is not None]
    if not any(isinstance(x, jax.core.Tracer) for x in present):
        return arrays
    zero = sum(jnp.zeros_like(x, shape=()) for x in present)
    return tuple(None if x is None else x + zero.astype(x.dtype) for x in arrays)


def _value_and_saved(
    lib: Library, static: Any, arrays: Arrays, constants: Arrays
) -> tuple[Array, Arrays]:
    operation, config, wanted = static
    return operation.value_and_saved(lib, config, arrays, constants, wanted)


def _gradients(
    lib: Library,
    static: Any,
    arrays: Arrays,
    constants: Arrays,
    saved: Arrays,
    upstream: Array,
) -> Arrays:
    operation, config, wanted = static
    return operation.backward(lib, config, arrays, constants, saved, upstream, wanted)


def _is_zero(tangent: Any) -> bool:
    """Return whether a tangent is known to be 0, or is that of no array."""
    return tangent is None or isinstance(tangent, SymbolicZero)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def log_sums(log_sum: LogSum, x: Array) -> Array:
    """Return the logarithms of the cumulative sums of exp(x) along each row.

    The derivatives that JAX has are NaN where the first entries are minus infinity:
    they are those of a scan with ``log_sum(x, y)``, which is log(exp(x) + exp(y)).
    """
    return jax.lax.cumlogsumexp(x, axis=1)


@log_sums.defjvp
def _of_log_sums(
    log_sum: LogSum, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    run = partial(jax.lax.associative_scan, log_sum, axis=1)
    found: tuple[Array, Array] = jax.jvp(run, primals, tangents)
    return found
