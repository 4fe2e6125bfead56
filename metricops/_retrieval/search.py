"""The values and the indices of the best keys of each query."""

from functools import partial

from metricops._frameworks import Arrays, Library, Step
from metricops._retrieval.best import SEARCH, Best, Config, panels
from metricops._retrieval.exact import exact_rows, exact_scores
from metricops._retrieval.products import METRICS
from metricops._similarity.metrics import DISTANCES
from metricops._typing import Array


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
