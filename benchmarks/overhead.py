"""What a call costs beyond its arithmetic: tiny arrays, beside native calls.

Each function takes turns on 8 x 16 arrays with the shortest formula that a user of the
framework would write for it and, but for TensorFlow, with the same formula, guarded
against zero vectors, overflow, masked pairs and rows without positives. All were found
to agree first. NumPy and PyTorch run eagerly, JAX and TensorFlow traced. One JSON line
a function is printed, and added to the file `--out`.
"""

import argparse
import gc
import importlib
import json
import platform
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import metricops

Function = Callable[..., Any]

ROWS, DIM = 8, 16
FRAMEWORKS = ("numpy", "torch", "jax", "tensorflow")


def arguments() -> dict[str, tuple[Any, ...]]:
    """Return the arguments of each function in NumPy."""
    random = np.random.default_rng(0)
    x, y = (random.standard_normal((ROWS, DIM), dtype=np.float32) for _ in range(2))
    similarity = x @ y.T
    labels = np.arange(ROWS) % 4
    multi_hot = np.eye(4, dtype=np.float32)[labels]
    return {
        "l2_normalize": (x,),
        "cosine_similarity": (x, y),
        "pairwise_inner_product": (x, y),
        "pairwise_cosine_similarity": (x, y),
        "cosine_similarity_loss": (x, y),
        "softmax_cross_entropy": (similarity, multi_hot @ multi_hot.T),
        "npairs_loss": (similarity, labels),
        "npairs_multilabel_loss": (similarity, multi_hot),
        "npairs_loss_from_embeddings": (x, y),
    }


def numpy_formulas(xp: Any) -> dict[str, Function]:
    """Return the formulas in NumPy, or in JAX with NumPy's names."""

    def unit(x: Any) -> Any:
        return x / xp.linalg.norm(x, axis=-1, keepdims=True)

    def cosine(x: Any, y: Any) -> Any:
        return xp.sum(unit(x) * unit(y), axis=-1)

    def entropy(scores: Any, targets: Any) -> Any:
        targets = targets / xp.sum(targets, axis=1, keepdims=True)
        scores = scores - xp.max(scores, axis=1, keepdims=True)
        partition = xp.sum(xp.exp(scores), axis=1)
        return xp.mean(xp.log(partition) - xp.sum(targets * scores, axis=1))

    def npairs(scores: Any, labels: Any) -> Any:
        return entropy(scores, (labels[:, None] == labels[None, :]).astype("float32"))

    def paired(x: Any, y: Any) -> Any:
        scores = x @ y.T
        scores = scores - xp.max(scores, axis=1, keepdims=True)
        partition = xp.sum(xp.exp(scores), axis=1)
        return xp.mean(xp.log(partition) - xp.diagonal(scores))

    return {
        "l2_normalize": unit,
        "cosine_similarity": cosine,
        "pairwise_inner_product": lambda x, y: x @ y.T,
        "pairwise_cosine_similarity": lambda x, y: unit(x) @ unit(y).T,
        "cosine_similarity_loss": lambda x, y: -xp.mean(cosine(x, y)),
        "softmax_cross_entropy": entropy,
        "npairs_loss": npairs,
        "npairs_multilabel_loss": lambda s, labels: entropy(s, labels @ labels.T),
        "npairs_loss_from_embeddings": paired,
    }


def torch_formulas() -> dict[str, Function]:
    """Return the formulas in PyTorch."""
    import torch
    from torch.nn import functional

    unit = functional.normalize

    def entropy(scores: Any, targets: Any) -> Any:
        targets = targets / targets.sum(dim=1, keepdim=True)
        return functional.cross_entropy(scores, targets)

    def npairs(scores: Any, labels: Any) -> Any:
        return entropy(scores, (labels[:, None] == labels[None, :]).to(scores.dtype))

    def paired(x: Any, y: Any) -> Any:
        return functional.cross_entropy(x @ y.T, torch.arange(ROWS))

    return {
        "l2_normalize": unit,
        "cosine_similarity": functional.cosine_similarity,
        "pairwise_inner_product": lambda x, y: x @ y.T,
        "pairwise_cosine_similarity": lambda x, y: unit(x) @ unit(y).T,
        "cosine_similarity_loss": lambda x, y: (
            -functional.cosine_similarity(x, y).mean()
        ),
        "softmax_cross_entropy": entropy,
        "npairs_loss": npairs,
        "npairs_multilabel_loss": lambda s, labels: entropy(s, labels @ labels.T),
        "npairs_loss_from_embeddings": paired,
    }


def guarded_formulas(xp: Any) -> dict[str, Function]:
    """Return what our functions compute, in the calls of NumPy, PyTorch or JAX."""
    info = xp.finfo(xp.float32)
    smallest, largest = float(info.smallest_normal), float(info.max) / 8
    is_torch = xp.__name__ == "torch"

    def fixed(x: Any) -> Any:
        return x.detach() if is_torch else x

    def shrunk(x: Any) -> Any:
        peak = xp.amax(fixed(xp.abs(x)), axis=-1, keepdims=True)
        return x / xp.clip(peak, smallest, largest)

    def unit(x: Any) -> Any:
        x = shrunk(x)
        squares = xp.sum(x * x, axis=-1, keepdims=True)
        return x / xp.sqrt(xp.where(squares == 0, xp.inf, squares))

    def rounded(cosine: Any) -> Any:
        constant = fixed(cosine)
        return cosine - (constant - xp.clip(constant, -1, 1))

    def cosine(x: Any, y: Any) -> Any:
        x, y = shrunk(x), shrunk(y)
        squares = xp.sum(x * x, axis=-1) * xp.sum(y * y, axis=-1)
        lengths = xp.sqrt(xp.where(squares == 0, xp.inf, squares))
        return rounded(xp.sum(x * y, axis=-1) / lengths)

    def log_softmax(scores: Any) -> Any:
        if is_torch:
            return xp.log_softmax(scores, dim=1)
        scores = scores - xp.amax(scores, axis=1, keepdims=True)
        return scores - xp.log(xp.sum(xp.exp(scores), axis=1, keepdims=True))

    def entropy(scores: Any, targets: Any) -> Any:
        targets = xp.where(scores == -xp.inf, 0.0, targets)
        total = xp.sum(targets, axis=1)
        counted = total != 0
        logs = log_softmax(xp.where(counted[:, None], scores, 0.0))
        share = xp.sum(targets * xp.where(targets != 0, logs, 0.0), axis=1)
        losses = share / xp.where(counted, -total, 1.0)
        return xp.sum(losses) / xp.clip(xp.sum(counted), 1, None)

    def npairs(scores: Any, labels: Any) -> Any:
        same = labels[:, None] == labels[None, :]
        return entropy(scores, xp.asarray(same, dtype=xp.float32))

    return {
        "l2_normalize": unit,
        "cosine_similarity": cosine,
        "pairwise_cosine_similarity": lambda x, y: rounded(unit(x) @ unit(y).T),
        "cosine_similarity_loss": lambda x, y: -xp.mean(cosine(x, y)),
        "softmax_cross_entropy": entropy,
        "npairs_loss": npairs,
        "npairs_multilabel_loss": lambda s, labels: entropy(s, labels @ labels.T),
    }


def tensorflow_formulas() -> dict[str, Function]:
    """Return the formulas in TensorFlow."""
    import tensorflow as tf

    unit = partial(tf.math.l2_normalize, axis=-1)
    product = partial(tf.matmul, transpose_b=True)

    def cosine(x: Any, y: Any) -> Any:
        return tf.reduce_sum(unit(x) * unit(y), axis=-1)

    def entropy(scores: Any, targets: Any) -> Any:
        targets = targets / tf.reduce_sum(targets, axis=1, keepdims=True)
        return tf.reduce_mean(
            tf.nn.softmax_cross_entropy_with_logits(labels=targets, logits=scores)
        )

    def npairs(scores: Any, labels: Any) -> Any:
        return entropy(scores, tf.cast(labels[:, None] == labels[None, :], tf.float32))

    def paired(x: Any, y: Any) -> Any:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits
        return tf.reduce_mean(losses(labels=tf.range(ROWS), logits=product(x, y)))

    return {
        "l2_normalize": unit,
        "cosine_similarity": cosine,
        "pairwise_inner_product": product,
        "pairwise_cosine_similarity": lambda x, y: product(unit(x), unit(y)),
        "cosine_similarity_loss": lambda x, y: -tf.reduce_mean(cosine(x, y)),
        "softmax_cross_entropy": entropy,
        "npairs_loss": npairs,
        "npairs_multilabel_loss": lambda s, labels: entropy(s, product(labels, labels)),
        "npairs_loss_from_embeddings": paired,
    }


def framework(name: str) -> tuple[dict[str, Function], Function, Function, Function]:
    """Return formulas, and how to make an array, to trace, and to await a result."""
    module: Any = importlib.import_module(name)
    if name == "numpy":
        return numpy_formulas(module), module.asarray, as_is, as_is
    if name == "torch":
        return torch_formulas(), module.asarray, as_is, as_is
    if name == "jax":
        ready = module.block_until_ready
        return numpy_formulas(module.numpy), module.numpy.asarray, module.jit, ready

    def trace(function: Function) -> Function:
        # Each default argument of a function would be looked at in each call.
        traced: Function = module.function(lambda *arrays: function(*arrays))
        return traced

    return tensorflow_formulas(), module.constant, trace, as_is


def as_is(x: Any) -> Any:
    """Return `x`."""
    return x


def microseconds(call: Function, wait: Function, repeats: int) -> float:
    """Return the mean time of some calls."""
    start = time.perf_counter()
    for _ in range(repeats):
        wait(call())
    return 1e6 * (time.perf_counter() - start) / repeats


def compare(
    calls: Mapping[str, Function], wait: Function, rounds: int, repeats: int
) -> dict[str, float]:
    """Return the least time of each call, in microseconds.

    All that disturbs a call of microseconds makes it longer, so the least time is the
    one that was disturbed least.
    """
    times: dict[str, list[float]] = {key: [] for key in calls}
    gc.collect()
    gc.disable()
    for _ in range(rounds):
        for key, function in calls.items():
            times[key].append(microseconds(function, wait, repeats))
    gc.enable()
    return {key: min(found) for key, found in times.items()}


def measure(name: str, rounds: int, repeats: int) -> list[dict[str, Any]]:
    """Return a line for each function in a framework."""
    formulas, asarray, trace, wait = framework(name)
    module = "jax.numpy" if name == "jax" else name
    same = {}
    if name != "tensorflow":
        same = guarded_formulas(importlib.import_module(module))
    versions = {module: version(module) for module in ("metricops", name)}
    versions["python"] = platform.python_version()
    lines = []
    for function, given in arguments().items():
        arrays = [asarray(x) for x in given]
        native = formulas[function]
        kinds = {
            "native_us": native,
            "guarded_us": same.get(function, native),
            "ours_us": getattr(metricops, function),
        }
        calls = {key: partial(trace(f), *arrays) for key, f in kinds.items()}
        found = [np.asarray(call()) for call in calls.values()]
        for other in found[:2]:
            np.testing.assert_allclose(found[2], other, 1e-4, 1e-5)
        times = compare(calls, wait, rounds, repeats)
        lines.append(
            {
                "measure": "overhead",
                "framework": name,
                "function": function,
                **times,
                "overhead_us": times["ours_us"] - times["guarded_us"],
                "device_name": platform.processor() or platform.machine(),
                "versions": versions,
            }
        )
    return lines


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--framework", nargs="+", default=FRAMEWORKS, choices=FRAMEWORKS
    )
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=20, help="calls a round")
    parser.add_argument("--out", type=Path, help="a file of JSON lines to add to")
    args = parser.parse_args()
    for name in args.framework:
        text = "".join(
            f"{json.dumps(line)}\n" for line in measure(name, args.rounds, args.repeats)
        )
        print(text, end="", flush=True)
        if args.out is not None:
            with args.out.open("a") as out:
                out.write(text)


if __name__ == "__main__":
    main()
