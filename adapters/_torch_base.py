"""What the modules of PyTorch are made of."""

from typing import Any

import torch

from ._modules import MAX_LOG_SCALE, check_module


class Module(torch.nn.Module):
    """A module whose `repr` shows its arguments."""

    _shown: tuple[str, ...] = ()

    def _check(self, **options: Any) -> None:
        """Raise what any call raises for the options of the module, and for these too.

        A module that is made while Dynamo traces is left to its call, which follows.
        """
        if not torch.compiler.is_compiling():
            check_module(self, **options)

    def _arguments(self) -> dict[str, Any]:
        """Return the arguments that `repr` shows: the attributes named in `_shown`."""
        return {name: getattr(self, name) for name in self._shown}

    def extra_repr(self) -> str:
        """Return the arguments as they stand in a call."""
        return ", ".join(f"{name}={x!r}" for name, x in self._arguments().items())


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
