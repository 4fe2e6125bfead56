"""Several processes or devices train as one would on the whole batch.

Expected values are those of the module without a group, on all rows at once.
"""

import multiprocessing
import pickle
from typing import Any

import numpy as np
import pytest

from tests.conftest import require

FEATURES, DIMENSIONS = 5, 3
GENERATOR = np.random.default_rng(0)
WEIGHTS = {
    name: GENERATOR.standard_normal((DIMENSIONS, FEATURES))
    for name in ("left", "right")
}
COUNTS = (3, 5)  # rows of each process
N = sum(COUNTS)
ROWS: dict[str, Any] = {
    "anchors": GENERATOR.standard_normal((N, FEATURES)),
    "candidates": GENERATOR.standard_normal((N, FEATURES)),
    "labels": np.asarray([0, 1, 2, 0, 1, 3, 3, 0]),
    "candidate_labels": np.asarray([[0], [0], [1], [4], [5], [1], [0], [3]]),
    "multihot": np.asarray(
        [[1, 0], [1, 1], [0, 0], [0, 1], [0, 1], [1, 0], [0, 1], [1, 1]]
    ),
    "sample_weight": GENERATOR.uniform(size=N),
}
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
    "supervised, none": (
        ("anchors", "labels", "sample_weight"),
        {"exclude_diagonal": True, "reduction": "none"},
    ),
}
by_case = pytest.mark.parametrize("case", CASES)


def rows_of(case: str, part: slice) -> dict[str, Any]:
    """Return the arguments of a case, in a part of the batch."""
    rows = {name: ROWS[name][part] for name in CASES[case][0]}
    if "multihot" in rows:
        rows["labels"] = rows.pop("multihot")
    return rows


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


def torch_step(case: str, part: slice, group: Any = None) -> dict[str, Any]:
    """Return the loss and the gradients of two linear maps and of a temperature."""
    torch, adapter = require("torch"), require("metricops.adapters.torch")
    rows = {name: torch.as_tensor(x) for name, x in rows_of(case, part).items()}

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, weight in WEIGHTS.items():
                if name == "left" or "candidates" in rows:
                    setattr(self, name, torch.nn.Parameter(torch.tensor(weight)))
            self.loss = adapter.NPairsEmbeddingLoss(
                0.5,
                learnable_temperature=True,
                dtype=torch.float64,
                process_group=group,
                **CASES[case][1],
            )

        def forward(self, anchors: Any, candidates: Any = None, **others: Any) -> Any:
            if candidates is not None:
                candidates = candidates @ self.right.T
            return self.loss(anchors @ self.left.T, candidates, **others)

    model = Model()
    run = model if group is None else torch.nn.parallel.DistributedDataParallel(model)
    loss = run(**rows)
    # Rows count alike in the whole batch: so must they where each process has a mean.
    scale = 1 if group is None else len(COUNTS)
    (loss.sum() * (scale if loss.ndim else 1)).backward()
    gradients = {name: np.asarray(p.grad) for name, p in model.named_parameters()}
    return {"loss": np.asarray(loss.detach()), **gradients}


def torch_process(rank: int, folder: Any) -> None:
    """Take one step of each case as one of the processes, and write what comes out."""
    torch = require("torch")
    torch.set_num_threads(1)
    dist = torch.distributed
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=len(COUNTS),
    )
    first = sum(COUNTS[:rank])
    part = slice(first, first + COUNTS[rank])
    found = {case: torch_step(case, part, dist.group.WORLD) for case in CASES}
    (folder / str(rank)).write_bytes(pickle.dumps(found))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def processes(tmp_path_factory) -> list[dict[str, Any]]:
    """Return what each of two PyTorch processes finds."""
    require("torch")
    folder = tmp_path_factory.mktemp("processes")
    start(torch_process, len(COUNTS), folder)
    ranks = range(len(COUNTS))
    return [pickle.loads((folder / str(rank)).read_bytes()) for rank in ranks]


@by_case
def test_uneven_processes_have_the_loss_of_the_whole_batch(case, processes):
    losses = [found[case]["loss"] for found in processes]
    whole = torch_step(case, slice(None))["loss"]
    found = np.concatenate(losses) if losses[0].ndim else np.mean(losses)
    np.testing.assert_allclose(found, whole, rtol=1e-12)


@by_case
def test_averaged_gradients_are_those_of_the_whole_batch(case, processes):
    whole = torch_step(case, slice(None))
    for found in processes:
        for name in set(whole) - {"loss"}:
            np.testing.assert_allclose(
                found[case][name], whole[name], rtol=1e-10, atol=1e-14
            )
