"""Nearest neighbours, and how often they have the query's label."""

from typing import Any

from metricops import _checks
from metricops._frameworks import Arrays, Library, Step
from metricops._inputs import Inputs, float_arrays
from metricops._labels import label_arrays
from metricops._metrics import DISTANCES, canonical, cosine_similarity, inner_product
from metricops._normalize import unit
from metricops._npairs import column
from metricops._public import public
from metricops._typing import Array


@public
def nearest_neighbors(
    queries: Array,
    keys: Array | None = None,
    k: int = 1,
    *,
    metric: str = "cosine",
    block_size: int | None = None,
) -> tuple[Array, Array]:
    """Return the best keys of each query.

    Parameters
    ----------
    queries : array of shape (n, d), real floating or integer
        What to search for.
    keys : array of shape (m, d), real floating or integer, optional
        What to search. Default: the queries themselves, each without itself.
    k : int
        How many keys to return of each query.
    metric : str
        What makes a key good: "inner_product", "cosine", "euclidean",
        "squared_euclidean", "manhattan" or "snr", in any case, or an alias that
        TensorFlow Similarity has for it.
    block_size : int, optional
        How many queries a panel holds. Default: as many as suit the device.

    Returns
    -------
    values : array of shape (n, k), in the dtype that the arguments promote to
        The similarities, largest first, by inner product or cosine; else the distances,
        smallest first.
    indices : array of shape (n, k), integer
        The rows of `keys`; among equals the lower one comes first.

    Raises
    ------
    TypeError
        If an argument is of a wrong dtype or library.
    ValueError
        If a shape does not fit, `metric` is unknown, or there are fewer keys than `k`.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import nearest_neighbors
    >>> keys = np.asarray([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> values, indices = nearest_neighbors(np.asarray([[2.0, 0.1]]), keys, k=2)
    >>> indices.tolist()
    [[0, 2]]
    """
    name = canonical(metric)
    k = _checks.check_positive_int("k", k)
    if block_size is not None:
        _checks.check_positive_int("block_size", block_size)
    inputs = _pair(queries, keys)
    values, indices = _search(inputs, keys is None, k, name, block_size)
    return inputs.narrow(values), indices


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
    inputs = _pair(queries, keys)
    own, others = _key_labels(inputs, query_labels, key_labels)
    _, indices = _search(inputs, keys is None, max(depths), name, block_size)
    lib, xp = inputs.library, inputs.xp
    found = lib.gather(others, indices) == own[:, None]
    hits = xp.astype(found, inputs.arrays[0].dtype)
    return {
        depth: inputs.narrow(xp.sum(xp.max(hits[:, :depth], axis=1)) / lib.count(hits))
        for depth in depths
    }


def _pair(queries: Array, keys: Array | None) -> Inputs:
    inputs = (
        float_arrays(queries=queries)
        if keys is None
        else float_arrays(queries=queries, keys=keys)
    )
    lib = inputs.library
    left, right = lib.shape(inputs.arrays[0]), lib.shape(inputs.arrays[-1])
    _checks.check_rank("queries", left, 2, "(n, d)")
    if len(right) != 2 or not _checks.same(left[1], right[1]):
        _checks.refuse_shape("keys", f"shape (m, {left[1]}), to fit `queries`", right)
    return inputs


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


def _search(
    inputs: Inputs, alone: bool, k: int, metric: str, block: int | None
) -> tuple[Array, Array]:
    lib, xp = inputs.library, inputs.xp
    queries, keys = inputs.arrays[0], inputs.arrays[-1]
    if metric == "cosine":
        queries = unit(lib, queries)
        keys = queries if alone else unit(lib, keys)
    count = lib.shape(keys)[0]
    if count is not None and k > count - alone:
        _checks.refuse_value(
            "k", f"at most {count - alone}, the number of keys to choose from", k
        )

    def body(_: Any, panel: Arrays, consts: Arrays) -> Step:
        scores = _scores(lib, metric, panel[0], consts[0])
        if alone:
            own = panel[1][:, None] == lib.positions(scores, 1, "queries")[None, :]
            scores = xp.where(own, -float("inf"), scores)
        return (), lib.largest(scores, k)

    positions = lib.positions(queries, 0, "queries") if alone else None
    if block is None:
        block = lib.block(queries, keys)
    _, (values, indices) = lib.fold(body, (queries, positions), (keys,), block)
    return (-values if metric in DISTANCES else values), indices


def _scores(lib: Library, metric: str, queries: Array, keys: Array) -> Array:
    """Return numbers that are the larger, the better a key is."""
    if metric in DISTANCES:
        return -DISTANCES[metric](lib, queries, keys)
    score = cosine_similarity if metric == "cosine" else inner_product
    return score(lib, queries, keys)
