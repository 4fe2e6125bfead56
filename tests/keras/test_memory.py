"""A loss against the embeddings of batches before, on each backend of Keras."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from metricops.adapters.keras import (
    XBM,
    CrossBatchMemory,
    MultiSimilarityLoss,
    NPairsLoss,
    TripletLoss,
)

from tests.keras.conftest import BACKEND, gradient, random, to_numpy

FILE = np.load(Path(__file__).parents[1] / "data" / "view_losses.npz")
CASES = [x for x in json.loads(bytes(FILE["manifest"])) if x["op"] == "XBM"]
LOSSES: dict[str, Any] = {
    "TripletLoss": TripletLoss,
    "MultiSimilarityLoss": MultiSimilarityLoss,
}
LABELS = np.asarray([0, 1, 0, 1])


@pytest.mark.parametrize("name", LOSSES)
def test_a_memory_is_that_of_tensorflow_similarity(name):
    for case in CASES:
        given = case["params"]
        long = BACKEND == "jax"  # it compiles for each size of the memory
        if given["loss"] != name or (long and given["warmup_steps"] == 0):
            continue
        inner = LOSSES[name](**given["params"])
        loss = XBM(inner, given["memory_size"], given["warmup_steps"])
        for i in range(3):
            x, labels = (FILE[f"data/stream{i}/{x}"] for x in ("embeddings", "labels"))
            found = to_numpy(loss(labels, x))
            expected = FILE[f"{case['case']}/loss{i}"]
            np.testing.assert_allclose(found, expected, rtol=2e-5, err_msg=str(case))


def test_a_memory_is_part_of_the_config():
    loss = CrossBatchMemory(TripletLoss("l2", margin=1.0), 8)
    assert loss.get_config()["memory"] is None
    first, second = random(4, 3), random(4, 3, seed=1)
    alone = to_numpy(loss(LABELS, second))
    loss = CrossBatchMemory(TripletLoss("l2", margin=1.0), 8)
    assert np.abs(gradient(lambda x: loss(LABELS, x), first)).max() > 0
    again = CrossBatchMemory.from_config(loss.get_config())
    assert again.get_config() == loss.get_config()
    found, expected = (to_numpy(x(LABELS, second)) for x in (again, loss))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert abs(expected - alone) > 1e-3


def test_a_model_fits_and_saves_its_memory(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    loss = CrossBatchMemory(TripletLoss("l2"), memory_size=6)
    eager = BACKEND == "jax"
    model.compile("sgd", loss=loss, jit_compile=False, run_eagerly=eager)
    x = random(8, 3)
    model.fit(x, np.tile(LABELS, 2), batch_size=4, verbose=0, shuffle=False)
    assert len(loss.get_config()["memory"]["labels"]) == 6
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras").loss
    assert again.get_config()["memory"] == loss.get_config()["memory"]


@pytest.mark.skipif(BACKEND == "torch", reason="it compiles no step")
def test_a_step_that_is_compiled_says_how_to_compile_the_model():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    loss = CrossBatchMemory(TripletLoss(), memory_size=6)
    model.compile("sgd", loss=loss, jit_compile=True)
    need = "run_eagerly=True" if BACKEND == "jax" else "jit_compile=False"
    with pytest.raises(Exception, match=f"A memory grows, .* with {need}"):
        model.fit(random(4, 3), LABELS, verbose=0)


def test_mistakes_are_refused():
    with pytest.raises(TypeError, match="`loss` must be a loss of embeddings with lab"):
        CrossBatchMemory(NPairsLoss(), 8)
    with pytest.raises(ValueError, match="`memory_size` must be at least the size of"):
        CrossBatchMemory(TripletLoss(), 3)(LABELS, random(4, 3))
