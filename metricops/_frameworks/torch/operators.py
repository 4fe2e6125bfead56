"""How an operator of a graph is made: for tensors, and for the shapes of tensors."""

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
