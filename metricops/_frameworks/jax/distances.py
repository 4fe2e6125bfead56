"""JAX: distances by products in float64, where that need not be switched on."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.custom_batching

from metricops._frameworks.library import Library
from metricops._frameworks.operations import Arrays
from metricops._typing import Array

# TPUs have no float64, and older releases of JAX no context that a trace may enter.
_enable_x64: Any = getattr(jax, "enable_x64", None)


def has_float64(lib: Library, arrays: Arrays) -> bool:
    """Return whether float64 can be switched on for what is computed of `arrays`."""
    # In an export, loops over sizes that are symbols must not mix 32 and 64 bits.
    known = all(x is None or None not in lib.shape(x) for x in arrays)
    return _enable_x64 is not None and known and jax.default_backend() != "tpu"


def in_float64(function: Callable[..., Any], *arrays: Array | None) -> Any:
    """Return ``function(*arrays)``, computed where float64 is switched on.

    `vmap` batches a program that is traced already where float64 is switched off, and
    that makes float32 of some of it. So here it traces the function again.
    """
    if not any(isinstance(x, jax.core.Tracer) for x in arrays):
        with _enable_x64(True):
            return function(*arrays)

    @jax.custom_batching.custom_vmap
    def run(*arrays: Array | None) -> Any:
        # Without `jit`, its operations would be traced again to lower them, too.
        with _enable_x64(True):
            return jax.jit(function)(*arrays)

    @run.def_vmap
    def mapped(size: int, batched: Any, *arrays: Array | None) -> tuple[Any, Any]:
        axes = tuple(0 if there else None for there in batched)
        found = in_float64(jax.vmap(function, axes), *arrays)
        return found, jax.tree.map(lambda _: True, found)

    return run(*arrays)


def shortcut(lib: Library, short: Any, exact: Any, arrays: Arrays) -> tuple[Array, ...]:
    """Return `short` of arrays, of which `exact` gives the derivatives."""
    if not has_float64(lib, arrays):
        return exact(lib, *arrays)

    @jax.custom_jvp
    def run(*arrays: Array | None) -> Any:
        return in_float64(partial(short, lib), *arrays)

    @run.defjvp
    def derivative(primals: Any, tangents: Any) -> Any:
        return jax.jvp(partial(exact, lib), primals, tangents)

    return run(*arrays)


def when(some: Array, yes: Any, no: Any) -> Any:
    """Return ``yes()`` if `some` is true, else ``no()``; their shapes are equal."""
    return jax.lax.cond(some, yes, no)
