"""What is private of Keras may go: the public way gives the same."""

import importlib
import sys
from collections.abc import Iterator

import keras
import numpy as np
import pytest
from metricops.adapters.keras import NPairsLoss, _private, metrics

from tests.keras import test_fit, test_losses
from tests.keras.conftest import masked, random, to_numpy


@pytest.fixture
def public() -> Iterator[None]:
    """Import the adapter as if a release of Keras had taken the private name away."""
    with pytest.MonkeyPatch.context() as patch:
        # Keras itself calls it by this name, so only the import goes without.
        patch.delattr(sys.modules["keras.src.backend"], "get_keras_mask")
        importlib.reload(_private)
    yield
    importlib.reload(_private)


def test_a_mask_is_read_by_a_layer_too():
    mask = np.asarray([True, False, True])
    x = masked(random(3, 3), mask)
    np.testing.assert_array_equal(to_numpy(_private.mask_by_layer(x)), mask)
    assert _private.mask_by_layer(keras.ops.ones((3, 3))) is None
    assert _private.mask_by_layer([[1.0, 2.0]]) is None


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum"])
def test_masked_anchors_weigh_nothing(public, reduction):
    assert _private.get_keras_mask is None
    kept, mask = np.asarray([0, 2, 3]), np.asarray([True, False, True, True])
    similarity, labels = random(4, 4), np.asarray([0, 1, 0, 1])
    rows = to_numpy(NPairsLoss(reduction="none")(labels, similarity))
    found = NPairsLoss(reduction=reduction)(labels, masked(similarity, mask))
    expected = rows[kept].sum() / (1 if reduction == "sum" else len(kept))
    np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-6)


def test_padding_is_left_out_in_fit(public):
    test_fit.test_a_mask_of_steps_leaves_padding_out()


def test_a_mask_of_steps_meets_a_weight(public):
    test_losses.test_a_mask_of_samples_meets_a_weight_per_step()


def test_a_metric_needs_no_direction_to_be_right(monkeypatch, tmp_path):
    monkeypatch.setattr(metrics, "set_direction", lambda metric, direction: None)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse", metrics=[metrics.CosineSimilarity(axis=1)])
    path = tmp_path / "best.keras"
    name = "cosine_similarity"
    best = keras.callbacks.ModelCheckpoint(
        path, monitor=name, mode="max", save_best_only=True
    )
    history = model.fit(random(4, 3), random(4, 2), verbose=0, callbacks=[best])
    assert -1 <= history.history[name][0] <= 1
    assert path.exists()
