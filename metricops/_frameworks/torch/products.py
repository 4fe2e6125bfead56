"""Matrix products of PyTorch: by oneDNN where that is faster, and under autocast."""

import math
from typing import Any

import torch

from metricops._frameworks.torch import private
from metricops._typing import Array

LARGEST = 14  # the exponent of the largest number of a panel in float16


def product(x: Array, y: Array) -> Array:
    """Return the matrix product in the dtype of both, also under autocast."""
    if is_large(x, y) and suits_onednn(x, y) and is_wide(x, y):
        return fast_product(x, y)
    return _Product.apply(x, y) if is_autocast(x) else x @ y


def plus_product(total: Array, x: Array, y: Array) -> Array:
    """Return ``x @ y`` added to `total`, in place."""
    if x.shape[1] < 128 or not suits_onednn(x, y):
        return total.addmm_(x, y)
    # oneDNN is faster where the result is wider than high; so a high one is computed
    # as its transpose.
    if x.shape[0] > y.shape[1]:
        return total.add_(fast_product(y.mT, x.mT).mT)
    return total.add_(fast_product(x, y))


def rounds(device: torch.device) -> bool:
    """Return whether products of float32 are allowed to round their sides."""
    own = torch.backends.cuda if device.type == "cuda" else torch.backends.mkldnn
    for setting in (own.matmul, own, torch.backends):
        word = getattr(setting, "fp32_precision", "none")
        if word != "none":  # which leaves it to the next one
            return bool(word != "ieee")
    return False


def is_accelerator(device: torch.device) -> bool:
    """Return whether panels fit a device rather than the caches of a processor."""
    return device.type == "cuda" and torch.backends.cuda.is_built()


def panel_of(device: torch.device) -> int:
    """Return how many similarities a panel has: a sixth of the memory over 128."""
    memory = torch.cuda.get_device_properties(device).total_memory
    return int(min(2**27, memory // 128 // 6))


def takes_halves(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether a device gives products of halves in float32."""
    if not is_accelerator(device) or torch.version.hip is not None:
        return False
    if "dtype_out" not in torch.ops.aten.addmm.overloads():  # before 2.8
        return False
    least = (8, 0) if dtype == torch.bfloat16 else (7, 0)
    return bool(torch.cuda.get_device_capability(device) >= least)


def of_halves(x: Array, y: Array, half: torch.dtype) -> Array | None:
    """Return the float32 product of matrices in a half, or None.

    Where no transform looks on, and the device has it.
    """
    if x.is_cpu or x.ndim != 2 or x.dtype != y.dtype:
        return None
    if torch.compiler.is_compiling() or private.transforms_active():
        return None
    if private.forward_active() or not takes_halves(x.device, half):
        return None
    found: Array = _OfHalves.apply(x, y, half)
    return found


def powers(largest: Array) -> tuple[Array, Array]:
    """Return a power of 2 that makes a number at most 2**14, and its reciprocal.

    Infinity and NaN count as that.
    """
    largest = torch.nan_to_num(largest, 2.0**LARGEST, 2.0**LARGEST)
    exponent = torch.frexp(largest).exponent.clamp(-100, 100) - LARGEST
    one = torch.ones_like(largest)
    return torch.ldexp(one, -exponent), torch.ldexp(one, exponent)


def operands(x: Array, y: Array, normalize: bool) -> str:
    """Return the half in which to multiply two sides, "" for none."""
    dtype = x.dtype
    if dtype == torch.float32 and is_autocast(x):
        dtype = torch.get_autocast_dtype(x.device.type)
    elif dtype != y.dtype:
        return ""
    if dtype not in (torch.float16, torch.bfloat16):
        return ""
    dtype = torch.float16 if normalize else dtype
    if not takes_halves(x.device, dtype):
        return ""
    # bfloat16 would round panels too much.
    return "float16" if dtype == torch.float16 else "bfloat16, float16"


def is_autocast(x: Array) -> bool:
    device = "cpu" if x.is_cpu else x.device.type
    return device != "meta" and torch.is_autocast_enabled(device)


def fast_product(x: Array, y: Array) -> Array:
    # For a part of a transposed matrix oneDNN would fall back to plain loops.
    y = y if y.is_contiguous() or y.mT.is_contiguous() else y.contiguous()
    return private.linear(x.contiguous(), y.mT, None, "none", [], "")


def is_large(x: Array, y: Array) -> bool:
    if torch.compiler.is_compiling():  # a comparison would become a guard on the size
        return False
    return x.ndim == 2 and x.numel() * y.shape[-1] >= 2**22


def is_wide(x: Array, y: Array) -> bool:
    """Return whether a product is worth the copy that a transposed left side needs."""
    return x.is_contiguous() or y.shape[1] >= 512


def suits_onednn(x: Array, y: Array) -> bool:
    """Return whether oneDNN can take the product, as it does in compiled models.

    `torch.matmul` takes MKL instead, which on some processors is half as fast.
    """
    return (
        x.is_cpu
        and x.dtype == y.dtype == torch.float32
        and private.linear is not None
        and torch.backends.mkldnn.enabled
        and not private.recorded()
        and type(x) is type(y) is torch.Tensor
    )


class _OfHalves(torch.autograd.Function):
    """A product of halves in float32, whose gradients are products of halves too."""

    @staticmethod
    def forward(ctx: Any, x: Array, y: Array, half: torch.dtype) -> Array:
        ctx.save_for_backward(x, y)
        ctx.half = half
        return torch.mm(x.to(half), y.to(half), out_dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, upstream: Array) -> Any:
        x, y = ctx.saved_tensors
        half, (of_x, of_y, _) = ctx.half, ctx.needs_input_grad
        panel, back = _scaled(upstream, half)
        return (
            (_OfHalves.apply(panel, y.mT, half) * back).to(x.dtype) if of_x else None,
            (_OfHalves.apply(x.mT, panel, half) * back).to(y.dtype) if of_y else None,
            None,
        )


def _scaled(panel: Array, half: torch.dtype) -> tuple[Array, Array | float]:
    """Return a panel that suits a half, and what to multiply its products by."""
    back: Array | float = 1.0
    if half == torch.float16 and panel.numel():
        up, back = powers(torch.linalg.vector_norm(panel, math.inf).float())
        panel = panel * up
    # In the half already, it is not rounded twice.
    return panel if private.recorded() else panel.to(half), back


class _Product(torch.autograd.Function):
    """A matrix product that autocast does not narrow, nor its gradient."""

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
        return product(upstream, y.mT), product(x.mT, upstream)
