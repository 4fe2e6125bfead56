"""Replicas of a TensorFlow strategy train as one would on the whole batch.

Expected values are those of the same loss, without a strategy, on all rows at once.
"""

import functools
import json
import logging
import os
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest
from metricops.adapters.keras import (
    Circle,
    CircleLoss,
    ContrastiveEmbeddingLoss,
    CrossBatchMemory,
    MultiNegativesRankLoss,
    MultiSimilarityLoss,
    NPairsEmbeddingLoss,
    PNLoss,
    SigmoidEmbeddingLoss,
    SoftNearestNeighborLoss,
    TripletEmbeddingLoss,
    TripletHardLoss,
    TripletLoss,
    TripletSemiHardLoss,
)

from tests.conftest import require
from tests.keras.conftest import BACKEND, masked, random
from tests.pages import blocks

tensorflow = pytest.mark.skipif(
    BACKEND != "tensorflow", reason="tf.distribute is TensorFlow's"
)
FEATURES, WIDTH = 5, 3
KERNEL = random(FEATURES, WIDTH, seed=2)
SUM, WEIGHTED = {"reduction": "sum"}, {"reduction": "mean_with_sample_weight"}
CLIP = {"temperature": 0.5, "normalize": True, "symmetric": True}
# Losses, whether they take labels, and whether weights.
CASES: dict[str, tuple[Any, dict[str, Any], bool, bool]] = {
    "n-pairs by position": (NPairsEmbeddingLoss, CLIP, False, False),
    "n-pairs by label": (NPairsEmbeddingLoss, {"l2_weight": 0.1}, True, True),
    "n-pairs, sum": (NPairsEmbeddingLoss, {**SUM, "block_size": 2}, True, False),
    "n-pairs, rows": (NPairsEmbeddingLoss, {"reduction": "none"}, True, True),
    "sigmoid": (SigmoidEmbeddingLoss, {"bias": -1.0, **WEIGHTED}, True, True),
    "ranks": (MultiNegativesRankLoss, {"scale": 2.0}, False, False),
    "triplets": (TripletEmbeddingLoss, {"negatives": "hard"}, True, False),
    "triplets, sum": (TripletEmbeddingLoss, {"margin": None, **SUM}, True, True),
    "contrastive": (ContrastiveEmbeddingLoss, {"negative_margin": 3.0}, True, True),
    "semi-hard": (TripletSemiHardLoss, {}, True, False),
    "hard": (TripletHardLoss, {"soft": True}, True, False),
    "mined": (TripletLoss, {"distance": "l2", "margin": 1.0}, True, False),
    "mined and swapped": (PNLoss, {"margin": 1.0}, True, False),
    "multi-similarity": (MultiSimilarityLoss, {}, True, False),
    "circle": (CircleLoss, {"gamma": 8.0}, True, False),
    "circle of Keras": (Circle, {"gamma": 8.0}, True, False),
    "soft nearest neighbours": (SoftNearestNeighborLoss, {}, True, True),
}
COUNTS = {"small": (3, 5), "several panels": (900, 1500)}
LARGE = ("n-pairs by label", "contrastive")
OF_PAIRS = (NPairsEmbeddingLoss, SigmoidEmbeddingLoss)


@functools.cache  # TensorFlow takes what two of them exchange for one another's
def strategy() -> Any:
    """Return the two devices of `tests.keras.conftest` as replicas."""
    return require("tensorflow").distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def embedded(kind: Any, x: Any, kernel: Any) -> tuple[Any, ...]:
    """Return the predictions that a loss of a kind takes, of rows `x`."""
    found = keras.ops.matmul(x, kernel)
    other = keras.ops.flip(found, axis=1)
    if kind in OF_PAIRS:
        return (keras.ops.stack([found, other], axis=1),)
    return (found, other) if kind is MultiNegativesRankLoss else (found,)


def step(case: str, rows: Any, kernel: Any, gather: bool) -> tuple[Any, Any]:
    """Return the loss of some rows, and its gradient by a linear map."""
    tf = require("tensorflow")
    kind, options, labelled, weighted = CASES[case]
    x, labels, weights = rows
    options = options | {"gather": gather, "dtype": kernel.dtype.name}
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        *given, y_pred = embedded(kind, x, kernel)
        y_true = given[0] if given else labels if labelled else None
        loss = kind(**options)(y_true, y_pred, weights if weighted else None)
        total = tf.reduce_sum(loss)
    return loss, tape.gradient(total, kernel)


def batch(n: int, dtype: str = "float32") -> tuple[Any, Any, Any]:
    """Return rows, their labels, and their weights."""
    generator = np.random.default_rng(n)
    return (
        random(n, FEATURES, seed=n).astype(dtype),
        generator.integers(0, n, n) // 2,
        generator.uniform(size=n).astype(dtype),
    )


@tensorflow
@pytest.mark.parametrize(
    ("size", "case", "dtype"),
    [("small", case, "float32") for case in CASES]
    + [("several panels", case, "float32") for case in LARGE]
    + [("small", case, "float64") for case in LARGE],
)
def test_replicas_have_the_loss_and_gradients_of_the_whole_batch(size, case, dtype):
    tf, counts = require("tensorflow"), COUNTS[size]
    rows, replicas = batch(sum(counts), dtype), strategy()
    kernel = tf.constant(KERNEL.astype(dtype))
    exact = 1e-5 if dtype == "float32" else 1e-12

    def of_replica(context):
        first = sum(counts[: context.replica_id_in_sync_group])
        last = first + counts[context.replica_id_in_sync_group]
        return tuple(tf.constant(x[first:last]) for x in rows)

    own = replicas.experimental_distribute_values_from_function(of_replica)

    def replica(own):
        loss, gradient = step(case, own, kernel, gather=True)
        context = tf.distribute.get_replica_context()
        return loss, context.all_reduce("SUM", gradient)

    found, gradients = replicas.run(replica, args=(own,))
    found, gradients = (
        [x.numpy() for x in replicas.experimental_local_results(y)]
        for y in (found, gradients)
    )
    loss, gradient = step(case, tuple(map(tf.constant, rows)), kernel, gather=False)
    if loss.shape.rank:
        np.testing.assert_allclose(np.concatenate(found), loss, rtol=exact)
    else:  # Keras divides a loss by the number of replicas, whose sum it takes
        assert found[0] == found[1]
        np.testing.assert_allclose(sum(found), loss, rtol=exact)
    largest = abs(gradient.numpy()).max()
    for x in gradients:
        np.testing.assert_allclose(x, gradient, rtol=exact, atol=exact * largest)


def fitted(kind: Any, options: dict[str, Any], n: int) -> tuple[Any, Any]:
    """Return the losses of two epochs, and the kernel after them."""
    rows, labels, weights = batch(n)
    inputs = keras.Input((FEATURES,))
    dense = keras.layers.Dense(WIDTH, use_bias=False, name="map")
    found = dense(inputs)
    if kind in OF_PAIRS:
        found = keras.ops.stack([found, keras.ops.flip(found, axis=1)], axis=1)
    model = keras.Model(inputs, found)
    model.set_weights([KERNEL])
    rate = keras.optimizers.SGD(0.1)
    model.compile(rate, kind(**options), jit_compile=False)
    given = {"batch_size": 8, "epochs": 2, "shuffle": False, "verbose": 0}
    log = model.fit(rows, labels, sample_weight=weights, **given).history
    return log["loss"], model.get_weights()[0]


@tensorflow
@pytest.mark.parametrize("kind", [NPairsEmbeddingLoss, TripletEmbeddingLoss])
def test_fit_under_a_strategy_trains_as_one_process_does(kind):
    expected = fitted(kind, {}, 13)
    with strategy().scope():  # the last batch has three rows for one, and two for one
        found = fitted(kind, {"gather": True}, 13)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


WORKER = """
import json, os
import tensorflow as tf
from tests.keras.test_replicas import KERNEL, batch, step
strategy = tf.distribute.MultiWorkerMirroredStrategy()
first = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
rows = [tf.constant(x[3:] if first else x[:3]) for x in batch(8)]
kernel = tf.constant(KERNEL)

@tf.function
def run():
    def replica():
        loss, gradient = step("n-pairs by label", rows, kernel, gather=True)
        context = tf.distribute.get_replica_context()
        return 2 * loss, context.all_reduce("SUM", gradient)

    return strategy.run(replica)

print(json.dumps([x.numpy().tolist() for x in run()]))
"""


@tensorflow
def test_two_workers_train_as_one_process_does(tmp_path):
    addresses = [f"localhost:{port}" for port in free_ports(2)]
    workers = []
    for index in range(2):
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": {"worker": addresses}, "task": task})
        workers.append(
            subprocess.Popen(
                [sys.executable, "-c", WORKER],
                env={**os.environ, "TF_CONFIG": config, "KERAS_BACKEND": "tensorflow"},
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    printed = [worker.communicate(timeout=300)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    tf, rows = require("tensorflow"), batch(8)
    given = tuple(map(tf.constant, rows)), tf.constant(KERNEL)
    expected = step("n-pairs by label", *given, gather=False)
    for text in printed:
        found = json.loads(text.splitlines()[-1])
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens to."""
    import socket

    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [int(x.getsockname()[1]) for x in sockets]
    for x in sockets:
        x.close()
    return ports


@pytest.mark.parametrize("case", ["n-pairs by label", "triplets"])
def test_nothing_is_gathered_outside_of_a_replica(case):
    kind, options, *_ = CASES[case]
    x, labels, _ = batch(6)
    (y_pred,) = embedded(kind, x, keras.ops.convert_to_tensor(KERNEL))
    found = kind(gather=True, **options)(labels, y_pred)
    assert float(found) == float(kind(**options)(labels, y_pred))


@tensorflow
def test_a_mask_is_refused_where_replicas_gather():
    loss, labels = TripletEmbeddingLoss(gather=True), np.asarray([0, 0, 1])

    def replica():
        loss(labels, masked(random(3, 2), [True, True, False]))

    with pytest.raises(ValueError, match="`y_pred` must have no Keras mask where `gat"):
        strategy().run(replica)


@tensorflow
def test_replicas_gather_labels_of_any_kind_without_a_warning(caplog):
    tf = require("tensorflow")
    logger = logging.getLogger("tensorflow")
    (x, labels, _), loss = batch(8), TripletEmbeddingLoss(gather=True)
    kinds = {"bool": labels > 1, "uint64": labels.astype("uint64") + (2**64 - 9)}
    logger.addHandler(caplog.handler)
    try:
        for kind, own in kinds.items():

            def part(context, own=own):
                first = 4 * context.replica_id_in_sync_group
                return tuple(tf.constant(z[first : first + 4]) for z in (own, x))

            @tf.function
            def run(parts):
                return strategy().run(lambda z: loss(*z), args=(parts,))

            parts = strategy().experimental_distribute_values_from_function(part)
            found = strategy().reduce("SUM", run(parts), axis=None)
            expected = TripletEmbeddingLoss()(tf.constant(own), x)
            np.testing.assert_allclose(found, expected, rtol=1e-5, err_msg=kind)
    finally:
        logger.removeHandler(caplog.handler)
    assert "AutoGraph" not in caplog.text


@tensorflow
def test_each_replica_has_a_memory():
    x, labels = random(8, FEATURES), np.arange(8)
    with strategy().scope():
        model = keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(WIDTH)])
        loss = CrossBatchMemory(ContrastiveEmbeddingLoss(), 6)
        model.compile("sgd", loss, jit_compile=False)
    model.fit(x, labels, batch_size=4, shuffle=False, verbose=0)
    held = strategy().experimental_local_results(loss._memory.labels)
    assert [z.numpy().tolist() for z in held] == [[4, 5, 0, 1], [6, 7, 2, 3]]
    saved = loss.get_config()["memory"]
    assert (saved["labels"], saved["steps"]) == ([4, 5, 0, 1], 2)
    with strategy().scope():
        again = CrossBatchMemory.from_config(loss.get_config())
    assert again.get_config()["memory"] == saved
    again.clear()
    assert again.get_config()["memory"]["labels"] == []


def test_a_memory_refuses_a_loss_that_gathers():
    with pytest.raises(ValueError, match="`loss` must have gather=False, as each rep"):
        CrossBatchMemory(TripletEmbeddingLoss(gather=True), memory_size=4)


@pytest.mark.parametrize(
    "given", [(TripletLoss, "manhattan"), (TripletSemiHardLoss, 1.0, keras.ops.abs)]
)
def test_a_matrix_of_distances_is_not_gathered(given):
    kind, *arguments = given
    with pytest.raises(ValueError, match="must be one of"):
        kind(*arguments, gather=True)


@pytest.mark.skipif(BACKEND != "torch", reason="process groups are PyTorch's")
def test_processes_of_pytorch_are_sent_to_the_modules(monkeypatch):
    dist = require("torch.distributed")
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    loss = TripletEmbeddingLoss(gather=True)
    with pytest.raises(ValueError, match="`gather` must be False in a process group"):
        loss(np.asarray([0, 0, 1]), random(3, 2))


@pytest.mark.skipif(BACKEND == "torch", reason="it has no strategies")
def test_the_block_of_the_documentation_runs(monkeypatch):
    if BACKEND == "tensorflow":  # one strategy to a process: see `strategy`
        made, distribute = strategy(), require("tensorflow").distribute
        monkeypatch.setattr(distribute, "MirroredStrategy", lambda: made)
    word = {"tensorflow": "MirroredStrategy", "jax": "DataParallel"}[BACKEND]
    (code,) = [code for code in blocks("docs/distributed") if word in code]
    try:
        exec(code, {})
    finally:
        keras.distribution.set_distribution(None)
