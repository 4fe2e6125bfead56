"""PyTorch: custom gradients, autocast, and what Dynamo can trace."""

import ast
import math
from types import SimpleNamespace
from typing import Any

import array_api_compat.torch
import torch
from torch._subclasses.fake_tensor import FakeTensor
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
    is_given,
    spread,
)
from metricops._frameworks.operations import Arrays, Operation, operation_called
from metricops._frameworks.records import leaves
from metricops._typing import Array

_DTYPES = {
    dtype: describe(str(dtype).removeprefix("torch."))
    for dtype in vars(torch).values()
    if isinstance(dtype, torch.dtype)
}


# y @ x.mT, by oneDNN; where PyTorch was built without it, there is none.
_linear: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


_LOG2_E = math.log2(math.e)


def _row_losses(scores: Array, columns: Array) -> Array:
    return cross_entropy(scores, columns, reduction="none")


class Torch(Library):
    """PyTorch tensors."""

    def convert(self, name: str, x: Array) -> Array:
        """Return `x`, or raise for a sparse or nested tensor."""
        if x.is_nested:
            refuse_kind(name, "nested tensor")
        if x.layout is not torch.strided:
            refuse_kind(name, "sparse tensor")
        return x

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
        return x + y if _records() else x.add_(y)

    def times(self, x: Array, y: Array) -> Array:
        """Return ``x * y``."""
        return x * y if _records() else x.mul_(y)

    def minus(self, x: Array, y: Array) -> Array:
        """Return ``x - y``."""
        return x - y if _records() else x.sub_(y)

    def exp(self, x: Array) -> Array:
        """Return the exponentials of `x`."""
        if _records():
            return x.exp()
        if x.dtype != torch.float32 or not x.is_cpu:
            return x.exp_()
        # On processors four times as fast, and less off than a similarity's rounding.
        return x.mul_(_LOG2_E).exp2_()

    def put(self, x: Array, columns: Array, value: float) -> Array:
        """Return `x` with one column of each row replaced."""
        columns = columns[:, None]
        if _records():
            return x.scatter(1, columns, value)
        return x.scatter_(1, columns, value)

    def plus_product(self, total: Array | None, x: Array, y: Array) -> Array:
        """Return ``x @ y`` added to `total`, in place where nothing records it."""
        if total is None or _records():
            return super().plus_product(total, x, y)
        if x.shape[1] < 128 or not _suits_onednn(x, y):
            return total.addmm_(x, y)
        # The longer side stands last in a product, which goes by rows.
        if x.shape[0] > y.shape[1]:
            return total.add_(_fast_product(y.mT, x.mT).mT)
        return total.add_(_fast_product(x, y))

    def cross_entropy(self, scores: Array) -> CrossEntropy:
        """Return what there is for the cross-entropy of rows of such scores."""
        if isinstance(scores, FakeTensor):
            # PyTorch 2.13 has cross_entropy of a symbolic square return a scalar.
            return CrossEntropy()
        return CrossEntropy(cross_entropy, _row_losses)

    def positions(self, x: Array, axis: int, name: str) -> Array:
        """Return 0, 1, ... along an axis of `x`, on its device."""
        return torch.arange(x.shape[axis], device=x.device)

    def pick(self, x: Array, columns: Array) -> Array:
        """Return one column of each row of the matrix `x`, shape (n, 1)."""
        return x.gather(1, columns[:, None])

    def fold(
        self, body: Body, rows: Any, consts: Any, block: int | None
    ) -> tuple[Any, Any]:
        """Run `body` over panels; once over all rows if only shapes are asked for."""
        if isinstance(leaves(rows)[0], FakeTensor):
            block = None
        return super().fold(body, rows, consts, block)

    def several(self, x: Array, block: int | None) -> bool:
        """Return whether the rows of `x` may be several panels."""
        # Comparing a size that is a symbol would fix it.
        return not isinstance(x, FakeTensor) and super().several(x, block)

    def sweep(
        self,
        square: Square,
        rest: Meeting,
        merge: Merge,
        start: Any,
        rows: Any,
        block: int | None,
    ) -> Any:
        """Have each two panels meet; all at once if only shapes are asked for."""
        if isinstance(leaves(rows)[0], FakeTensor):
            block = None
        return super().sweep(square, rest, merge, start, rows, block)

    def differentiable(
        self, operation: Operation, config: Any, arrays: Arrays, constants: Arrays
    ) -> Array:
        """Return the value of `operation`, with its gradient."""
        # Comparing a size would fix it in an export.
        small = not torch.compiler.is_exporting()
        small = small and operation.is_small(self, config, arrays)
        if small:
            return operation.value(self, config, arrays, constants)
        wanted = torch.is_grad_enabled() and any(
            x is not None and x.requires_grad for x in arrays
        )
        if torch.compiler.is_compiling():
            return _compiled(operation, config, arrays, constants, wanted)
        if not wanted:
            return operation.value(self, config, arrays, constants)
        return _Run.apply(operation, config, len(arrays), *arrays, *constants)[0]


def _autocast(x: Array) -> bool:
    device = x.device.type
    return device != "meta" and torch.is_autocast_enabled(device)


def _records() -> bool:
    """Return whether autograd or a transform of torch.func sees what is done."""
    return torch.is_grad_enabled() or torch._C._are_functorch_transforms_active()


def _fast_product(x: Array, y: Array) -> Array:
    # It would fall back to plain loops for a part of a transposed matrix.
    y = y if y.is_contiguous() or y.mT.is_contiguous() else y.contiguous()
    return _linear(x.contiguous(), y.mT, None, "none", [], "")


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
        and _linear is not None
        and torch.backends.mkldnn.enabled
        and not _records()
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


class _Run(torch.autograd.Function):
    """The value of an operation, then what it saved for its gradient."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        operation: Operation, config: Any, count: int, *given: Array | None
    ) -> Any:
        arrays, constants = given[:count], given[count:]
        value, saved = operation.value_and_saved(
            TORCH, config, arrays, constants, is_given(arrays)
        )
        return (value, *saved)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.operation, ctx.config, ctx.count, *given = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*given, *output[1:])
        ctx.given = len(given)

    @staticmethod
    def backward(ctx: Any, upstream: Array | None, *_: Any) -> Any:
        given, saved = ctx.saved_tensors[: ctx.given], ctx.saved_tensors[ctx.given :]
        arrays, constants = given[: ctx.count], given[ctx.count :]
        if upstream is None:
            return (None,) * (3 + len(given))
        if torch.is_grad_enabled():  # a derivative of the gradient is wanted too
            present = sum(x is not None for x in arrays)
            found = _Gradient.apply(
                ctx.operation,
                ctx.config,
                ctx.count,
                ctx.given,
                upstream,
                *given,
                *saved,
            )
            gradients = spread(arrays, found[:present])
        else:
            gradients = ctx.operation.backward(
                TORCH, ctx.config, arrays, constants, saved, upstream, is_given(arrays)
            )
        return (None, None, None, *gradients, *(None for _ in constants))


class _Gradient(torch.autograd.Function):
    """The gradients of an operation, differentiable in its arrays and in `upstream`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        operation: Operation,
        config: Any,
        count: int,
        width: int,
        upstream: Array,
        *rest: Array | None,
    ) -> Any:
        given, saved = rest[:width], rest[width:]
        arrays, constants = given[:count], given[count:]
        found = operation.backward(
            TORCH, config, arrays, constants, saved, upstream, is_given(arrays)
        )
        return tuple(x for x in found if x is not None)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.operation, ctx.config, ctx.count, ctx.width, upstream, *rest = inputs
        ctx.save_for_backward(upstream, *rest[: ctx.width])
        ctx.saved = len(rest) - ctx.width

    @staticmethod
    def backward(ctx: Any, *upstreams: Array) -> Any:
        upstream, *given = ctx.saved_tensors
        arrays, constants = tuple(given[: ctx.count]), tuple(given[ctx.count :])

        def gradients(upstream: Array, *present: Array) -> tuple[Array, ...]:
            own = spread(arrays, present)
            _, saved = ctx.operation.value_and_saved(
                TORCH, ctx.config, own, constants, is_given(own)
            )
            found = ctx.operation.backward(
                TORCH, ctx.config, own, constants, saved, upstream, is_given(own)
            )
            return tuple(x for x in found if x is not None)

        present = [x for x in arrays if x is not None]
        _, pull = torch.func.vjp(gradients, upstream, *present)
        of_upstream, *found = pull(tuple(upstreams))
        of_arrays = spread(arrays, tuple(found))
        nothing = (None,) * (len(constants) + ctx.saved)
        return (None, None, None, None, of_upstream, *of_arrays, *nothing)


# Under torch.compile and torch.export an operation is one opaque node: traced, its
# panels would be unrolled and all alive at once.


def _compiled(
    operation: Operation, config: Any, arrays: Arrays, constants: Arrays, wanted: bool
) -> Array:
    name = operation.name
    # Numbers go on their own: Dynamo may hold a float as a symbol, which has no text.
    numbers = [field for field in config if isinstance(field, float)]
    text = "|".join(
        ["" if isinstance(field, float) else str(field) for field in config]
    )
    given = [*arrays, *constants]
    present = [x for x in given if x is not None]
    layout = [x is not None for x in given]
    return _opaque(name, text, numbers, layout, len(arrays), wanted, present)[0]


@torch.library.custom_op("metricops::run", mutates_args=())
def _opaque(
    name: str,
    text: str,
    numbers: list[float],
    layout: list[bool],
    count: int,
    wanted: bool,
    present: list[torch.Tensor],
) -> list[torch.Tensor]:
    operation, config, arrays, constants = _decoded(
        name, text, numbers, layout, count, present
    )
    if not wanted:
        return [operation.value(TORCH, config, arrays, constants)]
    value, saved = operation.value_and_saved(
        TORCH, config, arrays, constants, is_given(arrays)
    )
    return [value, *saved]


@torch.library.custom_op("metricops::gradient", mutates_args=())
def _opaque_gradient(
    name: str,
    text: str,
    numbers: list[float],
    layout: list[bool],
    count: int,
    present: list[torch.Tensor],
    saved: list[torch.Tensor],
    upstream: torch.Tensor,
) -> list[torch.Tensor]:
    operation, config, arrays, constants = _decoded(
        name, text, numbers, layout, count, present
    )
    found = operation.backward(
        TORCH, config, arrays, constants, tuple(saved), upstream, is_given(arrays)
    )
    return [x for x in found if x is not None]


def _decoded(
    name: str,
    text: str,
    numbers: list[float],
    layout: list[bool],
    count: int,
    present: list[torch.Tensor],
) -> tuple[Any, Any, Arrays, Arrays]:
    operation = operation_called(name)
    number = iter(numbers)
    fields = [_literal(word) if word else next(number) for word in text.split("|")]
    config = operation.config(*fields)
    rest = iter(present)
    given = tuple(next(rest) if there else None for there in layout)
    return operation, config, given[:count], given[count:]


def _literal(word: str) -> Any:
    try:
        return ast.literal_eval(word)
    except (SyntaxError, ValueError):
        return word


def _save(ctx: Any, inputs: Any, output: Any) -> None:
    *ctx.static, _, present = inputs
    ctx.width = len(present)
    ctx.save_for_backward(*present, *output[1:])


def _pull(ctx: Any, upstreams: Any) -> Any:
    given, saved = ctx.saved_tensors[: ctx.width], ctx.saved_tensors[ctx.width :]
    found = _opaque_gradient(*ctx.static, list(given), list(saved), upstreams[0])
    gradients = [*found, *(None for _ in given[len(found) :])]
    # An empty list would be taken for one of tensors, with a gradient each.
    numbers: Any = None if ctx.static[2] else []
    return None, None, numbers, None, None, None, gradients


_opaque.register_fake(_opaque._init_fn)
_opaque_gradient.register_fake(_opaque_gradient._init_fn)
_opaque.register_autograd(_pull, setup_context=_save)


def _astype(x: Array, dtype: Any) -> Array:
    return x.to(dtype)


def _transposed(x: Array) -> Array:
    return x.mT


# The wrappers of array-api-compat promote dtypes, which costs more than the operation;
# the kernels' arrays are of one dtype already. PyTorch takes `axis` and `keepdims`.
_NAMESPACE = SimpleNamespace(
    **vars(array_api_compat.torch)
    | {
        "abs": torch.abs,
        "astype": _astype,
        "equal": torch.eq,
        "exp": torch.exp,
        "log": torch.log,
    }
    | {"matrix_transpose": _transposed, "max": torch.amax}
    | {"maximum": torch.maximum, "mean": torch.mean, "sqrt": torch.sqrt}
    | {"sum": torch.sum, "where": torch.where}
)
TORCH = Torch(_NAMESPACE, "PyTorch")
