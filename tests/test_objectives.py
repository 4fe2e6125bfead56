"""The engine runs a loss that the library does not have: it knows no loss."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from metricops._frameworks.programs import register_record
from metricops._losses.embeddings import Arguments, admitted
from metricops._losses.embeddings_call import loss_and_gradients, loss_of
from metricops._panels.objective import Objective, Slopes, negatives
from tests.definitions import numeric_gradient, reduced


@dataclass(frozen=True)
class SquaredHinges(Objective):
    """The sum of the squared hinges of an anchor's negatives."""

    margin: float = 0.0

    counts_all = True  # an anchor without a positive counts too

    def losses(self, lib, scores, pairs):
        return lib.xp.sum(self._hinges(lib, scores, pairs) ** 2, axis=1)

    def slopes(self, lib, scores, pairs):
        hinges = self._hinges(lib, scores, pairs)
        return Slopes(lib.xp.sum(hinges**2, axis=1), 2 * hinges)

    def _hinges(self, lib, scores, pairs):
        hinges = lib.clip(scores + self.margin, 0.0, float("inf"))
        return lib.xp.where(negatives(lib, pairs, scores), hinges, 0.0)


HINGES = SquaredHinges(0.25)
register_record("squared_hinges", SquaredHinges)
_GENERATOR = np.random.default_rng(0)
ANCHORS, CANDIDATES = np.round(_GENERATOR.standard_normal((2, 5, 3)), 2)
MORE = np.round(_GENERATOR.standard_normal((7, 3)), 2)
LABELS = [0, 1, 0, 2, 1]
MORE_LABELS = [1, 0, 0, 7, 2, 1, 2]
WEIGHTS = [1.0, 0.5, 0.0, 2.0, 1.5]
CALLS: dict[str, Any] = {
    "position": ((ANCHORS, MORE), {}),
    "labels": ((ANCHORS, MORE), {"labels": LABELS, "candidate_labels": MORE_LABELS}),
    "symmetric": ((ANCHORS, CANDIDATES), {"symmetric": True, "labels": LABELS}),
    "symmetric by position": ((ANCHORS, CANDIDATES), {"symmetric": True}),
    "one set": ((ANCHORS,), {"labels": LABELS, "exclude_diagonal": True}),
    "one set of other labels": (
        (ANCHORS,),
        {"labels": LABELS, "candidate_labels": LABELS[::-1], "symmetric": True},
    ),
}
calls = pytest.mark.parametrize("call", CALLS)
blocks = pytest.mark.parametrize("block_size", [None, 2])


def loss(*arrays, **options):
    return loss_of(admitted(HINGES, Arguments(*arrays, **options)))


def direction(rows, columns, same, excluded):
    """Return each row's sum of squared hinges, in plain Python."""
    found = []
    for i, row in enumerate(rows):
        hinges = [
            max(0.0, sum(a * b for a, b in zip(row, column, strict=True)) / 0.5 + 0.25)
            for j, column in enumerate(columns)
            if not same(i, j) and not (excluded and i == j)
        ]
        found.append(sum(hinge**2 for hinge in hinges))
    return found


def definition(anchors, candidates=None, weights=None, **options):
    candidates = anchors if candidates is None else candidates
    labels: Any = options.get("labels")
    others = options.get("candidate_labels", labels)

    def same(i, j):
        return i == j if labels is None else labels[i] == others[j]

    excluded = options.get("exclude_diagonal", False)
    rows = direction(anchors, candidates, same, excluded)
    total = reduced(rows, weights, options.get("reduction", "mean"))
    if not options.get("symmetric"):
        return total
    columns = direction(candidates, anchors, lambda i, j: same(j, i), excluded)
    other = reduced(columns, weights, options.get("reduction", "mean"))
    return (np.asarray(total) + other) / 2


@blocks
@calls
def test_its_values_are_right(run, call, block_size):
    arrays, options = CALLS[call]
    result = run(loss, *arrays, **options, temperature=0.5, block_size=block_size)
    expected = definition(*arrays, **options)
    np.testing.assert_allclose(result, expected, rtol=2e-5)


@calls
def test_its_gradients_are_right(gradient, call):
    arrays, options = CALLS[call]
    expected = numeric_gradient(lambda *x: float(definition(*x, **options)), *arrays)
    for block_size in (None, 2):
        result = gradient(
            loss, *arrays, **options, temperature=0.5, block_size=block_size
        )
        for got, want in zip(result, expected, strict=True):
            np.testing.assert_allclose(got, want, atol=1e-6)


@calls
def test_its_gradients_are_right_when_traced(traced_gradient, call):
    arrays, options = CALLS[call]
    expected = numeric_gradient(lambda *x: float(definition(*x, **options)), *arrays)
    result = traced_gradient(loss, *arrays, **options, temperature=0.5, block_size=2)
    for got, want in zip(result, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("reduction", ["weighted_mean", "none"])
@calls
def test_its_rows_are_weighted(gradient, call, reduction):
    arrays, options = CALLS[call]
    options = {**options, "reduction": reduction}
    upstream: Any = [1.0, -2.0, 0.5, 3.0, 0.25] if reduction == "none" else 1.0

    def total(*moved):
        return float(np.sum(np.multiply(upstream, definition(*moved, **weighted))))

    weighted = {**options, "weights": WEIGHTS}
    expected = numeric_gradient(total, *arrays)
    result = gradient(
        loss,
        *arrays,
        **options,
        sample_weight=WEIGHTS,
        temperature=0.5,
        block_size=2,
        upstream=upstream,
    )
    for got, want in zip(result, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)


@calls
def test_its_gradients_need_no_autodiff(call):
    arrays, options = CALLS[call]
    asked = Arguments(*arrays, **options)._replace(temperature=0.5, block_size=2)
    value, gradients = loss_and_gradients(admitted(HINGES, asked))
    np.testing.assert_allclose(value, definition(*arrays, **options))
    expected = numeric_gradient(lambda *x: float(definition(*x, **options)), *arrays)
    for got, want in zip(gradients, expected, strict=False):
        np.testing.assert_allclose(got, want, atol=1e-6)
