"""What a module costs beyond the function that it calls, in microseconds a call.

Module and function take turns on 8 x 16 arrays, eagerly, once they were found to agree;
the difference of their fastest calls is the module's own time. One JSON line a class is
printed; a class above `--limit` fails the run.
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

import numpy as np

import metricops

ROWS, DIM = 8, 16
FRAMEWORKS = {"torch": ("torch",), "flax": ("flax", "jax")}
Call = Callable[[], Any]


def cases(adapter: Any, asarray: Callable[[Any], Any]) -> dict[str, tuple[Call, Call]]:
    """Return a module's call and its function's, for each class without parameters."""
    random = np.random.default_rng(0)
    x, y = (
        asarray(random.standard_normal((ROWS, DIM), dtype=np.float32)) for _ in range(2)
    )
    labels, multihot = (
        asarray(np.arange(ROWS) % 4),
        asarray(np.eye(4)[np.arange(ROWS) % 4]),
    )
    similarity = x @ y.T
    given = {
        "NPairsLoss": (metricops.npairs_loss, {}, (similarity, labels)),
        "NPairsMultilabelLoss": (
            metricops.npairs_multilabel_loss,
            {},
            (similarity, multihot),
        ),
        "NPairsEmbeddingLoss": (metricops.npairs_loss_from_embeddings, {}, (x, y)),
        "CosineSimilarityLoss": (metricops.cosine_similarity_loss, {}, (x, y)),
        "Dot": (metricops.dot, {"axes": 1}, (x, y)),
        "PairwiseInnerProduct": (metricops.pairwise_inner_product, {}, (x, y)),
        "PairwiseCosineSimilarity": (metricops.pairwise_cosine_similarity, {}, (x, y)),
    }
    return {
        name: (
            partial(getattr(adapter, name)(**options), *arrays),
            partial(function, *arrays, **options),
        )
        for name, (function, options, arrays) in given.items()
    }


def measure(calls: tuple[Call, Call], rounds: int, number: int) -> list[float]:
    """Return the time of a call of each, in microseconds."""
    seconds: list[list[float]] = [[], []]
    for _ in range(rounds):
        for kept, call in zip(seconds, calls, strict=True):
            start = time.perf_counter()
            for _ in range(number):
                call()
            kept.append((time.perf_counter() - start) / number)
    # Others' work on the machine only adds: take what the quickest rounds agree on.
    return [1e6 * statistics.mean(sorted(kept)[: rounds // 10 + 1]) for kept in seconds]


def main() -> None:
    """Print a JSON line for each class, and fail if one takes too long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--framework", choices=FRAMEWORKS, nargs="+", default=FRAMEWORKS
    )
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--number", type=int, default=20, help="calls in a round")
    parser.add_argument("--limit", type=float, default=float("inf"))
    options = parser.parse_args()
    worst = 0.0
    for framework in options.framework:
        adapter = importlib.import_module(f"metricops.adapters.{framework}")
        arrays = "torch" if framework == "torch" else "jax.numpy"
        asarray = importlib.import_module(arrays).asarray
        packages = ("metricops", *FRAMEWORKS[framework])
        setup = {
            "python": platform.python_version(),
            **{name: version(name) for name in packages},
        }
        for name, calls in cases(adapter, asarray).items():
            module, function = (np.asarray(call()) for call in calls)
            np.testing.assert_allclose(module, function, rtol=1e-6)
            module_us, function_us = measure(calls, options.rounds, options.number)
            extra = module_us - function_us
            worst = max(worst, extra)
            result = {
                "module_us": module_us,
                "function_us": function_us,
                "extra_us": extra,
            }
            rounded = {key: round(value, 2) for key, value in result.items()}
            print(json.dumps({**setup, "class": name, **rounded}), flush=True)
    if worst > options.limit:
        sys.exit(f"A module takes {worst:.1f} us; the limit is {options.limit} us.")


if __name__ == "__main__":
    main()
