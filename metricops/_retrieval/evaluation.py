"""What the retrieval metrics share: one search, and which of its keys are relevant."""

from collections.abc import Callable
from typing import Any, NamedTuple

from metricops import _checks
from metricops._arguments.arrays import Inputs
from metricops._arguments.embeddings import one_each
from metricops._arguments.labels import check_classes, column, label_arrays
from metricops._arguments.matches import matches, same_labels, shared
from metricops._frameworks import Library, Step
from metricops._retrieval.best import Config as Choice
from metricops._retrieval.best import panels
from metricops._retrieval.neighbors import checked_pair, checked_search, search
from metricops._similarity.metrics import canonical
from metricops._typing import Array


class Found(NamedTuple):
    """What a search found for each query."""

    hits: Array  # (n, k): 1 where a key is relevant, 0 elsewhere; the best key first
    relevant: Array  # (n,): how many keys are, found or not; None unless asked for


Measure = Callable[[Library, Found, int | None], Array]


class Metric(NamedTuple):
    """A number for each query, of which a retrieval metric is the mean."""

    measure: Measure
    """``measure(lib, found, depth)``, shape (n,)."""
    counts: bool  # whether it asks how many keys are relevant
    multilabel: bool  # whether labels may be multi-hot


class Config(NamedTuple):
    """What is static about an evaluation."""

    metric: Metric
    depths: tuple[int | None, ...]
    choice: Choice


class Data(NamedTuple):
    """Queries or keys."""

    rows: Any
    labels: Any


class Ranked(NamedTuple):
    """The best keys of each query, the best one first."""

    values: Array
    indices: Array


class Own(NamedTuple):
    """Queries, or a panel of them."""

    rows: Array
    labels: Array
    places: Array | None  # where they are among the keys, if they are
    ranked: Ranked | None  # None where all keys are ranked, and in a panel alone


def evaluate(
    metric: Metric,
    queries: Data,
    keys: Data,
    depths: tuple[int | None, ...],
    name: str,
    block_size: int | None,
) -> tuple[Array, ...]:
    """Return a metric at each of `depths`; None: of all keys."""
    name, block_size = canonical(name), _checks.check_block_size(block_size)
    alone = keys.rows is None
    if alone != (keys.labels is None):
        _checks.refuse_value(
            "key_labels", "given where `keys` are, and only there", keys.labels
        )
    inputs = checked_pair(queries.rows, keys.rows)
    labels = _labels(inputs, metric, queries.labels, keys.labels)
    lib, left, right = inputs.library, inputs.first, inputs.second
    places = lib.positions(left, 0, "queries") if alone else None
    numbers = [depth for depth in depths if depth is not None]
    most = max(numbers) if len(numbers) == len(depths) else None
    config = Config(
        metric, depths, checked_search(inputs, alone, most, name, block_size)
    )
    found = lib.compiled(_means, config, left, right, *labels, places)
    return tuple(inputs.narrow(x) for x in found)


def evaluate_at(
    metric: Metric,
    queries: Data,
    keys: Data,
    k: Any,
    name: str,
    block_size: int | None,
) -> dict[int, Array]:
    """Return a metric among `k` keys, which is one number of them or several."""
    depths = tuple(k) if isinstance(k, (tuple, list)) else (k,)
    if not depths:
        _checks.refuse_value("k", "an int or a tuple of ints", k)
    depths = tuple(_checks.check_positive_int("k", depth) for depth in depths)
    found = evaluate(metric, queries, keys, depths, name, block_size)
    return dict(zip(depths, found, strict=True))


def _means(
    lib: Library,
    config: Config,
    queries: Array,
    keys: Array,
    labels: Array,
    others: Array,
    places: Array | None,
) -> tuple[Array, ...]:
    """Return the mean over all queries at each depth."""
    ranked = None
    if config.choice.k is not None:
        ranked = Ranked(*search(lib, config.choice, queries, keys, places))

    def panel(_: None, own: Own, right: Data) -> Step:
        found = _found(lib, config, own, right)
        return (), tuple(
            config.metric.measure(lib, found, depth) for depth in config.depths
        )

    rows = Own(queries, labels, places, ranked)
    block = panels(lib, config.choice, queries, keys).queries
    _, each = lib.loops.fold(panel, rows, Data(keys, others), block)
    return tuple(lib.xp.sum(x) / lib.count(queries) for x in each)


def _found(lib: Library, config: Config, own: Own, right: Data) -> Found:
    """Return what a search finds for a panel of queries."""
    xp, ranked = lib.xp, own.ranked
    if ranked is None:
        search_all = config.choice, own.rows, right.rows, own.places
        ranked = Ranked(*search(lib, *search_all))
    if own.labels.ndim == 1 and not config.metric.counts:
        relevant = None
        labels = lib.gather(right.labels, ranked.indices)
        hits = same_labels(lib, own.labels[:, None], labels)
    else:
        relevant = _relevant(lib, own.labels, right.labels, own.rows.dtype)
        hits = lib.chosen(relevant, ranked.indices)
    # A key whose value is NaN is never a hit.
    is_number = ranked.values == ranked.values
    hits = xp.astype(xp.logical_and(hits, is_number), own.rows.dtype)
    if relevant is None:
        return Found(hits, None)
    if own.places is not None:
        places = lib.positions(right.rows, 0, "keys")
        other = own.places[:, None] != places[None, :]
        relevant = xp.logical_and(relevant, other)
    return Found(hits, xp.sum(xp.astype(relevant, hits.dtype), axis=1))


def _relevant(lib: Library, labels: Array, others: Array, dtype: Any) -> Array:
    """Return which keys share a label with which queries, shape (n, m), bool."""
    if labels.ndim == 1:
        return matches(lib, labels, others)
    return shared(lib, labels, others, dtype) > 0


def _labels(
    inputs: Inputs, metric: Metric, labels: Any, others: Any
) -> tuple[Array, Array]:
    """Return a label, or a row of labels, for each query and for each key."""
    lib, given = inputs.library, {"query_labels": labels}
    if others is not None:
        given["key_labels"] = others
    arrays = label_arrays(lib, "queries", inputs.first, **given)
    if metric.multilabel and all(_is_multihot(lib, x) for x in arrays.values()):
        check_classes(lib, arrays)
    else:
        if metric.multilabel and _is_multihot(lib, arrays["query_labels"]):
            need = "a row each, as `query_labels`"
            _checks.refuse_shape("key_labels", need, lib.shape(arrays["key_labels"]))
        arrays = {name: column(lib, name, x) for name, x in arrays.items()}
    rows, keys = (inputs.first, "a label", "row"), (inputs.second, "a label", "row")
    own = one_each(lib, "query_labels", arrays["query_labels"], *rows)
    if others is None:
        return own, own
    return own, one_each(lib, "key_labels", arrays["key_labels"], *keys)


def _is_multihot(lib: Library, labels: Array) -> bool:
    shape = lib.shape(labels)
    return len(shape) == 2 and shape[1] != 1
