"""The best keys of each query, in panels of queries and panels of keys."""

from typing import Any, NamedTuple

from metricops._frameworks import Arrays, Library, Step
from metricops._retrieval import products
from metricops._similarity.metrics import DISTANCES, cosine_similarity, inner_product
from metricops._typing import Array

_KEYS = 2**14  # keys a panel, at least


class Search(NamedTuple):
    """What is static about a search."""

    metric: str
    k: int | None  # how many keys to find; None: all
    block: int | None  # how many queries a panel holds
    keys: int | None  # how many keys; None: all


class Best(NamedTuple):
    """The best keys of each query, the best one first."""

    scores: Array  # (n, k), the larger the better; NaN after all numbers
    indices: Array  # (n, k), the lower one first among equals


def search(
    lib: Library, config: Search, queries: Array, keys: Array, places: Array | None
) -> tuple[Array, Array]:
    """Return the values and the indices of the best keys of each query.

    `places` are the rows of the queries among the keys, to leave out; None: none.
    """
    best = _best(lib, config, queries, keys, places is not None)
    if places is not None:
        best = _without_own(lib, best, places)
    scores = best.scores
    if config.metric in products.METRICS and lib.records(queries, keys):
        scores = _differentiable(lib, config, queries, keys, best.indices)
    return (-scores if config.metric in DISTANCES else scores), best.indices


def _differentiable(
    lib: Library, config: Search, queries: Array, keys: Array, indices: Array
) -> Array:
    """Return the scores of chosen keys, as functions of the rows."""

    def panel(_: Any, rows: Arrays, consts: Arrays) -> Step:
        own, columns = rows
        found = products.exact_scores(lib, config.metric, own, consts[0], columns)
        return (), (found,)

    exact = products.exact(lib, config.metric, keys)
    _, (scores,) = lib.loops.fold(panel, (queries, indices), (exact,), config.block)
    return scores


def panels(
    lib: Library, queries: Array, keys: Array, wanted: int | None, block: int | None
) -> tuple[int | None, int | None]:
    """Return how many queries and how many keys a panel holds."""
    width = None
    if wanted is not None:
        width = key_panel(lib.known_rows(keys), max(_KEYS, 4 * wanted), wanted)
    if block is None:
        block = lib.block(queries, keys if width is None else keys[:width, ...])
    return block, width


def key_panel(count: int | None, width: int, least: int) -> int | None:
    """Return how many keys a panel holds, so that none holds fewer than `least`."""
    if count is None or count <= width:
        return None
    number = -(-count // width)
    while count - (number - 1) * -(-count // number) < least:
        number -= 1
    return -(-count // number) if number > 1 else None


def _best(
    lib: Library, config: Search, queries: Array, keys: Array, alone: bool
) -> Best:
    """Return the best keys, one more than `k` where each query is among them."""
    wanted = lib.size(keys, 0) if config.k is None else config.k + alone
    width = lib.known_rows(keys) if config.keys is None else config.keys
    fast = config.k is not None and products.serve(
        lib, config.metric, queries, width, wanted
    )
    if fast:
        queries, keys = lib.stop_gradient(queries), lib.stop_gradient(keys)

    def key_panel(best: Any, panel: Arrays, consts: Arrays) -> Step:
        rows, places = panel
        find: Any = _best_of_all
        others, own = rows, consts
        if fast:
            find = _best_by_products
            others = products.prepared(lib, config.metric, rows)
            own = products.prepared_queries(lib, config.metric, consts[0], others)

        def query_panel(_: Any, own: Arrays, keys: Arrays) -> Step:
            found = find(lib, config.metric, own, others, keys[0], wanted)
            if places is None:
                return (), found
            return (), (found.scores, lib.gather(places, found.indices))

        _, found = lib.loops.fold(query_panel, own, (rows,), config.block)
        return found if best is None else _merged(lib, best, found, wanted), ()

    places = None if config.keys is None else lib.positions(keys, 0, "keys")
    (scores, indices), _ = lib.loops.fold(
        key_panel, (keys, places), (queries,), config.keys
    )
    return Best(scores, indices)


def _best_of_all(
    lib: Library, metric: str, queries: Arrays, _: Any, keys: Array, k: int
) -> Best:
    """Return the best keys of a panel, of which each is computed."""
    return Best(*lib.largest(_scores(lib, metric, queries[0], keys), k))


def _best_by_products(
    lib: Library,
    metric: str,
    queries: Arrays,
    prepared: products.Keys,
    keys: Array,
    k: int,
) -> Best:
    """Return the best keys of a panel, of which only candidates are computed."""
    own = products.Queries(*queries)
    found = products.candidates(lib, own, prepared, k)
    # Rows without a bound are done again; their squares may be no numbers.
    zero = lib.xp.zeros_like(own.rows)
    rows = lib.xp.where(own.bounded[:, None], own.rows, zero)
    scores = products.exact_scores(lib, metric, rows, prepared.exact, found.columns)
    scores, order = lib.largest(lib.xp.where(found.there, scores, float("nan")), k)
    indices = lib.xp.take_along_axis(found.columns, order, axis=1)

    def again(rows: Array) -> Arrays:
        return lib.largest(_scores(lib, metric, rows, keys), k)

    return Best(*lib.redone(found.complete, again, own.rows, (scores, indices)))


def _merged(lib: Library, best: Arrays, more: Arrays, k: int) -> Arrays:
    """Return the best of two panels of keys, of which the first has lower indices."""
    scores, indices = (
        lib.xp.concat([old, new], axis=1) for old, new in zip(best, more, strict=True)
    )
    scores, columns = lib.largest(scores, k)
    return scores, lib.xp.take_along_axis(indices, columns, axis=1)


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


def _scores(lib: Library, metric: str, queries: Array, keys: Array) -> Array:
    """Return numbers that are the larger, the better a key is."""
    if metric in DISTANCES:
        return -DISTANCES[metric](lib, queries, keys)
    # A product may round the same numbers differently from column to column; in a
    # wider dtype that is lost, and equal keys have equal scores.
    x, y = products.exact(lib, metric, queries), products.exact(lib, metric, keys)
    score = cosine_similarity if metric == "cosine" else inner_product
    return lib.xp.astype(score(lib, x, y), queries.dtype)
