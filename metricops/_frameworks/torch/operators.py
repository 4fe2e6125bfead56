"""Operators that are one node of a graph: for tensors, their shapes, and batches."""

from typing import Any

import torch

from metricops._frameworks.torch.library import TORCH
from metricops._frameworks.torch.one_panel import ONE_PANEL

_CONFIG = "str operation, str config, float[] numbers, SymInt[] sizes"


def operator(name: str, rest: str, result: str, kernel: Any) -> Any:
    """Return the operator whose kernel is ``kernel(library)``."""
    schema = f"({_CONFIG}, {rest}) -> {result}"
    operator = torch.library.custom_op(
        f"metricops::{name}", kernel(TORCH), mutates_args=(), schema=schema
    )
    operator.register_fake(kernel(ONE_PANEL))
    return operator


def batched(operator: Any) -> Any:
    """Return how `torch.func.vmap` batches an operator: one call for each."""

    def rule(info: Any, in_dims: Any, *arguments: Any) -> Any:
        rows = [
            operator(*_row(list(arguments), list(in_dims), i))
            for i in range(info.batch_size)
        ]
        stacked = [torch.stack(column) for column in zip(*rows, strict=True)]
        return stacked, [0] * len(stacked)

    return rule


def _row(x: Any, dim: Any, i: int) -> Any:
    if isinstance(dim, (list, tuple)):
        return [_row(part, own, i) for part, own in zip(x, dim, strict=True)]
    return x if dim is None else x.select(dim, i)
