"""The VICReg loss of two views of a batch."""

from typing import Any

from metricops import _checks
from metricops._arguments.options import check_number, check_positive
from metricops._frameworks.public import public
from metricops._losses.column_products import two_views
from metricops._losses.solvable import Solvable, differentiated
from metricops._losses.vicreg_terms import LOSS, Config
from metricops._typing import Array

_NAMES = ("first", "second")


def _solvable(first: Any, second: Any, **options: Any) -> Solvable:
    """Return a call as `value_and_grad` takes it."""
    ddof = _checks.check_int("ddof", options.pop("ddof"))
    if ddof < 0:
        _checks.refuse_value("ddof", "at least 0", ddof)
    numbers = {name: check_number(name, value) for name, value in options.items()}
    check_positive("epsilon", options["epsilon"])
    config = Config(**numbers, ddof=ddof)
    inputs = two_views(first, second)
    return Solvable(
        inputs, LOSS.solve, config, (inputs.first, inputs.second), (), _NAMES
    )


@public
@differentiated(_solvable)
def vicreg_loss(
    first: Array,
    second: Array,
    *,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    epsilon: float = 1e-4,
    ddof: int = 1,
) -> Array:
    """Return the VICReg loss of two views of a batch.

    It is the weighted sum of three terms [1]_: the mean squared difference of the
    views; the mean over the features, and over the views, of what their standard
    deviation is short of 1; and the sum over the views of all squared covariances of
    different features, divided by d. The matrix of covariances is never held whole.

    Parameters
    ----------
    first, second : arrays of shape (n, d), real floating or integer
        The embeddings of the two views of each sample.
    invariance, variance, covariance : float
        The weights of the three terms.
    epsilon : float
        Added to a variance before the root; positive.
    ddof : int
        A variance is divided by ``n - ddof``; a covariance always by ``n - 1``.

    Returns
    -------
    array of shape ()
        In the dtype that the embeddings promote to. Of one row the terms of variance
        and covariance are 0; of an empty batch the loss is.

    Raises
    ------
    TypeError
        If an argument is of a wrong dtype or library.
    ValueError
        If a shape or a value does not fit.

    References
    ----------
    .. [1] A. Bardes, J. Ponce, Y. LeCun, "VICReg: Variance-Invariance-Covariance
       Regularization for Self-Supervised Learning", ICLR 2022, equations 1 to 6.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import vicreg_loss
    >>> first = np.asarray([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    >>> round(float(vicreg_loss(first, 2 * first)), 4)
    14.0876
    """
    call = _solvable(
        first,
        second,
        invariance=invariance,
        variance=variance,
        covariance=covariance,
        epsilon=epsilon,
        ddof=ddof,
    )
    return LOSS.loss_of(call)
