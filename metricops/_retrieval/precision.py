"""How many of the nearest neighbours have the query's label."""

from typing import Any

from metricops._frameworks import Library
from metricops._frameworks.public import public
from metricops._retrieval.evaluation import Data, Found, Metric, depths_of, evaluate
from metricops._typing import Array


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
    depths = depths_of(k)
    found = evaluate(
        PRECISION,
        Data(queries, query_labels),
        Data(keys, key_labels),
        depths,
        metric,
        block_size,
    )
    return dict(zip(depths, found, strict=True))


def _precision(lib: Library, found: Found, depth: int | None) -> Array:
    """Return the share of hits among the first keys of each query."""
    return lib.xp.mean(found.hits[:, :depth], axis=1)


PRECISION = Metric(_precision, False, True)
