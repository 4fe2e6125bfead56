"""The N-pairs loss of a similarity matrix."""

from typing import Any

from metricops import _checks
from metricops._arguments.arrays import Inputs
from metricops._arguments.labels import (
    check_classes,
    column,
    label_arrays,
    multihot_arrays,
)
from metricops._arguments.matches import matches, shared
from metricops._arguments.matrices import (
    checked_similarity,
    fitting_labels,
    given_labels,
)
from metricops._frameworks.public import public
from metricops._losses.softmax import cross_entropy, solvable
from metricops._losses.solvable import Solvable, differentiated
from metricops._typing import Array, Reduction


def _solvable(sample_weight: Any, reduction: str, **given: Any) -> Solvable:
    """Return a call as `value_and_grad` takes it."""
    found = _equal(**given, reduction=reduction)
    return solvable(*found, sample_weight, reduction)


def _multilabel_solvable(sample_weight: Any, reduction: str, **given: Any) -> Solvable:
    """Return a call as `value_and_grad` takes it."""
    found = _shared(**given, reduction=reduction)
    return solvable(*found, sample_weight, reduction)


@public
@differentiated(_solvable)
def npairs_loss(
    similarity: Array,
    labels: Any,
    *,
    column_labels: Any = None,
    sample_weight: Any = None,
    reduction: Reduction = "mean",
) -> Array:
    """Return the N-pairs loss of a similarity matrix.

    Each row is an anchor, and the columns with its label are its positives: the loss is
    the cross-entropy of the row's softmax against the uniform distribution on them.
    With one positive each this is N-pair-mc [1]_ without its L2 term, and what
    ``tfa.losses.npairs_loss`` computes.

    Parameters
    ----------
    similarity : array of shape (n, m), real floating or integer
        Similarity of anchor i to candidate j; in [1]_ their inner product. Minus
        infinity masks a pair: it takes no part.
    labels : array or list of shape (n,) or (n, 1)
        The label of each anchor: integers, bools, floats or (NumPy, list) strings.
    column_labels : array or list of shape (m,) or (m, 1), optional
        The label of each candidate. Default: `labels`.
    sample_weight : number or array of shape (n,), optional
        Weights of the anchors.
    reduction : {"mean", "sum", "weighted_mean", "none"}
        How to combine the anchors. "mean" divides by the number of anchors that have a
        positive, whatever their weights; "weighted_mean" by the sum of their weights.

    Returns
    -------
    array of shape (), or (n,) if ``reduction="none"``
        Nonnegative, in nats, in the dtype of `similarity`. An anchor without a positive
        has loss 0 and gradient 0.

    Raises
    ------
    TypeError
        If an argument is of a wrong dtype or library.
    ValueError
        If a shape does not fit, or `reduction` is not one of these.

    References
    ----------
    .. [1] K. Sohn, "Improved Deep Metric Learning with Multi-class N-pair Loss
       Objective", NeurIPS 2016, equation 7.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import npairs_loss, pairwise_inner_product
    >>> anchors = np.asarray([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> similarity = pairwise_inner_product(anchors)
    >>> round(float(npairs_loss(similarity, [0, 1, 2, 3])), 4)
    0.2539
    """
    inputs, targets = _equal(similarity, labels, column_labels, reduction)
    lib, wide = inputs.library, inputs.first
    return inputs.narrow(cross_entropy(lib, wide, targets, sample_weight, reduction))


@public
@differentiated(_multilabel_solvable)
def npairs_multilabel_loss(
    similarity: Array,
    labels: Any,
    *,
    column_labels: Any = None,
    sample_weight: Any = None,
    reduction: Reduction = "mean",
) -> Array:
    """Return the N-pairs loss of a similarity matrix whose rows have several labels.

    The targets of a row are the numbers of labels that it shares with each column,
    scaled to sum to 1: what ``tfa.losses.npairs_multilabel_loss`` computes.

    Parameters
    ----------
    similarity : array of shape (n, m), real floating or integer
        Similarity of anchor i to candidate j. Minus infinity masks a pair.
    labels : array or list of shape (n, c), integer, bool or real floating
        Multi-hot: not 0 where an anchor has a label.
    column_labels : array or list of shape (m, c), optional
        The same of each candidate. Default: `labels`.
    sample_weight : number or array of shape (n,), optional
        Weights of the anchors.
    reduction : {"mean", "sum", "weighted_mean", "none"}
        How to combine the anchors, as in `npairs_loss`.

    Returns
    -------
    array of shape (), or (n,) if ``reduction="none"``
        Nonnegative, in nats, in the dtype of `similarity`. An anchor that shares no
        label has loss 0 and gradient 0.

    Raises
    ------
    TypeError
        If an argument is of a wrong dtype or library.
    ValueError
        If a shape does not fit, or `reduction` is not one of these.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import npairs_multilabel_loss, pairwise_inner_product
    >>> anchors = np.asarray([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> labels = [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [0, 0, 0, 1]]
    >>> loss = npairs_multilabel_loss(pairwise_inner_product(anchors), labels)
    >>> round(float(loss), 4)
    1.4205
    """
    inputs, targets = _shared(similarity, labels, column_labels, reduction)
    lib, wide = inputs.library, inputs.first
    return inputs.narrow(cross_entropy(lib, wide, targets, sample_weight, reduction))


def _equal(
    similarity: Any, labels: Any, column_labels: Any, reduction: str
) -> tuple[Inputs, Array]:
    """Return the similarities, and where labels are equal as their targets."""
    inputs = checked_similarity(similarity, reduction)
    lib, wide = inputs.library, inputs.first
    given = given_labels(labels, column_labels)
    arrays = label_arrays(lib, "similarity", wide, **given)
    columns = {name: column(lib, name, x) for name, x in arrays.items()}
    rows, others = fitting_labels(lib, wide, columns)
    return inputs, lib.xp.astype(matches(lib, rows, others), wide.dtype)


def _shared(
    similarity: Any, labels: Any, column_labels: Any, reduction: str
) -> tuple[Inputs, Array]:
    """Return the similarities, and the numbers of shared labels as their targets."""
    inputs = checked_similarity(similarity, reduction)
    lib, wide = inputs.library, inputs.first
    given = given_labels(labels, column_labels)
    both = multihot_arrays(lib, "similarity", wide, **given)
    for name, x in both.items():
        _checks.check_rank(name, lib.shape(x), 2, "(n, c), multi-hot")
    check_classes(lib, both)
    rows, others = fitting_labels(lib, wide, both)
    return inputs, shared(lib, rows, others, wide.dtype)
