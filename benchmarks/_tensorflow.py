"""The formulas of TensorFlow in `tf.function`, and compiled by XLA."""

import gc
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

import metricops
from benchmarks._cases import (
    TEMPERATURE,
    Call,
    Case,
    Matrix,
    cpu_name,
    labels,
    options,
    positives,
)

Formula = Callable[..., Any]

COMPILES = True
COUNTS = True
PEERS: frozenset[str] = frozenset()


def describe(case: Case) -> dict[str, Any]:
    """Return the versions, and what the device is called."""
    name = cpu_name()
    if case.device == "cuda":
        (gpu, *_) = tf.config.list_physical_devices("GPU")
        name = tf.config.experimental.get_device_details(gpu)["device_name"]
    return {"versions": {"tensorflow": tf.__version__}, "device_name": name}


def methods(case: Case) -> dict[str, Call]:
    """Return the ways to compute the loss and its gradients, by name."""
    with tf.device("GPU" if case.device == "cuda" else "CPU"):
        inputs = [tf.cast(tf.constant(x), case.dtype) for x in case.inputs()]
        known = tf.constant(labels(case))
        targets = tf.constant(positives(case))
    formulas = {
        "sparse softmax": native(case, targets),
        "metricops": lambda *xs: metricops.npairs_loss_from_embeddings(
            *xs, **options(case, known)
        ),
    }
    found: dict[str, Call] = {}
    for name, formula in formulas.items():
        found[name] = partial(differentiated(formula, xla=False), *inputs)
        found[f"{name}, XLA"] = partial(differentiated(formula, xla=True), *inputs)
    return found


def differentiated(formula: Formula, *, xla: bool) -> Formula:
    """Return what computes a loss and its gradients as a graph."""

    def loss_and_gradients(*xs: Any) -> tuple[Any, ...]:
        with tf.GradientTape() as tape:
            tape.watch(xs)
            loss = formula(*xs)
        return loss, *tape.gradient(loss, xs)

    return tf.function(loss_and_gradients, jit_compile=xla, autograph=False)


def native(case: Case, targets: Any) -> Formula:
    """Return the formula with TensorFlow's cross-entropy."""
    if case.task == "pairs":
        return partial(one_way, targets)
    if case.task == "one-set":
        return partial(masked, targets)
    return lambda anchors, candidates: (
        (one_way(targets, anchors, candidates) + one_way(targets, candidates, anchors))
        / 2
    )


def one_way(targets: Any, anchors: Any, candidates: Any) -> Any:
    """Return the mean cross-entropy of all similarities."""
    scores = tf.matmul(anchors, candidates, transpose_b=True) / TEMPERATURE
    return mean_loss(scores, targets)


def masked(targets: Any, x: Any) -> Any:
    """Return the mean cross-entropy over the other rows of one set."""
    units = tf.math.l2_normalize(x, axis=1)
    scores = tf.matmul(units, units, transpose_b=True) / TEMPERATURE
    own = tf.fill(tf.shape(x)[:1], tf.cast(-np.inf, x.dtype))
    return mean_loss(tf.linalg.set_diag(scores, own), targets)


def mean_loss(scores: Any, targets: Any) -> Any:
    """Return the mean cross-entropy of each row."""
    return tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=scores)
    )


def wait(results: Any) -> None:
    """Return once the results are there."""
    if "GPU" in results[0].device:
        tf.test.experimental.sync_devices()


def to_numpy(array: Any) -> Matrix:
    """Return an array in NumPy, as float32."""
    return tf.cast(array, tf.float32).numpy()


def counted_peak(call: Call, case: Case) -> int:
    """Return the bytes that a call adds to its arrays at most."""
    # TensorFlow keeps what it has taken from the system: the process would not tell.
    device = "GPU:0" if case.device == "cuda" else "CPU:0"
    gc.collect()
    tf.config.experimental.reset_memory_stats(device)
    before = tf.config.experimental.get_memory_info(device)["current"]
    results = call()
    wait(results)
    return tf.config.experimental.get_memory_info(device)["peak"] - before


def planned_bytes(call: Call) -> int | None:
    """Return None: TensorFlow does not tell."""
