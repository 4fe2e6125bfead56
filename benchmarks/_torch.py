"""The formulas of PyTorch, and of pytorch-metric-learning."""

from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from torch.nn import functional
from torch.nn.functional import cross_entropy, normalize

import metricops
from benchmarks._cases import (
    GIB,
    TEMPERATURE,
    Call,
    Case,
    Matrix,
    cpu_name,
    labels,
    options,
    positives,
)

Formula = Callable[..., torch.Tensor]

COMPILES = False
COUNTS = False
PEERS = frozenset({"PML NPairsLoss", "PML NTXentLoss"})
CHUNKED: dict[str, Any] = {}
if hasattr(functional, "linear_cross_entropy"):  # PyTorch 2.13 and newer
    chunks = torch.nn.LinearCrossEntropyOptions
    CHUNKED["linear_cross_entropy, auto"] = chunks()
    CHUNKED["linear_cross_entropy, 256 rows"] = chunks(
        batch_chunk_size=256, chunking_method=None
    )


def describe(case: Case) -> dict[str, Any]:
    """Return the versions, and what the device is called."""
    versions = {"torch": torch.__version__}
    if find_spec("pytorch_metric_learning"):
        versions["pytorch-metric-learning"] = version("pytorch-metric-learning")
    cuda = case.device == "cuda"
    name = torch.cuda.get_device_name() if cuda else cpu_name()
    return {"versions": versions, "device_name": name}


def methods(case: Case) -> dict[str, Call]:
    """Return the ways to compute the loss and its gradients, by name."""
    dtype = getattr(torch, case.dtype)
    inputs = [
        torch.from_numpy(x).to(case.device, dtype).requires_grad_()
        for x in case.inputs()
    ]
    known = torch.from_numpy(labels(case)).to(case.device)
    found = native(case)
    found["metricops"] = partial(
        metricops.npairs_loss_from_embeddings,
        **options(case, known),
    )
    if find_spec("pytorch_metric_learning") and case.dtype == "float32":
        found |= peers(case, known)
    return {name: partial(differentiate, f, inputs) for name, f in found.items()}


def differentiate(formula: Formula, inputs: list[torch.Tensor]) -> tuple[Any, ...]:
    """Return a loss and its gradients."""
    loss = formula(*inputs)
    return loss.detach(), *torch.autograd.grad(loss, inputs)


def native(case: Case) -> dict[str, Formula]:
    """Return the formulas of PyTorch itself."""
    targets = torch.from_numpy(positives(case)).to(case.device)
    if case.task == "one-set":
        return {"cross_entropy": partial(masked, targets=targets)}
    one_way: dict[str, Formula] = {"cross_entropy": partial(dense, targets=targets)}
    for name, chunking in CHUNKED.items():
        one_way[name] = partial(chunked, targets=targets, chunking=chunking)
    if case.task == "pairs":
        return one_way
    names = {"cross_entropy": "ClipLoss"}
    return {names.get(k, f"{k}, twice"): partial(both, f) for k, f in one_way.items()}


def dense(
    anchors: torch.Tensor, candidates: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """Return the cross-entropy of all similarities."""
    return cross_entropy(anchors @ candidates.T / TEMPERATURE, targets)


def chunked(
    anchors: torch.Tensor,
    candidates: torch.Tensor,
    targets: torch.Tensor,
    chunking: Any,
) -> torch.Tensor:
    """Return the same without all similarities at a time."""
    return functional.linear_cross_entropy(
        anchors / TEMPERATURE, candidates, targets, options=chunking
    )


def both(formula: Formula, anchors: torch.Tensor, candidates: torch.Tensor) -> Any:
    """Return the mean of both directions, each with its own product, as open_clip."""
    return (formula(anchors, candidates) + formula(candidates, anchors)) / 2


def masked(x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy over the other rows of one set."""
    units = normalize(x)
    scores = units @ units.T / TEMPERATURE
    return cross_entropy(scores.fill_diagonal_(-torch.inf), targets)


def peers(case: Case, known: torch.Tensor) -> dict[str, Formula]:
    """Return the losses of pytorch-metric-learning, at sizes that they can hold."""
    from pytorch_metric_learning.distances import DotProductSimilarity
    from pytorch_metric_learning.losses import NPairsLoss, NTXentLoss

    found: dict[str, Formula] = {}
    if case.task == "symmetric":
        return found
    similarity = DotProductSimilarity(normalize_embeddings=case.task == "one-set")
    rows = torch.arange(case.rows, device=case.device)
    if case.task == "pairs" and 18 * (2 * case.rows) ** 2 <= 2 * GIB:
        loss = NPairsLoss(distance=similarity)
        found["PML NPairsLoss"] = partial(stacked, loss, torch.cat([rows, rows]))
    # It holds every positive pair against every negative pair.
    if 16 * case.rows**3 <= 2 * GIB:
        loss = NTXentLoss(temperature=TEMPERATURE, distance=similarity)
        found["PML NTXentLoss"] = (
            partial(loss, labels=known)
            if case.task == "one-set"
            else partial(referred, loss, rows)
        )
    return found


def stacked(
    loss: Formula, labels: torch.Tensor, anchors: torch.Tensor, candidates: torch.Tensor
) -> torch.Tensor:
    """Return the loss that takes both sides as one, and no temperature."""
    return loss(torch.cat([anchors / TEMPERATURE, candidates]), labels)


def referred(
    loss: Formula, labels: torch.Tensor, anchors: torch.Tensor, candidates: torch.Tensor
) -> torch.Tensor:
    """Return the loss that takes candidates as a reference."""
    # The same labels object on both sides would mean one set.
    return loss(anchors, labels, ref_emb=candidates, ref_labels=labels.clone())


def wait(results: Any) -> None:
    """Return once the results are there."""
    if results[0].is_cuda:
        torch.cuda.synchronize()


def to_numpy(array: Any) -> Matrix:
    """Return an array in NumPy, as float32."""
    return array.float().cpu().numpy()


def counted_peak(call: Call, case: Case) -> int:
    """Return the bytes that a call adds to the GPU's memory at most."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    wait(call())
    return torch.cuda.max_memory_allocated() - before


def planned_bytes(call: Call) -> int | None:
    """Return None: PyTorch plans nothing."""
