"""The cross-entropy of a softmax over rows, against any targets."""

from dataclasses import dataclass
from typing import Any

from metricops import _checks
from metricops._arguments.arrays import Inputs, float_arrays, numbers
from metricops._arguments.weights import sample_weights
from metricops._frameworks import Library
from metricops._frameworks.public import public
from metricops._losses.solvable import (
    Formula,
    Solvable,
    differentiated,
    loss_of_formula,
    solve_formula,
)
from metricops._typing import Array, Reduction

_NAMES = ("similarity", "targets", "sample_weight")


@dataclass(frozen=True)
class CrossEntropy(Formula):
    """The cross-entropy of each row's softmax against its targets."""

    def losses(self, lib: Library, *arrays: Array) -> tuple[Array, Array]:
        """Return the losses of the rows, and which of them count."""
        return _rows(lib, *arrays)

    def slopes(
        self, lib: Library, upstream: Array, *arrays: Array
    ) -> tuple[Array, ...]:
        """Return the gradients by similarities and targets.

        With the logarithms l of the softmax, and targets t of sum T, the loss is
        ``-sum(t * l) / T``.
        """
        xp, (s, t) = lib.xp, arrays
        losses, counted = (x[:, None] for x in _rows(lib, s, t))
        if s.shape[1] == 0:
            return s, t
        met = xp.logical_and(counted, s != -float("inf"))
        total = xp.sum(xp.where(met, t, 0.0), axis=1, keepdims=True)
        total = xp.where(counted, total, 1.0)
        logs = xp.where(met, lib.log_softmax(xp.where(counted, s, 0.0)), 0.0)
        of_scores = xp.where(met, xp.exp(logs) - t / total, 0.0)
        of_targets = xp.where(met, (-logs - losses) / total, 0.0)
        return of_scores * upstream[:, None], of_targets * upstream[:, None]


def solvable(
    inputs: Inputs, targets: Array, sample_weight: Any, reduction: str
) -> Solvable:
    """Return a call of a loss of similarities as `value_and_grad` takes it."""
    lib, wide, weights = inputs.library, inputs.first, None
    if sample_weight is not None:
        like = lib.xp.sum(wide[:, :1], axis=1)
        weights = sample_weights(lib, sample_weight, "similarity", like)
    arrays, formula = (wide, targets, weights), CrossEntropy(reduction)
    return Solvable(inputs, solve_formula, formula, arrays, (), _NAMES)


def _solvable(
    similarity: Any, targets: Any, sample_weight: Any, reduction: str
) -> Solvable:
    inputs = checked_similarity(similarity, reduction)
    lib, wide = inputs.library, inputs.first
    array = numbers(lib, "targets", targets, "similarity", wide)
    shape = lib.shape(wide)
    _checks.check_same_shape("targets", lib.shape(array), "similarity", shape)
    for axis in (0, 1):
        array = lib.agree(array, axis, wide, axis, "`targets` must fit `similarity`.")
    return solvable(inputs, array, sample_weight, reduction)


def checked_similarity(similarity: Any, reduction: str) -> Inputs:
    """Return a similarity matrix as an array of floats, having checked its rank."""
    _checks.check_reduction(reduction)
    inputs = float_arrays(similarity=similarity)
    lib, wide = inputs.library, inputs.first
    _checks.check_rank("similarity", lib.shape(wide), 2, "(n, m)")
    lib.check_whole("similarity", wide)
    return inputs


@public
@differentiated(_solvable)
def softmax_cross_entropy(
    similarity: Array,
    targets: Any,
    *,
    sample_weight: Any = None,
    reduction: Reduction = "mean",
) -> Array:
    """Return the cross-entropy of each row's softmax against its row of targets.

    Parameters
    ----------
    similarity : array of shape (n, m), real floating or integer
        The logits of row i's softmax. Minus infinity masks a pair: it takes no part.
    targets : array of shape (n, m), real or bool
        Nonnegative; each row is scaled to sum to 1, over the pairs not masked. A row
        without any is left out: its loss and gradient are 0.
    sample_weight : number or array of shape (n,), optional
        Weights of the rows.
    reduction : {"mean", "sum", "weighted_mean", "none"}
        How to combine the rows. "mean" divides by the number of rows that take part,
        whatever their weights; "weighted_mean" by the sum of their weights.

    Returns
    -------
    array of shape (), or (n,) if ``reduction="none"``
        Nonnegative, in nats, in the dtype of `similarity`.

    Raises
    ------
    TypeError
        If an argument is of a wrong dtype or library.
    ValueError
        If a shape does not fit, or `reduction` is not one of these.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import softmax_cross_entropy
    >>> similarity = np.asarray([[2.0, 0.0], [0.0, 2.0]])
    >>> round(float(softmax_cross_entropy(similarity, np.eye(2))), 4)
    0.1269
    """
    return loss_of_formula(_solvable(similarity, targets, sample_weight, reduction))


def _rows(lib: Library, s: Array, t: Array) -> tuple[Array, Array]:
    """Return the loss of each row, and whether it takes part."""
    xp = lib.xp
    if s.shape[1] == 0:
        nothing = xp.sum(s, axis=1)
        return nothing, nothing != 0
    t = xp.where(s == -float("inf"), 0.0, t)
    total = xp.sum(t, axis=1)
    counted = total != 0
    # A row that is left out may hold NaN or minus infinity alone, so it becomes 0.
    logs = lib.log_softmax(xp.where(counted[:, None], s, 0.0))
    # Not multiplied where there is neither: 0 times minus infinity is NaN. Elsewhere a
    # target of 0 has a derivative too.
    some = xp.logical_or(t != 0, logs > -float("inf"))
    share = xp.sum(t * xp.where(some, logs, 0.0), axis=1)
    losses = 0.0 - share / xp.where(counted, total, 1.0)
    return xp.where(counted, losses, 0.0), counted
