"""Three processes of PyTorch: what they exchange, and what they say of mistakes.

All of it is done by one set of processes, which write what they found; the tests read.
"""

import datetime
import os
import pickle
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.conftest import require
from tests.test_distributed import start

COUNTS = (5, 0, 3)
GENERATOR = np.random.default_rng(1)
N, WIDTH = sum(COUNTS), 6
ROWS = {
    "anchors": GENERATOR.standard_normal((N, WIDTH)),
    "candidates": GENERATOR.standard_normal((N, WIDTH)),
    "labels": GENERATOR.integers(0, 4, N),
    "ids": GENERATOR.integers(0, 6, N),
    "candidate_bias": GENERATOR.standard_normal(N),
}
PAIRS = ("anchors", "candidates")
# A module, the arrays of its call, and its options.
CALLS: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "positions": ("NPairsEmbeddingLoss", PAIRS, {}),
    "clip": ("NPairsEmbeddingLoss", PAIRS, {"symmetric": True, "normalize": True}),
    "labels and ids": (
        "NPairsEmbeddingLoss",
        (*PAIRS, "labels", "ids", "candidate_bias"),
        {"temperature": 0.5},
    ),
    "one set": (
        "NPairsEmbeddingLoss",
        ("anchors", "labels"),
        {"exclude_diagonal": True, "symmetric": True},
    ),
    "sigmoids": ("SigmoidEmbeddingLoss", PAIRS, {"learnable_bias": True}),
    "contrastive": ("ContrastiveEmbeddingLoss", (*PAIRS, "labels"), {}),
    "triplets": ("TripletEmbeddingLoss", ("anchors", "labels"), {}),
}
RINGS = ("positions", "clip", "labels and ids", "sigmoids", "contrastive")
STEPS = [(call, "all") for call in CALLS] + [(call, "ring") for call in RINGS]
DTYPES = ("float64", "float32")
COLLECTIVES = (
    *("all_gather", "reduce_scatter", "all_reduce", "batch_isend_irecv"),
    "all_gather_object",
)


def step(
    call: str, dtype: str, part: slice = slice(None), group: Any = None, **more: Any
) -> dict[str, Any]:
    """Return the loss and the gradients of one call."""
    torch: Any = require("torch")
    kind, names, options = CALLS[call]
    arrays = {name: torch.tensor(ROWS[name][part]) for name in names}
    kept = ("labels", "ids")
    arrays = {
        name: x if name in kept else x.to(getattr(torch, dtype)).requires_grad_()
        for name, x in arrays.items()
    }
    adapter = require("metricops.adapters.torch")
    module = getattr(adapter, kind)(process_group=group, **options, **more)
    loss = module.to(getattr(torch, dtype))(**arrays)
    loss.backward()
    wanted = [*arrays.items(), *module.named_parameters()]
    found = {name: x.grad for name, x in wanted if name not in kept}
    return {"loss": loss.detach().numpy()} | {
        name: np.asarray(x) for name, x in found.items()
    }


def message_of(call: Callable[[], Any]) -> str:
    """Return the type and the words of the error that a call raises."""
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def mistakes(rank: int, group: Any) -> dict[str, str]:
    """Return what each process says where the last one does otherwise."""
    torch: Any = require("torch")
    adapter = require("metricops.adapters.torch")
    last, x = rank == 2, torch.ones(2, 4)
    loss = adapter.NPairsEmbeddingLoss

    def npairs(x: Any = x, labels: Any = None, **options: Any) -> Callable[[], Any]:
        return lambda: loss(**options, process_group=group)(x, x, labels)

    labels = torch.tensor([0, 1])
    double = x.double()
    sigmoid = adapter.SigmoidEmbeddingLoss(process_group=group)
    contrastive = adapter.ContrastiveEmbeddingLoss(process_group=group)
    memory = adapter.CrossBatchMemory(contrastive, 1 if last else 2)
    calls = {
        "argument": npairs(labels=[0] if last else [0, 1]),
        "temperature": npairs(temperature=0.5 if last else 1.0),
        "option": npairs(symmetric=last),
        "gather": npairs(gather="ring" if last else "all"),
        "dtype": npairs(double if last else x),
        "width": npairs(x[:, :3] if last else x),
        "labels": npairs(labels=None if last else labels),
        "loss": (lambda: sigmoid(x, x)) if last else npairs(),
        "panels": npairs(block_size=1 if last else None),
        "lists": npairs(labels=[0.5, 1.5] if last else [0, 1]),
        "gradient": npairs(x if last else x.clone().requires_grad_()),
        "memory": lambda: memory(x, [0, 1]),
    }
    return {name: message_of(call) for name, call in calls.items()}


def counted(rank: int, group: Any) -> dict[Any, Any]:
    """Return what each step gives, and how often each collective is called in it."""
    torch: Any = require("torch")
    dist, found, numbers = torch.distributed, {}, Counter[str]()
    originals = {name: getattr(dist, name) for name in COLLECTIVES}

    def recording(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            numbers[name] += 1
            return originals[name](*arguments, **options)

        return call

    first = sum(COUNTS[:rank])
    part = slice(first, first + COUNTS[rank])
    for name in COLLECTIVES:
        setattr(dist, name, recording(name))
    try:
        for call, gather in STEPS:
            more = {} if gather == "all" else {"gather": "ring"}
            for dtype in DTYPES:
                numbers.clear()
                found[call, gather, dtype] = step(call, dtype, part, group, **more)
                found[call, gather, dtype]["collectives"] = dict(numbers)
    finally:
        for name, original in originals.items():
            setattr(dist, name, original)
    return found


def sharded(group: Any) -> dict[str, Any]:
    """Return the loss and the gradients of an encoder whose weights are spread."""
    torch: Any = require("torch")
    from torch.distributed import fsdp

    adapter = require("metricops.adapters.torch")
    found = {}
    for gather in ("all", "ring"):
        encoder = torch.nn.Linear(WIDTH, 4, dtype=torch.float64)
        with torch.no_grad():
            for p in encoder.parameters():
                p.copy_(torch.arange(1.0, p.numel() + 1).reshape(p.shape).sin())
        options = {"learnable_temperature": True, "dtype": torch.float64}
        options |= {"process_group": group, "gather": gather}
        loss = adapter.NPairsEmbeddingLoss(0.5, normalize=True, **options)
        loss = torch.nn.parallel.DistributedDataParallel(loss)
        weights = encoder.weight.detach().clone()
        part = part_of(group.rank())
        fsdp.fully_shard(encoder)
        x, y = (torch.tensor(ROWS[name][part]) for name in PAIRS)
        value = loss(encoder(x), encoder(y))
        value.backward()
        gradient = encoder.weight.grad.full_tensor().numpy()
        scale = loss.module.logit_scale.grad.item()
        found[gather] = value.item(), gradient, weights.numpy(), scale
    return found


def labelled(rank: int, group: Any) -> dict[str, float]:
    """Return the losses of labels in several forms, of float64 embeddings."""
    torch: Any = require("torch")
    adapter = require("metricops.adapters.torch")
    x, y = (torch.tensor(ROWS[name][part_of(rank)]) for name in PAIRS)
    own = ROWS["labels"][part_of(rank)]
    forms: dict[str, Any] = {"list": own.tolist(), "bool": torch.tensor(own > 1)}
    kinds = "int16", "uint16", "uint32", "uint64", "float64"
    forms |= {kind: torch.tensor(own).to(getattr(torch, kind)) for kind in kinds}
    loss = adapter.NPairsEmbeddingLoss(process_group=group)
    found = {form: loss(x, y, labels).item() for form, labels in forms.items()}
    return found | {"weighed": loss(x, y, sample_weight=rank + 1.0).item()}


def functional(rank: int, group: Any) -> dict[str, Any]:
    """Return the gradients by own candidates, by `torch.func`."""
    torch: Any = require("torch")
    adapter = require("metricops.adapters.torch")
    x, y = (torch.tensor(ROWS[name][part_of(rank)]) for name in PAIRS)
    found = {}
    for gather in ("all", "ring"):
        options = {"process_group": group, "gather": gather, "symmetric": True}
        loss = adapter.NPairsEmbeddingLoss(**options)
        slope = torch.func.grad(lambda y, loss=loss: loss(x, y))
        found[gather] = slope(y).numpy()
    return found


def remembered(rank: int, shared: bool) -> dict[str, Any]:
    """Return the memory of a process after three batches, and a gradient by them."""
    torch: Any = require("torch")
    adapter = require("metricops.adapters.torch")

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            start = torch.arange(1.0, 2 * WIDTH + 1, dtype=torch.float64)
            self.map = torch.nn.Parameter(start.sin().reshape(WIDTH, 2))
            self.loss = adapter.CrossBatchMemory(adapter.ContrastiveEmbeddingLoss(), 4)

        def forward(self, x: Any, labels: Any) -> Any:
            return self.loss(x @ self.map, labels)

    model = Model()
    run = torch.nn.parallel.DistributedDataParallel(model) if shared else model
    rows = torch.tensor(ROWS["anchors"]).tensor_split(3)[rank][: rank + 1]
    # All before the first is differentiated.
    losses = [run(rows * k, torch.arange(len(rows)) % 2) for k in (1, 2, 3)]
    sum(losses).backward()
    found = model.loss.embeddings, model.loss.labels, model.map.grad
    names = "embeddings", "labels", "gradient"
    return {name: x.numpy() for name, x in zip(names, found, strict=True)}


def part_of(rank: int) -> slice:
    """Return which rows a process has."""
    first = sum(COUNTS[:rank])
    return slice(first, first + COUNTS[rank])


def silent(rank: int) -> str:
    """Return what the first two processes say while the last one does not call."""
    torch: Any = require("torch")
    adapter = require("metricops.adapters.torch")
    limit = datetime.timedelta(seconds=1)
    group = torch.distributed.new_group([0, 1, 2], timeout=limit, backend="gloo")
    if rank == 2:
        return ""
    loss, x = adapter.NPairsEmbeddingLoss(process_group=group), torch.ones(2, 4)
    return message_of(lambda: loss(x, x))


def torch_process(rank: int, folder: Any) -> None:
    """Write what one of three processes finds; the last one dies at the end."""
    torch: Any = require("torch")
    torch.set_num_threads(1)
    adapter = require("metricops.adapters.torch")
    dist = torch.distributed
    loss, x = adapter.NPairsEmbeddingLoss(process_group="world"), torch.ones(2, 4)
    found: dict[str, Any] = {"before": message_of(lambda: loss(x, x))}
    limit = datetime.timedelta(seconds=60)
    how = {"init_method": f"file://{folder}/rendezvous", "timeout": limit}
    dist.init_process_group("gloo", rank=rank, world_size=3, **how)
    found["world"] = loss(x, x).item()
    group = dist.group.WORLD
    found["mistakes"] = mistakes(rank, group)
    found["steps"] = counted(rank, group)
    found["sharded"] = sharded(group)
    found["labelled"] = labelled(rank, group)
    found["functional"] = functional(rank, group)
    found["remembered"] = remembered(rank, True)
    found["silent"] = silent(rank)
    dist.barrier()
    if rank == 2:
        (folder / str(rank)).write_bytes(pickle.dumps(found))
        os._exit(0)
    began = time.monotonic()
    ring = adapter.NPairsEmbeddingLoss(process_group=group, gather="ring")
    found["dead"] = message_of(lambda: (loss if rank else ring)(x, x))
    found["seconds"] = time.monotonic() - began
    (folder / str(rank)).write_bytes(pickle.dumps(found))
    os._exit(0)  # without a last word to a group that has lost a member


@pytest.fixture(scope="module")
def processes(tmp_path_factory: Any) -> list[dict[str, Any]]:
    """Return what each of three processes found."""
    require("torch")
    folder = tmp_path_factory.mktemp("processes")
    start(torch_process, 3, folder)
    return [pickle.loads((folder / str(rank)).read_bytes()) for rank in range(3)]


@pytest.mark.parametrize(("call", "gather"), STEPS)
def test_three_uneven_processes_have_the_loss_of_the_batch(processes, call, gather):
    for dtype, tolerance in (("float64", 1e-12), ("float32", 1e-5)):
        whole = step(call, "float64")
        found = [x["steps"][call, gather, dtype] for x in processes]
        loss = np.mean([x["loss"] for x in found])
        np.testing.assert_allclose(loss, whole.pop("loss"), rtol=tolerance)
        for name, expected in whole.items():
            parts = [x[name] for x in found]
            result = np.sum(parts, 0) if name not in ROWS else np.concatenate(parts)
            largest = abs(expected).max()
            np.testing.assert_allclose(
                result / 3, expected, rtol=tolerance, atol=tolerance * largest
            )


# Forward and backward: gathers of embeddings (and of labels and ids, which are of
# another dtype) and scatters of gradients. Each call says first what it is.
EXCHANGED = {
    "positions": {"all_gather": 1, "reduce_scatter": 1},
    "clip": {"all_gather": 2, "reduce_scatter": 2},
    "labels and ids": {"all_gather": 2, "reduce_scatter": 1, "all_reduce": 1},
    "one set": {"all_gather": 2, "reduce_scatter": 1, "all_reduce": 1},
    "sigmoids": {"all_gather": 1, "reduce_scatter": 1},
    "contrastive": {"all_gather": 2, "reduce_scatter": 1, "all_reduce": 1},
    "triplets": {"all_gather": 2, "reduce_scatter": 1, "all_reduce": 1},
}


@pytest.mark.parametrize("call", CALLS)
def test_a_direction_takes_one_gather_and_one_reduce_scatter(processes, call):
    expected = dict(EXCHANGED[call])
    expected["all_gather"] += 1  # what is called, and the numbers of rows
    for found in processes:
        assert found["steps"][call, "all", "float64"]["collectives"] == expected


@pytest.mark.parametrize("call", RINGS)
def test_a_ring_gathers_nothing_but_numbers(processes, call):
    for found in processes:
        counts = found["steps"][call, "ring", "float64"]["collectives"]
        assert counts.pop("all_gather") == 1
        assert counts.pop("all_reduce") <= 2
        # Two laps of two visitors, and gradients that come home in three steps.
        assert 0 < counts.pop("batch_isend_irecv") <= 2 * 2 + 2 * 3
        assert not counts


MISTAKES = {
    "argument": (
        "ValueError: Process 2 of the group has raised ValueError: `labels` must have"
    ),
    "temperature": "`temperature` must be alike in all processes of the group; got 1.0",
    "option": "`symmetric` must be alike in all processes of the group; got False in",
    "gather": "`gather` must be alike in all processes of the group; got 'all' in",
    "dtype": "`anchors` must be alike in all processes of the group; got an array of",
    "width": "an array of torch.float32 of shape (n, 4) in process 0 and an array of ",
    "labels": "`labels` must be alike in all processes of the group; got an array of",
    "loss": "`loss` must be alike in all processes of the group; got npairs_loss_from",
    "lists": "torch.int64 of shape (n) in process 0 and an array of torch.float64",
    "gradient": "of shape (n, 4) that has a gradient in process 0 and an array of ",
    "memory": (
        "ValueError: Process 2 of the group has raised ValueError: `memory_size` must "
    ),
}
# Of the last process, where it has not called the loss that all have.
OWN = {
    "argument": "ValueError: `labels` must have a label for each",
    "memory": "ValueError: `memory_size` must be at least the size of a batch",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_all_processes_raise_what_one_has_wrong(processes, mistake):
    said = [found["mistakes"][mistake] for found in processes]
    if mistake in OWN:
        assert said.pop().startswith(OWN[mistake])
    for words in said:
        assert MISTAKES[mistake] in words
        assert words.startswith("ValueError: ")


def test_labels_of_any_kind_are_exchanged(processes):
    torch: Any = require("torch")
    loss = require("metricops.adapters.torch").NPairsEmbeddingLoss()
    x, y = (torch.tensor(ROWS[name]) for name in PAIRS)
    for form in processes[0]["labelled"].keys() - {"weighed"}:
        labels = ROWS["labels"] > 1 if form == "bool" else ROWS["labels"]
        found = np.mean([x["labelled"][form] for x in processes])
        expected = loss(x, y, torch.tensor(labels)).item()
        assert found == pytest.approx(expected, rel=1e-12), form


def test_each_process_may_weigh_its_anchors_by_a_number_of_its_own(processes):
    torch: Any = require("torch")
    loss = require("metricops.adapters.torch").NPairsEmbeddingLoss()
    x, y = (torch.tensor(ROWS[name]) for name in PAIRS)
    weights = torch.tensor(np.repeat([1.0, 2.0, 3.0], COUNTS))
    found = np.mean([x["labelled"]["weighed"] for x in processes])
    expected = loss(x, y, sample_weight=weights).item()
    assert found == pytest.approx(expected, rel=1e-12)


def test_gradients_of_a_group_are_functional_too(processes):
    torch: Any = require("torch")
    loss = require("metricops.adapters.torch").NPairsEmbeddingLoss(symmetric=True)
    x, y = (torch.tensor(ROWS[name]) for name in PAIRS)
    expected = torch.func.grad(lambda y: loss(x, y))(y)
    for gather in ("all", "ring"):
        found = np.concatenate([x["functional"][gather] for x in processes]) / 3
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)


def test_a_process_remembers_its_own_rows_where_gradients_are_averaged(processes):
    alone = [remembered(rank, False) for rank in range(3)]
    gradient = np.mean([x["gradient"] for x in alone], axis=0)
    for found, expected in zip(processes, alone, strict=True):
        held = found["remembered"]
        np.testing.assert_array_equal(held["embeddings"], expected["embeddings"])
        np.testing.assert_array_equal(held["labels"], expected["labels"])
        np.testing.assert_allclose(held["gradient"], gradient, rtol=1e-12)


def test_processes_may_have_panels_of_their_own(processes):
    assert {found["mistakes"]["panels"] for found in processes} == {"no error"}


def test_a_group_that_is_not_initialised_says_so(processes):
    for found in processes:
        assert found["before"].startswith(
            "RuntimeError: `process_group` must be initialised: call torch.distributed."
        )
        assert found["world"] == pytest.approx(np.log(6))


def test_a_process_that_does_not_call_is_no_hang(processes):
    for found in processes[:2]:
        assert found["silent"].startswith("RuntimeError: A process of the group has ")


def test_a_process_that_dies_is_an_error_within_the_timeout(processes):
    for found in processes[:2]:
        assert found["dead"].startswith("RuntimeError: A process of the group has ")
        assert found["seconds"] < 60


@pytest.mark.parametrize("gather", ["all", "ring"])
def test_weights_that_are_spread_get_the_gradient_of_the_batch(processes, gather):
    torch: Any = require("torch")
    adapter = require("metricops.adapters.torch")
    values = [found["sharded"][gather][0] for found in processes]
    _, gradient, weights, scale = processes[0]["sharded"][gather]
    encoder = torch.nn.Linear(WIDTH, 4, dtype=torch.float64)
    with torch.no_grad():
        for p in encoder.parameters():
            p.copy_(torch.arange(1.0, p.numel() + 1).reshape(p.shape).sin())
    np.testing.assert_array_equal(weights, encoder.weight.detach())
    x, y = (torch.tensor(ROWS[name]) for name in PAIRS)
    options = {"learnable_temperature": True, "dtype": torch.float64}
    module = adapter.NPairsEmbeddingLoss(0.5, normalize=True, **options)
    loss = module(encoder(x), encoder(y))
    loss.backward()
    assert np.mean(values) == pytest.approx(loss.item(), rel=1e-12)
    assert scale == pytest.approx(module.logit_scale.grad.item(), rel=1e-11)
    np.testing.assert_allclose(gradient, encoder.weight.grad, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"gather": "rings"}, ValueError, '`gather` must be "all" or "ring"; got '),
        (
            {"gather": "ring"},
            ValueError,
            "`process_group` must be given where `gather`",
        ),
        ({"process_group": -100}, TypeError, "`process_group` must be a process group"),
    ],
)
def test_modules_refuse_what_is_no_group(given, error, message):
    adapter = require("metricops.adapters.torch")
    for kind in ("NPairs", "Sigmoid", "Contrastive"):
        with pytest.raises(error, match=message):
            getattr(adapter, f"{kind}EmbeddingLoss")(**given)


# Print how many bytes a step adds to what one of 32 processes took before it. The
# others are silent: what they send is whatever the memory holds.
STEP = """
import resource, sys
import torch
import torch.distributed as dist
from metricops.adapters import _torch_processes
from metricops.adapters.torch import NPairsEmbeddingLoss
torch.set_num_threads(1)
SIZE = 32

class Silent:
    size, rank = (lambda self: SIZE), (lambda self: 0)

class Processes(_torch_processes.Processes):
    group = Silent()
    size = SIZE
    def meet(self, call, sides):
        return [[len(x)] * SIZE for x in sides]
    def total(self, x):
        return x * SIZE

for name in ("all_gather", "reduce_scatter", "batch_isend_irecv"):
    setattr(dist, name, lambda *_, **__: [])
dist.P2POp = lambda *_, **__: None

def step(n):
    rows = [torch.ones(n, 1024).cumsum(0).sin().requires_grad_() for _ in range(2)]
    loss = NPairsEmbeddingLoss(block_size=64)
    loss.group = Processes("world", sys.argv[1] == "ring")
    loss(*rows).backward()

def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

step(8)
before = peak()
step(512)
print(peak() - before)
"""


@pytest.mark.parametrize("gather", ["all", "ring"])
def test_no_process_of_a_ring_holds_all_candidates(gather):
    require("torch")
    command = [sys.executable, "-c", STEP, gather]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    candidates = 32 * 512 * 1024 * 4
    taken = int(run.stdout)
    assert taken < candidates if gather == "ring" else taken > candidates, taken
