"""What the losses are of labels, weights, masks and extreme values."""

import json
import math
from functools import partial
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from metricops.adapters.keras import (
    Circle,
    ContrastiveEmbeddingLoss,
    CosineSimilarity,
    CrossBatchMemory,
    NPairsEmbeddingLoss,
    NPairsLoss,
    NPairsMultilabelLoss,
    TripletEmbeddingLoss,
    TripletSemiHardLoss,
    cosine_similarity,
    metrics,
    npairs_loss,
)

from tests.conftest import require
from tests.definitions import (
    cosine,
    cross_entropy,
    embeddings_loss,
    equal_labels,
    numeric_gradient,
    reduced,
    shared_labels,
)
from tests.family_definitions import circle_loss
from tests.keras.conftest import BACKEND, gradient, masked, random, to_numpy
from tests.term_definitions import contrastive_loss, triplet_loss

SIMILARITY = random(5, 5)
LABELS = [0, 1, 0, 2, 1]
ROWS = [
    cross_entropy(s, t)
    for s, t in zip(SIMILARITY.tolist(), equal_labels(LABELS, LABELS), strict=True)
]
REDUCTIONS = {
    "auto": "mean",
    "sum_over_batch_size": "mean",
    "mean": "mean",
    "mean_with_sample_weight": "weighted_mean",
    "sum": "sum",
    "none": "none",
    None: "none",
}
# Two anchors, each with one positive: log(1 + exp(-2)).
PAIR = [[2.0, 0.0], [0.0, 2.0]]
APART = math.log1p(math.exp(-2))


def close(found, expected, rtol=1e-5, atol=1e-6):
    np.testing.assert_allclose(to_numpy(found), expected, rtol=rtol, atol=atol)


# Labels.


@pytest.mark.parametrize("shape", [(5,), (5, 1)])
@pytest.mark.parametrize("dtype", ["int32", "uint8", "float32", "bool"])
def test_labels_may_be_a_column_and_of_any_dtype(shape, dtype):
    labels = np.asarray(LABELS).astype(dtype)
    targets = equal_labels(labels.tolist(), labels.tolist())
    rows = [
        cross_entropy(s, t) for s, t in zip(SIMILARITY.tolist(), targets, strict=True)
    ]
    close(NPairsLoss()(labels.reshape(shape), SIMILARITY), reduced(rows))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("labels", [[2048, 2049], [2**24, 2**24 + 1]])
def test_labels_that_a_float_would_merge_stay_apart(labels, dtype):
    tensor = keras.ops.convert_to_tensor(labels, dtype="int32")
    for given in (labels, np.asarray(labels), tensor):
        found = NPairsLoss(dtype=dtype)(given, PAIR)
        close(found, APART, rtol=1e-2)


@pytest.mark.parametrize("labels", [["cat", "dog"], [2**40, 2**40 + 1]])
def test_strings_and_long_integers_on_the_host_are_labels_too(labels):
    close(NPairsLoss()(labels, PAIR), APART)
    close(npairs_loss(np.asarray(labels), PAIR), APART)


@pytest.mark.parametrize("shape", [(1, 5), (4,), (1,), ()])
def test_labels_of_a_wrong_shape_are_refused(shape):
    with pytest.raises(ValueError, match="`y_true`"):
        NPairsLoss()(np.zeros(shape, np.int32), SIMILARITY)


@pytest.mark.parametrize("shape", [(5, 4), (5,), (5, 5, 1)])
def test_a_similarity_of_a_wrong_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"`y_pred`|`y_true`"):
        NPairsLoss()(LABELS, np.zeros(shape, np.float32))


def test_minus_infinity_masks_a_pair():
    similarity = np.asarray([[0.0, -np.inf], [0.0, 0.0]], np.float32)
    close(NPairsLoss()([0, 1], similarity), math.log(2) / 2)
    found = gradient(lambda s: NPairsLoss()([0, 1], s), similarity)
    np.testing.assert_allclose(found, [[0.0, 0.0], [0.25, -0.25]], atol=1e-6)


MULTIHOT = [[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 1], [0, 0, 1]]


@pytest.mark.parametrize("dtype", ["int32", "bool", "float32"])
def test_an_anchor_without_labels_is_not_counted(dtype):
    rows = [
        cross_entropy(s, t)
        for s, t in zip(
            SIMILARITY.tolist(), shared_labels(MULTIHOT, MULTIHOT), strict=True
        )
    ]
    assert rows[2] is None
    labels = np.asarray(MULTIHOT).astype(dtype)
    close(NPairsMultilabelLoss()(labels, SIMILARITY), reduced(rows))
    found = gradient(lambda s: NPairsMultilabelLoss()(labels, s), SIMILARITY)
    assert np.isfinite(found).all()
    assert not found[2].any()


@pytest.mark.skipif(BACKEND != "tensorflow", reason="its sparse tensors are meant")
def test_multilabels_may_be_a_sparse_tensor():
    tf = require("tensorflow")
    dense = np.asarray(MULTIHOT, np.int64)
    expected = to_numpy(NPairsMultilabelLoss()(dense, SIMILARITY))
    close(NPairsMultilabelLoss()(tf.sparse.from_dense(dense), SIMILARITY), expected)


# Reductions and sample weights.


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    "weights", [None, 2.0, [1.0, 0.5, 2.0, 0.0, 3.0], [[1], [0], [2], [1], [3]]]
)
def test_every_reduction_weighs_the_anchors(reduction, weights):
    flat = np.ravel(weights).tolist() if isinstance(weights, list) else weights
    expected = reduced(ROWS, flat, REDUCTIONS[reduction])
    found = NPairsLoss(reduction=reduction)(LABELS, SIMILARITY, weights)
    close(found, expected)
    assert found.shape == np.shape(expected)


@pytest.mark.parametrize("shape", [(4,), (5, 5), (1, 5)])
def test_weights_of_a_wrong_shape_are_refused(shape):
    with pytest.raises(ValueError, match="`sample_weight`"):
        NPairsLoss()(LABELS, SIMILARITY, np.ones(shape, np.float32))


Y_TRUE, Y_PRED = random(4, 4, 3, seed=1), random(4, 4, 3, seed=2)
COSINES = np.asarray(
    [
        [-cosine(x, y) for x, y in zip(xs, ys, strict=True)]
        for xs, ys in zip(Y_TRUE.tolist(), Y_PRED.tolist(), strict=True)
    ]
)
WEIGHTS = np.asarray([1.0, 2.0, 0.0, 3.0], np.float32)


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 1, 1)])
def test_a_weight_per_sample_is_not_taken_for_one_per_step(shape):
    # Keras weighs the steps here, because there are as many as samples.
    expected = WEIGHTS[:, None] * COSINES
    weights = WEIGHTS.reshape(shape)
    found = CosineSimilarity(reduction="none")(Y_TRUE, Y_PRED, weights)
    close(found, expected)
    close(CosineSimilarity()(Y_TRUE, Y_PRED, weights), expected.mean())


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 1)])
def test_a_weight_per_element_weighs_each_loss(shape):
    weights = np.abs(random(4, 4))
    found = CosineSimilarity(reduction="mean_with_sample_weight")(
        Y_TRUE, Y_PRED, weights.reshape(shape)
    )
    close(found, (weights * COSINES).sum() / weights.sum())


@pytest.mark.parametrize("loss", [CosineSimilarity(), NPairsLoss()])
@pytest.mark.parametrize("reduction", ["sum", "mean", "mean_with_sample_weight"])
def test_the_loss_of_an_empty_batch_is_zero(loss, reduction):
    loss.reduction = reduction
    y_true = np.zeros((0, 3) if isinstance(loss, CosineSimilarity) else 0, np.float32)
    y_pred = np.zeros((0, 3) if isinstance(loss, CosineSimilarity) else (0, 0))
    found = to_numpy(loss(y_true, y_pred))
    assert found.shape == ()
    assert found == 0


def test_weights_that_are_all_zero_make_zero():
    loss = NPairsLoss(reduction="mean_with_sample_weight")
    close(loss(LABELS, SIMILARITY, np.zeros(5, np.float32)), 0)


# Masks.


KEPT = np.asarray([True, False, True, True, False])


@pytest.mark.parametrize("weights", [None, [1.0, 0.5, 2.0, 0.0, 3.0]])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_masked_anchors_weigh_nothing_and_the_mean_is_of_the_others(reduction, weights):
    kept = [row if keep else None for row, keep in zip(ROWS, KEPT, strict=True)]
    expected = reduced(kept, weights, REDUCTIONS[reduction])
    loss = NPairsLoss(reduction=reduction)
    close(loss(LABELS, masked(SIMILARITY, KEPT), weights), expected)


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 4)])
def test_a_mask_of_steps_meets_a_weight_per_sample(shape):
    mask = np.tri(4, dtype=bool)
    weights = np.broadcast_to(WEIGHTS[:, None], (4, 4))
    given = weights if shape == (4, 4) else WEIGHTS.reshape(shape)
    found = CosineSimilarity()(Y_TRUE, masked(Y_PRED, mask), given)
    close(found, (mask * weights * COSINES).sum() / mask.sum())


def test_a_mask_of_samples_meets_a_weight_per_step():
    mask = np.asarray([True, False, True, True])
    weights = np.abs(random(4, 4))
    found = CosineSimilarity()(Y_TRUE, masked(Y_PRED, mask), weights)
    close(found, (mask[:, None] * weights * COSINES).sum() / (4 * mask.sum()))


@pytest.mark.parametrize("reduction", ["mean", "sum", "mean_with_sample_weight"])
def test_a_mask_that_keeps_nothing_makes_zero(reduction):
    nothing = masked(SIMILARITY, np.zeros(5, bool))
    close(NPairsLoss(reduction=reduction)(LABELS, nothing), 0)


# The last labels are of one anchor each, so that not every anchor counts.
UNEVEN = [0, 0, 0, 1, 1, 2]
KEPT_OF_UNEVEN = [[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 0], [1, 0, 0, 1, 0, 1]]
UNEVEN_LOSSES: dict[str, tuple[Any, Any]] = {
    "circle": (Circle(gamma=8.0), partial(circle_loss, gamma=8.0)),
    "triplets": (TripletSemiHardLoss(), triplet_loss),
    "both parts": (ContrastiveEmbeddingLoss(), contrastive_loss),
    "a memory": (CrossBatchMemory(TripletEmbeddingLoss(), 6, 9), triplet_loss),
    "both sides": (
        NPairsEmbeddingLoss(exclude_diagonal=True, symmetric=True),
        partial(embeddings_loss, exclude_diagonal=True, symmetric=True),
    ),
}


@pytest.mark.parametrize("name", UNEVEN_LOSSES)
def test_the_mean_is_of_what_counts_of_the_anchors_that_the_mask_keeps(name):
    (loss, definition), x = UNEVEN_LOSSES[name], random(6, 3)
    given: dict[str, Any] = {"labels": UNEVEN, "reduction": "weighted_mean"}
    y_pred, sides = x, [x.tolist()]
    if name == "both sides":
        other = random(6, 3, seed=1)
        y_pred, sides = np.stack([x, other], axis=1), [x.tolist(), other.tolist()]
    for kept in KEPT_OF_UNEVEN:
        expected = definition(*sides, sample_weight=kept, **given)
        found = loss(np.asarray(UNEVEN), masked(y_pred, np.asarray(kept, bool)))
        close(found, expected)


@pytest.mark.parametrize("name", UNEVEN_LOSSES)
def test_a_mask_beside_weights_has_no_mean_where_not_each_anchor_counts_once(name):
    loss, _ = UNEVEN_LOSSES[name]
    shape = (6, 2, 3) if name == "both sides" else (6, 3)
    y_pred = masked(random(*shape), np.ones(6, bool))
    with pytest.raises(ValueError, match="`sample_weight` must be None where `y_pred`"):
        loss(np.asarray(UNEVEN), y_pred, np.ones(6))


@pytest.mark.parametrize("labels", [None, LABELS])
def test_a_mask_beside_weights_has_a_mean_where_each_pair_counts_once(labels):
    weights, pairs = [1.0, 0.5, 2.0, 0.0, 3.0], random(5, 2, 3, seed=3)
    rows = to_numpy(NPairsEmbeddingLoss(reduction="none")(labels, pairs, weights))
    found = NPairsEmbeddingLoss()(labels, masked(pairs, KEPT), weights)
    close(found, rows[KEPT].sum() / 3)


# The cosine loss.


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        (-1, COSINES),
        ((1, 2), None),
        ([1, 2], None),
        (None, None),
    ],
)
def test_vectors_lie_along_one_axis_or_several_or_all(axis, expected):
    if expected is None:
        lead = 4 if axis is not None else 1
        pairs = zip(Y_TRUE.reshape(lead, -1), Y_PRED.reshape(lead, -1), strict=True)
        expected = [-cosine(x, y) for x, y in pairs]
        expected = expected if axis is not None else expected[0]
    close(CosineSimilarity(axis, reduction="none")(Y_TRUE, Y_PRED), expected)
    close(cosine_similarity(Y_TRUE, Y_PRED, axis), expected)


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        ("float32", 1e30),
        ("float32", 1e-10),
        ("float32", 1e-30),
        ("float16", 300.0),
        ("float16", 1e-4),
    ],
)
def test_cosines_do_not_depend_on_lengths(dtype, scale):
    x = np.asarray([[3.0, 4.0], [1.0, 0.0]]) * scale
    found = cosine_similarity(x.astype(dtype), x.astype(dtype))
    close(found, [-1.0, -1.0], rtol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_zero_vector_has_loss_and_gradient_zero(dtype):
    loss = CosineSimilarity(dtype=dtype)
    x, zero = np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)
    assert to_numpy(loss(x, zero)) == 0
    found = gradient(lambda y: keras.ops.cast(loss(x, y), "float32"), zero)
    np.testing.assert_array_equal(found, 0)


def test_no_cosine_exceeds_one():
    x = random(1000, 3)
    assert np.abs(to_numpy(cosine_similarity(x, x))).max() <= 1


def test_integers_meet_floats_without_being_cut():
    # Keras casts the targets to integers here, which makes zeros of them.
    close(
        cosine_similarity([[0.6, 0.9]], np.asarray([[1, 2]])), -cosine([2, 3], [1, 2])
    )
    close(CosineSimilarity()([[6, 9]], [[1, 2]]), -cosine([2, 3], [1, 2]))


@pytest.mark.parametrize("shapes", [((3, 1), (3, 4)), ((4,), (3, 4)), ((1, 2), (3, 2))])
def test_nothing_is_broadcast(shapes):
    y_true, y_pred = (np.ones(shape, np.float32) for shape in shapes)
    with pytest.raises(ValueError, match="must have the shape of `y_true`"):
        cosine_similarity(y_true, y_pred)


def test_targets_may_lack_the_last_axis_of_predictions():
    # As in Keras, where targets of a model with one output have shape (n,).
    close(cosine_similarity([1.0, -2.0, 0.0], [[3.0], [4.0], [5.0]]), [-1.0, 1.0, 0.0])


@pytest.mark.parametrize("cls", [CosineSimilarity, metrics.CosineSimilarity])
@pytest.mark.parametrize("axis", [np.int64(1), [np.int64(1), 2]])
def test_an_axis_of_numpy_is_saved(cls, axis):
    assert "axis" in json.loads(json.dumps(cls(axis=axis).get_config()))


@pytest.mark.parametrize("axis", [2, -3])
def test_an_axis_out_of_range_is_refused(axis):
    with pytest.raises(ValueError, match="`axis` must be an axis of 2 dimensions"):
        CosineSimilarity(axis=axis)(np.ones((2, 2)), np.ones((2, 2)))


# What Keras asks of a loss.


@pytest.mark.parametrize(
    "loss", [CosineSimilarity, NPairsLoss, NPairsMultilabelLoss, NPairsEmbeddingLoss]
)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "mixed_bfloat16"])
def test_a_loss_computes_in_its_dtype(loss, dtype):
    y_pred = np.ones((2, 2, 2) if loss is NPairsEmbeddingLoss else (2, 2), np.float32)
    labels = np.ones((2, 1) if loss is NPairsLoss else (2, 2), np.int32)
    found = loss(dtype=dtype)(labels, y_pred)
    assert keras.backend.standardize_dtype(found.dtype) == dtype.removeprefix("mixed_")


@pytest.mark.parametrize(
    "loss", [CosineSimilarity, NPairsLoss, NPairsMultilabelLoss, NPairsEmbeddingLoss]
)
def test_an_unknown_reduction_is_refused(loss):
    with pytest.raises(ValueError, match="reduction"):
        loss(reduction="median")


def test_call_returns_the_losses_unreduced():
    tensor = keras.ops.convert_to_tensor(SIMILARITY)
    close(NPairsLoss().call(LABELS, tensor), ROWS)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.distribute is TensorFlow's")
@pytest.mark.parametrize("reduction", ["mean", "sum", "mean_with_sample_weight"])
def test_a_replica_scales_its_mean_as_keras_does(monkeypatch, reduction):
    tf = require("tensorflow")
    strategy = SimpleNamespace(num_replicas_in_sync=4)
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: strategy)
    expected = keras.losses.CosineSimilarity(reduction=reduction)(Y_TRUE, Y_PRED)
    found = CosineSimilarity(reduction=reduction)(Y_TRUE, Y_PRED)
    close(found, to_numpy(expected))


# From embeddings.


PAIRS = random(5, 2, 3, seed=3)


OPTIONS = [
    {},
    {"temperature": 0.5, "normalize": True},
    {"symmetric": True, "normalize": True, "reduction": "sum"},
    {"l2_weight": 0.1, "block_size": 2},
    {"reduction": "none"},
]
WITHOUT_DIAGONAL = {
    "exclude_diagonal": True,
    "reduction": "mean_with_sample_weight",
}


@pytest.mark.parametrize(
    ("labels", "options"),
    [
        *((None, options) for options in OPTIONS),
        *((LABELS, options) for options in (*OPTIONS, WITHOUT_DIAGONAL)),
        *((MULTIHOT, options) for options in (*OPTIONS[:2], WITHOUT_DIAGONAL)),
    ],
)
def test_embeddings_have_the_loss_of_the_definition(labels, options):
    weights = [1.0, 0.5, 2.0, 0.0, 3.0]
    meant = {key: value for key, value in options.items() if key != "block_size"}
    meant["reduction"] = REDUCTIONS[options.get("reduction", "auto")]

    def definition(pairs):
        anchors, positives = [list(side) for side in zip(*pairs, strict=True)]
        return embeddings_loss(
            anchors, positives, labels, sample_weight=weights, **meant
        )

    loss = NPairsEmbeddingLoss(**options)
    close(loss(labels, PAIRS, weights), definition(PAIRS.tolist()))
    if meant["reduction"] != "none":
        found = gradient(lambda x: loss(labels, x, weights), PAIRS)
        (expected,) = numeric_gradient(definition, PAIRS)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 3), (5, 2, 3, 1)])
def test_embeddings_of_a_wrong_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"must have shape \(n, 2, d\); got shape"):
        NPairsEmbeddingLoss()(LABELS, np.zeros(shape, np.float32))


@pytest.mark.skipif(BACKEND != "tensorflow", reason="only its graphs have such widths")
@pytest.mark.parametrize("loss", [NPairsLoss, NPairsEmbeddingLoss])
def test_a_column_of_labels_of_unknown_width_is_no_multihot(loss):
    tf = require("tensorflow")
    y_pred = SIMILARITY if loss is NPairsLoss else random(5, 2, 3)
    specs = [
        tf.TensorSpec([None, None], tf.int64),
        tf.TensorSpec([None, *y_pred.shape[1:]], tf.float32),
    ]
    traced = tf.function(loss(), input_signature=specs)
    column = np.asarray(LABELS)[:, None]
    result = traced(column, y_pred.astype("float32"))
    close(result, float(loss()(np.asarray(LABELS), y_pred.astype("float32"))))
