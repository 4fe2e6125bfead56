"""Calls of the loss of embeddings drawn at random, against a dense definition.

Options, sizes on both sides of every threshold, logits from 1 to 1e10, rows from 1e-30
to 1e30, eager and traced. `METRICOPS_CASES` says how many cases each library gets; a
few by default.
"""

import os
from functools import partial
from typing import Any

import numpy as np
import pytest

import metricops
from tests.conftest import USUAL_MODE, Gradient, Library, Run, require

CASES = int(os.environ.get("METRICOPS_CASES", "0"))
FEW = {"numpy": 60, "torch": 40, "jax": 8, "tensorflow": 8, "dask": 8}
# 362 x 362 similarities are few enough for plain autodiff, 363 x 363 are not.
SIZES = (1, 2, 3, 5, 16, 17, 64, 362, 363)


def drawn(seed: int, small: bool) -> tuple[list[Any], dict[str, Any]]:
    """Return the arrays of a call, and its options."""
    random = np.random.default_rng(seed)

    def one_of(*choices: Any) -> Any:
        return choices[random.integers(len(choices))]

    n = one_of(*SIZES[: 5 if small else None])
    options: dict[str, Any] = {
        "reduction": one_of("mean", "sum", "weighted_mean", "none"),
        "block_size": one_of(None, None, 1 if n < 20 else 7, 5, n, n + 1),
        "symmetric": bool(random.integers(2)),
        "normalize": bool(random.integers(2)),
    }
    kind = one_of("position", "labels", "column", "multihot")
    alone = kind != "position" and bool(random.integers(2))
    m = n if alone or options["symmetric"] else n + int(random.integers(4))
    # In one dimension the gradient of unit rows is 0, and all of it rounding.
    d = one_of(3, 8) if options["normalize"] else one_of(1, 3, 8)
    rows = random.integers(-3, 4, (n + m, d)).astype(np.float64)
    if options["normalize"]:
        rows = rows * one_of(1e-30, 1e-3, 1.0, 1e30)
        options["temperature"] = one_of(0.05, 0.5, 1.0)
    else:
        # Exact in float32 too: small whole numbers times powers of two.
        options["temperature"] = one_of(2.0**-30, 2.0**-10, 0.5, 1.0, 4.0)
    if kind != "position":
        labels = random.integers(0, max(n // 3, 2), n + m)
        shape = {"labels": labels, "column": labels[:, None]}
        hot = random.integers(0, 2, (n + m, 4))
        every = shape.get(kind, hot)
        options["labels"] = every[:n]
        if not alone and (m != n or random.integers(2)):
            options["candidate_labels"] = every[n:]
        options["exclude_diagonal"] = bool(random.integers(2))
    if random.integers(2):
        options["sample_weight"] = random.integers(0, 4, n) / 2
    options |= more_options(random, n, m, alone)
    if "candidate_bias" in options:
        options["symmetric"] = False
        # Beside scores of 1e10 a small bias is lost in float32.
        options["candidate_bias"] /= options["temperature"]
    if options["reduction"] != "none" and not options["normalize"]:
        options["l2_weight"] = one_of(0.0, 0.0, 0.25)
    arrays = [rows[:n]] if alone else [rows[:n], rows[n:]]
    return [x.astype(np.float32) for x in arrays], options


def more_options(random: Any, n: int, m: int, alone: bool) -> dict[str, Any]:
    """Return who takes part, biases, smoothing and the denominator of a call."""
    options: dict[str, Any] = {}
    if random.integers(3) == 0:
        ids = random.integers(0, max(n // 2, 2), n + m)
        options["ids"] = ids[:n]
        if not alone and (m != n or random.integers(2)):
            options["candidate_ids"] = ids[n:]
    if random.integers(4) == 0:
        options["candidate_bias"] = random.integers(-2, 3, m) / 2
    kind = random.integers(5)
    if kind == 0:
        options["label_smoothing"] = float(random.integers(1, 5)) / 4
    elif kind < 3:
        options["denominator"] = ("own", "negatives")[kind - 1]
    return options


def definition(arrays: list[Any], options: dict[str, Any]) -> tuple[Any, list[Any]]:
    """Return the loss and its gradients, dense and in float64."""
    torch = require("torch")
    given = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in arrays]
    anchors, every = given[0], given[-1]
    sides = [anchors, every]
    if options["normalize"]:
        sides = [_unit(torch, x) for x in sides]
    logits = sides[0] @ sides[1].T / options["temperature"]
    if "candidate_bias" in options:
        logits = logits + torch.tensor(options["candidate_bias"])
    targets = _targets(torch, len(anchors), len(every), options)
    logits, targets = _taking_part(torch, logits, targets, options)
    weights = options.get("sample_weight")
    rows = _direction(torch, logits, targets, options)
    loss = _reduced(torch, rows, weights, options["reduction"])
    if options["symmetric"]:
        columns = _direction(torch, logits.T, targets.T, options)
        loss = (loss + _reduced(torch, columns, weights, options["reduction"])) / 2
    if options.get("l2_weight"):
        means = [(x * x).sum() / len(x) for x in (anchors, every)]
        loss = loss + options["l2_weight"] * (means[0] + means[1]) / 4
    return loss.detach().numpy(), torch.autograd.grad(loss.sum(), given)


def _unit(torch: Any, x: Any) -> Any:
    length = (x * x).sum(1, keepdim=True)
    return x / torch.where(length == 0, torch.inf, length).sqrt()


def _targets(torch: Any, n: int, m: int, options: dict[str, Any]) -> Any:
    if "labels" not in options:
        return torch.eye(n, m, dtype=torch.float64)
    labels = torch.tensor(options["labels"])
    others = torch.tensor(options.get("candidate_labels", options["labels"]))
    if labels.ndim == 2 and labels.shape[1] > 1:
        return (labels @ others.T).double()
    return (labels.reshape(-1, 1) == others.reshape(1, -1)).double()


def _taking_part(torch: Any, logits: Any, targets: Any, options: dict[str, Any]) -> Any:
    """Return logits of minus infinity where a pair takes no part, and targets."""
    out = torch.zeros(logits.shape, dtype=torch.bool)
    if options.get("exclude_diagonal"):
        out = torch.eye(*logits.shape, dtype=torch.bool)
        targets = targets * ~out
    if "ids" in options:
        ids = torch.tensor(options["ids"])
        others = torch.tensor(options.get("candidate_ids", options["ids"]))
        out = out | ((ids[:, None] == others) & (targets == 0))
    return logits.masked_fill(out, -torch.inf), targets


def _direction(torch: Any, logits: Any, targets: Any, options: dict[str, Any]) -> Any:
    total = targets.sum(1)
    kept = total > 0
    denominator = options.get("denominator", "all")
    negatives = logits.masked_fill(targets != 0, -torch.inf)
    if denominator == "negatives":
        kept = kept & (negatives > -torch.inf).any(1)
    logits, negatives = logits[kept], negatives[kept]
    share = targets[kept] / total[kept, None]
    there = logits > -torch.inf
    if denominator == "all":
        smoothing = options.get("label_smoothing", 0.0)
        share = (1 - smoothing) * share + smoothing * there / there.sum(1, keepdim=True)
        gaps = -torch.log_softmax(logits, 1)
        return torch.where(share > 0, share * gaps, 0.0).sum(1), kept
    others = torch.logsumexp(negatives, 1, keepdim=True)
    gaps = others - logits.masked_fill(share == 0, 0.0)
    if denominator == "own":
        gaps = torch.logaddexp(gaps, torch.zeros_like(gaps))
    return torch.where(share > 0, share * gaps, 0.0).sum(1), kept


def _reduced(torch: Any, rows: Any, weights: Any, reduction: str) -> Any:
    losses, kept = rows
    each = torch.ones(len(kept), dtype=torch.float64)
    if weights is not None:
        each = torch.tensor(weights, dtype=torch.float64)
    each = each[kept]
    if reduction == "none":
        out = torch.zeros(len(kept), dtype=torch.float64)
        return out.index_put((kept.nonzero()[:, 0],), losses * each)
    total = (losses * each).sum()
    if reduction == "sum":
        return total
    mass = each.sum() if reduction == "weighted_mean" else len(each)
    return total / mass if mass else total * 0


def assert_near(got: Any, want: Any, natural: float, seed: int) -> None:
    """Compare results, of which those near 0 are the rest of what is `natural`."""
    want = np.asarray(want)
    size = float(np.max(np.abs(want), initial=1e-30)) + 0.01 * natural
    assert got.shape == want.shape, seed
    error = float(np.max(np.abs(got - want), initial=0.0)) / size
    assert error <= 3e-5, f"seed {seed}: {error}"


def natural_loss(options: dict[str, Any]) -> float:
    """Return the size of the numbers whose differences a loss is.

    Smoothing compares a score with the mean of a row, which are rounded apart. Those of
    rows that are not normalized are exact.
    """
    if not options["normalize"]:
        return 1.0
    return 1.0 + options.get("label_smoothing", 0.0) / options["temperature"]


def natural_slope(arrays: list[Any], options: dict[str, Any]) -> float:
    """Return the size that a gradient of one pair has."""
    every = np.concatenate([x.astype(np.float64) for x in arrays])
    size = float(np.max(np.abs(every), initial=0.0))
    if options["normalize"]:
        return 1 / max(size, 1e-30) / options["temperature"]
    return size / options["temperature"]


def check(name: str, seed: int) -> None:
    """Compare one call, and its gradients, with the definition."""
    library = Library(name)
    arrays, options = drawn(seed, small=name in ("tensorflow", "dask"))
    expected, slopes = definition(arrays, options)
    size, natural = natural_loss(options), natural_slope(arrays, options)
    mode = USUAL_MODE.get(name, "eager")
    given = {
        option: value.tolist() if isinstance(value, np.ndarray) else value
        for option, value in options.items()
    }
    call = partial(metricops.npairs_loss_from_embeddings, **given)
    assert_near(Run(library, mode)(call, *arrays), expected, size, seed)
    found: Any = ()
    if library.differentiable:
        upstream = np.ones(np.shape(expected))
        found = Gradient(library, mode)(call, *arrays, upstream=upstream)
    elif options["reduction"] in ("mean", "sum"):
        both = partial(metricops.npairs_loss_and_grad, **given)
        loss, found = Run(library, mode)(both, *arrays)
        assert_near(loss, expected, size, seed)
    for got, want in zip(found, slopes, strict=False):
        if got is not None:
            assert_near(got, want, natural, seed)


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("name", FEW)
def test_random_calls_are_their_definition(name: str, part: int) -> None:
    cases = CASES or FEW[name]
    for seed in range(part, cases, 4):
        check(name, seed)
