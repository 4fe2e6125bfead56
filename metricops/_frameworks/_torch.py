"""PyTorch: custom gradients, autocast, and what Dynamo can trace."""

from typing import Any

import array_api_compat.torch
import torch

from metricops._checks import refuse_kind
from metricops._frameworks._library import Arrays, Dtype, Library, Operation, describe, spread
from metricops._typing import Array

_DTYPES = {
    dtype: describe(str(dtype).removeprefix("torch."))
    for dtype in vars(torch).values()
    if isinstance(dtype, torch.dtype)
}


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

    def default_float(self) -> Any:
        """Return the dtype that integers become."""
        return torch.get_default_dtype()

    def narrow_dtype(self, dtype: Any, like: Array) -> Any:
        """Return float32 under autocast, as PyTorch's own losses do."""
        return torch.float32 if torch.is_autocast_enabled(like.device.type) else dtype

    def asarray(self, value: Any, like: Array, dtype: Any = None) -> Array:
        """Return a number or NumPy array as a tensor on the device of `like`."""
        if isinstance(value, torch.Tensor):  # as Dynamo sees NumPy arrays
            return value.to(dtype=dtype or value.dtype, device=like.device)
        # A copy: as_tensor warns of read-only NumPy memory.
        return torch.tensor(value, dtype=dtype, device=like.device)

    def stop_gradient(self, x: Array) -> Array:
        """Return `x`, seen as a constant by derivatives."""
        return x.detach()

    def product(self, x: Array, y: Array) -> Array:
        """Return the matrix product in the dtype of both, also under autocast."""
        device = x.device.type
        if not torch.is_autocast_enabled(device):
            return x @ y
        with torch.autocast(device, enabled=False):
            return x @ y

    def positions(self, x: Array, axis: int) -> Array:
        """Return 0, 1, ... along an axis of `x`, on its device."""
        return torch.arange(x.shape[axis], device=x.device)

    def pick(self, x: Array, columns: Array) -> Array:
        """Return one column of each row of the matrix `x`, shape (n, 1)."""
        return x.gather(1, columns[:, None])

    def differentiable(
        self, operation: Operation, config: Any, arrays: Arrays, constants: Arrays
    ) -> Array:
        """Return the value of `operation`, with its gradient."""
        wanted = torch.is_grad_enabled() and any(
            x is not None and x.requires_grad for x in arrays
        )
        if not wanted:
            return operation.value(self, config, arrays, constants)
        return _Run.apply(operation, config, len(arrays), *arrays, *constants)[0]


class _Run(torch.autograd.Function):
    """The value of an operation, then what it saved for its gradient."""

    generate_vmap_rule = True

    @staticmethod
    def forward(operation: Operation, config: Any, count: int, *given: Array | None) -> Any:
        arrays, constants = given[:count], given[count:]
        value, saved = operation.value_and_saved(TORCH, config, arrays, constants)
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
                ctx.operation, ctx.config, ctx.count, ctx.given, upstream, *given, *saved
            )
            gradients = spread(arrays, found[:present])
        else:
            gradients = ctx.operation.backward(
                TORCH, ctx.config, arrays, constants, saved, upstream
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
        found = operation.backward(
            TORCH, config, given[:count], given[count:], saved, upstream
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
            _, saved = ctx.operation.value_and_saved(TORCH, ctx.config, own, constants)
            found = ctx.operation.backward(
                TORCH, ctx.config, own, constants, saved, upstream
            )
            return tuple(x for x in found if x is not None)

        present = [x for x in arrays if x is not None]
        _, pull = torch.func.vjp(gradients, upstream, *present)
        of_upstream, *found = pull(tuple(upstreams))
        of_arrays = spread(arrays, tuple(found))
        nothing = (None,) * (len(constants) + ctx.saved)
        return (None, None, None, None, of_upstream, *of_arrays, *nothing)


TORCH = Torch(array_api_compat.torch, "PyTorch")
