"""PyTorch modules of the losses of pairs and triplets, and a memory for each loss.

The module is long, as each module has its options and their description.
"""

from typing import Any

import torch

import metricops
from metricops._arguments.held import labels_to_hold
from metricops._arguments.options import check_number

from ._modules import (
    SIGMOID_OPTIONS,
    check_memory,
    check_memory_options,
    log_scale,
    option_names,
)
from ._torch_base import Module, learnt_temperature
from ._torch_batch import LabelledLoss
from ._torch_processes import batch_loss, processes


class SigmoidEmbeddingLoss(Module):
    """`metricops.sigmoid_loss_from_embeddings` as a module.

    Parameters
    ----------
    temperature : float
        What divides the similarities; positive.
    bias : float
        Added to the scores.
    learnable_temperature : bool
        Whether to learn the temperature, from `temperature` on. The parameter is
        `logit_scale`, the log of the inverse temperature. A scale above 100 counts as
        100, and no gradient pushes it further up.
    learnable_bias : bool
        Whether to learn the bias, from `bias` on. The parameter is `logit_bias`.
    normalize, exclude_diagonal, reduction, block_size
        As in `metricops.sigmoid_loss_from_embeddings`.
    process_group, gather
        The processes that each hold a part of the batch, and how they meet, as in
        `NPairsEmbeddingLoss`.
    device, dtype
        Of the parameters.

    Examples
    --------
    >>> import torch
    >>> from metricops.adapters.torch import SigmoidEmbeddingLoss
    >>> loss = SigmoidEmbeddingLoss(0.5, bias=-1.0, normalize=True)
    >>> images = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> round(loss(images, 3 * images).item(), 4)
    0.6265
    """

    _shown = SIGMOID_OPTIONS
    _function = staticmethod(metricops.sigmoid_loss_from_embeddings)

    def __init__(
        self,
        temperature: float = 0.1,
        bias: float = -10.0,
        *,
        learnable_temperature: bool = False,
        learnable_bias: bool = False,
        normalize: bool = False,
        exclude_diagonal: bool | None = None,
        reduction: metricops.Reduction = "mean",
        block_size: int | None = None,
        process_group: Any = None,
        gather: metricops.Gather = "all",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.initial_temperature, self.initial_bias = temperature, bias
        self.normalize = normalize
        self.exclude_diagonal = exclude_diagonal
        self.reduction: metricops.Reduction = reduction
        self.block_size = block_size
        self.group = processes(process_group, gather)
        scale = offset = None
        if learnable_temperature:
            start = torch.tensor(log_scale(temperature), device=device, dtype=dtype)
            scale = torch.nn.Parameter(start)
        if learnable_bias:
            start = torch.tensor(check_number("bias", bias), device=device, dtype=dtype)
            offset = torch.nn.Parameter(start)
        self.register_parameter("logit_scale", scale)
        self.register_parameter("logit_bias", offset)
        self._check(temperature=temperature, bias=bias)

    @property
    def temperature(self) -> float | torch.Tensor:
        """The temperature as it is now."""
        if self.logit_scale is None:
            return self.initial_temperature
        return learnt_temperature(self.logit_scale)

    @property
    def bias(self) -> float | torch.Tensor:
        """The bias as it is now."""
        return self.initial_bias if self.logit_bias is None else self.logit_bias

    def forward(
        self,
        anchors: torch.Tensor,
        candidates: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        *,
        candidate_labels: torch.Tensor | None = None,
        ids: torch.Tensor | None = None,
        candidate_ids: torch.Tensor | None = None,
        sample_weight: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the loss of anchors, shape (n, d), against candidates, shape (m, d).

        Parameters
        ----------
        anchors, candidates, labels, candidate_labels, ids, candidate_ids, sample_weight
            As in `metricops.sigmoid_loss_from_embeddings`; with a process group, those
            that this process holds.
        """
        return batch_loss(
            self,
            anchors,
            candidates,
            labels,
            candidate_labels=candidate_labels,
            ids=ids,
            candidate_ids=candidate_ids,
            sample_weight=sample_weight,
            temperature=self.temperature,
            bias=self.bias,
        )

    def _arguments(self) -> dict[str, Any]:
        """Return the arguments that `repr` shows."""
        return {
            "temperature": self.initial_temperature,
            "bias": self.initial_bias,
            "learnable_temperature": self.logit_scale is not None,
            "learnable_bias": self.logit_bias is not None,
            **super()._arguments(),
        }


class TripletEmbeddingLoss(LabelledLoss):
    """`metricops.triplet_loss_from_embeddings` as a module.

    Parameters
    ----------
    margin, positives, negatives, metric, normalize, swap
        As in `metricops.triplet_loss_from_embeddings`.
    exclude_diagonal, reduction, block_size
        As in `metricops.triplet_loss_from_embeddings`.
    process_group : torch.distributed.ProcessGroup or "world", optional
        The processes that each hold a part of the batch, as in `NPairsEmbeddingLoss`.

    Examples
    --------
    >>> import torch
    >>> from metricops.adapters.torch import TripletEmbeddingLoss
    >>> embeddings = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.5, 0.0]])
    >>> loss = TripletEmbeddingLoss(margin=1.0, negatives="hard")
    >>> round(loss(embeddings, labels=torch.tensor([0, 0, 1])).item(), 4)
    0.3486
    """

    _shown = option_names(metricops.triplet_loss_from_embeddings)
    _function = staticmethod(metricops.triplet_loss_from_embeddings)

    def __init__(
        self,
        margin: float | None = 1.0,
        *,
        positives: str = "all",
        negatives: str = "semihard",
        metric: str = "euclidean",
        normalize: bool = False,
        swap: bool = False,
        exclude_diagonal: bool | None = None,
        reduction: metricops.TermReduction = "mean",
        block_size: int | None = None,
        process_group: Any = None,
    ) -> None:
        super().__init__(
            margin=margin,
            positives=positives,
            negatives=negatives,
            metric=metric,
            normalize=normalize,
            swap=swap,
            exclude_diagonal=exclude_diagonal,
            reduction=reduction,
            block_size=block_size,
            process_group=process_group,
        )


class ContrastiveEmbeddingLoss(LabelledLoss):
    """`metricops.contrastive_loss_from_embeddings` as a module.

    Parameters
    ----------
    positive_margin, negative_margin, power, metric, normalize
        As in `metricops.contrastive_loss_from_embeddings`.
    exclude_diagonal, reduction, block_size
        As in `metricops.contrastive_loss_from_embeddings`.
    process_group, gather
        The processes that each hold a part of the batch, and how they meet, as in
        `NPairsEmbeddingLoss`.

    Examples
    --------
    >>> import torch
    >>> from metricops.adapters.torch import ContrastiveEmbeddingLoss
    >>> embeddings = torch.tensor([[0.0, 0.0], [0.0, 0.5], [0.5, 0.0]])
    >>> loss = ContrastiveEmbeddingLoss()
    >>> round(loss(embeddings, labels=torch.tensor([0, 0, 1])).item(), 4)
    0.4179
    """

    _shown = option_names(metricops.contrastive_loss_from_embeddings)
    _function = staticmethod(metricops.contrastive_loss_from_embeddings)

    def __init__(
        self,
        positive_margin: float = 0.0,
        negative_margin: float = 1.0,
        *,
        power: int = 2,
        metric: str = "euclidean",
        normalize: bool = False,
        exclude_diagonal: bool | None = None,
        reduction: metricops.TermReduction = "mean",
        block_size: int | None = None,
        process_group: Any = None,
        gather: metricops.Gather = "all",
    ) -> None:
        super().__init__(
            positive_margin=positive_margin,
            negative_margin=negative_margin,
            power=power,
            metric=metric,
            normalize=normalize,
            exclude_diagonal=exclude_diagonal,
            reduction=reduction,
            block_size=block_size,
            process_group=process_group,
            gather=gather,
        )


class CrossBatchMemory(Module):
    """A loss of a batch against itself and the embeddings of batches before it [1]_.

    The memory is saved with the module, moves with it, and starts empty. Embeddings in
    it are constants; they come behind those of the batch. In evaluation, after
    ``eval()``, it is read, and stays as it is.

    Each process remembers its own rows: the memory is no buffer, of which
    `DistributedDataParallel` would copy that of process 0 into the others. Where `loss`
    has a process group, a batch is compared with what all processes remember.

    Parameters
    ----------
    loss : module
        A loss of embeddings of this package, with labels. Its `exclude_diagonal` is
        switched on, as the first candidates are the anchors themselves.
    memory_size : int
        How many embeddings to hold, those of the batch among them.
    warmup_steps : int
        For how many calls the loss is of the batch alone, and the memory stays empty:
        at first embeddings change too fast to be remembered.

    References
    ----------
    .. [1] X. Wang, H. Zhang, W. Huang, M. R. Scott, "Cross-Batch Memory for Embedding
       Learning", CVPR 2020, section 3.3.

    Examples
    --------
    >>> import torch
    >>> from metricops.adapters.torch import CrossBatchMemory, TripletEmbeddingLoss
    >>> loss = CrossBatchMemory(TripletEmbeddingLoss(), memory_size=4)
    >>> one, other = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.5, 0.0]])
    >>> loss(one, torch.tensor([7])).item(), loss(other, torch.tensor([8])).item()
    (0.0, 0.0)
    >>> round(loss(torch.tensor([[0.0, 0.25]]), torch.tensor([7])).item(), 4)
    0.691
    """

    _shown = ("memory_size", "warmup_steps")
    _saved = ("embeddings", "labels", "steps")

    def __init__(
        self, loss: torch.nn.Module, memory_size: int, warmup_steps: int = 0
    ) -> None:
        super().__init__()
        check_memory_options(loss, memory_size, warmup_steps)
        loss.exclude_diagonal = True
        self.loss = loss
        self.memory_size = memory_size
        self.warmup_steps = warmup_steps
        self.embeddings = torch.zeros((0, 0))
        self.labels = torch.zeros((0,), dtype=torch.int64)
        self.steps = torch.zeros((), dtype=torch.int64)

    def forward(
        self,
        embeddings: torch.Tensor,
        labels: torch.Tensor,
        *,
        sample_weight: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the loss of embeddings, shape (n, d), with their `labels`, shape (n,).

        In training copies of them go into the memory then.
        """
        labels = self._labels(embeddings, labels)
        every, theirs = embeddings, labels
        recalled = len(self.labels) > 0 and self._is_warm()
        if recalled:
            room = self.memory_size - len(labels)
            every = torch.cat([embeddings, self.embeddings[:room]])
            theirs = torch.cat([labels, self.labels[:room]])
        found: torch.Tensor = self.loss(
            embeddings,
            every,
            labels,
            candidate_labels=theirs,
            sample_weight=sample_weight,
        )
        if self.training:
            kept = every.detach(), theirs
            # What the caller has may change.
            self._hold(*(kept if recalled else (x.clone() for x in kept)))
        return found

    def _labels(self, embeddings: torch.Tensor, labels: Any) -> torch.Tensor:
        """Return the labels of a batch as they are held.

        Where it does not fit, raise, having told the other processes of the loss.
        """
        try:
            check_memory(self.memory_size, len(embeddings))
            held = self.embeddings, self.labels
            found: torch.Tensor = labels_to_hold(held, embeddings, labels)
        except (TypeError, ValueError) as error:
            group = getattr(self.loss, "group", None)
            if group is not None:
                group.fail(error)
            raise
        return found

    def _hold(self, embeddings: torch.Tensor, labels: torch.Tensor) -> None:
        """Hold embeddings and labels, or nothing while warming up."""
        if self._is_warm():
            self.embeddings, self.labels = embeddings, labels
        if self.warmup_steps:
            self.steps = self.steps + 1

    def _is_warm(self) -> bool:
        """Return whether the memory is used."""
        # Without warming up, no look at a tensor.
        return self.warmup_steps == 0 or int(self.steps) >= self.warmup_steps

    def _apply(self, function: Any, recurse: bool = True) -> Any:
        super()._apply(function, recurse)
        self.embeddings = function(self.embeddings)
        self.labels = self.labels.to(self.embeddings.device)  # and of no other dtype
        self.steps = self.steps.to(self.embeddings.device)
        return self

    def _save_to_state_dict(self, state: Any, prefix: str, *rest: Any) -> None:
        super()._save_to_state_dict(state, prefix, *rest)
        for name in self._saved:
            state[prefix + name] = getattr(self, name)

    def _load_from_state_dict(
        self, state: Any, prefix: str, info: Any, strict: Any, missing: Any, *rest: Any
    ) -> None:
        keys = {prefix + name: name for name in self._saved}
        others = {key: x for key, x in state.items() if key not in keys}
        super()._load_from_state_dict(others, prefix, info, strict, missing, *rest)
        for key, name in keys.items():
            if key not in state:
                missing.append(key)
                continue
            own = getattr(self, name)
            device = state[key].device if own.is_meta else own.device
            setattr(self, name, state[key].detach().to(device, copy=True))
