"""Flax Linen modules of the losses of batches, of two views, and of scores.

The module is long, as each module has its options and their description.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

import metricops

from ._jax import AxisName, check_over_axis, loss_over_axis
from ._modules import module_loss, option_names, shape_of_proxies


class Loss(nn.Module):
    """A loss with the options named in `_shown`."""

    _function: ClassVar[Any]
    _shown: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        check_over_axis(self)
        super().__post_init__()

    def _of(self, *arrays: Any, **given: Any) -> jax.Array:
        """Return the loss of some arrays, with the options of the module."""
        found: jax.Array = module_loss(self, None, *arrays, **given)
        return found


class LabelledLoss(Loss):
    """A loss of anchors against candidates, of the batch of a mapped axis if any."""

    def __call__(
        self,
        anchors: jax.Array,
        candidates: jax.Array | None = None,
        labels: jax.Array | None = None,
        *,
        candidate_labels: jax.Array | None = None,
        sample_weight: jax.Array | None = None,
    ) -> jax.Array:
        """Return the loss of anchors, shape (n, d), against candidates, shape (m, d).

        Parameters
        ----------
        anchors, candidates, labels, candidate_labels, sample_weight
            As in the function; with an axis name, those that this device holds.
        """
        theirs = {"candidate_labels": candidate_labels, "sample_weight": sample_weight}
        axis_name: AxisName | None = getattr(self, "axis_name", None)
        arrays = anchors, candidates, labels
        return loss_over_axis(self, axis_name, *arrays, **theirs)


class _OneSetLoss(Loss):
    """A loss of embeddings against each other."""

    def __call__(self, embeddings: jax.Array, labels: jax.Array) -> jax.Array:
        """Return the loss of embeddings, shape (n, d), with their `labels`."""
        return self._of(embeddings, labels)


class _ViewsLoss(Loss):
    """A loss of two views of a batch."""

    def __call__(self, first: jax.Array, second: jax.Array) -> jax.Array:
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
    axis_name : hashable, or a tuple of them, optional
        The mapped axis whose devices each hold a part of the batch, as in
        `NPairsEmbeddingLoss`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from metricops.adapters.linen import MultiSimilarityLoss
    >>> embeddings = jnp.asarray([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> labels, loss = jnp.asarray([0, 0, 1]), MultiSimilarityLoss()
    >>> round(float(loss.apply({}, embeddings, labels=labels)), 4)
    0.3394
    """

    _function = staticmethod(metricops.multi_similarity_loss_from_embeddings)
    _shown = option_names(metricops.multi_similarity_loss_from_embeddings)

    alpha: float = 2.0
    beta: float = 40.0
    base: float = 0.5
    epsilon: float | None = 0.1
    normalize: bool = True
    exclude_diagonal: bool | None = None
    reduction: metricops.Reduction = "mean"
    block_size: int | None = None
    axis_name: AxisName | None = None


class CircleLoss(LabelledLoss):
    """`metricops.circle_loss_from_embeddings` as a module.

    Parameters
    ----------
    gamma, margin, normalize
        As in `metricops.circle_loss_from_embeddings`.
    exclude_diagonal, reduction, block_size
        As in `metricops.circle_loss_from_embeddings`.
    axis_name : hashable, or a tuple of them, optional
        The mapped axis whose devices each hold a part of the batch, as in
        `NPairsEmbeddingLoss`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from metricops.adapters.linen import CircleLoss
    >>> embeddings = jnp.asarray([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    >>> labels, loss = jnp.asarray([0, 0, 1]), CircleLoss()
    >>> round(float(loss.apply({}, embeddings, labels=labels)), 4)
    28.8648
    """

    _function = staticmethod(metricops.circle_loss_from_embeddings)
    _shown = option_names(metricops.circle_loss_from_embeddings)

    gamma: float = 80.0
    margin: float = 0.4
    normalize: bool = True
    exclude_diagonal: bool | None = None
    reduction: metricops.Reduction = "mean"
    block_size: int | None = None
    axis_name: AxisName | None = None


class SoftNearestNeighborLoss(LabelledLoss):
    """`metricops.soft_nearest_neighbor_loss_from_embeddings` as a module.

    Parameters
    ----------
    temperature, metric, normalize
        As in `metricops.soft_nearest_neighbor_loss_from_embeddings`.
    exclude_diagonal, reduction, block_size
        As in `metricops.soft_nearest_neighbor_loss_from_embeddings`.
    axis_name : hashable, or a tuple of them, optional
        The mapped axis whose devices each hold a part of the batch, as in
        `NPairsEmbeddingLoss`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from metricops.adapters.linen import SoftNearestNeighborLoss
    >>> embeddings = jnp.asarray([[0.0, 0.0], [0.0, 1.0], [1.5, 0.0]])
    >>> labels, loss = jnp.asarray([0, 0, 1]), SoftNearestNeighborLoss()
    >>> round(float(loss.apply({}, embeddings, labels=labels)), 4)
    0.1761
    """

    _function = staticmethod(metricops.soft_nearest_neighbor_loss_from_embeddings)
    _shown = option_names(metricops.soft_nearest_neighbor_loss_from_embeddings)

    temperature: float = 1.0
    metric: str = "squared_euclidean"
    normalize: bool = False
    exclude_diagonal: bool | None = None
    reduction: metricops.Reduction = "mean"
    block_size: int | None = None
    axis_name: AxisName | None = None


class LiftedStructureLoss(_OneSetLoss):
    """`metricops.lifted_structure_loss_from_embeddings` as a module.

    Parameters
    ----------
    margin, metric, normalize, reduction, block_size
        As in `metricops.lifted_structure_loss_from_embeddings`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from metricops.adapters.linen import LiftedStructureLoss
    >>> embeddings = jnp.asarray([[0.0, 0.0], [0.0, 1.0], [1.5, 0.0]])
    >>> labels, loss = jnp.asarray([0, 0, 1]), LiftedStructureLoss()
    >>> round(float(loss.apply({}, embeddings, labels=labels)), 4)
    0.5546
    """

    _function = staticmethod(metricops.lifted_structure_loss_from_embeddings)
    _shown = option_names(metricops.lifted_structure_loss_from_embeddings)

    margin: float = 1.0
    metric: str = "euclidean"
    normalize: bool = False
    reduction: metricops.Reduction = "mean"
    block_size: int | None = None


class BarlowTwinsLoss(_ViewsLoss):
    """`metricops.barlow_twins_loss` as a module.

    Parameters
    ----------
    off_diagonal_weight
        As in `metricops.barlow_twins_loss`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from metricops.adapters.linen import BarlowTwinsLoss
    >>> first = jnp.asarray([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    >>> loss = BarlowTwinsLoss()
    >>> round(float(loss.apply({}, first, 2 * first)), 4)
    0.0025
    """

    _function = staticmethod(metricops.barlow_twins_loss)
    _shown = option_names(metricops.barlow_twins_loss)

    off_diagonal_weight: float = 5e-3


class VICRegLoss(_ViewsLoss):
    """`metricops.vicreg_loss` as a module.

    Parameters
    ----------
    invariance, variance, covariance, epsilon, ddof
        As in `metricops.vicreg_loss`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from metricops.adapters.linen import VICRegLoss
    >>> first = jnp.asarray([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    >>> loss = VICRegLoss()
    >>> round(float(loss.apply({}, first, 2 * first)), 4)
    14.0876
    """

    _function = staticmethod(metricops.vicreg_loss)
    _shown = option_names(metricops.vicreg_loss)

    invariance: float = 25.0
    variance: float = 25.0
    covariance: float = 1.0
    epsilon: float = 1e-4
    ddof: int = 1


class CoSENTLoss(Loss):
    """`metricops.cosent_loss` as a module.

    Parameters
    ----------
    temperature
        As in `metricops.cosent_loss`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from metricops.adapters.linen import CoSENTLoss
    >>> similarities = jnp.asarray([0.9, 0.8, 0.1])
    >>> loss = CoSENTLoss()
    >>> round(float(loss.apply({}, similarities, jnp.asarray([0.5, 1.0, 0.0]))), 4)
    2.1269
    """

    _function = staticmethod(metricops.cosent_loss)
    _shown = option_names(metricops.cosent_loss)

    temperature: float = 0.05

    def __call__(self, similarities: jax.Array, scores: jax.Array) -> jax.Array:
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
    param_dtype : dtype
        Of the proxies.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from metricops.adapters.linen import MarginSoftmaxLoss
    >>> loss = MarginSoftmaxLoss(num_classes=3, embedding_size=2, scale=16.0)
    >>> batch = jnp.asarray([[1.0, 0.0], [0.0, 1.0]]), jnp.asarray([0, 2])
    >>> variables = loss.init(jax.random.key(0), *batch)
    >>> loss.apply(variables, *batch).shape
    ()
    """

    _function = staticmethod(metricops.margin_softmax_loss_from_embeddings)
    _shown = option_names(metricops.margin_softmax_loss_from_embeddings)

    num_classes: int
    embedding_size: int
    scale: float = 64.0
    margin: float = 0.35
    angular_margin: float = 0.0
    label_smoothing: float = 0.0
    reduction: metricops.Reduction = "mean"
    block_size: int | None = None
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        shape_of_proxies(self.num_classes, self.embedding_size)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        embeddings: jax.Array,
        labels: jax.Array,
        *,
        sample_weight: jax.Array | None = None,
    ) -> jax.Array:
        """Return the loss of embeddings, shape (n, d), with their `labels`, (n,)."""
        shape = self.num_classes, self.embedding_size
        start = nn.initializers.normal(1.0)
        proxies = self.param("proxies", start, shape, self.param_dtype)
        return self._of(embeddings, proxies, labels, sample_weight=sample_weight)
