"""How often the nearest neighbours have the query's label."""

from typing import Any

from metricops._frameworks import Library
from metricops._frameworks.public import public
from metricops._retrieval.evaluation import Data, Found, Metric, depths_of, evaluate
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
    depths = depths_of(k)
    found = evaluate(
        RECALL,
        Data(queries, query_labels),
        Data(keys, key_labels),
        depths,
        metric,
        block_size,
    )
    return dict(zip(depths, found, strict=True))


def _recall(lib: Library, found: Found, depth: int | None) -> Array:
    """Return 1 for each query that finds its label, and 0 for the others."""
    hits = lib.xp.sum(found.hits[:, :depth], axis=1)
    return lib.xp.astype(hits > 0, found.hits.dtype)


RECALL = Metric(_recall, False, False)
