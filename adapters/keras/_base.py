"""What the losses have in common: dtypes, masks and reductions of Keras.

The module is long, as it has the base of each kind of loss.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeAlias

import keras
from keras import ops
from metricops.adapters._modules import check_options, option_names

from metricops import _checks
from metricops._arguments.weights import reduced_rows
from metricops._sharded import loss_of_group

from . import _private
from ._inputs import NAMES, Apply, dense, is_symbolic, plain, renamed

Reduction: TypeAlias = Literal["mean", "sum", "weighted_mean", "none"]

_REDUCTIONS: dict[str | None, Reduction] = {
    "sum_over_batch_size": "mean",
    "mean": "mean",
    "mean_with_sample_weight": "weighted_mean",
    "sum": "sum",
    "none": "none",
    None: "none",
}


class Loss(keras.losses.Loss):
    """A loss that reduces its own rows, and takes labels before Keras casts them.

    A subclass has ``call(y_true, y_pred, sample_weight, reduction)``, with the
    reductions of metricops. It may have `options`, arguments by their names, and the
    `_function` of metricops that takes them.
    """

    _function: Any = None
    _all_count = False  # what `_counts_each` returns
    _names: ClassVar[dict[str, str]] = NAMES

    def __init__(
        self,
        name: str | None = None,
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        # Keras 2 saved "auto" where Keras 3 saves the name of the reduction.
        reduction = "sum_over_batch_size" if reduction == "auto" else reduction
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self._policy = keras.dtype_policies.get(dtype or keras.config.floatx())
        self.options: dict[str, Any] = {}

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Return the loss, reduced as `reduction` says.

        Parameters
        ----------
        y_true : tensor or list
            Labels or targets, as the class describes them. Labels keep their dtype.
        y_pred : tensor or list
            What the model returned; it is cast to `dtype`.
        sample_weight : number, tensor or list, optional
            A weight for all losses, or one for each along their leading axes.

        Returns
        -------
        tensor of shape (), or of the losses' shape if `reduction` is "none" or None
            In `dtype`. The entries that a Keras mask of `y_pred` leaves out weigh
            nothing, and the mean is of the others.

        Raises
        ------
        TypeError
            If an argument is of a wrong dtype or library.
        ValueError
            If a shape does not fit. Also if a mean is asked for with a Keras mask and
            with weights, of a loss in which not every entry counts once.
        """
        if is_symbolic(y_true, y_pred, sample_weight):
            return Apply(self)(y_true, y_pred, sample_weight)
        return renamed(self._names, self._of, y_true, y_pred, sample_weight)

    def _of(self, y_true: Any, y_pred: Any, sample_weight: Any) -> Any:
        """Return the loss of tensors."""
        reduction = _REDUCTIONS[self.reduction]
        mask = _private.mask_of(y_pred)
        with keras.name_scope(self.name):
            y_pred = ops.convert_to_tensor(y_pred, dtype=self.dtype)
            if mask is not None and reduction == "mean":
                reduction = self._mean_of_kept(y_true, sample_weight)
            weights = self._weights(sample_weight, mask, reduction)
            loss = self.call(y_true, y_pred, weights, reduction)
            return _of_replica(loss) if reduction.endswith("mean") else loss

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this loss again."""
        own = {**super().get_config(), "dtype": self._policy.name}
        return {**own, **plain(self.options)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Loss":
        """Return the loss of a config, of ours or of the class that it replaces."""
        # Keras 2 saved the name of the function too, which the class fixes here.
        return cls(**{key: value for key, value in config.items() if key != "fn"})

    def _take(self, **options: Any) -> None:
        """Have some `options`, or raise what a call would raise for them."""
        self.options = options
        given = self._arguments()
        if "reduction" in option_names(self._function):
            given = {**given, "reduction": _REDUCTIONS[self.reduction]}
        check_options(self._function, **given)

    def _arguments(self) -> dict[str, Any]:
        """Return the options as the function has them."""
        return self.options

    def _counts_each(self, y_true: Any) -> bool:
        """Return whether every entry of the losses is known to count, and once.

        It is not known where an anchor may lack positives, or has several terms.
        """
        return self._all_count

    def _mean_of_kept(self, y_true: Any, sample_weight: Any) -> Reduction:
        """Return the reduction that is the mean of what a mask keeps."""
        if sample_weight is None:
            # The mask is the weights: their sum is the number of those that count.
            return "weighted_mean"
        if not self._counts_each(y_true):
            msg = (
                "`sample_weight` must be None where `y_pred` has a Keras mask and the "
                "reduction is a mean: how many of the kept entries count is not known. "
                'Take "mean_with_sample_weight" or "sum".'
            )
            raise ValueError(msg)
        return "mean"

    def _weights(self, sample_weight: Any, mask: Any, reduction: str) -> Any:
        if sample_weight is not None:
            sample_weight = ops.convert_to_tensor(sample_weight, dtype=self.dtype)
        if mask is None:
            return sample_weight
        mask = ops.cast(mask, self.dtype)
        if reduction == "mean":
            # metricops divides the sum by the number of all entries, and Keras by the
            # number of those that the mask keeps. Every entry counts once here, as
            # `_mean_of_kept` makes sure, so that the mask has the share of those kept.
            mask = ops.divide_no_nan(mask, ops.mean(mask))
        if sample_weight is None:
            return mask
        rank = max(len(mask.shape), len(sample_weight.shape))
        return _expanded(mask, rank) * _expanded(sample_weight, rank)


class GatheringLoss(Loss):
    """A loss of anchors and candidates, also of a batch that replicas share.

    With `gather`, a replica of a ``tf.distribute`` strategy takes its own anchors
    against the candidates of all replicas, and the loss is that of the whole batch.
    """

    def __init__(
        self,
        name: str | None = None,
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
        gather: bool = False,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.gather = _checks.check_bool("gather", gather)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this loss again."""
        return {**super().get_config(), **plain({"gather": self.gather})}

    def _of_batch(self, function: Any, *arrays: Any, **given: Any) -> Any:
        """Return ``function(*arrays, **given)``, of the batch of all replicas."""
        group = _replicas() if self.gather else None
        if group is None:
            return function(*arrays, **given)
        loss = loss_of_group(group, function, *arrays, **given)
        if given["reduction"] == "none":
            return loss
        # The same on each replica; Keras takes the sum of a sum over the replicas.
        whole = group.total(loss) / group.size
        return whole / group.size if given["reduction"] == "sum" else whole

    def _weights(self, sample_weight: Any, mask: Any, reduction: str) -> Any:
        if mask is not None and self.gather and _replicas() is not None:
            msg = "`y_pred` must have no Keras mask where `gather` is True."
            raise ValueError(msg)
        return super()._weights(sample_weight, mask, reduction)


class PairsLoss(GatheringLoss):
    """A loss of pairs of embeddings, whose `options` are its arguments.

    A subclass has the `_function` of metricops that computes it.
    """

    def call(
        self,
        y_true: Any,
        y_pred: Any,
        sample_weight: Any = None,
        reduction: Reduction = "none",
    ) -> Any:
        """Return the pairs' losses, of shape (n,), or their mean."""
        return self._of_batch(
            self._function,
            *views_of(y_pred),
            dense(y_true),
            sample_weight=sample_weight,
            reduction=reduction,
            **self.options,
        )


class EmbeddingLoss(GatheringLoss):
    """A loss of embeddings with labels, whose `options` are its arguments.

    A subclass has the `_function` of metricops that computes it.
    """

    def call(
        self,
        y_true: Any,
        y_pred: Any,
        sample_weight: Any = None,
        reduction: Reduction = "none",
    ) -> Any:
        """Return the losses of the anchors, of shape (n,), or their mean."""
        given = {"sample_weight": sample_weight, "reduction": reduction}
        return self.among(None, None, y_true, y_pred, **given)

    def among(
        self, candidates: Any, labels: Any, y_true: Any, y_pred: Any, **given: Any
    ) -> Any:
        """Return what `call` does, against candidates of which the first are `y_pred`.

        Without candidates it is against the batch itself.
        """
        options = self._arguments()
        if candidates is not None:
            options = {**options, "candidate_labels": labels, "exclude_diagonal": True}
        arrays = y_pred, candidates, dense(y_true)
        return self._of_batch(self._function, *arrays, **given, **options)


class RowsLoss(Loss):
    """A loss of two tensors that has a loss for each row of them.

    A subclass has ``_rows(y_true, y_pred)``.
    """

    _names: ClassVar[dict[str, str]] = {"first": "y_true", "second": "y_pred"}
    _all_count = True

    def call(
        self,
        y_true: Any,
        y_pred: Any,
        sample_weight: Any = None,
        reduction: Reduction = "none",
    ) -> Any:
        """Return the losses of the samples, of shape (n,), or their mean."""
        y_true = ops.convert_to_tensor(y_true, dtype=self.dtype)
        rows = self._rows(y_true, ops.convert_to_tensor(y_pred, dtype=self.dtype))
        return reduced_rows(rows, sample_weight=sample_weight, reduction=reduction)

    def _rows(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each sample."""
        raise NotImplementedError


class AddonsLoss(Loss):
    """A loss of a similarity matrix that TensorFlow Addons had, with its configs.

    A subclass has the `_function` of metricops that computes it.
    """

    def call(
        self,
        y_true: Any,
        y_pred: Any,
        sample_weight: Any = None,
        reduction: Reduction = "none",
    ) -> Any:
        """Return the anchors' losses, of shape (n,), or their mean."""
        return self._function(
            y_pred, dense(y_true), sample_weight=sample_weight, reduction=reduction
        )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Loss":
        """Return the loss of a config, of ours or of TensorFlow Addons."""
        # The configs of TensorFlow Addons have no dtype, and the reduction "none",
        # although its losses were means.
        if "dtype" not in config and config.get("reduction") == "none":
            config = {**config, "reduction": "auto"}
        return super().from_config(config)


def views_of(y_pred: Any) -> tuple[Any, Any]:
    """Return the two views that predictions hold."""
    shape = tuple(y_pred.shape)
    if len(shape) != 3 or shape[1] not in (2, None):
        msg = f"`y_pred` must have shape (n, 2, d); got shape {shape}."
        raise ValueError(msg)
    return y_pred[:, 0], y_pred[:, 1]


def _expanded(x: Any, rank: int) -> Any:
    return ops.expand_dims(x, axis=tuple(range(len(x.shape), rank)))


def _replicas() -> Any:
    """Return the replicas of TensorFlow that share the batch; None: it is whole."""
    if keras.config.backend() == "tensorflow":
        from ._replicas import replicas

        return replicas()
    if keras.config.backend() == "torch":
        _refuse_processes()
    return None


def _refuse_processes() -> None:
    """Raise if this is one of several processes of PyTorch."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        msg = (
            "`gather` must be False in a process group of PyTorch: take the modules of "
            "metricops.adapters.torch, with process_group."
        )
        raise ValueError(msg)


def _of_replica(loss: Any) -> Any:
    """Return a mean divided by the number of replicas, whose gradients are summed."""
    if keras.config.backend() != "tensorflow":
        return loss
    import tensorflow as tf

    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return loss if replicas == 1 else loss / replicas
