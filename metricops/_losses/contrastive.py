"""The contrastive loss: of distances, and of embeddings.

Of embeddings a positive costs what its distance is beyond a margin, a negative what it
is short of one, or the square of that::

    max(d - positive_margin, 0)**power,    max(negative_margin - d, 0)**power

The module is long, as all options are written out and described.
"""

from dataclasses import dataclass
from typing import Any

from metricops import _checks
from metricops._arguments.arrays import float_arrays, numbers
from metricops._arguments.options import check_number
from metricops._arguments.weights import sample_weights
from metricops._frameworks import Library
from metricops._frameworks.host import is_number
from metricops._frameworks.programs import register_record
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
from metricops._panels.terms import Among, Found, Masks, Part, Terms
from metricops._typing import Array, Reduction, TermReduction

_NAMES = ("distances", "", "sample_weight")


@dataclass(frozen=True)
class Pairs(Formula):
    """The squared distances of pairs, or the squares of what they are short of."""

    margin: float

    def losses(self, lib: Library, *arrays: Array) -> tuple[Array, None]:
        """Return the losses of distances and of whether they are of one class."""
        distances, alike = arrays
        short = lib.clip(self.margin - distances, 0.0, float("inf"))
        kept = lib.xp.where(alike != 0, distances, short)
        return kept * kept, None

    def slopes(
        self, lib: Library, upstream: Array, *arrays: Array
    ) -> tuple[Array, Array | None]:
        """Return the gradient by the distances."""
        distances, alike = arrays
        short = lib.clip(self.margin - distances, 0.0, float("inf"))
        slopes = lib.xp.where(alike != 0, distances, -short)
        return 2 * upstream * slopes, None


@dataclass(frozen=True)
class Contrastive(Terms):
    """All pairs: the positives, and the negatives."""

    parts: int = 2
    positive_margin: float = 0.0
    negative_margin: float = 1.0
    power: int = 2
    counts_pairs = True

    def counts(self, lib: Library, masks: Masks, dtype: Any) -> tuple[Array, ...]:
        """Return how many positives and negatives each row has."""
        return tuple(lib.xp.sum(lib.xp.astype(there, dtype), axis=1) for there in masks)

    def found(
        self, lib: Library, distances: Array, masks: Masks, among: Among
    ) -> Found:
        """Return what the pairs of each row come to, and their derivatives."""
        return self.of_pairs(lib, distances, masks)

    def of_pairs(self, lib: Library, distances: Array, masks: Masks) -> Found:
        """Return what some of the pairs come to, and their derivatives."""
        beyond = distances - self.positive_margin
        short = self.negative_margin - distances
        count, others = self.counts(lib, masks, distances.dtype)
        part, error = self._pairs(lib, beyond, masks.positives, count)
        other, rising = self._pairs(lib, short, masks.negatives, others)
        return Found((part, other), (error, -rising))

    def _pairs(
        self, lib: Library, excess: Array, there: Array, count: Array
    ) -> tuple[Part, Array]:
        """Return what the pairs of one role come to, and the slopes by the excess."""
        xp = lib.xp
        excess = lib.clip(xp.where(there, excess, 0.0), 0.0, float("inf"))
        active = lib.step(excess)
        losses, slopes = excess, active
        if self.power == 2:
            losses, slopes = excess * excess, 2 * excess
        part = Part(xp.sum(losses, axis=1), count, xp.sum(active, axis=1))
        return part, slopes


def _solvable(
    distances: Any, same: Any, margin: Any, sample_weight: Any, reduction: str
) -> Solvable:
    """Return a call as `value_and_grad` takes it."""
    _checks.check_reduction(reduction)
    formula = Pairs(reduction, check_number("margin", margin))
    inputs = float_arrays(distances=distances)
    lib, wide = inputs.library, inputs.first
    lib.check_whole("distances", wide)
    alike = _alike(lib, same, wide)
    weights = sample_weights(lib, sample_weight, "distances", wide)
    arrays = wide, alike, weights
    return Solvable(inputs, solve_formula, formula, arrays, (), _NAMES)


def _alike(lib: Library, same: Any, distances: Array) -> Array:
    """Return whether pairs are of one class, having made sure that it fits."""
    alike = numbers(lib, "same", same, "distances", distances)
    if alike.ndim == distances.ndim + 1 and lib.shape(alike)[-1] == 1:
        alike = alike[..., 0]
    return lib.stop_gradient(lib.shaped("same", alike, "distances", distances))


def _admitted(
    positive_margin: Any, negative_margin: Any, power: Any, **given: Any
) -> Call:
    """Return a call of embeddings, having checked its arguments."""
    terms = _terms(positive_margin, negative_margin, power)
    return admitted(terms, Arguments(**given))


@public
@differentiated(_solvable)
def contrastive_loss(
    distances: Array,
    same: Any,
    *,
    margin: float = 1.0,
    sample_weight: Any = None,
    reduction: Reduction = "mean",
) -> Array:
    """Return the contrastive loss of distances that are given.

    Pairs of the same class cost their squared distance, others the square of what they
    are short of the margin [1]_; there is no factor of a half. It is
    ``tfa.losses.contrastive_loss``.

    Parameters
    ----------
    distances : array of any shape, real floating or integer
        The distance of each pair; nonnegative.
    same : array or list of the shape of `distances`, bools or numbers
        Whether the two of a pair are of one class; a number is true unless it is 0.
    margin : float
        How far apart pairs of two classes are to be.
    sample_weight : number or array, optional
        A weight for all pairs, or one for each along their leading axes.
    reduction : {"mean", "sum", "weighted_mean", "none"}
        How to combine the pairs. "mean" divides by their number, whatever their
        weights; "weighted_mean" by the sum of the weights.

    Returns
    -------
    array of shape (), or the shape of `distances` if ``reduction="none"``
        Nonnegative, in the dtype of `distances`.

    Raises
    ------
    TypeError
        If an argument is of a wrong dtype or library.
    ValueError
        If a shape or a value does not fit.

    References
    ----------
    .. [1] R. Hadsell, S. Chopra, Y. LeCun, "Dimensionality Reduction by Learning an
       Invariant Mapping", CVPR 2006, equation 4.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import contrastive_loss
    >>> distances = np.asarray([0.5, 0.5, 2.0])
    >>> contrastive_loss(distances, [1, 0, 0], reduction="none").tolist()
    [0.25, 0.25, 0.0]
    """
    return loss_of_formula(_solvable(distances, same, margin, sample_weight, reduction))


@public
@solvable_by(_admitted)
def contrastive_loss_from_embeddings(
    anchors: Array,
    candidates: Array | None = None,
    labels: Any = None,
    *,
    candidate_labels: Any = None,
    positive_margin: float = 0.0,
    negative_margin: float = 1.0,
    power: int = 2,
    metric: str = "euclidean",
    normalize: bool = False,
    exclude_diagonal: bool | None = None,
    sample_weight: Any = None,
    reduction: TermReduction = "mean",
    block_size: int | None = None,
) -> Array:
    """Return the contrastive loss of all pairs of embeddings.

    Positives cost what their distance is beyond a margin, negatives what it is short of
    another, to a power [1]_. No matrix of distances is ever held: beyond its arguments
    it takes memory for the gradients and for a panel of anchors.

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
    positive_margin, negative_margin : float
        How far apart positives may be, and how far negatives are to be.
    power : {1, 2}
        What the excess over a margin is raised to.
    metric : {"euclidean", "squared_euclidean", "cosine"}
        The distance; "cosine" is 1 less the cosine.
    normalize : bool
        Whether to scale embeddings to unit length first, as "cosine" does by itself.
    exclude_diagonal : bool, optional
        Whether pair (i, i) takes no part; m must be n or more. Default: whether
        `candidates` is None.
    sample_weight : number or array of shape (n,), optional
        Weights of the anchors, for all their pairs.
    reduction : {"mean", "sum", "weighted_mean", "active_mean", "none"}
        How to combine the pairs. "mean" is the mean over the positives plus the mean
        over the negatives, whatever their weights; "weighted_mean" divides by the sums
        of the weights, and "active_mean" by how many pairs have a loss above 0. "none"
        is the sum of each anchor's.
    block_size : int, optional
        How many anchors a panel holds. Default: as many as suit the device. Any value
        gives the same result to rounding.

    Returns
    -------
    array of shape (), or (n,) if ``reduction="none"``
        Nonnegative, in the dtype that the embeddings promote to. Distances are as exact
        as those of `pairwise_euclidean_distance`; equal embeddings have gradient 0.

    Raises
    ------
    TypeError
        If an argument is of a wrong dtype or library.
    ValueError
        If a shape or a value does not fit.

    References
    ----------
    .. [1] R. Hadsell, S. Chopra, Y. LeCun, "Dimensionality Reduction by Learning an
       Invariant Mapping", CVPR 2006, equation 4.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import contrastive_loss_from_embeddings
    >>> embeddings = np.asarray([[0.0, 0.0], [0.0, 0.5], [0.5, 0.0]])
    >>> loss = contrastive_loss_from_embeddings(embeddings, labels=[0, 0, 1])
    >>> round(float(loss), 4)
    0.4179
    """
    terms = _terms(positive_margin, negative_margin, power)
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


def _terms(positive_margin: Any, negative_margin: Any, power: Any) -> Contrastive:
    """Return the terms of a call, having checked its numbers."""
    if not is_number(power):
        _checks.refuse_type("power", "1 or 2", power)
    if power not in (1, 2):
        _checks.refuse_value("power", "1 or 2", power)
    near = check_number("positive_margin", positive_margin)
    far = check_number("negative_margin", negative_margin)
    return Contrastive(2, near, far, int(power))


register_record("contrastive", Contrastive)
