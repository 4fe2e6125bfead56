"""PyTorch: distances by products in float64, and cosines clamped in place."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import forward_ad

from metricops._checks import Shape
from metricops._frameworks.operations import Arrays
from metricops._typing import Array


class Reusing:
    """PyTorch for one loop over panels, each written over the one before.

    Fresh memory is mapped page by page, which for a panel takes as long as its product.
    """

    _last: dict[str, Array]

    def panel_product(self, x: Array, y: Array) -> Array:
        """Return the matrix product of two arrays of one dtype."""
        return torch.mm(x, y, out=self._memory("product", x, x.dtype, y.shape[1]))

    def narrowed(self, x: Array, dtype: Any, root: bool, narrow: Array) -> Array:
        """Return `x`, or with `root` its square root, in `dtype`."""
        out = self._memory("narrowed", x, dtype, x.shape[1]).copy_(x)
        if not root:
            return out
        return out.sqrt_() if narrow else out.copy_(x.sqrt_())

    def inverses(self, lengths: Array) -> Array:
        """Return the reciprocals of lengths, and 0 for a length of 0.

        However short: sums of the largest are taken in float64.
        """
        out = self._memory("inverses", lengths, lengths.dtype, lengths.shape[1])
        torch.reciprocal(lengths, out=out)
        return out.nan_to_num_(nan=math.nan, posinf=0.0)

    def weights(self, upstream: Array, inverse: Array | None, dtype: Any) -> Array:
        """Return ``upstream * inverse``, or `upstream` alone, in a dtype."""
        found, columns = upstream, upstream.shape[1]
        if inverse is not None:
            found = self._memory("narrowed", upstream, upstream.dtype, columns)
            found = torch.mul(upstream, inverse, out=found)
            if upstream.dtype != dtype and not _keeps_digits(found):
                return upstream.to(dtype) * inverse
        if found.dtype == dtype:
            return found
        return self._memory("weights", upstream, dtype, columns).copy_(found)

    def manhattan(self, x: Array, y: Array) -> Array:
        """Return the sums of absolute differences of rows."""
        # `cdist` adds numbers one by one: a thousand at a time lose few digits.
        parts = zip(x.split(1000, -1), y.split(1000, -1), strict=True)
        found: Array = sum(torch.cdist(a, b, p=1.0) for a, b in parts)
        return found

    def manhattan_gradients(
        self, x: Array, y: Array, upstream: Array
    ) -> tuple[Array, Array] | None:
        """Return the gradients of ``sum(upstream * manhattan(x, y))``, or None.

        In few steps, each of which keeps a processor's threads busy for long.
        """
        if not (x.isfinite().all() and y.isfinite().all()):
            return None
        of_x, of_y = torch.zeros_like(x), torch.zeros_like(y)
        # Numbers are added one by one: a few hundred at a time lose few digits.
        for rows, own in _parts(x):
            for columns, other in _parts(y):
                leaves = [z.detach().requires_grad_() for z in (own, other)]
                with torch.enable_grad():
                    found = torch.cdist(*leaves, p=1.0)
                part = upstream[..., rows, columns]
                left, right = torch.autograd.grad(found, leaves, part)
                of_x[..., rows, :] += left
                of_y[..., columns, :] += right
        return of_x, of_y

    def _memory(self, name: str, like: Array, dtype: Any, columns: int) -> Array:
        shape: Shape = (like.shape[0], columns)
        found = self._last.get(name)
        if found is None or found.shape != shape:
            found = self._last[name] = like.new_empty(shape, dtype=dtype)
        return found


def _parts(x: Array) -> list[tuple[slice, Array]]:
    """Return rows, 512 at a time, and where they are."""
    starts = range(0, x.shape[-2], 512)
    parts = [slice(first, first + 512) for first in starts]
    return [(part, x[..., part, :]) for part in parts]


def _keeps_digits(x: Array) -> bool:
    """Return whether the largest number is far from the ends of float32.

    Then one that is too small is nothing beside it.
    """
    largest = torch.stack(torch.aminmax(x)).abs().max()
    return 2.0**-80 <= float(largest) <= 2.0**126


def may_be_looked_at(arrays: Arrays, records: Callable[[], bool]) -> bool:
    """Return whether arrays have values to read, and no derivative is recorded.

    ``records()`` says, under `torch.no_grad`, whether a transform of `torch.func` is
    active.
    """
    given = [x for x in arrays if x is not None]
    if torch.compiler.is_compiling():
        return False
    if any(type(x) not in (torch.Tensor, torch.nn.Parameter) for x in given):
        return False
    if torch.is_grad_enabled() and any(x.requires_grad for x in given):
        return False
    with torch.no_grad():
        if records():
            return False
    if any(forward_ad.unpack_dual(x).tangent is not None for x in given):
        return False
    one, *_ = given
    device = one.device.type
    if device == "cuda":  # reading a value would break the capture of a graph
        return not torch.cuda.is_current_stream_capturing()
    return device == "cpu"
