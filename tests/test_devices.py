"""Devices: the result is where the input is, and needs no dtype that is not there."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import metricops
from tests.conftest import Library

X = [[2.0, 1.0, 0.0], [0.0, 2.0, 1.0], [1.0, 0.0, 2.0]]
Y = [[1.0, 1.0, 0.5], [0.0, 1.0, 2.0], [3.0, 0.0, 1.0]]
NAMES = ["a", "b", "a"]
LARGE = [2**40, 2**40 + 2**32, 2**40]
WEIGHTS = np.asarray([1.0, 2.0, 0.5])

embeddings = metricops.npairs_loss_from_embeddings
# Each function as calls of two sets of rows, with companions of every form.
CALLS: dict[str, Any] = {
    "l2_normalize": lambda x, y: metricops.l2_normalize(x),
    "cosine_similarity": metricops.cosine_similarity,
    "dot": lambda x, y: metricops.dot(x, y, axes=1),
    "dot, normalised": lambda x, y: metricops.dot(x, y, axes=1, normalize=True),
    "pairwise_inner_product": metricops.pairwise_inner_product,
    "pairwise_cosine_similarity": metricops.pairwise_cosine_similarity,
    "pairwise_cosine_distance": metricops.pairwise_cosine_distance,
    "pairwise_euclidean_distance": metricops.pairwise_euclidean_distance,
    "pairwise_squared_euclidean_distance": (
        metricops.pairwise_squared_euclidean_distance
    ),
    "pairwise_manhattan_distance": metricops.pairwise_manhattan_distance,
    "pairwise_snr_distance": metricops.pairwise_snr_distance,
    "cosine_similarity_loss": lambda x, y: metricops.cosine_similarity_loss(
        x, y, sample_weight=WEIGHTS
    ),
    "softmax_cross_entropy": lambda x, y: metricops.softmax_cross_entropy(
        x, np.eye(3), sample_weight=[1, 2, 3]
    ),
    "softmax_cross_entropy, lists": lambda x, y: metricops.softmax_cross_entropy(
        x, [[1, 0, 0], [0, 1, 0], [0, 0, 1]], sample_weight=2.0
    ),
    "npairs_loss": lambda x, y: metricops.npairs_loss(x, [0, 1, 0]),
    "npairs_loss, int64": lambda x, y: metricops.npairs_loss(
        x, np.asarray(LARGE), sample_weight=WEIGHTS, reduction="weighted_mean"
    ),
    "npairs_loss, floats": lambda x, y: metricops.npairs_loss(
        x, np.asarray([0.1, 0.2, 0.1]), column_labels=[0.2, 0.1, 0.5]
    ),
    "npairs_loss, strings": lambda x, y: metricops.npairs_loss(
        x, NAMES, column_labels=["b", "a", "a"]
    ),
    "npairs_multilabel_loss": lambda x, y: metricops.npairs_multilabel_loss(
        x, np.eye(3)
    ),
    "npairs_multilabel_loss, int64": lambda x, y: metricops.npairs_multilabel_loss(
        x, np.eye(3, dtype=np.int64) * 3
    ),
    "npairs_loss_from_embeddings": embeddings,
    "npairs_loss_from_embeddings, panels": lambda x, y: embeddings(
        x, y, LARGE, temperature=np.asarray(2.0), sample_weight=WEIGHTS, block_size=2
    ),
    "npairs_loss_from_embeddings, symmetric": lambda x, y: embeddings(
        x, y, temperature=np.float64(0.5), normalize=True, symmetric=True, l2_weight=0.1
    ),
    "npairs_loss_from_embeddings, one set": lambda x, y: embeddings(
        x, None, NAMES, exclude_diagonal=True, block_size=1
    ),
    "npairs_loss_from_embeddings, multi-hot": lambda x, y: embeddings(
        x, y, [[1, 0], [0, 1], [1, 1]], candidate_labels=np.ones((3, 2))
    ),
    "npairs_loss_and_grad": lambda x, y: metricops.npairs_loss_and_grad(x, y)[1][0],
    "npairs_loss_and_grad, array": lambda x, y: metricops.npairs_loss_and_grad(
        x, y, range(3), temperature=np.asarray(2), sample_weight=[1, 0, 1]
    )[1][2],
    "sigmoid_loss_from_embeddings": lambda x, y: metricops.sigmoid_loss_from_embeddings(
        x, y, bias=np.asarray(-1.0), ids=NAMES
    ),
    "barlow_twins_loss": lambda x, y: metricops.barlow_twins_loss(x, y),
    "vicreg_loss": lambda x, y: metricops.vicreg_loss(x, y),
    "cosent_loss": lambda x, y: metricops.cosent_loss(x[0, :], [0, 1, 2]),
    "contrastive_loss": lambda x, y: metricops.contrastive_loss(x, np.eye(3)),
    "contrastive_loss_from_embeddings": lambda x, y: (
        metricops.contrastive_loss_from_embeddings(x, y, LARGE, metric="cosine")
    ),
    "multi_similarity_loss_from_embeddings": lambda x, y: (
        metricops.multi_similarity_loss_from_embeddings(x, y, LARGE, block_size=2)
    ),
    "circle_loss_from_embeddings": lambda x, y: metricops.circle_loss_from_embeddings(
        x, None, [0, 1, 0]
    ),
    "soft_nearest_neighbor_loss_from_embeddings": lambda x, y: (
        metricops.soft_nearest_neighbor_loss_from_embeddings(x, y, temperature=2.0)
    ),
    "soft_nearest_neighbor_loss_from_embeddings, unit": lambda x, y: (
        metricops.soft_nearest_neighbor_loss_from_embeddings(
            x, y, LARGE, temperature=np.asarray(2.0), normalize=True
        )
    ),
    "margin_softmax_loss_from_embeddings": lambda x, y: (
        metricops.margin_softmax_loss_from_embeddings(
            x, y, [0, 2, -1], angular_margin=0.5, label_smoothing=0.1
        )
    ),
    "lifted_structure_loss_from_embeddings": lambda x, y: (
        metricops.lifted_structure_loss_from_embeddings(x, [0, 1, 0], metric="cosine")
    ),
    "triplet_loss": lambda x, y: metricops.triplet_loss(x, y, margin=None),
    "triplet_loss_from_embeddings": lambda x, y: metricops.triplet_loss_from_embeddings(
        x, y, [0, 1, 0], swap=True
    ),
    "value_and_grad": lambda x, y: metricops.value_and_grad(embeddings)(x, y)[0],
    "nearest_neighbors": lambda x, y: metricops.nearest_neighbors(x, y, k=2)[0],
    "nearest_neighbors, euclidean": lambda x, y: metricops.nearest_neighbors(
        x, k=2, metric="euclidean", block_size=2
    )[1],
    "recall_at_k": lambda x, y: metricops.recall_at_k(x, LARGE, k=2)[2],
    "recall_at_k, keys": lambda x, y: metricops.recall_at_k(
        x, NAMES, y, np.asarray(["b", "b", "a"]), k=2
    )[2],
    "precision_at_k": lambda x, y: metricops.precision_at_k(x, LARGE, k=2)[2],
    "mean_average_precision": lambda x, y: metricops.mean_average_precision(x, LARGE),
    "mean_reciprocal_rank": lambda x, y: metricops.mean_reciprocal_rank(x, LARGE),
    "ndcg_at_k": lambda x, y: metricops.ndcg_at_k(x, LARGE, k=2)[2],
}
DEVICES = ["CPU_DEVICE", "device1", "device2", "no_float64", "no_x64"]
every = pytest.mark.parametrize("name", CALLS)


def require_sorting(xp, name, device):
    """Skip what sorts where array-api-strict 2.6 cannot: `no_x64` has no int64."""
    searching = ("nearest", "cosent", "recall", "precision", "mean_", "ndcg")
    if not name.startswith(searching):
        return
    try:
        xp.argsort(xp.ones(2, dtype=xp.float32, device=device))
    except ValueError as error:
        pytest.skip(f"array-api-strict cannot sort there: {error}")


def test_every_function_is_called():
    public = {name for name in vars(metricops) if not name.startswith("_")}
    functions = {name for name in public if callable(getattr(metricops, name))}
    called = {name.partition(",")[0] for name in CALLS}
    types = {"Reduction", "TermReduction", "Denominator", "Gather"}
    assert functions - types == called


@every
@pytest.mark.parametrize("device", DEVICES)
def test_a_function_stays_on_its_device_and_in_its_dtypes(name, device):
    xp = Library("array_api_strict").module
    there = xp.Device(device)
    x, y = (xp.asarray(values, dtype=xp.float32, device=there) for values in (X, Y))
    require_sorting(xp, name, there)
    result = CALLS[name](x, y)
    assert result.device == there
    expected = CALLS[name](np.asarray(X, np.float32), np.asarray(Y, np.float32))
    if not np.issubdtype(expected.dtype, np.integer):
        assert result.dtype == xp.float32
    host = np.asarray(xp.asarray(result, device=xp.Device("CPU_DEVICE")))
    np.testing.assert_allclose(host, expected, rtol=1e-5)


DEFAULTS = {
    "CPU_DEVICE": "float64",
    "device2": "float32",
    "no_float64": "float32",
    "no_x64": "float32",
}


@every
@pytest.mark.parametrize("device", DEFAULTS)
def test_integers_become_the_default_float_of_their_device(name, device):
    xp = Library("array_api_strict").module
    there = xp.Device(device)
    x, y = (xp.asarray(np.asarray(z, np.int32), device=there) for z in (X, Y))
    require_sorting(xp, name, there)
    result = CALLS[name](x, y)
    assert result.device == there
    if name not in ("dot", "pairwise_inner_product", "nearest_neighbors, euclidean"):
        assert result.dtype == getattr(xp, DEFAULTS[device])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("second", ["uint32", "int16", "uint8"])
def test_integers_of_two_dtypes_are_multiplied_on_every_device(device, second):
    xp = Library("array_api_strict").module
    there = xp.Device(device)
    x = xp.asarray([[1, 2]], dtype=xp.int32, device=there)
    y = xp.asarray([[3, 4]], dtype=getattr(xp, second), device=there)
    product = metricops.pairwise_inner_product(x, y)
    assert product.device == there
    assert int(product[0, 0]) == 11


@pytest.mark.parametrize("device", DEVICES)
def test_labels_of_two_dtypes_are_compared_on_every_device(device):
    xp = Library("array_api_strict").module
    there = xp.Device(device)

    def there_are(values, dtype):
        return xp.asarray(np.asarray(values, dtype), device=there)

    similarity = there_are([[0.0, 1.0, 2.0]] * 3, "float32")
    for labels, others in (
        (([5, 2**31, 7], "uint32"), ([5, -(2**31), -7], "int32")),
        (([5, 2**24 + 1, 7], "int32"), ([5, 2**24, np.nan], "float32")),
    ):
        losses = metricops.npairs_loss(
            similarity,
            there_are(*labels),
            column_labels=there_are(*others),
            reduction="none",
        )
        assert [bool(loss > 0) for loss in losses] == [True, False, False]


def test_a_number_is_filled_in_on_the_device(torch):
    """A copy from the host cannot be part of a CUDA graph."""
    from torch.utils._python_dispatch import TorchDispatchMode

    called = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            called.append(str(function))
            return function(*args, **(kwargs or {}))

    x, y = torch.tensor(X), torch.tensor(Y)
    with Watch():
        metricops.npairs_loss_and_grad(x, y, temperature=0.5)
        embeddings(x, y, sample_weight=2.0)
        metricops.softmax_cross_entropy(x, y, sample_weight=2)
    assert any("mm" in name for name in called)
    assert not [name for name in called if "lift_fresh" in name]


def test_a_cuda_graph_may_hold_a_loss_and_its_gradients(torch):
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    x, y = torch.tensor(X, device="cuda"), torch.tensor(Y, device="cuda")

    def call():
        loss, gradients = metricops.npairs_loss_and_grad(
            x, y, temperature=0.5, sample_weight=2.0
        )
        return loss, gradients[0]

    expected = call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = call()
    graph.replay()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_apples_gpu_is_given_no_doubles():
    from metricops._frameworks.torch.library import TORCH

    there: Any = SimpleNamespace(device=SimpleNamespace(type="mps"))
    assert TORCH.host_dtype("float64", there) == "float32"
    assert TORCH.host_dtype("longdouble", there) == "float32"
    assert TORCH.host_dtype("int64", there) == "int64"
