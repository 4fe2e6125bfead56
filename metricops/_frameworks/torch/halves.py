"""Products of halves whose results are float32, as tensor cores have them.

They have no derivative, and are taken where nothing records what is done and the device
has them; elsewhere the same halves are multiplied in float32.

A half may be two words: the one that scores are products of, and that of panels, which
are float16: it rounds eight times less than bfloat16. A panel is scaled such that its
largest number is about 2**14: what is far below the largest of all weighs nothing
beside it, and nothing overflows.

Each pass over a panel is read and written by a GPU once. So the exponentials of large
panels are written as the half that is multiplied, and their rows are sums of that.
"""

import math
from typing import Any

import torch

from metricops._frameworks.operands import parts_of
from metricops._frameworks.torch import private, products
from metricops._frameworks.torch.namespace import NAMESPACE
from metricops._frameworks.torch.primitives import TorchPrimitives
from metricops._typing import Array

_MANY = 256  # rows over which the roundings of sums of halves cancel
_NARROW = (torch.float16, torch.bfloat16)


class HalfProducts(TorchPrimitives):
    """The products of a library whose sides are in a half."""

    has_levels = True

    def __init__(self, half: str) -> None:
        super().__init__(NAMESPACE, "PyTorch")
        self.halves = half
        scored, panels = parts_of(half)
        self._half: torch.dtype = getattr(torch, scored)
        self._panels: torch.dtype = getattr(torch, panels)

    def _widens(self, x: Array) -> bool:
        """Return whether products are to be taken in float32 all the same."""
        return private.recorded() or not products.takes_halves(x.device, self._half)

    def rounds_products(self, x: Array) -> bool:
        """Return whether widened halves may be rounded: as they are, they are not."""
        return self._widens(x) and super().rounds_products(x)

    def wide(self, x: Array) -> Array:
        """Return a half in float32; others as they are."""
        return x.float() if x.dtype in _NARROW else x

    def wide_dtype(self, x: Array) -> Any:
        """Return float32."""
        return torch.float32

    def operand(self, x: Array) -> Array:
        """Return vectors in the half."""
        return x.to(self._half)

    def lost(self, x: Array) -> Array:
        """Return what vectors lose where they are rounded to the half."""
        return super().lost(x) if self._widens(x) else x - self.operand(x).float()

    def panel_operand(
        self, x: Array, factor: Any, within_one: bool
    ) -> tuple[Array, Any]:
        """Return a panel in the half, and the factors of its rows."""
        if self._widens(x) or x.dtype == self._panels:
            return x, factor
        if not within_one or self._panels != torch.float16:
            x, back = self._narrowed(x)
            return x, back if factor is None else factor * back
        up = 2.0**products.LARGEST if factor is None else factor * 2.0**products.LARGEST
        return self._half_of(x, up), 2.0**-products.LARGEST

    def beside_panels(self, x: Array) -> tuple[Array, Array | float]:
        """Return vectors in the half of panels, and what to multiply products by."""
        return (x, 1.0) if self._widens(x) else self._narrowed(x)

    def enlargement(self, largest: Any) -> Array | float:
        """Return the power of 2 that makes `largest` nearly 2**14."""
        if not isinstance(largest, torch.Tensor):
            return 2.0 ** (products.LARGEST - math.frexp(largest)[1])
        return products.powers(largest.abs())[0]

    def rounded(self, x: Array) -> Array:
        """Return a panel in the half."""
        return x if self._widens(x) else x.to(self._panels)

    def row_sums(self, x: Array, axis: int = 1) -> Array:
        """Return the sums of a panel's rows, or columns, in float32."""
        return torch.sum(x, axis, keepdim=True, dtype=torch.float32)

    def marks(self, x: Array, dtype: Any) -> Array:
        """Return a panel of bool as it is, of a byte a pair, where nothing records."""
        return super().marks(x, dtype) if self._widens(x) else x

    def scaled_peak(self, x: Array, scale: Array) -> Array:
        """Return the maxima of the rows of ``x * scale``, in one pass."""
        if not x.shape[1]:
            return super().scaled_peak(x, scale)
        least, most = torch.aminmax(x, dim=1, keepdim=True)
        return torch.maximum(least * scale, most * scale)

    def exponentials(
        self, x: Array, peak: Array, scale: Array | None
    ) -> tuple[Array, Array | None]:
        """Return exponentials, of many rows in the half and times about 2**14."""
        if self._widens(x) or self._panels != torch.float16 or x.shape[0] < _MANY:
            return super().exponentials(x, peak, scale)
        shift = peak - products.LARGEST * math.log(2)
        x = x.sub_(shift) if scale is None else _scaled_less(x, scale, shift)
        found = torch.empty_like(x, dtype=self._panels)
        return torch.exp(x, out=found), torch.exp(shift - peak)

    def joint_exponentials(self, x: Array, rows: Array, columns: Array) -> Array:
        """Return ``exp(x + rows) + exp(x + columns)``, one exponential a pair."""
        level = torch.logaddexp(rows[:, None], columns[None, :])
        if self._widens(x):
            return torch.exp(x + level)
        return torch.exp(x.add_(level), out=torch.empty_like(x, dtype=self._panels))

    def _narrowed(self, x: Array) -> tuple[Array, Array | float]:
        """Return an array in the half, and what to multiply the product by."""
        if x.dtype == self._panels:
            return x, 1.0
        if self._panels != torch.float16 or not x.numel():
            return x.to(self._panels), 1.0
        up, back = products.powers(torch.linalg.vector_norm(x, math.inf).float())
        return self._half_of(x, up), back

    def _half_of(self, x: Array, factor: Any) -> Array:
        return torch.mul(x, factor, out=torch.empty_like(x, dtype=self._panels))

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
            found = found if isinstance(back, float) else found.mul_(back)
        return found

    def pair_product(self, x: Array, y: Array) -> Array:
        """Return the product of two matrices, with all its derivatives."""
        found = products.of_halves(x, y, self._half)
        return super().product(x, y) if found is None else found

    def plus_product(self, total: Array | None, x: Array, y: Array) -> Array:
        """Return ``x @ y`` added to `total`, in place where nothing records it."""
        if total is None or self._widens(x):
            found = self.product(x, y)
            return found if total is None else total + found
        if self._panels == torch.float16 and not x.dtype == y.dtype == self._panels:
            return total.add_(self.product(x, y))
        return _added(total, x.to(self._panels), y.to(self._panels))

    def _product(self, x: Array, y: Array) -> Array:
        return torch.mm(x, y, out_dtype=torch.float32)


def _scaled_less(x: Array, scale: Array, shift: Array) -> Array:
    """Return ``x * scale - shift``, in place and in one pass."""
    return torch.addcmul(-shift, x, scale, out=x)


def _added(total: Array, x: Array, y: Array, **factors: float) -> Array:
    """Return a product of halves added to float32, in place."""
    return torch.addmm(total, x, y, out_dtype=torch.float32, out=total, **factors)
