"""Flax Linen modules over the functions of metricops.

The module is long, as each module has its options and their description.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

import metricops

from ._jax import AxisName, capped, check_over_axis, loss_over_axis
from ._linen_batch import (
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
from ._linen_siblings import (
    ContrastiveEmbeddingLoss,
    CrossBatchMemory,
    SigmoidEmbeddingLoss,
    TripletEmbeddingLoss,
)
from ._modules import OPTIONS, check_dot, log_scale

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
    >>> import jax.numpy as jnp
    >>> from metricops.adapters.linen import NPairsLoss
    >>> similarity = jnp.asarray([[2.0, 0.0], [0.0, 2.0]])
    >>> loss = NPairsLoss().apply({}, similarity, jnp.asarray([0, 1]))
    >>> round(float(loss), 4)
    0.1269
    """

    _shown = ("reduction",)
    _function = staticmethod(metricops.npairs_loss)

    reduction: metricops.Reduction = "mean"

    def __call__(
        self,
        similarity: jax.Array,
        labels: jax.Array,
        *,
        column_labels: jax.Array | None = None,
        sample_weight: jax.Array | None = None,
    ) -> jax.Array:
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
    >>> import jax.numpy as jnp
    >>> from metricops.adapters.linen import NPairsMultilabelLoss
    >>> similarity = jnp.asarray([[2.0, 0.0], [0.0, 2.0]])
    >>> labels = jnp.asarray([[1, 0, 1], [0, 1, 1]])
    >>> round(float(NPairsMultilabelLoss().apply({}, similarity, labels)), 4)
    0.7936
    """

    _function = staticmethod(metricops.npairs_multilabel_loss)


class NPairsEmbeddingLoss(nn.Module):
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
    axis_name : hashable, or a tuple of them, optional
        The mapped axis, of `jax.shard_map`, `jax.pmap` or `jax.vmap`, along which each
        device holds a part of the batch. Each takes its own anchors against the
        candidates of all, and all return the loss of the whole batch.
    gather : {"all", "ring"}
        Whether to gather everybody's candidates on each device, or to pass them from
        device to device. A ring holds those of two others at most beside its own, and
        takes a fourth matrix product (with `symmetric` four instead of six). It has no
        forward mode and no second derivatives, and does not take
        ``denominator="own"``. Over an axis of `jax.vmap` it is differentiated inside.
    param_dtype : dtype
        Of `logit_scale`.

    References
    ----------
    .. [1] A. Radford et al., "Learning Transferable Visual Models From Natural Language
       Supervision", ICML 2021, section 2.5.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from metricops.adapters.linen import NPairsEmbeddingLoss
    >>> loss = NPairsEmbeddingLoss(0.5, normalize=True, symmetric=True)
    >>> anchors = jnp.asarray([[1.0, 0.0], [0.0, 1.0]])
    >>> round(float(loss.apply({}, anchors, 3 * anchors)), 4)
    0.1269
    """

    _shown = OPTIONS
    _function = staticmethod(metricops.npairs_loss_from_embeddings)

    temperature: float = 1.0
    learnable_temperature: bool = False
    normalize: bool = False
    symmetric: bool = False
    exclude_diagonal: bool = False
    l2_weight: float = 0.0
    label_smoothing: float = 0.0
    denominator: metricops.Denominator = "all"
    reduction: metricops.Reduction = "mean"
    block_size: int | None = None
    axis_name: AxisName | None = None
    gather: metricops.Gather = "all"
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        if self.learnable_temperature:
            log_scale(self.temperature)
        check_over_axis(self, temperature=self.temperature)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        anchors: jax.Array,
        candidates: jax.Array | None = None,
        labels: jax.Array | None = None,
        *,
        candidate_labels: jax.Array | None = None,
        ids: jax.Array | None = None,
        candidate_ids: jax.Array | None = None,
        candidate_bias: jax.Array | None = None,
        sample_weight: jax.Array | None = None,
    ) -> jax.Array:
        """Return the loss of anchors, shape (n, d), against candidates, shape (m, d).

        Parameters
        ----------
        anchors, candidates, labels, candidate_labels, ids, candidate_ids
            As in `metricops.npairs_loss_from_embeddings`.
        candidate_bias, sample_weight
            As in `metricops.npairs_loss_from_embeddings`; with an axis name, what
            this device holds.
        """
        temperature: Any = self.temperature
        if self.learnable_temperature:
            start = nn.initializers.constant(log_scale(self.temperature))
            scale = self.param("logit_scale", start, (), self.param_dtype)
            temperature = jnp.exp(-capped(scale))
        return loss_over_axis(
            self,
            self.axis_name,
            anchors,
            candidates,
            labels,
            candidate_labels=candidate_labels,
            ids=ids,
            candidate_ids=candidate_ids,
            candidate_bias=candidate_bias,
            sample_weight=sample_weight,
            temperature=temperature,
        )


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
    >>> import jax.numpy as jnp
    >>> from metricops.adapters.linen import CosineSimilarityLoss
    >>> predictions = jnp.asarray([[3.0, 4.0], [1.0, 0.0]])
    >>> targets = jnp.asarray([[6.0, 8.0], [0.0, 2.0]])
    >>> round(float(CosineSimilarityLoss().apply({}, predictions, targets)), 4)
    -0.5
    """

    _shown = ("axis", "reduction")
    _function = staticmethod(metricops.cosine_similarity_loss)

    axis: int | tuple[int, ...] = -1
    reduction: metricops.Reduction = "mean"

    def __call__(
        self,
        predictions: jax.Array,
        targets: jax.Array,
        *,
        sample_weight: jax.Array | None = None,
    ) -> jax.Array:
        """Return minus the cosines of two arrays of one shape, combined."""
        return self._of(targets, predictions, sample_weight=sample_weight)


class Dot(nn.Module):
    """`metricops.dot` as a module: `keras.layers.Dot` in Flax.

    Parameters
    ----------
    axes : int or tuple of two ints
        The axis of `x` and the axis of `y`, or one for both; not the batch axis.
    normalize : bool
        Whether to scale the vectors along those axes to unit length first.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from metricops.adapters.linen import Dot
    >>> x, y = jnp.asarray([[1.0, 2.0]]), jnp.asarray([[3.0, 4.0]])
    >>> Dot(axes=1).apply({}, x, y).tolist()
    [[11.0]]
    """

    axes: int | tuple[int, int]
    normalize: bool = False

    def __post_init__(self) -> None:
        check_dot(self.axes, self.normalize)
        super().__post_init__()

    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """Return the product of each sample of `x` and its sample of `y`."""
        return metricops.dot(x, y, axes=self.axes, normalize=self.normalize)


class PairwiseInnerProduct(nn.Module):
    """`metricops.pairwise_inner_product` as a module.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from metricops.adapters.linen import PairwiseInnerProduct
    >>> x = jnp.asarray([[1.0, 2.0], [3.0, 4.0]])
    >>> PairwiseInnerProduct().apply({}, x).tolist()
    [[5.0, 11.0], [11.0, 25.0]]
    """

    def __call__(self, x: jax.Array, y: jax.Array | None = None) -> jax.Array:
        """Return all products of `x`, shape (n, d), and `y`, shape (m, d), or `x`."""
        return metricops.pairwise_inner_product(x, y)


class PairwiseCosineSimilarity(nn.Module):
    """`metricops.pairwise_cosine_similarity` as a module.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from metricops.adapters.linen import PairwiseCosineSimilarity
    >>> x = jnp.asarray([[1.0, 0.0], [0.0, 2.0]])
    >>> PairwiseCosineSimilarity().apply({}, x).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    def __call__(self, x: jax.Array, y: jax.Array | None = None) -> jax.Array:
        """Return all cosines of `x`, shape (n, d), and `y`, shape (m, d), or `x`."""
        return metricops.pairwise_cosine_similarity(x, y)


class MetricEmbedding(nn.Dense):
    """A linear map to vectors of unit length.

    The arguments and the parameters, `kernel` and `bias`, are those of
    `flax.linen.Dense`.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from metricops.adapters.linen import MetricEmbedding
    >>> embedding, images = MetricEmbedding(16), jnp.ones((1, 64))
    >>> variables = embedding.init(jax.random.key(0), images)
    >>> round(float(jnp.linalg.norm(embedding.apply(variables, images))), 4)
    1.0
    """

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Return the embeddings of `inputs`, of shape (..., features in)."""
        return metricops.l2_normalize(super().__call__(inputs))
