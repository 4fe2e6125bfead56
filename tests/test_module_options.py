"""Modules refuse options when they are made, in the words of the function."""

from typing import Any

import numpy as np
import pytest

import metricops
from tests.conftest import require

ADAPTERS = ("torch", "flax", "linen")
X = np.eye(3)
LABELS = np.asarray([0, 0, 1])
ARRAYS: dict[str, tuple[Any, ...]] = {
    "NPairsLoss": (X, LABELS),
    "NPairsMultilabelLoss": (X, X),
    "LiftedStructureLoss": (X, LABELS),
    "MarginSoftmaxLoss": (X, X, LABELS),
    "CosineSimilarityLoss": (X, X),
    "BarlowTwinsLoss": (X, X),
    "VICRegLoss": (X, X),
    "CoSENTLoss": (LABELS, LABELS),
    "Dot": (X, X),
}
FUNCTIONS: dict[str, Any] = {
    "NPairsLoss": metricops.npairs_loss,
    "NPairsMultilabelLoss": metricops.npairs_multilabel_loss,
    "NPairsEmbeddingLoss": metricops.npairs_loss_from_embeddings,
    "SigmoidEmbeddingLoss": metricops.sigmoid_loss_from_embeddings,
    "TripletEmbeddingLoss": metricops.triplet_loss_from_embeddings,
    "ContrastiveEmbeddingLoss": metricops.contrastive_loss_from_embeddings,
    "MultiSimilarityLoss": metricops.multi_similarity_loss_from_embeddings,
    "CircleLoss": metricops.circle_loss_from_embeddings,
    "SoftNearestNeighborLoss": metricops.soft_nearest_neighbor_loss_from_embeddings,
    "LiftedStructureLoss": metricops.lifted_structure_loss_from_embeddings,
    "MarginSoftmaxLoss": metricops.margin_softmax_loss_from_embeddings,
    "CosineSimilarityLoss": metricops.cosine_similarity_loss,
    "BarlowTwinsLoss": metricops.barlow_twins_loss,
    "VICRegLoss": metricops.vicreg_loss,
    "CoSENTLoss": metricops.cosent_loss,
    "Dot": metricops.dot,
}
BAD: list[tuple[str, dict[str, Any]]] = [
    ("NPairsLoss", {"reduction": "avg"}),
    ("NPairsMultilabelLoss", {"reduction": None}),
    ("NPairsEmbeddingLoss", {"temperature": 0.0}),
    ("NPairsEmbeddingLoss", {"temperature": "0.1"}),
    ("NPairsEmbeddingLoss", {"symmetric": 1}),
    ("NPairsEmbeddingLoss", {"l2_weight": 0.1, "reduction": "none"}),
    ("NPairsEmbeddingLoss", {"denominator": "others"}),
    ("NPairsEmbeddingLoss", {"denominator": "own", "label_smoothing": 0.1}),
    ("SigmoidEmbeddingLoss", {"bias": None}),
    ("SigmoidEmbeddingLoss", {"temperature": float("nan")}),
    ("TripletEmbeddingLoss", {"margin": "1"}),
    ("TripletEmbeddingLoss", {"negatives": "hardest"}),
    ("TripletEmbeddingLoss", {"margin": None, "reduction": "active_mean"}),
    ("TripletEmbeddingLoss", {"metric": "euclid"}),
    ("ContrastiveEmbeddingLoss", {"power": 3}),
    ("ContrastiveEmbeddingLoss", {"positive_margin": float("nan")}),
    ("MultiSimilarityLoss", {"alpha": 0}),
    ("CircleLoss", {"gamma": -1.0}),
    ("CircleLoss", {"exclude_diagonal": "no"}),
    ("SoftNearestNeighborLoss", {"temperature": -1.0}),
    ("SoftNearestNeighborLoss", {"block_size": 0}),
    ("LiftedStructureLoss", {"reduction": "none"}),
    ("MarginSoftmaxLoss", {"angular_margin": 4.0}),
    ("MarginSoftmaxLoss", {"label_smoothing": 2.0}),
    ("CosineSimilarityLoss", {"axis": (0, 0)}),
    ("CosineSimilarityLoss", {"reduction": 1}),
    ("BarlowTwinsLoss", {"off_diagonal_weight": "x"}),
    ("VICRegLoss", {"ddof": 1.5}),
    ("CoSENTLoss", {"temperature": 0.0}),
    ("Dot", {"axes": "x"}),
    ("Dot", {"axes": 1, "normalize": None}),
]


def made(adapter: str, name: str, **options: Any) -> Any:
    """Return a module of a class with these options."""
    if name == "MarginSoftmaxLoss":
        options = {"num_classes": 3, "embedding_size": 3} | options
        if adapter == "flax":
            options["rngs"] = require("flax.nnx").Rngs(0)
    return getattr(require(f"metricops.adapters.{adapter}"), name)(**options)


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize(("name", "options"), BAD)
def test_a_module_refuses_an_option_when_it_is_made(adapter, name, options):
    arrays = ARRAYS.get(name, (X, X, LABELS))
    with pytest.raises((TypeError, ValueError)) as expected:
        FUNCTIONS[name](*arrays, **options)
    with pytest.raises(expected.type) as found:
        made(adapter, name, **options)
    assert str(found.value) == str(expected.value)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_module_refuses_numbers_of_proxies_when_it_is_made(adapter):
    for name, value in (("num_classes", 0), ("embedding_size", "3")):
        with pytest.raises((TypeError, ValueError), match=f"`{name}` must be"):
            made(adapter, "MarginSoftmaxLoss", **{name: value})


@pytest.mark.parametrize("adapter", ["flax", "linen"])
def test_a_module_without_an_axis_refuses_a_ring_when_it_is_made(adapter):
    with pytest.raises(ValueError, match="`axis_name` must be given"):
        made(adapter, "ContrastiveEmbeddingLoss", gather="ring")
    with pytest.raises(ValueError, match="`gather` must be"):
        made(adapter, "NPairsEmbeddingLoss", gather="some", axis_name="devices")


@pytest.mark.parametrize("adapter", ["flax", "linen"])
def test_a_temperature_that_is_traced_is_left_to_the_call(adapter):
    jax: Any = require("jax")

    def loss(temperature: Any) -> Any:
        module = made(adapter, "NPairsEmbeddingLoss", temperature=temperature)
        call = module if adapter == "flax" else lambda *x: module.apply({}, *x)
        x = jax.numpy.asarray(X)
        return call(x, x)

    expected = metricops.npairs_loss_from_embeddings(X, X, temperature=0.5)
    found = float(jax.jit(loss)(0.5))
    assert found == pytest.approx(float(expected))


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("name", ["NPairsEmbeddingLoss", "SigmoidEmbeddingLoss"])
def test_what_is_learnt_starts_from_a_number(adapter, name):
    with pytest.raises(TypeError, match=r"^`temperature` must be a number; got '1'"):
        made(adapter, name, temperature="1", learnable_temperature=True)


def test_a_module_can_be_made_in_a_compiled_function():
    torch: Any = require("torch")
    torch.compiler.reset()
    cls = require("metricops.adapters.torch").TripletEmbeddingLoss
    x, labels = torch.tensor(X), torch.tensor(LABELS)

    def loss(x: Any) -> Any:
        return cls(margin=0.5)(x, labels=labels)

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), loss(x))
