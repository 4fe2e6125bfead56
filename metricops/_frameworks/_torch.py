"""PyTorch: custom gradients, autocast, and what Dynamo can trace."""

from typing import Any

import array_api_compat.torch
import numpy as np
import torch

from metricops._checks import Shape, refuse_kind
from metricops._frameworks._library import Arrays, Dtype, Library, Operation, describe
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

    def narrow_dtype(self, dtype: Any) -> Any:
        """Return float32 under autocast, as PyTorch's own losses do."""
        return torch.float32 if _autocast() else dtype

    def asarray(self, value: Any, like: Array, dtype: Any = None) -> Array:
        """Return a number or NumPy array as a tensor on the device of `like`."""
        # A copy: as_tensor warns of read-only NumPy memory.
        return torch.tensor(value, dtype=dtype, device=like.device)

    def stop_gradient(self, x: Array) -> Array:
        """Return `x`, seen as a constant by derivatives."""
        return x.detach()

    def matmul(self, x: Array, y: Array, dtype: Any) -> Array:
        """Return the product in `dtype`; halves on a GPU need no widening first."""
        return x.to(dtype) @ y.to(dtype)

    def positions(self, x: Array, axis: int) -> Array:
        """Return 0, 1, ... along an axis of `x`, on its device."""
        return torch.arange(x.shape[axis], device=x.device)

    def pick(self, x: Array, columns: Array) -> Array:
        """Return one column of each row of the matrix `x`, shape (n, 1)."""
        return x.gather(1, columns[:, None])


def _autocast() -> bool:
    return torch.is_autocast_enabled()


TORCH = Torch(array_api_compat.torch, "PyTorch")
