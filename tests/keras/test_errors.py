"""Errors of losses speak of `y_true` and `y_pred`, as Keras calls what it passes."""

from typing import Any

import keras
import numpy as np
import pytest
from metricops.adapters import keras as adapter

X = np.eye(3, dtype="float32")
PAIRS = np.ones((3, 2, 4), "float32")
CASES: list[tuple[str, Any, Any, str]] = [
    ("NPairsLoss", [0, 1], X, "`y_true` must have a label for each of 3 rows"),
    ("NPairsLoss", [0, 1, 2], X[0], "`y_pred` must have shape (n, m)"),
    ("NPairsMultilabelLoss", [0, 1, 2], X, "`y_true` must have shape (n, c)"),
    (
        "NPairsEmbeddingLoss",
        [0, 1],
        np.ones((3, 2, 4)),
        "`y_true` must have a label for each of 3",
    ),
    (
        "SigmoidEmbeddingLoss",
        [0, 1],
        np.ones((3, 2, 4)),
        "`y_true` must have a label for each of 3",
    ),
    ("TripletEmbeddingLoss", [0, 1], X, "`y_true` must have a label for each of 3"),
    ("TripletEmbeddingLoss", [0, 1, 2], X[0], "`y_pred` must have shape (n, d)"),
    ("TripletEmbeddingLoss", None, X, "`y_true` must be given"),
    ("ContrastiveEmbeddingLoss", [[0], [0, 1]], X, "`y_true` must be a rectangular"),
    ("ContrastiveLoss", [0, 1], [0.5] * 3, "`y_true` must have the shape of `y_pred`"),
    ("TripletSemiHardLoss", [0, 1], X, "`y_true` must have a label for each of 3"),
    ("TripletHardLoss", [0, 1, 2], X[0], "`y_pred` must have shape (n, d)"),
    ("TripletLoss", [0, 1j, 2], X, "`y_true` must be"),
    ("MultiSimilarityLoss", [0, 1], X, "`y_true` must have a label for each of 3"),
    ("Circle", [0, 1, 2], X[None], "`y_pred` must have shape (n, d)"),
    ("SoftNearestNeighborLoss", [0, 1], X, "`y_true` must have a label for each of 3"),
    ("MultiNegativesRankLoss", X, X[:, :2], "`y_pred` must have shape (m, 3), to fit"),
    ("MultiNegativesRankLoss", X, X[:2], "`y_pred` must have a row for each of 3 "),
    ("Barlow", X, X[:2], "`y_pred` must have the shape of `y_true`, (3, 3)"),
    ("VicReg", X[0], X[0], "`y_true` must have shape (n, d)"),
    ("CoSENTLoss", [0, 1], [0.5] * 3, "`y_true` must have a score for each of 3"),
    ("CoSENTLoss", [0, 1], X, "`y_pred` must have shape (n,)"),
    ("LiftedStructLoss", [0, 1], X, "`y_true` must have a label for each of 3"),
    ("LiftedStructureLoss", [0, 1, 2], X[0], "`y_pred` must have shape (n, d)"),
]


@pytest.mark.parametrize(("name", "y_true", "y_pred", "words"), CASES)
def test_an_error_names_what_keras_passes(name, y_true, y_pred, words):
    loss = getattr(adapter, name)()
    with pytest.raises((TypeError, ValueError)) as found:
        loss(y_true, y_pred)
    assert str(found.value).startswith(words)


FUNCTIONS: list[tuple[str, Any, Any, str]] = [
    ("npairs_loss", [0, 1], X, "`y_true` must have a label for each of 3 rows"),
    ("npairs_loss", [0, 1, 2], X[0], "`y_pred` must have shape (n, m)"),
    ("npairs_multilabel_loss", [0, 1, 2], X, "`y_true` must have shape (n, c)"),
    ("cosine_similarity", X, X[:2], "`y_pred` must have the shape of `y_true`"),
    ("contrastive_loss", [0, 1], [0.5] * 3, "`y_true` must have the shape of `y_pred`"),
    ("triplet_semihard_loss", [0, 1], X, "`y_true` must have a label for each of 3"),
    ("triplet_hard_loss", [0, 1, 2], X[0], "`y_pred` must have shape (n, d)"),
    ("lifted_struct_loss", [0, 1], X, "`labels` must have a label for each of 3"),
]


@pytest.mark.parametrize(("name", "first", "second", "words"), FUNCTIONS)
def test_an_error_of_a_function_names_its_arguments(name, first, second, words):
    with pytest.raises(ValueError) as found:
        getattr(adapter, name)(first, second)
    assert str(found.value).startswith(words)


def test_an_error_of_the_callers_own_stays_as_it_is():
    def distances(embeddings: Any) -> Any:
        raise ValueError("`anchors` and `labels` are mine")

    loss = adapter.TripletSemiHardLoss(distance_metric=distances)
    with pytest.raises(ValueError, match=r"^`anchors` and `labels` are mine$"):
        loss([0, 1], X[:2])


def test_an_error_in_fit_names_what_keras_passes():
    model = keras.Sequential([keras.Input((3, 2)), keras.layers.Dense(2)])
    model.compile(loss=adapter.TripletEmbeddingLoss())
    with pytest.raises(ValueError, match=r"`y_pred` must have shape \(n, d\)"):
        model.fit(np.ones((4, 3, 2)), np.arange(4), verbose=0)
