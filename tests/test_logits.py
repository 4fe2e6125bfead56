"""N-pairs at large and small logits: panels, masks, anchors left out, and small losses.

Rows of small whole numbers times a power of two have exact products in float32 too, so
that a definition in float64 is of the same logits.
"""

import math
from functools import partial
from typing import Any

import numpy as np
import pytest

import metricops
from tests.definitions import embeddings_loss, numeric_gradient

_GENERATOR = np.random.default_rng(0)
N = 24
WHOLE = _GENERATOR.integers(-3, 4, (2, N, 3)).astype(np.float64)
LABELS = (np.arange(N) % 7).tolist()
NAN = math.nan
# What logits of about 10 become: 1e-3, 1e4, 1e7 and 1e10 of them.
SCALES = [2.0**-13, 2.0**10, 2.0**20, 2.0**30]
CALLS: dict[str, Any] = {
    "position": {"labels": None},
    "labels": {"labels": LABELS},
    "one set": {"labels": LABELS, "candidates": False},
    "one set without itself": {
        "labels": LABELS,
        "candidates": False,
        "exclude_diagonal": True,
    },
    "symmetric": {"labels": None, "symmetric": True},
    "symmetric with labels": {"labels": LABELS, "symmetric": True},
}
calls = pytest.mark.parametrize("call", CALLS)
scales = pytest.mark.parametrize("scale", SCALES)
blocks = pytest.mark.parametrize("block_size", [None, 5])


def given(call, scale):
    """Return the arrays of a call, and its options."""
    options = dict(CALLS[call])
    anchors, candidates = WHOLE * np.asarray([scale, 1.0])[:, None, None]
    if options.pop("candidates", True):
        return (anchors, candidates), options
    return (anchors,), {**options, "temperature": 1 / scale}


@blocks
@scales
@calls
def test_the_loss_is_its_definition_at_any_logits(run, call, scale, block_size):
    arrays, options = given(call, scale)
    expected = embeddings_loss(*(rows.tolist() for rows in arrays), **options)
    single = [rows.astype(np.float32) for rows in arrays]
    result = run(
        metricops.npairs_loss_from_embeddings, *single, **options, block_size=block_size
    )
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@scales
@calls
def test_the_gradient_does_not_depend_on_the_panels(gradient, call, scale):
    arrays, options = given(call, scale)
    whole, parts = (
        gradient(
            metricops.npairs_loss_from_embeddings,
            *arrays,
            **options,
            block_size=block_size,
        )
        for block_size in (None, 5)
    )
    for got, want in zip(parts, whole, strict=True):
        size = float(np.max(np.abs(want)))
        assert math.isfinite(size)
        np.testing.assert_allclose(got, want, atol=1e-9 * size)


@pytest.mark.parametrize("scale", [100.0, 2.5e3, 7e4])
def test_rounding_does_not_part_a_row_from_its_peak(run, scale):
    # Products that round one way in a row and another way in a column.
    rows = _GENERATOR.standard_normal((300, 16))
    rows = (scale * rows).astype(np.float32)
    options: Any = {"labels": (np.arange(300) % 75).tolist(), "temperature": 0.07}

    def of_anchors(x, block_size):
        found = metricops.npairs_loss_and_grad(x, **options, block_size=block_size)
        return found[1][0]

    whole, parts = (run(of_anchors, rows, block_size=size) for size in (300, 64))
    # A logit is off by its rounding alone, and so are two panels from each other.
    slack = 300 * float(np.max(rows) ** 2) * 16 / 0.07 * 2.0**-24
    tolerance = max(1e-5, min(slack, 1.0) * 1e-3) * float(np.max(np.abs(whole)))
    np.testing.assert_allclose(parts, whole, atol=tolerance)


@blocks
def test_a_mask_is_below_any_similarity(run, block_size):
    # Rows of 1e19 have similarities of 1e38, which a number for a mask might pass.
    rows = np.asarray([[1e19, 0.0], [-1e19, 0.0], [0.0, 1e19], [0.0, -1e19]])
    pair = rows[[0, 0, 1]].astype(np.float32)
    result = run(
        metricops.npairs_loss_from_embeddings,
        -pair,
        labels=[0, 0, 0],
        exclude_diagonal=True,
        block_size=block_size,
    )
    expected = embeddings_loss(
        (-pair).astype(np.float64).tolist(), labels=[0, 0, 0], exclude_diagonal=True
    )
    np.testing.assert_allclose(result, expected, rtol=1e-5)


@blocks
def test_opposite_rows_are_equally_far(run, block_size):
    rows = np.asarray([[1e19], [-1e19], [-1e19]], np.float32)
    result = run(
        metricops.npairs_loss_from_embeddings,
        rows,
        labels=[0, 0, 0],
        exclude_diagonal=True,
        reduction="none",
        block_size=block_size,
    )
    np.testing.assert_allclose(result[0], math.log(2), rtol=1e-6)


@blocks
@pytest.mark.parametrize("normalize", [False, True])
def test_an_anchor_left_out_has_gradient_zero(gradient, normalize, block_size):
    anchors = WHOLE[0, :5].copy()
    anchors[1] = NAN
    candidates = WHOLE[1, :6] + 0.5
    options = {
        "labels": [0, 9, 1, 0, 2],
        "candidate_labels": [0, 1, 2, 0, 1, 3],
        "normalize": normalize,
    }
    kept = [0, 2, 3, 4]
    fewer = {**options, "labels": [0, 1, 0, 2]}
    expected = numeric_gradient(
        lambda a, c: embeddings_loss(a, c, **fewer), anchors[kept], candidates
    )
    found = gradient(
        metricops.npairs_loss_from_embeddings,
        anchors,
        candidates,
        **options,
        block_size=block_size,
    )
    np.testing.assert_array_equal(found[0][1], np.zeros(3))
    np.testing.assert_allclose(found[0][kept], expected[0], atol=1e-7)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-7)


MASKED = {"exclude_diagonal": True, "normalize": True}
of_one_label = pytest.mark.parametrize("labels", [[3], [[1, 0, 1]]], ids=str)


@of_one_label
def test_an_anchor_without_any_pair_has_gradient_zero(gradient, labels):
    call = metricops.npairs_loss_from_embeddings
    (found,) = gradient(call, np.float32(WHOLE[0, :1]), labels=labels, **MASKED)
    np.testing.assert_array_equal(found, np.zeros((1, 3)))


@of_one_label
def test_an_anchor_without_any_pair_has_gradient_zero_traced(traced_gradient, labels):
    call = metricops.npairs_loss_from_embeddings
    (found,) = traced_gradient(call, np.float32(WHOLE[0, :1]), labels=labels, **MASKED)
    np.testing.assert_array_equal(found, np.zeros((1, 3)))


@blocks
def test_no_candidates_leave_the_temperature_alone(gradient, block_size):
    def loss(anchors, candidates, temperature):
        return metricops.npairs_loss_from_embeddings(
            anchors,
            candidates,
            labels=[0, 1],
            candidate_labels=np.zeros(0, np.int64),
            temperature=temperature,
            block_size=block_size,
        )

    found = gradient(loss, WHOLE[0, :2], np.zeros((0, 3)), np.asarray(0.5))
    for x in found:
        np.testing.assert_array_equal(x, np.zeros(x.shape))


@pytest.mark.parametrize("size", [1e-1, 1e-4, 1e-8, 1e-12])
def test_the_gradient_of_a_small_loss_keeps_its_digits(size):
    # Two anchors whose own candidates lead by log(1 / size).
    lead = math.log(1 / size)
    anchors = np.asarray([[1.0, 0.0], [0.0, 1.0]])
    candidates = lead * np.eye(2)
    loss, (of_anchors, _, _) = metricops.npairs_loss_and_grad(
        anchors.astype(np.float32), candidates.astype(np.float32)
    )
    lead = float(np.float32(lead))
    share = 1 / (1 + math.exp(lead))
    np.testing.assert_allclose(loss, math.log1p(math.exp(-lead)), rtol=1e-5)
    expected = -share * lead / 2 * np.asarray([[1.0, -1.0], [-1.0, 1.0]])
    np.testing.assert_allclose(of_anchors, expected, rtol=1e-5)


PULLED: dict[str, Any] = {
    "position": metricops.npairs_loss_from_embeddings,
    "labels": partial(metricops.npairs_loss_from_embeddings, labels=LABELS),
    "symmetric": partial(metricops.npairs_loss_from_embeddings, symmetric=True),
    "proxies": partial(
        metricops.margin_softmax_loss_from_embeddings, labels=np.arange(N)[::-1].copy()
    ),
}


@pytest.mark.parametrize("frozen", ["anchors", "candidates"])
@pytest.mark.parametrize("name", PULLED)
def test_a_frozen_side_saves_a_product(frozen, name):
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counter(TorchDispatchMode):
        total = 0

        def __torch_dispatch__(self, called, types, args=(), kwargs=None):
            if called in (torch.ops.aten.mm.default, torch.ops.aten.addmm_.default):
                left, right = args[-2:]
                self.total += left.numel() * right.shape[1]
            return called(*args, **(kwargs or {}))

    def products(*needed):
        x, y = (
            torch.tensor(rows, requires_grad=name in needed)
            for rows, name in zip(WHOLE, ("anchors", "candidates"), strict=True)
        )
        with Counter() as counter:
            PULLED[name](x, y, block_size=5).backward()
        return counter.total

    sides = ["anchors", "candidates"]
    learning = [side for side in sides if side != frozen]
    assert products(*sides) - products(*learning) == N * N * 3
