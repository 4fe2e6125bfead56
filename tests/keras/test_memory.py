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
    TripletHardLoss,
    TripletLoss,
    TripletSemiHardLoss,
)

from tests.conftest import require
from tests.keras.conftest import BACKEND, gradient, random, to_numpy
from tests.term_definitions import triplet_loss

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


def test_warming_up_is_part_of_the_config():
    loss = CrossBatchMemory(TripletLoss("l2"), 8, warmup_steps=2)
    for rows in (0, 0, 4, 8):
        loss(LABELS, random(4, 3))
        loss = CrossBatchMemory.from_config(loss.get_config())
        assert len(loss.get_config()["memory"]["labels"]) == rows


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


def test_a_memory_holds_what_it_was_called_with_and_can_be_cleared():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    loss = CrossBatchMemory(TripletLoss("l2"), memory_size=12, warmup_steps=1)
    model.compile("sgd", loss=loss, run_eagerly=True)
    x, labels = random(8, 3), np.asarray([5, 6, 5, 6, 7, 8, 7, 8])
    model.fit(x, labels, batch_size=4, verbose=0, shuffle=False)
    # Keras traces the shapes of the first batch too, which is none to remember.
    assert loss.get_config()["memory"]["labels"] == [7, 8, 7, 8]
    model.evaluate(x[:4], labels[:4], verbose=0)
    assert loss.get_config()["memory"]["labels"] == [5, 6, 5, 6, 7, 8, 7, 8]
    loss.clear()
    alone = CrossBatchMemory(TripletLoss("l2"), memory_size=12, warmup_steps=9)
    batch = labels[:4], to_numpy(model(x[:4]))
    np.testing.assert_allclose(to_numpy(loss(*batch)), to_numpy(alone(*batch)))
    assert loss.get_config()["memory"]["labels"] == [5, 6, 5, 6]


@pytest.mark.parametrize("cls", [TripletSemiHardLoss, TripletHardLoss])
def test_the_losses_of_tensorflow_addons_take_a_memory(cls):
    first, second = random(4, 3), random(4, 3, seed=1)
    mined: dict[str, Any] = {} if cls is TripletSemiHardLoss else {"positives": "hard"}
    mined |= {} if cls is TripletSemiHardLoss else {"negatives": "hard"}
    loss = CrossBatchMemory(cls(0.5), 8)
    loss(LABELS, first)
    found = loss(LABELS[:, None], second)  # a column is the same
    every, theirs = np.concatenate([second, first]), np.tile(LABELS, 2)
    given: dict[str, Any] = {
        "labels": LABELS.tolist(),
        "candidate_labels": theirs.tolist(),
    }
    expected = triplet_loss(
        second.tolist(),
        every.tolist(),
        margin=0.5,
        exclude_diagonal=True,
        **given,
        **mined,
    )
    np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-5)
    again = CrossBatchMemory.from_config(loss.get_config())
    assert again.get_config() == loss.get_config()
    with pytest.raises(ValueError, match=r"`distance_metric` .* with a memory; got"):
        CrossBatchMemory(cls(distance_metric=np.abs), 8)(LABELS, first)


def test_labels_that_the_backend_cannot_hold_are_refused():
    x = random(3, 3)
    with pytest.raises(TypeError, match=r"`y_true` must be of numbers that .* holds"):
        CrossBatchMemory(TripletLoss(), 8)(["a", "b", "a"], x)
    for long in (np.asarray([2**32, 0, 1]), [2**32, 0, 1]):
        loss = CrossBatchMemory(TripletLoss("l2"), 8)
        if BACKEND == "jax":
            with pytest.raises(TypeError, match="`y_true` must be of numbers that JAX"):
                loss(long, x)
        else:
            assert to_numpy(loss(long, x)) == 0  # no two are of one class


def test_integers_of_any_width_meet_in_a_memory():
    loss = CrossBatchMemory(TripletLoss("l2"), 12)
    x = random(4, 3)
    expected = [to_numpy(loss(LABELS, x)) for _ in range(2)][1]
    config = loss.get_config()
    config["memory"]["dtypes"][1] = "int16"  # as another backend may have had them
    config["memory"]["labels"] = LABELS.tolist()
    config["memory"]["embeddings"] = x.tolist()
    loss = CrossBatchMemory.from_config(config)
    found = to_numpy(loss(LABELS.astype("uint8"), x))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    loss(LABELS.astype("int32"), x)
    assert loss.get_config()["memory"]["labels"] == LABELS.tolist() * 3


def test_a_batch_unlike_the_memory_is_refused_and_not_remembered():
    loss, x = CrossBatchMemory(TripletLoss(), 8), random(4, 3)
    with pytest.raises(ValueError, match="`y_true` must have a label for each of 4"):
        loss(LABELS[:3], x)
    assert loss.get_config()["memory"] is None
    loss(LABELS, x)
    before = loss.get_config()
    for labels, rows, error, words in (
        (LABELS, x[:, :2], ValueError, "`y_pred` must have shape .n, 3., as in the m"),
        (LABELS + 0.5, x, TypeError, "`y_true` must be of dtype int.*, as in the mem"),
        (np.eye(4), x, ValueError, r"`y_true` must have shape .n,. or .n, 1.; got sh"),
    ):
        with pytest.raises(error, match=words):
            loss(labels, rows)
    assert loss.get_config() == before


@pytest.mark.skipif(BACKEND != "tensorflow", reason="its graphs have open sizes")
def test_a_graph_says_that_a_batch_is_larger_than_the_memory():
    tf = require("tensorflow")
    loss = CrossBatchMemory(MultiSimilarityLoss(), memory_size=3)
    specs = tf.TensorSpec([None], tf.int64), tf.TensorSpec([None, 3], tf.float32)
    traced = tf.function(loss, input_signature=specs, autograph=False)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="`memory_size` must be at least the size"
    ):
        traced(LABELS, random(4, 3))
    assert traced(LABELS[:3], random(3, 3)).shape == ()


def test_mistakes_are_refused():
    with pytest.raises(TypeError, match="`loss` must be a loss of embeddings with lab"):
        CrossBatchMemory(NPairsLoss(), 8)
    with pytest.raises(ValueError, match="`memory_size` must be at least the size of"):
        CrossBatchMemory(TripletLoss(), 3)(LABELS, random(4, 3))
    for size in (8.5, -3, 0, True):
        with pytest.raises(
            (TypeError, ValueError), match=r"`memory_size` must be (an int|at l)"
        ):
            CrossBatchMemory(TripletLoss(), size)
    with pytest.raises(TypeError, match="`warmup_steps` must be an int"):
        CrossBatchMemory(TripletLoss(), 8, 1.5)
    with pytest.raises(ValueError, match="`warmup_steps` must be at least 0; got -1"):
        CrossBatchMemory(TripletLoss(), 8, -1)
    config = CrossBatchMemory(TripletLoss(), np.int64(8)).get_config()
    assert json.loads(json.dumps(config))["memory_size"] == 8
