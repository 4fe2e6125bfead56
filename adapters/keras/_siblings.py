"""Losses of pairs and triplets: Keras' conventions around the functions of metricops.

The module is long, as each loss has its options and their description.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

import metricops
from metricops import _checks
from metricops._arguments.options import check_number
from metricops._losses.triplet_matrix import triplet_loss_of_matrix

from ._base import AddonsLoss, EmbeddingLoss, Loss, PairsLoss, Reduction
from ._inputs import NAMES, Apply, dense, is_symbolic, plain, renamed, tensor

_register = keras.saving.register_keras_serializable
_DISTANCES = {"distances": "y_pred", "same": "y_true"}
_METRICS = {"L2": "euclidean", "squared-L2": "squared_euclidean", "angular": "cosine"}


@_register(package="metricops")
class SigmoidEmbeddingLoss(PairsLoss):
    """Sigmoid loss of embeddings, as `metricops.sigmoid_loss_from_embeddings`.

    With `normalize` SigLIP's. `y_pred` has shape (n, 2, d), anchors and their positives
    stacked; `y_true` holds the labels of the pairs, of shape (n,) or (n, 1), or
    multi-hot of shape (n, c), or is None where no two pairs are of one class.

    Parameters
    ----------
    name, reduction, dtype
        As in `CosineSimilarity`.
    temperature : float
        What divides the similarities; positive.
    bias : float
        Added to the scores.
    normalize : bool
        Whether to scale embeddings to unit length first.
    block_size : int, optional
        How many anchors to compare at once. Any value gives the same result.
    gather
        As in `NPairsEmbeddingLoss`.

    Examples
    --------
    >>> from metricops.adapters.keras import SigmoidEmbeddingLoss
    >>> pairs = [[[1.0, 0.0], [3.0, 0.0]], [[0.0, 1.0], [0.0, 3.0]]]
    >>> loss = SigmoidEmbeddingLoss(temperature=0.5, bias=-1.0, normalize=True)
    >>> round(float(loss([7, 8], pairs)), 4)
    0.6265
    """

    _function = staticmethod(metricops.sigmoid_loss_from_embeddings)
    _all_count = True

    def __init__(
        self,
        name: str | None = "sigmoid_embedding_loss",
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
        *,
        temperature: float = 0.1,
        bias: float = -10.0,
        normalize: bool = False,
        block_size: int | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__(name, reduction, dtype, gather)
        self._take(
            temperature=temperature,
            bias=bias,
            normalize=normalize,
            block_size=block_size,
        )


@_register(package="metricops")
class TripletEmbeddingLoss(EmbeddingLoss):
    """Triplet loss of embeddings, as `metricops.triplet_loss_from_embeddings`.

    `y_pred` holds the embeddings, of shape (n, d), and `y_true` their labels, of shape
    (n,) or (n, 1), or multi-hot of shape (n, c).

    Parameters
    ----------
    name, reduction, dtype
        As in `CosineSimilarity`.
    margin, positives, negatives, metric, normalize, swap, block_size
        As in `metricops.triplet_loss_from_embeddings`.
    gather
        As in `NPairsEmbeddingLoss`.

    Examples
    --------
    >>> from metricops.adapters.keras import TripletEmbeddingLoss
    >>> embeddings = [[0.0, 0.0], [0.0, 1.0], [1.5, 0.0]]
    >>> round(float(TripletEmbeddingLoss(negatives="hard")([0, 0, 1], embeddings)), 4)
    0.3486
    """

    _function = staticmethod(metricops.triplet_loss_from_embeddings)

    def __init__(
        self,
        name: str | None = "triplet_embedding_loss",
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
        *,
        margin: float | None = 1.0,
        positives: str = "all",
        negatives: str = "semihard",
        metric: str = "euclidean",
        normalize: bool = False,
        swap: bool = False,
        block_size: int | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__(name, reduction, dtype, gather)
        self._take(
            margin=margin,
            positives=positives,
            negatives=negatives,
            metric=metric,
            normalize=normalize,
            swap=swap,
            block_size=block_size,
        )


@_register(package="metricops")
class ContrastiveEmbeddingLoss(EmbeddingLoss):
    """Contrastive loss of embeddings: `metricops.contrastive_loss_from_embeddings`.

    `y_pred` holds the embeddings, of shape (n, d), and `y_true` their labels, of shape
    (n,) or (n, 1), or multi-hot of shape (n, c).

    Parameters
    ----------
    name, reduction, dtype
        As in `CosineSimilarity`.
    positive_margin, negative_margin, power, metric, normalize, block_size
        As in `metricops.contrastive_loss_from_embeddings`.
    gather
        As in `NPairsEmbeddingLoss`.

    Examples
    --------
    >>> from metricops.adapters.keras import ContrastiveEmbeddingLoss
    >>> embeddings = [[0.0, 0.0], [0.0, 0.5], [0.5, 0.0]]
    >>> round(float(ContrastiveEmbeddingLoss()([0, 0, 1], embeddings)), 4)
    0.4179
    """

    _function = staticmethod(metricops.contrastive_loss_from_embeddings)

    def __init__(
        self,
        name: str | None = "contrastive_embedding_loss",
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
        *,
        positive_margin: float = 0.0,
        negative_margin: float = 1.0,
        power: int = 2,
        metric: str = "euclidean",
        normalize: bool = False,
        block_size: int | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__(name, reduction, dtype, gather)
        self._take(
            positive_margin=positive_margin,
            negative_margin=negative_margin,
            power=power,
            metric=metric,
            normalize=normalize,
            block_size=block_size,
        )


@_register(package="metricops")
class ContrastiveLoss(Loss):
    """Contrastive loss of the distances of pairs.

    ``tfa.losses.ContrastiveLoss`` over `metricops.contrastive_loss`. `y_true` says
    whether the two of a pair are of one class, and `y_pred` is their distance, both of
    one shape; one may have a last axis of 1 that the other lacks, which is dropped.

    Parameters
    ----------
    margin : float
        How far apart pairs of two classes are to be.
    reduction, name, dtype
        As in `CosineSimilarity`.

    Examples
    --------
    >>> from metricops.adapters.keras import ContrastiveLoss
    >>> round(float(ContrastiveLoss()([1, 0, 0], [0.5, 0.5, 2.0])), 4)
    0.1667
    """

    _names: ClassVar[dict[str, str]] = _DISTANCES
    _all_count = True

    def __init__(
        self,
        margin: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "contrastive_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.margin = margin
        check_number("margin", margin)

    def call(
        self,
        y_true: Any,
        y_pred: Any,
        sample_weight: Any = None,
        reduction: Reduction = "none",
    ) -> Any:
        """Return the losses, of the shape of `y_true` and `y_pred`, or their mean."""
        return metricops.contrastive_loss(
            *_distances(y_true, y_pred),
            margin=self.margin,
            sample_weight=sample_weight,
            reduction=reduction,
        )

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this loss again."""
        return {**super().get_config(), **plain({"margin": self.margin})}


@_register(package="metricops")
class TripletSemiHardLoss(EmbeddingLoss, AddonsLoss):
    """Triplet loss of each positive and the nearest negative beyond it.

    ``tfa.losses.TripletSemiHardLoss`` over `metricops.triplet_loss_from_embeddings`.
    `y_true` holds the labels, of shape (n,) or (n, 1), and `y_pred` the embeddings, of
    shape (n, d). An anchor without a positive or without a negative does not count.

    Parameters
    ----------
    margin : float
        By how much the negative is to be farther than the positive.
    distance_metric : {"L2", "squared-L2", "angular"} or callable
        The distance, or a function of the embeddings, (n, d), that returns a tensor of
        the distances of all pairs, (n, n).
    name, reduction, dtype
        As in `CosineSimilarity`.
    gather
        As in `NPairsEmbeddingLoss`; not possible where `distance_metric` is callable.

    Examples
    --------
    >>> from metricops.adapters.keras import TripletSemiHardLoss
    >>> embeddings = [[0.0, 0.0], [0.0, 1.0], [1.5, 0.0]]
    >>> round(float(TripletSemiHardLoss()([0, 0, 1], embeddings)), 4)
    0.3486
    """

    _mined: ClassVar[dict[str, Any]] = {"positives": "all", "negatives": "semihard"}

    def __init__(
        self,
        margin: float = 1.0,
        distance_metric: Any = "L2",
        name: str | None = None,
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
        gather: bool = False,
    ) -> None:
        super().__init__(name, reduction, dtype, gather)
        self.margin = margin
        check_number("margin", margin)
        self.distance_metric = distance_metric
        if gather or not callable(distance_metric):
            _metric(distance_metric, " with `gather`" if gather else "")

    def among(
        self, candidates: Any, labels: Any, y_true: Any, y_pred: Any, **given: Any
    ) -> Any:
        """Return what `call` does, against candidates of which the first are `y_pred`.

        Of a function, the matrix of distances is held.
        """
        given |= {"margin": self._margin(), **self._mined}
        if candidates is None:
            return _triplets(
                y_true, y_pred, self.distance_metric, self._of_batch, **given
            )
        return metricops.triplet_loss_from_embeddings(
            y_pred,
            candidates,
            dense(y_true),
            candidate_labels=labels,
            exclude_diagonal=True,
            metric=_metric(self.distance_metric, " with a memory"),
            **given,
        )

    def _margin(self) -> float | None:
        return self.margin

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this loss again."""
        metric = self.distance_metric
        if callable(metric):
            metric = keras.saving.serialize_keras_object(metric)
        own = {"margin": self.margin, "distance_metric": metric}
        return {**super().get_config(), **plain(own)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Loss":
        """Return the loss of a config, of ours or of TensorFlow Addons."""
        metric = config.get("distance_metric", "L2")
        if isinstance(metric, Mapping):
            metric = keras.saving.deserialize_keras_object(metric)
        return super().from_config({**config, "distance_metric": metric})


@_register(package="metricops")
class TripletHardLoss(TripletSemiHardLoss):
    """Triplet loss of the farthest positive and the nearest negative.

    ``tfa.losses.TripletHardLoss`` over `metricops.triplet_loss_from_embeddings`.
    `y_true` holds the labels, of shape (n,) or (n, 1), and `y_pred` the embeddings, of
    shape (n, d). An anchor without a positive or without a negative does not count.

    Parameters
    ----------
    margin : float
        By how much the negative is to be farther than the positive.
    soft : bool
        Whether a triplet costs the softplus of the difference, without the margin.
    distance_metric : {"L2", "squared-L2", "angular"} or callable
        The distance, or a function of the embeddings, (n, d), that returns a tensor of
        the distances of all pairs, (n, n).
    name, reduction, dtype
        As in `CosineSimilarity`.
    gather
        As in `NPairsEmbeddingLoss`; not possible where `distance_metric` is callable.

    Examples
    --------
    >>> from metricops.adapters.keras import TripletHardLoss
    >>> embeddings = [[0.0, 0.0], [0.0, 1.0], [1.5, 0.0]]
    >>> round(float(TripletHardLoss()([0, 0, 1], embeddings)), 4)
    0.3486
    """

    _mined: ClassVar[dict[str, Any]] = {"positives": "hard", "negatives": "hard"}

    def __init__(
        self,
        margin: float = 1.0,
        soft: bool = False,
        distance_metric: Any = "L2",
        name: str | None = None,
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
        gather: bool = False,
    ) -> None:
        super().__init__(margin, distance_metric, name, reduction, dtype, gather)
        self.soft = _checks.check_bool("soft", soft)

    def _margin(self) -> float | None:
        return None if self.soft else self.margin

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this loss again."""
        return {**super().get_config(), **plain({"soft": self.soft})}


@_register(package="metricops")
def contrastive_loss(y_true: Any, y_pred: Any, margin: float = 1.0) -> Any:
    """Return the contrastive loss of each pair.

    ``tfa.losses.contrastive_loss`` over `metricops.contrastive_loss`.

    Parameters
    ----------
    y_true : tensor or list of the shape of `y_pred`
        Whether the two of a pair are of one class.
    y_pred : tensor or list
        The distance of each pair. One of both may have a last axis of 1 that the other
        lacks, which is dropped.
    margin : float
        How far apart pairs of two classes are to be.

    Returns
    -------
    tensor of the shape of both, in the dtype of `y_pred`
        Nonnegative.

    Raises
    ------
    ValueError
        If a shape does not fit.

    Examples
    --------
    >>> from metricops.adapters.keras import contrastive_loss
    >>> [float(x) for x in contrastive_loss([1, 0, 0], [0.5, 0.5, 2.0])]
    [0.25, 0.25, 0.0]
    """
    if is_symbolic(y_true, y_pred):
        return Apply(contrastive_loss, margin=margin)(y_true, y_pred)
    given = _distances(y_true, tensor(y_pred))
    options: dict[str, Any] = {"margin": margin, "reduction": "none"}
    return renamed(_DISTANCES, metricops.contrastive_loss, *given, **options)


@_register(package="metricops")
def triplet_semihard_loss(
    y_true: Any, y_pred: Any, margin: float = 1.0, distance_metric: Any = "L2"
) -> Any:
    """Return the mean triplet loss of each positive and the nearest negative beyond it.

    ``tfa.losses.triplet_semihard_loss`` over `metricops.triplet_loss_from_embeddings`.

    Parameters
    ----------
    y_true : tensor or list of shape (n,) or (n, 1)
        The labels.
    y_pred : tensor or list of shape (n, d)
        The embeddings.
    margin : float
        By how much the negative is to be farther than the positive.
    distance_metric : {"L2", "squared-L2", "angular"} or callable
        The distance, or a function of the embeddings, (n, d), that returns a tensor of
        the distances of all pairs, (n, n).

    Returns
    -------
    tensor of shape (), in the dtype of `y_pred`
        Nonnegative; 0 where there is no triplet.

    Raises
    ------
    ValueError
        If a shape does not fit.

    Examples
    --------
    >>> from metricops.adapters.keras import triplet_semihard_loss
    >>> embeddings = [[0.0, 0.0], [0.0, 1.0], [1.5, 0.0]]
    >>> round(float(triplet_semihard_loss([0, 0, 1], embeddings)), 4)
    0.3486
    """
    if is_symbolic(y_true, y_pred):
        options: dict[str, Any] = {"margin": margin}
        options["distance_metric"] = distance_metric
        return Apply(triplet_semihard_loss, **options)(y_true, y_pred)
    given = y_true, tensor(y_pred), distance_metric
    return renamed(NAMES, _triplets, *given, margin=margin)


@_register(package="metricops")
def triplet_hard_loss(
    y_true: Any,
    y_pred: Any,
    margin: float = 1.0,
    soft: bool = False,
    distance_metric: Any = "L2",
) -> Any:
    """Return the mean triplet loss of the farthest positive and the nearest negative.

    ``tfa.losses.triplet_hard_loss`` over `metricops.triplet_loss_from_embeddings`.

    Parameters
    ----------
    y_true : tensor or list of shape (n,) or (n, 1)
        The labels.
    y_pred : tensor or list of shape (n, d)
        The embeddings.
    margin : float
        By how much the negative is to be farther than the positive.
    soft : bool
        Whether a triplet costs the softplus of the difference, without the margin.
    distance_metric : {"L2", "squared-L2", "angular"} or callable
        The distance, or a function of the embeddings, (n, d), that returns a tensor of
        the distances of all pairs, (n, n).

    Returns
    -------
    tensor of shape (), in the dtype of `y_pred`
        Nonnegative; 0 where there is no triplet.

    Raises
    ------
    ValueError
        If a shape does not fit.

    Examples
    --------
    >>> from metricops.adapters.keras import triplet_hard_loss
    >>> embeddings = [[0.0, 0.0], [0.0, 1.0], [1.5, 0.0]]
    >>> round(float(triplet_hard_loss([0, 0, 1], embeddings)), 4)
    0.3486
    """
    if is_symbolic(y_true, y_pred):
        options: dict[str, Any] = {"margin": margin, "soft": soft}
        options["distance_metric"] = distance_metric
        return Apply(triplet_hard_loss, **options)(y_true, y_pred)
    mined: dict[str, Any] = {"positives": "hard", "negatives": "hard"}
    margin_or_none = None if soft else margin
    given = y_true, tensor(y_pred), distance_metric
    return renamed(NAMES, _triplets, *given, margin=margin_or_none, **mined)


def _distances(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Return distances and which are of one class, as `contrastive_loss` takes them.

    A model returns a column of distances, of shape (n, 1), where labels are (n,).
    """
    shape = y_pred.shape
    if len(shape) == len(np.shape(y_true)) + 1 and shape[-1] == 1:
        y_pred = ops.squeeze(y_pred, axis=-1)
    return y_pred, dense(y_true)


def _called(function: Any, *arrays: Any, **options: Any) -> Any:
    return function(*arrays, **options)


def _triplets(
    y_true: Any,
    y_pred: Any,
    distance_metric: Any,
    call: Callable[..., Any] = _called,
    **options: Any,
) -> Any:
    """Return the triplet loss by a metric that has a name, or that is a function."""
    labels = dense(y_true)
    if callable(distance_metric):
        return triplet_loss_of_matrix(distance_metric(y_pred), labels, **options)
    loss, metric = metricops.triplet_loss_from_embeddings, _metric(distance_metric)
    return call(loss, y_pred, None, labels, metric=metric, **options)


def _metric(distance_metric: Any, where: str = "") -> str:
    """Return the name here of a metric of TensorFlow Addons."""
    found = _METRICS.get(distance_metric)
    if found is None:
        words = ", ".join(f'"{word}"' for word in _METRICS)
        got = f"got {distance_metric!r}"
        msg = f"`distance_metric` must be one of {words}{where}; {got}."
        raise ValueError(msg)
    return found
