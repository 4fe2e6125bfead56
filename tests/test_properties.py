"""What holds for any shapes, values, labels, weights and options."""

import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import metricops
from tests.conftest import Library
from tests.definitions import (
    cosine,
    embeddings_loss,
    inner_product,
    normalized,
    numeric_gradient,
    pairwise,
)

settings = hypothesis.settings(max_examples=30, deadline=None, derandomize=True)
gradients = hypothesis.settings(max_examples=15, deadline=None, derandomize=True)
libraries = pytest.mark.parametrize("name", ["numpy", "torch"])
sizes = st.integers(1, 5)
# Eighths are exact in every dtype, and their products in float64.
numbers = st.integers(-24, 24).map(lambda n: n / 8)
weights = st.integers(0, 16).map(lambda n: n / 4)


def matrices(rows, columns, elements=numbers):
    row = st.lists(elements, min_size=columns, max_size=columns)
    return st.lists(row, min_size=rows, max_size=rows)


def vectors(size, elements):
    return st.lists(elements, min_size=size, max_size=size)


@st.composite
def labels_for(draw, n, m, kind):
    """Return labels of n anchors and of m candidates."""
    if kind == "multi-hot":
        classes = draw(st.integers(2, 4))
        hot = st.integers(0, 1)
        return draw(matrices(n, classes, hot)), draw(matrices(m, classes, hot))
    label = st.integers(0, 3)
    rows, columns = draw(vectors(n, label)), draw(vectors(m, label))
    return (rows, columns)


@st.composite
def calls(draw, reductions=("mean", "sum", "weighted_mean", "none")):
    """Return the arrays and the options of a valid call of the embeddings loss."""
    n, d = draw(sizes), draw(st.integers(1, 4))
    options = {
        "normalize": draw(st.booleans()),
        "reduction": draw(st.sampled_from(reductions)),
        "temperature": draw(st.sampled_from([0.25, 1.0, 3])),
        "sample_weight": draw(st.none() | weights | vectors(n, weights)),
    }
    kind = draw(st.sampled_from(["pairs", "labels", "multi-hot"]))
    alone = kind != "pairs" and draw(st.booleans())
    square = alone or draw(st.booleans())
    m = n if square else n + draw(st.integers(0, 3))
    if square:
        options["symmetric"] = draw(st.booleans())
    if kind != "pairs":
        rows, columns = draw(labels_for(n, m, kind))
        options["labels"] = rows
        if m != n or (not alone and draw(st.booleans())):
            options["candidate_labels"] = columns
        options["exclude_diagonal"] = draw(st.booleans())
    if options["reduction"] != "none":
        options["l2_weight"] = draw(st.sampled_from([0.0, 0.5]))
    scale = draw(st.sampled_from([1e-2, 1.0, 10.0]))
    sides = [np.asarray(draw(matrices(n, d))) * scale]
    if not alone:
        sides.append(np.asarray(draw(matrices(m, d))) * scale)
    return [side.tolist() for side in sides], options


def on(library, arrays):
    return [library.asarray(np.asarray(x, np.float64)) for x in arrays]


@libraries
@settings
@hypothesis.given(call=calls(), block_size=st.none() | st.integers(1, 6))
def test_the_loss_of_embeddings_is_its_definition(name, call, block_size):
    library, (arrays, options) = Library(name), call
    result = metricops.npairs_loss_from_embeddings(
        *on(library, arrays), **options, block_size=block_size
    )
    expected = embeddings_loss(*arrays, **options)
    np.testing.assert_allclose(
        library.to_numpy(result), expected, rtol=1e-9, atol=1e-12
    )


@libraries
@settings
@hypothesis.given(
    call=calls(reductions=("mean", "sum")), block_size=st.none() | st.integers(1, 6)
)
def test_loss_and_grad_give_the_loss(name, call, block_size):
    library, (arrays, options) = Library(name), call
    result, _ = metricops.npairs_loss_and_grad(
        *on(library, arrays), **options, block_size=block_size
    )
    expected = embeddings_loss(*arrays, **options)
    np.testing.assert_allclose(
        library.to_numpy(result), expected, rtol=1e-9, atol=1e-12
    )


@libraries
@gradients
@hypothesis.given(
    call=calls(reductions=("mean", "sum")), block_size=st.none() | st.integers(1, 6)
)
def test_loss_and_grad_give_the_gradient(name, call, block_size):
    library, (arrays, options) = Library(name), call
    if options["normalize"]:  # which has no derivative at zero, and a steep one near it
        hypothesis.assume(all(math.hypot(*row) > 0.1 for x in arrays for row in x))
    _, found = metricops.npairs_loss_and_grad(
        *on(library, arrays), **options, block_size=block_size
    )
    temperature = options.pop("temperature")

    def loss(*moved):
        return embeddings_loss(*moved[:-1], temperature=moved[-1], **options)

    expected = numeric_gradient(loss, *arrays, temperature)
    size = max(1.0, *(np.max(np.abs(x)) for x in expected))
    result = [x for x in library.to_numpy(found) if x is not None]
    for got, want in zip(result, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6 * size)


@settings
@hypothesis.given(data=st.data(), n=sizes, d=sizes, exponent=st.integers(-290, 290))
def test_a_row_has_length_one_or_zero_at_any_scale(data, n, d, exponent):
    x = np.asarray(data.draw(matrices(n, d)))
    result = metricops.l2_normalize(x * 10.0**exponent)
    expected = [normalized(row) for row in x.tolist()]
    np.testing.assert_allclose(result, expected, rtol=1e-14)


@libraries
@settings
@hypothesis.given(data=st.data(), n=sizes, m=sizes, d=sizes)
def test_pairs_are_their_definition(name, data, n, m, d):
    library = Library(name)
    x, y = data.draw(matrices(n, d)), data.draw(matrices(m, d))
    for function, pair in (
        (metricops.pairwise_inner_product, inner_product),
        (metricops.pairwise_cosine_similarity, cosine),
    ):
        result = library.to_numpy(function(*on(library, [x, y])))
        np.testing.assert_allclose(result, pairwise(pair, x, y), atol=1e-13)


@libraries
@settings
@hypothesis.given(data=st.data(), n=sizes, m=sizes, block_size=st.integers(1, 6))
def test_neighbours_are_those_that_a_full_sort_finds(name, data, n, m, block_size):
    library = Library(name)
    # Small integers, so that there are ties and no rounding.
    few = st.integers(-2, 2).map(float)
    queries, keys = data.draw(matrices(n, 2, few)), data.draw(matrices(m, 2, few))
    k = data.draw(st.integers(1, m))
    values, indices = library.to_numpy(
        metricops.nearest_neighbors(
            library.asarray(np.asarray(queries)),
            library.asarray(np.asarray(keys)),
            k,
            metric="inner_product",
            block_size=block_size,
        )
    )
    for query, row, found in zip(queries, values, indices, strict=True):
        scores = [inner_product(query, key) for key in keys]
        best = sorted(range(m), key=lambda j: (-scores[j], j))[:k]
        assert found.tolist() == best
        assert row.tolist() == [scores[j] for j in best]


@settings
@hypothesis.given(data=st.data(), n=sizes)
def test_renaming_the_labels_changes_nothing(data, n):
    similarity = np.asarray(data.draw(matrices(n, n)))
    labels = data.draw(vectors(n, st.integers(0, 3)))
    names = data.draw(st.permutations(["b", "a", "abc", ""]))
    result = metricops.npairs_loss(similarity, [names[label] for label in labels])
    assert result == metricops.npairs_loss(similarity, labels)


@settings
@hypothesis.given(data=st.data(), n=sizes, shift=numbers)
def test_a_number_added_to_a_row_changes_nothing(data, n, shift):
    similarity = np.asarray(data.draw(matrices(n, n)))
    labels = data.draw(vectors(n, st.integers(0, 3)))
    moved = metricops.npairs_loss(similarity + shift, labels)
    plain = metricops.npairs_loss(similarity, labels)
    np.testing.assert_allclose(moved, plain, rtol=1e-12, atol=1e-14)
