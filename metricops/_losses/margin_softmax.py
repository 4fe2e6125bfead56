"""The public margin softmax loss of embeddings, against proxies of classes."""

from typing import Any

from metricops._frameworks.public import public
from metricops._losses.embeddings_call import loss_of, solvable_by
from metricops._losses.margin_softmax_objective import admitted
from metricops._typing import Array, Reduction

_NAMES = ("embeddings", "proxies", "", "sample_weight", "")


@public
@solvable_by(admitted, _NAMES)
def margin_softmax_loss_from_embeddings(
    embeddings: Array,
    proxies: Array,
    labels: Any,
    *,
    scale: float = 64.0,
    margin: float = 0.35,
    angular_margin: float = 0.0,
    label_smoothing: float = 0.0,
    sample_weight: Any = None,
    reduction: Reduction = "mean",
    block_size: int | None = None,
) -> Array:
    """Return the softmax loss of cosines to class proxies, with a margin.

    The logit of a class is `scale` times the cosine of an embedding and the proxy of
    the class; that of the embedding's own class is ``scale * (cos(angle +
    angular_margin) - margin)``. It is CosFace [1]_ as it is, ArcFace [2]_ with
    ``margin=0.0, angular_margin=0.5``, and NormFace with neither. No matrix of logits
    is ever held; if the proxies have no gradient, it takes a matrix product less.

    Parameters
    ----------
    embeddings : array of shape (n, d), real floating or integer
        The rows.
    proxies : array of shape (c, d), real floating or integer
        A vector for each class.
    labels : array or list of shape (n,) or (n, 1)
        The index of each row's proxy. A row whose label is out of range (-1, say) takes
        no part: it has loss 0 and is not counted.
    scale : float
        What cosines are multiplied by; positive.
    margin : float
        What is subtracted from the cosine of the own class.
    angular_margin : float
        What is added to the angle to the own class, in radians, from 0 to pi. Where
        that would be more than pi, the cosine less ``angular_margin *
        sin(angular_margin)`` is taken.
    label_smoothing : float
        The share of the target that is spread evenly over all classes, from 0 to 1.
    sample_weight : number or array of shape (n,), optional
        Weights of the rows.
    reduction : {"mean", "sum", "weighted_mean", "none"}
        How to combine the rows. "mean" divides by the number of those that count,
        whatever their weights; "weighted_mean" by the sum of their weights.
    block_size : int, optional
        How many rows a panel holds. Default: as many as suit the device. Any value
        gives the same result to rounding.

    Returns
    -------
    array of shape (), or (n,) if ``reduction="none"``
        In nats, in the dtype that embeddings and proxies promote to. A row that is its
        proxy has a finite gradient.

    Raises
    ------
    TypeError
        If an argument is of a wrong dtype or library.
    ValueError
        If a shape or a value does not fit.

    References
    ----------
    .. [1] H. Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face
       Recognition", CVPR 2018, equation 4.
    .. [2] J. Deng, J. Guo, N. Xue, S. Zafeiriou, "ArcFace: Additive Angular Margin Loss
       for Deep Face Recognition", CVPR 2019, equation 3.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import margin_softmax_loss_from_embeddings
    >>> x, proxies = np.asarray([[3.0, 4.0], [0.0, 2.0]]), np.eye(2)
    >>> loss = margin_softmax_loss_from_embeddings(x, proxies, [1, 1], scale=4.0)
    >>> round(float(loss), 4)
    0.5546
    """
    call = admitted(
        embeddings,
        proxies,
        labels,
        sample_weight,
        reduction,
        block_size,
        scale=scale,
        margin=margin,
        angular_margin=angular_margin,
        label_smoothing=label_smoothing,
    )
    return loss_of(call)
