"""The loss made of the cosine similarity of rows."""

from dataclasses import dataclass
from typing import Any

from metricops import _checks
from metricops._arguments.arrays import float_arrays
from metricops._arguments.weights import reduce_losses, sample_weights
from metricops._frameworks import Library
from metricops._frameworks.public import public
from metricops._losses.solvable import Formula, Solvable, differentiated, solve_formula
from metricops._similarity.normalize import (
    cosines,
    row_cosines,
    unit_and_norm,
    unit_gradient,
)
from metricops._typing import Array, Reduction

_NAMES = ("y_true", "y_pred", "sample_weight")


@dataclass(frozen=True)
class Cosine(Formula):
    """Minus the cosine of each two vectors."""

    axes: tuple[int, ...]

    def losses(self, lib: Library, *arrays: Array) -> tuple[Array, None]:
        """Return minus the cosines; all count."""
        y_true, y_pred = arrays
        return -cosines(lib, y_true, y_pred, self.axes), None

    def slopes(
        self, lib: Library, upstream: Array, *arrays: Array
    ) -> tuple[Array, ...]:
        """Return the gradients by both arrays."""
        for axis in sorted(self.axes):
            upstream = upstream[(*(slice(None),) * axis, None, ...)]
        left, right = (unit_and_norm(lib, x, self.axes) for x in arrays)
        pairs = (left, right), (right, left)
        return tuple(
            unit_gradient(lib, one, -upstream * other.unit, self.axes)
            for one, other in pairs
        )


def _solvable(
    y_true: Any, y_pred: Any, axis: Any, sample_weight: Any, reduction: str
) -> Solvable:
    """Return a call as `value_and_grad` takes it."""
    _checks.check_reduction(reduction)
    inputs = float_arrays(y_true=y_true, y_pred=y_pred)
    losses = row_cosines("y_true", "y_pred", inputs, axis)
    weights = sample_weights(inputs.library, sample_weight, "y_pred", losses)
    formula = Cosine(reduction, _checks.check_axes(axis, inputs.first.ndim))
    arrays = inputs.first, inputs.second, weights
    return Solvable(inputs, solve_formula, formula, arrays, (), _NAMES)


@public
@differentiated(_solvable)
def cosine_similarity_loss(
    y_true: Array,
    y_pred: Array,
    *,
    axis: int | tuple[int, ...] = -1,
    sample_weight: Any = None,
    reduction: Reduction = "mean",
) -> Array:
    """Return the negative cosine similarity of predictions and targets.

    What ``keras.losses.CosineSimilarity`` computes [1]_, with a zero vector's gradient
    0 and norms that neither overflow nor underflow.

    Parameters
    ----------
    y_true, y_pred : arrays of one shape, real floating or integer
        Targets and predictions, vectors along `axis`.
    axis : int or tuple of ints
        The axis, or axes, that make up a vector.
    sample_weight : number or array, optional
        A weight for all losses, or one for each along their leading axes.
    reduction : {"mean", "sum", "weighted_mean", "none"}
        How to combine the losses. "mean" divides by their number, whatever their
        weights; "weighted_mean" by the sum of the weights.

    Returns
    -------
    array of shape (), or the shape of `y_true` without `axis` if ``reduction="none"``
        In [-1, 1] where unweighted: -1 where the directions are the same. In the dtype
        that both promote to.

    Raises
    ------
    TypeError
        If an argument is not a real array, or they are of two libraries.
    ValueError
        If a shape does not fit, `axis` is not an axis, or `reduction` not one of these.

    References
    ----------
    .. [1] Keras 3, ``keras.losses.CosineSimilarity``.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import cosine_similarity_loss
    >>> y_true = np.asarray([[0.0, 1.0], [1.0, 1.0]])
    >>> y_pred = np.asarray([[1.0, 0.0], [1.0, 1.0]])
    >>> round(float(cosine_similarity_loss(y_true, y_pred)), 4)
    -0.5
    """
    _checks.check_reduction(reduction)
    inputs = float_arrays(y_true=y_true, y_pred=y_pred)
    lib = inputs.library
    losses = -row_cosines("y_true", "y_pred", inputs, axis)
    weights = sample_weights(lib, sample_weight, "y_pred", losses)
    return inputs.narrow(reduce_losses(lib, losses, weights, reduction))
