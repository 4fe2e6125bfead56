"""PyTorch: custom gradients, autocast, and what Dynamo can trace."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import array_api_compat.torch
import torch
from torch.nn.functional import cross_entropy

from metricops._checks import refuse_kind
from metricops._frameworks.library import (
    LONG_DOUBLES,
    Body,
    CrossEntropy,
    Dtype,
    Library,
    Meeting,
    Merge,
    Square,
    describe,
)
from metricops._frameworks.operations import Arrays, Operation
from metricops._frameworks.records import leaves
from metricops._frameworks.torch import distances, loops, private, selection
from metricops._frameworks.torch.gradients import Call, call_of, run, wanted_of
from metricops._typing import Array

_DTYPES = {
    dtype: describe(str(dtype).removeprefix("torch."))
    for dtype in vars(torch).values()
    if isinstance(dtype, torch.dtype)
}

_LOG2_E = math.log2(math.e)


def _row_losses(scores: Array, columns: Array) -> Array:
    return cross_entropy(scores, columns, reduction="none")


class Torch(Library):
    """PyTorch tensors."""

    converts = True
    spreads = True

    def convert(self, name: str, x: Array) -> Array:
        """Return `x`, or raise for a sparse or nested tensor."""
        if x.is_nested:
            refuse_kind(name, "nested tensor")
        if x.layout is not torch.strided:
            refuse_kind(name, "sparse tensor")
        return x

    def check_whole(self, name: str, x: Array) -> None:
        """Raise for a tensor whose rows are spread over a mesh of devices."""
        if type(x).__name__ == "DTensor":
            refuse_kind(name, "DTensor")

    def dtype(self, x: Array) -> Dtype:
        """Return what the dtype of `x` is."""
        return _DTYPES[x.dtype]

    def default_float(self, like: Array) -> Any:
        """Return the dtype that integers become."""
        return torch.get_default_dtype()

    def narrow_dtype(self, dtype: Any, like: Array) -> Any:
        """Return float32 under autocast, as PyTorch's own losses do."""
        return torch.float32 if _autocast(like) else dtype

    def asarray(self, value: Any, like: Array, dtype: Any = None) -> Array:
        """Return a number or NumPy array as a tensor on the device of `like`."""
        if isinstance(value, (int, float)):  # filled in there: the host waits for none
            return torch.full((), value, dtype=dtype, device=like.device)
        if torch.compiler.is_compiling():  # a NumPy array is a traced tensor then
            return torch.as_tensor(value, dtype=dtype, device=like.device)
        # A copy: as_tensor warns of read-only NumPy memory.
        return torch.tensor(value, dtype=dtype, device=like.device)

    def host_dtype(self, name: str, like: Array) -> str:
        """Return in which dtype NumPy numbers become a tensor."""
        if name == "bfloat16":  # of another package, which PyTorch does not know
            return "float32"
        name = "float64" if name in LONG_DOUBLES else name
        no_doubles = name == "float64" and like.device.type == "mps"
        return "float32" if no_doubles else name

    def gather(self, x: Array, indices: Array) -> Array:
        """Return the entries of the vector `x` at a matrix of indices."""
        return x[indices]  # `take` knows no unsigned integers of 16 bits and more

    def known_rows(self, x: Array) -> int | None:
        """Return the number of rows of `x`, None where an export leaves it open."""
        return x.shape[0] if isinstance(x.shape[0], int) else None

    def block(self, anchors: Array, candidates: Array) -> int | None:
        """Return how many anchors a panel should hold; None: all, of open sizes."""
        if None in (self.known_rows(anchors), self.known_rows(candidates)):
            return None
        return super().block(anchors, candidates)

    def traces_numpy(self) -> bool:
        """Return whether Dynamo makes tensors of NumPy arrays."""
        return torch.compiler.is_compiling()

    def stop_gradient(self, x: Array) -> Array:
        """Return `x`, seen as a constant by derivatives."""
        return x.detach()

    def clip(self, x: Array, low: float, high: float) -> Array:
        """Return `x`, no less than `low` and no more than `high`; NaN stays."""
        return torch.clamp(x, low, high)

    def log_softmax(self, scores: Array) -> Array:
        """Return the logarithms of each row's softmax."""
        return torch.log_softmax(scores, 1)

    def product(self, x: Array, y: Array) -> Array:
        """Return the matrix product in the dtype of both, also under autocast."""
        if _is_large(x, y) and _suits_onednn(x, y):
            return _fast_product(x, y)
        return _Product.apply(x, y) if _autocast(x) else x @ y

    # In place, where nothing records it: a new panel costs its page faults.

    def plus(self, x: Array, y: Array) -> Array:
        """Return ``x + y``."""
        return x + y if private.recorded() else x.add_(y)

    def times(self, x: Array, y: Array) -> Array:
        """Return ``x * y``."""
        return x * y if private.recorded() else x.mul_(y)

    def minus(self, x: Array, y: Array) -> Array:
        """Return ``x - y``."""
        return x - y if private.recorded() else x.sub_(y)

    def exp(self, x: Array) -> Array:
        """Return the exponentials of `x`."""
        if private.recorded():
            return x.exp()
        if x.dtype != torch.float32 or not x.is_cpu:
            return x.exp_()
        # On processors four times as fast, and less off than a similarity's rounding.
        return x.mul_(_LOG2_E).exp2_()

    def put(self, x: Array, columns: Array, value: float) -> Array:
        """Return `x` with one column of each row replaced."""
        columns = columns[:, None]
        if private.recorded():
            return x.scatter(1, columns, value)
        return x.scatter_(1, columns, value)

    def plus_product(self, total: Array | None, x: Array, y: Array) -> Array:
        """Return ``x @ y`` added to `total`, in place where nothing records it."""
        if total is None or private.recorded():
            return super().plus_product(total, x, y)
        if x.shape[1] < 128 or not _suits_onednn(x, y):
            return total.addmm_(x, y)
        # The longer side stands last in a product, which goes by rows.
        if x.shape[0] > y.shape[1]:
            return total.add_(_fast_product(y.mT, x.mT).mT)
        return total.add_(_fast_product(x, y))

    def cross_entropy(self, scores: Array) -> CrossEntropy:
        """Return what there is for the cross-entropy of rows of such scores."""
        return CrossEntropy(cross_entropy, _row_losses)

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

    def sees_values(self, x: Array) -> bool:
        """Return whether Python may look at the numbers in `x`."""
        return selection.sees_values(x)

    def records(self, *arrays: Array) -> bool:
        """Return whether autograd records what becomes of one of `arrays`."""
        return torch.is_grad_enabled() and any(x.requires_grad for x in arrays)

    def compiled(
        self, function: Callable[..., Any], config: Any, *arrays: Array | None
    ) -> Any:
        """Return ``function(self, config, *arrays)``, recorded only if need be."""
        given = [x for x in arrays if x is not None]
        if not self.sees_values(given[0]) or self.records(*given):
            return function(self, config, *arrays)
        with torch.no_grad():  # so that panels are written over
            return function(self, config, *arrays)

    def exact_dtype(self, x: Array) -> Any:
        """Return float64, where the device has it."""
        wide = x.dtype == torch.float32 and x.device.type != "mps"
        return torch.float64 if wide else x.dtype

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

    def running(self, x: Array) -> Array:
        """Return the sums of each row up to each of its entries."""
        return torch.cumsum(x, dim=1)

    def fold(
        self, body: Body, rows: Any, consts: Any, block: int | None
    ) -> tuple[Any, Any]:
        """Run `body` over panels; in place, unless something records it."""
        if block is None or block >= leaves(rows)[0].shape[0] or private.recorded():
            return super().fold(body, rows, consts, block)
        return loops.fold(body, rows, consts, block)

    def sweep(
        self,
        square: Square,
        rest: Meeting,
        merge: Merge,
        start: Any,
        rows: Any,
        block: int | None,
    ) -> Any:
        """Have each two panels meet; in a ring, unless something records it."""
        if block is None or block >= leaves(rows)[0].shape[0] or private.recorded():
            return super().sweep(square, rest, merge, start, rows, block)
        return loops.sweep(square, rest, merge, start, rows, block)

    def constant(self, function: Callable[..., Any], config: Any, *arrays: Any) -> Any:
        """Return ``function(self, config, *arrays)``, a constant to autograd."""
        with torch.no_grad():
            return function(self, config, *arrays)

    def shortcut(self, short: Any, exact: Any, arrays: Arrays) -> tuple[Array, ...]:
        """Return ``exact(lib, *arrays)``, by `short` where nothing looks on."""
        if not distances.may_be_looked_at(arrays, private.recorded):
            return exact(self, *arrays)
        with torch.no_grad():
            return short(_Reusing(self.xp, self.label), *arrays)

    def within_one(self, x: Array) -> Array:
        """Return `x` between -1 and 1, in place where nothing sees it."""
        fixed = x.detach()
        if not distances.may_be_looked_at((fixed,), private.recorded):
            return super().within_one(x)
        fixed.clamp_(-1.0, 1.0)
        return x

    def differentiable(
        self, operation: Operation, config: Any, arrays: Arrays, constants: Arrays
    ) -> Array:
        """Return the value of `operation`, with its gradient."""
        # Comparing a size would fix it in an export.
        small = not torch.compiler.is_exporting()
        small = small and operation.is_small(self, config, arrays)
        if small:
            return operation.value(self, config, arrays, constants)
        if torch.compiler.is_compiling():
            from metricops._frameworks.torch import opaque

            way = opaque.compiled
            if torch.compiler.is_exporting():
                way = opaque.exported
            return way(operation, config, (arrays, constants))
        recorded = any(wanted_of(arrays))
        if not recorded or private.forward_levels() > 1:
            # PyTorch differentiates forward, or batches, what it is made of.
            return operation.value(self, config, arrays, constants)
        call = call_of(Call, self, operation, config, arrays)
        return run(call, (*arrays, *constants))


class OnePanel(Torch):
    """PyTorch tensors of a graph, whose sizes may be symbols: all in one panel."""

    def cross_entropy(self, scores: Array) -> CrossEntropy:
        """Return nothing: PyTorch 2.13 has that of a symbolic square be a scalar."""
        return CrossEntropy()

    def block(self, anchors: Array, candidates: Array) -> int | None:
        """Return None: as many rows as there are."""
        return None

    def fold(
        self, body: Body, rows: Any, consts: Any, block: int | None
    ) -> tuple[Any, Any]:
        """Run `body` once over all rows."""
        return body(None, rows, consts)

    def several(self, x: Array, block: int | None) -> bool:
        """Return False: all rows are one panel."""
        return False

    def sweep(
        self,
        square: Square,
        rest: Meeting,
        merge: Merge,
        start: Any,
        rows: Any,
        block: int | None,
    ) -> Any:
        """Have all rows meet themselves."""
        return square(rows, None)


class _Reusing(distances.Reusing, Torch):
    """The library for one loop over panels."""

    def __init__(self, xp: Any, label: str) -> None:
        super().__init__(xp, label)
        self._last = {}


def _autocast(x: Array) -> bool:
    device = x.device.type
    return device != "meta" and torch.is_autocast_enabled(device)


def _fast_product(x: Array, y: Array) -> Array:
    # It would fall back to plain loops for a part of a transposed matrix.
    y = y if y.is_contiguous() or y.mT.is_contiguous() else y.contiguous()
    return private.linear(x.contiguous(), y.mT, None, "none", [], "")


def _is_large(x: Array, y: Array) -> bool:
    if torch.compiler.is_compiling():  # it would be a guard on the size
        return False
    return x.ndim == 2 and x.numel() * y.shape[-1] >= 2**22


def _suits_onednn(x: Array, y: Array) -> bool:
    """Return whether to take the product of oneDNN, as compiled models do.

    That of MKL, which `torch.matmul` takes, has half its speed on some processors.
    """
    return (
        x.is_cpu
        and x.dtype == y.dtype == torch.float32
        and private.linear is not None
        and torch.backends.mkldnn.enabled
        and not private.recorded()
        and type(x) is type(y) is torch.Tensor
    )


class _Product(torch.autograd.Function):
    """A matrix product that autocast leaves alone, backward too."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Array, y: Array) -> Array:
        with torch.autocast(x.device.type, enabled=False):
            return x @ y

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, upstream: Array) -> Any:
        x, y = ctx.saved_tensors
        return TORCH.product(upstream, y.mT), TORCH.product(x.mT, upstream)


def _astype(x: Array, dtype: Any) -> Array:
    return x.to(dtype)


def _concat(arrays: list[Array], axis: int) -> Array:
    return torch.cat(arrays, axis)  # which, unlike `concat`, batched gradients know


def _transposed(x: Array) -> Array:
    return x.mT


def _take_along_axis(x: Array, indices: Array, axis: int = -1) -> Array:
    # torch.take_along_dim would fix the sizes in an export.
    return x.gather(axis, indices)


# The wrappers of array-api-compat promote dtypes, which costs more than the operation;
# the kernels' arrays are of one dtype already. PyTorch takes `axis` and `keepdims`.
_NAMESPACE = SimpleNamespace(
    **vars(array_api_compat.torch)
    | {
        "abs": torch.abs,
        "astype": _astype,
        "concat": _concat,
        "equal": torch.eq,
        "exp": torch.exp,
        "log": torch.log,
        "take_along_axis": _take_along_axis,
    }
    | {"matrix_transpose": _transposed, "max": torch.amax}
    | {"maximum": torch.maximum, "mean": torch.mean, "sqrt": torch.sqrt}
    | {"sum": torch.sum, "where": torch.where}
)
TORCH = Torch(_NAMESPACE, "PyTorch")
ONE_PANEL = OnePanel(_NAMESPACE, "PyTorch")
