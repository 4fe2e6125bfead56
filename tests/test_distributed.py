"""Several processes or devices train as one would on the whole batch.

Expected values are those of the module without a group, on all rows at once.
"""

import copy
import gc
import multiprocessing
import pickle
import re
from collections import Counter
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.conftest import QUICK, require
from tests.pages import blocks

FEATURES, DIMENSIONS = 5, 3
GENERATOR = np.random.default_rng(0)
WEIGHTS = {
    name: GENERATOR.standard_normal((DIMENSIONS, FEATURES))
    for name in ("left", "right")
}
# Rows of each process. Up to 2**17 similarities of one process to all are small, and
# with more than 2**21 they are several panels.
COUNTS = {
    "small": (3, 5),
    "none of one process": (0, 6),
    "one panel": (250, 350),
    "several panels": (1000, 1400),
}


def batch(n: int) -> dict[str, Any]:
    """Return the rows of a whole batch, by what they are."""
    generator = np.random.default_rng(n)
    # Twins, triplets, and some alone.
    labels, others = generator.integers(0, n, (2, n)) // 2
    return {
        "anchors": generator.standard_normal((n, FEATURES)),
        "candidates": generator.standard_normal((n, FEATURES)),
        "labels": labels,
        "candidate_labels": others[:, None],
        "multihot": generator.integers(0, 2, (n, 3)) * generator.integers(0, 2, (n, 1)),
        "sample_weight": generator.uniform(size=n),
    }


ROWS = {n: batch(n) for n in (*map(sum, COUNTS.values()), 1024, 2400)}
PAIRS = ("anchors", "candidates")
ALL = (*PAIRS, "labels", "candidate_labels", "sample_weight")
CASES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "by position": (PAIRS, {"normalize": True}),
    "by label": ((*PAIRS, "labels"), {}),
    "some without a positive": ((*PAIRS, "labels", "candidate_labels"), {}),
    "several labels": ((*PAIRS, "multihot"), {}),
    "one set": (("anchors", "labels"), {"symmetric": True}),
    "clip": (PAIRS, {"normalize": True, "symmetric": True}),
    "symmetric": (ALL, {"symmetric": True, "l2_weight": 0.1}),
    "sum": (ALL, {"reduction": "sum", "l2_weight": 0.1, "symmetric": True}),
    "weighted mean": (ALL, {"reduction": "weighted_mean"}),
    "none": (ALL, {"reduction": "none", "symmetric": True}),
    "supervised": (("anchors", "labels"), {"exclude_diagonal": True, "l2_weight": 0.1}),
    "sum by position": (PAIRS, {"reduction": "sum"}),
    "weighted by position": (
        (*PAIRS, "sample_weight"),
        {"reduction": "weighted_mean", "l2_weight": 0.1},
    ),
    "blocks": (ALL, {"block_size": 2}),
    "supervised, none": (
        ("anchors", "labels", "sample_weight"),
        {"exclude_diagonal": True, "reduction": "none"},
    ),
    "supervised, symmetric": (
        ALL,
        {"exclude_diagonal": True, "symmetric": True, "reduction": "weighted_mean"},
    ),
    "supervised by several labels": (
        ("anchors", "multihot"),
        {"exclude_diagonal": True},
    ),
}

# Losses of other modules than `NPairsEmbeddingLoss`.
MODULES = {
    "sigmoid": "SigmoidEmbeddingLoss",
    "triplets": "TripletEmbeddingLoss",
    "triplets of two sets": "TripletEmbeddingLoss",
    "contrastive": "ContrastiveEmbeddingLoss",
    "multi-similarity": "MultiSimilarityLoss",
    "circle": "CircleLoss",
    "soft nearest neighbours": "SoftNearestNeighborLoss",
}
CASES |= {
    "sigmoid": ((*PAIRS, "labels", "sample_weight"), {"reduction": "weighted_mean"}),
    "triplets": (("anchors", "labels"), {"negatives": "hard", "block_size": 2}),
    "triplets of two sets": (
        (*PAIRS, "labels"),
        {"margin": None, "metric": "cosine", "reduction": "sum"},
    ),
    "contrastive": (
        (*PAIRS, "labels", "sample_weight"),
        {"reduction": "weighted_mean", "negative_margin": 3.0},
    ),
    "multi-similarity": (("anchors", "labels"), {"epsilon": None}),
    "circle": (PAIRS, {"gamma": 8.0}),
    "soft nearest neighbours": (("anchors", "labels"), {"temperature": 2.0}),
}

# Candidates that are passed around.
RINGS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "ring of positions": (PAIRS, {"normalize": True}),
    "ring of labels": (ALL, {"reduction": "weighted_mean", "l2_weight": 0.1}),
    "ring both ways": (
        ALL,
        {"symmetric": True, "label_smoothing": 0.1, "block_size": 128},
    ),
    "ring of several labels": ((*PAIRS, "multihot"), {"reduction": "sum"}),
    "ring of one set": (("anchors", "labels"), {"exclude_diagonal": True}),
    "ring, none": (ALL, {"reduction": "none", "block_size": 2}),
    "ring of sigmoids": (PAIRS, {"normalize": True}),
    "ring of contrastive": (
        (*PAIRS, "labels", "sample_weight"),
        {"reduction": "weighted_mean", "negative_margin": 3.0, "block_size": 128},
    ),
}
CASES |= {
    name: (rows, options | {"gather": "ring"})
    for name, (rows, options) in RINGS.items()
}
MODULES["ring of sigmoids"] = "SigmoidEmbeddingLoss"
MODULES["ring of contrastive"] = "ContrastiveEmbeddingLoss"
# What modules learn, by case.
SCALE, BIAS = "loss.logit_scale", "loss.logit_bias"
LEARNT: dict[str, dict[str, str]] = {name: {} for name in MODULES}
LEARNT["ring of sigmoids"] = {SCALE: "temperature", BIAS: "bias"}

LARGE = (
    "by position",
    "by label",
    "several labels",
    "symmetric",
    "sum by position",
    "supervised",
    "contrastive",
    "ring of positions",
    "ring both ways",
    "ring of contrastive",
)
STEPS = [
    (size, case)
    for size, counts in COUNTS.items()
    for case in (CASES if sum(counts) < 10 else LARGE)
]


def rows_of(case: str, n: int, part: slice = slice(None)) -> dict[str, Any]:
    """Return the arguments of a case, in a part of the batch of `n` rows."""
    rows = {name: ROWS[n][name][part] for name in CASES[case][0]}
    if "multihot" in rows:
        rows["labels"] = rows.pop("multihot")
    return rows


STARTS = {"temperature": 0.5, "bias": -1.0}


def learnt_of(case: str) -> dict[str, str]:
    """Return which parameters the module of a case has, and the arguments they are."""
    return LEARNT.get(case, {SCALE: "temperature"})


def start(target: Any, count: int, *arguments: Any) -> None:
    """Run ``target(rank, *arguments)`` in `count` new processes; all must succeed."""
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=target, args=(rank, *arguments)) for rank in range(count)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * count


def torch_step(
    case: str, n: int, part: slice = slice(None), group: Any = None
) -> dict[str, Any]:
    """Return the loss and the gradients of two linear maps and of a temperature."""
    torch: Any = require("torch")
    adapter = require("metricops.adapters.torch")
    rows = {name: torch.as_tensor(x) for name, x in rows_of(case, n, part).items()}

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, weight in WEIGHTS.items():
                if name == "left" or "candidates" in rows:
                    setattr(self, name, torch.nn.Parameter(torch.tensor(weight)))
            kind = MODULES.get(case, "NPairsEmbeddingLoss")
            options: dict[str, Any] = {"process_group": group, **CASES[case][1]}
            if group is None:
                options.pop("gather", None)
            learnt = learnt_of(case)
            for name in learnt.values():
                options |= {name: STARTS[name], f"learnable_{name}": True}
            if learnt:
                options |= {"dtype": torch.float64}
            self.loss = getattr(adapter, kind)(**options)

        def forward(self, anchors: Any, candidates: Any = None, **others: Any) -> Any:
            if candidates is not None:
                candidates = candidates @ self.right.T
            return self.loss(anchors @ self.left.T, candidates, **others)

    model = Model()
    run = model if group is None else torch.nn.parallel.DistributedDataParallel(model)
    loss = run(**rows)
    # The sum over all rows is the mean over processes of this:
    scale = 1 if group is None or loss.ndim == 0 else group.size()
    (loss.sum() * scale).backward()
    gradients = {name: np.asarray(p.grad) for name, p in model.named_parameters()}
    return {"loss": np.asarray(loss.detach()), **gradients}


def torch_process(rank: int, folder: Any) -> None:
    """Take one step of each case as one of two processes, and write what comes out."""
    torch = require("torch")
    torch.set_num_threads(1)
    dist = torch.distributed
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    found = {}
    for size, case in STEPS:
        counts = COUNTS[size]
        first = sum(counts[:rank])
        part = slice(first, first + counts[rank])
        step = torch_step(case, sum(counts), part, dist.group.WORLD)
        found[size, case] = step
    (folder / str(rank)).write_bytes(pickle.dumps(found))
    gc.collect()  # what still holds the group would abort the process at its end
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def processes(tmp_path_factory) -> list[dict[tuple[str, str], dict[str, Any]]]:
    """Return what each of two processes found."""
    require("torch")
    folder = tmp_path_factory.mktemp("processes")
    start(torch_process, 2, folder)
    return [pickle.loads((folder / str(rank)).read_bytes()) for rank in (0, 1)]


@pytest.mark.parametrize(("size", "case"), STEPS)
def test_uneven_processes_train_as_one_on_the_whole_batch(processes, size, case):
    whole = torch_step(case, sum(COUNTS[size]))
    losses = [found[size, case]["loss"] for found in processes]
    loss = np.concatenate(losses) if losses[0].ndim else np.mean(losses)
    np.testing.assert_allclose(loss, whole.pop("loss"), rtol=1e-11)
    for name, gradient in whole.items():
        largest = abs(gradient).max()
        for found in processes:
            np.testing.assert_allclose(
                found[size, case][name], gradient, rtol=1e-10, atol=1e-12 * largest
            )


@pytest.fixture
def group(tmp_path) -> Any:
    """Return a process group of this process alone."""
    dist = require("torch.distributed")
    dist.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1
    )
    yield dist.group.WORLD
    dist.destroy_process_group()


@pytest.mark.parametrize(
    ("candidates", "labels", "message"),
    [
        (2, None, "`candidates` must have a row for each of 3 anchors"),
        (None, None, "`labels` must be given where `candidates` is None"),
        (3, 2, "`labels` must have a label for each of 3 anchors"),
    ],
)
def test_a_process_reports_its_own_mistakes(group, candidates, labels, message):
    torch, adapter = require("torch"), require("metricops.adapters.torch")
    loss = adapter.NPairsEmbeddingLoss(process_group=group)
    with pytest.raises(ValueError, match=message):
        loss(
            torch.ones(3, 2),
            None if candidates is None else torch.ones(candidates, 2),
            None if labels is None else torch.ones(labels),
        )


def test_second_derivatives_go_through_the_processes(group):
    torch, adapter = require("torch"), require("metricops.adapters.torch")
    loss = adapter.NPairsEmbeddingLoss(process_group=group)
    x = torch.tensor(ROWS[8]["anchors"][:3], requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: loss(x, 2 * x), (x,))


@pytest.mark.parametrize("frozen", [False, True])
def test_a_ring_refuses_second_derivatives(group, frozen):
    torch, adapter = require("torch"), require("metricops.adapters.torch")
    loss = adapter.NPairsEmbeddingLoss(process_group=group, gather="ring")
    x = torch.tensor(ROWS[8]["anchors"][:3], requires_grad=True)
    candidates = 2 * (x.detach() if frozen else x)
    (slope,) = torch.autograd.grad(loss(x, candidates), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="first derivatives, backward, alone"):
        slope.sum().backward()


# Dynamo's own warning, of what crosses the end of a graph.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.parametrize("gather", ["all", "ring"])
def test_a_compiled_model_ends_its_graph_before_the_processes(group, gather):
    torch, adapter = require("torch"), require("metricops.adapters.torch")
    loss = adapter.NPairsEmbeddingLoss(process_group=group, gather=gather)
    compiled = torch.compile(lambda x: loss(x, x) + 1, backend="eager")
    x = torch.tensor(ROWS[8]["anchors"][:3], requires_grad=True)
    found, expected = compiled(x), loss(x, x) + 1
    slopes = (torch.autograd.grad(y, x) for y in (found, expected))
    assert found.item() == expected.item()
    torch.testing.assert_close(*slopes)


def test_a_copied_module_talks_to_the_same_processes(group):
    loss = require("metricops.adapters.torch").NPairsEmbeddingLoss(process_group=group)
    assert copy.deepcopy(loss).group is loss.group


DEVICES = 8
COLLECTIVES = ("all-gather", "reduce-scatter", "all-reduce", "collective-permute")
ON_DEVICES = {
    8: (
        "by position",
        "several labels",
        "symmetric",
        "weighted mean",
        "supervised",
        "supervised, symmetric",
        *MODULES,
        *(case for case in RINGS if "none" not in case),
    ),
    # A panel of each device, and not a small one.
    1024: ("by position", "supervised", "ring of one set"),
    # Several panels.
    2400: ("by position", "symmetric", "supervised", "ring both ways"),
}


def flax_loss(
    kind: str, case: str, axis_name: str | None, params: Any, rows: dict[str, Any]
) -> Any:
    """Return the loss of two linear maps and a temperature, by nnx or by Linen."""
    options = {"axis_name": axis_name, **CASES[case][1]}
    adapter = require(f"metricops.adapters.{kind}")
    for name in learnt_of(case).values():
        options |= {name: STARTS[name], f"learnable_{name}": True}
    module = getattr(adapter, MODULES.get(case, "NPairsEmbeddingLoss"))(**options)
    given = dict(rows, anchors=rows["anchors"] @ params["left"].T)
    if "candidates" in given:
        given["candidates"] = given["candidates"] @ params["right"].T
    learnt = {name.partition(".")[2]: params[name] for name in learnt_of(case)}
    if kind == "linen":
        return module.apply({"params": learnt}, **given)
    for name, value in learnt.items():
        setattr(module, name, require("flax.nnx").Param(value))
    return module(**given)


def flax_devices(rank: int, path: Any) -> None:
    """Write what a step of each case gives in each way of mapping over devices."""
    jax = require("jax")
    jax.config.update("jax_num_cpu_devices", DEVICES)
    jax.config.update("jax_enable_x64", True)
    axis_types = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((DEVICES,), ("batch",), axis_types=axis_types)
    whole, split = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec("batch")
    shard = partial(jax.shard_map, mesh=mesh, out_specs=whole)
    params = dict(WEIGHTS, **{SCALE: np.log(2.0), BIAS: -1.0})
    exchanged: dict[tuple[str, int], Counter[str]] = {}

    def step(kind: str, case: str, n: int = 8, outside: bool = False) -> Any:
        given = {k: params[k] for k in (*WEIGHTS, *learnt_of(case))}
        if "candidates" not in CASES[case][0]:
            given["right"] = None
        loss = partial(flax_loss, kind, case, "batch")
        if outside:
            run = jax.value_and_grad(shard(loss, in_specs=(whole, split)))
        else:
            run = shard(jax.value_and_grad(loss), in_specs=(whole, split))
        jitted = jax.jit(run, compiler_options=QUICK)
        compiled = jitted.lower(given, rows_of(case, n)).compile()
        words = re.findall(
            rf" ({'|'.join(COLLECTIVES)})(?:-start)?\(", compiled.as_text()
        )
        exchanged[case, n] = Counter(words)
        return compiled(given, rows_of(case, n))

    def mapped(case: str, params: Any, rows: Any) -> Any:
        loss = partial(flax_loss, "flax", case, "batch")
        found = jax.value_and_grad(loss)(params, rows)
        return jax.lax.pmean(found, "batch")

    def by_axis(name: str, case: str = "symmetric") -> Any:
        rows = rows_of(case, 8)
        given = {k: params[k] for k in (*WEIGHTS, *learnt_of(case))}
        parts = {k: x.reshape(DEVICES, -1, *x.shape[1:]) for k, x in rows.items()}
        how = {"axis_name": "batch", "in_axes": (None, 0)}
        run = getattr(jax, name)(partial(mapped, case), **how)
        return jax.tree.map(
            lambda x: x[0], jax.jit(run, compiler_options=QUICK)(given, parts)
        )

    found = {
        ("linen", case, n): step("linen", case, n)
        for n, cases in ON_DEVICES.items()
        for case in cases
    }
    found["nnx", "symmetric", 8] = step("flax", "symmetric")
    found["outside", "symmetric", 8] = step("linen", "symmetric", outside=True)
    found["outside", "symmetric", 2400] = step("linen", "symmetric", 2400, outside=True)
    found["pmap", "symmetric", 8] = by_axis("pmap")
    found["vmap", "symmetric", 8] = by_axis("vmap")
    found["vmap", "ring both ways", 8] = by_axis("vmap", "ring both ways")
    memory = {gather: jax_memory(gather, mesh) for gather in ("all", "ring")}
    found = jax.tree.map(np.asarray, found)
    path.write_bytes(pickle.dumps((found, exchanged, memory)))


MANY, WIDE = 4096, 64  # rows on all devices, and numbers in each


def jax_memory(gather: str, mesh: Any) -> int:
    """Return the bytes that a device needs beside its arguments and results."""
    jax, adapter = require("jax"), require("metricops.adapters.flax")
    options = {"normalize": True, "block_size": 32}
    loss = adapter.NPairsEmbeddingLoss(0.5, axis_name="batch", gather=gather, **options)
    whole, split = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec("batch")
    run = jax.shard_map(
        jax.value_and_grad(loss, (0, 1)),
        mesh=mesh,
        in_specs=split,
        out_specs=(whole, (split, split)),
    )
    rows = jax.ShapeDtypeStruct((MANY, WIDE), np.float32)
    compiled = jax.jit(run, compiler_options=QUICK).lower(rows, rows).compile()
    found: int = compiled.memory_analysis().temp_size_in_bytes
    return found


@pytest.fixture(scope="module")
def devices(tmp_path_factory) -> tuple[Any, Any, Any]:
    """Return what eight devices found, what they exchanged, and what they held."""
    require("flax")
    path = tmp_path_factory.mktemp("devices") / "found"
    start(flax_devices, 1, path)
    found: tuple[Any, Any, Any] = pickle.loads(path.read_bytes())
    return found


# Embeddings take one gather, and one reduce-scatter of their gradients, in a direction;
# labels and ids, which are integers, a second gather.
@pytest.mark.parametrize(
    ("case", "gathers", "scatters"),
    [
        ("by position", 1, 1),
        ("symmetric", 4, 2),
        ("weighted mean", 2, 1),
        ("supervised", 2, 1),
        ("several labels", 2, 1),
        ("triplets", 2, 1),
        ("contrastive", 2, 1),
        ("circle", 1, 1),
    ],
)
def test_a_compiled_step_takes_one_gather_and_one_reduce_scatter(
    devices, case, gathers, scatters
):
    _, exchanged, _ = devices
    found = exchanged[case, 8]
    assert found["all-gather"] == gathers
    assert found["reduce-scatter"] == scatters
    assert found["collective-permute"] == 0


def test_a_compiled_ring_gathers_nothing(devices):
    _, exchanged, _ = devices
    rings = [found for (case, _), found in exchanged.items() if case in RINGS]
    assert len(rings) > 5
    for found in rings:
        assert found["collective-permute"] > 0
        assert found["all-gather"] == found["reduce-scatter"] == 0


def test_no_device_of_a_ring_holds_all_candidates(devices):
    *_, memory = devices
    own = 4 * MANY * WIDE // DEVICES
    # Rows, two visitors, gradients of all of these, and a few panels.
    assert memory["ring"] < 12 * own
    assert memory["all"] > 4 * memory["ring"]


def test_devices_have_the_loss_and_the_gradients_of_the_whole_batch(devices):
    found, *_ = devices
    for (way, case, n), (loss, gradients) in found.items():
        whole = torch_step(case, n)
        message = f"{way}, {case}, {n}"
        np.testing.assert_allclose(loss, whole.pop("loss"), rtol=1e-12, err_msg=message)
        for name, expected in whole.items():
            largest = np.max(np.abs(expected), initial=0.0)
            np.testing.assert_allclose(
                gradients[name],
                expected,
                rtol=1e-12,
                atol=1e-12 * largest,
                err_msg=message,
            )


def test_the_blocks_of_the_page_run(group):
    torch, adapter = require("torch"), require("metricops.adapters.torch")
    jax, flax = require("jax"), require("metricops.adapters.flax")
    axis_types = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((1,), ("batch",), axis_types=axis_types)
    kinds = {"process_group": adapter, "axis_name": flax}
    shared = {"jax": jax, "mesh": mesh, "P": jax.sharding.PartitionSpec}
    shared |= {"partial": partial, "embed": lambda x: x}
    shared |= {"model": torch.nn.Linear(3, 2), "images": torch.ones(4, 3)}
    shared |= {"texts": torch.ones(4, 3)}
    for code in blocks("docs/distributed"):
        kind = next((found for name, found in kinds.items() if name in code), None)
        if kind is None:  # another framework's, which has a test of its own
            continue
        given = {"NPairsEmbeddingLoss": kind.NPairsEmbeddingLoss}
        exec(code, found := shared | given)
        if kind is flax:
            x = jax.numpy.ones((4, 3))
            assert found["loss"](x, x) == pytest.approx(np.log(4))
        else:
            loss = found["loss_of"](*(found[x] for x in ("images", "texts")))
            assert loss.item() == pytest.approx(np.log(4))
