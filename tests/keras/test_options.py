"""Losses refuse options when they are made, in the words of the function."""

from typing import Any

import pytest
from metricops.adapters import keras as adapter

CASES: list[tuple[str, dict[str, Any], str]] = [
    ("CosineSimilarity", {"axis": "x"}, "`axis` must be an int; got 'x'."),
    ("NPairsEmbeddingLoss", {"temperature": 0}, "`temperature` must be positive"),
    ("NPairsEmbeddingLoss", {"symmetric": 1}, "`symmetric` must be True or False"),
    ("NPairsEmbeddingLoss", {"denominator": "x"}, '`denominator` must be "all", '),
    ("NPairsEmbeddingLoss", {"gather": "yes"}, "`gather` must be True or False"),
    (
        "NPairsEmbeddingLoss",
        {"l2_weight": 0.1, "reduction": None},
        '`l2_weight` must be zero where `reduction` is "none"; got 0.1.',
    ),
    ("SigmoidEmbeddingLoss", {"bias": "x"}, "`bias` must be a number"),
    ("TripletEmbeddingLoss", {"negatives": "x"}, '`negatives` must be "semihard"'),
    ("TripletEmbeddingLoss", {"block_size": 0}, "`block_size` must be at least 1"),
    ("ContrastiveEmbeddingLoss", {"power": 3}, "`power` must be 1 or 2; got 3."),
    ("ContrastiveLoss", {"margin": None}, "`margin` must be a number; got None."),
    ("TripletSemiHardLoss", {"margin": "x"}, "`margin` must be a number; got 'x'."),
    ("TripletHardLoss", {"soft": 1}, "`soft` must be True or False; got 1."),
    ("LiftedStructLoss", {"margin": "x"}, "`margin` must be a number; got 'x'."),
    ("LiftedStructureLoss", {"metric": "x"}, '`metric` must be "euclidean"'),
    ("LiftedStructLoss", {"reduction": "none"}, '`reduction` must be "mean", "sum"'),
    ("TripletLoss", {"margin": "x"}, "`margin` must be a number; got 'x'."),
    ("TripletLoss", {"distance": "l1", "margin": "x"}, "`margin` must be a number"),
    ("PNLoss", {"margin": float("nan")}, "`margin` must be a number; got nan."),
    ("MultiSimilarityLoss", {"alpha": 0}, "`alpha` must be positive and finite"),
    ("MultiSimilarityLoss", {"lmda": "x"}, "`lmda` must be a number; got 'x'."),
    ("MultiSimilarityLoss", {"center": None}, "`center` must be a number; got None."),
    ("CircleLoss", {"gamma": -1}, "`gamma` must be positive and finite; got -1."),
    ("Circle", {"remove_diagonal": 1}, "`remove_diagonal` must be True or False"),
    ("SoftNearestNeighborLoss", {"temperature": 0}, "`temperature` must be positive"),
    ("SimCLRLoss", {"temperature": 0}, "`temperature` must be positive and finite"),
    ("SimSiamLoss", {"margin": "x"}, "`margin` must be a number; got 'x'."),
    ("Barlow", {"lambda_": "x"}, "`lambda_` must be a number; got 'x'."),
    ("Barlow", {"margin": None}, "`margin` must be a number; got None."),
    ("VicReg", {"std_const": 0.0}, "`std_const` must be positive and finite; got 0.0."),
    ("VicReg", {"nu": "x"}, "`nu` must be a number; got 'x'."),
    ("BarlowTwinsLoss", {"off_diagonal_weight": ""}, "`off_diagonal_weight` must be"),
    ("VICRegLoss", {"ddof": -1}, "`ddof` must be at least 0; got -1."),
    ("CoSENTLoss", {"temperature": 0}, "`temperature` must be positive and finite"),
    ("MarginSoftmaxLoss", {"scale": 0}, "`scale` must be positive and finite; got 0."),
    ("MarginSoftmaxLoss", {"num_classes": 0}, "`num_classes` must be at least 1"),
]


@pytest.mark.parametrize(("name", "options", "words"), CASES)
def test_a_loss_refuses_an_option_when_it_is_made(name, options, words):
    if name == "MarginSoftmaxLoss":
        options = {"num_classes": 3, "embedding_size": 2} | options
    with pytest.raises((TypeError, ValueError)) as found:
        getattr(adapter, name)(**options)
    assert str(found.value).startswith(words)
