"""The same weights and batch give the same in every adapter.

Losses and gradients go beyond the modules: through two embeddings with the same kernel.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import require

GENERATOR = np.random.default_rng(0)
X, Y = GENERATOR.standard_normal((2, 6, 4)).astype(np.float32)
KERNEL = GENERATOR.standard_normal((4, 3)).astype(np.float32)
BIAS = GENERATOR.standard_normal(3).astype(np.float32)
LABELS = np.asarray([0, 1, 2, 0, 1, 2])
MULTIHOT = np.asarray([[1, 0], [0, 1], [1, 1], [1, 0], [0, 1], [1, 1]])
SIMILARITIES = {
    "NPairsLoss": "PairwiseInnerProduct",
    "NPairsMultilabelLoss": "PairwiseCosineSimilarity",
}
OPTIONS: dict[str, dict[str, Any]] = {
    "NPairsLoss": {},
    "NPairsMultilabelLoss": {},
    "NPairsEmbeddingLoss": {"temperature": 0.2, "symmetric": True, "l2_weight": 0.1},
    "CosineSimilarityLoss": {},
    "Dot": {"axes": 1},
}
Found = tuple[Any, Any, Any]
"""The loss, and its gradients by the kernel and the bias."""


def loss_of(adapter: Any, name: str, x: Any, y: Any) -> Any:
    """Return the loss called `name` of two embeddings."""
    module = getattr(adapter, name)(**OPTIONS[name])
    if name in SIMILARITIES:
        similarity = getattr(adapter, SIMILARITIES[name])()(x, y)
        return module(similarity, LABELS if name == "NPairsLoss" else MULTIHOT)
    if name == "NPairsEmbeddingLoss":
        return module(x, y, LABELS)
    return module(x, y).mean()


def by_torch(name: str) -> Found:
    torch, adapter = require("torch"), require("metricops.adapters.torch")
    embedding = adapter.MetricEmbedding(4, 3)
    state = {"weight": torch.tensor(KERNEL.T.copy()), "bias": torch.tensor(BIAS)}
    embedding.load_state_dict(state)
    x, y = (embedding(torch.tensor(given)) for given in (X, Y))
    loss = loss_of(adapter, name, x, y)
    loss.backward()
    return loss.detach(), embedding.weight.grad.T, embedding.bias.grad


def by_flax(name: str) -> Found:
    nnx, adapter = require("flax.nnx"), require("metricops.adapters.flax")
    embedding = adapter.MetricEmbedding(4, 3, rngs=nnx.Rngs(0))
    embedding.kernel[...], embedding.bias[...] = KERNEL, BIAS

    def loss(embedding: Any) -> Any:
        return loss_of(adapter, name, embedding(X), embedding(Y))

    found, gradients = nnx.jit(nnx.value_and_grad(loss))(embedding)
    return found, gradients["kernel"][...], gradients["bias"][...]


def by_linen(name: str) -> Found:
    jax: Any = require("jax")
    nn: Any = require("flax.linen")
    adapter = require("metricops.adapters.linen")

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x: Any, y: Any) -> Any:
            embedding = adapter.MetricEmbedding(3, name="embedding")
            return loss_of(adapter, name, embedding(x), embedding(y))

    def loss(kernel: Any, bias: Any) -> Any:
        params = {"embedding": {"kernel": kernel, "bias": bias}}
        return Model().apply({"params": params}, X, Y)

    found, gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(KERNEL, BIAS)
    return found, *gradients


def keras_step(name: str) -> Found:
    """Return what Keras finds, on its JAX backend."""
    jax, adapter = require("jax"), require("metricops.adapters.keras")
    embedding = adapter.MetricEmbedding(3)
    embedding.build((None, 4))

    def loss(weights: Any) -> Any:
        x, y = (embedding.stateless_call(weights, [], given)[0] for given in (X, Y))
        if name == "CosineSimilarityLoss":
            return adapter.CosineSimilarity()(x, y)
        if name == "Dot":
            return adapter.Dot(**OPTIONS[name])([x, y]).mean()
        module = getattr(adapter, name)(**OPTIONS[name])
        if name == "NPairsEmbeddingLoss":
            return module(LABELS, jax.numpy.stack([x, y], axis=1))
        similarity = getattr(adapter, SIMILARITIES[name])()([x, y])
        return module(LABELS if name == "NPairsLoss" else MULTIHOT, similarity)

    found, gradients = jax.jit(jax.value_and_grad(loss))([KERNEL, BIAS])
    return found, *gradients


def definition(name: str) -> float:
    """Return the loss in NumPy's float64."""
    x, y = (np.asarray(given, np.float64) @ KERNEL + BIAS for given in (X, Y))
    x, y = (given / np.linalg.norm(given, axis=1, keepdims=True) for given in (x, y))
    cosines = x @ y.T
    if name in ("CosineSimilarityLoss", "Dot"):
        return float(np.trace(cosines)) / 6 * (-1 if name != "Dot" else 1)
    targets = (
        MULTIHOT @ MULTIHOT.T if "Multilabel" in name else LABELS[:, None] == LABELS
    )
    targets = targets / targets.sum(axis=1, keepdims=True)
    if name != "NPairsEmbeddingLoss":
        return cross_entropy(cosines, targets)
    logits = cosines / 0.2
    both = cross_entropy(logits, targets) + cross_entropy(logits.T, targets.T)
    return both / 2 + 0.1 / 4 * 2


def cross_entropy(logits: Any, targets: Any) -> float:
    rows = np.log(np.exp(logits).sum(axis=1)) - (targets * logits).sum(axis=1)
    return float(rows.mean())


def assert_same(found: Found, expected: Found) -> None:
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", OPTIONS)
def test_pytorch_and_flax_have_the_same_loss_and_gradients(name):
    expected = by_torch(name)
    np.testing.assert_allclose(expected[0], definition(name), rtol=1e-5)
    assert_same(by_flax(name), expected)
    assert_same(by_linen(name), expected)


def test_keras_has_the_same_loss_and_gradients_as_pytorch():
    require("keras")
    code = (
        "import json, tests.test_adapters_agree as t; "
        "steps = {name: t.keras_step(name) for name in t.OPTIONS}; "
        "print(json.dumps({k: [x.tolist() for x in v] for k, v in steps.items()}))"
    )
    root = str(Path(__file__).parents[1])
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        # Keras takes its backend when it is imported.
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": root},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    for name, found in json.loads(run.stdout).items():
        assert_same(found, by_torch(name))
