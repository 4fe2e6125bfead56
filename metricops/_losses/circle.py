"""The public circle loss of embeddings."""

from typing import Any

from metricops._arguments.options import check_number, check_positive
from metricops._frameworks.public import public
from metricops._losses.embeddings import admitted_within
from metricops._losses.embeddings_call import Call, loss_of, solvable_by
from metricops._losses.two_sided import Circles
from metricops._typing import Array, Reduction


def _admitted(gamma: Any, margin: Any, **given: Any) -> Call:
    """Return a call, having checked its arguments."""
    numbers = check_positive("gamma", gamma), check_number("margin", margin)
    return admitted_within(Circles(*numbers), **given)


@public
@solvable_by(_admitted)
def circle_loss_from_embeddings(
    anchors: Array,
    candidates: Array | None = None,
    labels: Any = None,
    *,
    candidate_labels: Any = None,
    gamma: float = 80.0,
    margin: float = 0.4,
    normalize: bool = True,
    exclude_diagonal: bool | None = None,
    sample_weight: Any = None,
    reduction: Reduction = "mean",
    block_size: int | None = None,
) -> Array:
    """Return the circle loss of embeddings.

    With the similarities p of an anchor's positives and q of its negatives, it costs
    ``softplus(P + Q)`` [1]_, where P is the log-sum-exp of ``-gamma * max(1 + margin -
    p, 0) * (p - 1 + margin)``, and Q that of ``gamma * max(q + margin, 0) * (q -
    margin)``. The maxima are weights, and constants to the gradient. No matrix of
    similarities is ever held.

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
    gamma : float
        What the logits are multiplied by; positive.
    margin : float
        How far from 1 positives may be, and from 0 negatives.
    normalize : bool
        Whether to scale embeddings to unit length first.
    exclude_diagonal : bool, optional
        Whether pair (i, i) takes no part; m must be n or more. Default: whether
        `candidates` is None.
    sample_weight : number or array of shape (n,), optional
        Weights of the anchors.
    reduction : {"mean", "sum", "weighted_mean", "none"}
        How to combine the anchors that have a positive and a negative; others have loss
        0. "mean" divides by their number, whatever their weights; "weighted_mean" by
        the sum of their weights.
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
    .. [1] Y. Sun et al., "Circle Loss: A Unified Perspective of Pair Similarity
       Optimization", CVPR 2020, equations 4 to 6.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import circle_loss_from_embeddings
    >>> embeddings = np.asarray([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0]])
    >>> loss = circle_loss_from_embeddings(embeddings, labels=[0, 0, 1, 1], gamma=10.0)
    >>> round(float(loss), 4)
    3.8055
    """
    call = _admitted(
        gamma,
        margin,
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
