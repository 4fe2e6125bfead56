"""What PyTorch does better than the functions of the standard.

The module is long, as each function stands for one of the library's primitives.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import cross_entropy, softplus

from metricops._frameworks.distances import root_by_one
from metricops._frameworks.library import Library
from metricops._frameworks.operations import Arrays
from metricops._frameworks.primitives import NO_CROSS_ENTROPY, SMALL, CrossEntropy
from metricops._frameworks.torch import private, products, selection
from metricops._typing import Array

_LOG2_E = math.log2(math.e)


def _mean(scores: Array, columns: Array) -> Array | None:
    found = cross_entropy(scores, columns)
    return None if found.item() < SMALL else found


def _row_losses(scores: Array, columns: Array) -> Array:
    return cross_entropy(scores, columns, reduction="none")


_CROSS_ENTROPY = CrossEntropy(_mean, _row_losses)


class TorchPrimitives(Library):
    """PyTorch's own functions, in place where autograd does not record them."""

    def looks(self, x: Array) -> bool:
        """Return whether a look at a number of `x` costs nothing."""
        return bool(x.is_cpu) and selection.sees_values(x)

    def gather(self, x: Array, indices: Array) -> Array:
        """Return the entries, or rows, of `x` at a matrix of indices."""
        if x.ndim == 1 or not x.dtype.is_floating_point:
            return x[indices]  # others have no unsigned integers of 16 bits and more
        # Whole rows are copied so, in place of single numbers.
        found = torch.index_select(x, 0, indices.flatten())
        return found.unflatten(0, indices.shape)

    def plus_rows(self, total: Array, columns: Array, rows: Array) -> Array:
        """Return `total` with rows added at `columns`, in place."""
        return total.index_add_(0, columns.flatten(), rows.flatten(0, 1))

    def stop_gradient(self, x: Array) -> Array:
        """Return `x` as a constant to autograd."""
        return x.detach()

    def root(self, x: Array) -> Array:
        """Return the roots of positive numbers, with derivatives of every order."""
        return root_by_one(self, x) if private.recorded() else torch.sqrt(x)

    def lengths(self, x: Array, axes: tuple[int, ...]) -> Array:
        """Return the lengths of vectors along `axes`, kept; inf of zero vectors."""
        if private.recorded():
            return super().lengths(x, axes)
        found = self.norms(x, axes)
        return found.masked_fill_(found == 0, math.inf)

    def norms(self, x: Array, axes: tuple[int, ...]) -> Array:
        """Return the lengths of vectors along `axes`, kept, none of which is 0."""
        if private.recorded():
            return super().norms(x, axes)
        return torch.linalg.vector_norm(x, 2, axes, keepdim=True)

    def extremes(self, x: Array) -> tuple[Array, Array]:
        """Return the least and the largest number in a tensor that is not empty."""
        return torch.aminmax(x)

    def clip(self, x: Array, low: float, high: float) -> Array:
        """Return `x`, no less than `low` and no more than `high`; NaN stays."""
        return torch.clamp(x, low, high)

    def step(self, x: Array) -> Array:
        """Return 1 where numbers are above 0, and 0 elsewhere, without a mask."""
        return torch.sign(x)  # 0 of NaN

    def log_softmax(self, scores: Array) -> Array:
        """Return the logarithms of each row's softmax."""
        return torch.log_softmax(scores, 1)

    def softplus(self, x: Array) -> Array:
        """Return log(1 + exp(x)), of any x."""
        return softplus(x, threshold=40)  # from where on it is x in float64 too

    def sigmoid(self, x: Array) -> Array:
        """Return 1 / (1 + exp(-x)), of any x."""
        return torch.sigmoid(x)

    def product(self, x: Array, y: Array) -> Array:
        """Return the matrix product in the dtype of both, also under autocast."""
        return products.product(x, y)

    def widened_product(self, x: Array, y: Array, dtype: Any) -> Array:
        """Return the product of halves in float32, of halves as they are on a GPU."""
        found = products.of_halves(x, y, x.dtype)
        return super().widened_product(x, y, dtype) if found is None else found

    def plus_product(self, total: Array | None, x: Array, y: Array) -> Array:
        """Return ``x @ y`` added to `total`, in place where nothing records it."""
        if total is None or private.recorded():
            return super().plus_product(total, x, y)
        return products.plus_product(total, x, y)

    def cross_entropy(self, scores: Array) -> CrossEntropy:
        """Return what there is for the cross-entropy of rows of such scores."""
        # They keep too few digits of small losses, for which one has to look.
        if scores.is_cpu and selection.sees_values(scores):
            return _CROSS_ENTROPY
        return NO_CROSS_ENTROPY

    def constant(self, function: Callable[..., Any], config: Any, *arrays: Any) -> Any:
        """Return ``function(self, config, *arrays)``, a constant to autograd."""
        with torch.no_grad():
            return function(self, config, *arrays)

    def exact_dtype(self, x: Array) -> Any:
        """Return float64, where the device has it."""
        wide = x.dtype == torch.float32 and x.device.type != "mps"
        return torch.float64 if wide else x.dtype

    def positions(self, x: Array, axis: int, name: str) -> Array:
        """Return 0, 1, ... along an axis of `x`, on its device."""
        return torch.arange(x.shape[axis], device=x.device)

    def pick(self, x: Array, columns: Array) -> Array:
        """Return one column of each row of the matrix `x`, shape (n, 1)."""
        return x.gather(1, columns[:, None])

    def largest(self, x: Array, k: int) -> tuple[Array, Array]:
        """Return the `k` largest of each row and their columns, ties by column."""
        order = torch.sort(-x, dim=1, stable=True).indices[:, :k]
        return x.gather(1, order), order

    def within(self, x: Array, k: int, slack: Array) -> tuple[Array, Array, Array]:
        """Return the columns of each row that are near its `k` largest, and more."""
        return selection.within(x, k, slack)

    def redone(
        self,
        right: Array,
        function: Callable[[Array], Arrays],
        rows: Array,
        found: Arrays,
    ) -> Arrays:
        """Return what was `found`, with the rows that are not `right` done again."""
        return selection.redone(right, function, rows, found)

    def panel_dots(self, x: Array, y: Array) -> Array:
        """Return inner products along the last axis; `x` may be overwritten.

        A product of each matrix with a vector takes three times as long.
        """
        return self.times(x, y).sum(-1)

    def running(self, x: Array) -> Array:
        """Return the sums of each row up to each of its entries."""
        return torch.cumsum(x, dim=1)

    def running_log_sums(self, x: Array) -> Array:
        """Return the logarithms of the cumulative sums of exp(x) along each row."""
        return torch.logcumsumexp(x, dim=1)

    # In place where nothing records it: fresh memory is mapped page by page.

    def plus(self, x: Array, y: Array) -> Array:
        """Return ``x + y``."""
        return x + y if private.recorded() else x.add_(y)

    def times(self, x: Array, y: Array) -> Array:
        """Return ``x * y``."""
        return x * y if private.recorded() else x.mul_(y)

    def minus(self, x: Array, y: Array) -> Array:
        """Return ``x - y``."""
        return x - y if private.recorded() else x.sub_(y)

    def only(self, x: Array, kept: Array) -> Array:
        """Return `x`, and 0 where it is not `kept`."""
        if private.recorded():
            return super().only(x, kept)
        if x.ndim == 2 and kept.shape[1] == 1 and self.looks(x):
            lost = torch.nonzero(~kept[:, 0])[:, 0]  # a mask is slow where it is wide
            return x.index_fill_(0, lost, 0.0)
        return x.masked_fill_(~kept, 0.0)

    def over(self, x: Array, y: Array) -> Array:
        """Return ``x / y``."""
        return x / y if private.recorded() else x.div_(y)

    def less(self, x: Array, y: Array, factor: Array) -> Array:
        """Return ``x - y * factor``."""
        if private.recorded():
            return x - y * factor
        return x.addcmul_(y, factor, value=-1)

    def exp(self, x: Array) -> Array:
        """Return the exponentials of `x`."""
        if private.recorded():
            return x.exp()
        if x.dtype != torch.float32 or not x.is_cpu:
            return x.exp_()
        # Four times as fast on a processor; the error is less than the rounding of a
        # similarity.
        return x.mul_(_LOG2_E).exp2_()

    def put(self, x: Array, columns: Array, value: Any) -> Array:
        """Return `x` with one column of each row replaced, by a number or by (n,)."""
        columns = columns[:, None]
        value = value[:, None] if isinstance(value, torch.Tensor) else value
        if self.puts_in_place():
            return x.scatter_(1, columns, value)
        return x.scatter(1, columns, value)

    def put_each(self, x: Array, columns: Array, value: float) -> Array:
        """Return `x` with some columns of each row replaced by a number, in place."""
        return x.scatter_(1, columns, value)

    def puts_in_place(self) -> bool:
        """Return whether nothing records what is done."""
        return not private.recorded()
