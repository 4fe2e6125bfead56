"""What the modules of PyTorch are made of."""

from typing import Any

import torch
import torch.distributed as dist


class Module(torch.nn.Module):
    """A module whose `repr` shows its arguments."""

    _shown: tuple[str, ...] = ()

    def _arguments(self) -> dict[str, Any]:
        """Return the arguments that `repr` shows: the attributes named in `_shown`."""
        return {name: getattr(self, name) for name in self._shown}

    def extra_repr(self) -> str:
        """Return the arguments as they stand in a call."""
        return ", ".join(f"{name}={x!r}" for name, x in self._arguments().items())


class Processes:
    """A process group, as `loss_of_group` takes it."""

    def __init__(self, group: dist.ProcessGroup) -> None:
        self.group = group
        self.size: int = group.size()

    def __deepcopy__(self, memo: Any) -> "Processes":
        return self  # a copy of a module talks to the same processes

    def counts(self, x: torch.Tensor) -> list[int]:
        """Return how many rows of `x` each process has, own first."""
        own = torch.tensor([len(x)], device=x.device)
        counts: list[int] = torch.cat(_gather(own, self.group)).tolist()
        return self._own_first(counts)

    def number(self, counts: list[int]) -> int:
        """Return how many rows all processes have, at least 1."""
        return max(sum(counts), 1)

    def gather(self, x: torch.Tensor, counts: list[int]) -> torch.Tensor:
        """Return the rows of all processes, own first, differentiably."""
        # Collectives take equal parts: pad to the largest, and cut.
        padding = x.new_zeros((max(counts) - len(x), *x.shape[1:]))
        parts = self._own_first(_gather(torch.cat([x, padding]), self.group))
        return torch.cat([part[:n] for part, n in zip(parts, counts, strict=True)])

    def total(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum over the processes, differentiably."""
        return torch.cat(_gather(x[None], self.group)).sum(0)

    def _own_first(self, parts: Any) -> Any:
        rank = self.group.rank()
        return [*parts[rank:], *parts[:rank]]


def _gather(x: torch.Tensor, group: dist.ProcessGroup) -> list[torch.Tensor]:
    """Return the `x` of each process, all of one shape, differentiably."""
    gathered: torch.Tensor = _AllGather.apply(x, group)
    return list(gathered)


class _AllGather(torch.autograd.Function):
    """The parts of all processes, stacked; its gradient is summed and scattered."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
        ctx.group = group
        gathered = x.new_empty((group.size(), *x.shape))
        dist.all_gather(list(gathered), x.contiguous(), group=group)
        return gathered

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _ReduceScatter.apply(upstream, ctx.group), None


class _ReduceScatter(torch.autograd.Function):
    """The sum over the processes of the part that is this one's."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
        ctx.group = group
        own = x.new_empty(x.shape[1:])
        dist.reduce_scatter(own, list(x.contiguous()), group=group)
        return own

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _AllGather.apply(upstream, ctx.group), None
