"""Triplets of one positive and one negative, which a product a panel finds."""

from itertools import product
from typing import Any

import numpy as np
import pytest

import metricops
from metricops._panels import mining

N, M, D = 160, 90, 6
KINDS = ("hard", "easy")
METRICS = ("euclidean", "squared_euclidean", "cosine")


@pytest.fixture
def sides():
    """Return anchors and candidates with labels; some rows are equal, some alone."""
    generator = np.random.default_rng(0)
    x = (generator.normal(size=(N, D)) + 20).astype(np.float32)
    x[10:14] = x[0]
    x[100] = x[50]
    labels = np.arange(N) // 5
    labels[-3:] = [900, 901, 902]
    y = (generator.normal(size=(M, D)) + 20).astype(np.float32)
    y[:20] = x[:20]
    return (x, labels), (y, np.arange(M) // 7)


def exact(torch, rows, others, alone, options):
    """Return the mean loss, and its gradients, dense and in float64.

    Of one set that is `alone`, whose rows are not their own positives by default.
    """
    own, labels = rows
    every, names = others
    x = torch.tensor(own, dtype=torch.float64, requires_grad=True)
    y = x if alone else torch.tensor(every, dtype=torch.float64, requires_grad=True)
    metric, units = options["metric"], (x, y)
    if metric == "cosine":
        units = tuple(torch.nn.functional.normalize(z, dim=1) for z in (x, y))
    squares = ((units[0][:, None] - units[1][None]) ** 2).sum(-1)
    far = squares / 2 if metric == "cosine" else squares
    if metric == "euclidean":
        far = torch.where(squares == 0, 0.0, squares.clamp(min=1e-300).sqrt())
    same = torch.tensor(labels[:, None] == names[None, :])
    apart = options.get("exclude_diagonal", alone)
    there = ~torch.eye(len(own), dtype=torch.bool) if apart else True
    losses = []
    for row, positives, negatives in zip(far, same & there, ~same & there, strict=True):
        if positives.any() and negatives.any():
            chosen = [
                _one(torch, row[mask], (kind == "hard") == is_positive)
                for mask, kind, is_positive in (
                    (positives, options["positives"], True),
                    (negatives, options["negatives"], False),
                )
            ]
            losses.append((chosen[0] - chosen[1] + 3.0).clamp(min=0))
    loss = torch.stack(losses).mean()
    return loss.item(), torch.autograd.grad(loss, (x,) if alone else (x, y))


def _one(torch, distances, farthest):
    """Return the farthest or nearest distance, whose gradient all that tie share."""
    best = distances.detach().max() if farthest else distances.detach().min()
    ties = (distances.detach() - best).abs() < 1e-9
    return distances[ties].mean()


CASES = [(*each, True) for each in product(KINDS, KINDS, METRICS)]


@pytest.mark.parametrize("case", [*CASES, ("hard", "hard", "euclidean", False)])
@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_mined_triplets_are_exact(torch, sides, name, case):
    *kinds, metric, alone = case
    options: dict[str, Any] = dict(zip(("positives", "negatives"), kinds, strict=True))
    options |= {"metric": metric, "margin": 3.0}
    (x, labels), (y, names) = rows, others = sides
    others = rows if alone else others
    expected, slopes = exact(torch, rows, others, alone, options)
    for block_size in (None, 64):
        given = [x] if alone else [x, y]
        known = options | {"labels": labels, "block_size": block_size}
        if not alone:
            known["candidate_labels"] = names
        if name == "torch":
            given = [torch.tensor(z) for z in given]
        way = metricops.value_and_grad(metricops.triplet_loss_from_embeddings)
        loss, found = way(*given, **known)
        assert float(loss) == pytest.approx(expected, rel=1e-6)
        for own, slope in zip(found.values(), slopes, strict=True):
            error = np.abs(np.asarray(own) - slope.numpy()).max()
            assert error <= 2e-6 * slope.abs().max()


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.float32])
@pytest.mark.parametrize("size", [1, 2, 10, 11, 60])
@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_classes_of_any_size_and_in_any_order(torch, sides, name, size, dtype, apart):
    (x, _), _ = sides
    labels = np.random.default_rng(size).permutation(np.arange(N) // size + 1)
    labels = labels.astype(dtype)
    given = torch.tensor(x) if name == "torch" else x
    named = torch.tensor(labels) if name == "torch" else labels
    way = metricops.value_and_grad(metricops.triplet_loss_from_embeddings)
    for positives, negatives in product(KINDS, KINDS):
        options: dict[str, Any] = {"positives": positives, "negatives": negatives}
        options |= {"metric": "euclidean", "exclude_diagonal": apart}
        if size == 1 and apart:  # no anchor has a positive
            expected, slopes = 0.0, (torch.zeros(x.shape),)
        else:
            rows = x, labels
            expected, slopes = exact(torch, rows, rows, True, options)
        loss, found = way(given, labels=named, margin=3.0, **options)
        assert float(loss) == pytest.approx(expected, rel=1e-6)
        error = np.abs(np.asarray(found["anchors"]) - slopes[0].numpy()).max()
        assert error <= 2e-6 * max(slopes[0].abs().max(), 1e-30)


def test_many_equal_rows_are_computed_as_a_whole(torch):
    x = torch.zeros((200, 4))
    x[100:] = 1.0
    labels = torch.arange(200) % 2
    x.requires_grad_()
    loss = metricops.triplet_loss_from_embeddings(
        x, labels=labels, positives="hard", negatives="hard"
    )
    # The farthest positive is at 2, and the nearest negative at 0.
    assert loss.item() == 3.0
    (gradient,) = torch.autograd.grad(loss, x)
    assert gradient.isfinite().all()


def test_frozen_anchors_may_be_computed_as_a_whole_in_one_panel(torch):
    generator = np.random.default_rng(1)
    x = generator.normal(size=(128, 4)).astype(np.float32)
    y = generator.normal(size=(256, 4)).astype(np.float32)
    y[100:] = y[100]  # the farthest of some rows, and too many of them
    y[100:] *= 50
    labels, names = np.arange(128) % 2, np.arange(256) % 2

    def gradients(*learning, block_size=None):
        pairs = zip((x, y), learning, strict=True)
        own, every = (torch.tensor(z, requires_grad=there) for z, there in pairs)
        loss = metricops.triplet_loss_from_embeddings(
            own,
            every,
            labels,
            candidate_labels=names,
            positives="hard",
            negatives="hard",
            margin=3.0,
            block_size=block_size,
        )
        loss.backward()
        return own.grad, every.grad

    _, whole = gradients(True, True)
    nothing, found = gradients(False, True, block_size=64)
    assert nothing is None
    np.testing.assert_allclose(found, whole, rtol=1e-4, atol=1e-5)


def test_an_infinite_margin_leaves_rows_without_triplets_alone(torch):
    generator = np.random.default_rng(1)
    x = torch.tensor(generator.normal(size=(128, 4)).astype(np.float32))
    labels = np.arange(128) // 2
    labels[-1] = 900
    losses = metricops.triplet_loss_from_embeddings(
        x,
        labels=labels,
        positives="hard",
        negatives="hard",
        margin=float("inf"),
        reduction="none",
    )
    assert losses[-1] == 0
    assert losses[0] == float("inf")


def test_rows_that_are_not_finite_are_not_mined(torch):
    x = torch.randn((100, 4), generator=torch.Generator().manual_seed(0))
    x[3] = float("nan")
    labels = torch.arange(100) // 4
    loss = metricops.triplet_loss_from_embeddings(
        x, labels=labels, positives="hard", negatives="hard", reduction="none"
    )
    assert loss[4:].isnan().all()


def test_a_product_a_panel_finds_the_triplets(torch, monkeypatch):
    taken, original = [], mining.mined

    def watched(*given):
        taken.append(original(*given))
        return taken[-1]

    monkeypatch.setattr(mining, "mined", watched)
    x = torch.randn((128, 4), requires_grad=True)
    metricops.triplet_loss_from_embeddings(
        x, labels=torch.arange(128) // 4, positives="hard", negatives="hard"
    ).backward()
    assert [bool(found.complete) for found in taken] == [True]


@pytest.mark.parametrize("count", [64, 80, 90])
@pytest.mark.parametrize("near", [1, 2, 6])
def test_what_is_near_the_largest_is_found(torch, count, near):
    from metricops._frameworks.torch import selection

    generator = torch.Generator().manual_seed(count + near)
    x = torch.rand((40, count), generator=generator)
    columns = torch.rand((40, count), generator=generator).argsort(dim=1)[:, :near]
    x.scatter_(1, columns, (2 + torch.arange(near) / 100).expand(40, -1))
    x[3] = -torch.inf
    found, there, complete = selection.within(x, 1, torch.full((40, 1), 0.2))
    assert complete.all()
    expected = columns.sort(dim=1).values
    expected = expected[torch.arange(40) != 3]
    assert not there[3].any()
    mine = torch.stack(
        [row[mask] for row, mask in zip(found, there, strict=True) if mask.any()]
    )
    assert (mine == expected).all()
