"""What JAX's transforms make of an operation: modes, compilations and exports.

Each at a size that plain autodiff takes, and in several panels.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest

import metricops
from tests.conftest import require
from tests.definitions import embeddings_loss, numeric_gradient

LABELS = [0, 1, 0, 2, 1]
X, Y, ALONG = np.random.default_rng(0).standard_normal((3, 5, 3))
OPTIONS: dict[str, dict[str, Any]] = {
    "position": {"temperature": 0.5},
    "labels": {"labels": LABELS, "normalize": True, "l2_weight": 0.1},
    "symmetric": {"symmetric": True, "reduction": "sum"},
    "weighted": {"sample_weight": [1.0, 2, 0, 1, 3], "reduction": "weighted_mean"},
    "one set": {"labels": LABELS, "exclude_diagonal": True},
}
options = pytest.mark.parametrize("name", OPTIONS)
sizes = pytest.mark.parametrize("block_size", [None, 2])


def defined(name):
    """Return the loss by the definition, as a function of the first rows."""
    others = () if name == "one set" else (Y.tolist(),)
    return lambda x: embeddings_loss(x, *others, **OPTIONS[name])


def measured(name, block_size):
    """Return the same of JAX."""
    others = () if name == "one set" else (require("jax.numpy").asarray(Y),)
    return lambda x: metricops.npairs_loss_from_embeddings(
        x, *others, **OPTIONS[name], block_size=block_size
    )


@pytest.fixture
def x64(jax):
    """Return JAX with 64 bits."""
    with jax.enable_x64(True):
        yield jax


@options
@sizes
def test_forward_mode_is_the_gradient(x64, name, block_size):
    loss, x = measured(name, block_size), x64.numpy.asarray(X)
    (expected,) = numeric_gradient(defined(name), X)
    slope = np.sum(expected * ALONG)
    value, along = x64.jvp(loss, (x,), (x64.numpy.asarray(ALONG),))
    np.testing.assert_allclose(value, defined(name)(X.tolist()), rtol=1e-9)
    np.testing.assert_allclose(along, slope, atol=1e-8)
    _, linear = x64.linearize(x64.jit(loss), x)
    np.testing.assert_allclose(linear(ALONG), slope, atol=1e-8)
    np.testing.assert_allclose(x64.jit(x64.jacfwd(loss))(x), expected, atol=1e-8)


@options
@sizes
def test_second_derivatives_are_those_of_the_first_in_each_order(x64, name, block_size):
    loss, x = measured(name, block_size), x64.numpy.asarray(X)
    gradient = x64.jit(x64.grad(loss))

    def along(rows):
        return float(np.sum(np.asarray(gradient(np.asarray(rows))) * ALONG))

    (expected,) = numeric_gradient(along, X)

    def slope_of_gradient(x):
        return x64.jvp(x64.grad(loss), (x,), (ALONG,))[1]

    def gradient_of_slope(x):
        return x64.grad(lambda x: x64.jvp(loss, (x,), (ALONG,))[1])(x)

    def gradient_of_gradient(x):
        return x64.grad(lambda x: x64.numpy.vdot(x64.grad(loss)(x), ALONG))(x)

    for way in (slope_of_gradient, gradient_of_slope, gradient_of_gradient):
        np.testing.assert_allclose(x64.jit(way)(x), expected, atol=1e-7)
    hessian = x64.jit(x64.hessian(loss))(x)
    np.testing.assert_allclose(
        np.einsum("ijkl,kl->ij", hessian, ALONG), expected, atol=1e-7
    )


@sizes
def test_vmap_of_each_mode_is_a_loop(x64, block_size):
    loss = measured("labels", block_size)
    batch = x64.numpy.asarray(np.stack([X, Y, ALONG]))
    ways = (
        x64.grad(loss),
        x64.jacfwd(loss),
        lambda x: x64.jvp(x64.grad(loss), (x,), (ALONG,))[1],
    )
    for way in ways:
        jitted = x64.jit(way)
        result = x64.jit(x64.vmap(way))(batch)
        expected = [jitted(x) for x in batch]
        np.testing.assert_allclose(result, expected, atol=1e-12)


@sizes
def test_checkpoint_and_shard_map_keep_each_mode(x64, block_size):
    loss, x = measured("symmetric", block_size), x64.numpy.asarray(X)
    (expected,) = numeric_gradient(defined("symmetric"), X)
    explicit = (x64.sharding.AxisType.Explicit,)
    mesh = x64.make_mesh((1,), ("rows",), axis_types=explicit)
    spec = x64.sharding.PartitionSpec()
    sharded = x64.shard_map(loss, mesh=mesh, in_specs=(spec,), out_specs=spec)
    for way in (x64.checkpoint(loss), x64.jit(sharded)):
        np.testing.assert_allclose(x64.grad(way)(x), expected, atol=1e-8)
        _, along = x64.jvp(way, (x,), (x64.numpy.asarray(ALONG),))
        np.testing.assert_allclose(along, np.sum(expected * ALONG), atol=1e-8)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_shard_map_differentiates_rows_apart_against_all(x64, reduction):
    auto = (x64.sharding.AxisType.Auto,)
    mesh = x64.make_mesh((1,), ("rows",), axis_types=auto)
    rows, everywhere = (x64.sharding.PartitionSpec(*axes) for axes in (("rows",), ()))

    def local(x, y):
        losses = metricops.npairs_loss_from_embeddings(
            x, y, reduction=reduction, block_size=2
        )
        return x64.lax.pmean(x64.numpy.mean(losses), "rows")

    sharded = x64.shard_map(
        local, mesh=mesh, in_specs=(rows, everywhere), out_specs=everywhere
    )
    result = x64.jit(x64.grad(sharded, (0, 1)))(*map(x64.numpy.asarray, (X, Y)))
    expected = numeric_gradient(embeddings_loss, X, Y)
    for got, want in zip(result, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-8)


def test_forward_mode_is_the_gradient_of_more_than_a_small_panel(x64):
    x, along = np.random.default_rng(1).standard_normal((2, 370, 2))
    assert len(x) ** 2 > 2**17
    loss = metricops.npairs_loss_from_embeddings
    slope = x64.jvp(lambda x: loss(x, 2 * x), (x64.numpy.asarray(x),), (along,))[1]
    ends = [x + step * along for step in (1e-5, -1e-5)]
    values = [embeddings_loss(end.tolist(), (2 * end).tolist()) for end in ends]
    np.testing.assert_allclose(slope, (values[0] - values[1]) / 2e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["rows of losses", "distances"])
def test_forward_mode_of_an_array_in_panels_says_that_there_is_none(jax, name):
    y = jax.numpy.asarray(Y)
    calls: dict[str, Any] = {
        "rows of losses": lambda x: metricops.npairs_loss_from_embeddings(
            x, y, reduction="none", block_size=2
        ),
        "distances": lambda x: metricops.pairwise_euclidean_distance(x, y),
    }
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(calls[name], (y,), (y,))


# An operation of the tests: 3 x + x y, or their sum, that notes what is wanted of it.
NOTED: list[tuple[bool, ...]] = []


class Static(NamedTuple):
    """What is static about it."""

    summed: bool


def _value(lib, config, arrays, constants):
    found = 3 * arrays[0] + arrays[0] * arrays[1]
    return lib.xp.sum(found) if config.summed else found


def _value_and_saved(lib, config, arrays, constants, wanted):
    NOTED.append(wanted)
    each = (3 + arrays[1], arrays[0], None)
    saved = tuple(x for x, there in zip(each, wanted, strict=True) if there)
    return _value(lib, config, arrays, constants), saved if config.summed else ()


def _backward(lib, config, arrays, constants, saved, upstream, wanted):
    NOTED.append(wanted)
    each = (upstream * (3 + arrays[1]), upstream * arrays[0], None)
    return tuple(x if there else None for x, there in zip(each, wanted, strict=True))


@pytest.mark.parametrize("summed", [True, False])
@pytest.mark.parametrize("jitted", [True, False])
def test_only_gradients_that_are_wanted_are_asked_for(jax, summed, jitted):
    operations = require("metricops._frameworks.operations")
    lib = require("metricops._frameworks.jax.library").JAX
    operation = operations.Operation(
        "noted",
        Static,
        _value,
        _value_and_saved,
        _backward,
        lambda *_: False,
        lambda config: config.summed,
    )

    def total(x, y):
        arrays = (x, y, None)
        found = lib.differentiable(operation, Static(summed), arrays, (None,))
        return jax.numpy.sum(found)

    jax.clear_caches()
    x, y = map(jax.numpy.asarray, ([1.0, 2.0], [5.0, 7.0]))
    cases = ((0, (True, False, False)), (1, (False, True, False)))
    for position, wanted in cases:
        NOTED.clear()
        way = jax.grad(total, position)
        result = (jax.jit(way) if jitted else way)(x, y)
        np.testing.assert_allclose(result, ([8.0, 10.0], [1.0, 2.0])[position])
        assert set(NOTED) == {wanted}


# Compilations.

ROWS = np.random.default_rng(2).standard_normal((3, 40, 4)).astype(np.float32)
CLASSES = list(range(20)) * 2


def _panels(x, y, **given):
    return metricops.npairs_loss_from_embeddings(x, y, block_size=8, **given)


def _total(function):
    return lambda x, y: require("jax.numpy").sum(function(x, y))


# Each takes JAX and two sets of rows.
EAGER: dict[str, Any] = {
    "loss": lambda jax, x, y: _panels(x, y),
    "labels": lambda jax, x, y: _panels(x, y, labels=CLASSES),
    "one set": lambda jax, x, y: _panels(x, None, labels=CLASSES),
    "rows": lambda jax, x, y: _panels(x, y, reduction="none"),
    "grad": lambda jax, x, y: jax.grad(_panels, (0, 1))(x, y),
    "grad of rows": lambda jax, x, y: jax.grad(
        _total(partial(_panels, reduction="none"))
    )(x, y),
    "jvp": lambda jax, x, y: jax.jvp(lambda x: _panels(x, y), (x,), (y,)),
    "vmap": lambda jax, x, y: jax.vmap(_panels)(x[None], y[None]),
    "vmap of grad": lambda jax, x, y: jax.vmap(jax.grad(_panels))(x[None], y[None]),
    "grad of grad": lambda jax, x, y: jax.grad(_total(jax.grad(_panels)))(x, y),
    "euclidean": lambda jax, x, y: metricops.pairwise_euclidean_distance(x, y),
    "grad of manhattan": lambda jax, x, y: jax.grad(
        _total(metricops.pairwise_manhattan_distance)
    )(x, y),
}


class Compilations:
    """How many programs JAX has compiled."""

    count = 0

    def __call__(self, event: str, duration: float, **_: Any) -> None:
        """Hear of an event."""
        self.count += event == "/jax/core/compile/backend_compile_duration"


@pytest.fixture(scope="module")
def compilations():
    heard = Compilations()
    require("jax.monitoring").register_event_duration_secs_listener(heard)
    return heard


@pytest.mark.parametrize("name", EAGER)
def test_a_second_eager_call_compiles_nothing(jax, compilations, name):
    call = partial(EAGER[name], jax)
    x, y, z = map(jax.numpy.asarray, ROWS)
    before = compilations.count
    call(x, y)
    first = compilations.count
    call(y, z)
    assert before < first == compilations.count


def test_another_temperature_compiles_nothing(jax, compilations):
    def step(x, y, temperature):
        return jax.value_and_grad(
            lambda x: _panels(x, y, normalize=True, temperature=temperature)
        )(x)

    x, y, _ = map(jax.numpy.asarray, ROWS)
    step(x, y, 0.5)
    before = compilations.count
    loss, _ = step(x, y, 0.1)
    assert compilations.count == before
    expected = embeddings_loss(x.tolist(), y.tolist(), normalize=True, temperature=0.1)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


# Exports with symbols for sizes.

loss = metricops.npairs_loss_from_embeddings
EXPORTED: dict[str, Any] = {
    "position": partial(loss, normalize=True, temperature=0.1),
    "given block": partial(loss, block_size=4, l2_weight=0.1),
    "symmetric": partial(loss, symmetric=True),
    "rows": partial(loss, reduction="none", block_size=4),
    "gradients": lambda x, y: require("jax").grad(loss, (0, 1))(x, y),
    "euclidean": metricops.pairwise_euclidean_distance,
    "batch": lambda x, y: metricops.pairwise_snr_distance(x[None], y[None]),
    "gradient of distances": lambda x, y: require("jax").grad(
        lambda x: metricops.pairwise_manhattan_distance(x, y).sum()
    )(x),
    "neighbors": metricops.nearest_neighbors,
    "neighbors by distance": partial(
        metricops.nearest_neighbors, metric="euclidean", block_size=4
    ),
    "recall": lambda x, y: metricops.recall_at_k(x, x[:, 0], y, y[:, 0], k=1)[1],
}


def exported(jax, function, sizes, *shapes, constraints=()):
    """Return `function` exported with symbols for `sizes`, saved and loaded again."""
    require("jax.export")
    require("flatbuffers")  # what JAX saves programs with
    symbols = jax.export.symbolic_shape(sizes, constraints=constraints)
    named = dict(zip(sizes.split(", "), symbols, strict=True))
    arguments = [
        jax.ShapeDtypeStruct(tuple(named.get(size, size) for size in shape), dtype)
        for *shape, dtype in shapes
    ]
    program = jax.export.export(jax.jit(function))(*arguments)
    return jax.export.deserialize(program.serialize()).call


@pytest.mark.parametrize("name", EXPORTED)
def test_export_leaves_sizes_open(jax, name):
    rows = ("n", "d", "float32")
    program = exported(jax, EXPORTED[name], "n, d", rows, rows)
    for n, d in ((3, 2), (4, 4), (270, 3)):
        x, y = np.random.default_rng(n).standard_normal((2, n, d)).astype(np.float32)
        same = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
        x, y = jax.numpy.asarray(x), jax.numpy.asarray(y)
        jax.tree.map(same, program(x, y), EXPORTED[name](x, y))


def test_export_leaves_the_sizes_of_labelled_sets_open(jax):
    def labelled(x, y, own, others):
        return loss(x, y, own, candidate_labels=others)

    shapes = [("n", 3, "float32"), ("m", 3, "float32"), ("n", "int32"), ("m", "int32")]
    program = exported(jax, labelled, "n, m", *shapes)
    generator = np.random.default_rng(0)
    for n, m in ((2, 5), (300, 7)):
        x = generator.standard_normal((n, 3)).astype(np.float32)
        y = generator.standard_normal((m, 3)).astype(np.float32)
        own, others = (np.arange(size, dtype=np.int32) % 4 for size in (n, m))
        expected = embeddings_loss(
            x.tolist(), y.tolist(), own.tolist(), candidate_labels=others.tolist()
        )
        np.testing.assert_allclose(program(x, y, own, others), expected, rtol=1e-5)


def test_export_of_one_set_leaves_its_size_open(jax):
    def one_set(x, labels):
        return loss(x, None, labels, exclude_diagonal=True)

    program = exported(jax, one_set, "n", ("n", 3, "float32"), ("n", "int32"))
    for n in (4, 300):
        x = np.random.default_rng(n).standard_normal((n, 3)).astype(np.float32)
        labels = np.arange(n, dtype=np.int32) % 2
        expected = embeddings_loss(
            x.tolist(), None, labels.tolist(), exclude_diagonal=True
        )
        np.testing.assert_allclose(program(x, labels), expected, rtol=1e-5)


def test_export_wants_to_know_that_there_are_enough_candidates(jax):
    shapes = ("n", 3, "float32"), ("m", 3, "float32")
    with pytest.raises(Exception, match="'m' < 'n' is inconclusive"):
        exported(jax, loss, "n, m", *shapes)
    program = exported(jax, loss, "n, m", *shapes, constraints=("m >= n",))
    x, y = ROWS[0, :5, :3], ROWS[1, :9, :3]
    np.testing.assert_allclose(
        program(x, y), embeddings_loss(x.tolist(), y.tolist()), rtol=1e-5
    )


def test_export_refuses_sizes_that_are_not_the_same_symbol(jax):
    shapes = ("n", 3, "float32"), ("m", 3, "float32")
    with pytest.raises(ValueError, match="`candidates` must fit `anchors`"):
        exported(jax, partial(loss, symmetric=True), "n, m", *shapes)


@sizes
def test_no_rank_is_promoted_silently(jax, block_size):
    x, y = map(jax.numpy.asarray, (X, Y))
    with jax.numpy_rank_promotion("raise"):
        for given in OPTIONS.values():
            gradient = jax.grad(partial(loss, **given, block_size=block_size))
            jax.eval_shape(gradient, x, None if "exclude_diagonal" in given else y)
        with_bias = partial(loss, block_size=block_size, candidate_bias=Y[:, 0])
        jax.eval_shape(jax.grad(with_bias), x, y)
        search = partial(metricops.nearest_neighbors, block_size=block_size)
        jax.eval_shape(search, x, y)
        recall = partial(metricops.recall_at_k, k=1, block_size=block_size)
        jax.eval_shape(lambda x: recall(x, LABELS)[1], x)


@pytest.mark.parametrize("block_size", [None, 2])
@pytest.mark.parametrize(
    "name", [x for x in vars(metricops) if x.endswith("_loss_from_embeddings")]
)
def test_no_loss_promotes_a_rank_silently(jax, name, block_size):
    x = jax.numpy.asarray(X)
    labels, proxies = [0, 0, 1, 1, 2][: len(X)], (2 * x,) if "margin" in name else ()
    function = partial(getattr(metricops, name), block_size=block_size)
    with jax.numpy_rank_promotion("raise"):
        gradient = jax.grad(lambda x: function(x, *proxies, labels=labels))
        jax.eval_shape(gradient, x)


@pytest.mark.parametrize("n", [40, 400])  # all sorted, and candidates by products
def test_no_search_promotes_a_rank_or_a_dtype_silently(jax, n):
    x, labels = jax.ShapeDtypeStruct((n, 16), np.float32), np.arange(n) % 7
    strict = jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise")
    with strict[0], strict[1]:
        for metric in ("cosine", "euclidean", "inner_product", "manhattan", "snr"):
            search = partial(metricops.nearest_neighbors, k=3, metric=metric)
            jax.eval_shape(lambda x, search=search: search(x, None), x)
            jax.eval_shape(
                jax.grad(lambda x, y, search=search: search(x, y)[0].sum()), x, x
            )
        for measure in (
            partial(metricops.recall_at_k, k=2),
            metricops.mean_average_precision,
            metricops.mean_reciprocal_rank,
        ):
            jax.eval_shape(lambda x, measure=measure: measure(x, labels), x)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", ["npairs", "sigmoid", "circle", "vicreg"])
def test_no_loss_promotes_a_dtype_silently(jax, name, dtype):
    loss = getattr(
        metricops, "vicreg_loss" if name == "vicreg" else f"{name}_loss_from_embeddings"
    )
    x = jax.ShapeDtypeStruct((6, 4), dtype)
    strict = jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise")
    with strict[0], strict[1]:
        jax.eval_shape(jax.grad(loss, (0, 1)), x, x)
        jax.eval_shape(metricops.value_and_grad(loss), x, x)
