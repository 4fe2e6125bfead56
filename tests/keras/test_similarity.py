"""The losses of TensorFlow Similarity and of Keras: the originals' numbers."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from metricops.adapters import keras as adapter

from tests.keras.conftest import BACKEND, gradient, masked, random, to_numpy

FILE = np.load(Path(__file__).parents[1] / "data" / "view_losses.npz")
MANIFEST = json.loads(bytes(FILE["manifest"]))
CASES = [x for x in MANIFEST if x["library"] == "tfsim" and x["op"] != "XBM"]
OPS = sorted({case["op"] for case in CASES})
VIEWS = ("SimCLRLoss", "SimSiamLoss", "Barlow", "VicReg", "MultiNegativesRankLoss")
VIEW_ROWS = [adapter.SimCLRLoss, adapter.SimSiamLoss, adapter.VicReg]
LABELS = [0, 1, 0, 1, 2, 2]


def is_right(case: dict[str, Any]) -> bool:
    """Return whether the original gives the loss that it is named after."""
    if case["op"] == "CircleLoss":  # it counts pairs of weight 0
        return False
    # It gives NaN: of one row, and of exponentials without their peak.
    return np.isfinite(FILE[f"{case['case']}/loss"])


def inputs(case: dict[str, Any]) -> list[Any]:
    sides = ("first", "second") if case["op"] in VIEWS else ("labels", "embeddings")
    return [FILE[f"data/{case['data']}/{side}"] for side in sides]


def loss_of(case: dict[str, Any]) -> Any:
    params = {k: v for k, v in case["params"].items() if k != "normalized_first"}
    return getattr(adapter, case["op"])(**params, reduction="sum_over_batch_size")


@pytest.mark.parametrize("op", OPS)
def test_the_numbers_are_those_of_tensorflow_similarity(op):
    cases = [case for case in CASES if case["op"] == op and is_right(case)]
    if BACKEND == "jax":  # it compiles each of them, which takes a second
        cases = cases[:1]
    for case in cases:
        first, second = inputs(case)
        if case["params"].get("normalized_first"):
            first, second = (
                x / np.linalg.norm(x, axis=1, keepdims=True) for x in (first, second)
            )
        if case["params"].get("distance") not in (None, "cosine", "l2", "sql2"):
            continue
        found = to_numpy(loss_of(case)(first, second))
        expected = float(np.mean(FILE[f"{case['case']}/loss"]))
        if op == "MultiNegativesRankLoss":  # it adds 1 to the sum of the softmax
            logits = case["params"]["scale"] * first @ second.T
            rows = np.log(np.exp(logits).sum(axis=1)) - np.diag(logits)
            assert float(rows.mean()) < expected
            expected = float(rows.mean())
        # Of equal views its cosine is rounded, and its angle is 1e-4 of half a turn.
        atol = 1e-4 if "angular" in str(case["params"]) else 2e-5
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=atol, err_msg=case)


@pytest.mark.parametrize("op", ["SimCLRLoss", "SimSiamLoss", "Barlow", "VicReg"])
def test_the_gradients_are_those_of_tensorflow_similarity(op):
    case = next(x for x in CASES if (x["op"], x["data"]) == (op, "views"))
    first, second = inputs(case)
    found = gradient(lambda x: loss_of(case)(first, x), second)
    expected = FILE[f"{case['case']}/grad_second"]
    limit = 1e-3 * abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=limit)


def test_equal_views_have_finite_angles_and_gradients():
    x = random(4, 3)
    loss = adapter.SimSiamLoss("angular_distance")
    np.testing.assert_allclose(to_numpy(loss(x, x)), 0.001, atol=1e-3)
    assert np.isfinite(gradient(lambda y: loss(x, y), x)).all()


def test_lifted_structures_are_those_of_tensorflow_addons():
    cases = [case for case in MANIFEST if case["op"] == "lifted_struct_loss"]
    for case in cases[:1] if BACKEND == "jax" else cases:
        labels, x = (FILE[f"data/{case['data']}/{y}"] for y in ("labels", "embeddings"))
        expected = FILE[f"{case['case']}/loss"]
        margin = case["params"]["margin"]
        for found in (
            adapter.lifted_struct_loss(labels, x, margin),
            adapter.LiftedStructLoss(margin)(labels, x),
            adapter.LiftedStructureLoss(margin=margin)(labels, x),
        ):
            np.testing.assert_allclose(to_numpy(found), expected, rtol=2e-5)


def test_proxies_are_learnt_and_saved(tmp_path):
    x, labels = keras.Input((3,)), keras.Input((), dtype="int32")
    loss = adapter.MarginSoftmaxLoss(3, 2, scale=4.0)(keras.layers.Dense(2)(x), labels)
    model = keras.Model([x, labels], loss)
    model.compile("sgd")
    before = np.asarray(model.get_weights()[-1])
    model.fit([random(6, 3), np.asarray(LABELS)], verbose=0)
    assert np.abs(model.get_weights()[-1] - before).max() > 0
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.get_weights()[-1], model.get_weights()[-1])


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float16"])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_labels_of_proxies_are_not_rounded_to_a_half(policy, dtype):
    x, labels = keras.Input((4,)), keras.Input((), dtype=dtype)
    own = adapter.MarginSoftmaxLoss(2051, 4, dtype=policy)
    model = keras.Model([x, labels], own(x, labels))
    exact = adapter.MarginSoftmaxLoss(2051, 4)
    exact.set_weights([own.get_weights()[0].astype("float32")])
    given = random(3, 4), np.asarray([257, 2049, 999], dtype)
    found = model(list(given))
    assert keras.backend.standardize_dtype(found.dtype) == own.compute_dtype
    np.testing.assert_allclose(to_numpy(found), to_numpy(exact(*given)), rtol=1e-2)
    again = adapter.MarginSoftmaxLoss.from_config(own.get_config())
    assert not again.autocast


def test_labels_of_proxies_that_the_backend_would_cut_are_refused():
    loss, x = adapter.MarginSoftmaxLoss(4, 3), random(2, 3)
    expected = to_numpy(loss(x, [-1, 3]))
    if BACKEND == "jax":
        with pytest.raises(TypeError, match="`labels` must be of numbers that JAX hol"):
            loss(x, np.asarray([2**32 + 1, 3]))
    else:  # it is of no class
        found = to_numpy(loss(x, np.asarray([2**32 + 1, 3])))
        np.testing.assert_array_equal(found, expected)


def test_other_distances_are_taken_from_their_matrix():
    x, labels = random(6, 3), np.asarray(LABELS)
    loss = adapter.TripletLoss("l1", "hard", "hard", margin=1.0)
    d = abs(x[:, None] - x[None, :]).sum(axis=-1)
    alike = labels[:, None] == labels
    far, near = np.where(alike, d, 0).max(axis=1), np.where(alike, 9e9, d).min(axis=1)
    expected = np.maximum(far - near + 1.0, 0).mean()
    np.testing.assert_allclose(to_numpy(loss(labels, x)), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="with a memory; got 'manhattan'"):
        adapter.XBM(loss, 12)(labels, x)


def test_circle_is_that_of_keras():
    x = random(6, 3)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    expected = to_numpy(keras.losses.Circle(gamma=8.0)(np.asarray(LABELS), x))
    for cls in (adapter.Circle, adapter.CircleLoss):
        np.testing.assert_allclose(
            to_numpy(cls(gamma=8.0)(LABELS, x)), expected, rtol=1e-5
        )


def test_views_are_stacked_and_scores_are_columns():
    first, second = random(2, 6, 3)
    pairs = np.stack([first, second], axis=1)
    found = adapter.BarlowTwinsLoss()(None, pairs)
    np.testing.assert_allclose(
        to_numpy(found), to_numpy(adapter.Barlow()(first, second)), rtol=1e-5
    )
    found = adapter.VICRegLoss(ddof=0)(None, pairs)
    expected = adapter.VicReg(reduction="mean")(first, second)
    np.testing.assert_allclose(to_numpy(found), to_numpy(expected), rtol=1e-5)
    column = to_numpy(adapter.CoSENTLoss()(LABELS, first[:, :1]))
    np.testing.assert_allclose(
        column, to_numpy(adapter.CoSENTLoss()(LABELS, first[:, 0]))
    )
    with pytest.raises(ValueError, match=r"`y_pred` must have shape \(n, 2, d\); got"):
        adapter.BarlowTwinsLoss()(None, first)
    with pytest.raises(ValueError, match="`sample_weight` must be None, and no mask"):
        adapter.CoSENTLoss()(LABELS, first[:, 0], sample_weight=[1.0] * 6)


def test_words_that_there_are_not_are_refused():
    with pytest.raises(ValueError, match='`distance` must be one of "cosine"; got'):
        adapter.CircleLoss("l2")
    with pytest.raises(ValueError, match="`positive_mining_strategy` must be one of"):
        adapter.TripletLoss(positive_mining_strategy="all")
    with pytest.raises(ValueError, match="`projection_type` must be one of"):
        adapter.SimSiamLoss("angle")


@pytest.mark.parametrize("scale", [0, -1.0, float("inf"), "2"])
def test_a_scale_that_is_not_positive_is_refused(scale):
    with pytest.raises((TypeError, ValueError), match="`scale` must be "):
        adapter.MultiNegativesRankLoss(scale=scale)


@pytest.mark.parametrize("cls", [adapter.SimCLRLoss, adapter.SimSiamLoss])
def test_views_of_two_shapes_are_refused(cls):
    x = random(4, 3)
    for first, second in ((x, x[:3]), (x[:, :1], x), (x[:, 0], x)):
        with pytest.raises(ValueError, match=r"`y_(true|pred)` must have"):
            cls()(first, second)


@pytest.mark.parametrize("cls", VIEW_ROWS)
def test_losses_of_views_are_weighed_and_reduced_as_all_others(cls):
    views, weights = random(2, 4, 3), np.asarray([1.0, 0.0, 2.0, 3.0], "float32")
    rows = to_numpy(cls(reduction="none")(*views))
    assert rows.shape == (4,)
    for given in (weights, weights[:, None]):
        for reduction, expected in (
            ("none", rows * weights),
            ("sum", (rows * weights).sum()),
            ("mean", (rows * weights).mean()),
            ("mean_with_sample_weight", (rows * weights).sum() / 6),
        ):
            found = to_numpy(cls(reduction=reduction)(*views, given))
            assert found.shape == expected.shape
            np.testing.assert_allclose(found, expected, rtol=1e-5)
    found = cls(reduction="mean_with_sample_weight")(*views, 2.0)
    np.testing.assert_allclose(to_numpy(found), rows.mean(), rtol=1e-5)
    found = cls(reduction="mean")(views[0], masked(views[1], weights > 1), weights)
    expected = (rows * weights)[2:].sum() / 2
    np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-5)
    for shape in ((4, 4), (1, 4), (3,)):
        with pytest.raises(ValueError, match="`sample_weight` must have"):
            cls()(*views, np.ones(shape))


@pytest.mark.parametrize("cls", VIEW_ROWS)
def test_no_views_have_loss_zero_and_float64_stays(cls):
    empty = np.zeros((0, 3), "float32")
    found = to_numpy(cls(reduction="mean")(empty, empty))
    assert found.shape == ()
    assert found == 0
    if BACKEND != "jax":  # it has none unless asked for
        found = cls(reduction="mean", dtype="float64")(*random(2, 4, 3))
        assert keras.backend.standardize_dtype(found.dtype) == "float64"


def test_a_model_of_two_views_fits():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    model.compile("sgd", loss=adapter.SimCLRLoss())
    history = model.fit(random(6, 3), random(6, 3, seed=1), batch_size=6, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
