"""TensorFlow alone: its tapes, accumulators and jacobians, eager and traced."""

import functools
import pathlib
import re
import subprocess
import sys
import types
from typing import Any

import numpy as np
import pytest

import metricops
from tests.definitions import embeddings_loss, numeric_gradient

RNG = np.random.default_rng(0)
X, Y, V, W = RNG.standard_normal((4, 5, 3))
LABELS = [0, 1, 0, 2, 1]
LARGE = RNG.standard_normal((4, 400, 2))
SEVERAL = RNG.standard_normal((4, 1030, 2))  # more than 2**20 similarities
STEP = 1e-4  # of central differences, right to about 1e-7 also when they are nested

OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"block_size": 2},
    {"labels": LABELS, "block_size": 2, "temperature": 0.5},
    {"labels": LABELS, "block_size": 2, "normalize": True, "symmetric": True},
)
# How a function is traced: the loss alone, or its derivative with it.
TRACES: dict[str, tuple[Any, Any]] = {
    "eager": (None, None),
    "a graph inside": ({}, None),
    "XLA inside": ({"jit_compile": True}, None),
    "inside a graph": (None, {}),
    "inside XLA": (None, {"jit_compile": True}),
}
traces = pytest.mark.parametrize("trace", TRACES)
# Each way of tracing with some options, and all options eagerly.
cases = pytest.mark.parametrize(
    ("trace", "options"),
    [
        *(("eager", options) for options in OPTIONS),
        *((trace, OPTIONS[1]) for trace in TRACES if trace != "eager"),
        ("a graph inside", OPTIONS[3]),
    ],
    ids=repr,
)
METRICS = ("cosine", "euclidean", "squared_euclidean", "manhattan", "snr")


def traced_by(tf, how, function):
    return function if how is None else tf.function(function, **how)


def derivative(tf, trace, transform, function, *values):
    """Return what `transform` makes of a traced function, called with arrays."""
    inner, outer = TRACES[trace]
    call = functools.partial(transform, tf, traced_by(tf, inner, function))
    arrays = [tf.constant(x, tf.float64) for x in values]
    return tf.nest.map_structure(
        lambda x: x.numpy(), traced_by(tf, outer, call)(*arrays)
    )


def loss_of(given):
    labels = given.get("labels")

    def loss(x, y):
        return metricops.npairs_loss_from_embeddings(
            x, y, **{**given, "labels": labels}
        )

    return loss


def definition(given, x, y):
    plain = {name: value for name, value in given.items() if name != "block_size"}
    return embeddings_loss(np.asarray(x).tolist(), np.asarray(y).tolist(), **plain)


def along(function, x, y, v, w):
    """Return the derivative of a function of two arrays along their tangents."""
    ahead = function(x + STEP * v, y + STEP * w)
    return (ahead - function(x - STEP * v, y - STEP * w)) / (2 * STEP)


def product_with_hessian(given, x, y, v, w):
    def slope(x, y):
        left, right = np.asarray(x), np.asarray(y)
        return along(functools.partial(definition, given), left, right, v, w)

    return numeric_gradient(slope, x, y, step=STEP)


# The transforms, each of a function of two arrays.


def forward(tf, function, x, y, v, w):
    with tf.autodiff.ForwardAccumulator((x, y), (v, w)) as accumulator:
        result = function(x, y)
    return accumulator.jvp(result)


def reverse(tf, function, x, y):
    with tf.GradientTape() as tape:
        tape.watch((x, y))
        result = function(x, y)
    return tape.gradient(result, (x, y))


def forward_over_reverse(tf, function, x, y, v, w):
    with tf.autodiff.ForwardAccumulator((x, y), (v, w)) as accumulator:
        gradients = reverse(tf, function, x, y)
    return accumulator.jvp(gradients)


def reverse_over_reverse(tf, function, x, y, v, w, persistent=False):
    with tf.GradientTape(persistent=persistent) as tape:
        tape.watch((x, y))
        of_x, of_y = reverse(tf, function, x, y)
        slope = tf.reduce_sum(of_x * v) + tf.reduce_sum(of_y * w)
    return tape.gradient(slope, (x, y))


def reverse_over_forward(tf, function, x, y, v, w):
    with tf.GradientTape() as tape:
        tape.watch((x, y))
        slope = forward(tf, function, x, y, v, w)
    return tape.gradient(slope, (x, y))


def hessian(tf, function, x, y, v, w, pfor=True):
    with tf.GradientTape(persistent=True) as tape:
        tape.watch((x, y))
        of_x, of_y = reverse(tf, function, x, y)
    sides = []
    for gradient in (of_x, of_y):
        blocks = tape.jacobian(gradient, (x, y), experimental_use_pfor=pfor)
        sides.append(
            sum(
                tf.einsum("ijkl,kl->ij", block, tangent)
                for block, tangent in zip(blocks, (v, w), strict=True)
            )
        )
    return tuple(sides)


@cases
def test_forward_mode_is_the_derivative_along_the_tangents(tf, trace, options):
    result = derivative(tf, trace, forward, loss_of(options), X, Y, V, W)
    expected = along(functools.partial(definition, options), X, Y, V, W)
    np.testing.assert_allclose(result, expected, atol=1e-7)


@cases
@pytest.mark.parametrize(
    "transform", [forward_over_reverse, reverse_over_reverse], ids=lambda x: x.__name__
)
def test_second_derivatives_are_those_of_the_first(tf, transform, trace, options):
    result = derivative(tf, trace, transform, loss_of(options), X, Y, V, W)
    expected = product_with_hessian(options, X, Y, V, W)
    for got, want in zip(result, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)


# TensorFlow itself gives None here for any function that is traced inside.
@pytest.mark.parametrize("trace", ["eager", "inside a graph"])
def test_a_tape_differentiates_what_an_accumulator_found(tf, trace):
    options = {"block_size": 2}
    result = derivative(tf, trace, reverse_over_forward, loss_of(options), X, Y, V, W)
    expected = product_with_hessian(options, X, Y, V, W)
    for got, want in zip(result, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize(
    ("trace", "pfor"),
    [("eager", True), ("eager", False), ("a graph inside", True), ("inside XLA", True)],
)
def test_a_jacobian_of_a_gradient_of_panels_is_the_hessian(tf, trace, pfor):
    options = {"block_size": 2}
    transform = functools.partial(hessian, pfor=pfor)
    result = derivative(tf, trace, transform, loss_of(options), X, Y, V, W)
    expected = product_with_hessian(options, X, Y, V, W)
    for got, want in zip(result, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize(
    ("trace", "pfor"),
    [
        ("eager", True),
        ("eager", False),
        ("a graph inside", True),
        ("inside XLA", False),
    ],
)
def test_a_jacobian_of_losses_in_panels_has_their_gradients(tf, trace, pfor):
    def losses(x, y):
        return metricops.npairs_loss_from_embeddings(
            x, y, reduction="none", block_size=2
        )

    def jacobian(tf, function, x, y):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            result = function(x, y)
        return tape.jacobian(result, x, experimental_use_pfor=pfor)

    result = derivative(tf, trace, jacobian, losses, X, Y)
    for i in range(len(X)):

        def one(x, i=i):
            return embeddings_loss(x, Y.tolist(), reduction="none")[i]

        (expected,) = numeric_gradient(one, X)
        np.testing.assert_allclose(result[i], expected, atol=1e-8)


@pytest.mark.parametrize("trace", ["eager", "XLA inside"])
def test_a_persistent_tape_differentiates_twice(tf, trace):
    options = {"block_size": 2}
    transform = functools.partial(reverse_over_reverse, persistent=True)
    result = derivative(tf, trace, transform, loss_of(options), X, Y, V, W)
    expected = product_with_hessian(options, X, Y, V, W)
    for got, want in zip(result, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("trace", ["eager", "a graph inside"])
@pytest.mark.parametrize("block_size", [None, 100])
def test_derivatives_of_a_large_batch_do_not_depend_on_its_panels(
    tf, trace, block_size
):
    x, y, v, w = LARGE
    loss = loss_of({"block_size": block_size})
    slope = derivative(tf, trace, forward, loss, *LARGE)
    twice = derivative(tf, trace, forward_over_reverse, loss, *LARGE)
    values = [definition({}, x + s * v, y + s * w) for s in (STEP, 0, -STEP)]
    np.testing.assert_allclose(slope, (values[0] - values[2]) / (2 * STEP), atol=1e-6)
    bend = (values[0] - 2 * values[1] + values[2]) / STEP**2
    np.testing.assert_allclose(
        np.sum(twice[0] * v) + np.sum(twice[1] * w), bend, atol=1e-5
    )


def test_forward_mode_of_several_panels_is_the_derivative(tf):
    slope = derivative(tf, "eager", forward, loss_of({}), *SEVERAL)
    expected = along(functools.partial(definition, {}), *SEVERAL)
    np.testing.assert_allclose(slope, expected, atol=1e-6)


def test_forward_mode_of_an_unknown_batch_is_the_derivative(tf):
    rows = tf.TensorSpec([None, 3], tf.float64)

    @functools.partial(tf.function, input_signature=[rows] * 4)
    def slope(x, y, v, w):
        return forward(tf, metricops.npairs_loss_from_embeddings, x, y, v, w)

    expected = along(functools.partial(definition, {}), X, Y, V, W)
    np.testing.assert_allclose(slope(X, Y, V, W), expected, atol=1e-7)


@pytest.mark.parametrize(
    ("trace", "metric"),
    [
        *(("eager", metric) for metric in METRICS),
        *((trace, "euclidean") for trace in ("a graph inside", "inside a graph")),
    ],
)
def test_forward_mode_of_distances_is_the_derivative(tf, trace, metric):
    distance = getattr(metricops, f"pairwise_{metric}_distance")
    result = derivative(tf, trace, forward, distance, X, Y, V, W)
    np.testing.assert_allclose(result, along(distance, X, Y, V, W), atol=1e-6)


@pytest.mark.parametrize(
    ("trace", "metric"), [("eager", "snr"), ("a graph inside", "squared_euclidean")]
)
def test_forward_over_reverse_of_distances_is_the_derivative(tf, trace, metric):
    distance = getattr(metricops, f"pairwise_{metric}_distance")

    def squares(x, y):
        return tf.reduce_sum(distance(x, y) ** 2)

    result = derivative(tf, trace, forward_over_reverse, squares, X, Y, V, W)
    expected = numeric_gradient(
        lambda x, y: along(
            lambda x, y: float(np.sum(distance(x, y) ** 2)),
            np.asarray(x),
            np.asarray(y),
            V,
            W,
        ),
        X,
        Y,
        step=STEP,
    )
    for got, want in zip(result, expected, strict=True):
        scale = 1 + np.max(np.abs(want))
        np.testing.assert_allclose(got, want, atol=1e-5 * scale)


# Labels of a width that is unknown while tracing.

COLUMN = [[label] for label in LABELS]
HOT = [[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1], [0, 1, 1]]
widths = pytest.mark.parametrize("labels", [COLUMN, HOT], ids=["one", "three"])
modes = pytest.mark.parametrize("mode", ["graph", "xla"])


def of_unknown_width(tf, mode, function, dtype):
    rows = tf.TensorSpec([None, 3], tf.float64)
    labels = tf.TensorSpec([None, None], dtype)
    return tf.function(
        function, input_signature=[rows, labels], jit_compile=mode == "xla"
    )


@modes
@widths
@pytest.mark.parametrize("given", [{}, {"block_size": 2}, {"symmetric": True}])
def test_labels_of_unknown_width_are_classes_or_multihot(tf, mode, labels, given):
    def loss(x, labels):
        return metricops.npairs_loss_from_embeddings(x, x + 1, labels, **given)

    traced = of_unknown_width(tf, mode, loss, tf.int64)
    plain = {name: value for name, value in given.items() if name != "block_size"}
    one = labels if labels is HOT else LABELS
    expected = embeddings_loss(X.tolist(), (X + 1).tolist(), one, **plain)
    np.testing.assert_allclose(traced(X, labels), expected, rtol=1e-9)


@modes
def test_a_column_of_labels_of_unknown_width_is_never_cut_to_a_float(tf, mode):
    labels = [[2**53], [2**53 + 1], [2**53], [2**53 + 1], [0]]
    loss = of_unknown_width(
        tf,
        mode,
        lambda x, labels: metricops.npairs_loss_from_embeddings(x, None, labels),
        tf.int64,
    )
    expected = embeddings_loss(X.tolist(), None, [0, 1, 0, 1, 2])
    np.testing.assert_allclose(loss(X, labels), expected, rtol=1e-9)


@modes
def test_bools_of_unknown_width_are_labels_too(tf, mode):
    loss = of_unknown_width(
        tf,
        mode,
        lambda x, labels: metricops.npairs_loss_from_embeddings(x, None, labels),
        tf.bool,
    )
    for labels in ([[True], [False], [True], [False], [False]], np.asarray(HOT) > 0):
        one = np.asarray(labels, dtype=int).tolist()
        given = one if len(one[0]) > 1 else [label for (label,) in one]
        expected = embeddings_loss(X.tolist(), None, given)
        np.testing.assert_allclose(loss(X, labels), expected, rtol=1e-9)


@modes
def test_one_known_width_decides_for_both(tf, mode):
    specs = [
        tf.TensorSpec([None, 3], tf.float64),
        tf.TensorSpec([None, None], tf.int32),
        tf.TensorSpec([None, 1], tf.int32),
    ]

    @functools.partial(tf.function, input_signature=specs, jit_compile=mode == "xla")
    def loss(x, labels, others):
        return metricops.npairs_loss_from_embeddings(
            x, x + 1, labels, candidate_labels=others
        )

    expected = embeddings_loss(X.tolist(), (X + 1).tolist(), LABELS)
    np.testing.assert_allclose(loss(X, COLUMN, COLUMN), expected, rtol=1e-9)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        loss(X, HOT, COLUMN)


@modes
def test_a_similarity_matrix_takes_a_column_of_unknown_width(tf, mode):
    similarity = X @ Y.T
    specs = [tf.TensorSpec([None, None], x) for x in (tf.float64, tf.int32)]
    loss = tf.function(
        metricops.npairs_loss, input_signature=specs, jit_compile=mode == "xla"
    )
    expected = embeddings_loss(X.tolist(), Y.tolist(), LABELS)
    np.testing.assert_allclose(loss(similarity, COLUMN), expected, rtol=1e-9)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        loss(similarity, HOT)


def test_the_namespace_has_what_the_kernels_call_and_nothing_else(tf):
    from metricops._frameworks.tensorflow import namespace

    sources = [
        path.read_text()
        for path in pathlib.Path(metricops.__file__).parent.rglob("*.py")
        if "tensorflow" not in path.parts
    ]
    called = set(re.findall(r"xp\.(\w+)", "\n".join(sources)))
    offered = {name for name in vars(namespace) if not name.startswith("_")}
    offered -= {"Any", "Array", "tf"}
    assert offered <= called


# What is private of TensorFlow.

PRIVATE = (
    ("record", "stop_recording"),
    ("record", "should_record_backprop"),
    ("record", "could_possibly_record"),
    ("forwardprop_util", "pack_tangents"),
)


@pytest.mark.parametrize(("module", "name"), PRIVATE)
@pytest.mark.parametrize("trace", ["eager", "inside a graph"])
def test_derivatives_are_right_without_a_private_name(
    tf, monkeypatch, trace, module, name
):
    from metricops._frameworks.tensorflow import private

    rest = dict(vars(getattr(private, module)))
    del rest[name]
    monkeypatch.setattr(private, module, types.SimpleNamespace(**rest))
    options = {"block_size": 2}
    loss = functools.partial(definition, options)
    slope = derivative(tf, trace, forward, loss_of(options), X, Y, V, W)
    np.testing.assert_allclose(slope, along(loss, X, Y, V, W), atol=1e-7)
    gradients = derivative(tf, trace, reverse, loss_of(options), X, Y)
    for got, want in zip(gradients, numeric_gradient(loss, X, Y), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-8)


def test_a_loss_that_autograph_converts_is_the_same(tf, monkeypatch):
    monkeypatch.delattr(metricops.npairs_loss_from_embeddings, "autograph_info__")
    traced = tf.function(metricops.npairs_loss_from_embeddings)
    np.testing.assert_allclose(traced(X, Y), definition({}, X, Y), rtol=1e-9)


def test_every_dense_tensor_and_variable_is_of_tensorflow(tf):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        mirrored = tf.Variable(X)
    for x in (tf.constant(X), tf.Variable(X), mirrored):
        assert tf.is_tensor(metricops.l2_normalize(x))
    sparse = tf.sparse.from_dense(X)
    with pytest.raises(TypeError, match=r"tf\.sparse\.to_dense"):
        metricops.l2_normalize(sparse)


# Which gradients are computed.


@pytest.mark.parametrize("how", [None, {}])
def test_only_gradients_that_a_tape_wants_are_computed(tf, monkeypatch, how):
    from metricops._frameworks.tensorflow import gradients

    asked = []
    plain = gradients.Call.value_and_saved

    def counted(call, wanted):
        asked.append(wanted)
        return plain(call, wanted)

    monkeypatch.setattr(gradients.Call, "value_and_saved", counted)

    def of_one(x, y):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = metricops.npairs_loss_from_embeddings(x, y, block_size=2)
        return tape.gradient(loss, x)

    found = traced_by(tf, how, of_one)(tf.constant(X), tf.constant(Y))
    expected = numeric_gradient(functools.partial(definition, {}), X, Y)[0]
    np.testing.assert_allclose(found, expected, atol=1e-8)
    anchors, *others = asked[0]
    assert anchors
    assert not any(others)
    if how is None:
        assert len(asked) == 1


def test_a_gradient_that_only_a_caller_of_a_graph_wants_is_right(tf):
    @tf.function
    def slope(x, y):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = metricops.npairs_loss_from_embeddings(x, y, block_size=2)
        return loss, tape.gradient(loss, x)

    x, y = tf.constant(X), tf.constant(Y)
    with tf.GradientTape() as tape:
        tape.watch(y)
        loss, of_x = slope(x, y)
    expected = numeric_gradient(functools.partial(definition, {}), X, Y)
    for got, want in zip((of_x, tape.gradient(loss, y)), expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-8)


# Rows of width 0, and no rows.


@pytest.mark.parametrize("how", [None, {}, {"jit_compile": True}], ids=repr)
@pytest.mark.parametrize("given", [*OPTIONS[:2], {"normalize": True}], ids=repr)
def test_rows_of_width_0_are_alike(tf, how, given):
    x = tf.zeros((5, 0), tf.float64)

    def slope(x, y):
        with tf.GradientTape() as tape:
            tape.watch((x, y))
            loss = metricops.npairs_loss_from_embeddings(x, y, **given)
        return loss, tape.gradient(loss, (x, y))

    loss, gradients = traced_by(tf, how, slope)(x, x)
    np.testing.assert_allclose(loss, np.log(5), rtol=1e-9)
    assert [tuple(x.shape) for x in gradients] == [(5, 0), (5, 0)]


@pytest.mark.parametrize("how", [None, {}, {"jit_compile": True}], ids=repr)
def test_one_empty_set_has_no_losses_and_a_gradient(tf, how):
    def slope(x, labels):
        with tf.GradientTape() as tape:
            tape.watch(x)
            losses = metricops.npairs_loss_from_embeddings(
                x, None, labels, reduction="none"
            )
        return losses, tape.gradient(losses, x)

    labels = tf.zeros((0,), tf.int32)
    losses, found = traced_by(tf, how, slope)(tf.zeros((0, 3)), labels)
    assert tuple(losses.shape) == (0,)
    assert tuple(found.shape) == (0, 3)


# A product of an empty constant and another constant ended the process.
EMPTY = """
import tensorflow as tf, metricops

for labels, others in (((0,), (4,)), ((0, 3), (4, 3)), ((4,), (0,))):
    for compiled in (False, True):

        @tf.function(jit_compile=compiled)
        def step(anchors, candidates):
            with tf.GradientTape() as tape:
                tape.watch(anchors)
                loss = metricops.npairs_loss_from_embeddings(
                    anchors,
                    candidates,
                    tf.zeros(labels, tf.int32),
                    candidate_labels=tf.zeros(others, tf.int32),
                )
            return loss, tape.gradient(loss, anchors)

        loss, slope = step(tf.ones((labels[0], 2)), tf.ones((others[0], 2)))
        assert loss == 0 and slope.shape == (labels[0], 2), (labels, compiled)
"""


def test_a_graph_of_no_anchors_with_constant_labels_runs(tf):
    command = [sys.executable, "-c", EMPTY]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]


def test_triplets_of_many_rows_are_traced_where_their_number_is_known(tf):
    x = tf.constant(np.random.default_rng(0).standard_normal((400, 8)), tf.float32)
    labels = tf.range(400) % 40

    def loss(x):
        return metricops.triplet_loss_from_embeddings(x, labels=labels)

    np.testing.assert_allclose(tf.function(loss)(x), loss(x), rtol=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_forward_mode_of_distances_by_products_is_the_derivative(tf, metric):
    # So many float32 rows come from products, and have the derivatives of differences.
    x, y, v, w = np.random.default_rng(5).standard_normal((4, 200, 8))
    distance = getattr(metricops, f"pairwise_{metric}_distance")

    def squares(x, y):
        return tf.reduce_sum(distance(x, y) ** 2)

    def slope(x, y):
        of_x, of_y = reverse(tf, squares, tf.constant(x), tf.constant(y))
        return np.concat([of_x, of_y])

    arrays = [tf.constant(z, tf.float32) for z in (x, y, v, w)]
    found = [forward(tf, distance, *arrays)]
    found.append(tf.concat(forward_over_reverse(tf, squares, *arrays), axis=0))
    for result, function in zip(found, (distance, slope), strict=True):
        expected = along(function, x, y, v, w)
        largest = np.abs(expected).max()
        np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-5 * largest)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "manhattan"])
@pytest.mark.parametrize("trace", ["eager", "a graph inside"])
def test_the_neighbors_of_a_set_in_itself_have_its_derivatives(tf, metric, trace):
    # The queries are the keys: each is an array of its own to the gradient.
    x, v = np.random.default_rng(6).standard_normal((2, 12, 3))

    def total(x, _):
        scores, _ = metricops.nearest_neighbors(x, k=2, metric=metric)
        return scores.sum() if isinstance(scores, np.ndarray) else tf.reduce_sum(scores)

    expected = along(total, x, x, v, v)
    traced = traced_by(tf, TRACES[trace][0], total)
    x, v = tf.constant(x), tf.constant(v)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = traced(x, x)
    slope = tf.reduce_sum(tape.gradient(value, x) * v)
    np.testing.assert_allclose(slope, expected, rtol=1e-6)
    with tf.autodiff.ForwardAccumulator(x, v) as accumulator:
        value = traced(x, x)
    np.testing.assert_allclose(accumulator.jvp(value), expected, rtol=1e-6)


def test_forward_mode_of_the_gradient_of_cosent_is_a_number(tf):
    # The first running sums are of nothing: their logarithms are minus infinity.
    similarities, along = np.random.default_rng(3).standard_normal((2, 7))
    scores = [0.0, 1.0, 0.5, 0.5, 2.0, -1.0, 1.0]

    def gradient(x: Any) -> Any:
        below = np.asarray(scores)[:, None] < np.asarray(scores)
        pairs = np.where(below, np.exp((x[:, None] - x) / 0.5), 0.0)
        return (pairs.sum(1) - pairs.sum(0)) / 0.5 / (1 + pairs.sum())

    x = tf.constant(similarities)
    with tf.autodiff.ForwardAccumulator(x, tf.constant(along)) as forward:
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = metricops.cosent_loss(x, scores, temperature=0.5)
        found = tape.gradient(loss, x)
    np.testing.assert_allclose(found, gradient(similarities), rtol=1e-9)
    step = 1e-6 * along
    expected = (gradient(similarities + step) - gradient(similarities - step)) / 2e-6
    np.testing.assert_allclose(forward.jvp(found), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["lifted_structure_loss", "multi_similarity_loss"])
def test_forward_mode_of_a_gradient_with_masked_pairs_is_a_number(tf, name):
    # An accumulator multiplies a masked score, which is infinite, by a tangent of 0.
    loss: Any = getattr(metricops, f"{name}_from_embeddings")
    rows, along = np.random.default_rng(2).standard_normal((2, 7, 3))
    labels = [0, 1, 0, 1, 2, 0, 2]

    def gradient(rows: Any) -> Any:
        return metricops.value_and_grad(loss)(rows, labels=labels)[1]

    def slope(x: Any) -> Any:
        with tf.autodiff.ForwardAccumulator(x, tf.constant(along)) as forward:
            with tf.GradientTape() as tape:
                tape.watch(x)
                value = loss(x, labels=labels)
            found = tape.gradient(value, x)
        return forward.jvp(found)

    step = 1e-6 * along
    (ahead,), (behind,) = (gradient(x).values() for x in (rows + step, rows - step))
    expected = (ahead - behind) / 2e-6
    np.testing.assert_allclose(slope(tf.constant(rows)), expected, rtol=1e-5, atol=1e-6)


def test_second_derivatives_of_all_positives_are_compiled_by_xla(tf):
    # The loop over an anchor's positives has a known end: XLA differentiates no other.
    rows, along = np.random.default_rng(4).standard_normal((2, 6, 3))
    labels = np.asarray([0, 0, 1, 0, 1, 2])
    loss = metricops.triplet_loss_from_embeddings

    def second(x, labels):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                value = loss(x, labels=labels)
            (slope,) = inner.gradient(value, [x])
            slope = tf.reduce_sum(slope * along)
        return outer.gradient(slope, x)

    def gradient(rows: Any) -> Any:
        return metricops.value_and_grad(loss)(rows, labels=labels)[1]["anchors"]

    step = 1e-6 * along
    expected = (gradient(rows + step) - gradient(rows - step)) / 2e-6
    open_ = [tf.TensorSpec([None, 3], tf.float64), tf.TensorSpec([None], tf.int64)]
    compiled = tf.function(second, jit_compile=True, input_signature=open_)
    found = compiled(tf.constant(rows), tf.constant(labels))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
