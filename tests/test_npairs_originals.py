"""The options of N-pairs give the numbers of the losses that they replace.

`data/npairs_options.npz` was computed by TensorFlow Recommenders 0.7.7, TensorFlow
Similarity 0.17.1, pytorch-metric-learning 2.9.0 and sentence-transformers 6.2.0;
nothing here computes an expected value.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metricops
from tests.conftest import LIBRARIES, Library

with np.load(Path(__file__).parent / "data" / "npairs_options.npz") as stored:
    ARRAYS = dict(stored)
CASES = json.loads(bytes(ARRAYS["manifest"]))
ONE_SET: dict[str, Any] = {"normalize": True, "exclude_diagonal": True}
# The arrays of a call, its options, and the outputs that are gradients of each array.
Made = tuple[dict[str, Any], dict[str, Any], dict[str, tuple[str, ...]]]


def data(case: Any) -> dict[str, Any]:
    prefix = f"data/{case['data']}/"
    return {
        name.removeprefix(prefix): x
        for name, x in ARRAYS.items()
        if name.startswith(prefix)
    }


def ntxent(case: Any) -> Made:
    # The original takes the mean over the pairs of positives, not over the anchors.
    given = data(case)
    labels = given["labels"]
    pairs = np.sum(labels[:, None] == labels[None, :], axis=1) - 1
    options = {
        "labels": labels,
        "denominator": "own",
        "temperature": case["params"]["temperature"],
        "sample_weight": pairs.tolist(),
        "reduction": "weighted_mean",
        **ONE_SET,
    }
    return {"anchors": given["embeddings"]}, options, {"anchors": ("grad",)}


def supcon(case: Any) -> Made:
    given = data(case)
    temperature = case["params"]["temperature"]
    options: dict[str, Any] = {"labels": given["labels"], "temperature": temperature}
    options |= ONE_SET
    if "reducer" in case["params"]:  # the mean over all anchors, with a positive or not
        options |= {"sample_weight": 1 / len(given["labels"]), "reduction": "sum"}
    return {"anchors": given["embeddings"]}, options, {"anchors": ("grad",)}


def simclr(case: Any) -> Made:
    # The sum of both directions' losses: twice the mean over all rows.
    given = data(case)
    first, second = given["first"], given["second"]
    count = len(first)
    options = {
        "labels": [*range(count), *range(count)],
        "temperature": case["params"].get("temperature", 0.05),
        "sample_weight": 2.0,
        **ONE_SET,
    }
    arrays = {"anchors": np.concatenate([first, second])}
    return arrays, options, {"anchors": ("grad_first", "grad_second")}


def retrieval(case: Any) -> Made:
    given, call = data(case), case["params"]["call"]
    options: dict[str, Any] = {"reduction": "sum"}
    options["temperature"] = case["params"].get("temperature", 1.0)
    if "sample_weight" in call:
        options["sample_weight"] = given["weight"]
    if "candidate_sampling_probability" in call:
        options["candidate_bias"] = -np.log(np.clip(given["probability"], 1e-6, 1.0))
    if "candidate_ids" in call:
        options["candidate_ids"] = given["ids"]
        options["ids"] = given["ids"][: len(given["queries"])]
    arrays = {"anchors": given["queries"], "candidates": given["candidates"]}
    names: dict[str, tuple[str, ...]] = {
        "anchors": ("grad_queries",),
        "candidates": ("grad_candidates",),
    }
    return arrays, options, names


def ranking(case: Any) -> Made:
    given = data(case)
    options: dict[str, Any] = {"temperature": 1 / 20.0, "normalize": True}
    options["symmetric"] = "directions" in case["params"]
    arrays = {"anchors": given["anchors"], "candidates": given["positives"]}
    names: dict[str, tuple[str, ...]] = {
        "anchors": ("grad_anchors",),
        "candidates": ("grad_positives",),
    }
    if "grad_negatives" in case["outputs"]:
        both = given["positives"], given["negatives"]
        arrays["candidates"] = np.concatenate(both)
        names["candidates"] = ("grad_positives", "grad_negatives")
    return arrays, options, names


MADE = {
    "NTXentLoss": ntxent,
    "SupConLoss": supcon,
    "SimCLRLoss": simclr,
    "Retrieval": retrieval,
    "MultipleNegativesRankingLoss": ranking,
}


def is_wrong(case: Any) -> bool:
    """Return whether the original returns 0 where there is no negative.

    With one class SupCon's denominator holds the positives, and is larger than each.
    """
    return case["op"] == "SupConLoss" and case["data"] in ("oneclass", "pair_same")


def check(library: Library, case: Any) -> None:
    arrays, options, names = MADE[case["op"]](case)
    given = {name: library.asarray(x) for name, x in arrays.items()}
    solve = metricops.value_and_grad(metricops.npairs_loss_from_embeddings)
    value, found = solve(**given, **options)
    expected = ARRAYS[f"{case['case']}/loss"]
    np.testing.assert_allclose(library.to_numpy(value), expected, 2e-5, 1e-6)
    for name, outputs in names.items():
        want = np.concatenate([ARRAYS[f"{case['case']}/{x}"] for x in outputs])
        got = library.to_numpy(found[name])
        # A row of zeros has a slope of up to 1e13 there, and of 0 here.
        rows = np.any(arrays[name] != 0, axis=1)
        size = np.max(np.abs(want[rows]), initial=1e-6)
        np.testing.assert_allclose(got[rows], want[rows], atol=1e-3 * size, rtol=0)
        assert not np.any(got[~rows])


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("op", MADE)
def test_the_numbers_are_those_of_the_original(op, name):
    library = Library(name)
    cases = [case for case in CASES if case["op"] == op and not is_wrong(case)]
    few = name in ("jax", "tensorflow", "dask")  # which take long
    assert cases
    for case in cases[:: 15 if few else 1]:
        check(library, case)


@pytest.mark.parametrize("case", [x for x in CASES if is_wrong(x)], ids=str)
def test_one_class_alone_has_the_loss_of_its_formula(case):
    arrays, options, _ = supcon(case)
    assert ARRAYS[f"{case['case']}/loss"] == 0
    found = metricops.npairs_loss_from_embeddings(**arrays, **options)
    rows = arrays["anchors"].astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    scores = rows @ rows.T / options["temperature"]
    np.fill_diagonal(scores, -np.inf)
    logs = scores - np.log(np.sum(np.exp(scores), axis=1, keepdims=True))
    np.fill_diagonal(logs, 0.0)
    expected = -np.mean(np.sum(logs, axis=1) / (len(rows) - 1))
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)
