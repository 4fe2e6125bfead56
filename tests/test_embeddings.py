"""`npairs_loss_from_embeddings` and `npairs_loss_and_grad`."""

import math
from typing import Any

import numpy as np
import pytest

from metricops import npairs_loss_and_grad, npairs_loss_from_embeddings
from tests.definitions import embeddings_loss, numeric_gradient

NAN = math.nan
REDUCTIONS = ["mean", "sum", "weighted_mean", "none"]
_GENERATOR = np.random.default_rng(0)
ANCHORS = np.round(_GENERATOR.standard_normal((5, 3)), 2)
CANDIDATES = np.round(_GENERATOR.standard_normal((5, 3)), 2)
MORE = np.round(_GENERATOR.standard_normal((7, 3)), 2)
A, C, M = ANCHORS.tolist(), CANDIDATES.tolist(), MORE.tolist()
LABELS = [0, 1, 0, 2, 1]
MORE_LABELS = [1, 0, 0, 7, 2, 1, 2]
HOT = [[1, 0, 1], [0, 1, 0], [1, 1, 1], [0, 0, 1], [1, 0, 0]]
MORE_HOT = [[0, 1, 0], [1, 1, 0], [0, 0, 0], [1, 0, 1], [1, 1, 1], [0, 0, 1], [1, 0, 0]]
WEIGHTS = [1.0, 0.5, 0.0, 2.0, 1.5]

# One call per option, and some that meet; the first entries are the arrays.
CALLS: dict[str, Any] = {
    "plain": ((A, C), {}),
    "more candidates": ((A, M), {}),
    "labels": ((A, C), {"labels": LABELS}),
    "labels of candidates": (
        (A, M),
        {"labels": LABELS, "candidate_labels": MORE_LABELS},
    ),
    "multilabels": ((A, C), {"labels": HOT}),
    "multilabels of candidates": (
        (A, M),
        {"labels": HOT, "candidate_labels": MORE_HOT},
    ),
    "one set": ((A,), {"labels": LABELS}),
    "one set of multilabels": ((A,), {"labels": HOT}),
    "temperature": ((A, C), {"temperature": 0.25}),
    "normalize": ((A, C), {"normalize": True, "temperature": 0.5}),
    "normalize one set": ((A,), {"normalize": True, "labels": LABELS}),
    "symmetric": ((A, C), {"symmetric": True}),
    "symmetric with labels": (
        (A, C),
        {"symmetric": True, "labels": LABELS, "candidate_labels": [1, 1, 0, 3, 0]},
    ),
    "CLIP": ((A, C), {"symmetric": True, "normalize": True, "temperature": 0.1}),
    "supervised contrastive": (
        (A,),
        {
            "labels": LABELS,
            "exclude_diagonal": True,
            "normalize": True,
            "temperature": 0.2,
        },
    ),
    "exclude diagonal of two sets": (
        (A, C),
        {"labels": LABELS, "exclude_diagonal": True},
    ),
    "exclude diagonal of more candidates": (
        (A, M),
        {
            "labels": LABELS,
            "candidate_labels": MORE_LABELS,
            "exclude_diagonal": True,
            "normalize": True,
        },
    ),
    "exclude diagonal of more multilabels": (
        (A, M),
        {"labels": HOT, "candidate_labels": MORE_HOT, "exclude_diagonal": True},
    ),
    "exclude diagonal, symmetric": (
        (A, C),
        {
            "labels": LABELS,
            "candidate_labels": [0, 0, 2, 2, 1],
            "exclude_diagonal": True,
            "symmetric": True,
        },
    ),
    "l2": ((A, C), {"l2_weight": 0.3}),
    "l2 of more candidates": ((A, M), {"l2_weight": 0.3, "normalize": True}),
    "l2 of one set": ((A,), {"l2_weight": 0.3, "labels": LABELS}),
    "l2, symmetric": ((A, C), {"l2_weight": 0.3, "symmetric": True}),
}
calls = pytest.mark.parametrize("call", CALLS)
blocks = pytest.mark.parametrize("block_size", [None, 2])
FEW = ["labels of candidates", "CLIP", "supervised contrastive", "l2"]
few = pytest.mark.parametrize("call", FEW)


def assert_close(result, expected, **tolerance):
    assert result.shape == np.shape(expected)
    np.testing.assert_allclose(result, expected, **tolerance)


@calls
def test_it_is_its_definition(run, call):
    arrays, options = CALLS[call]
    result = run(npairs_loss_from_embeddings, *arrays, **options)
    assert_close(result, embeddings_loss(*arrays, **options), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("call", ["labels of candidates", "symmetric with labels"])
def test_rows_are_weighted_and_reduced(run, call, reduction):
    arrays, options = CALLS[call]
    options = {**options, "sample_weight": WEIGHTS, "reduction": reduction}
    result = run(npairs_loss_from_embeddings, *arrays, **options)
    assert_close(result, embeddings_loss(*arrays, **options), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("reduction", ["sum", "weighted_mean"])
def test_the_l2_term_is_added_once_and_unweighted(run, reduction):
    arrays, options = CALLS["l2"]
    options = {**options, "sample_weight": WEIGHTS, "reduction": reduction}
    result = run(npairs_loss_from_embeddings, *arrays, **options)
    assert_close(result, embeddings_loss(*arrays, **options), rtol=2e-5)


@few
def test_it_is_its_definition_when_traced(traced, call):
    arrays, options = CALLS[call]
    result = traced(npairs_loss_from_embeddings, *arrays, **options)
    assert_close(result, embeddings_loss(*arrays, **options), rtol=2e-5)


def test_every_option_meets_every_other_when_traced(traced):
    def loss(anchors, candidates, labels, weights, temperature):
        return npairs_loss_from_embeddings(
            anchors,
            candidates,
            labels,
            temperature=temperature,
            normalize=True,
            symmetric=True,
            exclude_diagonal=True,
            sample_weight=weights,
            reduction="none",
            block_size=2,
        )

    expected = embeddings_loss(
        A,
        C,
        LABELS,
        temperature=0.5,
        normalize=True,
        symmetric=True,
        exclude_diagonal=True,
        sample_weight=WEIGHTS,
        reduction="none",
    )
    result = traced(loss, A, C, LABELS, WEIGHTS, np.float32(0.5))
    assert_close(result, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("block_size", [1, 2, 100])
@pytest.mark.parametrize(
    "call",
    [
        "labels of candidates",
        "supervised contrastive",
        "CLIP",
        "exclude diagonal of more candidates",
        "exclude diagonal of more multilabels",
    ],
)
def test_the_block_size_changes_nothing(run, call, block_size):
    arrays, options = CALLS[call]
    result = run(npairs_loss_from_embeddings, *arrays, **options, block_size=block_size)
    assert_close(result, embeddings_loss(*arrays, **options), rtol=2e-5)


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_panel_without_a_pair_does_not_drown_the_others(run, symmetric):
    # Alone in its panel and left out, an anchor has no similarity there.
    rows = [[30.0, 0.0], [-30.0, 1.0], [-29.0, 0.0]]
    options = {"labels": [0, 0, 0], "exclude_diagonal": True, "symmetric": symmetric}
    others = [[30.0, 1.0], [30.0, 0.0], [29.0, 1.0]]
    for arrays in ((rows,), (rows, [[-x for x in row] for row in others])):
        result = run(npairs_loss_from_embeddings, *arrays, **options, block_size=1)
        assert_close(result, embeddings_loss(*arrays, **options), rtol=1e-6)


def test_a_column_of_labels_is_a_list_of_labels(run):
    # (n, 1) is never multi-hot: there, label 0 would be no label.
    column = [[label] for label in LABELS]
    result = run(npairs_loss_from_embeddings, A, C, column)
    assert_close(result, embeddings_loss(A, C, LABELS), rtol=2e-5)


def test_a_column_of_labels_meets_a_row_of_labels(run):
    def loss(anchors, candidates, labels, others):
        return npairs_loss_from_embeddings(
            anchors, candidates, labels, candidate_labels=others
        )

    column = [[label] for label in MORE_LABELS]
    expected = embeddings_loss(A, M, LABELS, candidate_labels=MORE_LABELS)
    assert_close(run(loss, A, M, LABELS, column), expected, rtol=2e-5)


def test_temperature_may_be_an_array(run):
    def loss(anchors, candidates, temperature):
        return npairs_loss_from_embeddings(anchors, candidates, temperature=temperature)

    result = run(loss, A, C, np.float32(0.25))
    assert_close(result, embeddings_loss(A, C, temperature=0.25), rtol=2e-5)


@pytest.mark.parametrize("reduction", ["mean", "sum", "weighted_mean"])
def test_the_loss_of_nothing_is_zero(run, reduction):
    empty = np.zeros((0, 3), np.float32)
    result = run(npairs_loss_from_embeddings, empty, empty, reduction=reduction)
    assert_close(result, 0.0)


def test_the_loss_of_nothing_against_something_is_zero(run):
    assert_close(run(npairs_loss_from_embeddings, np.zeros((0, 3), np.float32), C), 0.0)


def test_the_l2_term_of_nothing_is_zero(run):
    empty = np.zeros((0, 3), np.float32)
    result = run(npairs_loss_from_embeddings, empty, empty, l2_weight=1.0)
    assert_close(result, 0.0)


def test_a_batch_of_one_has_no_loss(run):
    assert_close(run(npairs_loss_from_embeddings, [[1.0, 2.0]], [[3.0, 4.0]]), 0.0)


def test_a_nan_stays_in_its_row(run):
    anchors = [A[0], [NAN, 0.0, 0.0], *A[2:]]
    expected = embeddings_loss(A, C, reduction="none")
    expected[1] = NAN
    result = run(npairs_loss_from_embeddings, anchors, C, reduction="none")
    assert_close(result, expected, rtol=2e-5)


def test_a_zero_vector_has_cosine_zero(run):
    anchors = [A[0], [0.0, 0.0, 0.0], *A[2:]]
    expected = embeddings_loss(anchors, C, normalize=True, reduction="none")
    assert expected[1] == pytest.approx(math.log(5))
    result = run(
        npairs_loss_from_embeddings, anchors, C, normalize=True, reduction="none"
    )
    assert_close(result, expected, rtol=2e-5)


@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_the_scale_of_normalised_rows_does_not_matter(run, scale):
    anchors = (ANCHORS * scale).astype(np.float32)
    expected = embeddings_loss(A, C, normalize=True)
    result = run(npairs_loss_from_embeddings, anchors, C, normalize=True)
    assert_close(result, expected, rtol=2e-5)


def test_large_similarities_do_not_overflow(run):
    anchors, candidates = [[100.0, 0.0], [0.0, 100.0]], [[-100.0, 0.0], [0.0, 100.0]]
    result = run(npairs_loss_from_embeddings, anchors, candidates)
    assert_close(result, 5000.0, rtol=1e-6)


ALONE = [0, 9, 0, 2, 8]  # of MORE_LABELS, 9 and 8 are not


def test_an_anchor_without_a_positive_is_left_out_with_its_nan(run):
    anchors = [A[0], [NAN] * 3, A[2], A[3], [math.inf, 0.0, NAN]]
    expected = embeddings_loss(A, M, ALONE, candidate_labels=MORE_LABELS)
    result = run(
        npairs_loss_from_embeddings,
        anchors,
        M,
        labels=ALONE,
        candidate_labels=MORE_LABELS,
    )
    assert_close(result, expected, rtol=2e-5)


# Gradients, by the frameworks and without one.


def slopes(call, **more):
    """Return the numeric gradients for the arrays of `call` and for temperature."""
    arrays, options = CALLS[call]
    options = {"temperature": 1.0, **options, **more}
    temperature = options.pop("temperature")

    def function(*moved):
        return embeddings_loss(*moved[:-1], temperature=moved[-1], **options)

    return numeric_gradient(function, *arrays, temperature)


def tempered(*arrays, **options):
    """Call the loss with the last array as the temperature."""
    return npairs_loss_from_embeddings(*arrays[:-1], temperature=arrays[-1], **options)


def autodiff(gradient, call, **more):
    arrays, options = CALLS[call]
    options = {"temperature": 1.0, **options, **more}
    temperature = np.float64(options.pop("temperature"))
    return gradient(tempered, *map(np.asarray, arrays), temperature, **options)


@calls
def test_the_gradient_is_that_of_the_definition(gradient, call):
    for got, want in zip(autodiff(gradient, call), slopes(call), strict=True):
        assert_close(got, want, atol=1e-7)


@blocks
@pytest.mark.parametrize("reduction", ["sum", "weighted_mean"])
@pytest.mark.parametrize(
    "call", ["labels of candidates", "symmetric with labels", "supervised contrastive"]
)
def test_the_gradient_of_a_weighted_loss_is_right(
    gradient, call, reduction, block_size
):
    more = {"sample_weight": WEIGHTS, "reduction": reduction}
    result = autodiff(gradient, call, **more, block_size=block_size)
    for got, want in zip(result, slopes(call, **more), strict=True):
        assert_close(got, want, atol=1e-7)


@blocks
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    "call", ["labels of candidates", "symmetric with labels", "supervised contrastive"]
)
def test_the_gradient_of_the_weights_is_that_of_the_definition(
    gradient, call, reduction, block_size
):
    arrays, options = CALLS[call]
    options = {**options, "reduction": reduction}
    upstream = [1.0, -2.0, 0.5, 3.0, 0.0] if reduction == "none" else 1.0

    def definition(weights):
        loss = embeddings_loss(*arrays, **options, sample_weight=weights)
        return float(np.sum(np.multiply(upstream, loss)))

    def kernel(weights):
        given = [np.asarray(rows) for rows in arrays]
        return npairs_loss_from_embeddings(
            *map(gradient.library.asarray, given),
            **options,
            sample_weight=weights,
            block_size=block_size,
        )

    weights = [1.0, 0.5, 0.25, 2.0, 1.5]
    (expected,) = numeric_gradient(definition, weights)
    (result,) = gradient(kernel, np.asarray(weights), upstream=upstream)
    assert_close(result, expected, atol=1e-7)


@blocks
@pytest.mark.parametrize(
    "call",
    ["labels of candidates", "exclude diagonal, symmetric", "supervised contrastive"],
)
def test_each_row_has_its_own_gradient(gradient, call, block_size):
    arrays, options = CALLS[call]
    upstream = [0.5, -1.0, 0.0, 2.0, 3.0]

    def definition(*moved):
        rows = embeddings_loss(*moved, **options, reduction="none")
        return sum(u * row for u, row in zip(upstream, rows, strict=True))

    result = gradient(
        npairs_loss_from_embeddings,
        *map(np.asarray, arrays),
        **options,
        reduction="none",
        block_size=block_size,
        upstream=upstream,
    )
    for got, want in zip(result, numeric_gradient(definition, *arrays), strict=True):
        assert_close(got, want, atol=1e-7)


@blocks
@pytest.mark.parametrize(
    "call", ["supervised contrastive", "one set of multilabels", "CLIP"]
)
def test_the_gradient_is_that_of_the_definition_when_traced(
    traced_gradient, call, block_size
):
    result = autodiff(traced_gradient, call, block_size=block_size)
    for got, want in zip(result, slopes(call), strict=True):
        assert_close(got, want, atol=1e-7)


@pytest.mark.parametrize("block_size", [1, 2, 100])
@pytest.mark.parametrize("call", ["labels of candidates", "supervised contrastive"])
def test_the_gradient_does_not_depend_on_the_block_size(gradient, call, block_size):
    result = autodiff(gradient, call, block_size=block_size)
    for got, want in zip(result, slopes(call), strict=True):
        assert_close(got, want, atol=1e-7)


def test_an_anchor_without_a_positive_has_no_gradient(gradient):
    anchors = [A[0], [NAN] * 3, A[2], A[3], [math.inf, 0.0, NAN]]
    options: dict[str, Any] = {"labels": ALONE, "candidate_labels": MORE_LABELS}
    expected = numeric_gradient(lambda a, c: embeddings_loss(a, c, **options), A, M)
    result = gradient(npairs_loss_from_embeddings, np.asarray(anchors), MORE, **options)
    for got, want in zip(result, expected, strict=True):
        assert_close(got, want, atol=1e-7)


def test_a_zero_vector_has_no_gradient(gradient):
    anchors = ANCHORS.copy()
    anchors[1] = 0
    result, others = gradient(
        npairs_loss_from_embeddings, anchors, CANDIDATES, normalize=True
    )
    np.testing.assert_array_equal(result[1], [0.0, 0.0, 0.0])
    assert np.all(np.isfinite(result))
    assert np.all(np.isfinite(others))


@calls
def test_loss_and_grad_need_no_autodiff(run, call):
    arrays, options = CALLS[call]
    reduction = "sum" if "l2" in call else "mean"
    more: dict[str, Any] = {"sample_weight": WEIGHTS, "reduction": reduction}
    expected = slopes(call, **more)
    loss, gradients = run(npairs_loss_and_grad, *arrays, **options, **more)
    assert_close(
        loss, embeddings_loss(*arrays, **{**options, **more}), rtol=2e-5, atol=1e-6
    )
    size = max(1.0, float(np.max(np.abs(expected[-1]))))
    assert_close(gradients[0], expected[0], rtol=1e-4, atol=1e-5)
    assert_close(gradients[2], expected[-1], rtol=1e-4, atol=1e-5 * size)
    if len(arrays) == 1:
        assert gradients[1] is None
    else:
        assert_close(gradients[1], expected[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("call", ["labels of candidates", "CLIP"])
def test_loss_and_grad_need_no_autodiff_when_traced(traced, call):
    arrays, options = CALLS[call]
    expected = slopes(call)
    loss, gradients = traced(npairs_loss_and_grad, *arrays, **options)
    assert_close(loss, embeddings_loss(*arrays, **options), rtol=2e-5)
    for got, want in zip(gradients, expected, strict=True):
        assert_close(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("block_size", [1, 2, 100])
def test_loss_and_grad_do_not_depend_on_the_block_size(run, block_size):
    arrays, options = CALLS["labels of candidates"]
    expected = slopes("labels of candidates")
    _, gradients = run(npairs_loss_and_grad, *arrays, **options, block_size=block_size)
    for got, want in zip(gradients, expected, strict=True):
        assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_loss_and_grad_in_double_precision_are_exact(run):
    arrays, options = CALLS["exclude diagonal, symmetric"]
    with run.library.x64():
        loss, gradients = run(npairs_loss_and_grad, *map(np.asarray, arrays), **options)
    assert_close(loss, embeddings_loss(*arrays, **options), rtol=1e-12)
    expected = slopes("exclude diagonal, symmetric")
    for got, want in zip(gradients, expected, strict=True):
        assert_close(got, want, atol=1e-8)


def test_loss_and_grad_of_an_anchor_without_a_positive_are_zero(run):
    anchors = [A[0], [NAN] * 3, A[2], A[3], [math.inf, 0.0, NAN]]
    options: dict[str, Any] = {"labels": ALONE, "candidate_labels": MORE_LABELS}
    expected = numeric_gradient(
        lambda a, c, t: embeddings_loss(a, c, temperature=t, **options), A, M, 1.0
    )
    loss, gradients = run(npairs_loss_and_grad, anchors, M, **options)
    assert_close(loss, embeddings_loss(A, M, **options), rtol=2e-5)
    for got, want in zip(gradients, expected, strict=True):
        assert_close(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_loss_and_grad_of_no_halves_are_zero(jax, symmetric):
    empty = jax.numpy.zeros((0, 3), jax.numpy.bfloat16)
    loss, gradients = npairs_loss_and_grad(empty, empty, symmetric=symmetric)
    assert loss == 0
    anchors, *_ = gradients
    assert anchors.shape == (0, 3)


def test_loss_and_grad_of_nothing_are_zero(run):
    empty = np.zeros((0, 3), np.float32)
    loss, (anchors, candidates, temperature) = run(npairs_loss_and_grad, empty, empty)
    assert_close(loss, 0.0)
    assert_close(temperature, 0.0)
    assert anchors.shape == candidates.shape == (0, 3)


def test_descending_the_gradient_lowers_the_loss(run):
    loss, (anchors, candidates, _) = run(npairs_loss_and_grad, A, C)
    moved, _ = run(
        npairs_loss_and_grad,
        np.float32(ANCHORS - 0.1 * anchors),
        np.float32(CANDIDATES - 0.1 * candidates),
    )
    assert moved < loss
