"""How early a search finds relevant keys: means over their ranks."""

import math
from typing import Any

from metricops import _checks
from metricops._frameworks import Library
from metricops._frameworks.public import public
from metricops._retrieval.evaluation import Data, Found, Metric, evaluate
from metricops._typing import Array


@public
def mean_reciprocal_rank(
    queries: Array,
    query_labels: Any,
    keys: Array | None = None,
    key_labels: Any = None,
    *,
    k: int | None = None,
    metric: str = "cosine",
    block_size: int | None = None,
) -> Array:
    """Return the mean of the reciprocals of the rank of the first relevant key.

    Parameters
    ----------
    queries : array of shape (n, d), real floating or integer
        What to search for.
    query_labels : array or list of shape (n,) or (n, 1), or multi-hot (n, c)
        The label of each query.
    keys : array of shape (m, d), real floating or integer, optional
        What to search. Default: the queries themselves, each without itself.
    key_labels : array or list of shape (m,) or (m, 1), or (m, c), optional
        The label of each key, if `keys` are given.
    k : int, optional
        How many keys to look at. Default: all.
    metric : str
        As in `nearest_neighbors`.
    block_size : int, optional
        How many queries a panel holds. Default: as many as suit the device.

    Returns
    -------
    array of shape ()
        In [0, 1], the mean over all queries of 1 divided by the rank of the first one
        of the best `k` keys that is relevant, and 0 if none is [1]_. Relevant is a key
        that shares a label with the query.

    Raises
    ------
    TypeError
        If an argument is of a wrong dtype or library.
    ValueError
        If a shape does not fit, `metric` is unknown, or there are fewer keys than `k`.

    References
    ----------
    .. [1] E. M. Voorhees, "The TREC-8 Question Answering Track Report", 1999.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import mean_reciprocal_rank
    >>> embeddings = np.asarray([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.8, 0.3]])
    >>> round(float(mean_reciprocal_rank(embeddings, [0, 0, 1, 1])), 4)
    0.8333
    """
    depth = None if k is None else _checks.check_positive_int("k", k)
    both = Data(queries, query_labels), Data(keys, key_labels)
    (found,) = evaluate(RECIPROCAL_RANK, *both, (depth,), metric, block_size)
    return found


def _reciprocal_rank(lib: Library, found: Found, depth: int | None) -> Array:
    """Return the reciprocal of the rank of each query's first hit."""
    xp, hits = lib.xp, found.hits[:, :depth]
    ranks = xp.astype(lib.positions(hits, 1, "keys") + 1, hits.dtype)[None, :]
    first = xp.where(lib.running(hits) == 1, hits, 0.0)
    return xp.sum(first / ranks, axis=1)


RECIPROCAL_RANK = Metric(_reciprocal_rank, False, True)


@public
def mean_average_precision(
    queries: Array,
    query_labels: Any,
    keys: Array | None = None,
    key_labels: Any = None,
    *,
    k: int | None = None,
    metric: str = "cosine",
    block_size: int | None = None,
) -> Array:
    """Return the mean of the precisions at each relevant key.

    Parameters
    ----------
    queries : array of shape (n, d), real floating or integer
        What to search for.
    query_labels : array or list of shape (n,) or (n, 1), or multi-hot (n, c)
        The label of each query.
    keys : array of shape (m, d), real floating or integer, optional
        What to search. Default: the queries themselves, each without itself.
    key_labels : array or list of shape (m,) or (m, 1), or (m, c), optional
        The label of each key, if `keys` are given.
    k : int, optional
        How many keys to look at: their number for full average precision. Default:
        as many as are relevant to the query, which is MAP@R [2]_.
    metric : str
        As in `nearest_neighbors`.
    block_size : int, optional
        How many queries a panel holds. Default: as many as suit the device.

    Returns
    -------
    array of shape ()
        In [0, 1], the mean over all queries of the average precision [1]_: the sum of
        the precisions at the rank of each relevant one among the best `k` keys, divided
        by the number of relevant keys, or by `k` if that is less. Relevant is a key
        that shares a label with the query. A query without a relevant key has 0.

    Raises
    ------
    TypeError
        If an argument is of a wrong dtype or library.
    ValueError
        If a shape does not fit, `metric` is unknown, or there are fewer keys than `k`.

    References
    ----------
    .. [1] C. D. Manning, P. Raghavan, H. Schütze, "Introduction to Information
       Retrieval", Cambridge University Press 2008, section 8.4.
    .. [2] K. Musgrave, S. Belongie, S.-N. Lim, "A Metric Learning Reality Check", ECCV
       2020, section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import mean_average_precision
    >>> embeddings = np.asarray([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.8, 0.3]])
    >>> labels = [0, 0, 1, 0]
    >>> float(mean_average_precision(embeddings, labels))
    0.75
    >>> float(mean_average_precision(embeddings, labels, k=1))
    0.75
    """
    depth = None if k is None else _checks.check_positive_int("k", k)
    both = Data(queries, query_labels), Data(keys, key_labels)
    (found,) = evaluate(AVERAGE_PRECISION, *both, (depth,), metric, block_size)
    return found


def _average_precision(lib: Library, found: Found, depth: int | None) -> Array:
    """Return the average precision of each query."""
    xp, hits, relevant = lib.xp, found.hits[:, :depth], found.relevant
    ranks = xp.astype(lib.positions(hits, 1, "keys") + 1, hits.dtype)[None, :]
    precisions = lib.running(hits) / ranks
    if depth is None:
        hits = xp.where(ranks <= relevant[:, None], hits, 0.0)
        most = relevant
    else:
        most = lib.clip(relevant, 0, depth)
    return xp.sum(precisions * hits, axis=1) / lib.clip(most, 1, math.inf)


AVERAGE_PRECISION = Metric(_average_precision, True, True)
