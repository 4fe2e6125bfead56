"""Flax NNX modules over the functions of metricops.

The module is long, as each module has its options and their description.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

import metricops

from ._flax_batch import (
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
from ._flax_siblings import (
    ContrastiveEmbeddingLoss,
    CrossBatchMemory,
    SigmoidEmbeddingLoss,
    TripletEmbeddingLoss,
)
from ._jax import AxisName, capped, check_over_axis, loss_over_axis
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
    >>> from metricops.adapters.flax import NPairsLoss
    >>> similarity = jnp.asarray([[2.0, 0.0], [0.0, 2.0]])
    >>> round(float(NPairsLoss()(similarity, jnp.asarray([0, 1]))), 4)
    0.1269
    """

    _shown = ("reduction",)
    _function = staticmethod(metricops.npairs_loss)

    def __init__(self, reduction: metricops.Reduction = "mean") -> None:
        super().__init__(reduction=reduction)

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
    >>> from metricops.adapters.flax import NPairsMultilabelLoss
    >>> similarity = jnp.asarray([[2.0, 0.0], [0.0, 2.0]])
    >>> labels = jnp.asarray([[1, 0, 1], [0, 1, 1]])
    >>> round(float(NPairsMultilabelLoss()(similarity, labels)), 4)
    0.7936
    """

    _function = staticmethod(metricops.npairs_multilabel_loss)


class NPairsEmbeddingLoss(nnx.Module):
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
    >>> from metricops.adapters.flax import NPairsEmbeddingLoss
    >>> loss = NPairsEmbeddingLoss(0.5, normalize=True, symmetric=True)
    >>> anchors = jnp.asarray([[1.0, 0.0], [0.0, 1.0]])
    >>> round(float(loss(anchors, 3 * anchors)), 4)
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
        axis_name: AxisName | None = None,
        gather: metricops.Gather = "all",
        param_dtype: Any = jnp.float32,
    ) -> None:
        self.initial_temperature = temperature
        self.normalize = normalize
        self.symmetric = symmetric
        self.exclude_diagonal = exclude_diagonal
        self.l2_weight = l2_weight
        self.label_smoothing = label_smoothing
        self.denominator: metricops.Denominator = denominator
        self.reduction: metricops.Reduction = reduction
        self.block_size = block_size
        self.axis_name = axis_name
        self.gather = gather
        scale = None
        if learnable_temperature:
            scale = nnx.Param(jnp.asarray(log_scale(temperature), param_dtype))
        self.logit_scale = scale
        check_over_axis(self, temperature=temperature)

    @property
    def temperature(self) -> float | jax.Array:
        """The temperature as it is now."""
        if self.logit_scale is None:
            return self.initial_temperature
        return jnp.exp(-capped(self.logit_scale[...]))

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
            temperature=self.temperature,
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
    >>> from metricops.adapters.flax import CosineSimilarityLoss
    >>> predictions = jnp.asarray([[3.0, 4.0], [1.0, 0.0]])
    >>> targets = jnp.asarray([[6.0, 8.0], [0.0, 2.0]])
    >>> round(float(CosineSimilarityLoss()(predictions, targets)), 4)
    -0.5
    """

    _shown = ("axis", "reduction")
    _function = staticmethod(metricops.cosine_similarity_loss)

    def __init__(
        self, axis: int | tuple[int, ...] = -1, reduction: metricops.Reduction = "mean"
    ) -> None:
        super().__init__(axis=axis, reduction=reduction)

    def __call__(
        self,
        predictions: jax.Array,
        targets: jax.Array,
        *,
        sample_weight: jax.Array | None = None,
    ) -> jax.Array:
        """Return minus the cosines of two arrays of one shape, combined."""
        return self._of(targets, predictions, sample_weight=sample_weight)


class Dot(nnx.Module):
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
    >>> from metricops.adapters.flax import Dot
    >>> Dot(axes=1)(jnp.asarray([[1.0, 2.0]]), jnp.asarray([[3.0, 4.0]])).tolist()
    [[11.0]]
    """

    def __init__(self, axes: int | tuple[int, int], normalize: bool = False) -> None:
        check_dot(axes, normalize)
        self.axes = axes
        self.normalize = normalize

    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """Return the product of each sample of `x` and its sample of `y`."""
        return metricops.dot(x, y, axes=self.axes, normalize=self.normalize)


class PairwiseInnerProduct(nnx.Module):
    """`metricops.pairwise_inner_product` as a module.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from metricops.adapters.flax import PairwiseInnerProduct
    >>> PairwiseInnerProduct()(jnp.asarray([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[5.0, 11.0], [11.0, 25.0]]
    """

    def __call__(self, x: jax.Array, y: jax.Array | None = None) -> jax.Array:
        """Return all products of `x`, shape (n, d), and `y`, shape (m, d), or `x`."""
        return metricops.pairwise_inner_product(x, y)


class PairwiseCosineSimilarity(nnx.Module):
    """`metricops.pairwise_cosine_similarity` as a module.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from metricops.adapters.flax import PairwiseCosineSimilarity
    >>> PairwiseCosineSimilarity()(jnp.asarray([[1.0, 0.0], [0.0, 2.0]])).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    def __call__(self, x: jax.Array, y: jax.Array | None = None) -> jax.Array:
        """Return all cosines of `x`, shape (n, d), and `y`, shape (m, d), or `x`."""
        return metricops.pairwise_cosine_similarity(x, y)


class MetricEmbedding(nnx.Linear):
    """A linear map to vectors of unit length.

    The arguments and the parameters, `kernel` and `bias`, are those of
    `flax.nnx.Linear`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from metricops.adapters.flax import MetricEmbedding
    >>> embedding = MetricEmbedding(64, 16, rngs=nnx.Rngs(0))
    >>> round(float(jnp.linalg.norm(embedding(jnp.ones((1, 64))))), 4)
    1.0
    """

    def __call__(self, inputs: jax.Array, *args: Any, **kwargs: Any) -> jax.Array:
        """Return the embeddings of `inputs`, of shape (..., in_features)."""
        return metricops.l2_normalize(super().__call__(inputs, *args, **kwargs))
