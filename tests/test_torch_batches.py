"""Batched gradients of PyTorch are those of each row alone, at every size.

`is_grads_batched` of `torch.autograd.grad` asks for them, and with it the vectorized
Jacobians of `torch.autograd.functional`. These are not `torch.func.vmap`.
"""

from functools import partial
from typing import Any

import pytest

import metricops
from tests.test_torch_derivatives import definition, rows

TWO_SETS: dict[str, Any] = {
    "npairs": partial(metricops.npairs_loss_from_embeddings, reduction="none"),
    "npairs symmetric": partial(
        metricops.npairs_loss_from_embeddings,
        reduction="none",
        symmetric=True,
        normalize=True,
    ),
    "sigmoid": partial(metricops.sigmoid_loss_from_embeddings, reduction="none"),
    "cosine": metricops.pairwise_cosine_similarity,
    "euclidean": metricops.pairwise_euclidean_distance,
    "squared": metricops.pairwise_squared_euclidean_distance,
    "manhattan": metricops.pairwise_manhattan_distance,
    "snr": metricops.pairwise_snr_distance,
}
LABELS: dict[str, Any] = {
    "npairs labels": metricops.npairs_loss_from_embeddings,
    "triplets": metricops.triplet_loss_from_embeddings,
    "hard triplets": partial(
        metricops.triplet_loss_from_embeddings, positives="hard", negatives="hard"
    ),
    "contrastive": metricops.contrastive_loss_from_embeddings,
    "circle": metricops.circle_loss_from_embeddings,
    "multi-similarity": metricops.multi_similarity_loss_from_embeddings,
    "soft nearest neighbour": metricops.soft_nearest_neighbor_loss_from_embeddings,
}


def assert_batched_as_alone(torch, value, inputs):
    upstreams = rows(torch, 2, *value.shape).to(value.dtype)
    grad = partial(torch.autograd.grad, value, inputs, retain_graph=True)
    alone = [grad(row) for row in upstreams]
    found = grad(upstreams, is_grads_batched=True)
    for part, *expected in zip(found, *alone, strict=True):
        torch.testing.assert_close(part, torch.stack(expected), rtol=0.0, atol=0.0)
        assert part.abs().max() > 0


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("n", [16, 300, 1100])
@pytest.mark.parametrize("name", TWO_SETS)
def test_batched_gradients_of_two_sets(torch, name, n, bits):
    x, y = rows(torch, n, 5), rows(torch, n, 5) + 1
    x, y = (z.to(getattr(torch, f"float{bits}")).requires_grad_() for z in (x, y))
    assert_batched_as_alone(torch, TWO_SETS[name](x, y), [x, y])


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("n", [16, 300, 1100])
@pytest.mark.parametrize("name", LABELS)
def test_batched_gradients_of_labels(torch, name, n, bits):
    x = rows(torch, n, 5).to(getattr(torch, f"float{bits}")).requires_grad_()
    losses = LABELS[name](x, labels=torch.arange(n) // 4, reduction="none")
    assert_batched_as_alone(torch, losses, [x])


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
@pytest.mark.parametrize("strategy", ["reverse-mode", "forward-mode"])
def test_a_vectorized_hessian_is_that_of_the_definition(torch, strategy):
    x, y = rows(torch, 6, 2), rows(torch, 6, 2) + 1
    loss = partial(metricops.npairs_loss_from_embeddings, temperature=0.5, block_size=2)
    hessian = partial(
        torch.autograd.functional.hessian,
        vectorize=True,
        outer_jacobian_strategy=strategy,
    )
    found = hessian(lambda x: loss(x, y), x)
    expected = torch.autograd.functional.hessian(lambda x: definition(x, y), x)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
