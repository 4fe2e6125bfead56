"""Nearest neighbours: the values and the indices of the best keys of each query."""

from collections.abc import Callable, Iterable
from functools import partial

from metricops import _checks
from metricops._arguments.arrays import Inputs, float_arrays, widened
from metricops._frameworks import Arrays, Library, Step
from metricops._frameworks.public import public
from metricops._retrieval.best import SEARCH, Best, Config, panels
from metricops._retrieval.exact import exact_rows, exact_scores
from metricops._retrieval.products import METRICS
from metricops._similarity.metrics import DISTANCES, canonical
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


def search(
    lib: Library, config: Config, queries: Array, keys: Array, places: Array | None
) -> tuple[Array, Array]:
    """Return the values and the indices of the best keys of each query.

    `places` are the rows of the queries among the keys, to leave out; None: none.
    """
    wanted, given = config, (queries, keys)
    if places is not None and config.k is not None:
        wanted = config._replace(k=config.k + 1)
    constant = config.metric in METRICS
    if constant:
        given = lib.stop_gradient(queries), lib.stop_gradient(keys)
    best = Best(*lib.found(SEARCH, wanted, *given))
    if places is not None and lib.shape(best.indices)[1] != 0:  # 0: no rows at all
        best = _without_own(lib, best, places)
    scores = best.scores
    if constant:
        chosen = queries, keys, best.indices
        scores = lib.derived(scores, partial(_scores, config), chosen)
    return (-scores if config.metric in DISTANCES else scores), best.indices


def _without_own(lib: Library, best: Best, places: Array) -> Best:
    """Return the best keys but the query itself, or else but the last one."""
    xp = lib.xp
    columns = lib.positions(best.indices, 1, "keys")[None, :]
    own = best.indices == places[:, None]
    last = lib.size(best.indices, 1) - 1
    # The column that holds the query itself, or the last one.
    gap = last - xp.sum(xp.where(own, last - columns, 0), axis=1, keepdims=True)
    later = columns[:, :-1] >= gap
    scores, indices = (xp.where(later, x[:, 1:], x[:, :-1]) for x in best)
    return Best(scores, indices)


def _scores(
    config: Config, lib: Library, queries: Array, keys: Array, indices: Array
) -> Array:
    """Return the scores of chosen keys, as functions of the rows."""

    def panel(_: None, rows: Arrays, consts: Arrays) -> Step:
        (queries, columns), (keys,) = rows, consts
        return (), (exact_scores(lib, config.metric, queries, keys, columns),)

    exact = exact_rows(lib, config.metric, keys)
    block = panels(lib, config, queries, keys).queries
    _, (scores,) = lib.loops.fold(panel, (queries, indices), (exact,), block)
    return scores
