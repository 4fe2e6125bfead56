"""The temperature that a module of PyTorch learns."""

from typing import Any

import torch

from ._embedding_loss import MAX_LOG_SCALE


def learnt_temperature(log_scale: torch.Tensor) -> torch.Tensor:
    """Return the temperature of the log of a scale, which counts as at most 100."""
    return torch.exp(-_capped(log_scale))


@torch.compiler.allow_in_graph
def _capped(log_scale: torch.Tensor) -> torch.Tensor:
    """Return the log of a scale, at most `MAX_LOG_SCALE`.

    Above it, only a gradient that leads back passes: without any the scale would be
    stuck. The parameter itself is left as it is, as other calls may have recorded it.
    """
    found: torch.Tensor = _Capped.apply(log_scale)
    return found


class _Capped(torch.autograd.Function):
    """The cap, and its gradient."""

    generate_vmap_rule = True

    @staticmethod
    def forward(log_scale: torch.Tensor) -> torch.Tensor:
        # Not `clamp`: an exported program has autodiff's own gradient of what is here.
        beyond = (log_scale - MAX_LOG_SCALE).clamp(min=0)
        return log_scale - beyond.detach()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)  # `vmap` wants both to be the same

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> torch.Tensor:
        (log_scale,) = ctx.saved_tensors
        away = (log_scale > MAX_LOG_SCALE) & (upstream < 0)
        return torch.where(away, torch.zeros_like(upstream), upstream)

    @staticmethod
    def jvp(ctx: Any, tangent: torch.Tensor) -> torch.Tensor:
        return tangent.clone()
