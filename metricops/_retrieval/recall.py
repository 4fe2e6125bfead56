"""How often the nearest neighbours have the query's label."""

from typing import Any

from metricops import _checks
from metricops._arguments.arrays import Inputs
from metricops._arguments.labels import column, label_arrays, matches_found
from metricops._frameworks.public import public
from metricops._retrieval.neighbors import checked_pair, search
from metricops._similarity.metrics import canonical
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
        a miss.

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
    depths = tuple(k) if isinstance(k, (tuple, list)) else (k,)
    if not depths:
        _checks.refuse_value("k", "an int or a tuple of ints", k)
    depths = tuple(_checks.check_positive_int("k", depth) for depth in depths)
    name = canonical(metric)
    if (keys is None) != (key_labels is None):
        _checks.refuse_value(
            "key_labels", "given where `keys` are, and only there", key_labels
        )
    inputs = checked_pair(queries, keys)
    own, others = _key_labels(inputs, query_labels, key_labels)
    _, indices = search(inputs, keys is None, max(depths), name, block_size)
    lib, xp = inputs.library, inputs.xp
    found = matches_found(lib, own, lib.gather(others, indices))
    hits = xp.astype(found, inputs.arrays[0].dtype)
    return {
        depth: inputs.narrow(xp.sum(xp.max(hits[:, :depth], axis=1)) / lib.count(hits))
        for depth in depths
    }


def _key_labels(inputs: Inputs, labels: Any, others: Any) -> tuple[Array, Array]:
    lib, given = inputs.library, {"query_labels": labels}
    if others is not None:
        given["key_labels"] = others
    arrays = label_arrays(lib, "queries", inputs.arrays[0], **given)
    flat = []
    for name, x, rows in zip(given, arrays, inputs.arrays, strict=False):
        x, count = column(lib, name, x), lib.shape(rows)[0]
        if not _checks.same(lib.shape(x)[0], count):
            need = f"a label for each of {count} rows"
            _checks.refuse_shape(name, need, lib.shape(x))
        need = f"`{name}` must have a label for each row."
        flat.append(lib.agree(x, 0, rows, 0, need))
    return flat[0], flat[-1]
