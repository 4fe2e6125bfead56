"""The NNX and Linen modules in what a training loop does with modules."""

import doctest
import math
import re
import runpy
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metricops
from tests.conftest import require

jax: Any = require("jax")
jnp: Any = require("jax.numpy")
nnx: Any = require("flax.nnx")
nn: Any = require("flax.linen")
adapters: dict[str, Any] = {
    name: require(f"metricops.adapters.{name}") for name in ("flax", "linen")
}

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "flax_digits.py"
X = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
Y = np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32)
LABELS = np.asarray([0, 1, 2, 0, 1, 2])
MULTIHOT = np.asarray([[1, 0], [0, 1], [1, 1], [1, 0], [0, 1], [1, 1]])
EMBEDDING = {"temperature": 0.1, "learnable_temperature": True, "normalize": True}
CASES: dict[str, tuple[dict[str, Any], tuple[Any, ...]]] = {
    "NPairsLoss": ({}, (X @ Y.T, LABELS)),
    "NPairsMultilabelLoss": ({"reduction": "sum"}, (X @ Y.T, MULTIHOT)),
    "NPairsEmbeddingLoss": (EMBEDDING, (X, Y)),
    "SigmoidEmbeddingLoss": ({"bias": -1.0, "learnable_bias": True}, (X, Y)),
    "TripletEmbeddingLoss": ({"negatives": "hard"}, (X, Y, LABELS)),
    "ContrastiveEmbeddingLoss": ({"power": 1}, (X, Y, LABELS)),
    "MultiSimilarityLoss": ({"alpha": 1.0, "epsilon": None}, (X, Y, LABELS)),
    "CircleLoss": ({"gamma": 8.0}, (X, Y, LABELS)),
    "BarlowTwinsLoss": ({"off_diagonal_weight": 0.1}, (X, Y)),
    "VICRegLoss": ({"variance": 2.0, "ddof": 0}, (X, Y)),
    "CoSENTLoss": ({"temperature": 0.5}, (X[:, 0], Y[:, 0])),
    "SoftNearestNeighborLoss": ({"temperature": 0.5}, (X, Y, LABELS)),
    "LiftedStructureLoss": ({"margin": 2.0}, (X, LABELS)),
    "MarginSoftmaxLoss": (
        {"num_classes": 3, "embedding_size": 4, "scale": 8.0},
        (X, LABELS),
    ),
    "CosineSimilarityLoss": ({"reduction": "none"}, (X, Y)),
    "Dot": ({"axes": 1, "normalize": True}, (X, Y)),
    "PairwiseInnerProduct": ({}, (X, Y)),
    "PairwiseCosineSimilarity": ({}, (X,)),
    "MetricEmbedding": ({}, (X,)),
}
by_class = pytest.mark.parametrize("name", CASES)
by_adapter = pytest.mark.parametrize("kind", adapters)


def build_nnx(name: str) -> tuple[Any, tuple[Any, ...]]:
    """Return an NNX module of a class, and the arrays to call it on."""
    options, arrays = CASES[name]
    if name == "MetricEmbedding":
        options = {"in_features": 4, "out_features": 3}
    if name in ("MetricEmbedding", "MarginSoftmaxLoss"):
        options = {**options, "rngs": nnx.Rngs(0)}
    module = getattr(adapters["flax"], name)(**options)
    return module, tuple(jnp.asarray(x) for x in arrays)


def build_linen(name: str) -> tuple[Any, Any, tuple[Any, ...]]:
    """Return a Linen module of a class, its variables, and the arrays."""
    options, arrays = CASES[name]
    if name == "MetricEmbedding":
        options = {"features": 3}
    module = getattr(adapters["linen"], name)(**options)
    given = tuple(jnp.asarray(x) for x in arrays)
    return module, module.init(jax.random.key(0), *given), given


def close(left: Any, right: Any) -> None:
    """Assert that two arrays are the same to rounding."""
    np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)


@by_adapter
def test_every_class_is_tried_here(kind):
    assert sorted([*CASES, "CrossBatchMemory"]) == sorted(adapters[kind].__all__)


@by_adapter
def test_the_examples_of_the_docstrings_run(kind):
    names = (f"_{kind}_siblings", f"_{kind}_batch")
    for module in (
        adapters[kind],
        *(require(f"metricops.adapters.{x}") for x in names),
    ):
        assert doctest.testmod(module).failed == 0


@by_class
def test_nnx_and_linen_agree_on_the_same_parameters(name):
    module, arrays = build_nnx(name)
    other, variables, _ = build_linen(name)
    graph = nnx.to_pure_dict(nnx.state(module, nnx.Param))
    if graph:
        shapes = jax.tree.map(jnp.shape, variables["params"])
        assert jax.tree.map(jnp.shape, graph) == shapes
    result = jax.jit(other.apply)({"params": graph}, *arrays)
    close(nnx.jit(type(module).__call__)(module, *arrays), result)


@by_class
def test_an_nnx_module_splits_and_merges(name):
    module, arrays = build_nnx(name)
    merged = nnx.merge(*nnx.split(module))
    close(merged(*arrays), module(*arrays))


@by_class
def test_a_linen_module_runs_under_vmap(name):
    module, variables, arrays = build_linen(name)
    twice = tuple(jnp.stack([x, x]) for x in arrays)
    found = jax.vmap(lambda *given: module.apply(variables, *given))(*twice)
    close(found[1], module.apply(variables, *arrays))


@pytest.mark.parametrize("name", ["MetricEmbedding", "NPairsEmbeddingLoss"])
def test_orbax_saves_and_restores_parameters(name, tmp_path):
    checkpoint = require("orbax.checkpoint")
    module, arrays = build_nnx(name)
    before = module(*arrays)
    graph, state = nnx.split(module)
    with checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", state)
        checkpointer.wait_until_finished()
        shapes = jax.tree.map(jnp.zeros_like, state)
        restored = checkpointer.restore(tmp_path / "state", shapes)
    close(nnx.merge(graph, restored)(*arrays), before)


def test_an_embedding_has_the_parameters_of_a_linear_layer():
    x = jnp.asarray(X)
    linear = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
    embedding, _ = build_nnx("MetricEmbedding")
    expected = linear(x)
    expected = expected / jnp.linalg.norm(expected, axis=-1, keepdims=True)
    close(embedding(x), expected)
    variables = nn.Dense(3).init(jax.random.key(0), x)
    _, found, _ = build_linen("MetricEmbedding")
    jax.tree.map(np.testing.assert_array_equal, found, variables)


class Model(nnx.Module):
    """Two embeddings and a loss that learns its temperature."""

    def __init__(self, rngs: Any) -> None:
        self.left = adapters["flax"].MetricEmbedding(4, 3, rngs=rngs)
        self.right = adapters["flax"].MetricEmbedding(4, 3, rngs=rngs)
        self.loss = adapters["flax"].NPairsEmbeddingLoss(
            0.2, learnable_temperature=True
        )

    def __call__(self, x: Any, y: Any) -> Any:
        return self.loss(self.left(x), self.right(y))


def test_an_nnx_loop_with_optax_trains_the_temperature_too():
    optax = require("optax")
    model = Model(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(0.05), wrt=nnx.Param)

    @nnx.jit
    def step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
        loss, gradients = nnx.value_and_grad(lambda model: model(x, y))(model)
        optimizer.update(model, gradients)
        return loss

    x, y = jnp.asarray(X), jnp.asarray(Y)
    losses = [float(step(model, optimizer, x, y)) for _ in range(20)]
    assert losses[-1] < 0.5 * losses[0]
    assert float(model.loss.temperature) != pytest.approx(0.2)


def test_a_linen_loop_with_optax_trains_the_temperature_too():
    optax = require("optax")
    embed = adapters["linen"].MetricEmbedding(3)
    loss = adapters["linen"].NPairsEmbeddingLoss(0.2, learnable_temperature=True)
    x, y = jnp.asarray(X), jnp.asarray(Y)
    params = {
        "embed": embed.init(jax.random.key(0), x),
        "loss": loss.init(jax.random.key(0), x, y),
    }
    optimizer = optax.adam(0.05)

    def loss_of(params: Any) -> Any:
        left, right = (embed.apply(params["embed"], given) for given in (x, y))
        return loss.apply(params["loss"], left, right)

    @jax.jit
    def step(params: Any, state: Any) -> Any:
        found, gradients = jax.value_and_grad(loss_of)(params)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), state, found

    state, losses = optimizer.init(params), []
    for _ in range(20):
        params, state, found = step(params, state)
        losses.append(float(found))
    assert losses[-1] < losses[0]
    scale = params["loss"]["params"]["logit_scale"]
    assert float(scale) != pytest.approx(-math.log(0.2))


def linen_loss(scale: Any, x: Any, y: Any) -> Any:
    """Return the loss by Linen with a log of the inverse temperature."""
    loss = adapters["linen"].NPairsEmbeddingLoss(learnable_temperature=True)
    return loss.apply({"params": {"logit_scale": scale}}, x, y)


def test_a_temperature_that_is_learnt_has_second_derivatives():
    x, y = jnp.asarray(X), jnp.asarray(Y)
    slope = jax.jit(jax.grad(partial(linen_loss, x=x, y=y)))
    _, curvature = jax.jvp(slope, (jnp.asarray(1.0),), (jnp.asarray(1.0),))
    expected = (slope(1.01) - slope(0.99)) / 0.02
    np.testing.assert_allclose(curvature, expected, rtol=1e-2)


def test_the_temperature_is_learnt_as_the_log_of_its_inverse():
    module, (x, y) = build_nnx("NPairsEmbeddingLoss")
    assert isinstance(module.logit_scale, nnx.Param)
    assert float(module.logit_scale[...]) == pytest.approx(-math.log(0.1))
    assert float(module.temperature) == pytest.approx(0.1)
    close(
        module(x, y),
        metricops.npairs_loss_from_embeddings(X, Y, temperature=0.1, normalize=True),
    )


def test_a_scale_above_a_hundred_counts_as_one_and_only_comes_back():
    x = jnp.eye(3)
    differentiate = jax.jit(jax.value_and_grad(linen_loss))
    loss, aligned = differentiate(5.0, 0.01 * x, x)
    close(loss, linen_loss(math.log(100), 0.01 * x, x))
    assert aligned == 0.0  # a higher scale would be better yet
    assert differentiate(5.0, 0.01 * x, -x)[1] > 0.0


def test_a_fixed_temperature_is_no_parameter():
    module = adapters["flax"].NPairsEmbeddingLoss(0.5)
    assert jax.tree.leaves(nnx.state(module, nnx.Param)) == []
    assert module.temperature == 0.5
    linen = adapters["linen"].NPairsEmbeddingLoss(0.5)
    assert linen.init(jax.random.key(0), X, Y) == {}


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_a_temperature_must_be_positive_and_finite(temperature):
    message = "`temperature` must be positive and finite"
    with pytest.raises(ValueError, match=message):
        adapters["flax"].NPairsEmbeddingLoss(temperature, learnable_temperature=True)
    with pytest.raises(ValueError, match=message):
        adapters["linen"].NPairsEmbeddingLoss(temperature).apply({}, X, Y)


@by_adapter
@pytest.mark.parametrize("value", ["0.1", None, [0.1]], ids=repr)
def test_what_is_learnt_starts_from_a_number(kind, value):
    def call(module: Any) -> Any:
        module.init(jax.random.key(0), X, Y) if kind == "linen" else module(X, Y)

    with pytest.raises(TypeError, match=r"^`temperature` must be a number; got "):
        call(adapters[kind].NPairsEmbeddingLoss(value, learnable_temperature=True))
    with pytest.raises(TypeError, match=r"^`bias` must be a number; got "):
        call(adapters[kind].SigmoidEmbeddingLoss(0.1, value, learnable_bias=True))


@by_adapter
def test_labels_and_weights_reach_the_losses(kind):
    def call(name: str, *arrays: Any, **given: Any) -> Any:
        module = getattr(adapters[kind], name)(**options)
        if kind == "flax":
            return module(*arrays, **given)
        return module.apply({}, *arrays, **given)

    x, y = jnp.asarray(X), jnp.asarray(Y)
    labels, others = jnp.asarray(LABELS), jnp.asarray(LABELS[::-1].copy())
    weights = jnp.linspace(0, 1, 6)
    options: dict[str, Any] = {"reduction": "weighted_mean"}
    given: dict[str, Any] = {"column_labels": others, "sample_weight": weights}
    close(
        call("NPairsLoss", x @ y.T, labels, **given),
        metricops.npairs_loss(x @ y.T, labels, **given, **options),
    )
    options |= {"symmetric": True, "exclude_diagonal": True, "block_size": 2}
    given = {"candidate_labels": others, "sample_weight": weights}
    close(
        call("NPairsEmbeddingLoss", x, y, labels, **given),
        metricops.npairs_loss_from_embeddings(x, y, labels, **given, **options),
    )


@pytest.mark.parametrize(
    "name", ["NPairsEmbeddingLoss", "SigmoidEmbeddingLoss", "ContrastiveEmbeddingLoss"]
)
def test_a_ring_over_an_axis_of_vmap_is_differentiated_inside(name):
    rows, labels = jnp.asarray(X).reshape(2, 3, 4), jnp.asarray(LABELS).reshape(2, 3)

    def loss(gather: str) -> Any:
        given = {"exclude_diagonal": True, "axis_name": "i", "gather": gather}
        module = getattr(adapters["flax"], name)(**given)
        return lambda x, y: module(x, labels=y)

    def from_outside(gather: str) -> Any:
        mapped = jax.vmap(loss(gather), axis_name="i")
        return jax.eval_shape(jax.grad(lambda x: mapped(x, labels).mean()), rows)

    inside = jax.vmap(jax.grad(loss("ring")), axis_name="i")
    assert jax.eval_shape(inside, rows, labels) == from_outside("all")
    with pytest.raises(NotImplementedError, match="differentiated inside `vmap` over"):
        from_outside("ring")


@pytest.mark.parametrize("gather", ["all", "ring"])
@pytest.mark.parametrize("name", ["NPairsEmbeddingLoss", "SigmoidEmbeddingLoss"])
def test_linen_makes_parameters_outside_of_the_mapped_axis(name, gather):
    options: dict[str, Any] = {"learnable_temperature": True, "gather": gather}
    module = getattr(adapters["linen"], name)(axis_name="i", **options)
    rows = jnp.asarray(X).reshape(2, 3, 4)
    variables = module.init(jax.random.key(0), *rows)
    assert sorted(variables["params"]) == ["logit_scale"]
    mapped = jax.vmap(partial(module.apply, variables), axis_name="i")
    whole = getattr(adapters["linen"], name)(learnable_temperature=True)
    expected = whole.apply(variables, jnp.asarray(X), jnp.asarray(X))
    close(mapped(rows, rows)[0], expected)
    memory = adapters["linen"].CrossBatchMemory(
        adapters["linen"].ContrastiveEmbeddingLoss(axis_name="i", gather=gather), 6
    )
    assert "memory" in memory.init(jax.random.key(0), rows[0], LABELS[:3])


def test_the_example_trains_saves_loads_and_draws(tmp_path, monkeypatch, capsys):
    for library in ("matplotlib", "optax", "orbax.checkpoint", "sklearn", "tqdm"):
        require(library)
    picture = tmp_path / "digits.png"
    words = [EXAMPLE.name, "--epochs", "1", "--out", str(picture)]
    monkeypatch.setattr(sys, "argv", words)
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    printed = capsys.readouterr().out
    before, after = map(float, re.findall(r"recall +@1 ([\d.]+)", printed))
    assert after > before
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.with_suffix(".orbax").is_dir()
