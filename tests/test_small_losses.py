"""Losses far below 1: the positive's own term is kept apart, so that nothing cancels.

Where a loss is small, the softmax of the positive is 1 less a number that float32 does
not hold beside 1. Expected values are those of its complement, in float64.
"""

from typing import Any

import numpy as np
import pytest

import metricops

LOSSES = [1e-1, 1e-6, 1e-12]
N, D = 6, 8
CLASSES = np.arange(N)
PAIRS = np.arange(N) // 2
FORMS: dict[str, dict[str, Any]] = {
    "position": {},
    "symmetric": {"symmetric": True},
    "labels": {"labels": CLASSES},
    "symmetric labels": {"labels": CLASSES, "symmetric": True},
    "multi-hot": {"labels": np.eye(N, dtype=np.int32)},
    "one set": {"labels": PAIRS, "exclude_diagonal": True},
    "weights": {"sample_weight": np.linspace(0.5, 1.5, N).astype(np.float32)},
}


def sides(form):
    """Return anchors and candidates, each nearest to its only positive."""
    generator = np.random.default_rng(5)
    basis = np.linalg.qr(generator.normal(size=(D, D)))[0][:N]
    if form == "one set":
        basis = np.repeat(basis[: N // 2], 2, axis=0)
    noise = 0.05 * generator.normal(size=(2, N, D))
    anchors, candidates = ((basis + x).astype(np.float32) for x in noise)
    return (anchors,) if form == "one set" else (anchors, candidates)


def exact(form, embeddings, temperature):
    """Return the loss and its gradients by the complement of each softmax."""
    wide = [x.astype(np.float64) for x in embeddings]
    scores = wide[0] @ wide[-1].T / temperature
    own = np.arange(N) ^ 1 if form == "one set" else np.arange(N)
    weights = FORMS[form].get("sample_weight", np.ones(N)).astype(np.float64) / N
    there = ~np.eye(N, dtype=bool) if form == "one set" else np.ones((N, N), bool)
    loss, slope = one_way(scores, own, weights, there)
    if "symmetric" in form:
        other, turned = one_way(scores.T, own, weights, there)
        loss, slope = (loss + other) / 2, (slope + turned.T) / 2
    first, second = (
        slope @ wide[-1] / temperature,
        slope.T @ wide[0] / temperature,
    )
    return loss, [first + second] if form == "one set" else [first, second]


def one_way(scores, own, weights, there):
    """Return the weighted sum of the rows' losses, and its slope by the scores."""
    rows = np.arange(N)
    ratios = np.where(there, np.exp(scores - scores[rows, own][:, None]), 0.0)
    ratios[rows, own] = 0.0
    rest = ratios.sum(axis=1)
    slope = ratios / (1 + rest)[:, None]
    slope[rows, own] = -rest / (1 + rest)
    return weights @ np.log1p(rest), slope * weights[:, None]


def temperature_of(form, embeddings, loss):
    """Return the temperature at which a form has about that loss."""
    low, high = 1e-3, 10.0
    for _ in range(60):
        middle = (low * high) ** 0.5
        below = exact(form, embeddings, middle)[0] < loss
        low, high = (middle, high) if below else (low, middle)
    return float(np.float32(low))


def check(form, found, embeddings, loss):
    """Compare a loss and gradients at some temperature to the exact ones."""
    expected, slopes = exact(form, embeddings, temperature_of(form, embeddings, loss))
    assert expected == pytest.approx(loss, rel=0.01)
    assert float(found[0]) == pytest.approx(expected, rel=3e-5)
    for own, other in zip(found[1:], slopes, strict=True):
        assert np.linalg.norm(own - other) < 3e-5 * np.linalg.norm(other)


def temperatures(form, embeddings):
    """Return an array for each loss, so that all of them are one program."""
    return [np.float32(temperature_of(form, embeddings, loss)) for loss in LOSSES]


@pytest.mark.parametrize("form", [form for form in FORMS if form != "weights"])
@pytest.mark.parametrize("block_size", [None, 4])
def test_a_small_loss_keeps_its_digits(run, form, block_size):
    embeddings = sides(form)
    options = {**FORMS[form], "block_size": block_size}

    def loss_and_gradients(*given):
        own = {**options, "temperature": given[-1]}
        alone = metricops.npairs_loss_from_embeddings(*given[:-1], **own)
        loss, gradients = metricops.npairs_loss_and_grad(*given[:-1], **own)
        return alone, loss, *gradients[: len(embeddings)]

    for loss, temperature in zip(LOSSES, temperatures(form, embeddings), strict=True):
        alone, *found = run(loss_and_gradients, *embeddings, temperature)
        check(form, found, embeddings, loss)
        assert float(alone) == pytest.approx(float(found[0]), rel=3e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("block_size", [None, 4])
def test_autodiff_of_a_small_loss_keeps_its_digits(gradient, form, block_size):
    differentiated(gradient, form, block_size, LOSSES[1:])


@pytest.mark.parametrize("form", ["position", "labels"])
@pytest.mark.parametrize("block_size", [None, 4])
def test_a_small_loss_that_is_traced_keeps_its_digits(
    traced_gradient, form, block_size
):
    differentiated(traced_gradient, form, block_size, LOSSES[1:2])


def differentiated(gradient, form, block_size, losses):
    """Compare the gradients of autodiff to the exact ones."""
    embeddings = sides(form)
    options = {**FORMS[form], "block_size": block_size}

    def function(*given):
        own = {**options, "temperature": given[-1]}
        return metricops.npairs_loss_from_embeddings(*given[:-1], **own)

    for loss in losses:
        temperature = np.float32(temperature_of(form, embeddings, loss))
        expected, _ = exact(form, embeddings, float(temperature))
        *found, _ = gradient(function, *embeddings, temperature)
        check(form, (expected, *found), embeddings, loss)
