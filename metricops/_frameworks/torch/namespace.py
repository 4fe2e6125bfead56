"""The array API over PyTorch: array-api-compat, with cheaper functions for some names.

The wrappers of array-api-compat promote dtypes first, which costs more than the
operation. The kernels' arrays have one dtype already, so PyTorch's own functions, which
understand `axis` and `keepdims`, take their place.
"""

from types import SimpleNamespace
from typing import Any

import array_api_compat.torch
import torch

from metricops._typing import Array


def _astype(x: Array, dtype: Any) -> Array:
    return x.to(dtype)


def _concat(arrays: list[Array], axis: int) -> Array:
    return torch.cat(arrays, axis)  # which, unlike `concat`, batched gradients know


def _transposed(x: Array) -> Array:
    return x.mT


def _take_along_axis(x: Array, indices: Array, axis: int = -1) -> Array:
    # torch.take_along_dim would fix the sizes in an export.
    return x.gather(axis, indices)


def _logaddexp(x: Array, y: Array) -> Array:
    """Return log(exp(x) + exp(y)), exact where it is near 0 and `y` is 0.

    Compiled forward mode of forward mode takes none of `torch.logaddexp`. The larger of
    the two is a constant here: the sum does not depend on it.
    """
    larger = torch.maximum(x, y).detach()
    larger = larger.masked_fill(larger == -float("inf"), 0.0)
    return larger + torch.log1p(torch.exp(x - larger) + torch.expm1(y - larger))


NAMESPACE = SimpleNamespace(
    **vars(array_api_compat.torch)
    | {
        "abs": torch.abs,
        "astype": _astype,
        "concat": _concat,
        "equal": torch.eq,
        "logaddexp": _logaddexp,
        "exp": torch.exp,
        "log": torch.log,
        "take_along_axis": _take_along_axis,
    }
    | {"matrix_transpose": _transposed, "max": torch.amax}
    | {"maximum": torch.maximum, "mean": torch.mean, "sqrt": torch.sqrt}
    | {"sum": torch.sum, "where": torch.where}
)
