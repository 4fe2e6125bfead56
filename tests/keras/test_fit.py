"""Training: `fit` is right, on every backend and in every mode of Keras.

One step of gradient descent is compared with the definition's numeric gradient, so what
a backend trains is also what the others train.
"""

from typing import Any

import keras
import numpy as np
import pytest
from metricops.adapters.keras import (
    CosineSimilarity,
    Dot,
    MetricEmbedding,
    NPairsEmbeddingLoss,
    NPairsLoss,
    NPairsMultilabelLoss,
    PairwiseCosineSimilarity,
    PairwiseInnerProduct,
    metrics,
    npairs_loss,
)

from tests.conftest import require
from tests.definitions import (
    cosine,
    cross_entropy_loss,
    embeddings_loss,
    equal_labels,
    inner_product,
    numeric_gradient,
    pairwise,
    reduced,
    shared_labels,
)
from tests.keras.conftest import BACKEND, random, to_numpy

X = random(6, 3, seed=1)
LABELS = [0, 1, 0, 2, 1, 2]
WEIGHTS = [1.0, 0.5, 2.0, 0.0, 3.0, 1.0]
KERNEL = random(3, 4, seed=2)
RATE = 0.1

MODES = {
    "default": {},
    "eager": {"run_eagerly": True},
    "jit": {"jit_compile": True},
}
# Compiling PyTorch takes a C++ compiler and half a minute.
modes = pytest.mark.parametrize(
    "mode", [mode for mode in MODES if (BACKEND, mode) != ("torch", "jit")]
)


def project(x, kernel):
    """Return ``x @ kernel`` of nested lists."""
    return [
        [inner_product(row, column) for column in zip(*kernel, strict=True)]
        for row in x
    ]


def similarity_model():
    """Return a linear embedding and the similarities within a batch."""
    inputs = keras.Input((3,))
    embeddings = keras.layers.Dense(4, use_bias=False)(inputs)
    return keras.Model(inputs, PairwiseInnerProduct()(embeddings))


def one_step(model, loss, mode, y, **options):
    """Fit one batch once by gradient descent; return the loss and the kernel."""
    model.set_weights([KERNEL])
    model.compile(keras.optimizers.SGD(RATE), loss=loss, **MODES[mode])
    log = model.fit(
        X, y, batch_size=6, epochs=1, shuffle=False, verbose=0, **options
    ).history
    return log["loss"][0], model.get_weights()[0]


def assert_step(found, definition):
    """Assert that a step went from KERNEL as the loss `definition` says."""
    loss, kernel = found
    assert loss == pytest.approx(definition(KERNEL.tolist()), rel=1e-4)
    (slope,) = numeric_gradient(definition, KERNEL)
    np.testing.assert_allclose(kernel, KERNEL - RATE * slope, rtol=1e-3, atol=1e-4)


def npairs_of(kernel, weights=None):
    embeddings = project(X.tolist(), kernel)
    similarity = pairwise(inner_product, embeddings, embeddings)
    return cross_entropy_loss(similarity, equal_labels(LABELS, LABELS), weights)


@modes
@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_labels_of_either_shape_train_alike(mode, shape):
    y = np.asarray(LABELS).reshape(shape)
    found = one_step(similarity_model(), NPairsLoss(), mode, y)
    assert_step(found, npairs_of)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "float32"])
def test_labels_of_any_dtype_train_alike(dtype):
    y = np.asarray(LABELS, dtype)
    assert_step(one_step(similarity_model(), npairs_loss, "default", y), npairs_of)


@modes
def test_sample_weights_weigh_the_anchors(mode):
    weights = np.asarray(WEIGHTS, np.float32)
    y = np.asarray(LABELS)
    found = one_step(similarity_model(), NPairsLoss(), mode, y, sample_weight=weights)
    assert_step(found, lambda kernel: npairs_of(kernel, WEIGHTS))


def test_class_weights_weigh_the_anchors_of_a_class():
    weights = {0: 1.0, 1: 3.0, 2: 0.0}
    y = np.asarray(LABELS)
    found = one_step(
        similarity_model(), NPairsLoss(), "default", y, class_weight=weights
    )
    given = [weights[label] for label in LABELS]
    assert_step(found, lambda kernel: npairs_of(kernel, given))


@modes
def test_multilabels_train(mode):
    multihot = np.asarray([[1, 0], [1, 1], [0, 1], [0, 0], [1, 0], [0, 1]])

    def definition(kernel):
        embeddings = project(X.tolist(), kernel)
        similarity = pairwise(inner_product, embeddings, embeddings)
        targets = shared_labels(multihot.tolist(), multihot.tolist())
        return cross_entropy_loss(similarity, targets)

    found = one_step(similarity_model(), NPairsMultilabelLoss(), mode, multihot)
    assert_step(found, definition)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="its sparse tensors are meant")
def test_sparse_multilabels_train():
    tf = require("tensorflow")
    dense = np.eye(3, dtype=np.int64)[LABELS]
    data = tf.data.Dataset.from_tensor_slices((X, tf.sparse.from_dense(dense)))
    model = similarity_model()
    model.set_weights([KERNEL])
    model.compile(keras.optimizers.SGD(RATE), loss=NPairsMultilabelLoss())
    log = model.fit(data.batch(6), shuffle=False, verbose=0).history
    assert_step((log["loss"][0], model.get_weights()[0]), npairs_of)


@modes
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_pairs_of_embeddings_train(mode, weights):
    inputs = keras.Input((3,))
    embeddings = keras.layers.Dense(4, use_bias=False)(inputs)
    model = keras.Model(
        inputs, keras.ops.stack([embeddings, keras.ops.flip(embeddings, 1)], axis=1)
    )
    options: dict[str, Any] = {
        "temperature": 0.5,
        "normalize": True,
        "symmetric": True,
    }

    def definition(kernel):
        anchors = project(X.tolist(), kernel)
        positives = [row[::-1] for row in anchors]
        return embeddings_loss(
            anchors, positives, LABELS, sample_weight=weights, **options
        )

    loss = NPairsEmbeddingLoss(**options)
    given = None if weights is None else np.asarray(weights, np.float32)
    found = one_step(model, loss, mode, np.asarray(LABELS), sample_weight=given)
    assert_step(found, definition)


@modes
def test_the_cosine_loss_trains_as_its_metric_tells(mode):
    y = random(6, 4, seed=3)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, use_bias=False)])

    def definition(kernel):
        pairs = zip(y.tolist(), project(X.tolist(), kernel), strict=True)
        return reduced([-cosine(a, b) for a, b in pairs])

    assert_step(one_step(model, CosineSimilarity(), mode, y), definition)
    model.compile(metrics=[metrics.CosineSimilarity()], loss=CosineSimilarity())
    found = model.evaluate(X, y, verbose=0, return_dict=True)
    assert found["cosine_similarity"] == pytest.approx(-found["loss"], rel=1e-5)


def test_a_weight_per_sample_trains_a_sequence_of_as_many_steps():
    # Keras' own loss weighs the steps here.
    x, y = random(4, 4, 3, seed=4), random(4, 4, 2, seed=5)
    model = keras.Sequential([keras.Input((None, 3)), keras.layers.Dense(2)])
    model.compile(
        "sgd", CosineSimilarity(), weighted_metrics=[metrics.CosineSimilarity()]
    )
    weights = np.asarray([0.0, 0.0, 0.0, 1.0], np.float32)
    found = model.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)
    # The loss divides by the four samples, the metric by the sum of their weights.
    assert found["loss"] == pytest.approx(-found["cosine_similarity"] / 4, rel=1e-5)


def test_a_mask_of_steps_leaves_padding_out():
    x = np.asarray([[1, 2, 0, 0], [3, 0, 0, 0], [4, 5, 6, 0]])
    y = random(3, 4, 2, seed=6)
    embed = keras.layers.Embedding(7, 2, mask_zero=True)
    model = keras.Sequential([keras.Input((4,)), embed])
    model.compile("sgd", CosineSimilarity())
    table = model.get_weights()[0].tolist()
    kept = [(y[i, j], table[x[i, j]]) for i, j in zip(*np.nonzero(x), strict=True)]
    expected = reduced([-cosine(a.tolist(), b) for a, b in kept])
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-5)


@modes
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_trains_without_nan(mode, policy):
    keras.config.set_dtype_policy(policy)
    inputs = keras.Input((3,))
    embeddings = MetricEmbedding(4)(inputs)
    cosines = PairwiseCosineSimilarity()(embeddings)
    own = Dot(1, normalize=True)([embeddings, embeddings])
    model = keras.Model(inputs, cosines + 0 * own)
    assert model.compute_dtype == policy.removeprefix("mixed_")
    model.compile("sgd", NPairsLoss(), **MODES[mode])
    x = np.concatenate([X * 100, np.zeros((2, 3), np.float32)])
    # Labels that half precision would merge into one.
    y = 2048 + np.asarray([0, 1, 0, 1, 2, 3, 4, 5])
    losses = model.fit(x, y, epochs=3, batch_size=8, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert all(np.isfinite(weights).all() for weights in model.get_weights())
    expected = cross_entropy_loss(
        to_numpy(model(x)).astype(np.float64).tolist(),
        equal_labels(y.tolist(), y.tolist()),
    )
    found = model.evaluate(x, y, batch_size=8, verbose=0)
    assert found == pytest.approx(expected, rel=2e-2)


def test_the_last_batch_may_be_smaller_and_without_a_positive():
    model = similarity_model()
    model.compile("sgd", NPairsLoss())
    log = model.fit(X, np.asarray(LABELS), batch_size=5, epochs=2, verbose=0).history
    assert np.isfinite(log["loss"]).all()


def test_a_subclassed_model_and_one_of_several_outputs_train():
    class Both(keras.Model):
        def __init__(self):
            super().__init__()
            self.embed = MetricEmbedding(4)
            self.compare = PairwiseInnerProduct()

        def call(self, x):
            embeddings = self.embed(x)
            return {"embedding": embeddings, "similarity": self.compare(embeddings)}

    model = Both()
    losses = {"embedding": CosineSimilarity(), "similarity": NPairsLoss()}
    model.compile("sgd", losses, loss_weights={"embedding": 0.5, "similarity": 1.0})
    y = {"embedding": random(6, 4), "similarity": np.asarray(LABELS)}
    log = model.fit(X, y, epochs=1, verbose=0).history
    assert np.isfinite(log["loss"]).all()
