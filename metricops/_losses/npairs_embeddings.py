"""The public N-pairs loss of embeddings.

The module is long, as both signatures and all options are written out and described.
"""

from typing import Any

from metricops import _checks
from metricops._arguments.options import check_share
from metricops._frameworks.public import public
from metricops._losses.embeddings import Arguments, admitted
from metricops._losses.embeddings_call import loss_and_gradients, loss_of, solvable
from metricops._losses.npairs_denominators import NegativesDenominator, OwnDenominator
from metricops._losses.npairs_objective import NPairs
from metricops._losses.solvable import Solvable, differentiated
from metricops._panels.objective import Objective
from metricops._typing import Array, Denominator, Reduction

_NPAIRS: Objective = NPairs()
_DENOMINATORS = ("all", "own", "negatives")


def _solvable(label_smoothing: Any, denominator: Any, **given: Any) -> Solvable:
    """Return a call as `value_and_grad` takes it."""
    objective = objective_of(denominator, label_smoothing, given["labels"])
    return solvable(admitted(objective, Arguments(**given)))


@public
@differentiated(_solvable)
def npairs_loss_from_embeddings(
    anchors: Array,
    candidates: Array | None = None,
    labels: Any = None,
    *,
    candidate_labels: Any = None,
    temperature: Any = 1.0,
    normalize: bool = False,
    symmetric: bool = False,
    exclude_diagonal: bool = False,
    l2_weight: float = 0.0,
    sample_weight: Any = None,
    reduction: Reduction = "mean",
    block_size: int | None = None,
    ids: Any = None,
    candidate_ids: Any = None,
    candidate_bias: Any = None,
    label_smoothing: float = 0.0,
    denominator: Denominator = "all",
) -> Array:
    """Return the N-pairs loss of embeddings, without ever holding their similarities.

    `npairs_loss` of ``anchors @ candidates.T / temperature``, in panels of anchors:
    beyond its arguments it takes memory for the gradients and for a panel. With
    `normalize` it is InfoNCE [2]_, with `symmetric` too CLIP's loss [3]_.

    Parameters
    ----------
    anchors : array of shape (n, d), real floating or integer
        The embeddings of the rows.
    candidates : array of shape (m, d), real floating or integer, optional
        The embeddings of the columns. Default: the anchors, which takes `labels`.
    labels : array or list of shape (n,), (n, 1) or (n, c), optional
        The label of each anchor, or several labels multi-hot. Default: candidate i is
        the positive of anchor i, and further candidates are negatives.
    candidate_labels : array or list of shape (m,), (m, 1) or (m, c), optional
        The same of each candidate. Default: `labels`.
    temperature : float or array of shape ()
        What divides the similarities; positive. An array is differentiable.
    normalize : bool
        Whether to scale embeddings to unit length first.
    symmetric : bool
        Whether to take the mean with the loss of the candidates against the anchors;
        n must be m. Each direction is reduced by its own count.
    exclude_diagonal : bool
        Whether pair (i, i) takes no part, for each anchor i; `labels` must be given,
        and m be n or more.
    l2_weight : float
        Adds ``l2_weight * (mean ||a||**2 + mean ||c||**2) / 4``, as [1]_ does.
    sample_weight : number or array of shape (n,), optional
        Weights of the anchors, and of the candidates if `symmetric`.
    reduction : {"mean", "sum", "weighted_mean", "none"}
        How to combine the anchors. "mean" divides by the number of anchors that have a
        positive, whatever their weights; "weighted_mean" by the sum of their weights.
    block_size : int, optional
        How many anchors a panel holds. Default: as many as suit the device. Any value
        gives the same result to rounding.
    ids : array or list of shape (n,) or (n, 1), optional
        What each anchor is: a pair of equal ids takes no part, unless the candidate is
        a positive of the anchor. So an item that a batch holds twice is not its own
        negative [4]_.
    candidate_ids : array or list of shape (m,) or (m, 1), optional
        The same of each candidate. Default: `ids`.
    candidate_bias : array of shape (m,), optional
        Added to the scores of each candidate, after the temperature; differentiable.
        ``-log p`` of candidates drawn with probability p corrects for that [4]_. It
        cannot be `symmetric`.
    label_smoothing : float
        From 0 to 1: the share of the targets that is spread evenly over all candidates
        that take part [5]_; only with ``denominator="all"``.
    denominator : {"all", "own", "negatives"}
        With what a positive competes: with all candidates; with itself and the
        negatives, where the loss is the mean over the anchor's positives, as in NT-Xent
        [6]_ for classes of any size; or with the negatives alone [7]_.

    Returns
    -------
    array of shape (), or (n,) if ``reduction="none"``
        In nats, in the dtype that the embeddings promote to; nonnegative, but with
        `l2_weight`, or where the positives are not in the denominator. An anchor
        without a positive, or without a negative where `denominator` is "negatives",
        has loss 0 and gradient 0.

    Raises
    ------
    TypeError
        If an argument is of a wrong dtype or library.
    ValueError
        If a shape or a value does not fit, or two options exclude each other.

    References
    ----------
    .. [1] K. Sohn, "Improved Deep Metric Learning with Multi-class N-pair Loss
       Objective", NeurIPS 2016, equation 7 and section 3.2.2.
    .. [2] A. van den Oord, Y. Li, O. Vinyals, "Representation Learning with
       Contrastive Predictive Coding", 2018, equation 4.
    .. [3] A. Radford et al., "Learning Transferable Visual Models From Natural Language
       Supervision", ICML 2021, figure 3.
    .. [4] X. Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item
       Recommendations", RecSys 2019, section 4.
    .. [5] C. Szegedy et al., "Rethinking the Inception Architecture for Computer
       Vision", CVPR 2016, section 7.
    .. [6] T. Chen et al., "A Simple Framework for Contrastive Learning of Visual
       Representations", ICML 2020, equation 1.
    .. [7] C.-H. Yeh et al., "Decoupled Contrastive Learning", ECCV 2022, equation 6.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import npairs_loss_from_embeddings
    >>> anchors = np.asarray([[1.0, 0.0], [0.0, 1.0]])
    >>> candidates = np.asarray([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    >>> loss = npairs_loss_from_embeddings(anchors, candidates, temperature=0.5)
    >>> round(float(loss), 4)
    0.1429
    """
    objective = _NPAIRS
    plain = type(denominator) is str and denominator == "all"
    if not plain or type(label_smoothing) is not float or label_smoothing:
        objective = objective_of(denominator, label_smoothing, labels)
    call = admitted(
        objective,
        Arguments(
            anchors,
            candidates,
            labels,
            candidate_labels,
            temperature,
            normalize,
            symmetric,
            exclude_diagonal,
            l2_weight,
            sample_weight,
            reduction,
            block_size,
            ids,
            candidate_ids,
            candidate_bias,
        ),
    )
    return loss_of(call)


@public
def npairs_loss_and_grad(
    anchors: Array,
    candidates: Array | None = None,
    labels: Any = None,
    *,
    candidate_labels: Any = None,
    temperature: Any = 1.0,
    normalize: bool = False,
    symmetric: bool = False,
    exclude_diagonal: bool = False,
    l2_weight: float = 0.0,
    sample_weight: Any = None,
    reduction: Reduction = "mean",
    block_size: int | None = None,
    ids: Any = None,
    candidate_ids: Any = None,
    candidate_bias: Any = None,
    label_smoothing: float = 0.0,
    denominator: Denominator = "all",
) -> tuple[Array, tuple[Array, Array | None, Array]]:
    """Return the N-pairs loss of embeddings and its gradients, without autodiff.

    How those train whose arrays have no autodiff: NumPy, CuPy, Dask. The arguments are
    those of `npairs_loss_from_embeddings`.

    Parameters
    ----------
    anchors, candidates, labels, candidate_labels, temperature, normalize, symmetric
        As in `npairs_loss_from_embeddings`.
    exclude_diagonal, l2_weight, sample_weight, block_size, ids, candidate_ids
        As in `npairs_loss_from_embeddings`.
    candidate_bias, label_smoothing, denominator
        As in `npairs_loss_from_embeddings`.
    reduction : {"mean", "sum"}
        How to combine the anchors.

    Returns
    -------
    loss : array of shape ()
        As `npairs_loss_from_embeddings` returns it.
    gradients : tuple of three arrays
        By the anchors (n, d), the candidates (m, d) and the temperature (). With
        ``candidates=None`` the second is None and the first has both parts.

    Raises
    ------
    TypeError
        If an argument is of a wrong dtype or library.
    ValueError
        If a shape or a value does not fit, or two options exclude each other.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import npairs_loss_and_grad
    >>> anchors = np.asarray([[1.0, 0.0], [0.0, 1.0]])
    >>> loss, (of_anchors, _, _) = npairs_loss_and_grad(anchors, 2 * anchors)
    >>> of_anchors.round(4).tolist()
    [[-0.1192, 0.1192], [0.1192, -0.1192]]
    """
    if type(reduction) is not str or reduction not in ("mean", "sum"):
        _checks.check_reduction(reduction, ("mean", "sum"))
    objective = _NPAIRS
    plain = type(denominator) is str and denominator == "all"
    if not plain or type(label_smoothing) is not float or label_smoothing:
        objective = objective_of(denominator, label_smoothing, labels)
    call = admitted(
        objective,
        Arguments(
            anchors,
            candidates,
            labels,
            candidate_labels,
            temperature,
            normalize,
            symmetric,
            exclude_diagonal,
            l2_weight,
            sample_weight,
            reduction,
            block_size,
            ids,
            candidate_ids,
            candidate_bias,
        ),
    )
    return loss_and_gradients(call)


def objective_of(denominator: Any, label_smoothing: Any, labels: Any) -> Objective:
    """Return the objective with options other than the default, or raise."""
    _checks.check_word("denominator", denominator, _DENOMINATORS)
    smoothing = check_share("label_smoothing", label_smoothing)
    if smoothing != 0 and denominator != "all":
        need = '0 where `denominator` is not "all"'
        _checks.refuse_value("label_smoothing", need, label_smoothing)
    if denominator == "negatives":
        return NegativesDenominator()
    if denominator == "own" and labels is not None:
        return OwnDenominator()
    return NPairs(smoothing)  # a row's only positive is its own by position
