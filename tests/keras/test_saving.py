"""Configs, files and names: what Keras does with objects beside calling them."""

import json
from functools import partial

import keras
import numpy as np
import pytest
from metricops.adapters.keras import (
    Barlow,
    BarlowTwinsLoss,
    Circle,
    CircleLoss,
    ContrastiveEmbeddingLoss,
    ContrastiveLoss,
    CoSENTLoss,
    CosineDistance,
    CosineSimilarity,
    Dot,
    EuclideanDistance,
    InnerProductSimilarity,
    LiftedStructLoss,
    LiftedStructureLoss,
    ManhattanDistance,
    MarginSoftmaxLoss,
    MetricEmbedding,
    MultiNegativesRankLoss,
    MultiSimilarityLoss,
    NPairsEmbeddingLoss,
    NPairsLoss,
    NpairsLoss,
    NPairsMultilabelLoss,
    NpairsMultilabelLoss,
    PairwiseCosineSimilarity,
    PairwiseInnerProduct,
    PNLoss,
    SigmoidEmbeddingLoss,
    SimCLRLoss,
    SimSiamLoss,
    SNRDistance,
    SoftNearestNeighborLoss,
    SquaredEuclideanDistance,
    TripletEmbeddingLoss,
    TripletHardLoss,
    TripletLoss,
    TripletSemiHardLoss,
    VicReg,
    VICRegLoss,
    cosine_similarity,
    distances,
    metrics,
    npairs_loss,
    npairs_multilabel_loss,
    triplet_hard_loss,
    triplet_semihard_loss,
)

from tests.keras.conftest import random, to_numpy

COMMON = {"name": "mine", "dtype": "mixed_bfloat16"}
EMBEDDING = {
    "temperature": 0.5,
    "normalize": True,
    "symmetric": True,
    "exclude_diagonal": True,
    "l2_weight": 0.1,
    "block_size": 3,
}
DENSE = {
    "units": 3,
    "activation": "relu",
    "use_bias": False,
    "kernel_initializer": "ones",
    "kernel_regularizer": "l2",
    "bias_constraint": "non_neg",
}
# Every argument of every class, none of them the default.
OBJECTS = [
    (CosineSimilarity, {"axis": (1, 2), "reduction": "sum"}),
    (NPairsLoss, {"reduction": None}),
    (NPairsMultilabelLoss, {"reduction": "mean_with_sample_weight"}),
    (NPairsEmbeddingLoss, {"reduction": "sum", "gather": True, **EMBEDDING}),
    (SigmoidEmbeddingLoss, {"temperature": 0.5, "bias": -1.0, "gather": True}),
    (TripletEmbeddingLoss, {"margin": None, "positives": "hard", "metric": "cosine"}),
    (ContrastiveEmbeddingLoss, {"positive_margin": 0.5, "power": 1, "block_size": 3}),
    (ContrastiveLoss, {"margin": 0.5, "reduction": "sum"}),
    (TripletSemiHardLoss, {"margin": 0.5, "distance_metric": "angular"}),
    (TripletHardLoss, {"soft": True, "gather": True}),
    (TripletLoss, {"distance": "euclidean", "positive_mining_strategy": "easy"}),
    (PNLoss, {"negative_mining_strategy": "hard", "gather": True}),
    (MultiSimilarityLoss, {"alpha": 1.0, "beta": 10.0, "epsilon": None, "lmda": 0.3}),
    (CircleLoss, {"gamma": 32.0, "margin": 0.25, "gather": True}),
    (SoftNearestNeighborLoss, {"distance": "cosine", "temperature": 0.5}),
    (MultiNegativesRankLoss, {"scale": 5.0, "gather": True}),
    (SimCLRLoss, {"temperature": 0.5}),
    (SimSiamLoss, {"projection_type": "cosine_distance", "margin": 0.5}),
    (Barlow, {"lambda_": 0.1, "margin": 0.0}),
    (VicReg, {"std_const": 1e-3, "lambda_": 1.0, "mu": 2.0, "nu": 3.0}),
    (Circle, {"gamma": 32.0, "remove_diagonal": False, "gather": True}),
    (BarlowTwinsLoss, {"off_diagonal_weight": 0.1}),
    (VICRegLoss, {"invariance": 1.0, "ddof": 0}),
    (CoSENTLoss, {"temperature": 0.5}),
    (LiftedStructureLoss, {"margin": 0.5, "metric": "squared_euclidean"}),
    (LiftedStructLoss, {"margin": 0.5, "reduction": "sum"}),
    (
        MarginSoftmaxLoss,
        {"num_classes": 3, "embedding_size": 2, "scale": 8.0, "angular_margin": 0.5},
    ),
    (Dot, {"axes": (1, 2), "normalize": True, "trainable": False}),
    (PairwiseInnerProduct, {"trainable": False}),
    (PairwiseCosineSimilarity, {"trainable": False}),
    (MetricEmbedding, {"axis": (1, 2), **DENSE}),
    (metrics.CosineSimilarity, {"axis": (1, 2), "dtype": "float16"}),
]
every_object = pytest.mark.parametrize(
    ("cls", "options"), OBJECTS, ids=[cls.__name__ for cls, _ in OBJECTS]
)


@every_object
def test_a_config_gives_every_argument_back(cls, options):
    config = cls(**{**COMMON, **options}).get_config()
    kept = {key: config[key] for key in options if key not in DENSE and key != "dtype"}
    assert kept == {key: options[key] for key in kept}
    assert config["name"] == "mine"
    again = cls.from_config(config)
    assert again.get_config() == config
    assert again.dtype == cls(**{**COMMON, **options}).dtype


@every_object
def test_an_object_survives_json_under_the_name_of_the_package(cls, options):
    given = cls(**{**COMMON, **options})
    stored = json.loads(json.dumps(keras.saving.serialize_keras_object(given)))
    assert stored["registered_name"].startswith("metricops>")
    again = keras.saving.deserialize_keras_object(stored)
    assert type(again) is cls
    assert again.get_config() == given.get_config()


def of_numpy(x):
    kinds = {bool: np.bool_, int: np.int64, float: np.float32}
    return kinds.get(type(x), lambda given: given)(x)


@pytest.mark.parametrize(
    ("cls", "options"), [(cls, x) for cls, x in OBJECTS if "Loss" in cls.__name__]
)
def test_options_of_numpy_become_numbers_of_json(cls, options):
    config = cls(**options).get_config()
    given = {key: of_numpy(x) for key, x in config.items() if key != "trainable"}
    again = cls.from_config(given).get_config()
    stored = json.loads(json.dumps(again))
    for key, value in config.items():
        is_number = isinstance(value, float)
        assert stored[key] == (pytest.approx(value, rel=1e-6) if is_number else value)


@every_object
def test_the_default_config_has_a_dtype(cls, options):
    words = ("axes", "units", "num_classes", "embedding_size")
    required = {key: options[key] for key in words if key in options}
    assert cls(**required).get_config()["dtype"]


@pytest.mark.parametrize(
    "function", [cosine_similarity, npairs_loss, npairs_multilabel_loss]
)
def test_keras_finds_the_functions_by_their_registered_names(function):
    stored = keras.losses.serialize(function)
    assert keras.losses.deserialize(stored) is function
    assert keras.losses.deserialize(f"metricops>{function.__name__}") is function


@pytest.mark.parametrize("cls", [CosineSimilarity, NPairsLoss, NPairsEmbeddingLoss])
def test_keras_finds_the_losses_by_their_registered_names(cls):
    name = f"metricops>{cls.__name__}"
    assert type(keras.losses.get({"class_name": name, "config": {}})) is cls
    given = cls(reduction="sum", name="mine")
    again = keras.losses.deserialize(keras.losses.serialize(given))
    assert type(again) is cls
    assert again.get_config() == given.get_config()


DISTANCES = [
    CosineDistance,
    EuclideanDistance,
    InnerProductSimilarity,
    ManhattanDistance,
    SNRDistance,
    SquaredEuclideanDistance,
]


@pytest.mark.parametrize("cls", DISTANCES)
def test_keras_finds_the_distances_by_their_registered_names(cls):
    stored = keras.saving.serialize_keras_object(cls())
    assert stored["registered_name"] == f"metricops>{cls.__name__}"
    again = keras.saving.deserialize_keras_object(stored)
    assert type(again) is cls
    assert again.get_config() == cls().get_config()
    x = keras.ops.convert_to_tensor(random(3, 2))
    assert to_numpy(again(x, x)).shape == (3, 3)


# What the originals wrote.


@pytest.mark.parametrize(
    ("cls", "config", "expected"),
    [
        (
            CosineSimilarity,
            {"reduction": "auto", "name": "cosine_similarity", "axis": 1},
            {"reduction": "sum_over_batch_size", "axis": 1},
        ),
        (
            CosineSimilarity,
            {"reduction": "none", "name": "c", "axis": 2, "fn": "cosine_similarity"},
            {"reduction": "none", "axis": 2, "name": "c"},
        ),
        (
            NpairsLoss,
            {"reduction": "none", "name": "npairs_loss"},
            {"reduction": "sum_over_batch_size", "name": "npairs_loss"},
        ),
        (
            NpairsMultilabelLoss,
            {"reduction": "none", "name": "npairs_multilabel_loss"},
            {"reduction": "sum_over_batch_size"},
        ),
        (NpairsLoss, {"name": "a"}, {"reduction": "sum_over_batch_size", "name": "a"}),
        (NpairsLoss, {"reduction": "sum"}, {"reduction": "sum"}),
        (NpairsLoss, {"reduction": "none", "dtype": "float32"}, {"reduction": "none"}),
        (
            Dot,
            {"name": "dot", "trainable": True, "dtype": "float32", "axes": [1, 2]},
            {"axes": (1, 2), "normalize": False},
        ),
        (MetricEmbedding, {"unit": 5}, {"units": 5, "axis": -1}),
        (
            metrics.CosineSimilarity,
            {"name": "cosine_similarity", "dtype": "float32", "axis": 1},
            {"axis": 1},
        ),
        (
            metrics.CosineSimilarity,
            {"name": "c", "dtype": "float32", "fn": "cosine_similarity"},
            {"axis": -1, "name": "c"},
        ),
    ],
)
def test_the_configs_of_the_originals_are_read(cls, config, expected):
    given = dict(config)
    found = cls.from_config(config).get_config()
    assert {key: found[key] for key in expected} == expected
    assert config == given


def test_a_config_under_the_name_in_addons_is_read_with_custom_objects():
    stored = {"class_name": "Addons>NpairsLoss", "config": {"reduction": "none"}}
    known = {"Addons>NpairsLoss": NpairsLoss}
    loss = keras.losses.deserialize(stored, custom_objects=known)
    assert to_numpy(loss([0, 1], [[2.0, 0.0], [0.0, 2.0]])).shape == ()


def test_the_names_in_addons_are_the_same_classes():
    assert NpairsLoss is NPairsLoss
    assert NpairsMultilabelLoss is NPairsMultilabelLoss


# Models.


def pair_model():
    """Return a functional model of two inputs that holds every layer."""
    inputs = [keras.Input((None, 3)), keras.Input((None, 3))]
    embed = MetricEmbedding(4)
    pair = [embed(x) for x in inputs]
    products = PairwiseInnerProduct()(pair)
    cosines = PairwiseCosineSimilarity()(pair)
    total = Dot(axes=(2, 1))([products + cosines, pair[1]])
    return keras.Model(inputs, total)


DATA = [random(2, 4, 3, seed=1), random(2, 4, 3, seed=2)]


@pytest.mark.parametrize("compiled_with", ["object", "function"])
def test_a_compiled_model_survives_its_file(tmp_path, compiled_with):
    model = pair_model()
    losses = {"object": CosineSimilarity(axis=1), "function": cosine_similarity}
    model.compile(
        "sgd",
        loss=losses[compiled_with],
        metrics=[metrics.CosineSimilarity(axis=1)],
    )
    y = random(2, 4, 4)
    model.train_on_batch(DATA, y)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    expected = model.predict(DATA, verbose=0)
    np.testing.assert_allclose(again.predict(DATA, verbose=0), expected, rtol=1e-6)
    model.reset_metrics()  # Keras 3.10 counts the batch trained on too
    found = again.test_on_batch(DATA, y, return_dict=True)
    expected = model.test_on_batch(DATA, y, return_dict=True)
    assert found == pytest.approx(expected, rel=1e-6)


def test_a_clone_of_a_model_computes_the_same():
    model = pair_model()
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(to_numpy(clone(DATA)), to_numpy(model(DATA)))


def test_a_summary_lists_the_layers():
    lines: list[str] = []
    pair_model().summary(print_fn=lines.append, line_length=120)
    for name in ("MetricEmbedding", "PairwiseInnerProduct", "PairwiseCosineSim", "Dot"):
        assert name in "\n".join(lines)


def test_names_are_numbered_as_keras_does():
    assert [PairwiseInnerProduct().name for _ in range(2)] == [
        "pairwise_inner_product",
        "pairwise_inner_product_1",
    ]
    assert MetricEmbedding(2).name == "metric_embedding"
    assert NPairsLoss().name == "npairs_loss"
    assert CosineSimilarity().name == "cosine_similarity"
    assert NPairsEmbeddingLoss(name=None).name.startswith("n_pairs_embedding_loss")


@pytest.mark.parametrize(
    "loss", [npairs_loss, NPairsLoss(), NPairsLoss(reduction="none")]
)
def test_a_loss_can_be_a_node_of_a_functional_model(tmp_path, loss):
    labels, embeddings = keras.Input((), dtype="int32"), keras.Input((3,))
    similarity = PairwiseInnerProduct()(embeddings)
    model = keras.Model([labels, embeddings], loss(labels, similarity))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    given = [np.asarray([0, 1, 0, 2], np.int32), random(4, 3)]
    expected = to_numpy(loss(given[0], PairwiseInnerProduct()(given[1])))
    for each in (model, again):
        np.testing.assert_allclose(to_numpy(each(given)), expected, rtol=1e-6)


@keras.saving.register_keras_serializable(package="tests")
def manhattan(x):
    return distances.ManhattanDistance()(x)


@pytest.mark.parametrize(
    "loss",
    [
        partial(triplet_semihard_loss, distance_metric=manhattan),
        partial(triplet_hard_loss, soft=True, distance_metric=manhattan),
        TripletHardLoss(distance_metric=manhattan),
    ],
)
def test_a_metric_that_is_a_function_is_saved_with_a_node(tmp_path, loss):
    labels, embeddings = keras.Input((), dtype="int32"), keras.Input((3,))
    model = keras.Model([labels, embeddings], loss(labels, embeddings))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    given = [np.asarray([0, 1, 0, 1], np.int32), random(4, 3)]
    expected = to_numpy(loss(*given))
    np.testing.assert_allclose(to_numpy(again(given)), expected, rtol=1e-6)


def test_a_cosine_can_be_a_node_of_a_functional_model():
    inputs = [keras.Input((None, 3)), keras.Input((None, 3))]
    model = keras.Model(inputs, cosine_similarity(*inputs, axis=1))
    assert model.output_shape == (None, 3)
    expected = to_numpy(cosine_similarity(*DATA, axis=1))
    np.testing.assert_allclose(to_numpy(model(DATA)), expected, rtol=1e-6)
