"""Edges of the losses of pairs and triplets: what is left out, equal, or extreme."""

from typing import Any

import numpy as np
import pytest

import metricops
from tests.conftest import having
from tests.term_definitions import triplet_loss

triplets: Any = metricops.triplet_loss_from_embeddings
contrastive: Any = metricops.contrastive_loss_from_embeddings
sigmoid: Any = metricops.sigmoid_loss_from_embeddings
MINING = [
    {"positives": positives, "negatives": negatives, "margin": margin}
    for positives, negatives in (("all", "semihard"), ("all", "all"), ("hard", "hard"))
    for margin in (1.0, None)
]
LABELS = [0, 0, 1, 1]
X = np.round(np.random.default_rng(0).standard_normal((4, 3)), 2).astype(np.float32)


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3]], ids=["one", "many"])
def test_without_a_negative_or_a_positive_there_is_no_triplet(gradient, labels):
    for options in MINING:
        (found,) = gradient(triplets, X, labels=labels, **options)
        np.testing.assert_array_equal(found, 0 * X)
        assert triplets(X, labels=labels, **options) == 0


@pytest.mark.parametrize("loss", [triplets, contrastive, sigmoid])
def test_the_loss_of_nothing_is_zero(run, loss):
    nothing = np.zeros((0, 3), np.float32)
    assert run(loss, nothing, labels=np.zeros((0,), np.int32)) == 0
    rows = run(loss, nothing, X, [], candidate_labels=[0, 1, 2, 3], reduction="none")
    assert rows.shape == (0,)


@pytest.mark.parametrize("metric", ["euclidean", "squared_euclidean", "cosine"])
def test_equal_and_zero_rows_have_finite_gradients(gradient, metric):
    x = np.asarray([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0], [0.0, 0.0]], np.float32)
    for labels in ([0, 0, 1, 1], [0, 1, 0, 1]):
        for options in MINING[:3]:
            (found,) = gradient(triplets, x, labels=labels, metric=metric, **options)
            assert np.isfinite(found).all()
            if metric == "cosine":
                np.testing.assert_array_equal(found[2:], 0)
    (found,) = gradient(contrastive, x, labels=[0, 0, 1, 1], metric=metric)
    assert np.isfinite(found).all()


def test_negatives_that_are_equally_far_share_the_gradient(gradient):
    anchors = np.asarray([[0.0, 0.0]])
    candidates = np.asarray([[1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    options = {"labels": [0], "candidate_labels": [0, 1, 1], "margin": 2.0}
    of_anchors, found = gradient(triplets, anchors, candidates, **options)
    np.testing.assert_allclose(found, [[1.0, 0.0], [0.0, -0.5], [0.0, 0.5]], atol=1e-6)
    np.testing.assert_allclose(of_anchors, [[-1.0, 0.0]], atol=1e-6)


@pytest.mark.parametrize("mining", MINING[::2], ids=repr)
def test_a_negative_that_is_infinitely_far_costs_nothing(gradient, mining):
    x = np.asarray([[0.0], [0.5], [0.25], [1e20]], np.float32)
    given = {"metric": "squared_euclidean", "candidate_labels": [0, 0, 1, 1], **mining}
    options = {"labels": [0], "reduction": "sum", "margin": 1.0, **given}
    library = gradient.library
    value = triplets(library.asarray(x[:1]), library.asarray(x), **options)
    near = np.minimum(x, np.float32(1e9))
    expected = triplets(near[:1], near, **options)
    np.testing.assert_allclose(library.to_numpy(value), expected, rtol=1e-6)
    for found in gradient(triplets, x[:1], x, **options):
        assert np.isfinite(found).all()


def test_far_triplets_do_not_overflow_a_softplus(gradient):
    x = np.asarray([[0.0], [500.0], [1.0]], np.float32)
    (found,) = gradient(triplets, x, labels=[0, 0, 1], margin=None, negatives="hard")
    value = triplets(x, labels=[0, 0, 1], margin=None, negatives="hard")
    # Two triplets: of 500 against 1, and of 500 against 499.
    np.testing.assert_allclose(value, (499 + np.log1p(np.e)) / 2, rtol=1e-6)
    assert np.isfinite(found).all()
    distances = np.asarray([1000.0, 0.0], np.float32)
    costs = metricops.triplet_loss(
        distances, distances[::-1].copy(), margin=None, reduction="none"
    )
    np.testing.assert_array_equal(costs, [1000.0, 0.0])


def test_the_smallest_embeddings_have_finite_gradients(gradient):
    for options in MINING:
        (found,) = gradient(triplets, X * np.float32(1e-39), labels=LABELS, **options)
        assert np.isfinite(found).all()


def test_a_given_triplet_that_just_keeps_its_margin_has_no_gradient(gradient):
    near = np.asarray([1.0, 2.0, 3.0, np.nan])
    far = np.asarray([2.0, 2.0, 9.0, 1.0])
    found = gradient(metricops.triplet_loss, near, far, reduction="sum")
    for got, slopes in zip(found, ([0, 1, 0], [0, -1, 0]), strict=True):
        np.testing.assert_array_equal(got[:3], slopes)
    losses = metricops.triplet_loss(near, far, reduction="none")
    np.testing.assert_array_equal(losses, [0, 1, 0, np.nan])


@having("run", "dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(run, dtype):
    x = run.library.asarray(X, dtype)
    for loss, options in ((triplets, {}), (contrastive, {}), (sigmoid, {"bias": -1.0})):
        found = run(loss, x, labels=[0, 1, 0, 1], **options)
        wide = run.library.cast(x, "float32")
        expected = run(loss, wide, labels=[0, 1, 0, 1], **options)
        np.testing.assert_allclose(found, expected, rtol=1e-2)


def test_a_nan_comes_out_but_for_an_anchor_that_is_left_out(run):
    anchors = X.copy()
    anchors[3] = np.nan
    options = {"labels": [0, 1, 0, 9], "candidate_labels": [0, 1, 0, 1]}
    for mining in MINING:
        found = run(triplets, anchors, X, **options, **mining, reduction="none")
        assert np.isfinite(found).all()
        assert np.isnan(run(triplets, X, anchors, **options, **mining))


@pytest.mark.parametrize("mined", [("hard", "hard"), ("easy", "semihard")])
def test_an_anchor_counts_whose_positives_are_all_nan(run, mined):
    mined = dict(zip(("positives", "negatives"), mined, strict=True))
    own = X.copy()
    own[:2] = np.nan
    found = run(triplets, own, labels=LABELS, **mined, reduction="none")
    assert np.isnan(found).all()
    assert np.isnan(run(triplets, X * np.nan, labels=LABELS, swap=True, **mined))


def test_near_neighbours_far_from_the_origin_keep_their_distances(run):
    x = np.random.default_rng(1).standard_normal((300, 8)).astype(np.float32) / 8
    labels = np.arange(300) % 100
    far = (x + np.float32(1000)).astype(np.float32)
    exact = far.astype(np.float64)
    found = run(triplets, far, labels=labels, block_size=64)
    expected = triplets(exact, labels=labels)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("bias", "error"), [(None, TypeError), (float("nan"), ValueError)]
)
def test_a_sigmoid_has_a_bias(bias, error):
    with pytest.raises(error, match=f"`bias` must be a number.*; got {bias}"):
        metricops.sigmoid_loss_from_embeddings(X, X, bias=bias)


def test_margins_and_words_are_checked():
    with pytest.raises(ValueError, match="`margin` must be a number; got nan"):
        triplets(X, labels=[0, 1, 0, 1], margin=float("nan"))
    with pytest.raises(ValueError, match="`margin` must be a number where `reduction`"):
        triplets(X, labels=[0, 1, 0, 1], margin=None, reduction="active_mean")
    with pytest.raises(ValueError, match='`negatives` must be "semihard", "hard"'):
        triplets(X, labels=[0, 1, 0, 1], negatives="semi-hard")
    with pytest.raises(ValueError, match='`metric` must be "euclidean", "squared_eu'):
        contrastive(X, labels=[0, 1, 0, 1], metric="manhattan")
    with pytest.raises(ValueError, match="`labels` must be given where `candidates`"):
        contrastive(X)
    with pytest.raises(ValueError, match="`same` must have the shape of `distances`"):
        metricops.contrastive_loss(X, [0, 1, 0, 1])


def test_masks_of_several_labels_make_positives_of_any_shared_one():
    hot = [[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1]]
    found = triplets(X, labels=hot)
    expected = triplet_loss(X.tolist(), labels=hot)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
