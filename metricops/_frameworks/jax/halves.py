"""Products of halves whose results are float32, on what has them: not on processors.

What is traced on one machine may run on another one, so the choice is made when a
program is lowered. A panel of float16 is scaled such that its largest number is 2**14:
what is far below the largest of all weighs nothing beside it, and nothing overflows.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from metricops._frameworks.library import Library
from metricops._frameworks.operands import parts_of
from metricops._typing import Array

_LARGEST = 14  # the exponent of the largest number of a panel in float16
_NARROW = ("float16", "bfloat16")


def operands(x: Array, y: Array, normalize: bool) -> str:
    """Return the half in which to multiply two sides, "" for none."""
    name = str(x.dtype)
    if name not in _NARROW or y.dtype != x.dtype:
        return ""
    return "float16" if normalize else name


class HalfProducts(Library):
    """The products of a library whose sides are in a half."""

    def __init__(self, half: str) -> None:
        super().__init__(jnp, "JAX")
        self.halves = half
        self.scored, self.panels = parts_of(half)

    def wide(self, x: Array) -> Array:
        """Return a half in float32; others as they are."""
        return x.astype(jnp.float32) if str(x.dtype) in _NARROW else x

    def wide_dtype(self, x: Array) -> Any:
        """Return float32."""
        return jnp.float32

    def scores(self, x: Array, y: Array, scale: Array | float) -> Array:
        """Return ``x @ y * scale``, scaled in float32."""

        def narrow(x: Array, y: Array) -> Array:
            half = jnp.dtype(self.scored)
            return _product(x.astype(half), y.astype(half))

        return self._by_platform(narrow, x, y) * scale

    def lost(self, x: Array) -> Array:
        """Return what vectors lose where they are rounded to the half."""

        def narrow(x: Array) -> Array:
            return x - x.astype(jnp.dtype(self.scored)).astype(x.dtype)

        found: Array = jax.lax.platform_dependent(x, cpu=jnp.zeros_like, default=narrow)
        return found

    def product(self, x: Array, y: Array) -> Array:
        """Return the matrix product in float32."""

        def narrow(x: Array, y: Array) -> Array:
            (x, first), (y, second) = self._narrowed(x), self._narrowed(y)
            return _product(x, y) * first * second

        return self._by_platform(narrow, x, y)

    def _by_platform(
        self, narrow: Callable[[Array, Array], Array], x: Array, y: Array
    ) -> Array:
        def exact(x: Array, y: Array) -> Array:
            return self._exact(self.wide(x), self.wide(y))

        found: Array = jax.lax.platform_dependent(x, y, cpu=exact, default=narrow)
        return found

    def _exact(self, x: Array, y: Array) -> Array:
        """Return the matrix product of float32."""
        raise NotImplementedError

    def _narrowed(self, x: Array) -> tuple[Array, Array | float]:
        """Return an array in the half, and what to multiply the product by."""
        half = jnp.dtype(self.panels)
        if x.dtype == half:
            return x, 1.0
        if self.panels == "bfloat16" or x.size == 0:
            return x.astype(half), 1.0
        largest = jnp.max(jnp.abs(x)).astype(jnp.float32)
        exponent = jnp.clip(jnp.frexp(largest)[1], -100, 100) - _LARGEST
        one = jnp.ones_like(largest)
        scaled = self.wide(x) * jnp.ldexp(one, -exponent)
        return scaled.astype(half), jnp.ldexp(one, exponent)


def _product(x: Array, y: Array) -> Array:
    return jnp.matmul(x, y, preferred_element_type=jnp.float32)
