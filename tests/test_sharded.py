"""The loss of a group, with groups that need no processes.

`test_distributed.py` has those of the frameworks.
"""

import re
from typing import Any

import numpy as np
import pytest

import metricops
from metricops._sharded import loss_of_group
from tests import term_definitions
from tests.definitions import embeddings_loss
from tests.term_definitions import sigmoid_loss

DEFAULTS: dict[str, Any] = {
    "temperature": 1.0,
    "normalize": False,
    "symmetric": False,
    "exclude_diagonal": False,
    "l2_weight": 0.0,
    "reduction": "mean",
    "block_size": None,
}
A = [[1.0, 0.5], [-0.5, 2.0], [0.0, 1.0]]
C = [[0.5, 0.0], [1.0, 1.5], [-1.0, 0.5]]
LABELS, OTHERS = [0, 1, 0], [0, 0, 2]
HOT, OTHERS_HOT = [[1, 0], [1, 1], [0, 0]], [[1, 0], [0, 1], [1, 1]]
WEIGHTS = [1.0, 0.5, 2.0]
CALLS: dict[str, dict[str, Any]] = {
    "by position": {"candidates": C, "l2_weight": 0.5},
    "labels": {"candidates": C, "labels": LABELS, "candidate_labels": OTHERS},
    "multi-hot": {"candidates": C, "labels": HOT, "candidate_labels": OTHERS_HOT},
    "one set": {"labels": LABELS, "exclude_diagonal": True, "block_size": 2},
    "symmetric": {"candidates": C, "symmetric": True, "normalize": True},
    "ids": {"candidates": C, "ids": [0, 1, 0], "candidate_ids": [1, 2, 0]},
    "ids of one set": {"labels": LABELS, "ids": [0, 0, 1], "symmetric": True},
    "bias": {"candidates": C, "candidate_bias": [0.5, -1.0, 0.0]},
    "smoothing": {"candidates": C, "label_smoothing": 0.25, "symmetric": True},
    "own": {"labels": LABELS, "denominator": "own", "exclude_diagonal": True},
    "negatives": {"candidates": C, "ids": [0, 0, 1], "denominator": "negatives"},
    "no negatives": {"labels": [0, 0, 0], "denominator": "negatives"},
}


class Alone:
    """A group of one."""

    size = 1
    ring = False

    def meet(self, call: dict[str, str], sides: tuple[Any, ...]) -> list[list[int]]:
        return [[x.shape[0]] for x in sides]

    def fail(self, error: Exception) -> None:
        raise AssertionError from error

    def number(self, counts: list[int]) -> int:
        return max(sum(counts), 1)

    def gather(self, x: Any, counts: list[int]) -> Any:
        return x

    def total(self, x: Any) -> Any:
        return x


class Absent:
    """A group in which nobody answers."""

    size = 2
    ring = False
    told: list[str]

    def __init__(self) -> None:
        self.told = []

    def meet(self, call: dict[str, str], sides: tuple[Any, ...]) -> list[list[int]]:
        raise AssertionError

    def fail(self, error: Exception) -> None:
        self.told.append(str(error))

    def number(self, counts: list[int]) -> int:
        raise AssertionError

    def gather(self, x: Any, counts: list[int]) -> Any:
        raise AssertionError

    def total(self, x: Any) -> Any:
        raise AssertionError


def of_group(group: Any, anchors: Any, candidates: Any = None, **given: Any) -> Any:
    """Return the loss of a group, with the defaults of the function."""
    options = DEFAULTS | {"candidate_labels": None, "sample_weight": None} | given
    labels = options.pop("labels", None)
    function = metricops.npairs_loss_from_embeddings
    return loss_of_group(group, function, anchors, candidates, labels, **options)


@pytest.mark.parametrize("reduction", ["mean", "sum", "weighted_mean", "none"])
@pytest.mark.parametrize("call", CALLS)
def test_a_group_of_one_has_the_loss_of_its_batch(run, call, reduction):
    options = CALLS[call] | {"sample_weight": WEIGHTS, "reduction": reduction}
    if reduction == "none":
        options |= {"l2_weight": 0.0}
    definition = {k: x for k, x in options.items() if k != "block_size"}
    arrays = [options.pop("candidates")] if "candidates" in options else []
    result = run(lambda *x: of_group(Alone(), *x, **options), A, *arrays)
    expected = embeddings_loss(A, **definition)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum", "weighted_mean", "none"])
@pytest.mark.parametrize("call", ["by position", "labels", "one set", "ids"])
def test_all_anchors_of_a_group_count_in_its_sigmoid_loss(run, call, reduction):
    dropped = ("block_size", "l2_weight")
    given = {k: x for k, x in CALLS[call].items() if k not in dropped}
    given |= {"sample_weight": WEIGHTS, "reduction": reduction, "temperature": 0.5}
    arrays = [given.pop("candidates")] if "candidates" in given else []

    def loss(anchors, candidates=None):
        options = {"exclude_diagonal": None, "bias": -0.5, **given}
        labels = options.pop("labels", None)
        function = metricops.sigmoid_loss_from_embeddings
        how = Alone(), function, anchors, candidates, labels
        return loss_of_group(*how, **options)

    result = run(loss, A, *arrays)
    expected = sigmoid_loss(A, *arrays, bias=-0.5, **given)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_weights_that_sum_to_nothing_have_the_loss_zero(run):
    options = {"sample_weight": [1.0, -1.0, 0.0], "reduction": "weighted_mean"}
    result = run(lambda x, y: of_group(Alone(), x, y, **options), A, C)
    assert result == 0.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"candidates": C[:2]}, "`candidates` must have a row for each of 3 anchors"),
        ({}, "`labels` must be given where `candidates` is None; got None."),
        ({"labels": [0]}, "`labels` must have a label for each of 3 anchors; got "),
        ({"labels": LABELS, "reduction": "all"}, '`reduction` must be "mean", "sum"'),
        ({"candidates": C, "sample_weight": [1.0, 2.0]}, "`sample_weight` must have "),
        ({"candidates": C, "temperature": 0.0}, "`temperature` must be positive"),
        ({"candidates": C, "block_size": 0}, "`block_size` must be at least 1; got 0"),
        ({"candidates": C, "l2_weight": "1"}, "`l2_weight` must be a number; got '1'"),
        ({"candidates": [[True, False]] * 3}, "`candidates` must be of integers or "),
        ({"labels": ["a", "b", "a"]}, "`labels` must be of numbers that "),
        (
            {"labels": LABELS, "candidate_labels": [0, 1, "a"]},
            "`candidate_labels` must be of numbers that ",
        ),
    ],
)
def test_a_member_reports_its_own_mistakes_before_it_waits(library, given, message):
    options = dict(given)
    if "candidates" in options:
        options["candidates"] = library.asarray(options["candidates"])
    group = Absent()
    with pytest.raises((TypeError, ValueError), match="^" + re.escape(message)):
        of_group(group, library.asarray(A), **options)
    (told,) = group.told
    assert told.startswith(message)


@pytest.mark.parametrize(
    ("name", "call", "reduction"),
    [
        ("contrastive", "labels", "mean"),
        ("contrastive", "by position", "weighted_mean"),
        ("contrastive", "one set", "none"),
        ("triplet", "labels", "sum"),
        ("triplet", "by position", "mean"),
        ("triplet", "one set", "active_mean"),
        ("triplet", "one set", "weighted_mean"),
    ],
)
def test_all_terms_of_a_group_count_in_its_loss(run, call, name, reduction):
    given = {k: x for k, x in CALLS[call].items() if k != "l2_weight"}
    given |= {"sample_weight": WEIGHTS, "reduction": reduction}
    arrays = [given.pop("candidates")] if "candidates" in given else []
    function = getattr(metricops, f"{name}_loss_from_embeddings")

    def loss(anchors, candidates=None):
        options = dict(given)
        labels = options.pop("labels", None)
        how = Alone(), function, anchors, candidates, labels
        return loss_of_group(*how, **options)

    result = run(loss, A, *arrays)
    given.pop("block_size", None)
    expected = getattr(term_definitions, f"{name}_loss")(A, *arrays, **given)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
