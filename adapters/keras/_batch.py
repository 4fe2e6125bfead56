"""Losses of batches, of two views and of scores, as metricops and Keras name them.

The module is long, as each loss has its options and their description.
"""

from typing import Any

import keras
from keras import ops
from metricops.adapters._modules import check_options, shape_of_proxies

import metricops
from metricops import _checks

from ._base import AddonsLoss, EmbeddingLoss, Loss, Reduction, views_of
from ._inputs import Apply, dense, held, is_symbolic, plain, tensor

_register = keras.saving.register_keras_serializable


@_register(package="metricops")
class Circle(EmbeddingLoss):
    """Circle loss.

    ``keras.losses.Circle`` over `metricops.circle_loss_from_embeddings`, whose weights
    are constants, as in the paper, and whose labels are compared as they are. `y_true`
    holds the labels, of shape (n,) or (n, 1), and `y_pred` the embeddings, of shape
    (n, d). An anchor without a positive or without a negative does not count.

    Parameters
    ----------
    gamma : float
        What the weighted similarities are multiplied by.
    margin : float
        How far similarities may be from their ideals, 1 and 0.
    remove_diagonal : bool
        Whether an anchor is no positive of itself.
    reduction, name, dtype
        As in `CosineSimilarity`.
    gather
        As in `NPairsEmbeddingLoss`.

    Examples
    --------
    >>> from metricops.adapters.keras import Circle
    >>> embeddings = [[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]]
    >>> round(float(Circle()([0, 0, 1], embeddings)), 3)
    28.865
    """

    _function = staticmethod(metricops.circle_loss_from_embeddings)

    def __init__(
        self,
        gamma: float = 80.0,
        margin: float = 0.4,
        remove_diagonal: bool = True,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "circle",
        dtype: Any = None,
        gather: bool = False,
    ) -> None:
        super().__init__(name, reduction, dtype, gather)
        _checks.check_bool("remove_diagonal", remove_diagonal)
        self._take(gamma=gamma, margin=margin, remove_diagonal=remove_diagonal)

    def _arguments(self) -> dict[str, Any]:
        own = {name: self.options[name] for name in ("gamma", "margin")}
        return {**own, "exclude_diagonal": self.options["remove_diagonal"]}


class _ViewsLoss(Loss):
    """A loss of two views, which is one number; its `options` are the function's."""

    def call(
        self,
        y_true: Any,
        y_pred: Any,
        sample_weight: Any = None,
        reduction: Reduction = "none",
    ) -> Any:
        """Return the loss of all views, of shape ()."""
        views = views_of(y_pred)
        _refuse_weights(sample_weight)
        return self._function(*views, **self.options)


@_register(package="metricops")
class BarlowTwinsLoss(_ViewsLoss):
    """Barlow Twins' loss of two views, as `metricops.barlow_twins_loss`.

    `y_pred` has shape (n, 2, d), two views of each sample stacked; `y_true` is not
    read. The loss is one number, whatever the reduction.

    Parameters
    ----------
    name, reduction, dtype
        As in `CosineSimilarity`.
    off_diagonal_weight : float
        What correlations of different features weigh.

    Examples
    --------
    >>> from metricops.adapters.keras import BarlowTwinsLoss
    >>> views = [[[1.0, 0.0], [2.0, 0.0]], [[0.0, 1.0], [0.0, 2.0]], [[0.0] * 2] * 2]
    >>> round(float(BarlowTwinsLoss()(None, views)), 4)
    0.0025
    """

    _function = staticmethod(metricops.barlow_twins_loss)

    def __init__(
        self,
        name: str | None = "barlow_twins_loss",
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
        *,
        off_diagonal_weight: float = 5e-3,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self._take(off_diagonal_weight=off_diagonal_weight)


@_register(package="metricops")
class VICRegLoss(_ViewsLoss):
    """VICReg's loss of two views, as `metricops.vicreg_loss`.

    `y_pred` has shape (n, 2, d), two views of each sample stacked; `y_true` is not
    read. The loss is one number, whatever the reduction.

    Parameters
    ----------
    name, reduction, dtype
        As in `CosineSimilarity`.
    invariance, variance, covariance, epsilon, ddof
        As in `metricops.vicreg_loss`.

    Examples
    --------
    >>> from metricops.adapters.keras import VICRegLoss
    >>> views = [[[1.0, 0.0], [2.0, 0.0]], [[0.0, 1.0], [0.0, 2.0]], [[0.0] * 2] * 2]
    >>> round(float(VICRegLoss()(None, views)), 3)
    14.088
    """

    _function = staticmethod(metricops.vicreg_loss)

    def __init__(
        self,
        name: str | None = "vicreg_loss",
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
        *,
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
        epsilon: float = 1e-4,
        ddof: int = 1,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self._take(
            invariance=invariance,
            variance=variance,
            covariance=covariance,
            epsilon=epsilon,
            ddof=ddof,
        )


@_register(package="metricops")
class CoSENTLoss(Loss):
    """CoSENT's loss of similarities, as `metricops.cosent_loss`.

    `y_true` holds the scores, and `y_pred` the similarities, both of shape (n,) or
    (n, 1). The loss is one number, whatever the reduction.

    Parameters
    ----------
    name, reduction, dtype
        As in `CosineSimilarity`.
    temperature : float
        What divides the similarities; positive.

    Examples
    --------
    >>> from metricops.adapters.keras import CoSENTLoss
    >>> round(float(CoSENTLoss()([0.5, 1.0, 0.0], [0.9, 0.8, 0.1])), 4)
    2.1269
    """

    _function = staticmethod(metricops.cosent_loss)

    def __init__(
        self,
        name: str | None = "cosent_loss",
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
        *,
        temperature: float = 0.05,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self._take(temperature=temperature)

    def call(
        self,
        y_true: Any,
        y_pred: Any,
        sample_weight: Any = None,
        reduction: Reduction = "none",
    ) -> Any:
        """Return the loss of all similarities, of shape ()."""
        _refuse_weights(sample_weight)
        if len(y_pred.shape) == 2 and y_pred.shape[1] == 1:
            y_pred = ops.squeeze(y_pred, axis=1)
        return self._function(y_pred, dense(y_true), **self.options)


class _LiftedLoss(Loss):
    """A loss of all positive pairs of a batch, which is one number."""

    _function = staticmethod(metricops.lifted_structure_loss_from_embeddings)

    def call(
        self,
        y_true: Any,
        y_pred: Any,
        sample_weight: Any = None,
        reduction: Reduction = "none",
    ) -> Any:
        """Return the loss of all positive pairs, of shape ()."""
        _refuse_weights(sample_weight)
        return self._function(
            y_pred, dense(y_true), reduction=reduction, **self.options
        )


@_register(package="metricops")
class LiftedStructureLoss(_LiftedLoss):
    """Lifted structure loss, as `metricops.lifted_structure_loss_from_embeddings`.

    `y_true` holds the labels, of shape (n,) or (n, 1), and `y_pred` the embeddings, of
    shape (n, d). The mean is over the positive pairs.

    Parameters
    ----------
    name, reduction, dtype
        As in `CosineSimilarity`; "none" is not possible.
    margin, metric, normalize, block_size
        As in `metricops.lifted_structure_loss_from_embeddings`.

    Examples
    --------
    >>> from metricops.adapters.keras import LiftedStructureLoss
    >>> embeddings = [[0.0, 0.0], [0.0, 1.0], [1.5, 0.0]]
    >>> round(float(LiftedStructureLoss()([0, 0, 1], embeddings)), 4)
    0.5546
    """

    def __init__(
        self,
        name: str | None = "lifted_structure_loss",
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
        *,
        margin: float = 1.0,
        metric: str = "euclidean",
        normalize: bool = False,
        block_size: int | None = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self._take(
            margin=margin, metric=metric, normalize=normalize, block_size=block_size
        )


@_register(package="metricops")
class LiftedStructLoss(_LiftedLoss, AddonsLoss):
    """Lifted structure loss.

    ``tfa.losses.LiftedStructLoss`` over
    `metricops.lifted_structure_loss_from_embeddings`. `y_true` holds the labels, of
    shape (n,) or (n, 1), and `y_pred` the embeddings, of shape (n, d). Without a
    positive or without a negative the loss is 0, and no NaN.

    Parameters
    ----------
    margin : float
        How far apart pairs of two classes are to be.
    name, reduction, dtype
        As in `CosineSimilarity`; "none" is not possible.

    Examples
    --------
    >>> from metricops.adapters.keras import LiftedStructLoss
    >>> embeddings = [[0.0, 0.0], [0.0, 1.0], [1.5, 0.0]]
    >>> round(float(LiftedStructLoss()([0, 0, 1], embeddings)), 4)
    0.5546
    """

    def __init__(
        self,
        margin: float = 1.0,
        name: str | None = None,
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self._take(margin=margin)


@_register(package="metricops")
def lifted_struct_loss(labels: Any, embeddings: Any, margin: float = 1.0) -> Any:
    """Return the lifted structure loss.

    ``tfa.losses.lifted_struct_loss`` over
    `metricops.lifted_structure_loss_from_embeddings`.

    Parameters
    ----------
    labels : tensor or list of shape (n,) or (n, 1)
        The labels.
    embeddings : tensor or list of shape (n, d)
        The embeddings.
    margin : float
        How far apart pairs of two classes are to be.

    Returns
    -------
    tensor of shape (), in the dtype of `embeddings`
        Nonnegative; 0 without a positive or without a negative.

    Raises
    ------
    ValueError
        If a shape does not fit.

    Examples
    --------
    >>> from metricops.adapters.keras import lifted_struct_loss
    >>> embeddings = [[0.0, 0.0], [0.0, 1.0], [1.5, 0.0]]
    >>> round(float(lifted_struct_loss([0, 0, 1], embeddings)), 4)
    0.5546
    """
    if is_symbolic(labels, embeddings):
        return Apply(lifted_struct_loss, margin=margin)(labels, embeddings)
    return metricops.lifted_structure_loss_from_embeddings(
        tensor(embeddings), dense(labels), margin=margin
    )


@_register(package="metricops")
class MarginSoftmaxLoss(keras.layers.Layer):
    """`metricops.margin_softmax_loss_from_embeddings` with proxies that are learnt.

    A layer, as Keras does not train the weights of a loss: it is called with embeddings
    and labels, returns the loss, and adds it to those of the model. So the model takes
    its labels as an input, and is compiled without a loss.

    Parameters
    ----------
    num_classes, embedding_size : int
        How many proxies there are, and how many numbers each has.
    scale, margin, angular_margin, label_smoothing, block_size
        As in `metricops.margin_softmax_loss_from_embeddings`.
    **kwargs
        As in `keras.layers.Layer`.

    Examples
    --------
    >>> from metricops.adapters.keras import MarginSoftmaxLoss
    >>> import numpy as np
    >>> loss = MarginSoftmaxLoss(num_classes=3, embedding_size=2)
    >>> found = loss(np.asarray([[1.0, 0.0], [0.0, 1.0]]), np.asarray([0, 2]))
    >>> tuple(found.shape), len(loss.losses), tuple(loss.proxies.shape)
    ((), 1, (3, 2))
    """

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        *,
        scale: float = 64.0,
        margin: float = 0.35,
        angular_margin: float = 0.0,
        label_smoothing: float = 0.0,
        block_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        # Keras would cast labels that are floats to the dtype of the layer, a half too.
        super().__init__(**{**kwargs, "autocast": False})
        shape = shape_of_proxies(num_classes, embedding_size)
        self.num_classes, self.embedding_size = shape
        self.options: dict[str, Any] = {
            "scale": scale,
            "margin": margin,
            "angular_margin": angular_margin,
            "label_smoothing": label_smoothing,
            "block_size": block_size,
        }
        check_options(metricops.margin_softmax_loss_from_embeddings, **self.options)
        self.proxies = self.add_weight(
            shape=shape,
            initializer=keras.initializers.RandomNormal(stddev=1.0),
            name="proxies",
        )

    def __call__(self, embeddings: Any, labels: Any, **kwargs: Any) -> Any:
        """Return what `call` does, of tensors, NumPy arrays or lists."""
        embeddings = embeddings if is_symbolic(embeddings) else tensor(embeddings)
        if not is_symbolic(labels):
            labels = held("labels", labels)
        return super().__call__(embeddings, labels, **kwargs)

    def call(self, embeddings: Any, labels: Any) -> Any:
        """Return the loss of embeddings, shape (n, d), with their `labels`, (n,)."""
        loss = metricops.margin_softmax_loss_from_embeddings(
            ops.cast(embeddings, self.compute_dtype),
            ops.convert_to_tensor(self.proxies, dtype=self.compute_dtype),
            ops.reshape(labels, (-1,)),
            **self.options,
        )
        self.add_loss(loss)
        return loss

    def compute_output_shape(self, *shapes: Any) -> tuple[()]:
        """Return the shape of the loss."""
        return ()

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this layer again."""
        sizes = {"num_classes": self.num_classes, "embedding_size": self.embedding_size}
        return {**super().get_config(), **plain({**sizes, **self.options})}


def _refuse_weights(sample_weight: Any) -> None:
    """Raise if there are weights or a mask, of a loss that is one number."""
    if sample_weight is not None:
        msg = "`sample_weight` must be None, and no mask given: the loss is one number."
        raise ValueError(msg)
