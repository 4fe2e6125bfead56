"""What losses of single pairs and triplets mean: one term at a time, in plain Python.

Nested lists of floats go in and come out. Nothing here is shared with the kernels, and
nothing is made fast.
"""

import math
from collections.abc import Callable
from typing import Any

from tests.definitions import cosine, inner_product, normalized


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def euclidean(x: Any, y: Any) -> float:
    return math.dist(x, y)


METRICS: dict[str, Callable[[Any, Any], float]] = {
    "euclidean": euclidean,
    "squared_euclidean": lambda x, y: math.fsum(
        (a - b) ** 2 for a, b in zip(x, y, strict=True)
    ),
    "cosine": lambda x, y: 1 - cosine(x, y),
}


def roles(
    count: int,
    others: int,
    labels: Any = None,
    candidate_labels: Any = None,
    exclude_diagonal: bool = False,
    ids: Any = None,
    candidate_ids: Any = None,
) -> list[list[int]]:
    """Return 1 for positives, -1 for negatives, and 0 for pairs that take no part."""
    candidate_labels = labels if candidate_labels is None else candidate_labels
    candidate_ids = ids if candidate_ids is None else candidate_ids

    def alike(i: int, j: int) -> bool:
        if labels is None:
            return i == j
        if isinstance(labels[i], list):
            pairs = zip(labels[i], candidate_labels[j], strict=True)
            return any(a and b for a, b in pairs)
        return bool(labels[i] == candidate_labels[j])

    def role(i: int, j: int) -> int:
        if exclude_diagonal and i == j:
            return 0
        if alike(i, j):
            return 1
        return 0 if ids is not None and ids[i] == candidate_ids[j] else -1

    return [[role(i, j) for j in range(others)] for i in range(count)]


def combined(
    rows: list[list[float]], weights: Any = None, reduction: str = "mean"
) -> Any:
    """Return the terms of each anchor combined."""
    weights = [1.0] * len(rows) if weights is None else weights
    pairs = list(zip(rows, weights, strict=True))
    if reduction == "none":
        return [w * math.fsum(row) for row, w in pairs]
    total = math.fsum(w * math.fsum(row) for row, w in pairs)
    mass = {
        "sum": 1.0,
        "mean": sum(len(row) for row in rows),
        "weighted_mean": math.fsum(w * len(row) for row, w in pairs),
        "active_mean": sum(x > 0 for row in rows for x in row),
    }[reduction]
    return total / mass if mass else 0.0


def sides(anchors: Any, candidates: Any, given: dict[str, Any]) -> tuple[Any, Any]:
    """Return the candidates, and the roles of the pairs, by the options given."""
    every = anchors if candidates is None else candidates
    names = "labels", "candidate_labels", "ids", "candidate_ids", "exclude_diagonal"
    asked = {name: given.pop(name) for name in names if name in given}
    asked.setdefault("exclude_diagonal", candidates is None)
    return every, roles(len(anchors), len(every), **asked)


def sigmoid_loss(
    anchors: Any,
    candidates: Any = None,
    *,
    temperature: float = 0.1,
    bias: float = -10.0,
    normalize: bool = False,
    sample_weight: Any = None,
    reduction: str = "mean",
    **given: Any,
) -> Any:
    every, found = sides(anchors, candidates, given)
    pair = cosine if normalize else inner_product
    rows = [
        [
            math.fsum(
                softplus(-role * (pair(a, c) / temperature + bias))
                for c, role in zip(every, row, strict=True)
                if role
            )
        ]
        for a, row in zip(anchors, found, strict=True)
    ]
    return combined(rows, sample_weight, reduction)


def distances(xs: Any, ys: Any, metric: str, normalize: bool) -> list[list[float]]:
    if normalize:
        xs, ys = ([normalized(x) for x in rows] for rows in (xs, ys))
    return [[METRICS[metric](x, y) for y in ys] for x in xs]


def contrastive_loss(
    anchors: Any,
    candidates: Any = None,
    *,
    positive_margin: float = 0.0,
    negative_margin: float = 1.0,
    power: int = 2,
    metric: str = "euclidean",
    normalize: bool = False,
    sample_weight: Any = None,
    reduction: str = "mean",
    **given: Any,
) -> Any:
    every, found = sides(anchors, candidates, given)
    table = distances(anchors, every, metric, normalize)

    def part(role: int, cost: Callable[[float], float]) -> Any:
        rows = [
            [
                max(cost(d), 0.0) ** power
                for d, r in zip(*pair, strict=True)
                if r == role
            ]
            for pair in zip(table, found, strict=True)
        ]
        return combined(rows, sample_weight, reduction)

    near = part(1, lambda d: d - positive_margin)
    far = part(-1, lambda d: negative_margin - d)
    if reduction == "none":
        return [a + b for a, b in zip(near, far, strict=True)]
    return near + far


def triplet_loss(
    anchors: Any,
    candidates: Any = None,
    *,
    margin: float | None = 1.0,
    positives: str = "all",
    negatives: str = "semihard",
    metric: str = "euclidean",
    normalize: bool = False,
    swap: bool = False,
    sample_weight: Any = None,
    reduction: str = "mean",
    **given: Any,
) -> Any:
    every, found = sides(anchors, candidates, given)
    table = distances(anchors, every, metric, normalize)
    between = distances(every, every, metric, normalize) if swap else []
    rows = []
    for own, row in zip(table, found, strict=True):
        near = [j for j, role in enumerate(row) if role == 1]
        far = [j for j, role in enumerate(row) if role == -1]
        terms = []
        for p in chosen_positives(positives, near, own) if far else []:
            least = max(own[j] for j in near) if negatives == "beyond_all" else own[p]
            for n in chosen_negatives(negatives, far, own, least):
                distance = min(own[n], between[p][n]) if swap else own[n]
                excess = own[p] - distance
                hinge = None if margin is None else max(excess + margin, 0.0)
                terms.append(softplus(excess) if hinge is None else hinge)
        rows.append(terms)
    return combined(rows, sample_weight, reduction)


def chosen_positives(word: str, near: list[int], own: Any) -> list[int]:
    if word == "all" or not near:
        return near
    return [(max if word == "hard" else min)(near, key=own.__getitem__)]


def chosen_negatives(word: str, far: list[int], own: Any, least: float) -> list[int]:
    """Return the negatives of a positive at distance `least`."""
    if word == "all":
        return far
    beyond = [j for j in far if own[j] > least]
    if word == "hard" or (word in ("semihard", "beyond_all") and beyond):
        return [min(far if word == "hard" else beyond, key=own.__getitem__)]
    return [max(far, key=own.__getitem__)]
