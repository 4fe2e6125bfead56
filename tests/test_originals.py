"""The numbers of the originals: TensorFlow 2.15, Addons 0.23 and Similarity 0.17.

`data/originals.npz` was computed by those; nothing here computes an expected value.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metricops

with np.load(Path(__file__).parent / "data" / "originals.npz") as stored:
    ARRAYS = dict(stored)
CASES = json.loads(bytes(ARRAYS["manifest"]))
REDUCTIONS = {"auto": "mean", "sum_over_batch_size": "mean"}
ACTIVATIONS: dict[str | None, Any] = {
    None: lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
}


def cases(op, **params):
    """Parametrise a test over the cases of `op` that have `params`."""
    chosen = [
        case
        for case in CASES
        if case["op"] == op and params.items() <= case["params"].items()
    ]
    assert chosen
    return pytest.mark.parametrize("case", chosen, ids=[c["case"] for c in chosen])


def inputs(case):
    return {name: ARRAYS[f"{case['case']}/in/{name}"] for name in case["inputs"]}


def assert_output(case, name, result):
    expected = ARRAYS[f"{case['case']}/out/{name}"]
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@cases("npairs_loss")
def test_npairs_loss_is_that_of_tensorflow_addons(run, case):
    given = inputs(case)
    loss = run(metricops.npairs_loss, given["similarity"], given["labels"])
    assert_output(case, "loss", loss)


@cases("npairs_loss")
def test_the_gradient_of_npairs_loss_is_that_of_tensorflow_addons(gradient, case):
    given = inputs(case)
    (grad,) = gradient(
        lambda s: metricops.npairs_loss(s, given["labels"]), given["similarity"]
    )
    assert_output(case, "grad_similarity", grad)


@cases("npairs_multilabel_loss")
def test_npairs_multilabel_loss_is_that_of_tensorflow_addons(run, case):
    given = inputs(case)
    loss = run(metricops.npairs_multilabel_loss, given["similarity"], given["labels"])
    assert_output(case, "loss", loss)


@cases("npairs_multilabel_loss")
def test_the_gradient_of_npairs_multilabel_loss_is_that_of_tensorflow_addons(
    gradient, case
):
    given = inputs(case)
    (grad,) = gradient(
        lambda s: metricops.npairs_multilabel_loss(s, given["labels"]),
        given["similarity"],
    )
    assert_output(case, "grad_similarity", grad)


@cases("CosineSimilarity")
def test_cosine_similarity_loss_is_that_of_keras_2(run, case):
    given, params = inputs(case), case["params"]

    def loss(y_true, y_pred, sample_weight=None):
        return metricops.cosine_similarity_loss(
            y_true,
            y_pred,
            axis=params["axis"],
            sample_weight=sample_weight,
            reduction=REDUCTIONS.get(params["reduction"], params["reduction"]),
        )

    names = ("y_true", "y_pred", "sample_weight")
    assert_output(case, "loss", run(loss, *(given[n] for n in names if n in given)))


@cases("Dot")
def test_dot_is_that_of_keras_2(run, case):
    given = inputs(case)
    assert_output(
        case, "out", run(metricops.dot, given["x"], given["y"], **case["params"])
    )


@cases("distance", name="inner_product")
def test_pairwise_inner_product_is_that_of_tensorflow_similarity(run, case):
    given = inputs(case)
    result = run(metricops.pairwise_inner_product, given["query"], given["key"])
    assert_output(case, "out", result)


@cases("MetricEmbedding")
def test_a_normalised_dense_layer_is_metric_embedding(run, case):
    given = inputs(case)
    dense = given["x"] @ given["kernel"] + given["bias"]
    activated = ACTIVATIONS[case["params"]["activation"]](dense)
    assert_output(case, "out", run(metricops.l2_normalize, activated))


# What the documentation of the originals, and their own tests, promise.


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, -0.5),
        ({"sample_weight": [0.8, 0.2]}, -0.1),
        ({"reduction": "sum"}, -1.0),
        ({"reduction": "none"}, [0.0, -1.0]),
    ],
)
def test_the_documented_examples_of_cosine_similarity_hold(run, options, expected):
    y_true, y_pred = [[0.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]]
    result = run(metricops.cosine_similarity_loss, y_true, y_pred, axis=1, **options)
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-7)


def test_the_documented_example_of_npairs_loss_holds(run):
    anchors, positives = [[1.0, 2], [3, 4], [5, 6]], [[5.0, 9], [3, 6], [1, 8]]
    similarity = run(metricops.pairwise_inner_product, anchors, positives)
    expected = [[23, 15, 17], [51, 33, 35], [79, 51, 53]]
    np.testing.assert_array_equal(similarity, expected)
    loss = run(metricops.npairs_loss, similarity, [0, 1, 2])
    np.testing.assert_allclose(loss, 14.66760346, rtol=1e-6)


FEATURES = [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]


def test_the_value_in_the_tests_of_npairs_loss_holds(run):
    similarity = run(metricops.pairwise_inner_product, FEATURES)
    loss = run(metricops.npairs_loss, similarity, [0, 1, 2, 3])
    np.testing.assert_allclose(loss, 0.2538560220859450, rtol=1e-6)


def test_the_value_in_the_tests_of_npairs_multilabel_loss_holds(run):
    similarity = run(metricops.pairwise_inner_product, FEATURES)
    labels = [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [0, 0, 0, 1]]
    loss = run(metricops.npairs_multilabel_loss, similarity, labels)
    np.testing.assert_allclose(loss, 1.4205226887526, rtol=1e-6)


def test_the_value_in_the_tests_of_kerass_cosine_similarity_holds(run):
    y_true, y_pred = [[1.0, 9, 2], [-5, -2, 6]], [[4.0, 8, 12], [8, 1, 3]]
    loss = run(metricops.cosine_similarity_loss, y_true, y_pred)
    np.testing.assert_allclose(loss, -0.18721907084660513, rtol=1e-6)
