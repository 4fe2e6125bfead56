"""The numbers of the originals of the losses of whole rows.

Cases of TensorFlow Addons, TensorFlow Similarity and pytorch-metric-learning, with
values and gradients.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metricops
from tests.conftest import Library

_FILE = np.load(Path(__file__).parent / "data" / "family.npz")
_MANIFEST = json.loads(bytes(_FILE["manifest"]))
CASES, NUMBERS, INDEX = _MANIFEST["cases"], _FILE["numbers"], _MANIFEST["index"]

# Where an original is at fault, or of another rule, by its library, operation and data.
# "value": the number itself; "gradient": the gradient alone.
COUNTS = "it counts anchors that have no positive or no negative"
ZERO = "the gradient of a zero row is 1e4 and more, instead of 0"
ABOVE = "an inner product above 1 is taken for 1"
NOTHING = "the mean of no anchor, or of no pair, is not a number"
UNDERFLOW = "exponentials underflow: not a number, or at most -log(1e-9)"
APART = "log(1 + sum) of each side is added, and weights have derivatives"
INCOMPLETE = ("oneclass", "singletons", "pair_same", "pair_diff", "uneven")
FAULTS: dict[tuple[str, str, str], tuple[str, str]] = {
    ("pml", "MultiSimilarityLoss", "zero_row"): ("gradient", ZERO),
    ("pml", "CircleLoss", "zero_row"): ("gradient", ZERO),
    ("pml", "LiftedStructureLoss", "zero_row"): ("gradient", ZERO),
    **{
        ("tfa", "lifted_struct_loss", data): ("value", NOTHING)
        for data in ("oneclass", "singletons", "pair_same", "pair_diff")
    },
    ("pml", "NCALoss", "zero_row"): ("gradient", ZERO),
    ("pml", "NCALoss", "singletons"): ("value", NOTHING),
    ("pml", "NCALoss", "pair_diff"): ("value", NOTHING),
    **{
        ("tfsim", "MultiSimilarityLoss", data): ("value", ABOVE)
        for data in ("balanced_raw", "zero_row")
    },
    **{("pml", "MultiSimilarityLoss", data): ("value", COUNTS) for data in INCOMPLETE},
    **{
        ("tfsim", "CircleLoss", data): ("value", APART)
        for data in (
            *("balanced", "balanced_raw", "uneven", "duplicates"),
            *("zero_row", "clusters"),
        )
    },
}


def output(case: dict[str, Any], name: str) -> Any:
    start, shape = INDEX[f"{case['case']}/{name}"]
    return NUMBERS[start : start + int(np.prod(shape))].reshape(shape)


def fault(case: dict[str, Any]) -> str | None:
    if case["params"].get("miner"):  # it leaves out incomplete anchors
        return "gradient" if case["data"] == "zero_row" else None
    if case["op"] == "SoftNearestNeighborLoss":
        return fault_of_exponentials(case)
    found = FAULTS.get((case["library"], case["op"], case["data"]))
    return None if found is None else found[0]


def fault_of_exponentials(case: dict[str, Any]) -> str | None:
    """Return where `UNDERFLOW` or `ABOVE` is met, of raw embeddings or all."""
    raw = case["data"] in ("balanced_raw", "zero_row")
    cold = case["params"].get("temperature", 1.0)
    return "value" if cold == 0.01 or (cold < 1 and raw) else None


def along(case: dict[str, Any], gradient: Any) -> Any:
    """Return a gradient without what unit length takes away.

    The cosine of TensorFlow Similarity is an inner product; ours divides by lengths.
    """
    if case["params"].get("distance") != "cosine" or case["library"] != "tfsim":
        return gradient
    x = _FILE[f"data/{case['data']}/embeddings"]
    return gradient - x * (gradient * x).sum(axis=1, keepdims=True)


def multi_similarity(library: str, params: dict[str, Any]) -> dict[str, Any]:
    names = {"alpha": 2.0, "beta": 40.0 if library == "tfsim" else 50.0, "base": 0.5}
    given = {**params, "base": params.get("lmda", params.get("base", 0.5))}
    mined = library == "tfsim" or bool(params.get("miner"))
    return {
        **{name: given.get(name, value) for name, value in names.items()},
        "epsilon": params.get("epsilon", 0.1) if mined else None,
        "normalize": library == "pml",
    }


def circle(library: str, params: dict[str, Any]) -> dict[str, Any]:
    return {
        "gamma": params.get("gamma", 80.0),
        "margin": params.get("margin", params.get("m", 0.4)),
        "normalize": library == "pml",
    }


def soft_nearest_neighbor(library: str, params: dict[str, Any]) -> dict[str, Any]:
    return {
        "temperature": params.get("temperature", 1 / params.get("softmax_scale", 1)),
        "metric": params.get("distance") or "squared_euclidean",
        "normalize": library == "pml",
    }


def lifted_structure(library: str, params: dict[str, Any]) -> dict[str, Any]:
    normalize = library == "pml" and params["distance"] is None
    return {"margin": params.get("margin", 1.0), "normalize": normalize}


# Our loss, and the options that mean what an original's parameters do.
LIFTED = (metricops.lifted_structure_loss_from_embeddings, lifted_structure)
LOSSES: dict[str, Any] = {
    "lifted_struct_loss": LIFTED,
    "LiftedStructureLoss": LIFTED,
    "MultiSimilarityLoss": (
        metricops.multi_similarity_loss_from_embeddings,
        multi_similarity,
    ),
    "CircleLoss": (metricops.circle_loss_from_embeddings, circle),
    "SoftNearestNeighborLoss": (
        metricops.soft_nearest_neighbor_loss_from_embeddings,
        soft_nearest_neighbor,
    ),
    "NCALoss": (
        metricops.soft_nearest_neighbor_loss_from_embeddings,
        soft_nearest_neighbor,
    ),
}
# Their means are over all anchors, those that do not count among them.
OF_ALL = (
    ("tfsim", "MultiSimilarityLoss"),
    ("pml", "MultiSimilarityLoss"),
    ("tfsim", "CircleLoss"),
    ("tfsim", "SoftNearestNeighborLoss"),
)
OPS = sorted({(case["library"], case["op"]) for case in CASES if case["op"] in LOSSES})


def ours(case: dict[str, Any], x: Any, labels: Any) -> Any:
    """Return our loss of a case."""
    loss, options_of = LOSSES[case["op"]]
    options = options_of(case["library"], case["params"])
    if (case["library"], case["op"]) not in OF_ALL:
        return loss(x, labels=labels, **options)
    return loss(x, labels=labels, reduction="sum", **options) / x.shape[0]


@pytest.mark.parametrize(("library", "op"), OPS, ids=["-".join(x) for x in OPS])
def test_values_and_gradients_are_those_of_the_originals(library, op):
    torch: Any = Library("torch").module
    for case in CASES:
        if (case["library"], case["op"]) != (library, op):
            continue
        x, labels = (
            _FILE[f"data/{case['data']}/{k}"] for k in ("embeddings", "labels")
        )
        leaf = torch.tensor(x, requires_grad=True)
        value = ours(case, leaf, torch.tensor(labels))
        (found,) = torch.autograd.grad(value, leaf)
        assert torch.isfinite(value)
        assert torch.isfinite(found).all()
        if fault(case) == "value":
            continue
        expected = float(np.mean(output(case, "loss")))
        assert value.item() == pytest.approx(expected, rel=2e-5, abs=2e-5), case
        if fault(case) == "gradient":
            continue
        wanted = along(case, output(case, "grad"))
        limit = 1e-3 * max(abs(wanted).max(), 1e-4)  # below it, theirs are rounded
        np.testing.assert_allclose(found, wanted, rtol=0, atol=limit, err_msg=str(case))


def test_every_library_gives_the_numbers_of_the_originals(run):
    if run.library.name == "jax":
        return  # each compiles for a second; the definitions are tested there
    chosen = {case["op"]: case for case in CASES if case["data"] == "clusters"}
    for case in chosen.values():
        if case["op"] not in LOSSES or fault(case) == "value":
            continue
        data = (_FILE[f"data/clusters/{k}"] for k in ("embeddings", "labels"))
        found = run(lambda x, labels, case=case: ours(case, x, labels), *data)
        expected = np.mean(output(case, "loss"))
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("op", ["CosFaceLoss", "ArcFaceLoss", "NormalizedSoftmaxLoss"])
def test_margins_are_those_of_pytorch_metric_learning(op):
    torch: Any = Library("torch").module
    x, proxies, labels = (
        torch.tensor(_FILE[f"data/proxies/{k}"])
        for k in ("embeddings", "proxies", "labels")
    )
    for case in (case for case in CASES if case["op"] == op):
        params = case["params"]
        given = {"scale": params.get("scale", 20.0), "margin": params.get("margin", 0)}
        if op == "ArcFaceLoss":  # in degrees
            given |= {"margin": 0.0, "angular_margin": np.deg2rad(params["margin"])}
        leaves = [side.clone().requires_grad_() for side in (x, proxies)]
        loss = metricops.margin_softmax_loss_from_embeddings
        value = loss(leaves[0], leaves[1], labels, **given)
        found = torch.autograd.grad(value, leaves)
        expected = float(output(case, "loss"))
        assert value.item() == pytest.approx(expected, rel=2e-5, abs=2e-5)
        for name, got in zip(("grad", "grad_proxies"), found, strict=True):
            wanted = output(case, name)
            wanted = wanted if wanted.shape == got.shape else wanted.T
            limit = 1e-3 * abs(wanted).max()
            np.testing.assert_allclose(got, wanted, rtol=0, atol=limit)
