"""The best keys of each query, in panels of queries and panels of keys."""

from typing import Any, NamedTuple

from metricops._frameworks import Arrays, Library, Search, Step, register_search
from metricops._retrieval import half_products, products
from metricops._retrieval.exact import all_scores, exact_rows, exact_scores
from metricops._typing import Array

_KEYS = 2**14  # keys a panel, at least
_MORE = 8  # keys beside the best ones, as a product may order those otherwise


class Config(NamedTuple):
    """What is static about a choice of keys."""

    metric: str
    k: int | None  # how many keys to find; None: all
    block: int | None  # how many queries a panel holds; None: as suit the device
    operands: str = ""  # the half that rows were, which products take; "": none


class Best(NamedTuple):
    """The best keys of each query, the best one first."""

    scores: Array  # (n, k), the larger the better; NaN after all numbers
    indices: Array  # (n, k), the lower one first among equals


class Panels(NamedTuple):
    """How many rows a panel holds; None: all."""

    queries: int | None
    keys: int | None


def panels(lib: Library, config: Config, queries: Array, keys: Array) -> Panels:
    """Return how many queries and how many keys a panel holds."""
    width, block = None, config.block
    if config.k is not None:
        least = max(_KEYS, 4 * config.k)
        width = _key_panel(lib.known_rows(keys), least, config.k)
    if block is None:
        block = lib.search_block(queries, keys if width is None else keys[:width, ...])
    return Panels(block, width)


def _key_panel(count: int | None, width: int, least: int) -> int | None:
    """Return how many keys a panel holds, so that none holds fewer than `least`."""
    if count is None or count <= width:
        return None
    number = -(-count // width)
    while count - (number - 1) * -(-count // number) < least:
        number -= 1
    return -(-count // number) if number > 1 else None


def best_keys(lib: Library, config: Config, queries: Array, keys: Array) -> Best:
    """Return the best keys of each query, or all where there are fewer than `k`."""
    sizes, count = panels(lib, config, queries, keys), lib.known_rows(keys)
    k = lib.size(keys, 0) if config.k is None else config.k
    k = k if count is None else min(k, count)
    width = count if sizes.keys is None else sizes.keys
    find: Any = _best_of_all
    multiplying = lib.multiplying(config.operands)
    if config.k is not None and products.serve(
        multiplying, config.metric, queries, width, k
    ):
        find = _best_by_products

    def key_panel(best: Any, panel: Arrays, consts: Arrays) -> Step:
        (keys, places), (queries,) = panel, consts
        found = find(lib, config, queries, keys, k, sizes.queries)
        if places is not None:
            found = Best(found.scores, lib.gather(places, found.indices))
        return found if best is None else _merged(lib, [best, found], k), ()

    places = None if sizes.keys is None else lib.positions(keys, 0, "keys")
    found, _ = lib.loops.walk(key_panel, (keys, places), (queries,), sizes.keys)
    return Best(*found)


def _best_of_all(
    lib: Library, config: Config, queries: Array, keys: Array, k: Any, block: int | None
) -> Best:
    """Return the best of a panel of keys, of which each is computed."""

    def panel(_: Any, own: Arrays, consts: Arrays) -> Step:
        (queries,), (keys,) = own, consts
        return (), lib.largest(all_scores(lib, config.metric, queries, keys), k)

    _, found = lib.loops.fold(panel, (queries,), (keys,), block)
    return Best(*found)


def _best_by_products(
    lib: Library, config: Config, queries: Array, keys: Array, k: Any, block: int | None
) -> Best:
    """Return the best of a panel of keys, of which only candidates are computed."""
    metric, multiplying = config.metric, lib.multiplying(config.operands)
    way: Any = half_products if config.operands else products
    right = way.prepared(multiplying, metric, keys)

    def panel(_: Any, left: Arrays, consts: Any) -> Step:
        (given,), (right,) = left, consts
        own = way.prepared_queries(multiplying, metric, given, right)
        found = way.candidates(multiplying, metric, own, right, k)
        # Rows without a bound are done again; their squares may be no numbers.
        zero = lib.xp.zeros_like(own.rows)
        rows = lib.xp.where(own.bounded[:, None], own.rows, zero)
        scores = exact_scores(lib, metric, rows, right.exact, found.columns)
        scores = lib.xp.where(found.there, scores, float("nan"))
        best = _ordered(lib, scores, found.columns, k)
        return (), (found.complete, *best)

    def again(rows: Array) -> Best:
        return _best_of_many(lib, config, rows, keys, k, block)

    _, (complete, *best) = lib.loops.fold(panel, (queries,), (right,), block)
    return Best(*lib.redone(complete, again, queries, tuple(best)))


def _best_of_many(
    lib: Library, config: Config, queries: Array, keys: Array, k: int, block: int | None
) -> Best:
    """Return the best of a panel of keys, for queries with too many candidates.

    All keys are computed to choose some, and these as candidates are.
    """
    metric, width = config.metric, min(k + _MORE, keys.shape[0])

    def panel(_: Any, own: Arrays, consts: Arrays) -> Step:
        (queries,), (keys,) = own, consts
        _, columns = lib.largest(all_scores(lib, metric, queries, keys), width)
        # Equal keys of several panels have equal scores if all come from here.
        columns, exact = lib.xp.sort(columns, axis=1), exact_rows(lib, metric, keys)
        scores = exact_scores(lib, metric, queries, exact, columns)
        return (), _ordered(lib, scores, columns, k)

    _, found = lib.loops.fold(panel, (queries,), (keys,), block)
    return Best(*found)


def _ordered(lib: Library, scores: Array, columns: Array, k: Any) -> Best:
    """Return the `k` best of some columns, which are in order."""
    scores, order = lib.largest(scores, k)
    return Best(scores, lib.xp.take_along_axis(columns, order, axis=1))


def _of_parts(lib: Library, config: Config, parts: list[tuple[Array, Array]]) -> Best:
    """Return the best of what was found in parts of the keys, in their order."""
    best = [Best(*part) for part in parts]
    count = sum(lib.size(part.scores, 1) for part in best)
    return _merged(lib, best, count if config.k is None else min(config.k, count))


def _merged(lib: Library, parts: list[Best], k: Any) -> Best:
    """Return the best of several, of which the first have lower indices."""
    scores = lib.xp.concat([part.scores for part in parts], axis=1)
    indices = lib.xp.concat([part.indices for part in parts], axis=1)
    scores, columns = lib.largest(scores, k)
    return Best(scores, lib.xp.take_along_axis(indices, columns, axis=1))


def _outline(lib: Library, config: Config, queries: Array, keys: Array) -> Best:
    """Return zeros of the shapes and dtypes of what is found."""
    k = lib.size(keys, 0) if config.k is None else config.k
    places = lib.positions(keys, 0, "keys")[:k]
    zeros = lib.xp.zeros_like(queries[:, :1]) + lib.xp.zeros_like(
        lib.xp.astype(places, queries.dtype)
    )
    return Best(zeros, lib.xp.astype(zeros, places.dtype))


SEARCH = register_search(Search("neighbours", Config, best_keys, _outline, _of_parts))
