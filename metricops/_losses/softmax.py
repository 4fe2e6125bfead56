"""The cross-entropy of a softmax over rows, against any targets."""

from typing import Any

from metricops import _checks
from metricops._arguments.arrays import float_arrays, numbers
from metricops._arguments.weights import reduce_losses, sample_weights
from metricops._frameworks import Library
from metricops._frameworks.public import public
from metricops._typing import Array, Reduction


@public
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
    _checks.check_reduction(reduction)
    inputs = float_arrays(similarity=similarity)
    lib, wide = inputs.library, inputs.first
    shape = lib.shape(wide)
    _checks.check_rank("similarity", shape, 2, "(n, m)")
    array = numbers(lib, "targets", targets, "similarity", wide)
    _checks.check_same_shape("targets", lib.shape(array), "similarity", shape)
    for axis in (0, 1):
        array = lib.agree(array, axis, wide, axis, "`targets` must fit `similarity`.")
    return inputs.narrow(cross_entropy(lib, wide, array, sample_weight, reduction))


def cross_entropy(
    lib: Library, similarity: Array, targets: Array, sample_weight: Any, reduction: str
) -> Array:
    """Return the checked rows' cross-entropy, weighted and reduced."""
    losses, counted = _rows(lib, similarity, targets)
    weights = sample_weights(lib, sample_weight, "similarity", losses)
    return reduce_losses(lib, losses, weights, reduction, counted)


def _rows(lib: Library, s: Array, t: Array) -> tuple[Array, Array]:
    """Return the loss of each row, and whether it takes part."""
    xp = lib.xp
    if s.shape[1] == 0:
        nothing = xp.sum(s, axis=1)
        return nothing, nothing != 0
    t = xp.where(s == -float("inf"), 0.0, t)
    total = xp.sum(t, axis=1)
    counted = total != 0
    # A row left out may hold a NaN, or no peak; a row that counts has an open pair.
    logs = lib.log_softmax(xp.where(counted[:, None], s, 0.0))
    # Without a target nothing is multiplied: 0 times a masked pair's -inf is NaN.
    share = xp.sum(t * xp.where(t != 0, logs, 0.0), axis=1)
    return 0.0 - share / xp.where(counted, total, 1.0), counted
