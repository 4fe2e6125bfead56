"""What of PyTorch is private may be gone: everything still works, if slower."""

from functools import partial

import numpy as np
import pytest

import metricops
from tests.conftest import require
from tests.test_torch_derivatives import JACOBIANS, D, definition, loss, rows

BATCHES = ["_is_batched", "_add_batch_dim", "_remove_batch_dim"]
PRIVATE = ["linear", "_transforms_active", "_interpreters", "_jvp", "_exporting_flag"]


@pytest.fixture(params=PRIVATE)
def without(request, monkeypatch, torch):
    """Have one of PyTorch's private names be gone."""
    from metricops._frameworks.torch import private

    assert getattr(private, request.param) is not None
    monkeypatch.setattr(private, request.param, None)
    return torch


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
@pytest.mark.parametrize("name", JACOBIANS)
def test_derivatives_need_no_private_name(without, name):
    torch = without
    x, y = rows(torch, 6, D), rows(torch, 6, D) + 1
    jacobian = partial(JACOBIANS[name], torch.func)
    found = jacobian(partial(loss, {"block_size": 2}))(x, y)
    expected = jacobian(definition)(x, y)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_large_products_need_no_private_name(without):
    torch = without
    x, y = (rows(torch, 2048, 64).float() for _ in range(2))
    with torch.no_grad():
        found = metricops.pairwise_inner_product(x, y)
    np.testing.assert_allclose(found, (x.double() @ y.double().mT).float(), atol=1e-4)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_compiled_losses_need_no_private_name(without):
    torch = without
    x, y = rows(torch, 6, D).requires_grad_(), rows(torch, 6, D)
    compiled = torch.compile(
        partial(loss, {"block_size": 2}), fullgraph=True, backend="aot_eager"
    )
    (found,) = torch.autograd.grad(compiled(x, y), [x])
    (expected,) = torch.autograd.grad(definition(x, y), [x])
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_exported_losses_need_no_private_name(without):
    torch = without
    x, y = rows(torch, 6, D), rows(torch, 6, D)
    module = torch.nn.Module()
    module.forward = partial(loss, {"block_size": 2})
    program = torch.export.export(module, (x, y)).module()
    np.testing.assert_allclose(program(x, y), definition(x, y), rtol=1e-9)


@pytest.mark.parametrize("without", BATCHES, indirect=True)
def test_batched_gradients_are_refused_where_they_cannot_be_taken_apart(without):
    torch = without
    x, y = rows(torch, 6, D).requires_grad_(), rows(torch, 6, D)
    losses = metricops.npairs_loss_from_embeddings(
        x, y, reduction="none", symmetric=True, block_size=2
    )
    upstreams = torch.eye(6, dtype=x.dtype)
    for row in upstreams:
        (alone,) = torch.autograd.grad(losses, [x], row, retain_graph=True)
        assert bool(alone.isfinite().all())
    with pytest.raises(RuntimeError, match="vmap"):
        torch.autograd.grad(losses, [x], upstreams, is_grads_batched=True)


def test_a_product_that_takes_other_words_is_not_taken(monkeypatch):
    require("torch")
    from metricops._frameworks.torch import private

    assert private._linear() is not None
    monkeypatch.setattr(private, "_LINEAR", "mkldnn::_linear_pointwise(Tensor X)")
    assert private._linear() is None
