"""The PyTorch modules in what a training loop does with modules."""

import copy
import doctest
import importlib.util
import math
import pickle
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metricops
from tests.conftest import require

torch: Any = require("torch")
adapter: Any = require("metricops.adapters.torch")

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "torch_digits.py"
X = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
Y = np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32)
LABELS = np.asarray([0, 1, 2, 0, 1, 2])
MULTIHOT = np.asarray([[1, 0], [0, 1], [1, 1], [1, 0], [0, 1], [1, 1]])
CASES: dict[str, tuple[dict[str, Any], tuple[Any, ...]]] = {
    "NPairsLoss": ({}, (X @ Y.T, LABELS)),
    "NPairsMultilabelLoss": ({"reduction": "sum"}, (X @ Y.T, MULTIHOT)),
    "NPairsEmbeddingLoss": (
        {"temperature": 0.1, "learnable_temperature": True, "normalize": True},
        (X, Y),
    ),
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
    "MetricEmbedding": ({"in_features": 4, "out_features": 3}, (X,)),
}
LAYERS = (
    "Dot",
    "PairwiseInnerProduct",
    "PairwiseCosineSimilarity",
    "MetricEmbedding",
)
by_class = pytest.mark.parametrize("name", CASES)


def build(name: str) -> tuple[Any, tuple[Any, ...]]:
    """Return a module of a class, and the tensors to call it on."""
    torch.manual_seed(0)
    options, arrays = CASES[name]
    module = getattr(adapter, name)(**options)
    return module, tuple(torch.tensor(x) for x in arrays)


def close(left: Any, right: Any) -> None:
    """Assert that two tensors are the same to rounding of their largest entry."""
    size = max(1.0, float(right.detach().abs().max())) if right.numel() else 1.0
    torch.testing.assert_close(left, right, rtol=1e-6, atol=1e-6 * size)


def test_every_class_is_tried_here():
    assert sorted([*CASES, "CrossBatchMemory"]) == sorted(adapter.__all__)


def test_the_examples_of_the_docstrings_run():
    parts = (require(f"metricops.adapters._torch_{x}") for x in ("siblings", "batch"))
    for module in (adapter, *parts):
        assert doctest.testmod(module).failed == 0


@by_class
def test_a_copy_gives_the_same(name):
    module, arrays = build(name)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        close(other(*arrays), module(*arrays))
        assert repr(other) == repr(module)


@by_class
def test_state_is_saved_and_loaded(name, tmp_path):
    module, arrays = build(name)
    torch.save(module.state_dict(), tmp_path / "state")
    torch.manual_seed(1)
    other = getattr(adapter, name)(**CASES[name][0])
    other.load_state_dict(torch.load(tmp_path / "state"))
    close(other(*arrays), module(*arrays))


@by_class
def test_repr_shows_the_arguments(name):
    module, _ = build(name)
    for option, value in CASES[name][0].items():
        assert f"{option}={value!r}" in repr(module)


@by_class
def test_a_module_computes_in_the_dtype_it_is_moved_to(name):
    module, arrays = build(name)
    wide = tuple(x.double() if x.is_floating_point() else x for x in arrays)
    result = module.double()(*wide)
    assert result.dtype == torch.float64
    close(result.float(), build(name)[0](*arrays))
    assert all(p.dtype == torch.float64 for p in module.parameters())


@by_class
def test_a_module_on_the_meta_device_knows_its_shape(name):
    module, arrays = build(name)
    found = module.to("meta")(*(x.to("meta") for x in arrays))
    assert found.shape == build(name)[0](*arrays).shape


@by_class
def test_a_compiled_module_gives_the_same_loss_and_gradient(name):
    module, arrays = build(name)
    torch.compiler.reset()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    results = []
    for run in (module, compiled):
        leaf = arrays[0].clone().requires_grad_()
        result = run(leaf, *arrays[1:])
        result.square().sum().backward()
        results.append((result.detach(), leaf.grad))
    for eager, traced in zip(*results, strict=True):
        close(traced, eager)


@by_class
def test_an_exported_module_gives_the_same(name):
    module, arrays = build(name)
    exported = torch.export.export(module, arrays).module()
    close(exported(*arrays), module(*arrays))


@pytest.mark.parametrize("name", LAYERS)
def test_onnx_runs_the_exported_layer(name, tmp_path):
    runtime = require("onnxruntime")
    require("onnxscript")
    module, arrays = build(name)
    path = tmp_path / "layer.onnx"
    with warnings.catch_warnings():
        # The exporter's own: it uses what PyTorch and ONNX IR have deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        torch.onnx.export(module.eval(), arrays, path, dynamo=True, verbose=False)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    given = dict(zip(names, (np.asarray(x) for x in arrays), strict=True))
    (found,) = session.run(None, given)
    close(torch.tensor(found), module(*arrays).detach())


def test_an_embedding_is_a_linear_layer_to_checkpoints_and_random_numbers():
    torch.manual_seed(0)
    linear = torch.nn.Linear(4, 3, dtype=torch.float64)
    torch.manual_seed(0)
    embedding = adapter.MetricEmbedding(4, 3, dtype=torch.float64)
    for (left, first), (right, second) in zip(
        linear.state_dict().items(), embedding.state_dict().items(), strict=True
    ):
        assert left == right
        assert torch.equal(first, second)
    x = torch.tensor(X).double()
    close(embedding(x), torch.nn.functional.normalize(linear(x)))
    assert adapter.MetricEmbedding(4, 3, bias=False, device="meta").bias is None


def test_the_temperature_is_learnt_as_the_log_of_its_inverse():
    loss = adapter.NPairsEmbeddingLoss(0.07, learnable_temperature=True)
    (scale,) = loss.parameters()
    assert loss.state_dict().keys() == {"logit_scale"}
    assert scale.item() == pytest.approx(math.log(1 / 0.07))
    assert loss.temperature.item() == pytest.approx(0.07)
    x, y = torch.tensor(X), torch.tensor(Y)
    found = loss(x, y)
    close(found, metricops.npairs_loss_from_embeddings(x, y, temperature=0.07))
    found.backward()
    bump = 1e-3
    up, down = (
        metricops.npairs_loss_from_embeddings(
            x.double(), y.double(), temperature=0.07 * math.exp(-step)
        )
        for step in (bump, -bump)
    )
    assert scale.grad.item() == pytest.approx((up - down).item() / (2 * bump), rel=1e-4)


learning = pytest.mark.parametrize(
    "name", ["NPairsEmbeddingLoss", "SigmoidEmbeddingLoss"]
)


def learner(name: str, log_scale: float = 0.0) -> tuple[Any, Any]:
    """Return a module that learns its temperature, and its scale."""
    loss = getattr(adapter, name)(learnable_temperature=True)
    torch.nn.init.constant_(loss.logit_scale, log_scale)
    return loss, loss.logit_scale


@learning
@pytest.mark.parametrize("compiled", [False, True])
def test_a_scale_above_a_hundred_counts_as_one_and_only_comes_back(name, compiled):
    torch.compiler.reset()
    loss, scale = learner(name, 5.0)
    how = {"fullgraph": True, "backend": "aot_eager"}
    call, x = torch.compile(loss, **how) if compiled else loss, torch.eye(3)
    assert loss.temperature.item() == pytest.approx(0.01)
    slopes = []
    for side in (x, -x):
        found = call(0.1 * x, side)
        close(found, learner(name, math.log(100))[0](0.1 * x, side))
        slopes += torch.autograd.grad(found, scale)
    aligned, opposed = slopes
    assert aligned == 0.0  # a higher scale would be better yet
    assert opposed > 0.0
    assert scale.item() == 5.0


@learning
def test_a_learnt_temperature_serves_several_calls_before_backward(name):
    (loss, scale), (x, y) = learner(name), map(torch.tensor, (X, Y))
    apart = [torch.autograd.grad(loss(*z), scale) for z in ((x, y), (y, x))]
    (both,) = torch.autograd.grad(loss(x, y) + loss(y, x), scale)
    close(both, sum(slope for (slope,) in apart))


@learning
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_a_call_with_other_parameters_leaves_them(name):
    (loss, own), (x, y) = learner(name), map(torch.tensor, (X, Y))
    given = {"logit_scale": torch.tensor(7.0)}

    def along(scale: Any) -> Any:
        return torch.func.functional_call(loss, {"logit_scale": scale}, (x, y))

    found = torch.func.functional_call(loss, given, (x, y))
    assert given["logit_scale"].item() == 7.0
    close(found, along(torch.tensor(math.log(100))))
    start = torch.tensor(2.0)
    slope = torch.func.grad(along)(start)
    both = torch.func.vmap(torch.func.grad(along))(torch.stack([start, start]))
    close(both, torch.stack([slope, slope]))
    _, forward = torch.func.jvp(along, (start,), (torch.ones(()),))
    close(forward, slope)
    assert own.item() == 0.0


def test_a_fixed_temperature_is_no_parameter():
    loss = adapter.NPairsEmbeddingLoss(0.5)
    assert list(loss.parameters()) == []
    assert loss.temperature == 0.5


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
@pytest.mark.parametrize("learnable", [False, True])
def test_a_temperature_must_be_positive_and_finite(temperature, learnable):
    with pytest.raises(ValueError, match="`temperature` must be positive and finite"):
        adapter.NPairsEmbeddingLoss(temperature, learnable_temperature=learnable)(
            torch.tensor(X), torch.tensor(Y)
        )


@pytest.mark.parametrize("value", ["0.1", None, [0.1]], ids=repr)
def test_what_is_learnt_starts_from_a_number(value):
    with pytest.raises(TypeError, match=r"^`temperature` must be a number; got "):
        adapter.NPairsEmbeddingLoss(value, learnable_temperature=True)
    with pytest.raises(TypeError, match=r"^`bias` must be a number; got "):
        adapter.SigmoidEmbeddingLoss(0.1, value, learnable_bias=True)


def test_labels_and_weights_reach_the_losses():
    x, y = torch.tensor(X), torch.tensor(Y)
    labels, others = torch.tensor(LABELS), torch.tensor(LABELS[::-1].copy())
    weights = torch.linspace(0, 1, 6)
    options: dict[str, Any] = {"reduction": "weighted_mean"}
    close(
        adapter.NPairsLoss(**options)(
            x @ y.T, labels, column_labels=others, sample_weight=weights
        ),
        metricops.npairs_loss(
            x @ y.T, labels, column_labels=others, sample_weight=weights, **options
        ),
    )
    options |= {"symmetric": True, "exclude_diagonal": True, "block_size": 2}
    close(
        adapter.NPairsEmbeddingLoss(**options)(
            x, y, labels, candidate_labels=others, sample_weight=weights
        ),
        metricops.npairs_loss_from_embeddings(
            x, y, labels, candidate_labels=others, sample_weight=weights, **options
        ),
    )


def example() -> Any:
    """Import the example, which is a script."""
    for library in ("matplotlib", "sklearn", "tqdm"):
        require(library)
    specification = importlib.util.spec_from_file_location("torch_digits", EXAMPLE)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_training_under_autocast_follows_float32(dtype):
    losses = {}
    script = example()
    for name in ("float32", dtype):
        torch.manual_seed(0)
        losses[name] = script.train(script.Model(), script.digits()[0], 2, name)
    assert len(losses[dtype]) >= 20
    assert losses["float32"][-1] < 0.8 * losses["float32"][0]
    np.testing.assert_allclose(losses[dtype], losses["float32"], rtol=0.02)


def test_the_example_trains_saves_loads_and_draws(tmp_path, monkeypatch, capsys):
    picture = tmp_path / "digits.png"
    words = [EXAMPLE.name, "--epochs", "1", "--out", str(picture)]
    monkeypatch.setattr(sys, "argv", words)
    example().main()
    printed = capsys.readouterr().out
    before, after = map(float, re.findall(r"recall +@1 ([\d.]+)", printed))
    assert after > before
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.with_suffix(".pt").exists()
