"""How good a search is among the best `k` keys: recall, precision and gain.

The module is long, as each metric is described in full.
"""

import math
from typing import Any

from metricops._frameworks import Library
from metricops._frameworks.public import public
from metricops._retrieval.evaluation import Data, Found, Metric, evaluate_at
from metricops._typing import Array


@public
def recall_at_k(
    queries: Array,
    query_labels: Any,
    keys: Array | None = None,
    key_labels: Any = None,
    *,
    k: int | tuple[int, ...] = (1, 5, 10),
    metric: str = "cosine",
    block_size: int | None = None,
) -> dict[int, Array]:
    """Return the share of queries that find their label among the best `k` keys.

    Parameters
    ----------
    queries : array of shape (n, d), real floating or integer
        What to search for.
    query_labels : array or list of shape (n,) or (n, 1)
        The label of each query.
    keys : array of shape (m, d), real floating or integer, optional
        What to search. Default: the queries themselves, each without itself.
    key_labels : array or list of shape (m,) or (m, 1), optional
        The label of each key, if `keys` are given.
    k : int or tuple of ints
        Among how many keys to look.
    metric : str
        As in `nearest_neighbors`.
    block_size : int, optional
        How many queries a panel holds. Default: as many as suit the device.

    Returns
    -------
    dict of int to array of shape ()
        For each of `k` the recall, in [0, 1]. A query whose label no key has counts as
        a miss, and so does one that is NaN.

    Raises
    ------
    TypeError
        If an argument is of a wrong dtype or library.
    ValueError
        If a shape does not fit, `metric` is unknown, or there are fewer keys than `k`.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import recall_at_k
    >>> embeddings = np.asarray([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.8, 0.3]])
    >>> recall = recall_at_k(embeddings, [0, 0, 1, 1], k=(1, 3))
    >>> {k: float(share) for k, share in recall.items()}
    {1: 0.75, 3: 1.0}
    """
    both = Data(queries, query_labels), Data(keys, key_labels)
    return evaluate_at(RECALL, *both, k, metric, block_size)


def _recall(lib: Library, found: Found, depth: int | None) -> Array:
    """Return 1 for each query that finds its label, and 0 for the others."""
    hits = lib.xp.sum(found.hits[:, :depth], axis=1)
    return lib.xp.astype(hits > 0, found.hits.dtype)


RECALL = Metric(_recall, False, False)


@public
def precision_at_k(
    queries: Array,
    query_labels: Any,
    keys: Array | None = None,
    key_labels: Any = None,
    *,
    k: int | tuple[int, ...] = (1, 5, 10),
    metric: str = "cosine",
    block_size: int | None = None,
) -> dict[int, Array]:
    """Return the share of the best `k` keys that have their query's label.

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
    k : int or tuple of ints
        How many keys to look at.
    metric : str
        As in `nearest_neighbors`.
    block_size : int, optional
        How many queries a panel holds. Default: as many as suit the device.

    Returns
    -------
    dict of int to array of shape ()
        For each of `k` the precision, in [0, 1]: the relevant ones among the best `k`
        keys, divided by `k` [1]_, and the mean of that over all queries. Relevant is a
        key that shares a label with the query. A query without a relevant key has 0.

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

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import precision_at_k
    >>> embeddings = np.asarray([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.8, 0.3]])
    >>> precision = precision_at_k(embeddings, [0, 0, 1, 0], k=(1, 2))
    >>> {k: float(share) for k, share in precision.items()}
    {1: 0.75, 2: 0.75}
    """
    both = Data(queries, query_labels), Data(keys, key_labels)
    return evaluate_at(PRECISION, *both, k, metric, block_size)


def _precision(lib: Library, found: Found, depth: int | None) -> Array:
    """Return the share of hits among the first keys of each query."""
    return lib.xp.mean(found.hits[:, :depth], axis=1)


PRECISION = Metric(_precision, False, True)


@public
def ndcg_at_k(
    queries: Array,
    query_labels: Any,
    keys: Array | None = None,
    key_labels: Any = None,
    *,
    k: int | tuple[int, ...] = (1, 5, 10),
    metric: str = "cosine",
    block_size: int | None = None,
) -> dict[int, Array]:
    """Return the normalised discounted cumulative gain of the best `k` keys.

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
    k : int or tuple of ints
        How many keys to look at.
    metric : str
        As in `nearest_neighbors`.
    block_size : int, optional
        How many queries a panel holds. Default: as many as suit the device.

    Returns
    -------
    dict of int to array of shape ()
        For each of `k` the gain, in [0, 1]: the sum of ``1 / log2(1 + rank)`` over the
        relevant ones among the best `k` keys, divided by that of an ideal order [1]_,
        and the mean over all queries. Relevant is a key that shares a label with the
        query. A query without a relevant key has 0.

    Raises
    ------
    TypeError
        If an argument is of a wrong dtype or library.
    ValueError
        If a shape does not fit, `metric` is unknown, or there are fewer keys than `k`.

    References
    ----------
    .. [1] K. Järvelin, J. Kekäläinen, "Cumulated gain-based evaluation of IR
       techniques", ACM Transactions on Information Systems 20(4), 2002; with gains of
       0 and 1, and the discount of C. Burges et al., "Learning to rank using gradient
       descent", ICML 2005.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import ndcg_at_k
    >>> embeddings = np.asarray([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.8, 0.3]])
    >>> gain = ndcg_at_k(embeddings, [0, 0, 1, 0], k=(1, 2))
    >>> {k: round(float(x), 4) for k, x in gain.items()}
    {1: 0.75, 2: 0.75}
    """
    both = Data(queries, query_labels), Data(keys, key_labels)
    return evaluate_at(GAIN, *both, k, metric, block_size)


def _gain(lib: Library, found: Found, depth: int | None) -> Array:
    """Return the discounted gain of each query, of that of an ideal order."""
    xp, hits = lib.xp, found.hits[:, :depth]
    ranks = xp.astype(lib.positions(hits, 1, "keys") + 1, hits.dtype)[None, :]
    discounts = math.log(2) / xp.log(ranks + 1)
    ideal = xp.where(ranks <= found.relevant[:, None], discounts, 0.0)
    # Of a query without a relevant key both sums are 0.
    best = xp.maximum(xp.sum(ideal, axis=1), discounts[:, 0])
    return xp.sum(hits * discounts, axis=1) / best


GAIN = Metric(_gain, True, True)
