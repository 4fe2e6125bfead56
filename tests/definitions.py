"""What each function means, in plain Python: one row, one pair, one term at a time.

Nested lists of floats go in and come out. Nothing here is shared with the kernels, and
nothing is made fast.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Row = Sequence[float]
Matrix = Sequence[Row]


def inner_product(x: Row, y: Row) -> float:
    return math.fsum(a * b for a, b in zip(x, y, strict=True))


def normalized(x: Row) -> list[float]:
    length = math.hypot(*x)
    return [a / length if length else 0.0 for a in x]


def cosine(x: Row, y: Row) -> float:
    return inner_product(normalized(x), normalized(y))


def pairwise(pair: Callable[[Row, Row], float], xs: Matrix, ys: Matrix) -> list[Any]:
    return [[pair(x, y) for y in ys] for x in xs]


def cross_entropy(similarity: Row, targets: Row) -> float | None:
    """Return a row's loss; None where no pair that takes part has a target."""
    pairs = [(s, t) for s, t in zip(similarity, targets, strict=True) if s != -math.inf]
    total = math.fsum(t for _, t in pairs)
    if total == 0:
        return None
    peak = max(s for s, _ in pairs)
    partition = peak + math.log(math.fsum(math.exp(s - peak) for s, _ in pairs))
    return math.fsum(t / total * (partition - s) for s, t in pairs)


def equal_labels(rows: Sequence[Any], columns: Sequence[Any]) -> list[list[float]]:
    return [[float(a == b) for b in columns] for a in rows]


def shared_labels(rows: Matrix, columns: Matrix) -> list[Any]:
    def shared(x: Row, y: Row) -> int:
        return sum(int(a) * int(b) for a, b in zip(x, y, strict=True))

    return pairwise(shared, rows, columns)


def reduced(
    losses: Sequence[float | None],
    weights: Sequence[float] | float | None = None,
    reduction: str = "mean",
) -> Any:
    """Combine `losses`; those that are None take no part."""
    if weights is None:
        weights = 1.0
    if isinstance(weights, int | float):
        weights = [weights] * len(losses)
    if reduction == "none":
        return [
            0.0 if loss is None else w * loss
            for loss, w in zip(losses, weights, strict=True)
        ]
    taking_part = [
        (loss, w) for loss, w in zip(losses, weights, strict=True) if loss is not None
    ]
    total = math.fsum(w * loss for loss, w in taking_part)
    if reduction == "sum":
        return total
    if reduction == "mean":
        return total / len(taking_part) if taking_part else 0.0
    denominator = math.fsum(w for _, w in taking_part)
    return total / denominator if denominator else 0.0


def cross_entropy_loss(
    similarity: Matrix, targets: Matrix, weights: Any = None, reduction: str = "mean"
) -> Any:
    losses = [cross_entropy(s, t) for s, t in zip(similarity, targets, strict=True)]
    return reduced(losses, weights, reduction)


def log_sum_exp(values: Row) -> float:
    peak = max(values)
    return peak + math.log(math.fsum(math.exp(value - peak) for value in values))


def npairs_row(
    similarity: Row, targets: Row, smoothing: float = 0.0, denominator: str = "all"
) -> float | None:
    """Return a row's loss; None where the anchor does not count."""
    pairs = [(s, t) for s, t in zip(similarity, targets, strict=True) if s != -math.inf]
    total = math.fsum(t for _, t in pairs)
    negatives = [s for s, t in pairs if t == 0]
    if total == 0 or (denominator == "negatives" and not negatives):
        return None

    share = [(1 - smoothing) * t / total + smoothing / len(pairs) for _, t in pairs]
    weighted = [(w, s) for w, (s, _) in zip(share, pairs, strict=True) if w]
    if denominator == "own":
        return math.fsum(w * (log_sum_exp([s, *negatives]) - s) for w, s in weighted)
    rivals = [s for s, _ in pairs] if denominator == "all" else negatives
    partition = log_sum_exp(rivals)
    return math.fsum(w * (partition - s) for w, s in weighted)


def embeddings_loss(
    anchors: Matrix,
    candidates: Matrix | None = None,
    labels: Any = None,
    *,
    candidate_labels: Any = None,
    temperature: float = 1.0,
    normalize: bool = False,
    symmetric: bool = False,
    exclude_diagonal: bool = False,
    l2_weight: float = 0.0,
    sample_weight: Any = None,
    reduction: str = "mean",
    ids: Any = None,
    candidate_ids: Any = None,
    candidate_bias: Any = None,
    label_smoothing: float = 0.0,
    denominator: str = "all",
) -> Any:
    """Return the N-pairs loss of embeddings, with every option of the public one."""
    columns = anchors if candidates is None else candidates
    if labels is None:
        targets = [
            [float(i == j) for j in range(len(columns))] for i in range(len(anchors))
        ]
    else:
        others = labels if candidate_labels is None else candidate_labels
        hot = len(labels) > 0 and isinstance(labels[0], list | tuple)
        targets = (shared_labels if hot else equal_labels)(labels, others)
    pair = cosine if normalize else inner_product
    bias = [0.0] * len(columns) if candidate_bias is None else candidate_bias
    other_ids = ids if candidate_ids is None else candidate_ids

    def takes_part(i: int, j: int) -> bool:
        if exclude_diagonal and i == j:
            return False
        return ids is None or bool(targets[i][j]) or ids[i] != other_ids[j]

    similarity = [
        [
            pair(a, c) / temperature + bias[j] if takes_part(i, j) else -math.inf
            for j, c in enumerate(columns)
        ]
        for i, a in enumerate(anchors)
    ]

    def direction(scores: Matrix, positives: Matrix) -> Any:
        losses = [
            npairs_row(s, t, label_smoothing, denominator)
            for s, t in zip(scores, positives, strict=True)
        ]
        return reduced(losses, sample_weight, reduction)

    loss = direction(similarity, targets)
    if symmetric:
        other = direction(
            list(zip(*similarity, strict=True)), list(zip(*targets, strict=True))
        )
        if reduction == "none":
            loss = [(a + b) / 2 for a, b in zip(loss, other, strict=True)]
        else:
            loss = (loss + other) / 2
    if l2_weight:
        loss += (
            l2_weight * (_mean_square_norm(anchors) + _mean_square_norm(columns)) / 4
        )
    return loss


def _mean_square_norm(rows: Matrix) -> float:
    if not rows:
        return 0.0
    return math.fsum(inner_product(row, row) for row in rows) / len(rows)


def numeric_gradient(
    function: Callable[..., float], *arrays: Any, step: float = 1e-5
) -> tuple[Any, ...]:
    """Return the gradient of `function` for each array, by central differences."""
    arrays = tuple(np.asarray(x, dtype=np.float64) for x in arrays)
    gradients = []
    for position, x in enumerate(arrays):
        slope = np.zeros_like(x)
        for index in np.ndindex(x.shape):
            values = []
            for change in (step, -step):
                moved = x.copy()
                moved[index] += change
                given = (*arrays[:position], moved, *arrays[position + 1 :])
                values.append(function(*(array.tolist() for array in given)))
            slope[index] = (values[0] - values[1]) / (2 * step)
        gradients.append(slope)
    return tuple(gradients)
