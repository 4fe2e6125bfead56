"""The numbers of the originals: TensorFlow 2.15, Addons 0.23 and Similarity 0.17."""

import keras
import numpy as np
import pytest
from metricops.adapters.keras import (
    CosineSimilarity,
    Dot,
    MetricEmbedding,
    NpairsLoss,
    NpairsMultilabelLoss,
    PairwiseInnerProduct,
    cosine_similarity,
    npairs_loss,
    npairs_multilabel_loss,
)

from tests.keras.conftest import gradient, to_numpy
from tests.test_originals import assert_output, cases, inputs

NPAIRS = [NpairsLoss(), npairs_loss]
MULTILABEL = [NpairsMultilabelLoss(), npairs_multilabel_loss]
FORMS = ["class", "function"]


@pytest.mark.parametrize("loss", NPAIRS, ids=FORMS)
@cases("npairs_loss")
def test_npairs_loss_is_that_of_tensorflow_addons(case, loss):
    given = inputs(case)
    assert_output(case, "loss", to_numpy(loss(given["labels"], given["similarity"])))


@pytest.mark.parametrize("loss", NPAIRS, ids=FORMS)
@cases("npairs_loss")
def test_the_gradient_of_npairs_loss_is_that_of_tensorflow_addons(case, loss):
    given = inputs(case)
    found = gradient(lambda s: loss(given["labels"], s), given["similarity"])
    assert_output(case, "grad_similarity", found)


@pytest.mark.parametrize("loss", MULTILABEL, ids=FORMS)
@cases("npairs_multilabel_loss")
def test_npairs_multilabel_loss_is_that_of_tensorflow_addons(case, loss):
    given = inputs(case)
    assert_output(case, "loss", to_numpy(loss(given["labels"], given["similarity"])))


@pytest.mark.parametrize("loss", MULTILABEL, ids=FORMS)
@cases("npairs_multilabel_loss")
def test_the_gradient_of_npairs_multilabel_loss_is_that_of_addons(case, loss):
    given = inputs(case)
    found = gradient(lambda s: loss(given["labels"], s), given["similarity"])
    assert_output(case, "grad_similarity", found)


@cases("CosineSimilarity")
def test_the_cosine_loss_is_that_of_keras_2(case):
    given, params = inputs(case), case["params"]
    loss = CosineSimilarity(axis=params["axis"], reduction=params["reduction"])
    found = loss(given["y_true"], given["y_pred"], given.get("sample_weight"))
    assert_output(case, "loss", to_numpy(found))


@cases("CosineSimilarity", reduction="none", weight="none")
def test_the_cosine_function_is_that_of_keras_2(case):
    given = inputs(case)
    axis = case["params"]["axis"]
    found = cosine_similarity(given["y_true"], given["y_pred"], axis=axis)
    assert_output(case, "loss", to_numpy(found))


@cases("Dot")
def test_dot_is_that_of_keras_2(case):
    given = inputs(case)
    assert_output(
        case, "out", to_numpy(Dot(**case["params"])([given["x"], given["y"]]))
    )


@cases("Dot")
def test_dot_in_a_functional_model_is_that_of_keras_2(case):
    pair = [inputs(case)[name] for name in ("x", "y")]
    placeholders = [keras.Input(x.shape[1:]) for x in pair]
    output = Dot(**case["params"])(placeholders)
    assert output.shape[1:] == Dot(**case["params"])(pair).shape[1:]
    assert_output(case, "out", to_numpy(keras.Model(placeholders, output)(pair)))


@cases("distance", name="inner_product")
def test_the_inner_products_are_those_of_tensorflow_similarity(case):
    given = inputs(case)
    found = PairwiseInnerProduct()([given["query"], given["key"]])
    assert_output(case, "out", to_numpy(found))


@cases("MetricEmbedding")
def test_metric_embedding_is_that_of_tensorflow_similarity(case):
    given = inputs(case)
    layer = MetricEmbedding(**case["params"])
    layer.build(given["x"].shape)
    layer.set_weights([given["kernel"], given["bias"]])
    assert_output(case, "out", to_numpy(layer(given["x"])))


# What the documentation of the originals promises.


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, -0.5),
        ({"reduction": "auto"}, -0.5),
        ({"reduction": "sum"}, -1.0),
        ({"reduction": "none"}, [0.0, -1.0]),
        ({"reduction": None}, [0.0, -1.0]),
    ],
)
def test_the_documented_examples_of_the_cosine_loss_hold(options, expected):
    loss = CosineSimilarity(axis=1, **options)
    found = to_numpy(loss([[0.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]]))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_the_documented_example_of_sample_weights_holds():
    y_true, y_pred = [[0.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]]
    found = to_numpy(CosineSimilarity(axis=1)(y_true, y_pred, sample_weight=[0.8, 0.2]))
    np.testing.assert_allclose(found, -0.1, rtol=1e-6)


def test_the_documented_example_of_the_cosine_function_holds():
    y_true = [[0.0, 1.0], [1.0, 1.0], [1.0, 1.0]]
    y_pred = [[1.0, 0.0], [1.0, 1.0], [-1.0, -1.0]]
    found = to_numpy(cosine_similarity(y_true, y_pred, axis=-1))
    np.testing.assert_allclose(found, [0.0, -1.0, 1.0], rtol=1e-6, atol=1e-7)


def test_the_documented_example_of_npairs_loss_holds():
    anchors = np.asarray([[1, 2], [3, 4], [5, 6]], np.float16)
    positives = np.asarray([[5, 9], [3, 6], [1, 8]], np.float16)
    similarity = PairwiseInnerProduct(dtype="float16")([anchors, positives])
    expected = [[23, 15, 17], [51, 33, 35], [79, 51, 53]]
    np.testing.assert_array_equal(to_numpy(similarity), expected)
    loss = to_numpy(npairs_loss([0, 1, 2], similarity))
    np.testing.assert_allclose(loss, 14.66760346, rtol=1e-3)


def test_the_documented_examples_of_dot_hold():
    x = np.arange(10, dtype=np.int32).reshape(1, 5, 2)
    y = np.arange(10, 20, dtype=np.int32).reshape(1, 2, 5)
    found = to_numpy(Dot(axes=(1, 2))([x, y]))
    np.testing.assert_array_equal(found, [[[260, 360], [320, 445]]])
    pair = [np.ones((5, 2), np.float32)] * 2
    outputs = [keras.layers.Dense(8)(x) for x in pair]
    assert tuple(Dot(axes=1)(outputs).shape) == (5, 1)
