"""The public lifted structure loss of embeddings."""

from typing import Any

from metricops import _checks
from metricops._arguments.arrays import float_arrays
from metricops._arguments.labels import label_arrays
from metricops._arguments.options import check_number
from metricops._frameworks.public import public
from metricops._losses.distances import Arguments, admitted
from metricops._losses.embeddings_call import Call, loss_of, solvable_by
from metricops._losses.lifted_structure_terms import LiftedPairs
from metricops._typing import Array

_REDUCTIONS = ("mean", "sum", "weighted_mean")
_NAMES = ("embeddings", "", "", "")


def _admitted(
    embeddings: Any, labels: Any, margin: Any, reduction: Any, **options: Any
) -> Call:
    """Return a call, having checked its arguments."""
    terms = LiftedPairs(1, check_number("margin", margin))
    _checks.check_reduction(reduction, _REDUCTIONS)
    if labels is None:
        _checks.refuse_value("labels", "given", None)
    inputs = float_arrays(embeddings=embeddings)
    shape = inputs.library.shape(inputs.first)
    _checks.check_rank("embeddings", shape, 2, "(n, d)")
    inputs.library.check_whole("embeddings", inputs.first)
    given = label_arrays(inputs.library, "embeddings", inputs.first, labels=labels)
    options = {**options, **given, "reduction": reduction}
    call = admitted(terms, Arguments(inputs.first, **options))
    return call._replace(inputs=inputs)


@public
@solvable_by(_admitted, _NAMES)
def lifted_structure_loss_from_embeddings(
    embeddings: Array,
    labels: Any,
    *,
    margin: float = 1.0,
    metric: str = "euclidean",
    normalize: bool = False,
    reduction: str = "mean",
    block_size: int | None = None,
) -> Array:
    """Return the lifted structure loss of embeddings.

    A pair of positives at distance d costs ``max(J, 0)**2 / 2`` with ``J =
    log(sum(exp(margin - n))) + d`` [1]_, where n are the distances of both to their
    negatives. No matrix of distances is ever held: it takes memory for the gradients
    and for a panel of rows, and the time of four matrix products.

    Parameters
    ----------
    embeddings : array of shape (n, d), real floating or integer
        The rows.
    labels : array or list of shape (n,), (n, 1) or (n, c)
        The label of each row, or several labels multi-hot, of which any shared one
        makes a positive.
    margin : float
        By how much negatives are to be farther than positives.
    metric : {"euclidean", "squared_euclidean", "cosine"}
        The distance; "cosine" is 1 less the cosine.
    normalize : bool
        Whether to scale embeddings to unit length first, as "cosine" does by itself.
    reduction : {"mean", "sum", "weighted_mean"}
        How to combine the pairs of positives, each of which is one pair. "mean" and
        "weighted_mean" divide by their number.
    block_size : int, optional
        How many rows a panel holds. Default: as many as suit the device. Any value
        gives the same result to rounding.

    Returns
    -------
    array of shape ()
        Nonnegative, in the dtype of the embeddings. Without positives or negatives it
        is 0. Distances are as exact as those of `pairwise_euclidean_distance`; equal
        embeddings have gradient 0.

    Raises
    ------
    TypeError
        If an argument is of a wrong dtype or library.
    ValueError
        If a shape or a value does not fit.

    References
    ----------
    .. [1] H. O. Song, Y. Xiang, S. Jegelka, S. Savarese, "Deep Metric Learning via
       Lifted Structured Feature Embedding", CVPR 2016, equation 4.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import lifted_structure_loss_from_embeddings
    >>> x = np.asarray([[0.0, 0.0], [0.0, 1.0], [2.0, 0.0], [2.0, 2.0]])
    >>> round(float(lifted_structure_loss_from_embeddings(x, [0, 0, 1, 1])), 4)
    1.4114
    """
    call = _admitted(
        embeddings,
        labels,
        margin,
        reduction,
        metric=metric,
        normalize=normalize,
        block_size=block_size,
    )
    return loss_of(call)
