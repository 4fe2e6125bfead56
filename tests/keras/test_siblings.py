"""The losses of triplets and pairs in Keras: as Addons' are called and saved."""

from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
from metricops.adapters.keras import (
    ContrastiveLoss,
    TripletEmbeddingLoss,
    TripletHardLoss,
    TripletSemiHardLoss,
    contrastive_loss,
    triplet_hard_loss,
    triplet_semihard_loss,
)

import metricops
from tests.keras.conftest import gradient, random, to_numpy
from tests.term_definitions import triplet_loss

EMBEDDINGS = random(6, 3)
LABELS = [0, 1, 0, 1, 2, 2]
METRICS = {"L2": "euclidean", "squared-L2": "squared_euclidean", "angular": "cosine"}


@pytest.mark.parametrize("metric", METRICS)
def test_triplets_are_those_of_tensorflow_addons(metric):
    x = EMBEDDINGS.tolist()
    options: dict[str, Any] = {"metric": METRICS[metric], "labels": LABELS}
    expected = triplet_loss(x, margin=0.5, **options)
    for found in (
        triplet_semihard_loss(LABELS, EMBEDDINGS, 0.5, metric),
        TripletSemiHardLoss(0.5, metric)(LABELS, EMBEDDINGS),
        TripletEmbeddingLoss(margin=0.5, metric=METRICS[metric])(LABELS, EMBEDDINGS),
    ):
        np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-5)
    hard: dict[str, Any] = {"positives": "hard", "negatives": "hard", **options}
    for soft in (False, True):
        expected = triplet_loss(x, margin=None if soft else 0.5, **hard)
        for found in (
            triplet_hard_loss(LABELS, EMBEDDINGS, 0.5, soft, metric),
            TripletHardLoss(0.5, soft, metric)(LABELS, EMBEDDINGS),
        ):
            np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-5)


@keras.saving.register_keras_serializable(package="tests")
def euclidean(x: Any) -> Any:
    return metricops.pairwise_euclidean_distance(x)


@pytest.mark.parametrize("cls", [TripletSemiHardLoss, TripletHardLoss])
def test_a_metric_may_be_a_function_of_the_embeddings(cls):
    own, named = cls(0.5, distance_metric=euclidean), cls(0.5, distance_metric="L2")
    again = cls.from_config(own.get_config())
    weights = np.arange(6.0)
    for loss in (own, again):
        for given in ((), (weights,)):
            found, expected = (
                to_numpy(x(LABELS, EMBEDDINGS, *given)) for x in (loss, named)
            )
            np.testing.assert_allclose(found, expected, rtol=1e-5)
    found, expected = (
        gradient(partial(loss, LABELS), EMBEDDINGS) for loss in (own, named)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    function = triplet_hard_loss if cls is TripletHardLoss else triplet_semihard_loss
    found = function(LABELS, EMBEDDINGS, 0.5, distance_metric=euclidean)
    expected = named(LABELS, EMBEDDINGS)
    np.testing.assert_allclose(to_numpy(found), to_numpy(expected), rtol=1e-5)


def test_a_contrastive_loss_is_that_of_tensorflow_addons():
    distances, same = np.asarray([0.5, 0.25, 3.0], "float32"), [1, 0, 0]
    rows = [0.25, 0.5625, 0.0]
    found = to_numpy(contrastive_loss(same, distances))
    np.testing.assert_allclose(found, rows, rtol=1e-6)
    found = to_numpy(ContrastiveLoss()(same, distances))
    np.testing.assert_allclose(found, np.mean(rows), rtol=1e-6)


@pytest.mark.parametrize("labels", [(3,), (3, 1)])
@pytest.mark.parametrize("distances", [(3,), (3, 1)])
def test_distances_and_whether_pairs_are_alike_may_each_be_a_column(labels, distances):
    # A model returns a column of distances, and `fit` leaves labels as they are.
    same = np.asarray([1, 0, 0]).reshape(labels)
    x, weights = np.asarray([0.5, 0.25, 3.0], "float32").reshape(distances), [1, 2, 3]
    rows = np.asarray([0.25, 0.5625, 0.0])
    both = distances if distances == labels else (3,)
    for y_true in (same, same.tolist(), keras.ops.convert_to_tensor(same)):
        found = to_numpy(contrastive_loss(y_true, x))
        np.testing.assert_allclose(found, rows.reshape(both), rtol=1e-6)
        found = to_numpy(ContrastiveLoss()(y_true, x, weights))
        np.testing.assert_allclose(found, np.mean(rows * weights), rtol=1e-6)


def test_a_siamese_model_fits_labels_of_shape_n():
    pair = [keras.Input((3,)), keras.Input((3,))]
    embed = keras.layers.Dense(2)
    squares = keras.ops.square(embed(pair[0]) - embed(pair[1]))
    distances = keras.ops.sqrt(keras.ops.sum(squares, axis=1, keepdims=True))
    model = keras.Model(pair, distances)
    model.compile("sgd", loss=ContrastiveLoss())
    x = [EMBEDDINGS, EMBEDDINGS[::-1]]
    same = np.asarray([0, 1, 0, 0, 1, 0])
    found = model.evaluate(x, same, verbose=0)
    expected = to_numpy(contrastive_loss(same, model(x))).mean()
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    history = model.fit(x, same, verbose=0, sample_weight=np.ones(6))
    assert np.isfinite(history.history["loss"]).all()


def test_a_contrastive_config_of_tensorflow_addons_keeps_its_reduction():
    # Of the losses there this one alone had a reduction that could be chosen.
    config = {"reduction": "none", "name": "contrastive_loss", "margin": 0.5}
    found = ContrastiveLoss.from_config(config)([1, 0], [0.5, 0.25])
    np.testing.assert_allclose(to_numpy(found), [0.25, 0.0625])


def test_configs_of_tensorflow_addons_are_read():
    config = {"reduction": "none", "name": None, "margin": 0.5}
    config["distance_metric"] = "angular"
    loss = TripletSemiHardLoss.from_config(config)
    assert (loss.margin, loss.distance_metric) == (0.5, "angular")
    assert to_numpy(loss(LABELS, EMBEDDINGS)).shape == ()


def test_a_metric_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match='must be one of "L2", "squared-L2", "angul'):
        TripletHardLoss(distance_metric="L3")


def test_a_model_fits_with_semi_hard_triplets():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("sgd", loss=TripletSemiHardLoss())
    history = model.fit(EMBEDDINGS, np.asarray(LABELS), batch_size=6, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
