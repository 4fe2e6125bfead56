"""Each function under the transforms of PyTorch, JAX and TensorFlow."""

from functools import partial
from typing import Any

import numpy as np
import pytest

import metricops
from tests.conftest import Library
from tests.definitions import (
    cross_entropy_loss,
    embeddings_loss,
    equal_labels,
    numeric_gradient,
)

X = [[2.0, 1.0, 0.0], [0.5, 2.0, 1.0], [1.0, 0.25, 2.0]]
Y = [[1.0, 1.0, 0.5], [0.25, 1.0, 2.0], [3.0, 0.5, 1.0]]
LABELS = [0, 1, 0]
HOT = [[1, 0], [0, 1], [1, 1]]
OPTIONS: dict[str, Any] = {"normalize": True, "symmetric": True, "temperature": 0.5}

# Each function as a call of two (3, 3) arrays that returns an array.
FUNCTIONS: dict[str, Any] = {
    "l2_normalize": lambda x, y: metricops.l2_normalize(x),
    "cosine_similarity": lambda x, y: metricops.cosine_similarity(x, y),
    "dot": lambda x, y: metricops.dot(x, y, axes=1, normalize=True),
    "pairwise_inner_product": lambda x, y: metricops.pairwise_inner_product(x, y),
    "pairwise_cosine_similarity": lambda x, y: metricops.pairwise_cosine_similarity(
        x, y
    ),
    "cosine_similarity_loss": lambda x, y: metricops.cosine_similarity_loss(x, y),
    "softmax_cross_entropy": lambda x, y: metricops.softmax_cross_entropy(x, y),
    "npairs_loss": lambda x, y: metricops.npairs_loss(x, LABELS),
    "npairs_multilabel_loss": lambda x, y: metricops.npairs_multilabel_loss(x, HOT),
    "npairs_loss_from_embeddings": lambda x, y: metricops.npairs_loss_from_embeddings(
        x, y, LABELS, **OPTIONS
    ),
    "npairs_loss_and_grad": lambda x, y: metricops.npairs_loss_and_grad(x, y)[1][0],
    "nearest_neighbors": lambda x, y: metricops.nearest_neighbors(x, y)[0],
    "recall_at_k": lambda x, y: metricops.recall_at_k(x, LABELS, y, LABELS, k=2)[2],
}
functions = pytest.mark.parametrize("name", FUNCTIONS)
losses = pytest.mark.parametrize("name", ["npairs_loss", "npairs_loss_from_embeddings"])
DEFINITIONS: dict[str, Any] = {
    "npairs_loss": lambda x, y: cross_entropy_loss(x, equal_labels(LABELS, LABELS)),
    "npairs_loss_from_embeddings": lambda x, y: embeddings_loss(
        x, y, LABELS, **OPTIONS
    ),
}


def eager(name, x=X, y=Y):
    """Return what NumPy computes; that this is right is tested elsewhere."""
    return FUNCTIONS[name](np.asarray(x), np.asarray(y))


BATCH = np.random.default_rng(0).standard_normal((2, 4, 3, 3))
BATCH[1] = np.abs(BATCH[1])


def batched(name):
    return np.stack([eager(name, x, y) for x, y in zip(*BATCH, strict=True)])


# PyTorch.


@functions
def test_torch_vmap_is_a_loop(torch, name):
    x, y = map(torch.asarray, BATCH)
    result = torch.func.vmap(FUNCTIONS[name])(x, y)
    np.testing.assert_allclose(result, batched(name), rtol=1e-6, atol=1e-9)


@losses
def test_torch_func_grad_is_the_gradient(torch, name):
    x, y = map(torch.tensor, (X, Y))
    result = torch.func.grad(FUNCTIONS[name])(x.double(), y.double())
    (expected,) = numeric_gradient(lambda x: DEFINITIONS[name](x, Y), X)
    np.testing.assert_allclose(result, expected, atol=1e-8)


@losses
def test_torch_vmap_of_grad_is_a_loop_of_gradients(torch, name):
    x, y = map(torch.asarray, BATCH[:, :2])
    result = torch.func.vmap(torch.func.grad(FUNCTIONS[name]))(x, y)
    for i in range(2):
        (expected,) = numeric_gradient(
            lambda x, i=i: DEFINITIONS[name](x, BATCH[1, i].tolist()), BATCH[0, i]
        )
        np.testing.assert_allclose(result[i], expected, atol=1e-8)


@functions
def test_torch_export_keeps_a_function(torch: Any, name):
    base: Any = torch.nn.Module

    class Module(base):
        def forward(self, x, y):
            return FUNCTIONS[name](x, y)

    x, y = map(torch.tensor, (X, Y))
    exported = torch.export.export(Module(), (x, y))
    result = exported.module()(y.clone(), x.clone())
    np.testing.assert_allclose(result, eager(name, Y, X), rtol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "l2_normalize",
        "cosine_similarity_loss",
        "npairs_loss_from_embeddings",
        "contrastive_loss_from_embeddings",
        "pairwise_euclidean_distance",
    ],
)
def test_torch_export_keeps_the_batch_size_open(torch: Any, name):
    base: Any = torch.nn.Module

    class Module(base):
        def forward(self, x, y):
            if name == "npairs_loss_from_embeddings":
                return metricops.npairs_loss_from_embeddings(x, y, normalize=True)
            if name == "l2_normalize":
                return metricops.l2_normalize(x)
            return getattr(metricops, name)(x, y)

    rows = torch.export.Dim("rows", min=2, max=1000)
    shapes = {"x": {0: rows}, "y": {0: rows}}
    x, y = map(torch.tensor, (X, Y))
    exported = torch.export.export(Module(), (x, y), dynamic_shapes=shapes)
    more = torch.randn((7, 3), generator=torch.Generator().manual_seed(0))
    module = Module()
    np.testing.assert_allclose(
        exported.module()(more, more + 1), module(more, more + 1), rtol=1e-5
    )


@pytest.mark.parametrize(
    "name", ["cosine_similarity_loss", "npairs_loss", "npairs_loss_from_embeddings"]
)
def test_torch_compile_by_aot_autograd_is_the_function(torch, name):
    compiled = torch.compile(FUNCTIONS[name], fullgraph=True, backend="aot_eager")
    result = compiled(torch.tensor(X), torch.tensor(Y))
    np.testing.assert_allclose(result, eager(name), rtol=1e-5)


def test_torch_compile_is_once_for_all_values(torch):
    graphs = []

    def count(graph, _):
        graphs.append(graph)
        return graph.forward

    @partial(torch.compile, fullgraph=True, backend=count)
    def loss(x, y, labels, temperature):
        return metricops.npairs_loss_from_embeddings(
            x, y, labels, temperature=temperature
        )

    for scale in (1.0, 2.0, 0.0):
        labels = torch.tensor([0, int(scale), 2])
        loss(torch.tensor(X) * scale, torch.tensor(Y), labels, torch.tensor(1 + scale))
    assert len(graphs) == 1


def test_torch_compile_takes_another_batch_size(torch):
    compiled = torch.compile(
        metricops.npairs_loss_from_embeddings, fullgraph=True, backend="eager"
    )
    generator = np.random.default_rng(0)
    for n in (2, 3, 5, 7):
        x, y = generator.standard_normal((2, n, 3))
        result = compiled(torch.asarray(x), torch.asarray(y))
        expected = embeddings_loss(x.tolist(), y.tolist())
        np.testing.assert_allclose(result, expected, rtol=1e-9)


@pytest.mark.parametrize(
    "options",
    [{}, {"reduction": "sum"}, {"symmetric": True}, {"normalize": True}],
    ids=repr,
)
def test_torch_second_derivatives_are_those_of_the_first(torch, options):
    x, y = (torch.tensor(rows).double().requires_grad_() for rows in (X, Y))
    temperature = torch.tensor(0.5).double().requires_grad_()

    def loss(x, y, temperature):
        return metricops.npairs_loss_from_embeddings(
            x, y, LABELS, temperature=temperature, **options
        )

    assert torch.autograd.gradgradcheck(loss, (x, y, temperature))


def test_torch_second_derivatives_of_rows_are_those_of_the_first(torch):
    x, y = (torch.tensor(rows).double().requires_grad_() for rows in (X, Y))
    loss = partial(metricops.npairs_loss_from_embeddings, reduction="none")
    assert torch.autograd.gradgradcheck(loss, (x, y))


@pytest.mark.parametrize("name", ["npairs_loss", "cosine_similarity", "dot"])
def test_torch_derivatives_of_plain_functions_are_right_twice(torch, name):
    x, y = (torch.tensor(rows).double().requires_grad_() for rows in (X, Y))
    call = FUNCTIONS[name]
    if name == "npairs_loss":
        assert torch.autograd.gradgradcheck(lambda x: call(x, None), (x,))
    else:
        assert torch.autograd.gradgradcheck(call, (x, y))


def test_torch_autocast_changes_neither_loss_nor_gradient(torch):
    def call():
        x, y = (torch.tensor(rows).requires_grad_() for rows in (X, Y))
        loss = metricops.npairs_loss_from_embeddings(x, y, temperature=0.1)
        return loss, *torch.autograd.grad(loss, (x, y))

    plain = call()
    with torch.autocast("cpu", torch.bfloat16):
        cast = call()
    for got, want in zip(cast, plain, strict=True):
        np.testing.assert_array_equal(got.detach().float(), want.detach())


def test_torch_computes_nothing_for_a_gradient_that_is_not_wanted(torch):
    x, y = torch.tensor(X, requires_grad=True), torch.tensor(Y)
    with torch.no_grad():
        assert not metricops.npairs_loss_from_embeddings(x, y).requires_grad
    loss = metricops.npairs_loss_from_embeddings(x, y)
    assert loss.requires_grad
    (gradient,) = torch.autograd.grad(loss, [x])
    expected = numeric_gradient(embeddings_loss, X, Y)[0]
    np.testing.assert_allclose(gradient, expected, atol=1e-5)


# JAX.


@functions
def test_jax_vmap_is_a_loop(jax, name):
    with jax.enable_x64(True):
        x, y = map(jax.numpy.asarray, BATCH)
        result = jax.jit(jax.vmap(FUNCTIONS[name]))(x, y)
    np.testing.assert_allclose(result, batched(name), rtol=1e-6, atol=1e-9)


# Where JAX has 32 bits, the calls below are computed in float64 inside. The differences
# of 40 rows fit one panel, those of 96 rows do not.
CLASSES = np.arange(96) % 7
IN_32_BITS: dict[str, Any] = {
    "euclidean": metricops.pairwise_euclidean_distance,
    "squared": metricops.pairwise_squared_euclidean_distance,
    "snr": metricops.pairwise_snr_distance,
    "cosine": metricops.pairwise_cosine_distance,
    "manhattan": metricops.pairwise_manhattan_distance,
    "neighbours by cosine": lambda x: metricops.nearest_neighbors(x, None, 3),
    "neighbours by euclidean": lambda x: metricops.nearest_neighbors(
        x, None, 3, metric="euclidean"
    ),
    "neighbours by inner product": lambda x: metricops.nearest_neighbors(
        x, None, 3, metric="inner_product"
    ),
    "recall": lambda x: metricops.recall_at_k(x, CLASSES[: len(x)], k=2),
    "reciprocal rank": lambda x: metricops.mean_reciprocal_rank(
        x, CLASSES[: len(x)], metric="euclidean"
    ),
    "contrastive": lambda x: metricops.contrastive_loss_from_embeddings(
        x, labels=CLASSES[: len(x)], negative_margin=9.0
    ),
    "triplet": lambda x: metricops.triplet_loss_from_embeddings(
        x, labels=CLASSES[: len(x)]
    ),
    "hard triplet": lambda x: metricops.triplet_loss_from_embeddings(
        x, labels=CLASSES[: len(x)], positives="hard"
    ),
    "lifted": lambda x: metricops.lifted_structure_loss_from_embeddings(
        x, CLASSES[: len(x)]
    ),
    "soft nearest": lambda x: metricops.soft_nearest_neighbor_loss_from_embeddings(
        x, labels=CLASSES[: len(x)]
    ),
}


def total(jax, function):
    """Return the sum of all floats that a function returns."""
    tree = jax.tree

    def call(x):
        found = [
            jax.numpy.sum(y) for y in tree.leaves(function(x)) if y.dtype.kind == "f"
        ]
        return sum(found)

    return call


# How a function of one set of rows is mapped over two sets.
WAYS: dict[str, Any] = {
    "vmap": lambda jax, f, x: jax.vmap(f)(x),
    "vmap of jit": lambda jax, f, x: jax.vmap(jax.jit(f))(x),
    "jit of vmap": lambda jax, f, x: jax.jit(jax.vmap(f))(x),
    "vmap of a loop": lambda jax, f, x: jax.vmap(
        lambda x: jax.lax.map(f, x[None, ...])
    )(x),
    "vmap of checkpoint": lambda jax, f, x: jax.vmap(jax.checkpoint(f))(x),
    "vmap of vmap": lambda jax, f, x: jax.vmap(jax.jit(jax.vmap(jax.jit(f))))(
        x[:, None, ...]
    ),
    "vmap of grad": lambda jax, f, x: jax.vmap(jax.grad(total(jax, f)))(x),
    "vmap of jit of grad": lambda jax, f, x: jax.vmap(jax.jit(jax.grad(total(jax, f))))(
        x
    ),
    "grad of vmap of jit": lambda jax, f, x: jax.grad(
        lambda x: jax.numpy.sum(jax.vmap(jax.jit(total(jax, f)))(x))
    )(x),
}


def check_jax_loop(jax, name, way, n):
    """Check that what JAX maps over two sets of rows is what it finds of each."""
    function, rows = IN_32_BITS[name], np.random.default_rng(0).normal(size=(2, n, 32))
    x = jax.numpy.asarray(rows.astype(np.float32))
    one = jax.grad(total(jax, function)) if "grad" in way else function
    expected = [jax.tree.leaves(one(rows)) for rows in x]
    result = jax.tree.leaves(WAYS[way](jax, function, x))
    for got, *each in zip(result, *expected, strict=True):
        want = np.stack(each)
        assert got.dtype == want.dtype
        got = np.reshape(got, want.shape)
        atol = 5e-6 * np.max(np.abs(want))
        np.testing.assert_allclose(got, want, rtol=4e-6, atol=atol)


@pytest.mark.parametrize(
    ("name", "way", "n"),
    [
        ("euclidean", "vmap of jit", 96),
        ("cosine", "vmap of jit of grad", 96),
        ("neighbours by cosine", "vmap", 40),
        ("neighbours by euclidean", "vmap of jit", 96),
        ("neighbours by inner product", "vmap of grad", 96),
        ("recall", "vmap", 96),
        ("lifted", "vmap of grad", 96),
    ],
)
def test_jax_vmap_is_a_loop_in_32_bits(jax, name, way, n):
    check_jax_loop(jax, name, way, n)


@pytest.mark.parametrize("n", [40, 96])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", IN_32_BITS)
def test_each_jax_vmap_is_a_loop_in_32_bits(jax, name, way, n):
    check_jax_loop(jax, name, way, n)


@losses
def test_jax_vmap_of_grad_is_a_loop_of_gradients(jax, name):
    with jax.enable_x64(True):
        x, y = map(jax.numpy.asarray, BATCH[:, :2])
        result = jax.jit(jax.vmap(jax.grad(FUNCTIONS[name])))(x, y)
    for i in range(2):
        (expected,) = numeric_gradient(
            lambda x, i=i: DEFINITIONS[name](x, BATCH[1, i].tolist()), BATCH[0, i]
        )
        np.testing.assert_allclose(result[i], expected, atol=1e-8)


@losses
def test_jax_differentiates_without_jit(jax, name):
    x, y = map(jax.numpy.asarray, (X, Y))
    result = jax.grad(FUNCTIONS[name])(x, y)
    (expected,) = numeric_gradient(lambda x: DEFINITIONS[name](x, Y), X)
    np.testing.assert_allclose(result, expected, atol=1e-5)


@functions
def test_jax_shard_map_is_the_function(jax, name):
    explicit = (jax.sharding.AxisType.Explicit,)
    mesh = jax.make_mesh((1,), ("rows",), axis_types=explicit)
    spec = jax.sharding.PartitionSpec()
    sharded = jax.shard_map(
        FUNCTIONS[name], mesh=mesh, in_specs=(spec, spec), out_specs=spec
    )
    result = jax.jit(sharded)(*map(jax.numpy.asarray, (X, Y)))
    np.testing.assert_allclose(result, eager(name), rtol=1e-5)


def test_jax_shard_map_keeps_rows_apart(jax):
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((1,), ("rows",), axis_types=auto)
    rows = jax.sharding.PartitionSpec("rows")

    def loss(x, y):
        return metricops.npairs_loss_from_embeddings(
            x, y, reduction="none", block_size=2
        )

    sharded = jax.shard_map(loss, mesh=mesh, in_specs=(rows, rows), out_specs=rows)
    result, pull = jax.vjp(jax.jit(sharded), *map(jax.numpy.asarray, (X, Y)))
    np.testing.assert_allclose(
        result, embeddings_loss(X, Y, reduction="none"), rtol=1e-5
    )
    expected = numeric_gradient(
        lambda x, y: embeddings_loss(x, y, reduction="sum"), X, Y
    )
    for got, want in zip(pull(jax.numpy.ones(3)), expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_jax_traces_once_for_all_values(jax):
    traces: list[None] = []

    @jax.jit
    def loss(x, y, labels, temperature):
        traces.append(None)
        return metricops.npairs_loss_from_embeddings(
            x, y, labels, temperature=temperature
        )

    for scale in (1.0, 2.0, 0.0):
        x, y = (jax.numpy.asarray(rows) * scale for rows in (X, Y))
        loss(x, y, jax.numpy.asarray([0, int(scale), 2]), 1 + scale)
    assert len(traces) == 1


@pytest.mark.parametrize("options", [{}, {"symmetric": True}], ids=repr)
def test_jax_second_derivatives_are_those_of_the_first(jax, options):
    def loss(x):
        return metricops.npairs_loss_from_embeddings(x, jax.numpy.asarray(Y), **options)

    gradient = jax.jit(jax.grad(loss))

    def squares(x):
        return jax.numpy.sum(gradient(x) ** 2)

    with jax.enable_x64(True):
        result = jax.jit(jax.grad(squares))(jax.numpy.asarray(X))
        (expected,) = numeric_gradient(
            lambda rows: float(np.sum(np.square(gradient(np.asarray(rows))))), X
        )
    np.testing.assert_allclose(result, expected, atol=1e-8)


def test_jax_checks_nothing_that_depends_on_values(jax):
    shape = jax.ShapeDtypeStruct((3, 3), "float32")
    for call in FUNCTIONS.values():
        jax.eval_shape(call, shape, shape)


# TensorFlow.


@pytest.mark.parametrize("mode", ["graph", "xla"])
def test_tensorflow_traces_once_for_all_values(tf, mode):
    @partial(tf.function, jit_compile=mode == "xla")
    def loss(x, y, labels, temperature):
        return metricops.npairs_loss_from_embeddings(
            x, y, labels, temperature=temperature
        )

    for scale in (1.0, 2.0, 0.0):
        x, y = (tf.constant(rows) * scale for rows in (X, Y))
        loss(x, y, tf.constant([0, int(scale), 2]), tf.constant(1 + scale))
    assert loss.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("mode", ["graph", "xla"])
def test_tensorflow_takes_another_batch_size_without_tracing_again(tf, mode):
    rows = tf.TensorSpec([None, 3], tf.float64)
    loss = tf.function(
        metricops.npairs_loss_from_embeddings,
        input_signature=[rows, rows],
        jit_compile=mode == "xla",
    )
    generator = np.random.default_rng(0)
    for n in (0, 1, 4, 9):
        x, y = generator.standard_normal((2, n, 3))
        expected = embeddings_loss(x.tolist(), y.tolist())
        np.testing.assert_allclose(loss(x, y), expected, rtol=1e-9, atol=1e-12)
    assert loss.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("mode", ["graph", "xla"])
def test_tensorflow_differentiates_panels_of_an_unknown_batch(tf, mode):
    rows = tf.TensorSpec([None, 3], tf.float64)

    @partial(tf.function, input_signature=[rows, rows], jit_compile=mode == "xla")
    def gradients(x, y):
        with tf.GradientTape() as tape:
            tape.watch((x, y))
            loss = metricops.npairs_loss_from_embeddings(x, y, block_size=2)
        return tape.gradient(loss, (x, y))

    generator = np.random.default_rng(0)
    for n in (1, 4, 5):
        x, y = generator.standard_normal((2, n, 3))
        expected = numeric_gradient(embeddings_loss, x, y)
        for got, want in zip(gradients(x, y), expected, strict=True):
            np.testing.assert_allclose(got, want, atol=1e-8)


@losses
def test_tensorflow_second_derivatives_are_those_of_the_first(tf, name):
    x, y = (tf.constant(rows, tf.float64) for rows in (X, Y))

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = FUNCTIONS[name](x, y)
        return tape.gradient(loss, x)

    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(gradient(x) ** 2)
    result = tape.gradient(total, x)
    (expected,) = numeric_gradient(
        lambda rows: float(tf.reduce_sum(gradient(tf.constant(rows, tf.float64)) ** 2)),
        X,
    )
    np.testing.assert_allclose(result, expected, atol=1e-8)


def test_tensorflow_converts_nothing_by_autograph(tf, capfd):
    graph = tf.function(metricops.npairs_loss)
    graph(tf.constant(X), tf.constant(LABELS))
    assert "AutoGraph" not in capfd.readouterr().err


def test_torch_takes_large_products_of_any_layout(torch):
    x, y = (
        torch.arange(rows * 64).reshape(rows, 64).double().sin().float()
        for rows in (2048, 1024)
    )
    with torch.no_grad():  # otherwise autograd needs PyTorch's own product
        for rows in (x, x.T.contiguous().T, x[::2], x[:, 1:], x.flip(1)):
            columns = y[:, : rows.shape[1]]
            found = metricops.pairwise_inner_product(rows, columns)
            expected = rows.double() @ columns.double().T
            torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("labels", [["a", "b", "a"], [["a"], ["b"], ["a"]]], ids=repr)
def test_torch_compile_takes_labels_that_are_strings(torch, labels):
    @partial(torch.compile, fullgraph=True, backend="eager")
    def loss(x, y):
        return metricops.npairs_loss_from_embeddings(
            x, y, labels, candidate_labels=labels[::-1]
        )

    found = loss(torch.tensor(X).double(), torch.tensor(Y).double())
    expected = embeddings_loss(X, Y, [0, 1, 0], candidate_labels=[0, 1, 0])
    np.testing.assert_allclose(found, expected, rtol=1e-9)


# What compares rows with others, or numbers of pairs, beside losses of embeddings.
SPREAD = (
    metricops.pairwise_euclidean_distance,
    metricops.pairwise_manhattan_distance,
    metricops.pairwise_cosine_distance,
    lambda x, y: metricops.nearest_neighbors(x, y, 1),
    lambda x, y: metricops.recall_at_k(x, [0, 1, 0], k=1),
    lambda x, y: metricops.softmax_cross_entropy(x, y),
    lambda x, y: metricops.npairs_loss(x, [0, 1, 0], column_labels=[0, 1]),
    lambda x, y: metricops.npairs_multilabel_loss(x, [[1], [0], [1]]),
    lambda x, y: metricops.contrastive_loss(x, y > 0),
)


def test_torch_refuses_rows_spread_over_a_mesh(torch, tmp_path):
    from torch.distributed import tensor

    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1
    )
    try:
        mesh = tensor.init_device_mesh("cpu", (1,))
        x, y = (
            tensor.distribute_tensor(torch.tensor(rows), mesh, [tensor.Shard(0)])
            for rows in (X, Y)
        )
        for call in (
            metricops.npairs_loss_from_embeddings,
            metricops.npairs_loss_and_grad,
        ):
            with pytest.raises(TypeError, match="`anchors` must be a dense array; got"):
                call(x, y)
            with pytest.raises(TypeError, match=r"got DTensor: .*full_tensor"):
                call(torch.tensor(X), y)
        for meeting in SPREAD:
            with pytest.raises(TypeError, match=r"got DTensor: .*full_tensor"):
                meeting(x, y)
    finally:
        torch.distributed.destroy_process_group()


def test_torch_compile_takes_other_temperatures(torch):
    def loss(x, y, temperature):
        return metricops.npairs_loss_from_embeddings(
            x, y, temperature=temperature, block_size=2
        )

    x, y = torch.tensor(X).double().requires_grad_(), torch.tensor(Y).double()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for temperature in (0.5, 0.75, 1.25):
        found = compiled(x, y, temperature)
        expected = embeddings_loss(X, Y, temperature=temperature)
        np.testing.assert_allclose(found.detach(), expected, rtol=1e-9)
        (slope,) = torch.autograd.grad(found, [x])
        (expected,) = torch.autograd.grad(loss(x, y, temperature), [x])
        np.testing.assert_allclose(slope, expected, rtol=1e-9)


@pytest.mark.parametrize("mode", ["eager", "compile", "aot_eager"])
def test_torch_records_no_loss_that_comes_with_its_gradients(torch, mode):
    def call(x, y):
        loss, gradients = metricops.npairs_loss_and_grad(x, y)
        return loss, *gradients

    x, y = (torch.tensor(rows, requires_grad=True) for rows in (X, Y))
    traced = Library("torch").trace(call, mode, (x, y))
    assert not any(result.requires_grad for result in traced(x, y))


@pytest.mark.parametrize(
    ("name", "option"),
    [("sigmoid", "bias"), ("triplet", "margin"), ("multi_similarity", "base")],
)
def test_torch_compile_takes_another_value_of_a_float(torch, name, option):
    loss = getattr(metricops, f"{name}_loss_from_embeddings")
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    x, y = map(torch.tensor, (X, Y))
    for value in (0.5, 0.25, 0.75):
        found = compiled(x, y, **{option: value})
        np.testing.assert_allclose(found, loss(x, y, **{option: value}), rtol=1e-5)
