"""The streaming cosine similarity."""

import keras
import numpy as np
import pytest
from metricops.adapters.keras import metrics

from tests.definitions import cosine
from tests.keras.conftest import masked, random, to_numpy

Y_TRUE, Y_PRED = random(6, 4, 3, seed=1), random(6, 4, 3, seed=2)
COSINES = np.asarray(
    [
        [cosine(x, y) for x, y in zip(xs, ys, strict=True)]
        for xs, ys in zip(Y_TRUE.tolist(), Y_PRED.tolist(), strict=True)
    ]
)
WEIGHTS = np.asarray([1.0, 2.0, 0.0, 3.0, 0.5, 1.0], np.float32)


def result(metric):
    return to_numpy(metric.result()).item()


def test_the_mean_is_of_all_batches_until_it_is_reset():
    metric = metrics.CosineSimilarity()
    metric.update_state(Y_TRUE[:4, 0], Y_PRED[:4, 0])
    metric.update_state(Y_TRUE[4:, 0], Y_PRED[4:, 0])
    assert result(metric) == pytest.approx(COSINES[:, 0].mean(), rel=1e-5)
    metric.reset_state()
    assert result(metric) == 0


def test_the_documented_examples_hold():
    metric = metrics.CosineSimilarity(axis=1)
    y_true, y_pred = [[0.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]]
    metric.update_state(y_true, y_pred)
    assert result(metric) == pytest.approx(0.5, rel=1e-6)
    metric.reset_state()
    metric.update_state(y_true, y_pred, sample_weight=[0.3, 0.7])
    assert result(metric) == pytest.approx(0.7, rel=1e-6)


def test_a_sample_of_several_vectors_counts_by_their_mean():
    metric = metrics.CosineSimilarity()
    metric.update_state(Y_TRUE, Y_PRED, WEIGHTS)
    expected = (COSINES.mean(axis=1) * WEIGHTS).sum() / WEIGHTS.sum()
    assert result(metric) == pytest.approx(expected, rel=1e-5)


def test_masked_samples_do_not_count():
    metric = metrics.CosineSimilarity()
    metric.update_state(Y_TRUE[:, 0], masked(Y_PRED[:, 0], WEIGHTS > 0.9))
    expected = COSINES[WEIGHTS > 0.9, 0].mean()
    assert result(metric) == pytest.approx(expected, rel=1e-5)


def test_a_zero_vector_and_halves_are_no_nan():
    metric = metrics.CosineSimilarity()
    x = np.asarray([[0.0, 0.0], [300.0, 400.0]], np.float16)
    metric.update_state(x, x)
    assert result(metric) == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("axis", [1, (1, 2), [1, 2]])
def test_the_config_keeps_the_axis(axis):
    metric = metrics.CosineSimilarity("cos", "float16", axis)
    again = metrics.CosineSimilarity.from_config(metric.get_config())
    assert again.get_config() == metric.get_config()
    serialized = keras.metrics.serialize(metric)
    assert type(keras.metrics.deserialize(serialized)) is metrics.CosineSimilarity
    assert again.axis == (axis if axis == 1 else (1, 2))


def test_callbacks_know_that_more_is_better():
    stop = keras.callbacks.EarlyStopping("cosine_similarity")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    model.compile(loss="mse", metrics=[metrics.CosineSimilarity()])
    model.fit(Y_TRUE[:, 0], Y_PRED[:, 0], verbose=0, callbacks=[stop])
    assert stop.monitor_op(1, 0)
