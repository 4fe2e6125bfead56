"""Dask: chunks on two workers, which never hold the pairs of two whole chunks.

Expected values are NumPy's.
"""

import os
import re
import tracemalloc
import warnings
from typing import Any
from unittest import mock

import numpy as np
import pytest

import metricops
from tests.conftest import require
from tests.pages import blocks
from tests.test_examples import DIGITS, digits

N, D = 60, 6
TOLERANCES = {"float32": 1e-5, "float64": 1e-12}


def rows(count: int, dtype: str = "float32", seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((count, D)).astype(dtype)


def labels(count: int) -> Any:
    return np.random.default_rng(count).integers(0, count // 3, count)


def solved(loss: Any, *arrays: Any, **options: Any) -> list[Any]:
    """Return a loss and its gradients."""
    value, gradients = metricops.value_and_grad(loss)(*arrays, **options)
    return [value, *gradients.values()]


def everything(x: Any, y: Any, own: Any) -> dict[str, list[Any]]:
    """Return what the functions give, by what they are."""
    found: dict[str, list[Any]] = {}
    for metric in ("inner_product", "cosine_similarity", *DISTANCES):
        found[metric] = [getattr(metricops, f"pairwise_{metric}")(x, y)]
    named = {"labels": own, "candidate_labels": own}
    for name in LOSSES:
        loss = getattr(metricops, f"{name}_from_embeddings")
        found[f"{name} by label"] = solved(loss, x, y, **named)
    found["one set"] = solved(metricops.npairs_loss_from_embeddings, x, labels=own)
    found["rows"] = [metricops.npairs_loss_from_embeddings(x, y, reduction="none")]
    clip = {"normalize": True, "symmetric": True, "temperature": 0.5}
    found["clip"] = solved(metricops.npairs_loss_from_embeddings, x, y, **clip)
    for metric in ("cosine", "euclidean", "manhattan"):
        found[f"search by {metric}"] = list(
            metricops.nearest_neighbors(x, y, 5, metric=metric)
        )
    for name in ("recall_at_k", "precision_at_k", "ndcg_at_k"):
        measured = getattr(metricops, name)(x, own, y, own, k=(1, 5))
        found[name] = list(measured.values())
    for name in ("mean_average_precision", "mean_reciprocal_rank"):
        found[name] = [getattr(metricops, name)(x, own)]
    return found


DISTANCES = (
    *("cosine_distance", "euclidean_distance", "squared_euclidean_distance"),
    *("manhattan_distance", "snr_distance"),
)
LOSSES = (
    *("npairs_loss", "sigmoid_loss", "triplet_loss", "contrastive_loss"),
    *("multi_similarity_loss", "circle_loss", "soft_nearest_neighbor_loss"),
)


@pytest.fixture(scope="module", autouse=True)
def environment() -> Any:
    """Take back what workers leave in the environment, such as a bound of malloc."""
    with mock.patch.dict(os.environ):
        yield


@pytest.fixture(scope="module")
def client() -> Any:
    """Return a client of two worker processes."""
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0"
    )
    with cluster, distributed.Client(cluster, set_as_default=False) as client:
        yield client


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_two_workers_find_what_one_process_does(client, dtype):
    da = require("dask.array")
    x, y, own = rows(N, dtype), rows(N, dtype, 1), labels(N)
    expected = everything(x, y, own)
    # Sides in chunks of different sizes, and one that is cut along its width.
    chunked = (
        da.from_array(x, chunks=(25, D)),
        da.from_array(y, chunks=(20, 4)),
        da.from_array(own, chunks=35),
    )
    planned = everything(*chunked)
    futures = client.compute([z for group in planned.values() for z in group])
    found = iter(client.gather(futures))
    for name, group in expected.items():
        for z in group:
            atol = TOLERANCES[dtype] * max(float(np.max(np.abs(z))), 1e-3)
            np.testing.assert_allclose(
                next(found), z, rtol=TOLERANCES[dtype], atol=atol, err_msg=name
            )


M = 4096
PAIRS = 4 * M * M  # the bytes of a number for each pair of two chunks
CALLS: dict[str, tuple[Any, dict[str, Any]]] = {
    "n-pairs": (metricops.npairs_loss_from_embeddings, {"symmetric": True}),
    "sigmoid": (metricops.sigmoid_loss_from_embeddings, {}),
    "contrastive": (metricops.contrastive_loss_from_embeddings, {}),
    "triplets": (metricops.triplet_loss_from_embeddings, {"negatives": "hard"}),
}
LARGE: dict[str, Any] = {
    name: lambda x, y, own, loss=loss, options=options: solved(
        loss, x, y, own, block_size=64, **options
    )
    for name, (loss, options) in CALLS.items()
} | {
    "distances": lambda x, y, own: [
        metricops.pairwise_euclidean_distance(x, y).sum(),
        metricops.pairwise_manhattan_distance(x, y).sum(),
    ],
    "cosines": lambda x, y, own: [metricops.pairwise_cosine_similarity(x, y).sum()],
    "precision": lambda x, y, own: [metricops.mean_average_precision(x, own)],
    "search": lambda x, y, own: list(metricops.nearest_neighbors(x, y, 5)),
}


@pytest.mark.parametrize("name", LARGE)
def test_no_process_holds_the_pairs_of_two_chunks(monkeypatch, name):
    da, dask = require("dask.array"), require("dask")
    frameworks: Any = require("metricops._frameworks.dask")
    monkeypatch.setattr(frameworks.Dask, "panel", M * 128)
    x, y, own = rows(M), rows(M, seed=1), labels(M)
    arrays = [da.from_array(z, chunks=M) for z in (x, y, own)]
    with dask.config.set({"array.chunk-size": PAIRS // 32}):
        planned = LARGE[name](*arrays)
        tracemalloc.start()
        found = dask.compute(*planned, scheduler="synchronous")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < PAIRS / 2, peak / PAIRS
    for ours, theirs in zip(found, LARGE[name](x, y, own), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_example_finds_keys_that_no_worker_holds():
    pytest.importorskip("distributed")
    script = DIGITS.with_name("dask_search.py")
    printed = digits("--keys", 20_000, "--chunk", 3_000, example=script)
    assert "the right key of 200 of 200 queries" in printed
    (peak,) = re.findall(r"a worker held at most (\d+) MB", printed)
    assert 0 < int(peak) < 512


def test_the_block_of_the_documentation_runs():
    pytest.importorskip("distributed")
    (code,) = [code for code in blocks("docs/distributed") if "LocalCluster" in code]
    found: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that another dashboard has its port
        exec(code, found)
    values, indices, loss = found["found"]
    assert values.shape == indices.shape == (500, 10)
    assert float(loss) > 0
