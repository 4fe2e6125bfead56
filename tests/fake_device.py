"""A device without one: a processor in disguise, for tests of what a GPU would do.

Each operation runs on the processor. But a tensor of the device beside another one is
refused, as CUDA does, unless that has no axes; products of halves give float32 where
they are asked to; and each copy from or to the host, and each look at a number, is
noted.
"""

from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten
NAME = "fakegpu"
_COPIES = (
    aten._copy_from.default,
    aten.copy_.default,
    aten._to_copy.default,
    aten._copy_from_and_resize.default,
)
_LOOKS = (aten._local_scalar_dense.default, aten.item.default, aten.nonzero.default)
LOG: list[tuple[Any, ...]] = []  # an operation, and what it was given
MOVED: list[tuple[Any, list[Any], list[Any]]] = []  # and what it read and wrote


def register() -> None:
    """Make the device known to PyTorch, once in a process."""
    from torch.utils import backend_registration

    if torch._C._get_privateuse1_backend_name() != NAME:
        backend_registration._setup_privateuseone_for_python_backend(NAME)
        # Checkpoints ask this of any device there is, whatever the one they are of.
        getattr(torch, NAME).get_amp_supported_dtype = lambda: [
            torch.float16,
            torch.bfloat16,
        ]
        _implement()


class OnDevice(torch.Tensor):
    """A tensor of the device."""

    raw: torch.Tensor

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> "OnDevice":
        made: Any = torch.Tensor._make_wrapper_subclass(
            cls,
            raw.shape,
            strides=raw.stride(),
            storage_offset=raw.storage_offset(),
            dtype=raw.dtype,
            device=f"{NAME}:0",
            requires_grad=False,
        )
        made.raw = raw
        return made

    @classmethod
    def __torch_dispatch__(
        cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _called(operation, args, kwargs or {})


def _called(operation: Any, args: Any, kwargs: Any) -> Any:
    given: list[torch.Tensor] = []

    def raw(x: Any) -> Any:
        if isinstance(x, OnDevice):
            given.append(x.raw)
            return x.raw
        if isinstance(x, torch.Tensor) and x.dim() and operation not in _COPIES:
            msg = f"{operation} has tensors of two devices"
            raise RuntimeError(msg)
        if isinstance(x, torch.device) and x.type == NAME:
            return torch.device("cpu")
        return x

    own, named = tree_map(raw, args), tree_map(raw, kwargs)
    LOG.append((operation, *given))
    if operation in _LOOKS:
        LOG.append(("look",))
    out = _of_halves(operation, own, named)
    if out is NotImplemented:
        out = operation(*own, **named)
    if not operation.is_view:
        written = [x for x in tree_leaves(out) if isinstance(x, torch.Tensor)]
        # What is written into is given last.
        read = given[:-1] if named.get("out") is not None else given
        MOVED.append((operation, read, written))
    device = kwargs.get("device")
    if device is not None and torch.device(device).type == "cpu":
        LOG.append(("to host",))
        return out

    def wrapped(x: Any) -> Any:
        if not isinstance(x, torch.Tensor):
            return x
        every = [*args, *kwargs.values()]
        same = [y for y in every if isinstance(y, OnDevice) and y.raw is x]
        return same[0] if same else OnDevice(x)

    return tree_map(wrapped, out)


def _of_halves(operation: Any, args: Any, kwargs: Any) -> Any:
    """Return what CUDA has and processors have not: float32 products of halves."""
    if operation in (aten.mm.dtype, aten.mm.dtype_out):
        x, y, dtype = args
        assert x.dtype == y.dtype
        assert x.dtype in (torch.float16, torch.bfloat16)
        return x.to(dtype) @ y.to(dtype)
    if operation in (aten.addmm.dtype, aten.addmm.dtype_out):
        total, x, y, dtype = args
        assert x.dtype == y.dtype
        assert x.dtype in (torch.float16, torch.bfloat16)
        found = kwargs.get("alpha", 1) * (x.to(dtype) @ y.to(dtype))
        beta, out = kwargs.get("beta", 1), kwargs.get("out")
        found = found if beta == 0 else found + beta * total
        return found if out is None else out.copy_(found)
    return NotImplemented


def _implement() -> None:
    def implementation(name: str) -> Any:
        return torch.library.impl(f"aten::{name}", "PrivateUse1")

    @implementation("empty.memory_format")
    def empty(size: Any, *, dtype: Any = None, **_: Any) -> Any:
        return OnDevice(torch.empty(size, dtype=dtype))

    @implementation("empty_strided")
    def strided(size: Any, stride: Any, *, dtype: Any = None, **_: Any) -> Any:
        return OnDevice(torch.empty_strided(size, stride, dtype=dtype))

    for name in ("arange", "arange.start", "arange.start_step"):

        @implementation(name)
        def arange(*ends: Any, dtype: Any = None, **_: Any) -> Any:
            return OnDevice(torch.arange(*ends, dtype=dtype))

    @implementation("_copy_from")
    def copied(source: Any, target: Any, non_blocking: bool = False) -> Any:
        here, there = (isinstance(x, OnDevice) for x in (source, target))
        LOG.append(("copy",) if here and there else ("host copy",))
        (target.raw if there else target).copy_(source.raw if here else source)
        return target

    @implementation("detach")
    def detached(x: Any) -> Any:
        return OnDevice(x.raw.detach())

    @implementation("lift_fresh")
    def lifted(x: Any) -> Any:
        return x


def there(x: torch.Tensor) -> torch.Tensor:
    """Return a tensor of the device with the numbers of another one."""
    return OnDevice(x.detach().clone())


def here(x: Any) -> torch.Tensor:
    """Return what a tensor of the device holds."""
    assert isinstance(x, OnDevice)
    return x.raw
