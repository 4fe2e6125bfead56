"""Distances of every vector of one set to every vector of another.

The module is long, as each distance is described in full.
"""

from typing import Any

from metricops import _checks
from metricops._arguments.arrays import Inputs, float_arrays
from metricops._frameworks.public import public
from metricops._similarity import metrics
from metricops._similarity.pairwise import fitting_pair
from metricops._typing import Array


@public
def pairwise_cosine_distance(
    x: Array, y: Array | None = None, *, normalize: bool = True
) -> Array:
    """Return 1 less the cosine of each vector of `x` with each vector of `y`.

    Parameters
    ----------
    x : array of shape (..., n, d), real floating or integer
        The vectors of the rows of the result.
    y : array of shape (..., m, d), real floating or integer, optional
        The vectors of its columns, with the leading axes of `x`. Default: `x`.
    normalize : bool
        Whether to scale the vectors to length one first. Without, 1 less their inner
        product is returned, and 0 where that is negative: ``CosineDistance`` of
        TensorFlow Similarity, for vectors that have length one already.

    Returns
    -------
    array of shape (..., n, m), in the dtype that `x` and `y` promote to
        In [0, 2] with `normalize`: 0 where vectors are equal, accurate where their
        directions nearly agree (to an ulp of 1 over the angle), and 1 where a vector is
        zero, with gradient 0 for that vector.

    Raises
    ------
    TypeError
        If an argument is not a real array, they are of two libraries, or `normalize` is
        no bool.
    ValueError
        If `x` has fewer than two axes, or `y` does not fit it.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import pairwise_cosine_distance
    >>> x = np.asarray([[1.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    >>> pairwise_cosine_distance(x).round(4).tolist()
    [[0.0, 0.4, 1.0], [0.4, 0.0, 1.0], [1.0, 1.0, 1.0]]
    """
    normalize = _checks.check_bool("normalize", normalize)
    inputs, left, right = _prepared(x, y)
    lib = inputs.library
    return inputs.narrow(lib.quietly(metrics.cosine_distance, left, right, normalize))


@public
def pairwise_euclidean_distance(x: Array, y: Array | None = None) -> Array:
    """Return the length of the difference of each vector of `x` and each vector of `y`.

    Parameters
    ----------
    x : array of shape (..., n, d), real floating or integer
        The vectors of the rows of the result.
    y : array of shape (..., m, d), real floating or integer, optional
        The vectors of its columns, with the leading axes of `x`. Default: `x`.

    Returns
    -------
    array of shape (..., n, m), in the dtype that `x` and `y` promote to
        Right to a few ulps of that dtype, or of float32 if that is wider, however near
        the vectors are and however long. 0 where they are equal, with gradient 0.

    Raises
    ------
    TypeError
        If an argument is not a real array, or they are of two libraries.
    ValueError
        If `x` has fewer than two axes, or `y` does not fit it.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import pairwise_euclidean_distance
    >>> x = np.asarray([[1e4, 0.0], [1e4, 1e-3], [1e4 + 3, 4.0]])
    >>> pairwise_euclidean_distance(x).round(4).tolist()
    [[0.0, 0.001, 5.0], [0.001, 0.0, 4.9992], [5.0, 4.9992, 0.0]]
    """
    return _distances(metrics.euclidean, x, y)


@public
def pairwise_squared_euclidean_distance(x: Array, y: Array | None = None) -> Array:
    """Return the squared euclidean distance of each vector of `x` and each of `y`.

    Parameters
    ----------
    x : array of shape (..., n, d), real floating or integer
        The vectors of the rows of the result.
    y : array of shape (..., m, d), real floating or integer, optional
        The vectors of its columns, with the leading axes of `x`. Default: `x`.

    Returns
    -------
    array of shape (..., n, m), in the dtype that `x` and `y` promote to
        Right to a few ulps of that dtype, or of float32 if that is wider, however near
        the vectors are. 0 where they are equal.

    Raises
    ------
    TypeError
        If an argument is not a real array, or they are of two libraries.
    ValueError
        If `x` has fewer than two axes, or `y` does not fit it.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import pairwise_squared_euclidean_distance
    >>> x, y = np.asarray([[0.0, 0.0], [1.0, 1.0]]), np.asarray([[3.0, 4.0]])
    >>> pairwise_squared_euclidean_distance(x, y).tolist()
    [[25.0], [13.0]]
    """
    return _distances(metrics.squared_euclidean, x, y)


@public
def pairwise_manhattan_distance(x: Array, y: Array | None = None) -> Array:
    """Return the sum of the absolute differences of each vector of `x` and each of `y`.

    Parameters
    ----------
    x : array of shape (..., n, d), real floating or integer
        The vectors of the rows of the result.
    y : array of shape (..., m, d), real floating or integer, optional
        The vectors of its columns, with the leading axes of `x`. Default: `x`.

    Returns
    -------
    array of shape (..., n, m), in the dtype that `x` and `y` promote to
        Right to a few ulps of that dtype, or of float32 if that is wider. No array of
        n * m * d numbers is held on the way, nor for the gradient.

    Raises
    ------
    TypeError
        If an argument is not a real array, or they are of two libraries.
    ValueError
        If `x` has fewer than two axes, or `y` does not fit it.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import pairwise_manhattan_distance
    >>> x, y = np.asarray([[0.0, 0.0], [1.0, 1.0]]), np.asarray([[3.0, -4.0]])
    >>> pairwise_manhattan_distance(x, y).tolist()
    [[7.0], [7.0]]
    """
    return _distances(metrics.manhattan, x, y)


@public
def pairwise_snr_distance(x: Array, y: Array | None = None) -> Array:
    """Return the noise-to-signal ratio of each vector of `y` to each vector of `x`.

    The variance of the entries of their difference over that of the entries of the
    vector of `x`, the anchor: the signal-to-noise ratio distance [1]_. It is not
    symmetric, and the offsets of the vectors do not matter to it.

    Parameters
    ----------
    x : array of shape (..., n, d), real floating or integer
        The anchors, the vectors of the rows of the result.
    y : array of shape (..., m, d), real floating or integer, optional
        The vectors of its columns, with the leading axes of `x`. Default: `x`.

    Returns
    -------
    array of shape (..., n, m), in the dtype that `x` and `y` promote to
        0 where a vector is its anchor plus a constant, also if the anchor is constant;
        infinite for other vectors of a constant anchor.

    Raises
    ------
    TypeError
        If an argument is not a real array, or they are of two libraries.
    ValueError
        If `x` has fewer than two axes, or `y` does not fit it.

    References
    ----------
    .. [1] T. Yuan, W. Deng, J. Tang, Y. Tang, B. Chen, "Signal-to-Noise Ratio: A Robust
       Distance Metric for Deep Metric Learning", CVPR 2019, section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import pairwise_snr_distance
    >>> x = np.asarray([[1.0, -1.0]])
    >>> y = np.asarray([[3.0, 1.0], [2.0, -2.0], [0.0, 0.0]])
    >>> pairwise_snr_distance(x, y).round(4).tolist()
    [[0.0, 1.0, 1.0]]
    """
    return _distances(metrics.snr, x, y)


def _distances(metric: Any, x: Array, y: Array | None) -> Array:
    inputs, left, right = _prepared(x, y)
    return inputs.narrow(inputs.library.quietly(metric, left, right))


def _prepared(x: Array, y: Array | None) -> tuple[Inputs, Array, Array | None]:
    """Return the rows to compute with, having made sure that they fit."""
    inputs = float_arrays(x=x) if y is None else float_arrays(x=x, y=y)
    left, right = fitting_pair(inputs.library, inputs.first, inputs.second)
    inputs.library.check_whole("x", left)
    inputs.library.check_whole("y", right)
    return inputs, left, None if y is None else right
