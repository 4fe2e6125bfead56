"""One set against itself: half its similarities are enough for all of them."""

from functools import partial

import numpy as np
import pytest

import metricops
from tests.conftest import require
from tests.definitions import embeddings_loss, numeric_gradient

N, D, BLOCK = 512, 16, 32
ROWS = np.random.default_rng(0).normal(size=(N, D))
LABELS = np.arange(N) // 2


def multiplications(function):
    """Return how many numbers the matrix products of a function multiply."""
    torch = require("torch")
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counter(TorchDispatchMode):
        total = 0

        def __torch_dispatch__(self, called, types, args=(), kwargs=None):
            if called in (torch.ops.aten.mm.default, torch.ops.aten.addmm_.default):
                left, right = args[-2:]
                self.total += left.numel() * right.shape[1]
            return called(*args, **(kwargs or {}))

    with Counter() as counter:
        function()
    return counter.total


@pytest.mark.parametrize(("reduction", "whole"), [("mean", 3), ("none", 4)])
@pytest.mark.parametrize("exclude_diagonal", [False, True])
def test_it_takes_two_matrix_products(exclude_diagonal, reduction, whole):
    torch = require("torch")
    x = torch.tensor(ROWS, requires_grad=True)

    def step(others):
        loss = metricops.npairs_loss_from_embeddings(
            x,
            labels=LABELS,
            candidate_labels=others,  # labels of candidates make them another set
            exclude_diagonal=exclude_diagonal,
            reduction=reduction,
            block_size=BLOCK,
        )
        loss.sum().backward()

    halves, full = (multiplications(partial(step, y)) for y in (None, LABELS))
    assert full == whole * N * N * D
    assert halves <= 2 * N * N * D * (1 + BLOCK / N)


@pytest.mark.parametrize("n", [10, 11, 12, 13])
def test_panels_may_be_of_any_number(traced_gradient, n):
    # Of two rows each: five to seven, which a ring fills up to an odd number.
    rows, labels = ROWS[:n, :2], np.arange(n) % 4
    options = {"labels": labels.tolist(), "exclude_diagonal": True}

    def definition(moved):
        return embeddings_loss(moved, **options)

    (expected,) = numeric_gradient(definition, rows.tolist())
    (result,) = traced_gradient(
        metricops.npairs_loss_from_embeddings, rows, **options, block_size=2
    )
    np.testing.assert_allclose(result, expected, atol=1e-7)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_no_rows_have_no_gradient(gradient, reduction):
    (result,) = gradient(
        metricops.npairs_loss_from_embeddings,
        np.zeros((0, 3)),
        upstream=1.0 if reduction == "mean" else np.zeros(0),
        labels=np.zeros(0, np.int64),
        reduction=reduction,
    )
    assert result.shape == (0, 3)
