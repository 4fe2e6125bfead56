"""The public soft nearest neighbour loss of embeddings."""

from typing import Any

from metricops._frameworks.public import public
from metricops._losses.embeddings_call import loss_of
from metricops._losses.soft_nearest_neighbor_scores import scored, solvable_scores
from metricops._losses.solvable import differentiated
from metricops._typing import Array, Reduction


@public
@differentiated(solvable_scores)
def soft_nearest_neighbor_loss_from_embeddings(
    anchors: Array,
    candidates: Array | None = None,
    labels: Any = None,
    *,
    candidate_labels: Any = None,
    temperature: Any = 1.0,
    metric: str = "squared_euclidean",
    normalize: bool = False,
    exclude_diagonal: bool | None = None,
    sample_weight: Any = None,
    reduction: Reduction = "mean",
    block_size: int | None = None,
) -> Array:
    """Return the soft nearest neighbour loss of embeddings.

    With the distances p of an anchor's positives, and d of all candidates that take
    part, it costs ``-log(sum(exp(-p / temperature)) / sum(exp(-d / temperature)))``
    [1]_. No matrix of distances is ever held.

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
    temperature : float or array of shape ()
        What divides the distances; positive. An array is differentiable.
    metric : {"squared_euclidean", "cosine"}
        The distance; "cosine" is 1 less the cosine.
    normalize : bool
        Whether to scale embeddings to unit length first, as "cosine" does by itself.
    exclude_diagonal : bool, optional
        Whether pair (i, i) takes no part; m must be n or more. Default: whether
        `candidates` is None.
    sample_weight : number or array of shape (n,), optional
        Weights of the anchors.
    reduction : {"mean", "sum", "weighted_mean", "none"}
        How to combine the anchors that have a positive; others have loss 0. "mean"
        divides by their number, whatever their weights; "weighted_mean" by the sum of
        their weights.
    block_size : int, optional
        How many anchors a panel holds. Default: as many as suit the device. Any value
        gives the same result to rounding.

    Returns
    -------
    array of shape (), or (n,) if ``reduction="none"``
        Nonnegative, in nats, in the dtype that the embeddings promote to.

    Raises
    ------
    TypeError
        If an argument is of a wrong dtype or library.
    ValueError
        If a shape or a value does not fit.

    References
    ----------
    .. [1] N. Frosst, N. Papernot, G. Hinton, "Analyzing and Improving Representations
       with the Soft Nearest Neighbor Loss", ICML 2019, equation 1.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import soft_nearest_neighbor_loss_from_embeddings
    >>> x = np.asarray([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [3.0, 0.0]])
    >>> loss = soft_nearest_neighbor_loss_from_embeddings(x, labels=[0, 0, 1, 1])
    >>> round(float(loss), 4)
    1.3395
    """
    call = scored(
        anchors=anchors,
        candidates=candidates,
        labels=labels,
        candidate_labels=candidate_labels,
        temperature=temperature,
        metric=metric,
        normalize=normalize,
        exclude_diagonal=exclude_diagonal,
        sample_weight=sample_weight,
        reduction=reduction,
        block_size=block_size,
    )
    return loss_of(call)
