"""The processes that share a batch, in PyTorch."""

import hashlib
from contextlib import suppress
from typing import Any

import torch
import torch.distributed as dist

from metricops._sharded import Visits, check_gather, leaves

from ._modules import module_loss
from ._torch_collectives import AllGather, AllReduce, Sent, answers

_READY, _FAILED = 0, 1
_SIDES = 2  # of a call at most: anchors and candidates


def processes(process_group: Any, gather: str = "all") -> "Processes | None":
    """Return the processes of a group as `loss_of_group` takes them; None: no group.

    The group may be "world", of all processes, which need not be there yet.
    """
    ring = check_gather(gather, "process_group", process_group)
    if process_group is None:
        return None
    known = process_group == "world" or isinstance(process_group, dist.ProcessGroup)
    if not known:
        need = 'a process group that this process is in, or "world"'
        msg = f"`process_group` must be {need}; got {process_group!r}."
        raise TypeError(msg)
    return Processes(process_group, ring)


def batch_loss(module: Any, *arrays: Any, **given: Any) -> torch.Tensor:
    """Return the loss of a module, of the batch of its group if it has one.

    A graph of `torch.compile` ends before what processes exchange.
    """
    way = module_loss if module.group is None else _eagerly
    found: torch.Tensor = way(module, module.group, *arrays, **given)
    return found


class Processes:
    """A process group, as `loss_of_group` takes it."""

    def __init__(self, given: Any, ring: bool = False) -> None:
        self.given = given
        self.ring = ring

    def __deepcopy__(self, memo: Any) -> "Processes":
        return self  # a copy of a module talks to the same processes

    @property
    def group(self) -> dist.ProcessGroup:
        """The group, or an error where there is none."""
        if not dist.is_initialized():
            msg = (
                "`process_group` must be initialised: call "
                "torch.distributed.init_process_group before the loss."
            )
            raise RuntimeError(msg)
        return dist.group.WORLD if self.given == "world" else self.given

    @property
    def size(self) -> int:
        """How many processes there are."""
        found: int = self.group.size()
        return found

    def meet(
        self, call: dict[str, str], sides: tuple[torch.Tensor, ...]
    ) -> list[list[int]]:
        """Return how many rows of each side each process has, own first.

        Raise where a process has raised, or has made another call.
        """
        words = repr(call).encode()
        digest = int.from_bytes(hashlib.sha256(words).digest()[:7])
        counts = [*map(len, sides), *[0] * (_SIDES - len(sides))]
        every = self._exchanged(_READY, digest, *counts)
        if any(status == _FAILED or other != digest for status, other, *_ in every):
            self._refuse(call)
        rows = [counts for _, _, *counts in every]
        found = [list(side) for side in zip(*rows, strict=True)]
        return [self._own_first(side) for side in found[: len(sides)]]

    def fail(self, error: Exception) -> None:
        """Tell the others, instead of `meet`, that this process raises."""
        if not dist.is_initialized():
            return
        with suppress(RuntimeError):  # then they are gone; its own error counts
            self._exchanged(_FAILED, 0, *[0] * _SIDES)
            self._said(f"{type(error).__name__}: {error}")

    def number(self, counts: list[int]) -> int:
        """Return how many rows all processes have, at least 1."""
        return max(sum(counts), 1)

    def gather(self, x: torch.Tensor, counts: list[int]) -> torch.Tensor:
        """Return the rows of all processes, own first, differentiably."""
        most = max(counts)
        if len(x) < most:  # collectives take equal parts: pad to the largest, and cut
            x = torch.cat([x, x.new_zeros((most - len(x), *x.shape[1:]))])
        gathered: torch.Tensor = AllGather.apply(x, self.group)
        parts = self._own_first(list(gathered))
        return torch.cat([part[:n] for part, n in zip(parts, counts, strict=True)])

    def total(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum over the processes, differentiably."""
        found: torch.Tensor = AllReduce.apply(x, self.group)
        return found

    def lap(self, visits: Visits, visitor: Any, counts: list[int]) -> tuple[Any, Any]:
        """Have every process's visitor come by, each on its way during the one before.

        What was found for a visitor is sent after it, one step later, while the next
        visitor is compared.
        """
        _refuse_recorded((visits.rows, visitor))
        if self.size == 1:
            return visits.meet(visitor, True)
        found, luggage = None, None
        for step in range(1, self.size + 1):
            last = step == self.size
            coming = None if last else Sent(self.group, visitor, counts[step], 0)
            own, theirs = visits.meet(visitor, step == 1)
            found = own if found is None else visits.merge(found, own)
            if luggage is not None:
                theirs = visits.merge(luggage.received(), theirs)
            luggage = Sent(self.group, theirs, counts[step % self.size], 1)
            visitor = visitor if coming is None else coming.received()
        home = theirs if luggage is None else luggage.received()
        return found, home

    def _exchanged(self, *numbers: int) -> list[list[int]]:
        """Return some numbers of each process."""
        own = torch.tensor(numbers, dtype=torch.int64, device=_device(self.group))
        parts = [torch.empty_like(own) for _ in range(self.size)]
        with answers():
            dist.all_gather(parts, own, group=self.group)
            found: list[list[int]] = torch.stack(parts).tolist()
        return found

    def _said(self, words: Any) -> list[Any]:
        """Return what each process says."""
        said: list[Any] = [None] * self.size
        with answers():
            dist.all_gather_object(said, words, group=self.group)
        return said

    def _refuse(self, call: dict[str, str]) -> None:
        """Raise what a process has raised, or how its call differs from the first."""
        said = self._said(call)
        for rank, words in enumerate(said):
            if isinstance(words, str):
                msg = f"Process {rank} of the group has raised {words}"
                raise ValueError(msg)
        first, *_ = said
        rank, other = next((i, x) for i, x in enumerate(said) if x != first)
        names = (name for name in first | other if first.get(name) != other.get(name))
        name = next(names)
        msg = (
            f"`{name}` must be alike in all processes of the group; got "
            f"{first.get(name)} in process 0 and {other.get(name)} in process {rank}."
        )
        raise ValueError(msg)

    def _own_first(self, parts: list[Any]) -> list[Any]:
        rank = self.group.rank()
        return [*parts[rank:], *parts[:rank]]


@torch.compiler.disable
def _eagerly(module: Any, group: Processes, *arrays: Any, **given: Any) -> Any:
    return module_loss(module, group, *arrays, **given)


def _device(group: dist.ProcessGroup) -> torch.device:
    """Return the device whose tensors the processes exchange numbers in."""
    pairs = dist.get_backend_config(group).split(",")
    kinds = [pair.partition(":")[0] for pair in pairs]
    return torch.device("cpu" if "cpu" in kinds else kinds[0])


def _refuse_recorded(sides: Any) -> None:
    """Raise where autograd records what is computed, before any of it is sent."""
    if torch.is_grad_enabled() and any(x.requires_grad for x in leaves(sides)):
        msg = 'A loss with `gather` "ring" has first derivatives, backward, alone.'
        raise NotImplementedError(msg)
