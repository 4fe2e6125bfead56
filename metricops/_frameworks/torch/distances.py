"""PyTorch: distances by products in float64, and cosines clamped in place."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import forward_ad

from metricops._checks import Shape
from metricops._frameworks.operations import Arrays
from metricops._typing import Array

_STRIPE = 256  # rows
_FEW = 2**19  # numbers that stay in the caches


class Reusing:
    """PyTorch for one loop over panels, each written over the one before.

    Fresh memory is mapped page by page, which for a panel takes as long as its product.
    """

    _last: dict[str, Array]
    block: Callable[..., int | None]
    product: Callable[[Array, Array], Array]

    def panel_product(self, x: Array, y: Array) -> Array:
        """Return the matrix product of two arrays of one dtype."""
        return torch.mm(x, y, out=self._memory("product", x, x.dtype, y.shape[1]))

    def search_block(self, queries: Array, keys: Array) -> int | None:
        """Return how many queries a panel of a search should hold."""
        rows = self.block(queries, keys)  # each panel takes many short steps
        return 2 * rows if queries.is_cpu and rows is not None else rows

    def search_product(self, x: Array, y: Array) -> Array:
        """Return ``x @ y.mT``; oneDNN's memory is its own."""
        return self.product(x, y.mT)

    def exact_block(self, rows: Array, columns: Array) -> int | None:
        """Return for how many rows at a time a few columns are computed exactly."""
        return max(_FEW // max(rows.shape[1] * columns.shape[1], 1), 1)

    def panel_rows(self, x: Array, indices: Array) -> Array:
        """Return the rows of `x` at a matrix of indices."""
        memory = self._last.get("rows")
        if memory is None or len(memory) < indices.numel():
            memory = self._last["rows"] = x.new_empty((indices.numel(), x.shape[1]))
        out = memory[: indices.numel()]
        torch.index_select(x, 0, indices.flatten(), out=out)
        return out.unflatten(0, indices.shape)

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

    def peaks(self, lengths: Array) -> Array:
        """Return the largest reciprocal of each row of lengths, of those not 0."""
        least = lengths.amin(1)
        return 1 / least if _is_long(least) else self.inverses(lengths).amax(1)

    def weights(
        self, upstream: Array, lengths: Array | None, dtype: Any
    ) -> tuple[Array, Array | None]:
        """Return ``upstream / lengths``, or `upstream` alone, in a dtype; and `peaks`.

        Of as many rows at a time as stay in the caches.
        """
        if lengths is None and upstream.dtype == dtype:
            return upstream, None
        out = self._memory("weights", upstream, dtype, upstream.shape[1])
        if lengths is None:
            return out.copy_(upstream), None
        parts = [z.split(_STRIPE) for z in (upstream, lengths, out)]
        peaks = [self._weigh(*part) for part in zip(*parts, strict=True)]
        return out, torch.cat(peaks)

    def _weigh(self, upstream: Array, lengths: Array, out: Array) -> Array:
        """Write the weights of a few rows into `out`, and return their peaks."""
        least, dtype, found = lengths.amin(1), upstream.dtype, out
        way, by = torch.div, lengths
        if not _is_long(least):
            way, by = torch.mul, self.inverses(lengths)
        if out.dtype != dtype:
            found = self._memory("narrowed", upstream, dtype, upstream.shape[1])
        way(upstream, by, out=found)
        if found is not out and _keeps_digits(found):
            out.copy_(found)
        elif found is not out:
            way(upstream.to(out.dtype), by, out=out)
        return 1 / least if by is lengths else by.amax(1)

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


def _is_long(least: Array) -> bool:
    """Return whether all lengths have a reciprocal, by the least of each row."""
    return least.numel() == 0 or float(least.min()) >= 2.0**-126


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
