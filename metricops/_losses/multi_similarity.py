"""The public multi-similarity loss of embeddings."""

from typing import Any

from metricops._arguments.options import check_number, check_positive
from metricops._frameworks.public import public
from metricops._losses.embeddings import admitted_within
from metricops._losses.embeddings_call import Call, loss_of, solvable_by
from metricops._losses.two_sided import MultiSimilarities
from metricops._typing import Array, Reduction


def _admitted(alpha: Any, beta: Any, base: Any, epsilon: Any, **given: Any) -> Call:
    """Return a call, having checked its arguments."""
    weights = check_positive("alpha", alpha), check_positive("beta", beta)
    base = check_number("base", base)
    epsilon = None if epsilon is None else check_number("epsilon", epsilon)
    return admitted_within(MultiSimilarities(*weights, base, epsilon), **given)


@public
@solvable_by(_admitted)
def multi_similarity_loss_from_embeddings(
    anchors: Array,
    candidates: Array | None = None,
    labels: Any = None,
    *,
    candidate_labels: Any = None,
    alpha: float = 2.0,
    beta: float = 40.0,
    base: float = 0.5,
    epsilon: float | None = 0.1,
    normalize: bool = True,
    exclude_diagonal: bool | None = None,
    sample_weight: Any = None,
    reduction: Reduction = "mean",
    block_size: int | None = None,
) -> Array:
    """Return the multi-similarity loss of embeddings, with the pairs that it mines.

    With the similarities s of an anchor, it costs ``log(1 + sum(exp(-alpha * (s -
    base)))) / alpha`` of its positives plus ``log(1 + sum(exp(beta * (s - base)))) /
    beta`` of its negatives [1]_. No matrix of similarities is ever held.

    Parameters
    ----------
    anchors : array of shape (n, d), real floating or integer
        The embeddings of the rows.
    candidates : array of shape (m, d), real floating or integer, optional
        The embeddings of the columns. Default: the anchors, which takes `labels`.
    labels : array or list of shape (n,), (n, 1) or (n, c), optional
        The label of each anchor, or several labels multi-hot, of which any shared one
        makes a positive. Default: candidate i is the positive of anchor i.
    candidate_labels : array or list of shape (m,), (m, 1) or (m, c), optional
        The same of each candidate. Default: `labels`.
    alpha, beta : float
        How sharply positives and negatives are weighted; positive.
    base : float
        The similarity that parts positives from negatives.
    epsilon : float or None
        How far a pair may be on the right side: a positive takes part if it is less
        similar than the most similar negative plus this, a negative if it is more
        similar than the least similar positive less this. None: all pairs do.
    normalize : bool
        Whether to scale embeddings to unit length first.
    exclude_diagonal : bool, optional
        Whether pair (i, i) takes no part; m must be n or more. Default: whether
        `candidates` is None.
    sample_weight : number or array of shape (n,), optional
        Weights of the anchors.
    reduction : {"mean", "sum", "weighted_mean", "none"}
        How to combine the anchors that have a positive and a negative, mined or not;
        others have loss 0. "mean" divides by their number, whatever their weights;
        "weighted_mean" by the sum of their weights.
    block_size : int, optional
        How many anchors a panel holds. Default: as many as suit the device. Any value
        gives the same result to rounding.

    Returns
    -------
    array of shape (), or (n,) if ``reduction="none"``
        Nonnegative, in the dtype that the embeddings promote to.

    Raises
    ------
    TypeError
        If an argument is of a wrong dtype or library.
    ValueError
        If a shape or a value does not fit.

    References
    ----------
    .. [1] X. Wang, X. Han, W. Huang, D. Dong, M. R. Scott, "Multi-Similarity Loss with
       General Pair Weighting for Deep Metric Learning", CVPR 2019, equations 11 to 15.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import multi_similarity_loss_from_embeddings
    >>> embeddings = np.asarray([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0]])
    >>> loss = multi_similarity_loss_from_embeddings(embeddings, labels=[0, 0, 1, 1])
    >>> round(float(loss), 4)
    0.3394
    """
    call = _admitted(
        alpha,
        beta,
        base,
        epsilon,
        anchors=anchors,
        candidates=candidates,
        labels=labels,
        candidate_labels=candidate_labels,
        normalize=normalize,
        exclude_diagonal=exclude_diagonal,
        sample_weight=sample_weight,
        reduction=reduction,
        block_size=block_size,
    )
    return loss_of(call)
