"""Losses: Keras' dtypes, masks and reductions around the functions of metricops.

The module is long, as each loss has its options and their description.
"""

from typing import Any

import keras
import numpy as np
from keras import ops
from metricops.adapters._modules import check_options

import metricops

from ._base import AddonsLoss, Loss, PairsLoss, Reduction
from ._inputs import (
    NAMES,
    Apply,
    dense,
    is_symbolic,
    python_ints,
    renamed,
    same_rank,
    tensor,
)

_register = keras.saving.register_keras_serializable


@_register(package="metricops")
class CosineSimilarity(Loss):
    """Negative cosine similarity of targets and predictions.

    ``keras.losses.CosineSimilarity`` over `metricops.cosine_similarity_loss`: -1 where
    directions agree, and a zero vector has loss 0 and gradient 0. `y_true` and `y_pred`
    are of one shape, and the losses have it without `axis`.

    Parameters
    ----------
    axis : int or tuple of ints, or None
        The axis, or axes, that make up a vector. None: all of them.
    reduction : str, optional
        As in `keras.losses.Loss`, or "auto", Keras 2's name of the default.
    name : str, optional
        As in `keras.losses.Loss`.
    dtype : str or `keras.DTypePolicy`, optional
        What to compute in. Default: ``keras.config.floatx()``.

    Examples
    --------
    >>> from metricops.adapters.keras import CosineSimilarity
    >>> loss = CosineSimilarity(axis=1)
    >>> round(float(loss([[0.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]])), 4)
    -0.5
    """

    _all_count = True

    def __init__(
        self,
        axis: int | tuple[int, ...] | None = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "cosine_similarity",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.axis: int | tuple[int, ...] | None = python_ints(axis)
        if axis is not None:
            check_options(metricops.cosine_similarity_loss, axis=self.axis)

    def call(
        self,
        y_true: Any,
        y_pred: Any,
        sample_weight: Any = None,
        reduction: Reduction = "none",
    ) -> Any:
        """Return the losses, of the shape of `y_pred` without `axis`, or their mean."""
        y_true = ops.convert_to_tensor(y_true, dtype=self.dtype)
        return _cosine_loss(y_true, y_pred, self.axis, sample_weight, reduction)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this loss again."""
        return {**super().get_config(), "axis": self.axis}


@_register(package="metricops")
class NPairsLoss(AddonsLoss):
    """N-pairs loss of a similarity matrix.

    ``tfa.losses.NpairsLoss`` over `metricops.npairs_loss`. `y_true` holds the labels,
    of shape (n,) or (n, 1), and `y_pred` the similarities of anchors to candidates, of
    shape (n, n), say of `PairwiseInnerProduct`. There is a loss for each anchor; the
    mean counts those that have a positive. Minus infinity in `y_pred` masks a pair;
    with a Keras mask and sample weights, it must leave each anchor a positive.

    Parameters
    ----------
    name, reduction, dtype
        As in `CosineSimilarity`.

    Examples
    --------
    >>> from metricops.adapters.keras import NPairsLoss
    >>> similarity = [[2.0, 0.0, -2.0], [0.0, 2.0, 0.0], [-2.0, 0.0, 2.0]]
    >>> round(float(NPairsLoss()([7, 8, 7], similarity)), 4)
    1.5085
    """

    _function = staticmethod(metricops.npairs_loss)
    _all_count = True  # its own positive at least, unless minus infinity masks it

    def __init__(
        self,
        name: str | None = "npairs_loss",
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)


@_register(package="metricops")
class NPairsMultilabelLoss(AddonsLoss):
    """N-pairs loss of a similarity matrix whose rows have several labels.

    ``tfa.losses.NpairsMultilabelLoss`` over `metricops.npairs_multilabel_loss`.
    `y_true` is multi-hot, of shape (n, c), also a ``tf.SparseTensor``; `y_pred` holds
    the similarities, of shape (n, n). An anchor without labels is not counted.

    Parameters
    ----------
    name, reduction, dtype
        As in `CosineSimilarity`.

    Examples
    --------
    >>> from metricops.adapters.keras import NPairsMultilabelLoss
    >>> similarity = [[2.0, 0.0, -2.0], [0.0, 2.0, 0.0], [-2.0, 0.0, 2.0]]
    >>> loss = NPairsMultilabelLoss()([[1, 1], [0, 1], [1, 0]], similarity)
    >>> round(float(loss), 4)
    1.6751
    """

    _function = staticmethod(metricops.npairs_multilabel_loss)

    def __init__(
        self,
        name: str | None = "npairs_multilabel_loss",
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)


NpairsLoss = NPairsLoss
"""The name in TensorFlow Addons."""

NpairsMultilabelLoss = NPairsMultilabelLoss
"""The name in TensorFlow Addons."""


@_register(package="metricops")
class NPairsEmbeddingLoss(PairsLoss):
    """N-pairs loss of embeddings, without ever holding their similarities.

    `metricops.npairs_loss_from_embeddings`: with `normalize` InfoNCE, with `symmetric`
    too CLIP's loss. `y_pred` has shape (n, 2, d), anchors and their positives stacked;
    `y_true` holds the labels of the pairs, of shape (n,) or (n, 1), or multi-hot of
    shape (n, c), or is None where no two pairs are of one class.

    Parameters
    ----------
    name, reduction, dtype
        As in `CosineSimilarity`.
    temperature : float
        What divides the similarities; positive.
    normalize : bool
        Whether to scale embeddings to unit length first.
    symmetric : bool
        Whether to take the mean with the loss of the positives against the anchors.
    exclude_diagonal : bool
        Whether pair (i, i) takes no part.
    l2_weight : float
        Adds ``l2_weight * (mean ||a||**2 + mean ||p||**2) / 4``.
    label_smoothing : float
        The share of the targets that is spread evenly over all candidates.
    denominator : {"all", "own", "negatives"}
        With what a positive competes.
    block_size : int, optional
        How many anchors to compare at once. Any value gives the same result.
    gather : bool
        Whether a replica of ``tf.distribute.MirroredStrategy`` or
        ``MultiWorkerMirroredStrategy`` takes its anchors against the candidates of all
        replicas, so that the loss and its gradients are those of the whole batch.
        Outside of a replica, and on JAX, whose arrays hold the whole batch also where
        they are sharded, nothing is to be gathered, and it changes nothing. In a
        process group of PyTorch it is a `ValueError`; in a replica so is a Keras mask.

    Examples
    --------
    >>> from metricops.adapters.keras import NPairsEmbeddingLoss
    >>> pairs = [[[1.0, 0.0], [2.0, 0.0]], [[0.0, 1.0], [0.0, 2.0]]]
    >>> round(float(NPairsEmbeddingLoss()([7, 8], pairs)), 4)
    0.1269
    """

    _function = staticmethod(metricops.npairs_loss_from_embeddings)

    def __init__(
        self,
        name: str | None = "npairs_embedding_loss",
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
        *,
        temperature: float = 1.0,
        normalize: bool = False,
        symmetric: bool = False,
        exclude_diagonal: bool = False,
        l2_weight: float = 0.0,
        label_smoothing: float = 0.0,
        denominator: metricops.Denominator = "all",
        block_size: int | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__(name, reduction, dtype, gather)
        self._take(
            temperature=temperature,
            normalize=normalize,
            symmetric=symmetric,
            exclude_diagonal=exclude_diagonal,
            l2_weight=l2_weight,
            label_smoothing=label_smoothing,
            denominator=denominator,
            block_size=block_size,
        )

    def _counts_each(self, y_true: Any) -> bool:
        if self.options["exclude_diagonal"]:
            return False
        shape: tuple[Any, ...] = () if y_true is None else np.shape(y_true)
        is_multihot = len(shape) == 2 and shape[1] != 1
        return self.options["denominator"] != "negatives" and not is_multihot


@_register(package="metricops")
def cosine_similarity(
    y_true: Any, y_pred: Any, axis: int | tuple[int, ...] | None = -1
) -> Any:
    """Return the negative cosine of each vector of `y_true` and its one of `y_pred`.

    ``keras.losses.cosine_similarity`` over `metricops.cosine_similarity_loss`.

    Parameters
    ----------
    y_true, y_pred : tensors or lists of one shape
        Targets and predictions, vectors along `axis`.
    axis : int or tuple of ints, or None
        The axis, or axes, that make up a vector. None: all of them.

    Returns
    -------
    tensor of the shape of `y_pred` without `axis`, in the dtype that both promote to
        In [-1, 1]: -1 where directions agree, 0 where a vector is zero.

    Raises
    ------
    ValueError
        If the shapes differ, or `axis` is not an axis.

    Examples
    --------
    >>> from metricops.adapters.keras import cosine_similarity
    >>> losses = cosine_similarity([[3.0, 4.0], [1.0, 0.0]], [[6.0, 8.0], [-2.0, 0.0]])
    >>> [round(float(loss), 4) for loss in losses]
    [-1.0, 1.0]
    """
    if is_symbolic(y_true, y_pred):
        return Apply(cosine_similarity, axis=axis)(y_true, y_pred)
    return _cosine_loss(tensor(y_true), tensor(y_pred), axis)


@_register(package="metricops")
def npairs_loss(y_true: Any, y_pred: Any) -> Any:
    """Return the mean N-pairs loss of a similarity matrix.

    ``tfa.losses.npairs_loss`` over `metricops.npairs_loss`.

    Parameters
    ----------
    y_true : tensor or list of shape (n,) or (n, 1)
        The label of each anchor.
    y_pred : tensor or list of shape (n, n)
        Similarity of anchor i to candidate j. Minus infinity masks a pair.

    Returns
    -------
    tensor of shape (), in the dtype of `y_pred`
        Nonnegative, in nats; 0 of an empty batch.

    Raises
    ------
    ValueError
        If a shape does not fit.

    Examples
    --------
    >>> from metricops.adapters.keras import npairs_loss
    >>> round(float(npairs_loss([7, 8], [[2.0, 0.0], [0.0, 2.0]])), 4)
    0.1269
    """
    if is_symbolic(y_true, y_pred):
        return Apply(npairs_loss)(y_true, y_pred)
    return renamed(NAMES, metricops.npairs_loss, tensor(y_pred), dense(y_true))


@_register(package="metricops")
def npairs_multilabel_loss(y_true: Any, y_pred: Any) -> Any:
    """Return the mean N-pairs loss of a similarity matrix of several labels a row.

    ``tfa.losses.npairs_multilabel_loss`` over `metricops.npairs_multilabel_loss`.

    Parameters
    ----------
    y_true : tensor or list of shape (n, c), also a ``tf.SparseTensor``
        Multi-hot labels of the anchors.
    y_pred : tensor or list of shape (n, n)
        Similarity of anchor i to candidate j. Minus infinity masks a pair.

    Returns
    -------
    tensor of shape (), in the dtype of `y_pred`
        Nonnegative, in nats. An anchor without labels is not counted.

    Raises
    ------
    ValueError
        If a shape does not fit.

    Examples
    --------
    >>> from metricops.adapters.keras import npairs_multilabel_loss
    >>> loss = npairs_multilabel_loss([[1, 0], [0, 1]], [[2.0, 0.0], [0.0, 2.0]])
    >>> round(float(loss), 4)
    0.1269
    """
    if is_symbolic(y_true, y_pred):
        return Apply(npairs_multilabel_loss)(y_true, y_pred)
    function = metricops.npairs_multilabel_loss
    return renamed(NAMES, function, tensor(y_pred), dense(y_true))


def _cosine_loss(
    y_true: Any,
    y_pred: Any,
    axis: int | tuple[int, ...] | None,
    sample_weight: Any = None,
    reduction: Reduction = "none",
) -> Any:
    y_true, y_pred = same_rank(y_true, y_pred)
    return metricops.cosine_similarity_loss(
        y_true,
        y_pred,
        axis=tuple(range(len(y_pred.shape))) if axis is None else axis,
        sample_weight=sample_weight,
        reduction=reduction,
    )
