"""Nearest neighbours."""

from typing import Any

from metricops import _checks
from metricops._arguments.arrays import Inputs, float_arrays
from metricops._frameworks import Arrays, Library, Step
from metricops._frameworks.public import public
from metricops._similarity.metrics import (
    DISTANCES,
    canonical,
    cosine_similarity,
    inner_product,
)
from metricops._similarity.normalize import unit
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
    inputs = checked_pair(queries, keys)
    values, indices = search(inputs, keys is None, k, name, block_size)
    return inputs.narrow(values), indices


def checked_pair(queries: Array, keys: Array | None) -> Inputs:
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


def search(
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
