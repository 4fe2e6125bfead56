"""How `torch.func.vmap` batches an operator that is one node of a graph."""

from typing import Any

import torch


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
