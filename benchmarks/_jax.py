"""The formulas of JAX with optax, under `jax.jit`."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from jax import lax
from jax import numpy as jnp

import metricops
from benchmarks._cases import (
    GIB,
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
COUNTS = False
PEERS = frozenset({"optax ntxent"})
BLOCK = 256


def describe(case: Case) -> dict[str, Any]:
    """Return the versions, and what the device is called."""
    versions = {"jax": jax.__version__, "optax": optax.__version__}
    name = jax.devices()[0].device_kind if case.device == "cuda" else cpu_name()
    return {"versions": versions, "device_name": name}


def methods(case: Case) -> dict[str, Call]:
    """Return the ways to compute the loss and its gradients, by name."""
    kind = "gpu" if case.device == "cuda" else "cpu"
    inputs = [
        jax.device_put(jnp.asarray(x, case.dtype), jax.devices(kind)[0])
        for x in case.inputs()
    ]
    known = jnp.asarray(labels(case))
    found: dict[str, Formula] = native(case)
    found["metricops"] = lambda *xs: metricops.npairs_loss_from_embeddings(
        *xs, **options(case, known)
    )
    # It makes a product of every pair of rows before it sums over the features.
    if case.task == "one-set" and 16 * case.rows**2 * case.dim <= 2 * GIB:
        found["optax ntxent"] = lambda x: optax.losses.ntxent(x, known, TEMPERATURE)
    return {name: differentiated(f, inputs) for name, f in found.items()}


def differentiated(formula: Formula, inputs: list[Any]) -> Call:
    """Return what computes a loss and its gradients."""

    def loss_and_gradients(*xs: Any) -> tuple[Any, ...]:
        loss, gradients = jax.value_and_grad(formula, tuple(range(len(xs))))(*xs)
        return loss, *gradients

    return partial(jax.jit(loss_and_gradients), *inputs)


def native(case: Case) -> dict[str, Formula]:
    """Return the formulas with optax' cross-entropy: dense, and a block at a time."""
    targets = jnp.asarray(positives(case), jnp.int32)
    one_way: dict[str, Formula] = {"optax": partial(dense, targets=targets)}
    if case.rows % BLOCK == 0:
        one_way["optax, scan"] = partial(scanned, targets=targets)
    if case.task == "symmetric":
        return {name: partial(both, f) for name, f in one_way.items()}
    if case.task == "one-set":
        return {
            name: partial(on_itself, partial(f, own=True))
            for name, f in one_way.items()
        }
    return one_way


def on_itself(formula: Formula, x: Any) -> Any:
    """Return a formula's loss of the cosines of one set."""
    units = x / jnp.linalg.norm(x, axis=1, keepdims=True)
    return formula(units, units)


def losses(anchors: Any, candidates: Any, targets: Any, rows: Any) -> Any:
    """Return the loss of each anchor, its own `rows` left out if given."""
    scores = anchors @ candidates.T / TEMPERATURE
    if rows is not None:
        own = rows[:, None] == jnp.arange(len(candidates))[None, :]
        scores = jnp.where(own, -jnp.inf, scores)
    return optax.softmax_cross_entropy_with_integer_labels(scores, targets)


def dense(anchors: Any, candidates: Any, targets: Any, *, own: bool = False) -> Any:
    """Return the mean loss, of all similarities."""
    rows = jnp.arange(len(anchors)) if own else None
    return jnp.mean(losses(anchors, candidates, targets, rows))


def scanned(anchors: Any, candidates: Any, targets: Any, *, own: bool = False) -> Any:
    """Return the same a block at a time, computed again for the gradient."""

    @jax.checkpoint
    def block(total: Any, part: tuple[Any, Any, Any]) -> tuple[Any, None]:
        rows, block_targets, positions = part
        found = losses(rows, candidates, block_targets, positions if own else None)
        return total + jnp.sum(found.astype(total.dtype)), None

    blocks = (
        anchors.reshape(-1, BLOCK, anchors.shape[1]),
        targets.reshape(-1, BLOCK),
        jnp.arange(len(anchors)).reshape(-1, BLOCK),
    )
    total, _ = lax.scan(block, jnp.zeros((), jnp.float32), blocks)
    return total / len(anchors)


def both(formula: Formula, anchors: Any, candidates: Any) -> Any:
    """Return the mean of both directions."""
    return (formula(anchors, candidates) + formula(candidates, anchors)) / 2


def wait(results: Any) -> None:
    """Return once the results are there."""
    jax.block_until_ready(results)


def to_numpy(array: Any) -> Matrix:
    """Return an array in NumPy, as float32."""
    return np.asarray(array.astype(jnp.float32))


def counted_peak(call: Call, case: Case) -> int:
    """Return the bytes that a call adds to the GPU's memory at most."""
    device = jax.devices()[0]
    before = device.memory_stats()["bytes_in_use"]
    wait(call())
    return device.memory_stats()["peak_bytes_in_use"] - before


def planned_bytes(call: Any) -> int | None:
    """Return the bytes of temporaries that XLA plans."""
    compiled = call.func.lower(*call.args).compile()
    return compiled.memory_analysis().temp_size_in_bytes
