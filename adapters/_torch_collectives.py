"""What processes exchange in PyTorch: whole batches, differentiably, or records."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

from metricops._sharded import each, leaves


@contextmanager
def answers() -> Iterator[None]:
    """Say what has happened where a process does not answer."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        msg = (
            "A process of the group has ended, has not called this loss, has not "
            "answered within the timeout of the group, or the group cannot exchange "
            f"these tensors: {error}"
        )
        raise RuntimeError(msg) from error


class Sent:
    """A record that is on its way to the process before, and one from that behind."""

    def __init__(
        self, group: dist.ProcessGroup, record: Any, count: int, stream: int
    ) -> None:
        """Start to send `record`, and to receive one of `count` rows like it.

        `stream` is 0 for visitors and 1 for what was found for them: tags differ.
        """
        self._parts = leaves(record)  # kept until they are sent
        self._form = each(record, lambda x: x.new_empty((count, *x.shape[1:])))
        size, rank = group.size(), group.rank()
        before, behind = (rank - 1) % size, (rank + 1) % size
        starting = []
        arrays = zip(self._parts, leaves(self._form), strict=True)
        for i, (mine, coming) in enumerate(arrays):
            how = {"group": group, "tag": 2 * i + stream}
            if mine.numel():
                self._parts[i] = mine = mine.contiguous()
                to = dist.P2POp(dist.isend, mine, group_peer=before, **how)
                starting.append(to)
            if coming.numel():
                of = dist.P2POp(dist.irecv, coming, group_peer=behind, **how)
                starting.append(of)
        with answers():
            self._work = dist.batch_isend_irecv(starting) if starting else []

    def received(self) -> Any:
        """Return the record that has come."""
        with answers():
            for work in self._work:
                work.wait()
        return self._form


class _Collective(torch.autograd.Function):
    """What processes exchange of a tensor; `torch.func` sees it too."""

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, ctx.group = inputs


class AllGather(_Collective):
    """The parts of all processes, stacked; its gradient is summed and scattered."""

    @staticmethod
    def forward(x: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
        gathered = x.new_empty((group.size(), *x.shape))
        with answers():
            dist.all_gather(_sendable(gathered), *_sendable(x[None]), group=group)
        return gathered

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ReduceScatter.apply(upstream, ctx.group), None


class ReduceScatter(_Collective):
    """The sum over the processes of the part that is this one's."""

    @staticmethod
    def forward(x: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
        own = x.new_empty(x.shape[1:])
        with answers():
            dist.reduce_scatter(own, list(x.contiguous()), group=group)
        return own

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor, None]:
        return AllGather.apply(upstream, ctx.group), None


class AllReduce(_Collective):
    """The sum over the processes, and of its gradients."""

    @staticmethod
    def forward(x: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
        total = x.clone()
        with answers():
            dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor, None]:
        return AllReduce.apply(upstream, ctx.group), None


def _sendable(x: torch.Tensor) -> list[torch.Tensor]:
    """Return the rows of a tensor; integers as bytes, as groups lack some kinds."""
    x = x.contiguous()
    return list(x if x.is_floating_point() else x.view(torch.uint8))
