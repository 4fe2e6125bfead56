"""The N-pairs loss of a similarity matrix."""

from typing import Any

from metricops import _checks
from metricops._arguments.labels import (
    check_classes,
    column,
    label_arrays,
    multihot_arrays,
)
from metricops._arguments.matches import matches, shared
from metricops._frameworks import Library
from metricops._frameworks.public import public
from metricops._losses.softmax import checked_similarity, solvable
from metricops._losses.solvable import Solvable, differentiated, loss_of_formula
from metricops._typing import Array, Reduction


def _solvable(
    similarity: Any, labels: Any, column_labels: Any, sample_weight: Any, reduction: str
) -> Solvable:
    """Return a call of equal labels as `value_and_grad` takes it."""
    inputs = checked_similarity(similarity, reduction)
    lib, wide = inputs.library, inputs.first
    given = _given(labels, column_labels)
    arrays = label_arrays(lib, "similarity", wide, **given)
    columns = {name: column(lib, name, x) for name, x in arrays.items()}
    rows, others = _fitting(lib, wide, columns)
    targets = lib.xp.astype(matches(lib, rows, others), wide.dtype)
    return solvable(inputs, targets, sample_weight, reduction)


def _multilabel_solvable(
    similarity: Any, labels: Any, column_labels: Any, sample_weight: Any, reduction: str
) -> Solvable:
    """Return a call of shared labels, whose number is the target, in the same form."""
    inputs = checked_similarity(similarity, reduction)
    lib, wide = inputs.library, inputs.first
    given = _given(labels, column_labels)
    both = multihot_arrays(lib, "similarity", wide, **given)
    for name, x in both.items():
        _checks.check_rank(name, lib.shape(x), 2, "(n, c), multi-hot")
    check_classes(lib, both)
    rows, others = _fitting(lib, wide, both)
    targets = shared(lib, rows, others, wide.dtype)
    return solvable(inputs, targets, sample_weight, reduction)


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
    given = similarity, labels, column_labels, sample_weight, reduction
    return loss_of_formula(_solvable(*given))


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
    given = similarity, labels, column_labels, sample_weight, reduction
    return loss_of_formula(_multilabel_solvable(*given))


def _given(labels: Any, others: Any) -> dict[str, Any]:
    """Return those labels that are given, by argument."""
    given = {"labels": labels}
    return given if others is None else {**given, "column_labels": others}


def _fitting(
    lib: Library, similarity: Array, given: dict[str, Array]
) -> tuple[Array, Array]:
    """Return the labels of the rows and of the columns, one for each."""
    n, m = lib.shape(similarity)
    labels = given["labels"]
    name = "column_labels" if "column_labels" in given else "labels"
    others = given[name]
    _check_count("labels", lib.shape(labels), n, "rows")
    _check_count(name, lib.shape(others), m, "columns")
    need = "`labels` must have a label for each row of `similarity`."
    rows = lib.agree(labels, 0, similarity, 0, need)
    need = f"`{name}` must have a label for each column of `similarity`."
    return rows, lib.agree(others, 0, similarity, 1, need)


def _check_count(name: str, shape: _checks.Shape, count: int | None, word: str) -> None:
    """Raise unless there is a label for each of `count` rows or columns."""
    given, *_ = shape
    if not _checks.same(given, count):
        _checks.refuse_shape(name, f"a label for each of {count} {word}", shape)
