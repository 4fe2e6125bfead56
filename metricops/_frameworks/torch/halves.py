"""Products of halves whose results are float32, as tensor cores have them.

They have no derivative, and are taken where nothing records what is done and the device
has them; elsewhere the same halves are multiplied in float32.

A half may be two words: the one that scores are products of, and that of panels. A
panel of float16 is scaled such that its largest number is 2**14: what is far below
the largest of all weighs nothing beside it, and nothing overflows. bfloat16 has the
range of float32.
"""

import math
from typing import Any

import torch

from metricops._frameworks.torch import private, products
from metricops._frameworks.torch.namespace import NAMESPACE
from metricops._frameworks.torch.primitives import TorchPrimitives
from metricops._typing import Array

_LARGEST = 14  # the exponent of the largest number of a panel in float16
_NARROW = (torch.float16, torch.bfloat16)


class HalfProducts(TorchPrimitives):
    """The products of a library whose sides are in a half."""

    def __init__(self, half: str) -> None:
        super().__init__(NAMESPACE, "PyTorch")
        self.halves = half
        first, _, second = half.partition(", ")
        self._half: torch.dtype = getattr(torch, first)
        self._panels: torch.dtype = getattr(torch, second or first)

    def _widens(self, x: Array) -> bool:
        """Return whether products are to be taken in float32 all the same."""
        return private.recorded() or not products.takes_halves(x.device, self._half)

    def wide(self, x: Array) -> Array:
        """Return a half in float32; others as they are."""
        return x.float() if x.dtype in _NARROW else x

    def wide_dtype(self, x: Array) -> Any:
        """Return float32."""
        return torch.float32

    def operand(self, x: Array) -> Array:
        """Return vectors in the half."""
        return x.to(self._half)

    def panel_operand(self, x: Array, weight: Any) -> tuple[Array, Any]:
        """Return a panel in the half, and weights of its rows that are powers of 2."""
        if self._widens(x) or not isinstance(weight, torch.Tensor) or not weight.ndim:
            return x, weight
        mantissa, exponent = torch.frexp(weight)
        x, back = self._narrowed(x, mantissa)
        weight = torch.ldexp(torch.ones_like(weight), exponent)
        return x, weight if back is None else weight * back

    def _narrowed(self, x: Array, factor: Any = 1.0) -> tuple[Array, Array | None]:
        """Return ``x * factor`` in the half, and what to multiply the product by."""
        if x.dtype == self._panels:
            return x, None
        back, up = None, factor
        if self._panels == torch.float16 and x.numel():
            largest = torch.linalg.vector_norm(x, math.inf).float()
            exponent = torch.frexp(largest).exponent.clamp(-100, 100) - _LARGEST
            one = torch.ones_like(largest)
            up, back = torch.ldexp(one, -exponent) * factor, torch.ldexp(one, exponent)
        return torch.mul(x, up, out=torch.empty_like(x, dtype=self._panels)), back

    def scores(self, x: Array, y: Array, scale: Array | float) -> Array:
        """Return ``x @ y * scale``, scaled in float32."""
        x, y = self.operand(x), self.operand(y)
        if self._widens(x):
            return super().product(x.float(), y.float()) * scale
        if not isinstance(scale, float):
            return self._product(x, y).mul_(scale)
        found = torch.empty(
            (x.shape[0], y.shape[1]), dtype=torch.float32, device=x.device
        )
        return _added(found, x, y, beta=0, alpha=scale)

    def product(self, x: Array, y: Array) -> Array:
        """Return the matrix product in float32."""
        if self._widens(x):
            return super().product(self.wide(x), self.wide(y))
        (x, first), (y, second) = self._narrowed(x), self._narrowed(y)
        found = self._product(x, y)
        for back in (first, second):
            found = found if back is None else found.mul_(back)
        return found

    def plus_product(self, total: Array | None, x: Array, y: Array) -> Array:
        """Return ``x @ y`` added to `total`, in place where nothing records it."""
        if total is None or self._widens(x):
            found = self.product(x, y)
            return found if total is None else total + found
        if self._panels == torch.float16:
            return total.add_(self.product(x, y))
        return _added(total, self.operand(x), self.operand(y))

    def _product(self, x: Array, y: Array) -> Array:
        return torch.mm(x, y, out_dtype=torch.float32)


def _added(total: Array, x: Array, y: Array, **factors: float) -> Array:
    """Return a product of halves added to float32, in place."""
    return torch.addmm(total, x, y, out_dtype=torch.float32, out=total, **factors)
