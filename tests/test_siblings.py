"""The numbers of the originals of the sigmoid, triplet and contrastive losses.

Cases of TensorFlow Addons, TensorFlow Similarity, pytorch-metric-learning and
sentence-transformers, and of SigLIP's formula, with values and gradients.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import metricops
from tests.conftest import Library, require

_FILE = np.load(Path(__file__).parent / "data" / "siblings.npz")
_MANIFEST = json.loads(bytes(_FILE["manifest"]))
NUMBERS, INDEX = _FILE["numbers"], _MANIFEST["index"]
DATA = {name: _FILE[name] for name in _FILE.files if name.startswith("data/")}
METRICS = {
    "L2": "euclidean",
    "l2": "euclidean",
    "euclidean": "euclidean",
    "squared-L2": "squared_euclidean",
    "sql2": "squared_euclidean",
    "angular": "cosine",
    "cosine": "cosine",
    "cosine_distance": "cosine",
}
# Sets in which an anchor lacks a positive or a negative.
INCOMPLETE = ("oneclass", "singletons", "pair_same", "pair_diff", "uneven")
# Where an original is at fault, by its library, operation and data. "value": the
# number itself; "gradient": the gradient alone.
COUNTS = "it counts anchors that have no positive or no negative"
ZERO = "the gradient of a zero row is 1e4 and more, instead of 0"
TIES = "of rows that are equally far it takes one, or switches them by rounding"
FAULTS: dict[tuple[str, str, str], tuple[str, str]] = {
    ("tfa", "triplet_semihard_loss", "zero_row"): ("gradient", ZERO),
    ("tfa", "triplet_hard_loss", "zero_row"): ("gradient", ZERO),
    **{
        (library, op, "zero_row"): ("gradient", ZERO)
        for library, op in (
            ("pml", "TripletMarginLoss"),
            ("pml", "ContrastiveLoss"),
            ("st", "BatchHardTripletLoss"),
            ("st", "BatchHardSoftMarginTripletLoss"),
            ("st", "BatchSemiHardTripletLoss"),
            ("st", "BatchAllTripletLoss"),
        )
    },
    **{
        (library, op, data): ("value", COUNTS)
        for library, op in (
            ("tfa", "triplet_hard_loss"),
            ("tfa", "triplet_semihard_loss"),
            ("tfsim", "TripletLoss"),
            ("tfsim", "PNLoss"),
            ("st", "BatchHardTripletLoss"),
            ("st", "BatchHardSoftMarginTripletLoss"),
            ("st", "BatchSemiHardTripletLoss"),
        )
        for data in INCOMPLETE
        if data != "uneven" or "semihard" not in op.lower()
    },
    **{
        (library, op, "duplicates"): ("gradient", TIES)
        for library, op in (
            ("tfsim", "TripletLoss"),
            ("tfsim", "PNLoss"),
            ("pml", "TripletMarginLoss"),
            ("st", "BatchHardTripletLoss"),
            ("st", "BatchHardSoftMarginTripletLoss"),
            ("st", "BatchSemiHardTripletLoss"),
        )
    },
}


class Case(NamedTuple):
    """A call of an original, and ours of the same meaning."""

    name: str
    library: str
    op: str
    data: str
    loss: Any
    options: dict[str, Any]

    def output(self, *names: str) -> Any:
        """Return the first of some outputs that there is."""
        (found,) = [x for x in names if f"{self.name}/{x}" in INDEX][:1]
        start, shape = INDEX[f"{self.name}/{found}"]
        return NUMBERS[start : start + int(np.prod(shape))].reshape(shape)


def options_of(op: str, params: dict[str, Any]) -> dict[str, Any]:
    """Return the options that mean what an original's parameters do."""
    hardest: dict[str, Any] = {"positives": "hard", "negatives": "hard"}
    every: dict[str, Any] = {"negatives": "all", "reduction": "active_mean"}
    metric = METRICS[params.get("distance_metric") or params.get("distance") or "L2"]
    margin = params.get("margin")
    if op == "triplet_hard_loss":
        margin = None if params["soft"] else margin
        return {"metric": metric, "margin": margin, **hardest}
    if op in ("TripletLoss", "PNLoss"):
        words = (params[f"{x}_mining_strategy"] for x in ("positive", "negative"))
        mined = dict(zip(hardest, (x.replace("-", "") for x in words), strict=True))
        return {"metric": metric, "margin": margin, "swap": op == "PNLoss", **mined}
    if op == "TripletMarginLoss":
        mean = {"reduction": "mean"} if params["reducer"] else {}
        given = hardest if params["miner"] else {}
        return {
            "margin": params.get("margin", 0.05),
            "metric": metric,
            "normalize": True,
            "swap": params.get("swap", False),
            **every,
            **given,
            **mean,
        }
    words_of: dict[str, dict[str, Any]] = {
        "BatchHardTripletLoss": hardest,
        "BatchHardSoftMarginTripletLoss": {**hardest, "margin": None},
        "BatchAllTripletLoss": every,
    }
    return {"metric": metric, "margin": margin, **words_of.get(op, {})}


def contrastive_options(params: dict[str, Any]) -> dict[str, Any]:
    near, far = params.get("pos_margin", 0), params.get("neg_margin", 1)
    if params["distance"] == "cosine":  # of similarities, there
        near, far = 1 - near, 1 - far
    return {
        "power": 1,
        "normalize": True,
        "metric": METRICS[params["distance"] or "L2"],
        "positive_margin": near,
        "negative_margin": far,
        "reduction": "mean" if params["reducer"] else "active_mean",
    }


def case_of(found: dict[str, Any]) -> Case | None:
    """Return a case of one set of embeddings, or None of others."""
    op, params = found["op"], found["params"]
    loss: Any = metricops.triplet_loss_from_embeddings
    if op in ("siglip", "contrastive_loss", "XBM") or "," in found["data"]:
        return None
    if op == "ContrastiveLoss":
        loss, options = (
            metricops.contrastive_loss_from_embeddings,
            contrastive_options(params),
        )
    elif params.get("miner") == "batch_hard" or not params.get("miner"):
        if op == "TripletLoss" and not params:
            return None
        options = options_of(op, params)
    else:
        return None
    return Case(found["case"], found["library"], op, found["data"], loss, options)


CASES = [x for x in map(case_of, _MANIFEST["cases"]) if x is not None]
OPS = sorted({(case.library, case.op) for case in CASES})


def inputs(case: Case) -> tuple[Any, Any]:
    return DATA[f"data/{case.data}/embeddings"], DATA[f"data/{case.data}/labels"]


def fault(case: Case) -> str | None:
    return FAULTS.get((case.library, case.op, case.data), (None, ""))[0]


def along(case: Case, gradient: Any) -> Any:
    """Return a gradient without what unit length takes away.

    The cosine of TensorFlow Similarity is an inner product; ours divides by lengths.
    """
    if case.library != "tfsim" or case.options["metric"] != "cosine":
        return gradient
    x = inputs(case)[0]
    return gradient - x * (gradient * x).sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("library", "op"), OPS, ids="-".join)
def test_values_and_gradients_are_those_of_the_originals(library, op):
    torch: Any = Library("torch").module
    cases = [case for case in CASES if (case.library, case.op) == (library, op)]
    for case in cases:
        x, labels = inputs(case)
        leaf = torch.tensor(x, requires_grad=True)
        value = case.loss(leaf, labels=labels, **case.options)
        (found,) = torch.autograd.grad(value, leaf)
        assert torch.isfinite(value)
        assert torch.isfinite(found).all()
        if fault(case) == "value":
            continue
        expected = float(np.mean(case.output("loss")))
        assert value.item() == pytest.approx(expected, rel=2e-5, abs=2e-5), case
        if fault(case) == "gradient":
            continue
        wanted = along(case, case.output("grad", "grad_embeddings"))
        limit = 1e-3 * max(abs(wanted).max(), 1e-6)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=limit, err_msg=str(case))


def test_every_library_gives_the_numbers_of_the_originals(run):
    chosen = {case.op: case for case in CASES if case.data == "clusters"}
    for case in chosen.values():
        x, labels = inputs(case)
        found = run(case.loss, x, labels=labels, **case.options)
        expected = np.mean(case.output("loss"))
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


def test_incomplete_anchors_are_not_counted_unlike_in_tensorflow_addons():
    # One class: nothing to tell apart. Addons says the margin, or a distance.
    case = next(x for x in CASES if (x.op, x.data) == ("triplet_hard_loss", "oneclass"))
    x, labels = inputs(case)
    assert case.output("loss") > 0.1
    assert metricops.triplet_loss_from_embeddings(x, labels=labels) == 0


def test_the_sigmoid_loss_is_that_of_its_formula():
    torch = require("torch")
    for found in _MANIFEST["cases"]:
        if found["op"] != "siglip":
            continue
        case = Case(found["case"], "formula", "siglip", found["data"], None, {})
        pairs = [DATA[f"data/{case.data}/{side}"] for side in ("first", "second")]
        scale, bias = (found["params"][key] for key in ("scale", "bias"))
        leaves = [torch.tensor(x, requires_grad=True) for x in (*pairs, scale, bias)]
        value = metricops.sigmoid_loss_from_embeddings(
            *leaves[:2], temperature=1 / leaves[2], bias=leaves[3], normalize=True
        )
        np.testing.assert_allclose(value.detach(), case.output("loss"), rtol=2e-5)
        names = ("grad_first", "grad_second", "grad_scale", "grad_bias")
        gradients = torch.autograd.grad(value, leaves)
        for gradient, name in zip(gradients, names, strict=True):
            wanted = case.output(name)
            limit = 1e-3 * max(abs(wanted).max(), 1e-6)
            np.testing.assert_allclose(gradient, wanted, rtol=0, atol=limit)


def test_the_contrastive_loss_of_distances_is_that_of_tensorflow_addons(run):
    for found in _MANIFEST["cases"]:
        if found["op"] != "contrastive_loss":
            continue
        case = Case(found["case"], "tfa", found["op"], found["data"], None, {})
        data = DATA["data/distances/distances"], DATA["data/distances/labels"]
        margin = found["params"]["margin"]
        rows = run(metricops.contrastive_loss, *data, margin=margin, reduction="none")
        np.testing.assert_allclose(rows, case.output("rows"), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("warmup", [0, 1])
def test_a_memory_across_batches_is_that_of_tensorflow_similarity(warmup):
    torch = require("torch")
    adapter = require("metricops.adapters.torch")
    (found,) = [
        x
        for x in _MANIFEST["cases"]
        if x["op"] == "XBM" and x["params"]["warmup_steps"] == warmup
    ]
    case = Case(found["case"], "tfsim", "XBM", found["data"], None, {})
    inner = adapter.TripletEmbeddingLoss(0.5, positives="hard", metric="cosine")
    loss = adapter.CrossBatchMemory(inner, 20, warmup_steps=warmup)
    for i in range(3):
        x, labels = (DATA[f"data/stream{i}/{key}"] for key in ("embeddings", "labels"))
        leaf = torch.tensor(x, requires_grad=True)
        value = loss(leaf, torch.tensor(labels))
        (gradient,) = torch.autograd.grad(value, leaf)
        np.testing.assert_allclose(value.detach(), case.output(f"loss{i}"), rtol=2e-5)
        wanted = case.output(f"grad{i}")
        wanted = wanted - x * (wanted * x).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(gradient, wanted, atol=1e-3 * abs(wanted).max())
