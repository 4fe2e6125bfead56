"""JAX: distances by products in float64, where that need not be switched on."""

from typing import Any

import jax

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


def float64() -> Any:
    """Return a context in which float64 is switched on."""
    return _enable_x64(True)


def shortcut(lib: Library, short: Any, exact: Any, arrays: Arrays) -> tuple[Array, ...]:
    """Return `short` of arrays, of which `exact` gives the derivatives."""
    if not has_float64(lib, arrays):
        return exact(lib, *arrays)

    @jax.custom_jvp
    def run(*arrays: Array | None) -> Any:
        with float64():
            return short(lib, *arrays)

    @run.defjvp
    def derivative(primals: Any, tangents: Any) -> Any:
        return jax.jvp(lambda *arrays: exact(lib, *arrays), primals, tangents)

    return run(*arrays)


def when(some: Array, yes: Any, no: Any) -> Any:
    """Return ``yes()`` if `some` is true, else ``no()``; their shapes are equal."""
    return jax.lax.cond(some, yes, no)
