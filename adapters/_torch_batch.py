"""PyTorch modules of the losses of batches, of two views, and of scores.

The module is long, as each module has its options and their description.
"""

from typing import Any

import torch

import metricops

from ._modules import module_loss, option_names, shape_of_proxies
from ._torch_base import Module
from ._torch_processes import batch_loss, processes


class Loss(Module):
    """A loss with the options named in `_shown`."""

    _function: Any
    _shown: tuple[str, ...]

    def __init__(self, **options: Any) -> None:
        super().__init__()
        for name, value in options.items():
            setattr(self, name, value)
        self._check()

    def _of(self, *arrays: Any, **given: Any) -> torch.Tensor:
        """Return the loss of some arrays, with the options of the module."""
        found: torch.Tensor = module_loss(self, None, *arrays, **given)
        return found


class LabelledLoss(Loss):
    """A loss of anchors against candidates, of the batch of a process group if any."""

    def __init__(
        self,
        process_group: Any = None,
        gather: metricops.Gather = "all",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.group = processes(process_group, gather)

    def forward(
        self,
        anchors: torch.Tensor,
        candidates: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        *,
        candidate_labels: torch.Tensor | None = None,
        sample_weight: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the loss of anchors, shape (n, d), against candidates, shape (m, d).

        Parameters
        ----------
        anchors, candidates, labels, candidate_labels, sample_weight
            As in the function; with a process group, those that this process holds.
        """
        theirs = {"candidate_labels": candidate_labels, "sample_weight": sample_weight}
        arrays = anchors, candidates, labels
        return batch_loss(self, *arrays, **theirs)


class _OneSetLoss(Loss):
    """A loss of embeddings against each other."""

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of embeddings, shape (n, d), with their `labels`."""
        return self._of(embeddings, labels)


class _ViewsLoss(Loss):
    """A loss of two views of a batch."""

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Return the loss of two views, both of shape (n, d)."""
        return self._of(first, second)


class MultiSimilarityLoss(LabelledLoss):
    """`metricops.multi_similarity_loss_from_embeddings` as a module.

    Parameters
    ----------
    alpha, beta, base, epsilon, normalize
        As in `metricops.multi_similarity_loss_from_embeddings`.
    exclude_diagonal, reduction, block_size
        As in `metricops.multi_similarity_loss_from_embeddings`.
    process_group : torch.distributed.ProcessGroup or "world", optional
        The processes that each hold a part of the batch, as in `NPairsEmbeddingLoss`.

    Examples
    --------
    >>> import torch
    >>> from metricops.adapters.torch import MultiSimilarityLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> labels, loss = torch.tensor([0, 0, 1]), MultiSimilarityLoss()
    >>> round(loss(embeddings, labels=labels).item(), 4)
    0.3394
    """

    _function = staticmethod(metricops.multi_similarity_loss_from_embeddings)
    _shown = option_names(metricops.multi_similarity_loss_from_embeddings)

    def __init__(
        self,
        alpha: float = 2.0,
        beta: float = 40.0,
        base: float = 0.5,
        epsilon: float | None = 0.1,
        *,
        normalize: bool = True,
        exclude_diagonal: bool | None = None,
        reduction: metricops.Reduction = "mean",
        block_size: int | None = None,
        process_group: Any = None,
    ) -> None:
        super().__init__(
            alpha=alpha,
            beta=beta,
            base=base,
            epsilon=epsilon,
            normalize=normalize,
            exclude_diagonal=exclude_diagonal,
            reduction=reduction,
            block_size=block_size,
            process_group=process_group,
        )


class CircleLoss(LabelledLoss):
    """`metricops.circle_loss_from_embeddings` as a module.

    Parameters
    ----------
    gamma, margin, normalize
        As in `metricops.circle_loss_from_embeddings`.
    exclude_diagonal, reduction, block_size
        As in `metricops.circle_loss_from_embeddings`.
    process_group : torch.distributed.ProcessGroup or "world", optional
        The processes that each hold a part of the batch, as in `NPairsEmbeddingLoss`.

    Examples
    --------
    >>> import torch
    >>> from metricops.adapters.torch import CircleLoss
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> labels, loss = torch.tensor([0, 0, 1]), CircleLoss()
    >>> round(loss(embeddings, labels=labels).item(), 4)
    28.8648
    """

    _function = staticmethod(metricops.circle_loss_from_embeddings)
    _shown = option_names(metricops.circle_loss_from_embeddings)

    def __init__(
        self,
        gamma: float = 80.0,
        margin: float = 0.4,
        *,
        normalize: bool = True,
        exclude_diagonal: bool | None = None,
        reduction: metricops.Reduction = "mean",
        block_size: int | None = None,
        process_group: Any = None,
    ) -> None:
        super().__init__(
            gamma=gamma,
            margin=margin,
            normalize=normalize,
            exclude_diagonal=exclude_diagonal,
            reduction=reduction,
            block_size=block_size,
            process_group=process_group,
        )


class SoftNearestNeighborLoss(LabelledLoss):
    """`metricops.soft_nearest_neighbor_loss_from_embeddings` as a module.

    Parameters
    ----------
    temperature, metric, normalize
        As in `metricops.soft_nearest_neighbor_loss_from_embeddings`.
    exclude_diagonal, reduction, block_size
        As in `metricops.soft_nearest_neighbor_loss_from_embeddings`.
    process_group : torch.distributed.ProcessGroup or "world", optional
        The processes that each hold a part of the batch, as in `NPairsEmbeddingLoss`.

    Examples
    --------
    >>> import torch
    >>> from metricops.adapters.torch import SoftNearestNeighborLoss
    >>> embeddings = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.5, 0.0]])
    >>> labels, loss = torch.tensor([0, 0, 1]), SoftNearestNeighborLoss()
    >>> round(loss(embeddings, labels=labels).item(), 4)
    0.1761
    """

    _function = staticmethod(metricops.soft_nearest_neighbor_loss_from_embeddings)
    _shown = option_names(metricops.soft_nearest_neighbor_loss_from_embeddings)

    def __init__(
        self,
        temperature: float = 1.0,
        *,
        metric: str = "squared_euclidean",
        normalize: bool = False,
        exclude_diagonal: bool | None = None,
        reduction: metricops.Reduction = "mean",
        block_size: int | None = None,
        process_group: Any = None,
    ) -> None:
        super().__init__(
            temperature=temperature,
            metric=metric,
            normalize=normalize,
            exclude_diagonal=exclude_diagonal,
            reduction=reduction,
            block_size=block_size,
            process_group=process_group,
        )


class LiftedStructureLoss(_OneSetLoss):
    """`metricops.lifted_structure_loss_from_embeddings` as a module.

    Parameters
    ----------
    margin, metric, normalize, reduction, block_size
        As in `metricops.lifted_structure_loss_from_embeddings`.

    Examples
    --------
    >>> import torch
    >>> from metricops.adapters.torch import LiftedStructureLoss
    >>> embeddings = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.5, 0.0]])
    >>> labels, loss = torch.tensor([0, 0, 1]), LiftedStructureLoss()
    >>> round(loss(embeddings, labels=labels).item(), 4)
    0.5546
    """

    _function = staticmethod(metricops.lifted_structure_loss_from_embeddings)
    _shown = option_names(metricops.lifted_structure_loss_from_embeddings)

    def __init__(
        self,
        margin: float = 1.0,
        *,
        metric: str = "euclidean",
        normalize: bool = False,
        reduction: metricops.Reduction = "mean",
        block_size: int | None = None,
    ) -> None:
        super().__init__(
            margin=margin,
            metric=metric,
            normalize=normalize,
            reduction=reduction,
            block_size=block_size,
        )


class BarlowTwinsLoss(_ViewsLoss):
    """`metricops.barlow_twins_loss` as a module.

    Parameters
    ----------
    off_diagonal_weight
        As in `metricops.barlow_twins_loss`.

    Examples
    --------
    >>> import torch
    >>> from metricops.adapters.torch import BarlowTwinsLoss
    >>> first = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    >>> loss = BarlowTwinsLoss()
    >>> round(loss(first, 2 * first).item(), 4)
    0.0025
    """

    _function = staticmethod(metricops.barlow_twins_loss)
    _shown = option_names(metricops.barlow_twins_loss)

    def __init__(self, off_diagonal_weight: float = 5e-3) -> None:
        super().__init__(off_diagonal_weight=off_diagonal_weight)


class VICRegLoss(_ViewsLoss):
    """`metricops.vicreg_loss` as a module.

    Parameters
    ----------
    invariance, variance, covariance, epsilon, ddof
        As in `metricops.vicreg_loss`.

    Examples
    --------
    >>> import torch
    >>> from metricops.adapters.torch import VICRegLoss
    >>> first = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    >>> loss = VICRegLoss()
    >>> round(loss(first, 2 * first).item(), 4)
    14.0876
    """

    _function = staticmethod(metricops.vicreg_loss)
    _shown = option_names(metricops.vicreg_loss)

    def __init__(
        self,
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
        epsilon: float = 1e-4,
        ddof: int = 1,
    ) -> None:
        super().__init__(
            invariance=invariance,
            variance=variance,
            covariance=covariance,
            epsilon=epsilon,
            ddof=ddof,
        )


class CoSENTLoss(Loss):
    """`metricops.cosent_loss` as a module.

    Parameters
    ----------
    temperature
        As in `metricops.cosent_loss`.

    Examples
    --------
    >>> import torch
    >>> from metricops.adapters.torch import CoSENTLoss
    >>> similarities = torch.tensor([0.9, 0.8, 0.1])
    >>> loss = CoSENTLoss()
    >>> round(loss(similarities, torch.tensor([0.5, 1.0, 0.0])).item(), 4)
    2.1269
    """

    _function = staticmethod(metricops.cosent_loss)
    _shown = option_names(metricops.cosent_loss)

    def __init__(self, temperature: float = 0.05) -> None:
        super().__init__(temperature=temperature)

    def forward(self, similarities: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the loss of similarities, shape (n,), with their scores."""
        return self._of(similarities, scores)


class MarginSoftmaxLoss(Loss):
    """`metricops.margin_softmax_loss_from_embeddings` with proxies that are learnt.

    Parameters
    ----------
    num_classes, embedding_size : int
        How many proxies there are, and how many numbers each has. The parameter is
        `proxies`, of shape (num_classes, embedding_size).
    scale, margin, angular_margin, label_smoothing, reduction, block_size
        As in `metricops.margin_softmax_loss_from_embeddings`.
    device, dtype
        Of the proxies.

    Examples
    --------
    >>> import torch
    >>> from metricops.adapters.torch import MarginSoftmaxLoss
    >>> loss = MarginSoftmaxLoss(num_classes=3, embedding_size=2, scale=16.0)
    >>> embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> loss(embeddings, torch.tensor([0, 2])).shape
    torch.Size([])
    """

    _function = staticmethod(metricops.margin_softmax_loss_from_embeddings)
    _shown = option_names(metricops.margin_softmax_loss_from_embeddings)

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        scale: float = 64.0,
        margin: float = 0.35,
        angular_margin: float = 0.0,
        label_smoothing: float = 0.0,
        reduction: metricops.Reduction = "mean",
        block_size: int | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            scale=scale,
            margin=margin,
            angular_margin=angular_margin,
            label_smoothing=label_smoothing,
            reduction=reduction,
            block_size=block_size,
        )
        shape = shape_of_proxies(num_classes, embedding_size)
        start = torch.randn(shape, device=device, dtype=dtype)
        self.proxies = torch.nn.Parameter(start)

    def _arguments(self) -> dict[str, Any]:
        """Return the arguments that `repr` shows."""
        num_classes, embedding_size = self.proxies.shape
        sizes = {"num_classes": num_classes, "embedding_size": embedding_size}
        return {**sizes, **super()._arguments()}

    def forward(
        self,
        embeddings: torch.Tensor,
        labels: torch.Tensor,
        *,
        sample_weight: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the loss of embeddings, shape (n, d), with their `labels`, (n,)."""
        weight = {"sample_weight": sample_weight}
        return self._of(embeddings, self.proxies, labels, **weight)
