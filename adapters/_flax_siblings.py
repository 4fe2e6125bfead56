"""Flax NNX modules of the losses of pairs and triplets, and a memory for each loss.

The module is long, as each module has its options and their description.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

import metricops
from metricops._arguments.options import check_number

from ._flax_batch import LabelledLoss
from ._jax import (
    AxisName,
    Memory,
    beside,
    capped,
    check_over_axis,
    loss_over_axis,
    nothing,
)
from ._modules import SIGMOID_OPTIONS, check_memory_options, log_scale, option_names


class SigmoidEmbeddingLoss(nnx.Module):
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
    >>> from metricops.adapters.flax import SigmoidEmbeddingLoss
    >>> loss = SigmoidEmbeddingLoss(0.5, bias=-1.0, normalize=True)
    >>> images = jnp.asarray([[1.0, 0.0], [0.0, 1.0]])
    >>> round(float(loss(images, 3 * images)), 4)
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
        axis_name: AxisName | None = None,
        gather: metricops.Gather = "all",
        param_dtype: Any = jnp.float32,
    ) -> None:
        self.initial_temperature, self.initial_bias = temperature, bias
        self.normalize = normalize
        self.exclude_diagonal = exclude_diagonal
        self.reduction: metricops.Reduction = reduction
        self.block_size = block_size
        self.axis_name = axis_name
        self.gather = gather
        scale = offset = None
        if learnable_temperature:
            scale = nnx.Param(jnp.asarray(log_scale(temperature), param_dtype))
        if learnable_bias:
            offset = nnx.Param(jnp.asarray(check_number("bias", bias), param_dtype))
        self.logit_scale, self.logit_bias = scale, offset
        check_over_axis(self, temperature=temperature, bias=bias)

    @property
    def temperature(self) -> float | jax.Array:
        """The temperature as it is now."""
        if self.logit_scale is None:
            return self.initial_temperature
        return jnp.exp(-capped(self.logit_scale[...]))

    @property
    def bias(self) -> float | jax.Array:
        """The bias as it is now."""
        return self.initial_bias if self.logit_bias is None else self.logit_bias[...]

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
            temperature=self.temperature,
            bias=self.bias,
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
    >>> from metricops.adapters.flax import TripletEmbeddingLoss
    >>> embeddings = jnp.asarray([[0.0, 0.0], [0.0, 1.0], [1.5, 0.0]])
    >>> loss = TripletEmbeddingLoss(margin=1.0, negatives="hard")
    >>> round(float(loss(embeddings, labels=jnp.asarray([0, 0, 1]))), 4)
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
        axis_name: AxisName | None = None,
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
            axis_name=axis_name,
        )


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
    >>> from metricops.adapters.flax import ContrastiveEmbeddingLoss
    >>> embeddings = jnp.asarray([[0.0, 0.0], [0.0, 0.5], [0.5, 0.0]])
    >>> loss = ContrastiveEmbeddingLoss()
    >>> round(float(loss(embeddings, labels=jnp.asarray([0, 0, 1]))), 4)
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
        axis_name: AxisName | None = None,
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
            axis_name=axis_name,
            gather=gather,
        )


class Remembered(nnx.Variable):
    """What a `CrossBatchMemory` remembers, and how often it was called."""


class CrossBatchMemory(nnx.Module):
    """A loss of a batch against itself and the embeddings of batches before it [1]_.

    The memory is state of the module, in variables of type `Remembered`, and starts
    empty; `nnx.jit` traces a step anew while it warms up and fills.
    Embeddings in it are constants; they come behind those of the batch.

    As of `nnx.BatchNorm`, its attribute `use_running_average` is what `train()` and
    `eval()` set: in evaluation the memory is read, and stays as it is.

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
    >>> import jax.numpy as jnp
    >>> from metricops.adapters.flax import CrossBatchMemory, TripletEmbeddingLoss
    >>> loss = CrossBatchMemory(TripletEmbeddingLoss(), memory_size=4)
    >>> one, other = jnp.asarray([[0.0, 0.0]]), jnp.asarray([[0.5, 0.0]])
    >>> float(loss(one, jnp.asarray([7]))), float(loss(other, jnp.asarray([8])))
    (0.0, 0.0)
    >>> round(float(loss(jnp.asarray([[0.0, 0.25]]), jnp.asarray([7]))), 4)
    0.691
    """

    def __init__(self, loss: Any, memory_size: int, warmup_steps: int = 0) -> None:
        check_memory_options(loss, memory_size, warmup_steps)
        loss.exclude_diagonal = True
        self.loss = loss
        self.memory_size = memory_size
        self.warmup_steps = warmup_steps
        self.use_running_average = False
        start = nothing()
        self.embeddings = Remembered(start.embeddings)
        self.labels = Remembered(start.labels)
        self.calls = Remembered(start.calls)

    def __call__(
        self,
        embeddings: jax.Array,
        labels: jax.Array,
        *,
        sample_weight: jax.Array | None = None,
    ) -> jax.Array:
        """Return the loss of embeddings, shape (n, d), with their `labels`, shape (n,).

        In training copies of them go into the memory then.
        """
        held = self.embeddings, self.labels, self.calls
        memory = Memory(*(x.get_value() for x in held))
        found = beside(memory, embeddings, labels, self.memory_size, self.warmup_steps)
        loss: jax.Array = self.loss(
            embeddings,
            found.embeddings,
            found.labels,
            candidate_labels=found.candidate_labels,
            sample_weight=sample_weight,
        )
        if not self.use_running_average:
            for variable, value in zip(held, found.memory, strict=True):
                variable.set_value(value)
        return loss

    def set_view(self, use_running_average: bool | None = None) -> None:
        """Read the memory without a change to it, or fill it, in an `nnx.view`."""
        if use_running_average is not None:
            self.use_running_average = use_running_average
