"""PyTorch modules over the functions of metricops.

The module is long, as each module has its options and their description.
"""

from typing import Any

import torch

import metricops

from ._modules import OPTIONS, check_dot, log_scale
from ._torch_base import Module, learnt_temperature
from ._torch_batch import (
    BarlowTwinsLoss,
    CircleLoss,
    CoSENTLoss,
    LiftedStructureLoss,
    Loss,
    MarginSoftmaxLoss,
    MultiSimilarityLoss,
    SoftNearestNeighborLoss,
    VICRegLoss,
)
from ._torch_processes import batch_loss, processes
from ._torch_siblings import (
    ContrastiveEmbeddingLoss,
    CrossBatchMemory,
    SigmoidEmbeddingLoss,
    TripletEmbeddingLoss,
)

__all__ = [
    "BarlowTwinsLoss",
    "CircleLoss",
    "CoSENTLoss",
    "ContrastiveEmbeddingLoss",
    "CosineSimilarityLoss",
    "CrossBatchMemory",
    "Dot",
    "LiftedStructureLoss",
    "MarginSoftmaxLoss",
    "MetricEmbedding",
    "MultiSimilarityLoss",
    "NPairsEmbeddingLoss",
    "NPairsLoss",
    "NPairsMultilabelLoss",
    "PairwiseCosineSimilarity",
    "PairwiseInnerProduct",
    "SigmoidEmbeddingLoss",
    "SoftNearestNeighborLoss",
    "TripletEmbeddingLoss",
    "VICRegLoss",
]


class NPairsLoss(Loss):
    """`metricops.npairs_loss` as a module, for labels of shape (n,).

    Parameters
    ----------
    reduction : {"mean", "sum", "weighted_mean", "none"}
        How to combine the anchors.

    Examples
    --------
    >>> import torch
    >>> from metricops.adapters.torch import NPairsLoss
    >>> similarity = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    >>> round(NPairsLoss()(similarity, torch.tensor([0, 1])).item(), 4)
    0.1269
    """

    _shown = ("reduction",)
    _function = staticmethod(metricops.npairs_loss)

    def __init__(self, reduction: metricops.Reduction = "mean") -> None:
        super().__init__(reduction=reduction)

    def forward(
        self,
        similarity: torch.Tensor,
        labels: torch.Tensor,
        *,
        column_labels: torch.Tensor | None = None,
        sample_weight: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the loss of `similarity`, shape (n, m), for its `labels`."""
        theirs = {"column_labels": column_labels, "sample_weight": sample_weight}
        return self._of(similarity, labels, **theirs)


class NPairsMultilabelLoss(NPairsLoss):
    """`metricops.npairs_multilabel_loss` as a module, for labels of shape (n, c).

    Parameters
    ----------
    reduction : {"mean", "sum", "weighted_mean", "none"}
        How to combine the anchors.

    Examples
    --------
    >>> import torch
    >>> from metricops.adapters.torch import NPairsMultilabelLoss
    >>> similarity = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    >>> labels = torch.tensor([[1, 0, 1], [0, 1, 1]])
    >>> round(NPairsMultilabelLoss()(similarity, labels).item(), 4)
    0.7936
    """

    _function = staticmethod(metricops.npairs_multilabel_loss)


class NPairsEmbeddingLoss(Module):
    """`metricops.npairs_loss_from_embeddings` as a module.

    Parameters
    ----------
    temperature : float
        What divides the similarities; positive.
    learnable_temperature : bool
        Whether to learn the temperature, from `temperature` on. The parameter is
        `logit_scale`, the log of the inverse temperature, as in CLIP [1]_. A scale
        above 100 counts as 100, and no gradient pushes it further up.
    normalize, symmetric, exclude_diagonal, l2_weight, label_smoothing, denominator
        As in `metricops.npairs_loss_from_embeddings`.
    reduction, block_size
        As in `metricops.npairs_loss_from_embeddings`.
    process_group : torch.distributed.ProcessGroup or "world", optional
        The processes that each hold a part of the batch; all processes are "world", or
        ``torch.distributed.group.WORLD``, which is None before it is initialised. Each
        takes its own anchors, of which there may be more or fewer than another's,
        against the candidates of all. The mean of the processes' losses is the loss of
        the whole batch. So gradients that are averaged, as `DistributedDataParallel`
        does, are the whole batch's.
    gather : {"all", "ring"}
        Whether to gather everybody's candidates in each process, or to pass them from
        process to process. A ring holds those of two others at most beside its own,
        and takes a fourth matrix product (with `symmetric` four instead of six). It
        has no second derivatives, and does not take ``denominator="own"``.
    device, dtype
        Of `logit_scale`.

    References
    ----------
    .. [1] A. Radford et al., "Learning Transferable Visual Models From Natural Language
       Supervision", ICML 2021, section 2.5.

    Examples
    --------
    >>> import torch
    >>> from metricops.adapters.torch import NPairsEmbeddingLoss
    >>> loss = NPairsEmbeddingLoss(0.5, normalize=True, symmetric=True)
    >>> anchors = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> round(loss(anchors, 3 * anchors).item(), 4)
    0.1269
    """

    _shown = OPTIONS
    _function = staticmethod(metricops.npairs_loss_from_embeddings)

    def __init__(
        self,
        temperature: float = 1.0,
        *,
        learnable_temperature: bool = False,
        normalize: bool = False,
        symmetric: bool = False,
        exclude_diagonal: bool = False,
        l2_weight: float = 0.0,
        label_smoothing: float = 0.0,
        denominator: metricops.Denominator = "all",
        reduction: metricops.Reduction = "mean",
        block_size: int | None = None,
        process_group: Any = None,
        gather: metricops.Gather = "all",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.initial_temperature = temperature
        self.normalize = normalize
        self.symmetric = symmetric
        self.exclude_diagonal = exclude_diagonal
        self.l2_weight = l2_weight
        self.label_smoothing = label_smoothing
        self.denominator: metricops.Denominator = denominator
        self.reduction: metricops.Reduction = reduction
        self.block_size = block_size
        self.group = processes(process_group, gather)
        scale = None
        if learnable_temperature:
            start = torch.tensor(log_scale(temperature), device=device, dtype=dtype)
            scale = torch.nn.Parameter(start)
        self.register_parameter("logit_scale", scale)
        self._check(temperature=temperature)

    @property
    def temperature(self) -> float | torch.Tensor:
        """The temperature as it is now."""
        if self.logit_scale is None:
            return self.initial_temperature
        return learnt_temperature(self.logit_scale)

    def forward(
        self,
        anchors: torch.Tensor,
        candidates: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        *,
        candidate_labels: torch.Tensor | None = None,
        ids: torch.Tensor | None = None,
        candidate_ids: torch.Tensor | None = None,
        candidate_bias: torch.Tensor | None = None,
        sample_weight: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the loss of anchors, shape (n, d), against candidates, shape (m, d).

        Parameters
        ----------
        anchors, candidates, labels, candidate_labels, ids, candidate_ids
            As in `metricops.npairs_loss_from_embeddings`.
        candidate_bias, sample_weight
            As in `metricops.npairs_loss_from_embeddings`; with a process group, those
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
            candidate_bias=candidate_bias,
            sample_weight=sample_weight,
            temperature=self.temperature,
        )

    def _arguments(self) -> dict[str, Any]:
        """Return the arguments that `repr` shows."""
        return {
            "temperature": self.initial_temperature,
            "learnable_temperature": self.logit_scale is not None,
            **super()._arguments(),
        }


class CosineSimilarityLoss(Loss):
    """`metricops.cosine_similarity_loss` as a module.

    Parameters
    ----------
    axis : int or tuple of ints
        The axis, or axes, that make up a vector.
    reduction : {"mean", "sum", "weighted_mean", "none"}
        How to combine the losses.

    Examples
    --------
    >>> import torch
    >>> from metricops.adapters.torch import CosineSimilarityLoss
    >>> predicted = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    >>> target = torch.tensor([[6.0, 8.0], [0.0, 2.0]])
    >>> CosineSimilarityLoss()(predicted, target).item()
    -0.5
    """

    _shown = ("axis", "reduction")
    _function = staticmethod(metricops.cosine_similarity_loss)

    def __init__(
        self, axis: int | tuple[int, ...] = -1, reduction: metricops.Reduction = "mean"
    ) -> None:
        super().__init__(axis=axis, reduction=reduction)

    def forward(
        self,
        input: torch.Tensor,
        target: torch.Tensor,
        *,
        sample_weight: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return minus the cosines of `input` and `target`, of one shape, combined."""
        return self._of(target, input, sample_weight=sample_weight)


class Dot(Module):
    """`metricops.dot` as a module: `keras.layers.Dot` in PyTorch.

    Parameters
    ----------
    axes : int or tuple of two ints
        The axis of `x` and the axis of `y`, or one for both; not the batch axis.
    normalize : bool
        Whether to scale the vectors along those axes to unit length first.

    Examples
    --------
    >>> import torch
    >>> from metricops.adapters.torch import Dot
    >>> Dot(axes=1)(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])).tolist()
    [[11.0]]
    """

    _shown = ("axes", "normalize")

    def __init__(self, axes: int | tuple[int, int], normalize: bool = False) -> None:
        super().__init__()
        if not torch.compiler.is_compiling():
            check_dot(axes, normalize)
        self.axes = axes
        self.normalize = normalize

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the product of each sample of `x` and its sample of `y`."""
        return metricops.dot(x, y, axes=self.axes, normalize=self.normalize)


class PairwiseInnerProduct(torch.nn.Module):
    """`metricops.pairwise_inner_product` as a module.

    Examples
    --------
    >>> import torch
    >>> from metricops.adapters.torch import PairwiseInnerProduct
    >>> PairwiseInnerProduct()(torch.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[5.0, 11.0], [11.0, 25.0]]
    """

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        """Return all products of `x`, shape (n, d), and `y`, shape (m, d), or `x`."""
        return metricops.pairwise_inner_product(x, y)


class PairwiseCosineSimilarity(torch.nn.Module):
    """`metricops.pairwise_cosine_similarity` as a module.

    Examples
    --------
    >>> import torch
    >>> from metricops.adapters.torch import PairwiseCosineSimilarity
    >>> PairwiseCosineSimilarity()(torch.tensor([[1.0, 0.0], [0.0, 2.0]])).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        """Return all cosines of `x`, shape (n, d), and `y`, shape (m, d), or `x`."""
        return metricops.pairwise_cosine_similarity(x, y)


class MetricEmbedding(torch.nn.Linear):
    """A linear map to vectors of unit length.

    The arguments, the parameters and their initialisation are those of
    `torch.nn.Linear`, and so one's ``state_dict`` is the other's.

    Examples
    --------
    >>> import torch
    >>> from metricops.adapters.torch import MetricEmbedding
    >>> embedding = MetricEmbedding(64, 16)
    >>> round(embedding(torch.ones(1, 64)).norm().item(), 4)
    1.0
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the embeddings of `input`, of shape (..., in_features)."""
        return metricops.l2_normalize(super().forward(input))
