"""JAX: distances by products in float64, where that need not be switched on."""

from typing import Any

import jax

from metricops._frameworks.library import Library
from metricops._frameworks.operations import Arrays
from metricops._typing import Array

# TPUs have no float64, and older releases of JAX no context that a trace may enter.
_enable_x64: Any = getattr(jax, "enable_x64", None)


def shortcut(lib: Library, short: Any, exact: Any, arrays: Arrays) -> tuple[Array, ...]:
    """Return ``short(lib, *arrays)``, with the derivatives of `exact`."""
    # In an export, loops over sizes that are symbols must not mix 32 and 64 bits.
    known = all(x is None or None not in lib.shape(x) for x in arrays)
    if _enable_x64 is None or not known or jax.default_backend() == "tpu":
        return exact(lib, *arrays)

    @jax.custom_jvp
    def run(*arrays: Array | None) -> Any:
        with _enable_x64(True):
            return short(lib, *arrays)

    @run.defjvp
    def derivative(primals: Any, tangents: Any) -> Any:
        return jax.jvp(lambda *arrays: exact(lib, *arrays), primals, tangents)

    return run(*arrays)


def when(some: Array, yes: Any, no: Any) -> Any:
    """Return ``yes()`` if `some` is true, else ``no()``; their shapes are equal."""
    return jax.lax.cond(some, yes, no)
