"""The public sigmoid loss of embeddings."""

from functools import partial
from typing import Any

from metricops._frameworks.public import public
from metricops._losses.embeddings import admitted_within
from metricops._losses.embeddings_call import loss_of, solvable_by
from metricops._losses.sigmoid_objective import Sigmoids
from metricops._typing import Array, Reduction

_admitted = partial(admitted_within, Sigmoids())
_NAMES = ("anchors", "candidates", "temperature", "sample_weight", "bias")


@public
@solvable_by(_admitted, _NAMES)
def sigmoid_loss_from_embeddings(
    anchors: Array,
    candidates: Array | None = None,
    labels: Any = None,
    *,
    candidate_labels: Any = None,
    temperature: Any = 0.1,
    bias: Any = -10.0,
    normalize: bool = False,
    exclude_diagonal: bool | None = None,
    ids: Any = None,
    candidate_ids: Any = None,
    sample_weight: Any = None,
    reduction: Reduction = "mean",
    block_size: int | None = None,
) -> Array:
    """Return the sigmoid loss of embeddings, without ever holding their similarities.

    Each pair is classified on its own, as a positive or a negative, by the score
    ``anchors @ candidates.T / temperature + bias`` [1]_: a positive costs
    ``softplus(-score)``, a negative ``softplus(score)``, and an anchor the sum over all
    candidates. With `normalize` it is SigLIP's loss.

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
        What divides the similarities; positive. An array is differentiable.
    bias : float or array of shape ()
        Added to the scores, after the temperature. An array is differentiable.
    normalize : bool
        Whether to scale embeddings to unit length first.
    exclude_diagonal : bool, optional
        Whether pair (i, i) takes no part; m must be n or more. Default: whether
        `candidates` is None.
    ids : array or list of shape (n,) or (n, 1), optional
        What each anchor is: a pair of equal ids takes no part, unless the candidate is
        a positive of the anchor.
    candidate_ids : array or list of shape (m,) or (m, 1), optional
        The same of each candidate. Default: `ids`.
    sample_weight : number or array of shape (n,), optional
        Weights of the anchors.
    reduction : {"mean", "sum", "weighted_mean", "none"}
        How to combine the anchors, which all count, also those without a positive.
        "mean" divides by their number, whatever their weights; "weighted_mean" by the
        sum of their weights.
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
    .. [1] X. Zhai, B. Mustafa, A. Kolesnikov, L. Beyer, "Sigmoid Loss for Language
       Image Pre-Training", ICCV 2023, section 3.2 and algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import sigmoid_loss_from_embeddings
    >>> images = np.asarray([[1.0, 0.0], [0.0, 1.0]])
    >>> texts = np.asarray([[0.8, 0.6], [0.0, 1.0]])
    >>> round(float(sigmoid_loss_from_embeddings(images, texts)), 4)
    1.4191
    """
    call = _admitted(
        anchors=anchors,
        candidates=candidates,
        labels=labels,
        candidate_labels=candidate_labels,
        temperature=temperature,
        normalize=normalize,
        exclude_diagonal=exclude_diagonal,
        sample_weight=sample_weight,
        reduction=reduction,
        block_size=block_size,
        ids=ids,
        candidate_ids=candidate_ids,
        bias=bias,
    )
    return loss_of(call)
