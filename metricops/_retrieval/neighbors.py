"""Nearest neighbours."""

from collections.abc import Callable, Iterable

from metricops import _checks
from metricops._arguments.arrays import Inputs, float_arrays, widened
from metricops._frameworks.public import public
from metricops._retrieval.best import Config, panels
from metricops._retrieval.search import search
from metricops._similarity.metrics import canonical
from metricops._typing import Array

Progress = Callable[[Iterable[int]], Iterable[int]]


@public
def nearest_neighbors(
    queries: Array,
    keys: Array | None = None,
    k: int = 1,
    *,
    metric: str = "cosine",
    block_size: int | None = None,
    progress: Progress | None = None,
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
    progress : callable, optional
        What wraps the iterable of panels, ``tqdm.tqdm`` for one, to show how far a long
        search is. Default: nothing is shown.

    Returns
    -------
    values : array of shape (n, k), in the dtype that the arguments promote to
        The similarities, largest first, by inner product or cosine; else the distances,
        smallest first.
    indices : array of shape (n, k), integer
        The rows of `keys`; among equals the lower one comes first. A key whose value
        is NaN comes after all numbers.

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
    block_size = _checks.check_block_size(block_size)
    inputs = checked_pair(queries, keys)
    lib, rows = inputs.library, inputs.first
    places = lib.positions(rows, 0, "queries") if keys is None else None
    config = checked_search(inputs, keys is None, k, name, block_size)
    if progress is None:
        found = lib.compiled(search, config, rows, inputs.second, places)
    else:
        found = _shown(inputs, config, places, progress)
    values, indices = found
    return inputs.narrow(values), indices


def _shown(
    inputs: Inputs, config: Config, places: Array | None, progress: Progress
) -> tuple[Array, Array]:
    """Return what a search finds, by the panels that `progress` iterates over."""
    if not callable(progress):
        msg = "`progress` must wrap an iterable of panels; "
        msg += f"got {_checks.shown(progress)}."
        raise TypeError(msg)
    lib, rows, keys = inputs.library, inputs.first, inputs.second
    count = lib.known_rows(rows)
    if count is None:
        need = "None where the number of queries is open"
        _checks.refuse_value("progress", need, progress)
    block = panels(lib, config, rows, keys).queries or max(count, 1)
    found = []
    for first in progress(range(0, max(count, 1), block)):
        last = min(first + block, count)
        panel, own = (None if x is None else x[first:last, ...] for x in (rows, places))
        found.append(lib.compiled(search, config, panel, keys, own))
    values, indices = (
        lib.xp.concat(list(parts), axis=0) for parts in zip(*found, strict=True)
    )
    return values, indices


def checked_pair(queries: Array, keys: Array | None) -> Inputs:
    """Return queries and keys, having made sure that they fit each other."""
    given = {"queries": queries} if keys is None else {"queries": queries, "keys": keys}
    inputs = widened(float_arrays(False, **given))
    lib = inputs.library
    left, right = lib.shape(inputs.first), lib.shape(inputs.second)
    _checks.check_rank("queries", left, 2, "(n, d)")
    if len(right) != 2 or not _checks.same(left[1], right[1]):
        _checks.refuse_shape("keys", f"shape (m, {left[1]}), to fit `queries`", right)
    lib.check_whole("queries", inputs.first)
    lib.check_whole("keys", inputs.second)
    return inputs


def checked_search(
    inputs: Inputs, alone: bool, k: int | None, metric: str, block: int | None
) -> Config:
    """Return what is static about a search, having made sure that `k` fits."""
    count = inputs.library.known_rows(inputs.second)
    if k is not None and count is not None and k > count - alone:
        most = max(count - alone, 0)
        _checks.refuse_value(
            "k", f"at most {most}, the number of keys to choose from", k
        )
    return Config(metric, k, block, inputs.half)
