"""What losses of whole rows mean: sums over pairs, in plain Python.

Multi-similarity, circle, soft nearest neighbour, lifted structure and margin softmax.
Nested lists of floats go in and come out; nothing is shared with the kernels.
"""

import math
from typing import Any

from tests.definitions import cosine, inner_product
from tests.term_definitions import combined, distances, roles, sides, softplus


def log_sum_exp(terms: list[float]) -> float:
    """Return log(sum(exp(terms))), minus infinity of none."""
    peak = max(terms, default=-math.inf)
    if peak == -math.inf:
        return peak
    return peak + math.log(math.fsum(math.exp(x - peak) for x in terms))


def of_rows(
    anchors: Any, candidates: Any, normalize: bool, given: dict[str, Any]
) -> list[tuple[list[float], list[float]]]:
    """Return each anchor's similarities to its positives, and to its negatives."""
    every, found = sides(anchors, candidates, given)
    pair = cosine if normalize else inner_product
    return [
        (
            [pair(a, c) for c, role in zip(every, row, strict=True) if role == 1],
            [pair(a, c) for c, role in zip(every, row, strict=True) if role == -1],
        )
        for a, row in zip(anchors, found, strict=True)
    ]


def multi_similarity_loss(
    anchors: Any,
    candidates: Any = None,
    *,
    alpha: float = 2.0,
    beta: float = 40.0,
    base: float = 0.5,
    epsilon: float | None = 0.1,
    normalize: bool = True,
    sample_weight: Any = None,
    reduction: str = "mean",
    **given: Any,
) -> Any:
    rows: list[list[float]] = []
    for near, far in of_rows(anchors, candidates, normalize, given):
        if not near or not far:
            rows.append([])
            continue
        hard, easy = near, far
        if epsilon is not None:
            hard = [s for s in near if s - epsilon < max(far)]
            easy = [s for s in far if s + epsilon > min(near)]
        pulled = log_sum_exp([-alpha * (s - base) for s in hard])
        pushed = log_sum_exp([beta * (s - base) for s in easy])
        rows.append([softplus(pulled) / alpha + softplus(pushed) / beta])
    return combined(rows, sample_weight, reduction)


def circle_loss(
    anchors: Any,
    candidates: Any = None,
    *,
    gamma: float = 80.0,
    margin: float = 0.4,
    normalize: bool = True,
    sample_weight: Any = None,
    reduction: str = "mean",
    fixed: Any = None,
    **given: Any,
) -> Any:
    """Return the circle loss, its weights from the embeddings in `fixed` if given."""
    at, others = (anchors, candidates) if fixed is None else fixed
    weighted = of_rows(at, others, normalize, dict(given))
    rows: list[list[float]] = []
    every = of_rows(anchors, candidates, normalize, given)
    for own, constant in zip(every, weighted, strict=True):
        (near, far), (fixed_near, fixed_far) = own, constant
        if not near or not far:
            rows.append([])
            continue
        pulled = [
            -gamma * max(1 + margin - f, 0) * (s - 1 + margin)
            for s, f in zip(near, fixed_near, strict=True)
        ]
        pushed = [
            gamma * max(f + margin, 0) * (s - margin)
            for s, f in zip(far, fixed_far, strict=True)
        ]
        rows.append([softplus(log_sum_exp(pulled) + log_sum_exp(pushed))])
    return combined(rows, sample_weight, reduction)


def soft_nearest_neighbor_loss(
    anchors: Any,
    candidates: Any = None,
    *,
    temperature: float = 1.0,
    metric: str = "squared_euclidean",
    normalize: bool = False,
    sample_weight: Any = None,
    reduction: str = "mean",
    **given: Any,
) -> Any:
    every, found = sides(anchors, candidates, given)
    table = distances(anchors, every, metric, normalize)
    rows: list[list[float]] = []
    for own, row in zip(table, found, strict=True):
        pairs = list(zip(own, row, strict=True))
        near = [-d / temperature for d, role in pairs if role == 1]
        all_of_them = [-d / temperature for d, role in pairs if role]
        loss = log_sum_exp(all_of_them) - log_sum_exp(near) if near else None
        rows.append([] if loss is None else [loss])
    return combined(rows, sample_weight, reduction)


def lifted_structure_loss(
    embeddings: Any,
    labels: Any,
    *,
    margin: float = 1.0,
    metric: str = "euclidean",
    normalize: bool = False,
    reduction: str = "mean",
) -> Any:
    n = len(embeddings)
    table = distances(embeddings, embeddings, metric, normalize)
    found = roles(n, n, labels, exclude_diagonal=True)
    costs = []
    for i in range(n):
        for p in range(i):
            if found[i][p] != 1:
                continue
            pushes = [
                margin - table[end][k]
                for end in (i, p)
                for k in range(n)
                if found[end][k] == -1
            ]
            if pushes:
                cost = max(log_sum_exp(pushes) + table[i][p], 0.0)
                costs.append(cost**2 / 2)
    return combined([costs], None, reduction)


def margin_softmax_loss(
    embeddings: Any,
    proxies: Any,
    labels: Any,
    *,
    scale: float = 64.0,
    margin: float = 0.35,
    angular_margin: float = 0.0,
    label_smoothing: float = 0.0,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> Any:
    rows: list[list[float]] = []
    for x, label in zip(embeddings, labels, strict=True):
        if label not in range(len(proxies)):
            rows.append([])
            continue
        logits = [scale * cosine(x, proxy) for proxy in proxies]
        own = cosine(x, proxies[label])
        if own > -math.cos(angular_margin):
            own = math.cos(math.acos(min(own, 1.0)) + angular_margin)
        else:
            own = own - angular_margin * math.sin(angular_margin)
        logits[label] = scale * (own - margin)
        mean = math.fsum(logits) / len(logits)
        target = (1 - label_smoothing) * logits[label] + label_smoothing * mean
        rows.append([log_sum_exp(logits) - target])
    return combined(rows, sample_weight, reduction)
