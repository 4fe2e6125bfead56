"""What a training step costs with the Keras adapter, against Keras' own classes.

    KERAS_BACKEND=jax python benchmarks/keras_step.py

Two small models are trained by `fit` in one process, one with Keras' class and one with
ours in its place, taking turns. A round times an epoch of each, and the ratio is the
median over rounds of ours to Keras', so that a busy machine slows both alike. One JSON
line a case is printed, and added to the file `--out`.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from metricops.adapters.keras import CosineSimilarity, Dot

FEATURES = 64
BATCH = 128
Model = Any


def loss_model(loss: Any) -> Model:
    """Return a compiled model of two dense layers that is trained by `loss`."""
    layers = [keras.layers.Dense(FEATURES, activation="relu"), keras.layers.Dense(32)]
    model = keras.Sequential([keras.Input((FEATURES,)), *layers])
    model.compile("sgd", loss)
    return model


def layer_model(layer: Any) -> Model:
    """Return a compiled model of two dense layers whose outputs meet in `layer`."""
    inputs = keras.Input((FEATURES,))
    towers = [keras.layers.Dense(FEATURES, activation="relu")(inputs) for _ in range(2)]
    model = keras.Model(inputs, layer(towers))
    model.compile("sgd", "mse")
    return model


CASES: dict[str, tuple[Callable[[Any], Model], Any, Any, int]] = {
    "CosineSimilarity": (
        loss_model,
        keras.losses.CosineSimilarity(),
        CosineSimilarity(),
        32,
    ),
    "Dot": (layer_model, keras.layers.Dot(1), Dot(1), 1),
    "Dot, normalised": (
        layer_model,
        keras.layers.Dot(1, normalize=True),
        Dot(1, normalize=True),
        1,
    ),
}


def seconds_per_step(model: Model, x: Any, y: Any) -> tuple[float, float]:
    """Return the seconds, and the processor's, that a step of one epoch takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0)
    steps = len(x) // BATCH
    elapsed = time.perf_counter() - wall, time.process_time() - cpu
    return elapsed[0] / steps, elapsed[1] / steps


def measure(case: str, steps: int, rounds: int) -> dict[str, Any]:
    """Return what a step costs in each of the two models, and the median ratios."""
    make, theirs, ours, width = CASES[case]
    generator = np.random.default_rng(0)
    x = generator.standard_normal((steps * BATCH, FEATURES)).astype(np.float32)
    y = generator.standard_normal((steps * BATCH, width)).astype(np.float32)
    models = {"keras": make(theirs), "metricops": make(ours)}
    models["metricops"].set_weights(models["keras"].get_weights())
    losses = [model.evaluate(x, y, verbose=0) for model in models.values()]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in models}
    for turn in range(rounds + 1):
        # Whoever goes first changes from round to round; round 0 compiles.
        for name in sorted(models, reverse=turn % 2 == 0):
            taken = seconds_per_step(models[name], x, y)
            if turn > 0:
                times[name].append(taken)
    return {"case": case, "rounds": rounds, "steps": steps, **summary(times)}


def summary(times: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
    """Return the median milliseconds of a step, and the median ratios of rounds."""
    found: dict[str, Any] = {}
    for kind, position in (("wall", 0), ("cpu", 1)):
        sides = {name: [t[position] for t in rows] for name, rows in times.items()}
        for name, side in sides.items():
            found[f"{name}_{kind}_ms"] = round(1e3 * statistics.median(side), 4)
        pairs = zip(sides["metricops"], sides["keras"], strict=True)
        ratio = statistics.median(ours / theirs for ours, theirs in pairs)
        found[f"{kind}_ratio"] = round(ratio, 3)
    return found


def environment() -> dict[str, Any]:
    """Return the backend, the versions and the machine."""
    backend = keras.config.backend()
    names = ("metricops", "keras", backend, "numpy")
    return {
        "backend": backend,
        "versions": {name: version(name) for name in names},
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def main() -> None:
    """Measure every case, and print a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--out", type=Path, help="a file of JSON lines to add to")
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    for case in CASES:
        measured = measure(case, options.steps, options.rounds)
        line = json.dumps({**measured, **environment()})
        print(line)
        if options.out is not None:
            with options.out.open("a") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    main()
