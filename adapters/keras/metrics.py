"""Metrics: means over a stream of batches."""

from collections.abc import Mapping
from typing import Any

import keras

import metricops

from ._inputs import python_ints, same_rank, tensor
from ._private import mask_of, set_direction


# A name of its own: the loss is registered under that of the class.
@keras.saving.register_keras_serializable(
    package="metricops", name="CosineSimilarityMetric"
)
class CosineSimilarity(keras.metrics.MeanMetricWrapper):
    """Mean cosine similarity of targets and predictions.

    ``keras.metrics.CosineSimilarity`` over `metricops.cosine_similarity`: positive
    where directions agree, unlike the loss of that name. A sample of several vectors
    counts by their mean, and samples by their weights.

    Parameters
    ----------
    name : str
        The name under which logs have it.
    dtype : str, optional
        The dtype of the mean. Default: ``keras.config.floatx()``.
    axis : int or tuple of ints
        The axis, or axes, that make up a vector.

    Examples
    --------
    >>> from metricops.adapters.keras import metrics
    >>> metric = metrics.CosineSimilarity(axis=1)
    >>> metric.update_state([[0.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]])
    >>> round(float(metric.result()), 4)
    0.5
    """

    def __init__(
        self,
        name: str = "cosine_similarity",
        dtype: Any = None,
        axis: int | tuple[int, ...] = -1,
    ) -> None:
        self.axis: int | tuple[int, ...] = python_ints(axis)
        super().__init__(_cosine_similarity, name, dtype=dtype, axis=self.axis)
        set_direction(self, "up")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count a batch, without the samples that a Keras mask of `y_pred` leaves out.

        Parameters
        ----------
        y_true, y_pred : tensors of one shape
            Targets and predictions.
        sample_weight : tensor of a leading part of that shape without `axis`, optional
            Weights of the samples.
        """
        if sample_weight is None:  # Keras 3.10 reads a mask beside weights alone
            sample_weight = mask_of(y_pred)
        super().update_state(y_true, y_pred, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this metric again."""
        return {"name": self.name, "dtype": self.dtype, "axis": self.axis}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "CosineSimilarity":
        """Return the metric of a config, of ours or of Keras' own."""
        return cls(**{key: value for key, value in config.items() if key != "fn"})


def _cosine_similarity(y_true: Any, y_pred: Any, axis: int | tuple[int, ...]) -> Any:
    x, y = same_rank(tensor(y_true), tensor(y_pred))
    return metricops.cosine_similarity(x, y, axis=axis)
