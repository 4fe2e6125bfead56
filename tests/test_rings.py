"""Candidates that are passed around a group, in threads that need no processes.

`test_distributed.py` has the processes and devices of the frameworks.
"""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import metricops
from metricops._sharded import each, loss_of_group
from tests import definitions, term_definitions
from tests.conftest import Library, require

GENERATOR = np.random.default_rng(0)
N = 7
COUNTS = (3, 0, 4)  # rows of each member
ROWS: dict[str, Any] = {
    "anchors": GENERATOR.standard_normal((N, 3)),
    "candidates": GENERATOR.standard_normal((N, 3)),
    "labels": np.asarray([0, 1, 0, 2, 1, 3, 0]),
    "candidate_labels": np.asarray([0, 1, 5, 2, 2, 0, 4]),
    "multihot": GENERATOR.integers(0, 2, (N, 3)),
    "ids": np.asarray([0, 1, 0, 2, 1, 3, 4]),
    "candidate_ids": np.asarray([4, 1, 0, 0, 1, 3, 4]),
    "candidate_bias": GENERATOR.standard_normal(N),
    "sample_weight": GENERATOR.uniform(size=N),
}
PAIRS = ("anchors", "candidates")
NPAIRS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "by position": (PAIRS, {"l2_weight": 0.5, "temperature": 0.25}),
    "labels": ((*PAIRS, "labels", "candidate_labels"), {"normalize": True}),
    "multi-hot": ((*PAIRS, "multihot"), {"block_size": 2}),
    "one set": (("anchors", "labels"), {"exclude_diagonal": True, "l2_weight": 0.1}),
    "symmetric": (PAIRS, {"symmetric": True, "normalize": True, "block_size": 2}),
    "symmetric labels": (
        (*PAIRS, "labels", "candidate_labels"),
        {"symmetric": True, "l2_weight": 0.5},
    ),
    "supervised": (
        ("anchors", "labels"),
        {"exclude_diagonal": True, "symmetric": True},
    ),
    "ids": ((*PAIRS, "ids", "candidate_ids"), {}),
    "ids and labels": ((*PAIRS, "labels", "ids"), {"symmetric": True}),
    "bias": ((*PAIRS, "candidate_bias"), {"temperature": 0.5}),
    "smoothing": ((*PAIRS, "ids"), {"label_smoothing": 0.25, "symmetric": True}),
    "negatives": (PAIRS, {"denominator": "negatives", "temperature": 0.5}),
    "negatives both ways": (
        (*PAIRS, "labels", "ids"),
        {"denominator": "negatives", "symmetric": True, "block_size": 2},
    ),
    "smoothed labels": (
        ("anchors", "labels"),
        {"label_smoothing": 0.1, "exclude_diagonal": True, "block_size": 1},
    ),
}
SIGMOID: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "by position": (PAIRS, {"temperature": 0.5, "bias": -0.5}),
    "labels": ((*PAIRS, "labels"), {"normalize": True, "block_size": 2}),
    "one set": (("anchors", "labels", "ids"), {"bias": -1.0}),
}
CONTRASTIVE: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "by position": (PAIRS, {"metric": "cosine", "block_size": 2}),
    "labels": ((*PAIRS, "labels", "candidate_labels"), {"negative_margin": 3.0}),
    "one set": (("anchors", "labels"), {"power": 1, "normalize": True}),
}
LOSSES: dict[str, Any] = {
    "npairs": (metricops.npairs_loss_from_embeddings, NPAIRS),
    "sigmoid": (metricops.sigmoid_loss_from_embeddings, SIGMOID),
    "contrastive": (metricops.contrastive_loss_from_embeddings, CONTRASTIVE),
}
DEFINITIONS: dict[str, Callable[..., Any]] = {
    "npairs": definitions.embeddings_loss,
    "sigmoid": term_definitions.sigmoid_loss,
    "contrastive": term_definitions.contrastive_loss,
}
REDUCTIONS = ("mean", "sum", "weighted_mean", "none")
CASES = [(loss, case) for loss, (_, cases) in LOSSES.items() for case in cases]


class Table:
    """Where threads lay what the others take."""

    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size, timeout=60)
        self.laid: list[Any] = [None] * size


class Thread:
    """One of some threads that share a batch."""

    ring = True

    def __init__(self, table: Table, rank: int) -> None:
        self.table, self.rank = table, rank
        self.size = len(table.laid)
        self.most = 0  # rows of visitors that are held at once

    def everyones(self, x: Any) -> list[Any]:
        self.table.laid[self.rank] = x
        self.table.barrier.wait()
        laid = list(self.table.laid)
        self.table.barrier.wait()
        return [*laid[self.rank :], *laid[: self.rank]]

    def meet(self, call: dict[str, str], sides: tuple[Any, ...]) -> list[list[int]]:
        counts = self.everyones([x.shape[0] for x in sides])
        return [list(side) for side in zip(*counts, strict=True)]

    def fail(self, error: Exception) -> None:
        self.table.barrier.abort()

    def number(self, counts: list[int]) -> int:
        return max(sum(counts), 1)

    def gather(self, x: Any, counts: list[int]) -> Any:
        raise AssertionError

    def total(self, x: Any) -> Any:
        own, *others = self.everyones(x)
        for other in others:  # whose gradients are taken by their own threads
            own = own + (other.detach() if hasattr(other, "detach") else other)
        return own

    def lap(self, visits: Any, visitor: Any, counts: list[int]) -> tuple[Any, Any]:
        found = luggage = None
        for step in range(self.size):
            own, theirs = visits.meet(visitor, step == 0)
            found = own if found is None else visits.merge(found, own)
            theirs = theirs if luggage is None else visits.merge(luggage, theirs)
            copies = each(visitor, lambda x: x + 0), each(theirs, lambda x: x + 0)
            _, (visitor, luggage), *_ = self.everyones(copies)
        return found, luggage


def in_threads(function: Callable[[Thread], Any]) -> list[Any]:
    """Return what a function returns in each thread of a group."""
    table, found = Table(len(COUNTS)), [None] * len(COUNTS)
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            found[rank] = function(Thread(table, rank))
        except BaseException as error:
            errors.append(error)
            table.barrier.abort()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(COUNTS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        if not isinstance(error, threading.BrokenBarrierError):
            raise error
    return found


def rows_of(names: tuple[str, ...], part: slice) -> dict[str, Any]:
    """Return the arguments of these names, in a part of the batch."""
    rows = {name: ROWS[name][part] for name in names}
    if "multihot" in rows:
        rows["labels"] = rows.pop("multihot")
    return rows


def part_of(rank: int) -> slice:
    """Return which rows a member has."""
    first = sum(COUNTS[:rank])
    return slice(first, first + COUNTS[rank])


@pytest.mark.parametrize("name", ["numpy", "array_api_strict"])
@pytest.mark.parametrize(("loss", "case"), CASES)
def test_visits_have_the_loss_of_the_whole_batch(name, loss, case):
    library = Library(name)
    function, cases = LOSSES[loss]
    names, options = cases[case]
    names = (*names, "sample_weight")
    for reduction in REDUCTIONS:
        given = options | {"reduction": reduction}
        if reduction == "none" and "l2_weight" in given:
            given["l2_weight"] = 0.0

        def member(group: Thread, given: Any = given) -> Any:
            rows = rows_of(names, part_of(group.rank))
            arrays: Any = {k: library.asarray(x) for k, x in rows.items()}
            anchors, others = arrays.pop("anchors"), arrays.pop("candidates", None)
            labels = arrays.pop("labels", None)
            more = {**arrays, **given}
            return np.asarray(
                loss_of_group(group, function, anchors, others, labels, **more)
            )

        found = in_threads(member)
        whole = {k: x for k, x in given.items() if k != "block_size"}
        rows = {k: x.tolist() for k, x in rows_of(names, slice(None)).items()}
        expected = DEFINITIONS[loss](**rows, **whole)
        result = np.concatenate(found) if found[0].ndim else np.mean(found)
        np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "weighted_mean", "none"])
@pytest.mark.parametrize(("loss", "case"), CASES)
def test_gradients_travel_home_with_the_candidates(loss, case, reduction):
    torch = require("torch")
    function, cases = LOSSES[loss]
    names, options = cases[case]
    names, given = (*names, "sample_weight"), options | {"reduction": reduction}
    if reduction == "none" and "l2_weight" in given:
        given["l2_weight"] = 0.0
    numbers = [k for k in ("temperature", "bias") if loss == "sigmoid" or k in given]
    numbers = [] if loss == "contrastive" else numbers

    def gradients(part: slice, call: Callable[..., Any]) -> dict[str, Any]:
        arrays = {k: torch.tensor(x) for k, x in rows_of(names, part).items()}
        starts = {"temperature": 0.5, "bias": -0.5}
        scalars = {k: torch.tensor(starts[k]).double() for k in numbers}
        wanted = {k: arrays[k] for k in (*PAIRS, "candidate_bias") if k in arrays}
        wanted |= scalars
        for x in wanted.values():
            x.requires_grad_()
        order = [arrays.pop(k, None) for k in (*PAIRS, "labels")]
        found = call(*order, **arrays, **given | scalars)
        slopes = torch.arange(1.0, N + 1, dtype=found.dtype)[part]
        (found * slopes if found.ndim else found).sum().backward()
        return {k: x.grad.numpy() for k, x in wanted.items()}

    def member(group: Thread) -> dict[str, Any]:
        def call(*arrays: Any, **options: Any) -> Any:
            return loss_of_group(group, function, *arrays, **options)

        return gradients(part_of(group.rank), call)

    found, whole = in_threads(member), gradients(slice(None), function)
    scale = 1 if reduction == "none" else len(COUNTS)
    for name, expected in whole.items():
        parts = [x[name] for x in found]
        result = np.concatenate(parts) if expected.ndim else np.sum(parts)
        largest = abs(expected).max()
        np.testing.assert_allclose(
            result / scale, expected, rtol=1e-11, atol=1e-12 * largest, err_msg=name
        )


def test_a_ring_refuses_what_it_cannot_close():
    class Told(Thread):
        told: Exception

        def fail(self, error: Exception) -> None:
            self.told = error

    group = Told(Table(2), 0)
    message = (
        '`denominator` must be "all" or "negatives" where `gather` is "ring"; got '
    )
    with pytest.raises(ValueError, match=message) as caught:
        loss_of_group(
            group,
            metricops.npairs_loss_from_embeddings,
            np.ones((2, 2)),
            np.ones((2, 2)),
            [0, 1],
            denominator="own",
        )
    assert group.told is caught.value


def test_an_anchor_without_a_positive_may_be_nan_in_a_ring():
    torch = require("torch")
    x = torch.tensor(ROWS["anchors"])
    x[5] = float("nan")
    every = torch.tensor(ROWS["candidates"])
    labels, others = torch.tensor(ROWS["labels"]), torch.tensor(ROWS["labels"])
    others[5] = 9

    def member(group: Thread) -> Any:
        part = part_of(group.rank)
        own, theirs = x[part].requires_grad_(), every[part]
        loss = loss_of_group(
            group,
            metricops.npairs_loss_from_embeddings,
            own,
            theirs,
            labels[part],
            candidate_labels=others[part],
        )
        loss.backward()
        return loss.item(), own.grad

    found = in_threads(member)
    assert np.isfinite([loss for loss, _ in found]).all()
    last = found[-1][1]
    assert torch.isfinite(last).all()
    assert (last[2] == 0).all()
