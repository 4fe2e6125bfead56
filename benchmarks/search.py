"""Distances and similarities of many rows beside the usual native ways.

Each function takes turns with what a user of the framework would write for it, on
random rows, and on rows that are clustered as trained embeddings are: around 64 centres
that both sides share, with spread 5 %, off the origin by 3. NumPy and PyTorch run
eagerly, JAX and TensorFlow traced. What is native may have lost digits: its largest
relative error is told too. One JSON line a way is printed, and added to the file
`--out`.
"""

import argparse
import importlib
import json
import platform
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import metricops

Function = Callable[..., Any]
FRAMEWORKS = ("numpy", "torch", "jax", "tensorflow")
DATA = ("random", "clustered")
OURS = {
    "euclidean": metricops.pairwise_euclidean_distance,
    "squared_euclidean": metricops.pairwise_squared_euclidean_distance,
    "manhattan": metricops.pairwise_manhattan_distance,
    "cosine_similarity": metricops.pairwise_cosine_similarity,
}


class Framework(NamedTuple):
    """A framework, and the usual ways in it."""

    native: dict[str, tuple[str, Function]]  # the name of a way, and the way
    asarray: Function
    traced: Callable[[Function], Function]
    slopes: Callable[[Function], Function] | None  # a function with its gradients
    wait: Callable[[Any], Any]  # until a result is there


def rows(kind: str, count: int, dim: int) -> tuple[Any, Any]:
    """Return two sets of rows in NumPy."""
    random = np.random.default_rng(0)
    noise = [random.standard_normal((count, dim)) for _ in range(2)]
    if kind == "clustered":
        centres = 3 + random.standard_normal((64, dim))
        noise = [centres[random.integers(0, 64, count)] + 0.05 * z for z in noise]
    first, second = (z.astype(np.float32) for z in noise)
    return first, second


def _expansion(xp: Any, x: Any, y: Any) -> Any:
    """Return squared distances as they are often written."""
    squares = (x * x).sum(1)[:, None] + (y * y).sum(1)[None, :] - 2 * x @ y.T
    return xp.maximum(squares, 1e-12)


def _numpy() -> Framework:
    from scipy.spatial.distance import cdist
    from sklearn.metrics import pairwise

    native = {
        "euclidean": ("scikit-learn", pairwise.euclidean_distances),
        "squared_euclidean": (
            "scikit-learn",
            lambda x, y: pairwise.euclidean_distances(x, y, squared=True),
        ),
        "manhattan": ("scipy", lambda x, y: cdist(x, y, "cityblock")),
        "cosine_similarity": ("scikit-learn", pairwise.cosine_similarity),
    }
    return Framework(native, np.asarray, lambda f: f, None, lambda x: x)


def _torch() -> Framework:
    import torch
    from torch.nn.functional import normalize

    def slopes(function: Function) -> Function:
        def both(x: Any, y: Any) -> Any:
            leaves = [z.detach().requires_grad_() for z in (x, y)]
            return torch.autograd.grad(function(*leaves).sum(), leaves)

        return both

    native = {
        "euclidean": ("cdist", torch.cdist),
        "squared_euclidean": ("cdist", lambda x, y: torch.cdist(x, y).square()),
        "manhattan": ("cdist", lambda x, y: torch.cdist(x, y, p=1.0)),
        "cosine_similarity": (
            "normalize, product",
            lambda x, y: normalize(x) @ normalize(y).T,
        ),
    }
    return Framework(native, torch.asarray, lambda f: f, slopes, lambda x: x)


def _jax() -> Framework:
    import jax
    import jax.numpy as jnp

    def unit(x: Any) -> Any:
        return x / jnp.linalg.norm(x, axis=1, keepdims=True)

    def slopes(function: Function) -> Function:
        return jax.grad(lambda x, y: jnp.sum(function(x, y)), argnums=(0, 1))

    native = {
        "euclidean": ("expansion", lambda x, y: jnp.sqrt(_expansion(jnp, x, y))),
        "squared_euclidean": ("expansion", lambda x, y: _expansion(jnp, x, y)),
        "cosine_similarity": ("normalize, product", lambda x, y: unit(x) @ unit(y).T),
    }
    return Framework(native, jnp.asarray, jax.jit, slopes, jax.block_until_ready)


def _tensorflow() -> Framework:
    import tensorflow as tf

    def squares(x: Any, y: Any) -> Any:
        norms = [tf.reduce_sum(z * z, 1) for z in (x, y)]
        products = tf.matmul(x, y, transpose_b=True)
        return tf.maximum(norms[0][:, None] + norms[1][None, :] - 2 * products, 1e-12)

    def cosines(x: Any, y: Any) -> Any:
        units = [tf.math.l2_normalize(z, 1) for z in (x, y)]
        return tf.matmul(*units, transpose_b=True)

    def slopes(function: Function) -> Function:
        def both(x: Any, y: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch([x, y])
                total = tf.reduce_sum(function(x, y))
            return tape.gradient(total, [x, y])

        return both

    native = {
        "euclidean": ("expansion", lambda x, y: tf.sqrt(squares(x, y))),
        "squared_euclidean": ("expansion", squares),
        "cosine_similarity": ("normalize, product", cosines),
    }
    return Framework(native, tf.constant, tf.function, slopes, lambda x: x)


def exact(name: str, x: Any, y: Any) -> Any:
    """Return the values in float64, from differences."""
    wide = [z.astype(np.float64) for z in (x, y)]
    if name == "cosine_similarity":
        units = [z / np.linalg.norm(z, axis=1, keepdims=True) for z in wide]
        return units[0] @ units[1].T
    from scipy.spatial.distance import cdist

    words = {"squared_euclidean": "sqeuclidean", "manhattan": "cityblock"}
    return cdist(*wide, words.get(name, name))


def largest_error(name: str, result: Any, x: Any, y: Any) -> float:
    """Return the largest error of the first rows, relative but for cosines."""
    expected = exact(name, x[:128], y)
    error = np.abs(np.asarray(result)[:128] - expected)
    return float(np.max(error if name == "cosine_similarity" else error / expected))


def alternating(
    ways: dict[str, Function], arrays: tuple[Any, ...], wait: Function, rounds: int
) -> dict[str, list[float]]:
    """Return the seconds of each way in each round, in which they take turns."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():  # traces, and warms up
        wait(way(*arrays))
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            wait(way(*arrays))
            times[name].append(time.perf_counter() - start)
    return times


def measured(
    framework: str, data: str, count: int, dim: int, rounds: int
) -> Iterator[dict[str, Any]]:
    """Yield a line for each function, pass and way."""
    found: Framework = globals()[f"_{framework}"]()
    hosts = rows(data, count, dim)
    arrays = tuple(map(found.asarray, hosts))
    for name, (native_name, native) in found.native.items():
        pair = {native_name: native, "metricops": OURS[name]}
        traced = {way: found.traced(function) for way, function in pair.items()}
        passes = {"forward": traced}
        if found.slopes and name != "manhattan":
            slopes = {way: found.traced(found.slopes(pair[way])) for way in pair}
            passes["forward and backward"] = slopes
        errors = {
            way: largest_error(name, traced[way](*arrays), *hosts) for way in pair
        }
        for label, ways in passes.items():
            times = alternating(ways, arrays, found.wait, rounds)
            for way in ways:
                yield {
                    "measure": "distances",
                    "framework": framework,
                    "function": name,
                    "data": data,
                    "rows": count,
                    "dim": dim,
                    "pass": label,
                    "method": way,
                    "best_s": min(times[way]),
                    "ratio": min(times[way]) / min(times[native_name]),
                    "largest_error": errors[way],
                }


def described(framework: str) -> dict[str, Any]:
    """Return what a line says of the machine."""
    names = ("metricops", framework)
    versions = {name: version(name) for name in names}
    versions["python"] = platform.python_version()
    return {"device_name": platform.machine(), "versions": versions}


def parsed() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--framework", choices=FRAMEWORKS, action="append")
    parser.add_argument("--data", choices=DATA, action="append")
    parser.add_argument("--size", default="4096x128", help="rows x dimensions")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def main() -> None:
    """Measure what the command line asks for."""
    options = parsed()
    count, dim = map(int, options.size.split("x"))
    for framework in options.framework or FRAMEWORKS:
        importlib.import_module(framework)
        about = described(framework)
        for data in options.data or DATA:
            for line in measured(framework, data, count, dim, options.rounds):
                text = json.dumps(line | about)
                print(text, flush=True)
                if options.out:
                    with options.out.open("a") as file:
                        file.write(text + "\n")


if __name__ == "__main__":
    main()
