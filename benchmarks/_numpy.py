"""The formulas of NumPy, which has no autodiff: the gradients are written by hand."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import metricops
from benchmarks._cases import (
    TEMPERATURE,
    Call,
    Case,
    Matrix,
    cpu_name,
    labels,
    options,
    positives,
)

Formula = Callable[..., tuple[Any, ...]]

COMPILES = False
COUNTS = False
PEERS: frozenset[str] = frozenset()


def describe(case: Case) -> dict[str, Any]:
    """Return the versions, and what the device is called."""
    return {"versions": {"numpy": np.__version__}, "device_name": cpu_name()}


def methods(case: Case) -> dict[str, Call]:
    """Return the ways to compute the loss and its gradients, by name."""
    if case.dtype != "float32" or case.device != "cpu":
        return {}
    inputs = case.inputs()
    hand: dict[str, Formula] = {
        "pairs": by_hand,
        "symmetric": both_by_hand,
        "one-set": one_set_by_hand,
    }
    return {
        "by hand": partial(hand[case.task], *inputs, positives(case)),
        "metricops": partial(ours, inputs, options(case, labels(case))),
    }


def ours(inputs: list[Matrix], keywords: dict[str, Any]) -> tuple[Any, ...]:
    """Return what metricops makes of the inputs."""
    loss, gradients = metricops.npairs_loss_and_grad(*inputs, **keywords)
    return loss, *gradients[: len(inputs)]


def by_hand(anchors: Matrix, candidates: Matrix, positives: Any) -> tuple[Any, ...]:
    """Return the loss of each row's softmax and its gradients: one matrix, in place."""
    rows = np.arange(len(anchors))
    scores = (anchors * (1 / TEMPERATURE)) @ candidates.T
    loss, pull = descent(scores, rows, positives)
    scale = 1 / (TEMPERATURE * len(anchors))
    return loss, pull @ candidates * scale, pull.T @ anchors * scale


def descent(scores: Matrix, rows: Any, positives: Any) -> tuple[Any, Matrix]:
    """Return the mean loss, and the softmax less the targets in place of the scores."""
    scores -= scores.max(axis=1, keepdims=True)
    chosen = scores[rows, positives]
    np.exp(scores, out=scores)
    total = scores.sum(axis=1)
    scores /= total[:, None]
    scores[rows, positives] -= 1
    return np.mean(np.log(total) - chosen), scores


def both_by_hand(
    anchors: Matrix, candidates: Matrix, positives: Any
) -> tuple[Any, ...]:
    """Return the mean of both directions and its gradients."""
    loss, of_anchors, of_candidates = by_hand(anchors, candidates, positives)
    other, more_of_candidates, more_of_anchors = by_hand(candidates, anchors, positives)
    of_anchors += more_of_anchors
    of_candidates += more_of_candidates
    of_anchors /= 2
    of_candidates /= 2
    return (loss + other) / 2, of_anchors, of_candidates


def one_set_by_hand(x: Matrix, positives: Any) -> tuple[Any, ...]:
    """Return the loss of each row's softmax over the others, and its gradient."""
    rows = np.arange(len(x))
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    units = x / lengths
    scores = (units * (1 / TEMPERATURE)) @ units.T
    np.fill_diagonal(scores, -np.inf)
    loss, pull = descent(scores, rows, positives)
    gradient = (pull @ units + pull.T @ units) / (TEMPERATURE * len(x))
    along = np.sum(gradient * units, axis=1, keepdims=True)
    return loss, (gradient - along * units) / lengths


def wait(results: Any) -> None:
    """Return at once: NumPy has computed them."""


def to_numpy(array: Any) -> Matrix:
    """Return the array."""
    return np.asarray(array, dtype=np.float32)


def counted_peak(call: Call, case: Case) -> int:
    """Refuse: NumPy does not tell."""
    raise NotImplementedError


def planned_bytes(call: Call) -> int | None:
    """Return None: NumPy plans nothing."""
