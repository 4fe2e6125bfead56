"""What a module costs beyond the function that it calls, in microseconds a call.

Once both were found to agree, the function gives way to one that returns at once: what
a call of the module takes longer than a call of that is the module's own. One JSON line
a class is printed; a class above `--limit` fails the run.
"""

import argparse
import importlib
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any
from unittest import mock

import numpy as np

import metricops

ROWS, DIM = 8, 16
FRAMEWORKS = {"torch": ("torch",), "flax": ("flax", "jax")}
FUNCTIONS = {
    "NPairsLoss": "npairs_loss",
    "NPairsMultilabelLoss": "npairs_multilabel_loss",
    "NPairsEmbeddingLoss": "npairs_loss_from_embeddings",
    "CosineSimilarityLoss": "cosine_similarity_loss",
    "Dot": "dot",
    "PairwiseInnerProduct": "pairwise_inner_product",
    "PairwiseCosineSimilarity": "pairwise_cosine_similarity",
}
OPTIONS: dict[str, dict[str, Any]] = {"Dot": {"axes": 1}}
Call = Callable[[], Any]


def arguments(name: str) -> tuple[Any, ...]:
    """Return the arguments of a function in NumPy."""
    x, y = np.random.default_rng(0).standard_normal((2, ROWS, DIM), dtype=np.float32)
    labels = np.arange(ROWS) % 4
    if name == "NPairsLoss":
        return x @ y.T, labels
    if name == "NPairsMultilabelLoss":
        return x @ y.T, np.eye(4)[labels]
    return x, y


def measure(call: Call, rounds: int, number: int) -> float:
    """Return the time of a call, in microseconds."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(number):
            call()
        seconds.append((time.perf_counter() - start) / number)
    # Others' work on the machine only adds: take what the quickest rounds agree on.
    return 1e6 * statistics.mean(sorted(seconds)[: rounds // 10 + 1])


def extra(framework: str, name: str, rounds: int, number: int) -> float:
    """Return what a call of the module `name` adds, in microseconds."""
    adapter = importlib.import_module(f"metricops.adapters.{framework}")
    library = importlib.import_module("torch" if framework == "torch" else "jax.numpy")
    arrays = [library.asarray(x) for x in arguments(name)]
    options = OPTIONS.get(name, {})
    module = getattr(adapter, name)(**options)
    expected = getattr(metricops, FUNCTIONS[name])(*arrays, **options)
    np.testing.assert_allclose(module(*arrays), expected, rtol=1e-6)

    def at_once(*arrays: Any, **options: Any) -> None:
        return None

    with mock.patch.object(metricops, FUNCTIONS[name], at_once):
        calls = partial(module, *arrays), partial(at_once, *arrays, **options)
        whole, least = (measure(call, rounds, number) for call in calls)
    return whole - least


def main() -> None:
    """Print a JSON line for each class, and fail if one takes too long."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--framework", choices=FRAMEWORKS, nargs="+", default=FRAMEWORKS
    )
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--number", type=int, default=100, help="calls in a round")
    parser.add_argument("--limit", type=float, default=float("inf"))
    options = parser.parse_args()
    slow = []
    for framework in options.framework:
        packages = ("metricops", *FRAMEWORKS[framework])
        setup = {"python": platform.python_version()}
        setup |= {package: version(package) for package in packages}
        for name in FUNCTIONS:
            added = extra(framework, name, options.rounds, options.number)
            print(json.dumps({**setup, "class": name, "extra_us": round(added, 2)}))
            if added > options.limit:
                slow.append(f"{framework} {name}")
    if slow:
        sys.exit(f"Above {options.limit} us: {', '.join(slow)}.")


if __name__ == "__main__":
    main()
