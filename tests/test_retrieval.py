"""The retrieval metrics, and the progress of a search."""

import math
from functools import partial
from typing import Any

import numpy as np
import pytest

import metricops
from metricops import (
    mean_average_precision,
    mean_reciprocal_rank,
    ndcg_at_k,
    nearest_neighbors,
    precision_at_k,
    recall_at_k,
)
from tests.conftest import require
from tests.definitions import inner_product

_GENERATOR = np.random.default_rng(0)
# Small integers, so that many similarities tie.
QUERIES = _GENERATOR.integers(-2, 3, (7, 3)).astype(float).tolist()
KEYS = _GENERATOR.integers(-2, 3, (12, 3)).astype(float).tolist()
QUERY_LABELS = [0, 1, 2, 0, 3, 1, 9]  # no key is a 9
KEY_LABELS = [1, 0, 0, 2, 1, 3, 2, 0, 0, 1, 1, 2]
HOT_QUERIES = _GENERATOR.integers(0, 2, (7, 3)).tolist()
HOT_KEYS = _GENERATOR.integers(0, 2, (12, 3)).tolist()
HOT_QUERIES[4] = [0, 0, 0]


def related(x, y):
    """Return whether two labels are the same, or two rows share one."""
    if isinstance(x, list):
        return any(a and b for a, b in zip(x, y, strict=True))
    return x == y


def rankings(queries, labels, keys, key_labels):
    """Return whether each key is relevant, the best key first, for each query."""
    found = []
    for i, (query, label) in enumerate(zip(queries, labels, strict=True)):
        own = i if keys is None else None
        pairs = zip(
            queries if keys is None else keys,
            labels if keys is None else key_labels,
            strict=True,
        )
        scored = [
            (-inner_product(query, key), j, related(label, other))
            for j, (key, other) in enumerate(pairs)
            if j != own
        ]
        found.append([hit for _, _, hit in sorted(scored)])
    return found


def precision(hits, k):
    return sum(hits[:k]) / k


def average_precision(hits, k):
    relevant = sum(hits)
    depth = relevant if k is None else k
    found = [precision(hits, i + 1) for i, hit in enumerate(hits[:depth]) if hit]
    return math.fsum(found) / max(min(relevant, depth), 1)


def reciprocal_rank(hits, k):
    return max((1 / (i + 1) for i, hit in enumerate(hits[:k]) if hit), default=0.0)


def gain(hits, k):
    def discounted(hits):
        return math.fsum(1 / math.log2(i + 2) for i, hit in enumerate(hits[:k]) if hit)

    best = discounted(sorted(hits, reverse=True))
    return discounted(hits) / best if best else 0.0


def recall(hits, k):
    return float(any(hits[:k]))


def at(function, k):
    """Return a metric at `k` as a function of the arrays alone."""

    def call(*arguments, **options):
        result = function(*arguments, k=k, metric="inner_product", **options)
        return result[k] if isinstance(result, dict) else result

    return call


CASES = [
    *((precision_at_k, precision, k) for k in (1, 3, 11)),
    *((ndcg_at_k, gain, k) for k in (1, 3, 11)),
    *((mean_average_precision, average_precision, k) for k in (None, 1, 3, 11)),
    *((mean_reciprocal_rank, reciprocal_rank, k) for k in (None, 1, 3)),
]
cases = pytest.mark.parametrize(
    ("function", "definition", "k"),
    CASES,
    ids=[f"{function.__name__}-{k}" for function, _, k in CASES],
)
# One case of each metric, where the others would only take time.
few = pytest.mark.parametrize(
    ("function", "definition", "k"),
    [case for case in CASES if case[2] in (None, 3)],
    ids=[f"{function.__name__}-{k}" for function, _, k in CASES if k in (None, 3)],
)


def assert_metric(result, definition, k, *arguments):
    expected = [definition(hits, k) for hits in rankings(*arguments)]
    assert result.shape == ()
    np.testing.assert_allclose(result, math.fsum(expected) / len(expected), rtol=2e-6)


@cases
def test_a_metric_is_its_definition(run, function, definition, k):
    def call(queries, keys):
        return at(function, k)(queries, QUERY_LABELS, keys, KEY_LABELS)

    result = run(call, QUERIES, KEYS)
    assert_metric(result, definition, k, QUERIES, QUERY_LABELS, KEYS, KEY_LABELS)


@few
def test_a_metric_is_its_definition_when_traced(traced, function, definition, k):
    def call(queries, keys):
        return at(function, k)(queries, QUERY_LABELS, keys, KEY_LABELS)

    result = traced(call, QUERIES, KEYS)
    assert_metric(result, definition, k, QUERIES, QUERY_LABELS, KEYS, KEY_LABELS)


@few
@pytest.mark.parametrize("block_size", [None, 5])
def test_queries_among_themselves_do_not_count(
    run, function, definition, k, block_size
):
    def call(rows):
        return at(function, k)(rows, KEY_LABELS, block_size=block_size)

    result = run(call, KEYS)
    assert_metric(result, definition, k, KEYS, KEY_LABELS, None, None)


@few
def test_keys_that_share_a_label_are_relevant(run, function, definition, k):
    call = at(function, k)
    result = run(call, QUERIES, HOT_QUERIES, KEYS, HOT_KEYS)
    assert_metric(result, definition, k, QUERIES, HOT_QUERIES, KEYS, HOT_KEYS)


@few
def test_keys_that_share_a_label_are_relevant_when_traced(
    traced, function, definition, k
):
    def call(queries, keys):
        return at(function, k)(queries, HOT_QUERIES, keys, HOT_KEYS)

    result = traced(call, QUERIES, KEYS)
    assert_metric(result, definition, k, QUERIES, HOT_QUERIES, KEYS, HOT_KEYS)


@pytest.mark.parametrize("function", [precision_at_k, ndcg_at_k, recall_at_k])
def test_several_depths_come_from_one_search(run, function):
    def call(queries, keys):
        return function(queries, QUERY_LABELS, keys, KEY_LABELS, k=(3, 1, 12))

    result = run(call, QUERIES, KEYS)
    assert sorted(result) == [1, 3, 12]  # `jax.jit` sorts what it returns
    for k in result:
        one = run(lambda x, y, k=k: at_cosine(function, x, y, k), QUERIES, KEYS)
        np.testing.assert_allclose(result[k], one, rtol=1e-6)


def at_cosine(function, queries, keys, k):
    return function(queries, QUERY_LABELS, keys, KEY_LABELS, k=k)[k]


@few
def test_a_key_panel_more_changes_nothing(
    library, monkeypatch, function, definition, k
):
    monkeypatch.setattr("metricops._retrieval.best._KEYS", 4)
    given = [library.asarray(x) for x in (QUERIES, KEYS)]
    result = at(function, k)(given[0], QUERY_LABELS, given[1], KEY_LABELS)
    result = library.to_numpy(result)
    assert_metric(result, definition, k, QUERIES, QUERY_LABELS, KEYS, KEY_LABELS)


@pytest.mark.parametrize("metric", ["inner_product", "euclidean"])
@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("k", [1, 3])
def test_keys_in_panels_are_searched_as_one(library, monkeypatch, metric, alone, k):
    rows = _GENERATOR.integers(-2, 3, (41, 3)).astype(np.float32)
    rows[5] = math.nan
    given = library.asarray(rows)
    keys = None if alone else given

    def call():
        return nearest_neighbors(given, keys, k=k, metric=metric, block_size=7)

    values, indices = library.to_numpy(call())
    for width in (1, 8, 13, 40):
        monkeypatch.setattr("metricops._retrieval.best._KEYS", width)
        others = library.to_numpy(call())
        np.testing.assert_array_equal(others[1], indices)
        np.testing.assert_array_equal(others[0], values)


def test_the_full_metrics_are_those_of_scikit_learn():
    metrics = require("sklearn.metrics")
    rng = np.random.default_rng(1)
    queries, keys = rng.normal(size=(20, 4)), rng.normal(size=(50, 4))
    labels, others = rng.integers(0, 4, 20), rng.integers(0, 4, 50)
    scores = queries @ keys.T
    relevant = labels[:, None] == others[None, :]
    arguments = (queries, labels, keys, others)
    found = at(mean_average_precision, 50)(*arguments)
    expected = [
        metrics.average_precision_score(hits, row)
        for hits, row in zip(relevant, scores, strict=True)
    ]
    np.testing.assert_allclose(found, np.mean(expected), rtol=1e-12)
    for k in (1, 7, 50):
        expected = metrics.ndcg_score(relevant.astype(float), scores, k=k)
        np.testing.assert_allclose(at(ndcg_at_k, k)(*arguments), expected, rtol=1e-12)


def test_map_at_r_and_precision_are_those_of_pytorch_metric_learning():
    calculator = require("pytorch_metric_learning.utils.accuracy_calculator")
    torch = require("torch")
    rng = np.random.default_rng(2)
    rows, labels = rng.normal(size=(60, 4)), np.arange(60) % 7
    names = ("mean_average_precision_at_r", "precision_at_1", "mean_reciprocal_rank")

    def search(query, k, reference, _):
        values, indices = nearest_neighbors(query, k=k, metric="euclidean")
        return values, indices

    theirs = calculator.AccuracyCalculator(
        include=names, knn_func=search, device=torch.device("cpu")
    )
    given = torch.asarray(rows), torch.asarray(labels)
    expected = theirs.get_accuracy(*given)
    options: Any = {"metric": "euclidean"}
    found = {
        "mean_average_precision_at_r": mean_average_precision(rows, labels, **options),
        "precision_at_1": precision_at_k(rows, labels, k=1, **options)[1],
        "mean_reciprocal_rank": mean_reciprocal_rank(rows, labels, **options),
    }
    for name in names:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)


@few
def test_what_is_nan_is_no_hit(run, function, definition, k):
    rows = [[1.0, 0.0], [math.nan, 0.1], [1.0, 0.1], [math.nan, 1.0]]

    def call(rows):
        return at(function, k)(rows, [0, 0, 0, 0])

    found = {"precision": 1 / 3, "reciprocal_rank": 1.0}
    one = found.get(definition.__name__, definition([True, False, False], k or 3))
    if definition in (average_precision, gain):
        # Three keys are relevant, and one of them is found.
        best = {average_precision: 3, gain: 1 + 1 / math.log2(3) + 1 / 2}[definition]
        one = 1 / best
    np.testing.assert_allclose(run(call, rows), one / 2, rtol=1e-6)


@few
def test_no_queries_have_a_metric_of_zero(run, function, definition, k):
    def call(queries, keys):
        return at(function, k)(queries, np.zeros(0, int), keys, [0, 1, 0])

    result = run(call, np.zeros((0, 3), np.float32), np.ones((3, 3), np.float32))
    assert result == 0


@pytest.mark.parametrize("function", [mean_average_precision, mean_reciprocal_rank])
def test_no_queries_among_themselves_have_a_metric_of_zero(run, function):
    assert run(partial(function, query_labels=[]), np.zeros((0, 3), np.float32)) == 0


@few
def test_eager_jax_compiles_a_metric_once(jax, function, definition, k):
    rows = jax.numpy.asarray(KEYS, dtype=np.float32)

    def call(x):
        return at(function, k)(x, KEY_LABELS, block_size=5)

    call(rows)
    compiled = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        call(rows)
    finally:
        jax.monitoring.clear_event_listeners()
    assert not compiled


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: mean_average_precision(x, [0, 1, 0], k=3),
            "`k` must be at most 2, the number of keys to choose from; got 3.",
        ),
        (
            lambda x: precision_at_k(x, [[0, 1]] * 3, x, [[0, 1, 1]] * 3, k=1),
            "`key_labels` must have 2 classes, as `query_labels`; got shape (3, 3).",
        ),
        (
            lambda x: ndcg_at_k(x, [0, 1], k=1),
            "`query_labels` must have a label for each of 3 rows; got shape (2,).",
        ),
        (
            lambda x: mean_reciprocal_rank(x, [0, 1, 0], x),
            "`key_labels` must be given where `keys` are, and only there; got None.",
        ),
        (
            lambda x: precision_at_k(x, [[0, 1]] * 3, x, [0, 1, 2], k=1),
            "`key_labels` must have a row each, as `query_labels`; got shape (3,).",
        ),
    ],
    ids=range(5),
)
def test_a_bad_argument_is_named(library, call, message):
    with pytest.raises(ValueError) as caught:
        call(library.asarray(np.ones((3, 2), np.float32)))
    assert str(caught.value) == message


# Progress.


@pytest.mark.parametrize("alone", [True, False])
def test_progress_sees_each_panel_and_changes_nothing(library, alone):
    given = [library.asarray(x) for x in ([KEYS] if alone else [KEYS, QUERIES])]
    seen = []

    def progress(panels):
        assert len(panels) == 3
        for panel in panels:
            yield panel
            seen.append(panel)

    options: Any = {"k": 3, "metric": "euclidean", "block_size": 5}
    result = nearest_neighbors(*given, progress=progress, **options)
    assert len(seen) == 3
    expected = library.to_numpy(nearest_neighbors(*given, **options))
    for x, y in zip(library.to_numpy(result), expected, strict=True):
        np.testing.assert_array_equal(x, y)


def test_progress_may_be_that_of_tqdm(capsys):
    tqdm = require("tqdm")
    nearest_neighbors(np.asarray(KEYS), progress=tqdm.tqdm, block_size=5)
    assert "3/3" in capsys.readouterr().err


def test_progress_of_no_queries_is_of_an_empty_panel(library):
    rows = [library.asarray(np.zeros((n, 3), np.float32)) for n in (0, 4)]
    values, _ = nearest_neighbors(*rows, progress=iter)
    assert tuple(values.shape) == (0, 1)


def test_progress_is_a_callable(library):
    wrong: Any = True
    with pytest.raises(TypeError, match="`progress` must wrap an iterable of panels"):
        nearest_neighbors(library.asarray(KEYS), progress=wrong)


def test_every_metric_is_public():
    for function in {function for function, _, _ in CASES}:
        assert getattr(metricops, function.__name__) is function
