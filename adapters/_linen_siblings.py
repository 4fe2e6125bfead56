"""Flax Linen modules of the losses of pairs and triplets, and a memory for each.

The module is long, as each module has its options and their description.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

import metricops
from metricops._arguments.options import check_number

from ._jax import (
    AxisName,
    Memory,
    beside,
    capped,
    check_over_axis,
    loss_over_axis,
    nothing,
)
from ._linen_batch import LabelledLoss
from ._modules import SIGMOID_OPTIONS, check_memory_options, log_scale, option_names


class SigmoidEmbeddingLoss(nn.Module):
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
    axis_name, gather
        The mapped axis along which each device holds a part of the batch, and how they
        meet, as in `NPairsEmbeddingLoss`.
    param_dtype : dtype
        Of the parameters.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from metricops.adapters.linen import SigmoidEmbeddingLoss
    >>> loss = SigmoidEmbeddingLoss(0.5, bias=-1.0, normalize=True)
    >>> images = jnp.asarray([[1.0, 0.0], [0.0, 1.0]])
    >>> round(float(loss.apply({}, images, 3 * images)), 4)
    0.6265
    """

    _shown = SIGMOID_OPTIONS
    _function = staticmethod(metricops.sigmoid_loss_from_embeddings)

    temperature: float = 0.1
    bias: float = -10.0
    learnable_temperature: bool = False
    learnable_bias: bool = False
    normalize: bool = False
    exclude_diagonal: bool | None = None
    reduction: metricops.Reduction = "mean"
    block_size: int | None = None
    axis_name: AxisName | None = None
    gather: metricops.Gather = "all"
    param_dtype: Any = jnp.float32

    def __post_init__(self) -> None:
        if self.learnable_temperature:
            log_scale(self.temperature)
        if self.learnable_bias:
            check_number("bias", self.bias)
        check_over_axis(self, temperature=self.temperature, bias=self.bias)
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
        sample_weight: jax.Array | None = None,
    ) -> jax.Array:
        """Return the loss of anchors, shape (n, d), against candidates, shape (m, d).

        Parameters
        ----------
        anchors, candidates, labels, candidate_labels, ids, candidate_ids, sample_weight
            As in `metricops.sigmoid_loss_from_embeddings`; with an axis name, those
            that this device holds.
        """
        temperature: Any = self.temperature
        bias: Any = self.bias
        if self.learnable_temperature:
            start = nn.initializers.constant(log_scale(self.temperature))
            scale = self.param("logit_scale", start, (), self.param_dtype)
            temperature = jnp.exp(-capped(scale))
        if self.learnable_bias:
            start = nn.initializers.constant(check_number("bias", self.bias))
            bias = self.param("logit_bias", start, (), self.param_dtype)
        return loss_over_axis(
            self,
            self.axis_name,
            anchors,
            candidates,
            labels,
            candidate_labels=candidate_labels,
            ids=ids,
            candidate_ids=candidate_ids,
            sample_weight=sample_weight,
            temperature=temperature,
            bias=bias,
        )


class TripletEmbeddingLoss(LabelledLoss):
    """`metricops.triplet_loss_from_embeddings` as a module.

    Parameters
    ----------
    margin, positives, negatives, metric, normalize, swap
        As in `metricops.triplet_loss_from_embeddings`.
    exclude_diagonal, reduction, block_size
        As in `metricops.triplet_loss_from_embeddings`.
    axis_name : hashable, or a tuple of them, optional
        The mapped axis whose devices each hold a part of the batch, as in
        `NPairsEmbeddingLoss`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from metricops.adapters.linen import TripletEmbeddingLoss
    >>> embeddings = jnp.asarray([[0.0, 0.0], [0.0, 1.0], [1.5, 0.0]])
    >>> loss = TripletEmbeddingLoss(margin=1.0, negatives="hard")
    >>> round(float(loss.apply({}, embeddings, labels=jnp.asarray([0, 0, 1]))), 4)
    0.3486
    """

    _shown = option_names(metricops.triplet_loss_from_embeddings)
    _function = staticmethod(metricops.triplet_loss_from_embeddings)

    margin: float | None = 1.0
    positives: str = "all"
    negatives: str = "semihard"
    metric: str = "euclidean"
    normalize: bool = False
    swap: bool = False
    exclude_diagonal: bool | None = None
    reduction: metricops.TermReduction = "mean"
    block_size: int | None = None
    axis_name: AxisName | None = None


class ContrastiveEmbeddingLoss(LabelledLoss):
    """`metricops.contrastive_loss_from_embeddings` as a module.

    Parameters
    ----------
    positive_margin, negative_margin, power, metric, normalize
        As in `metricops.contrastive_loss_from_embeddings`.
    exclude_diagonal, reduction, block_size
        As in `metricops.contrastive_loss_from_embeddings`.
    axis_name, gather
        The mapped axis along which each device holds a part of the batch, and how they
        meet, as in `NPairsEmbeddingLoss`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from metricops.adapters.linen import ContrastiveEmbeddingLoss
    >>> embeddings = jnp.asarray([[0.0, 0.0], [0.0, 0.5], [0.5, 0.0]])
    >>> loss = ContrastiveEmbeddingLoss()
    >>> round(float(loss.apply({}, embeddings, labels=jnp.asarray([0, 0, 1]))), 4)
    0.4179
    """

    _shown = option_names(metricops.contrastive_loss_from_embeddings)
    _function = staticmethod(metricops.contrastive_loss_from_embeddings)

    positive_margin: float = 0.0
    negative_margin: float = 1.0
    power: int = 2
    metric: str = "euclidean"
    normalize: bool = False
    exclude_diagonal: bool | None = None
    reduction: metricops.TermReduction = "mean"
    block_size: int | None = None
    axis_name: AxisName | None = None
    gather: metricops.Gather = "all"


class CrossBatchMemory(nn.Module):
    """A loss of a batch against itself and the embeddings of batches before it [1]_.

    The memory is the collection "memory", which a step of training has to have
    `mutable`, and starts empty; `jax.jit` traces a step anew while it warms up and
    fills. Where it is not mutable, as in evaluation, it is read, and stays as it is.
    Embeddings in it are constants; they come behind those of the batch.

    Parameters
    ----------
    loss : module
        A loss of embeddings of this package, with labels. Its `exclude_diagonal` is
        taken to be True, as the first candidates are the anchors themselves.
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
    >>> import jax.numpy as jnp
    >>> from metricops.adapters.linen import CrossBatchMemory, TripletEmbeddingLoss
    >>> loss = CrossBatchMemory(TripletEmbeddingLoss(), memory_size=4)
    >>> memory = {}
    >>> for place, label in (([0.0, 0.0], 7), ([0.5, 0.0], 8), ([0.0, 0.25], 7)):
    ...     batch = jnp.asarray([place]), jnp.asarray([label])
    ...     found, memory = loss.apply(memory, *batch, mutable=["memory"])
    >>> round(float(found), 4)
    0.691
    """

    loss: Any
    memory_size: int
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        check_memory_options(self.loss, self.memory_size, self.warmup_steps)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        embeddings: jax.Array,
        labels: jax.Array,
        *,
        sample_weight: jax.Array | None = None,
    ) -> jax.Array:
        """Return the loss of embeddings, shape (n, d), with their `labels`, shape (n,).

        Copies of them go into the memory then, if it is mutable.
        """
        start = nothing()
        held = [
            self.variable("memory", name, partial(getattr, start, name))
            for name in start._fields
        ]
        memory = Memory(*(x.value for x in held))
        found = beside(memory, embeddings, labels, self.memory_size, self.warmup_steps)
        loss: jax.Array = self.loss.copy(exclude_diagonal=True)(
            embeddings,
            found.embeddings,
            found.labels,
            candidate_labels=found.candidate_labels,
            sample_weight=sample_weight,
        )
        if self.is_mutable_collection("memory") and not self.is_initializing():
            for variable, value in zip(held, found.memory, strict=True):
                variable.value = value
        return loss
