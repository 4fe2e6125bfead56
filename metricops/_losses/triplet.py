"""The triplet loss: of distances, and of embeddings.

The module is long, as all options are written out and described.
"""

from dataclasses import dataclass
from typing import Any

from metricops import _checks
from metricops._arguments.arrays import float_arrays
from metricops._arguments.options import check_number
from metricops._arguments.weights import sample_weights
from metricops._frameworks import Library
from metricops._frameworks.public import public
from metricops._losses.distances import Arguments, admitted
from metricops._losses.embeddings_call import Call, loss_of, solvable_by
from metricops._losses.solvable import (
    Formula,
    Solvable,
    differentiated,
    loss_of_formula,
    solve_formula,
)
from metricops._losses.triplet_terms import Triplets, cost
from metricops._typing import Array, Reduction, TermReduction

_POSITIVES = ("all", "hard", "easy")
_NEGATIVES = ("semihard", "hard", "easy", "all", "beyond_all")

_NAMES = ("positive_distances", "negative_distances", "sample_weight")


@dataclass(frozen=True)
class Costs(Formula):
    """What triplets cost whose distances are given."""

    margin: float | None

    def losses(self, lib: Library, *arrays: Array) -> tuple[Array, None]:
        """Return the costs of positive and negative distances."""
        near, far = arrays
        losses, _ = cost(lib, near - far, self.margin)
        return losses, None

    def slopes(
        self, lib: Library, upstream: Array, *arrays: Array
    ) -> tuple[Array, Array]:
        """Return the gradients by both distances."""
        near, far = arrays
        _, slopes = cost(lib, near - far, self.margin)
        slopes = upstream * slopes
        return slopes, -slopes


def _solvable(
    positive_distances: Any,
    negative_distances: Any,
    margin: Any,
    sample_weight: Any,
    reduction: str,
) -> Solvable:
    """Return a call as `value_and_grad` takes it."""
    _checks.check_reduction(reduction)
    formula = Costs(reduction, _margin(margin))
    first, second = "positive_distances", "negative_distances"
    inputs = float_arrays(**{first: positive_distances, second: negative_distances})
    lib, near = inputs.library, inputs.first
    far = lib.shaped(second, inputs.second, first, near)
    weights = sample_weights(lib, sample_weight, first, near)
    return Solvable(inputs, solve_formula, formula, (near, far, weights), (), _NAMES)


def _admitted(
    margin: Any, positives: Any, negatives: Any, swap: Any, **given: Any
) -> Call:
    """Return a call of embeddings, having checked its arguments."""
    terms = _terms(margin, positives, negatives, swap, given["reduction"])
    return admitted(terms, Arguments(**given))


@public
@differentiated(_solvable)
def triplet_loss(
    positive_distances: Array,
    negative_distances: Array,
    *,
    margin: float | None = 1.0,
    sample_weight: Any = None,
    reduction: Reduction = "mean",
) -> Array:
    """Return the triplet loss of distances that are given.

    A triplet costs ``max(positive - negative + margin, 0)`` [1]_, or without a margin
    ``softplus(positive - negative)`` [2]_.

    Parameters
    ----------
    positive_distances, negative_distances : arrays of one shape, real
        Of each triplet, the distances of the anchor to its positive and its negative.
    margin : float or None
        By how much the negative is to be farther than the positive.
    sample_weight : number or array, optional
        A weight for all triplets, or one for each along their leading axes.
    reduction : {"mean", "sum", "weighted_mean", "none"}
        How to combine the triplets. "mean" divides by their number, whatever their
        weights; "weighted_mean" by the sum of the weights.

    Returns
    -------
    array of shape (), or the shape of the distances if ``reduction="none"``
        Nonnegative, in the dtype that the distances promote to.

    Raises
    ------
    TypeError
        If an argument is of a wrong dtype or library.
    ValueError
        If a shape or a value does not fit.

    References
    ----------
    .. [1] F. Schroff, D. Kalenichenko, J. Philbin, "FaceNet: A Unified Embedding for
       Face Recognition and Clustering", CVPR 2015, equation 3.
    .. [2] A. Hermans, L. Beyer, B. Leibe, "In Defense of the Triplet Loss for Person
       Re-Identification", 2017, section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import triplet_loss
    >>> positive, negative = np.asarray([0.5, 1.0]), np.asarray([2.0, 1.25])
    >>> float(triplet_loss(positive, negative))
    0.375
    """
    distances = positive_distances, negative_distances
    return loss_of_formula(_solvable(*distances, margin, sample_weight, reduction))


@public
@solvable_by(_admitted)
def triplet_loss_from_embeddings(
    anchors: Array,
    candidates: Array | None = None,
    labels: Any = None,
    *,
    candidate_labels: Any = None,
    margin: float | None = 1.0,
    positives: str = "all",
    negatives: str = "semihard",
    metric: str = "euclidean",
    normalize: bool = False,
    swap: bool = False,
    exclude_diagonal: bool | None = None,
    sample_weight: Any = None,
    reduction: TermReduction = "mean",
    block_size: int | None = None,
) -> Array:
    """Return the triplet loss of embeddings, with the triplets that it mines.

    An anchor, a candidate of its class and one of another make a triplet, which costs
    ``max(d(anchor, positive) - d(anchor, negative) + margin, 0)`` [1]_. No matrix of
    distances is ever held: beyond its arguments it takes memory for the gradients and
    for a panel of anchors. The time is that of three matrix products and, where
    `positives` is "all", some passes for each member of the largest class; with all
    negatives too it is that of a sort.

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
    margin : float or None
        By how much the negative is to be farther than the positive. None: a triplet
        costs the softplus of the difference [2]_.
    positives : {"all", "hard", "easy"}
        With which positives an anchor makes triplets: all, the farthest, or the
        nearest.
    negatives : {"semihard", "hard", "easy", "all", "beyond_all"}
        With which negatives each of these does: the nearest that is farther than the
        positive, or else the farthest; the nearest; the farthest; or all. "beyond_all"
        is "semihard" with a negative farther than all of the anchor's positives.
    metric : {"euclidean", "squared_euclidean", "cosine"}
        The distance; "cosine" is 1 less the cosine.
    normalize : bool
        Whether to scale embeddings to unit length first, as "cosine" does by itself.
    swap : bool
        Whether the negative's distance is the smaller of that to the anchor and that to
        the positive [3]_. It takes a matrix product for each positive.
    exclude_diagonal : bool, optional
        Whether pair (i, i) takes no part; m must be n or more. Default: whether
        `candidates` is None.
    sample_weight : number or array of shape (n,), optional
        Weights of the anchors, for all their triplets.
    reduction : {"mean", "sum", "weighted_mean", "active_mean", "none"}
        How to combine the triplets. "mean" divides by their number, whatever their
        weights; "weighted_mean" by the sum of the weights, and "active_mean" by how
        many of them have a loss above 0. "none" is the sum of each anchor's.
    block_size : int, optional
        How many anchors a panel holds. Default: as many as suit the device. Any value
        gives the same result to rounding.

    Returns
    -------
    array of shape (), or (n,) if ``reduction="none"``
        Nonnegative, in the dtype that the embeddings promote to. An anchor without a
        positive or without a negative has loss 0 and gradient 0. Distances are as exact
        as those of `pairwise_euclidean_distance`; where several candidates are equally
        far, the gradient is shared among them.

    Raises
    ------
    TypeError
        If an argument is of a wrong dtype or library.
    ValueError
        If a shape or a value does not fit, or `reduction` is "active_mean" without a
        margin.

    References
    ----------
    .. [1] F. Schroff, D. Kalenichenko, J. Philbin, "FaceNet: A Unified Embedding for
       Face Recognition and Clustering", CVPR 2015, equations 3 and 4.
    .. [2] A. Hermans, L. Beyer, B. Leibe, "In Defense of the Triplet Loss for Person
       Re-Identification", 2017, equation 5 and section 3.2.
    .. [3] V. Balntas, E. Riba, D. Ponsa, K. Mikolajczyk, "Learning Local Feature
       Descriptors with Triplets and Shallow Convolutional Neural Networks", BMVC 2016,
       section 3.3.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import triplet_loss_from_embeddings
    >>> embeddings = np.asarray([[0.0, 0.0], [0.0, 1.0], [1.5, 0.0]])
    >>> loss = triplet_loss_from_embeddings(embeddings, labels=[0, 0, 1])
    >>> round(float(loss), 4)
    0.3486
    """
    terms = _terms(margin, positives, negatives, swap, reduction)
    asked = Arguments(
        anchors,
        candidates,
        labels,
        candidate_labels,
        metric,
        normalize,
        exclude_diagonal,
        sample_weight,
        reduction,
        block_size,
    )
    return loss_of(admitted(terms, asked))


def _terms(
    margin: Any, positives: Any, negatives: Any, swap: Any, reduction: str
) -> Triplets:
    """Return the terms of a call, having checked its words and numbers."""
    _checks.check_word("positives", positives, _POSITIVES)
    _checks.check_word("negatives", negatives, _NEGATIVES)
    if margin is None and reduction == "active_mean":
        need = 'a number where `reduction` is "active_mean"'
        _checks.refuse_value("margin", need, margin)
    return Triplets(
        1, _margin(margin), positives, negatives, _checks.check_bool("swap", swap)
    )


def _margin(margin: Any) -> float | None:
    """Return a margin as a number, or None."""
    return None if margin is None else check_number("margin", margin)
