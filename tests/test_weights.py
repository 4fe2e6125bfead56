"""Sample weights in every form, and what each reduction makes of them."""

import math
from typing import Any

import numpy as np
import pytest

import metricops
from tests.conftest import having
from tests.definitions import cosine, reduced

SIMILARITY = [[2.0, 0.0, 1.0], [0.5, 2.0, 1.0], [1.0, 1.5, 3.0]]
PLAIN = [math.log(sum(map(math.exp, row))) - row[i] for i, row in enumerate(SIMILARITY)]
WEIGHTS = [0.5, 2.0, 0.25]
REDUCTIONS = ["mean", "sum", "weighted_mean", "none"]
CUBE: Any = np.random.default_rng(0).standard_normal((2, 3, 3, 4))
GRID = [
    [-cosine(a, b) for a, b in zip(p, q, strict=True)]
    for p, q in zip(*CUBE.tolist(), strict=True)
]


def rows(library, weights, reduction="none"):
    similarity = library.asarray(SIMILARITY)
    result = metricops.npairs_loss(
        similarity, [0, 1, 2], sample_weight=weights, reduction=reduction
    )
    return library.to_numpy(result)


def grid(library, weights, reduction="none"):
    y_true, y_pred = (library.asarray(part, "float32") for part in CUBE)
    result = metricops.cosine_similarity_loss(
        y_true, y_pred, sample_weight=weights, reduction=reduction
    )
    return library.to_numpy(result)


@pytest.mark.parametrize(
    "weight",
    [
        2,
        2.0,
        [2.0],
        [[2.0]],
        np.float32(2),
        np.float64(2),
        np.asarray(2),
        np.ones(1) * 2,
    ],
    ids=repr,
)
def test_one_weight_is_for_every_loss(library, weight):
    expected = [2 * loss for loss in PLAIN]
    np.testing.assert_allclose(rows(library, weight), expected, rtol=1e-6)


@pytest.mark.parametrize("shape", [(), (1,)])
def test_one_weight_may_be_an_array(library, shape):
    weight = library.asarray(np.full(shape, 2.0, np.float32))
    expected = [2 * loss for loss in PLAIN]
    np.testing.assert_allclose(rows(library, weight), expected, rtol=1e-6)


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
@pytest.mark.parametrize("kind", ["list", "numpy", "array"])
def test_each_loss_may_have_its_weight(library, kind, shape):
    weights = np.asarray(WEIGHTS, np.float32).reshape(shape)
    given = {
        "list": weights.tolist(),
        "numpy": weights,
        "array": library.asarray(weights),
    }
    result = rows(library, given[kind])
    assert result.shape == (3,)
    np.testing.assert_allclose(result, reduced(PLAIN, WEIGHTS, "none"), rtol=1e-6)


@having("library", "dtype", ["bool", "uint8", "int32", "float16", "float32"])
def test_weights_may_be_of_any_real_dtype(library, dtype):
    result = rows(library, library.asarray([1, 0, 1], dtype))
    np.testing.assert_allclose(result, reduced(PLAIN, [1, 0, 1], "none"), rtol=1e-6)


@pytest.mark.parametrize("kind", [list, np.asarray])
def test_weights_may_be_longer_integers_than_the_library_has(library, kind):
    weights = [2**40, 3, 2**33]
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    result = metricops.cosine_similarity_loss(
        *map(library.asarray, x), sample_weight=kind(weights), reduction="none"
    )
    losses = [-cosine(*pair) for pair in zip(*x.tolist(), strict=True)]
    expected = reduced(losses, weights, "none")
    np.testing.assert_allclose(library.to_numpy(result), expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_a_weight_per_sample_is_never_applied_along_time(library, shape):
    # Keras 3 multiplies along the last axis when the sizes allow it.
    weights = np.asarray(WEIGHTS, np.float32).reshape(shape)
    expected = np.asarray(GRID) * np.asarray(WEIGHTS)[:, None]
    np.testing.assert_allclose(grid(library, weights), expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(3, 3), (3, 3, 1)])
def test_each_step_may_have_its_weight(library, shape):
    weights = np.arange(9, dtype=np.float32).reshape(shape)
    expected = np.asarray(GRID) * weights.reshape(3, 3)
    np.testing.assert_allclose(grid(library, weights), expected, rtol=1e-5)


def test_a_weight_per_sample_counts_every_step_in_a_weighted_mean(library):
    expected = np.sum(np.asarray(GRID) * np.asarray(WEIGHTS)[:, None]) / (
        3 * sum(WEIGHTS)
    )
    result = grid(library, WEIGHTS, "weighted_mean")
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_a_weight_per_sample_is_not_applied_along_time_when_traced(traced):
    def loss(y_true, y_pred, weights):
        return metricops.cosine_similarity_loss(
            y_true, y_pred, sample_weight=weights, reduction="none"
        )

    result = traced(loss, *CUBE.astype(np.float32), WEIGHTS)
    expected = np.asarray(GRID) * np.asarray(WEIGHTS)[:, None]
    np.testing.assert_allclose(result, expected, rtol=1e-5)


@pytest.mark.parametrize("weights", [2.0, WEIGHTS], ids=["one", "each"])
def test_numbers_and_lists_weight_a_traced_loss(traced, weights):
    result = traced(metricops.npairs_loss, SIMILARITY, [0, 1, 2], sample_weight=weights)
    np.testing.assert_allclose(result, reduced(PLAIN, weights), rtol=1e-6)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weight", [0.0, 3.0, -1.0])
def test_one_weight_scales_all_but_the_weighted_mean(library, weight, reduction):
    expected = reduced(PLAIN, weight, reduction)
    np.testing.assert_allclose(rows(library, weight, reduction), expected, rtol=1e-6)


def test_the_mean_divides_by_the_number_of_losses(library):
    result = rows(library, [0.0, 0.0, 6.0], "mean")
    np.testing.assert_allclose(result, 2 * PLAIN[2], rtol=1e-6)


def test_the_weighted_mean_divides_by_the_sum_of_weights(library):
    result = rows(library, [0.0, 0.0, 6.0], "weighted_mean")
    np.testing.assert_allclose(result, PLAIN[2], rtol=1e-6)


@pytest.mark.parametrize("weights", [[0.0, 0.0, 0.0], [1.0, -2.0, 1.0]])
def test_the_weighted_mean_is_zero_where_the_weights_sum_to_zero(library, weights):
    assert rows(library, weights, "weighted_mean") == 0


def test_the_weighted_mean_without_weights_is_the_mean(library):
    result = rows(library, None, "weighted_mean")
    np.testing.assert_allclose(result, reduced(PLAIN), rtol=1e-6)


def test_negative_weights_turn_a_loss_around(library):
    result = rows(library, [-1.0, 2.0, 0.0], "sum")
    np.testing.assert_allclose(result, 2 * PLAIN[1] - PLAIN[0], rtol=1e-6)


def test_a_nan_weight_is_not_hidden(library):
    result = rows(library, [1.0, math.nan, 1.0])
    np.testing.assert_allclose(result, [PLAIN[0], math.nan, PLAIN[2]], rtol=1e-6)


def test_a_weight_of_zero_does_not_hide_a_nan(library):
    similarity = library.asarray([[math.nan, 0.0], [0.0, 1.0]])
    result = metricops.npairs_loss(similarity, [0, 1], sample_weight=[0.0, 1.0])
    assert math.isnan(library.to_numpy(result))


@having("library", "dtype", ["float16"])
def test_weights_keep_their_precision_beside_halves(library, dtype):
    similarity = library.asarray([[0.0, 1.0], [1.0, 0.0]], dtype)
    weights = library.asarray([1e-6, 1e-6], "float32")  # 1e-6 is denormal in float16
    result = metricops.npairs_loss(
        similarity, [0, 1], sample_weight=weights, reduction="weighted_mean"
    )
    expected = 1 + math.log(1 + 1 / math.e)
    np.testing.assert_allclose(library.to_numpy(result), expected, rtol=1e-3)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_every_loss_reduces_alike(library, reduction):
    similarity = library.asarray(SIMILARITY)
    identity = np.eye(3, dtype=np.int32)
    options = {"sample_weight": WEIGHTS, "reduction": reduction}
    losses = [
        metricops.npairs_loss(similarity, [0, 1, 2], **options),
        metricops.npairs_multilabel_loss(similarity, identity, **options),
        metricops.softmax_cross_entropy(similarity, identity, **options),
        metricops.npairs_loss_from_embeddings(
            similarity, library.asarray(np.eye(3), "float32"), **options
        ),
    ]
    expected = reduced(PLAIN, WEIGHTS, reduction)
    for loss in losses:
        np.testing.assert_allclose(library.to_numpy(loss), expected, rtol=1e-6)
