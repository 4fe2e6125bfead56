"""What accelerators are asked to do: a device without one, and programs for others.

The numbers are those of a processor; what is tested is what is multiplied in which
dtype, that nothing waits for the host, how large panels are, and how exact it is.
"""

import re
from functools import partial
from typing import Any

import numpy as np
import pytest

import metricops
from metricops._sharded import loss_of_group
from tests import test_rings
from tests.conftest import require
from tests.test_devices import CALLS, X, Y

HALVES = ("bfloat16", "float16")
BOUNDS = {"bfloat16": 2.6e-3, "float16": 8.3e-4}
N, M, D = 96, 130, 48
LABELS = np.arange(M) // 3
FORMS = ("position", "symmetric", "labels", "multi-hot", "weights", "one set")


@pytest.fixture
def fake(torch, monkeypatch):
    """Return the module of a device that gives float32 products of halves."""
    from metricops._frameworks.torch import products
    from tests import fake_device

    fake_device.register()
    monkeypatch.setattr(
        products, "takes_halves", lambda device, dtype: device.type == fake_device.NAME
    )
    fake_device.LOG.clear()
    return fake_device


def sides(form):
    """Return anchors and candidates of unit length, each near its partner."""
    generator = np.random.default_rng(0)
    anchors = generator.normal(size=(N, D))
    others = generator.normal(size=(M, D))
    others[:N] = anchors + others[:N]
    anchors, others = (
        x / np.linalg.norm(x, axis=1, keepdims=True) for x in (anchors, others)
    )
    if form == "one set":
        return (anchors,)
    return anchors, others[:N] if form in ("symmetric", "multi-hot") else others


def options_of(form, asarray):
    """Return the options of a form, with arrays as `asarray` makes them."""
    found: dict[str, Any] = {"temperature": 0.07, "reduction": "sum"}
    if form == "symmetric":
        found["symmetric"] = True
    elif form == "labels":
        found |= {"labels": asarray(LABELS[:N]), "candidate_labels": asarray(LABELS)}
    elif form == "multi-hot":
        found["labels"] = asarray(np.eye(N, dtype=np.int32)[LABELS[:N]])
    elif form == "weights":
        found["sample_weight"] = asarray(np.linspace(0.5, 2, N, dtype=np.float32))
    elif form == "one set":
        found |= {"labels": asarray(LABELS[:N]), "exclude_diagonal": True}
    return found


def exact(torch, form, embeddings, normalize=False):
    """Return the loss of embeddings and its gradients, dense and in float64."""
    given = [x.double().requires_grad_() for x in embeddings]
    rows = [torch.nn.functional.normalize(x, dim=1) if normalize else x for x in given]
    scores = rows[0] @ rows[-1].T / 0.07
    labels = torch.as_tensor(LABELS)
    count = scores.shape[1]
    targets = torch.eye(N, count, dtype=torch.float64)
    if form in ("labels", "multi-hot", "one set"):
        targets = (labels[:N, None] == labels[None, :count]).double()
    if form == "one set":
        off = ~torch.eye(N, dtype=torch.bool)
        targets = targets * off
        scores = torch.where(off, scores, -1e300)
    weights = torch.ones(N, dtype=torch.float64)
    if form == "weights":
        weights = torch.linspace(0.5, 2, N).double()
    targets = targets / targets.sum(1, keepdim=True)
    loss = -(targets * scores.log_softmax(1)).sum(1)
    if form == "symmetric":
        loss = (loss - (targets * scores.log_softmax(0)).sum(0)) / 2
    total = (loss * weights).sum()
    return total.detach(), torch.autograd.grad(total, given)


def distances(torch, found, expected):
    """Return how far gradients are off, by their norms."""
    pairs = zip(found, expected, strict=True)
    return [((x.double() - y).norm() / y.norm()).item() for x, y in pairs]


def step(torch, fake, form, half, **options):
    """Return embeddings, and a loss with its gradients, of the fake device."""
    host = [torch.tensor(x).to(getattr(torch, half)) for x in sides(form)]
    there = [fake.there(x).requires_grad_() for x in host]
    given = options_of(form, lambda x: fake.there(torch.tensor(x)))
    fake.LOG.clear()
    loss = metricops.npairs_loss_from_embeddings(*there, **(given | options))
    gradients = torch.autograd.grad(loss, there)
    return host, fake.here(loss).detach(), [fake.here(x) for x in gradients]


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("block_size", [None, 32])
def test_halves_are_multiplied_as_given_and_summed_in_float32(
    torch, fake, monkeypatch, half, form, block_size
):
    from metricops._frameworks.torch.library import Torch

    # The loss before it goes out in the half of the embeddings.
    monkeypatch.setattr(Torch, "narrow_dtype", lambda *_: torch.float32)
    host, loss, gradients = step(torch, fake, form, half, block_size=block_size)
    expected, slopes = exact(torch, form, host)
    assert loss.item() == pytest.approx(expected.item(), abs=3e-6 * N)
    assert max(distances(torch, gradients, slopes)) < BOUNDS[half]
    assert {x.dtype for x in gradients} == {getattr(torch, half)}
    dtypes = multiplied(torch, fake)
    assert getattr(torch, half) in dtypes
    assert dtypes <= {torch.float16, getattr(torch, half), "counts"}
    assert not waits(fake)


def multiplied(torch, fake):
    """Return the dtypes of the sides of all products; those of counts by their name."""
    found = set()
    for operation, *tensors in fake.LOG:
        if "mm" in str(operation):
            x, y = tensors[-3:-1] if "out" in str(operation) else tensors[-2:]
            whole = x.dtype == torch.float32 and bool((x == x.round()).all())
            found |= {"counts"} if whole else {x.dtype, y.dtype}
    return found


def waits(fake):
    """Return what made the host wait for the device, or copied between them."""
    return [x for x in fake.LOG if x[0] in ("look", "to host", "host copy")]


# Losses of scores, with the options that they are called with.
LOSSES: dict[str, Any] = {
    "sigmoid": (metricops.sigmoid_loss_from_embeddings, {"temperature": 0.2}),
    "multi-similarity": (metricops.multi_similarity_loss_from_embeddings, {}),
    "circle": (metricops.circle_loss_from_embeddings, {"gamma": 20.0}),
    "margin softmax": (metricops.margin_softmax_loss_from_embeddings, {"scale": 16.0}),
}


def of_loss(name, labels, anchors, others):
    """Return a loss against labels, and by position if they are None."""
    function, options = LOSSES[name]
    if name == "margin softmax":
        return function(anchors, others, labels[0] % M, **options)
    if labels is not None:
        options = options | {"labels": labels[0], "candidate_labels": labels[1]}
    return function(anchors, others, reduction="sum", **options)


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", [*LOSSES, "sigmoid, by position"])
def test_other_losses_multiply_halves_too(torch, fake, name, half):
    name, _, position = name.partition(", ")
    host = [torch.tensor(x).to(getattr(torch, half)) for x in sides("position")]
    wide = [x.double().requires_grad_() for x in host]
    labels = torch.as_tensor(LABELS[:N]), torch.as_tensor(LABELS)
    there = [fake.there(x).requires_grad_() for x in host]
    marked = None if position else tuple(fake.there(x) for x in labels)
    fake.LOG.clear()
    found = torch.autograd.grad(of_loss(name, marked, *there), there)
    dtypes = multiplied(torch, fake)
    expected = of_loss(name, None if position else labels, *wide)
    slopes = torch.autograd.grad(expected, wide)
    found = [fake.here(x) for x in found]
    assert max(distances(torch, found, slopes)) < BOUNDS[half]
    assert dtypes <= {torch.float16, getattr(torch, half), "counts"}


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("form", FORMS)
def test_unit_vectors_are_multiplied_in_float16(torch, fake, monkeypatch, half, form):
    from metricops._frameworks.torch.library import Torch

    monkeypatch.setattr(Torch, "narrow_dtype", lambda *_: torch.float32)
    options = {"normalize": True, "block_size": 40}
    host, loss, gradients = step(torch, fake, form, half, **options)
    expected, slopes = exact(torch, form, host, normalize=True)
    # What rounding takes from the loss is put back by way of the gradients.
    assert loss.item() == pytest.approx(expected.item(), abs=3e-6 * N)
    assert max(distances(torch, gradients, slopes)) < BOUNDS[half]
    assert multiplied(torch, fake) - {"counts"} == {torch.float16}


@pytest.mark.parametrize("half", HALVES)
def test_a_step_saves_gradients_and_no_widened_embeddings(torch, fake, half):
    host = [torch.tensor(x).to(getattr(torch, half)) for x in sides("position")]
    there = [fake.there(x).requires_grad_() for x in host]
    saved: dict[int, Any] = {}

    def pack(x):
        saved[id(x.raw if isinstance(x, fake.OnDevice) else x)] = x
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        metricops.npairs_loss_from_embeddings(*there, block_size=32)
    inputs = sum(x.nbytes for x in host)
    beyond = sum(x.nbytes for x in saved.values()) - inputs
    assert 0 < beyond <= (N + M) * D * 6


def test_a_positive_that_is_alone_pulls_on_nothing(torch, fake):
    """Where the loss is 0, rounding must leave nothing of its gradient."""
    for symmetric in (False, True):
        x, y = (fake.there(torch.randn(1, 8).half()).requires_grad_() for _ in "xy")
        label = fake.there(torch.tensor([3]))
        loss = metricops.npairs_loss_from_embeddings(
            x, y, label, candidate_labels=label, symmetric=symmetric, temperature=0.1
        )
        for gradient in torch.autograd.grad(loss, (x, y)):
            assert not fake.here(gradient).any()


PAIRWISE: dict[str, Any] = {
    "inner product": metricops.pairwise_inner_product,
    "cosine": metricops.pairwise_cosine_similarity,
}
pairwise = pytest.mark.parametrize("name", PAIRWISE)


def rows_of(torch, half, one=False):
    """Return rows of lengths of 2 to 100 in a half: two sets, or one."""
    found = [torch.tensor(x) for x in sides("position")]
    lengths = torch.linspace(2, 100, M)[:, None]
    return [(x * lengths[: len(x)]).to(getattr(torch, half)) for x in found[: 2 - one]]


def exact_pairs(torch, name, embeddings):
    """Return the products of all pairs by their definition."""
    if name == "cosine":
        embeddings = [x / x.norm(dim=1, keepdim=True) for x in embeddings]
    return embeddings[0] @ embeddings[-1].T


@pairwise
@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("size", [1.0, 1e30, 1e-30])
def test_pairwise_products_multiply_halves_too(torch, fake, name, half, size):
    """Cosines as unit vectors in float16, whatever the size of what is upstream."""
    size = size if half == "bfloat16" else 1.0
    for one in (False, True):
        host = rows_of(torch, half, one)
        there = [fake.there(x).requires_grad_() for x in host]
        wide = [x.double().requires_grad_() for x in host]
        expected = exact_pairs(torch, name, wide)
        upstream = torch.linspace(-size, size, expected.numel())
        upstream = upstream.reshape(expected.shape).to(host[0].dtype)
        fake.LOG.clear()
        found = PAIRWISE[name](*there)
        gradients = torch.autograd.grad(found, there, fake.there(upstream))
        multiplied_in = "float16" if name == "cosine" else half
        assert multiplied(torch, fake) == {getattr(torch, multiplied_in)}
        assert not waits(fake)
        slopes = torch.autograd.grad(expected, wide, upstream.double())
        every = [fake.here(x) for x in (found.detach(), *gradients)]
        assert {x.dtype for x in every} == {host[0].dtype}
        assert max(distances(torch, every, [expected, *slopes])) < BOUNDS[half]
        off = (every[0].double() - expected).abs().max() / expected.abs().max()
        assert off < (4e-3 if half == "bfloat16" else 9e-4)


@pairwise
@pytest.mark.parametrize("half", HALVES)
def test_gradients_of_pairwise_products_have_derivatives(torch, fake, name, half):
    host = [torch.tensor(x).to(getattr(torch, half)) for x in sides("position")]
    upstream = torch.linspace(-1, 1, N * M).reshape(N, M).to(host[0].dtype)

    def second(product, rows, upstream):
        slopes = torch.autograd.grad(product(rows), rows, upstream, create_graph=True)
        return torch.autograd.grad([(x * x).sum() for x in slopes], rows)

    there = [fake.there(x).requires_grad_() for x in host]
    fake.LOG.clear()
    found = second(lambda x: PAIRWISE[name](*x), there, fake.there(upstream))
    assert torch.float32 not in multiplied(torch, fake)
    wide = [x.double().requires_grad_() for x in host]
    definition = partial(exact_pairs, torch, name)
    expected = second(definition, wide, upstream.double())
    assert max(distances(torch, map(fake.here, found), expected)) < 2 * BOUNDS[half]


@pytest.mark.parametrize("size", [1e-9, 1e6])
def test_gradients_of_products_in_float32_stay_numbers(torch, fake, monkeypatch, size):
    """Under autocast they go out in float32, so what is upstream may not fit a half."""
    from metricops._frameworks.torch.library import Torch

    monkeypatch.setattr(Torch, "narrow_dtype", lambda *_: torch.float32)
    shorter = 2.0**8 if size < 1 else 2.0**-8
    host = [torch.tensor(x * shorter).half() for x in sides("position")]
    there = [fake.there(x).requires_grad_() for x in host]
    wide = [x.double().requires_grad_() for x in host]
    upstream = torch.linspace(-1, 1, N * M).reshape(N, M) * size
    product = metricops.pairwise_inner_product(*there)
    found = torch.autograd.grad(product, there, fake.there(upstream))
    expected = torch.autograd.grad(
        exact_pairs(torch, "inner product", wide), wide, upstream.double()
    )
    for one, other in zip(map(fake.here, found), expected, strict=True):
        off = (one.double() - other).abs().max()
        assert off < BOUNDS["float16"] * other.abs().max() + 2**-25


@pairwise
def test_a_row_that_is_no_number_spoils_no_other(torch, fake, name):
    host = rows_of(torch, "bfloat16")
    host[0][3, 1] = float("inf")
    there = [fake.there(x).requires_grad_() for x in host]
    upstream = torch.ones(N, M).bfloat16()
    upstream[5, 7] = float("nan")
    found = PAIRWISE[name](*there)
    of_rows, of_columns = torch.autograd.grad(found, there, fake.there(upstream))
    others = [i for i in range(N) if i not in (3, 5)]
    assert fake.here(found.detach())[others].isfinite().all()
    assert fake.here(of_rows)[others].isfinite().all()
    assert fake.here(of_columns).isnan().any()


METRICS = ("inner_product", "cosine", "euclidean", "squared_euclidean")


def searched(torch, half):
    """Return queries and keys in a half, some equal, far from 0, and not finite."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn((n, D), generator=generator) for n in (N, 700))
    x[:9], y[5:14], y[400:420] = x[:9] + 3, x[:9] + 3, y[5]
    x[9], x[10, 3], x[11] = 0.0, float("inf"), x[11] * 2.0**-30
    return [z.to(getattr(torch, half)) for z in (x, y)]


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("block_size", [None, 40])
def test_searches_multiply_halves_as_given(torch, fake, half, metric, block_size):
    """And what is found is what widened rows find, also where a gradient is asked."""
    host = searched(torch, half)
    options: Any = {"metric": metric, "block_size": block_size, "k": 9}
    _, expected = metricops.nearest_neighbors(*host, **options)
    for grad in (False, True):
        there = [fake.there(x).requires_grad_(grad) for x in host]
        fake.LOG.clear()
        _, found = metricops.nearest_neighbors(*there, **options)
        assert torch.equal(fake.here(found), expected)
        dtypes = multiplied(torch, fake)
        assert getattr(torch, half) in dtypes
        assert dtypes <= {getattr(torch, half), torch.float64}


SMOOTHED: dict[str, Any] = {
    "position": {},
    "symmetric": {"symmetric": True, "normalize": True},
    "labels": {"labels": np.arange(N) // 3},
    "one set": {"labels": np.arange(N) // 3, "exclude_diagonal": True},
}


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("form", SMOOTHED)
def test_smoothed_losses_multiply_halves_too(torch, fake, monkeypatch, half, form):
    from metricops._frameworks.torch.library import Torch

    monkeypatch.setattr(Torch, "narrow_dtype", lambda *_: torch.float32)
    sets = sides("one set" if form == "one set" else "symmetric")
    host = [torch.tensor(x).to(getattr(torch, half)) for x in sets]
    options: Any = {"temperature": 0.2, "label_smoothing": 0.1, "block_size": 40}
    options |= SMOOTHED[form]

    def found(embeddings):
        loss = metricops.npairs_loss_from_embeddings(*embeddings, **options)
        return loss.detach(), *torch.autograd.grad(loss, embeddings)

    fake.LOG.clear()
    loss, *slopes = map(
        fake.here, found([fake.there(x).requires_grad_() for x in host])
    )
    expected, *exact = found([x.double().requires_grad_() for x in host])
    assert loss.item() == pytest.approx(expected.item(), abs=3e-6)
    assert max(distances(torch, slopes, exact)) < BOUNDS[half]
    assert multiplied(torch, fake) - {"counts"} <= {torch.float16, host[0].dtype}


RINGS: dict[str, Any] = {
    "position": {"temperature": 0.07},
    "symmetric": {"symmetric": True, "normalize": True, "temperature": 0.2},
    "labels": {"labels": LABELS[:N], "temperature": 0.07, "block_size": 16},
}


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("form", RINGS)
def test_rings_multiply_halves_too(torch, fake, monkeypatch, half, form):
    """And visitors travel as halves."""
    from metricops._frameworks.torch.library import Torch

    monkeypatch.setattr(Torch, "narrow_dtype", lambda *_: torch.float32)
    npairs: Any = metricops.npairs_loss_from_embeddings
    travelled, options = [], dict(RINGS[form])
    labels = options.pop("labels", None)
    host = [torch.tensor(x).to(getattr(torch, half)) for x in sides("symmetric")]

    class Alone(test_rings.Thread):
        def lap(self, visits: Any, visitor: Any, counts: Any) -> Any:
            travelled.append(visitor.embeddings.dtype)
            return visits.meet(visitor, True)

    there = [fake.there(x).requires_grad_() for x in host]
    own = None if labels is None else fake.there(torch.tensor(labels))
    fake.LOG.clear()
    alone, (first, second) = Alone(test_rings.Table(1), 0), there
    loss = loss_of_group(alone, npairs, first, second, own, **options)
    slopes = [fake.here(x) for x in torch.autograd.grad(loss, there)]
    dtypes = {torch.float16, host[0].dtype}
    assert multiplied(torch, fake) <= dtypes
    assert set(travelled) <= dtypes
    wide = [x.double().requires_grad_() for x in host]
    expected = npairs(*wide, labels, **options)
    off = 3e-5 if "normalize" in options else 3e-6
    assert fake.here(loss.detach()).item() == pytest.approx(expected.item(), abs=off)
    exact = torch.autograd.grad(expected, wide)
    assert max(distances(torch, slopes, exact)) < BOUNDS[half]


@pytest.mark.parametrize("large", [1.0, 3e4])
def test_panels_of_float16_neither_overflow_nor_vanish(torch, fake, large):
    """The derivative by the labels of a row grows with the number of candidates."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn((8, 4), generator=generator).half()
    y = torch.randn((300, 4), generator=generator).half()
    weight = torch.tensor([large, *[1.0] * 7])
    labels = torch.arange(8), torch.arange(300) % 8
    first, second = there = [fake.there(z).requires_grad_() for z in (x, y)]
    loss = metricops.npairs_loss_from_embeddings(
        first,
        second,
        fake.there(labels[0]),
        candidate_labels=fake.there(labels[1]),
        sample_weight=fake.there(weight),
        temperature=100.0,
    )
    found = [fake.here(g) for g in torch.autograd.grad(loss, there)]
    wide = [z.double().requires_grad_() for z in (x, y)]
    expected = torch.autograd.grad(
        metricops.npairs_loss_from_embeddings(
            wide[0],
            wide[1],
            labels[0],
            candidate_labels=labels[1],
            sample_weight=weight,
            temperature=100.0,
        ),
        wide,
    )
    for own, other in zip(found, expected, strict=True):
        assert own.isfinite().all()
        # The least numbers of float16 are all that is lost.
        assert (own.double() - other).abs().max() < 2e-3 * other.abs().max() + 2**-24


@pytest.mark.parametrize("name", CALLS)
def test_a_function_works_on_a_device_and_stays_there(torch, fake, name):
    x, y = (torch.tensor(values, dtype=torch.float32) for values in (X, Y))
    expected = CALLS[name](x, y)
    found = CALLS[name](fake.there(x), fake.there(y))
    torch.testing.assert_close(fake.here(found), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_a_step_in_float32_waits_for_nothing(torch, fake, form):
    host, _, gradients = step(torch, fake, form, "float32", block_size=32)
    _, slopes = exact(torch, form, host)
    assert max(distances(torch, gradients, slopes)) < 2e-6
    assert not waits(fake)


def test_autocast_decides_in_what_float32_is_multiplied(torch, fake, monkeypatch):
    from metricops._frameworks.torch import products

    monkeypatch.setattr(products, "is_autocast", lambda x: True)
    monkeypatch.setattr(torch, "get_autocast_dtype", lambda _: torch.bfloat16)
    host = [torch.tensor(x, dtype=torch.float32) for x in sides("position")]
    there = [fake.there(x).requires_grad_() for x in host]
    monkeypatch.setattr(torch, "autocast", _NoAutocast)
    options: dict[str, Any] = {"temperature": 0.07, "reduction": "sum"}
    loss = metricops.npairs_loss_from_embeddings(*there, **options)
    gradients = torch.autograd.grad(loss, there)
    assert multiplied(torch, fake) == {torch.bfloat16, torch.float16}
    assert loss.dtype == torch.float32
    _, slopes = exact(torch, "position", host)
    found = [fake.here(x) for x in gradients]
    assert {x.dtype for x in found} == {torch.float32}
    assert max(distances(torch, found, slopes)) < 1e-2


class _NoAutocast:
    """What `torch.autocast` is on a device that knows none."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


PANELS = {  # gibibytes, candidates: rows
    (141, 65_536): 2048,
    (80, 65_536): 1536,
    (80, 8_192): 13_568,
    (24, 2**20): 256,
}


@pytest.mark.parametrize(("memory", "candidates"), PANELS)
def test_panels_fit_the_memory_of_a_device(torch, monkeypatch, memory, candidates):
    from types import SimpleNamespace

    from metricops._frameworks.torch.library import TORCH

    found = SimpleNamespace(total_memory=memory * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: found)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    device = SimpleNamespace(type="cuda")
    x: Any = SimpleNamespace(shape=(candidates, 8), is_cpu=False, device=device)
    assert TORCH.block(x, x) == PANELS[memory, candidates]


def test_panels_of_jax_are_larger_on_an_accelerator(jax, monkeypatch):
    from metricops._frameworks.jax.library import JAX

    x = jax.ShapeDtypeStruct((8_192, 8), "float32")
    assert JAX.block(x, x) == 128
    assert JAX.block(x, x, paired=True) == 256
    x = jax.ShapeDtypeStruct((65_536, 8), "float32")
    assert JAX.block(x, x) == JAX.block(x, x, paired=True) == 64
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert JAX.block(x, x) == JAX.block(x, x, paired=True) == 1024


@pytest.mark.parametrize("platform", ["cuda", "tpu", "rocm"])
@pytest.mark.parametrize("half", HALVES)
def test_programs_of_jax_multiply_halves_and_nothing_else(jax, platform, half):
    for form in ("position", "symmetric", "labels", "one set"):
        products = lowered(jax, form, half, platform)
        short = {"bfloat16": "bf16", "float16": "f16"}[half]
        halves = {short} if form in ("position", "symmetric") else {short, "f16"}
        assert products == {(x, x, "f32") for x in halves}, form
    normalized = lowered(jax, "position", half, platform, normalize=True)
    assert normalized == {("f16", "f16", "f32")}
    smoothed = lowered(jax, "labels", half, platform, label_smoothing=0.1)
    assert smoothed == {(x, x, "f32") for x in {short, "f16"}}
    for name in LOSSES:
        given = [jax.numpy.asarray(x, half) for x in sides("position")]
        loss = partial(of_loss, name, (LABELS[:N], LABELS))
        found = products_of(jax, loss, given, platform)
        assert found <= {(x, x, "f32") for x in (short, "f16")}, name


@pairwise
@pytest.mark.parametrize("platform", ["cuda", "tpu", "rocm"])
@pytest.mark.parametrize("half", HALVES)
def test_pairwise_products_of_jax_multiply_halves(jax, name, platform, half):
    given = [jax.numpy.zeros((n, D), half) for n in (N, M)]
    traced = jax.jit(PAIRWISE[name]).trace(*given)
    short = "f16" if name == "cosine" or half == "float16" else "bf16"
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert dtypes_of(text) == {(short, short, "f32")}
    if name == "cosine":  # processors widen them
        text = traced.lower(lowering_platforms=("cpu",)).as_text()
        assert dtypes_of(text) == {("f32", "f32", "f32")}


def test_cosines_of_halves_in_jax_have_all_derivatives(jax, monkeypatch):
    """By the products that programs for GPUs have."""
    torch = require("torch")
    monkeypatch.setattr(jax.lax, "platform_dependent", default_of)
    host = [x[:7] for x in rows_of(torch, "bfloat16")]
    upstream = np.arange(-24, 25, dtype=np.float32).reshape(7, 7)
    given = [jax.numpy.asarray(x.float().numpy(), "bfloat16") for x in host]

    def total(x, y):
        found = metricops.pairwise_cosine_similarity(x, y).astype("float32")
        return (found * upstream).sum()

    def slopes_of(x, y):
        return jax.grad(total, (0, 1))(x, y)

    def size(*given):
        return sum((x.astype("float32") ** 2).sum() for x in slopes_of(*given))

    @jax.jit
    def derivatives(x, y):
        batched = jax.vmap(slopes_of, (None, 0))(x, y[None])
        first = [x[0] for x in batched]
        along = jax.jvp(metricops.pairwise_cosine_similarity, [x, y], [y, x])[1]
        return first, jax.grad(size, (0, 1))(x, y), [along]

    found = jax.tree.map(lambda x: np.asarray(x, float), derivatives(*given))
    wide = [x.double().requires_grad_() for x in host]

    def definition(*wide):
        return exact_pairs(torch, "cosine", wide)

    number = (definition(*wide) * torch.tensor(upstream)).sum()
    first = torch.autograd.grad(number, wide, create_graph=True)
    second = torch.autograd.grad(sum((x * x).sum() for x in first), wide)
    along = torch.autograd.functional.jvp(definition, (*wide,), (*wide[::-1],))[1]
    for ours, theirs in zip(found, (first, second, [along]), strict=True):
        ours = [torch.tensor(x) for x in ours]
        assert max(distances(torch, ours, theirs)) < BOUNDS["bfloat16"]


def default_of(*arrays, default, **_):
    """Return what `platform_dependent` does on what is no processor."""
    return default(*arrays)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("half", HALVES)
def test_searches_of_jax_multiply_halves(jax, platform, half):
    given = [jax.numpy.zeros((n, D), half) for n in (N, 700)]
    short = {"bfloat16": "bf16", "float16": "f16"}[half]
    for metric in METRICS:
        search = jax.jit(partial(metricops.nearest_neighbors, k=9, metric=metric))
        text = search.trace(*given).lower(lowering_platforms=(platform,)).as_text()
        found = dtypes_of(text)
        assert (short, short, "f32") in found, metric
        assert found - {(short, short, "f32")} <= {("f64", "f64", "f64")}, metric


def lowered(jax, form, half, platform, **options):
    """Return the dtypes of the products in a program traced on this machine."""
    given = [jax.numpy.asarray(x, half) for x in sides(form)]
    known = options_of(form, np.asarray) | options | {"block_size": 32}

    def loss(*embeddings):
        return metricops.npairs_loss_from_embeddings(*embeddings, **known)

    return products_of(jax, loss, given, platform)


def products_of(jax, loss, given, platform):
    traced = jax.jit(jax.value_and_grad(loss, range(len(given)))).trace(*given)
    return dtypes_of(traced.lower(lowering_platforms=(platform,)).as_text())


def dtypes_of(text):
    """Return the dtypes of the sides and results of all products of a program."""
    kinds = r"dot_general.*: \(tensor<([^>]*)>, tensor<([^>]*)>\) -> tensor<([^>]*)>"
    found = re.findall(kinds, text)
    return {tuple(x.rpartition("x")[2] for x in dtypes) for dtypes in found}


def test_programs_of_tensorflow_for_xla_multiply_halves(torch, monkeypatch):
    form, tf = "labels", require("tensorflow")
    from metricops._frameworks.tensorflow import halves

    monkeypatch.setattr(halves, "is_accelerated", lambda: True)
    host = [torch.tensor(x).bfloat16() for x in sides(form)]
    given = [tf.cast(x.float().numpy(), tf.bfloat16) for x in host]
    known = options_of(form, tf.constant) | {"block_size": 32}

    @tf.function(jit_compile=True)
    def step(*embeddings):
        with tf.GradientTape() as tape:
            tape.watch(embeddings)
            loss = metricops.npairs_loss_from_embeddings(*embeddings, **known)
        return tape.gradient(loss, embeddings)

    found = [torch.tensor(tf.cast(x, tf.float32).numpy()) for x in step(*given)]
    _, slopes = exact(torch, form, host)
    assert max(distances(torch, found, slopes)) < BOUNDS["bfloat16"]
    graph = step.get_concrete_function(*given).graph
    nodes = [x for x in graph.get_operations() if "MatMul" in x.type]
    assert {x.outputs[0].dtype for x in nodes} == {tf.float32}
    assert {x.inputs[0].dtype for x in nodes} <= {tf.bfloat16, tf.float16}


@pytest.mark.parametrize(
    ("name", "half"), [("inner product", "float16"), ("cosine", "bfloat16")]
)
def test_pairwise_products_of_tensorflow_for_xla_multiply_halves(
    torch, monkeypatch, name, half
):
    tf = require("tensorflow")
    from metricops._frameworks.tensorflow import halves

    monkeypatch.setattr(halves, "is_accelerated", lambda: True)
    host = rows_of(torch, half)
    dtype = getattr(tf, half)
    given = [tf.cast(x.float().numpy(), dtype) for x in host]
    size = 1e30 if half == "bfloat16" else 1.0
    upstream = (torch.linspace(-size, size, N * M).reshape(N, M)).to(host[0].dtype)

    @tf.function(jit_compile=True)
    def step(*embeddings):
        with tf.GradientTape() as tape:
            tape.watch(embeddings)
            found = PAIRWISE[name](*embeddings)
        seed = tf.cast(upstream.float().numpy(), dtype)
        along = tuple(map(tf.ones_like, embeddings))
        with tf.autodiff.ForwardAccumulator(embeddings, along) as accumulator:
            again = PAIRWISE[name](*embeddings)
        tangent = accumulator.jvp(again)
        return found, *tape.gradient(found, embeddings, seed), tangent

    every = [torch.tensor(tf.cast(x, tf.float32).numpy()) for x in step(*given)]
    wide = [x.double().requires_grad_() for x in host]
    expected = exact_pairs(torch, name, wide)
    slopes = torch.autograd.grad(expected, wide, upstream.double())
    found, tangent = every[:3], every[3]
    assert max(distances(torch, found, [expected, *slopes])) < BOUNDS[half]
    of_sum = torch.autograd.grad(exact_pairs(torch, name, wide).sum(), wide)
    total = sum(x.sum().item() for x in of_sum)
    off = abs(tangent.double().sum().item() - total)
    assert off < BOUNDS[half] * tangent.abs().sum().item()
    graph = step.get_concrete_function(*given).graph
    nodes = [x for x in graph.get_operations() if "MatMul" in x.type]
    short = tf.float16 if name == "cosine" else dtype
    halved = [x for x in nodes if x.inputs[0].dtype == short]
    assert len(halved) == 3
    assert {x.outputs[0].dtype for x in nodes} == {tf.float32}


def test_gradients_of_cosines_in_tensorflow_for_xla_have_derivatives(
    torch, monkeypatch
):
    tf = require("tensorflow")
    from metricops._frameworks.tensorflow import halves

    monkeypatch.setattr(halves, "is_accelerated", lambda: True)
    host = [x[:9] for x in rows_of(torch, "float16")]
    upstream = torch.linspace(-1, 1, 81).reshape(9, 9).half()
    given = [tf.constant(x.numpy()) for x in (*host, upstream)]

    @tf.function(jit_compile=True)
    def step(x, y, upstream):
        with tf.GradientTape() as outer:
            outer.watch((x, y))
            with tf.GradientTape(persistent=True) as tape:
                tape.watch((x, y))
                cosines = metricops.pairwise_cosine_similarity(x, y)
            slopes = tape.gradient(cosines, (x, y), upstream)
            size = sum(tf.reduce_sum(tf.cast(z, tf.float32) ** 2) for z in slopes)
        row, zero = tf.range(9)[:, None] == 3, tf.zeros((), upstream.dtype)
        spoilt, _ = tape.gradient(cosines, (x, y), upstream / tf.where(row, zero, 1))
        return *outer.gradient(size, (x, y)), spoilt

    *found, spoilt = (torch.tensor(x.numpy()) for x in step(*given))
    assert spoilt.isfinite().all(1).tolist() == [i != 3 for i in range(9)]
    wide = [x.double().requires_grad_() for x in host]
    expected = exact_pairs(torch, "cosine", wide)
    slopes = torch.autograd.grad(expected, wide, upstream.double(), create_graph=True)
    second = torch.autograd.grad([(x * x).sum() for x in slopes], wide)
    assert max(distances(torch, found, second)) < BOUNDS["float16"]


@pytest.mark.parametrize("half", HALVES)
def test_processors_widen_halves(jax, half):
    torch = require("torch")
    for form in ("position", "labels"):
        host = [torch.tensor(x).to(getattr(torch, half)) for x in sides(form)]
        given = [jax.numpy.asarray(x.float().numpy(), half) for x in host]
        known = options_of(form, np.asarray) | {"block_size": 32}

        def loss(*embeddings, known=known):
            return metricops.npairs_loss_from_embeddings(*embeddings, **known)

        found = jax.jit(jax.grad(loss, (0, 1)))(*given)
        found = [torch.tensor(np.asarray(x.astype("float32"))) for x in found]
        _, slopes = exact(torch, form, host)
        rounded = distances(torch, [x.to(host[0].dtype) for x in slopes], slopes)
        errors = distances(torch, found, slopes)
        assert max(errors) < 1.02 * max(rounded)


# By position, eagerly: maximum 4, shift 8, exponential 6, sum 2.
BYTES = {
    "position": 20,
    "temperature": 20,
    "symmetric": 70,
    "labels": 63,
    "one set": 98,
}


@pytest.mark.parametrize("form", BYTES)
@pytest.mark.parametrize("half", HALVES)
def test_little_is_read_and_written_outside_the_products(torch, fake, form, half):
    """In bytes a pair."""
    rows, width = 512, 8
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((rows, width), generator=generator).to(getattr(torch, half))
    there = [fake.there(x + i).requires_grad_() for i in range(1 + (form != "one set"))]
    options: dict[str, Any] = {}
    if form in ("labels", "one set"):
        options["labels"] = fake.there(torch.arange(rows) // 4)
    if form == "temperature":
        options["temperature"] = fake.there(torch.tensor(2.0)).requires_grad_()
    options["symmetric"] = form == "symmetric"
    options["exclude_diagonal"] = form == "one set"
    fake.MOVED.clear()
    loss = metricops.npairs_loss_from_embeddings(*there, block_size=256, **options)
    torch.autograd.grad(loss, there)
    assert 0 < moved(fake, 120 * 120) <= BYTES[form] * rows * rows


@pytest.mark.parametrize("half", HALVES)
def test_sums_of_halves_are_right_in_the_mean(torch, fake, monkeypatch, half):
    from metricops._frameworks.torch.library import Torch

    monkeypatch.setattr(Torch, "narrow_dtype", lambda *_: torch.float32)
    generator = torch.Generator().manual_seed(0)
    x, noise = torch.randn((2, 512, 32), generator=generator)
    sides = [torch.nn.functional.normalize(z, dim=1) for z in (x, x + noise)]
    host = [z.to(getattr(torch, half)) for z in sides]
    there = [fake.there(z).requires_grad_() for z in host]
    loss = metricops.npairs_loss_from_embeddings(*there, temperature=0.07)
    x, y = (z.double() for z in host)
    expected = torch.nn.functional.cross_entropy(x @ y.T / 0.07, torch.arange(512))
    assert any("exp.out" in str(operation) for operation, *_ in fake.LOG)
    assert fake.here(loss).item() == pytest.approx(expected.item(), abs=3e-6)
    # Negative temperatures are as good, where nothing says that they are not.
    scale = fake.there(torch.tensor(-0.1)).requires_grad_()
    loss = metricops.npairs_loss_from_embeddings(*there, temperature=scale)
    expected = torch.nn.functional.cross_entropy(x @ y.T / -0.1, torch.arange(512))
    assert fake.here(loss.detach()).item() == pytest.approx(expected.item(), abs=3e-6)


def moved(fake, least):
    """Return the bytes of panels that were read and written, but by products."""
    thin, total = ("mm", "empty", "gather", "scatter"), 0
    for operation, read, written in fake.MOVED:
        if not any(word in str(operation) for word in thin):
            total += sum(x.nbytes for x in (*read, *written) if x.numel() >= least)
    return total


@pytest.mark.parametrize("dtype", [*HALVES, "float32"])
def test_a_step_on_the_device_that_was_asked_for_is_exact(torch, device, dtype):
    """With `--device cuda` this is the real thing; else processors widen halves."""
    for form in FORMS:
        host = [torch.tensor(x).to(getattr(torch, dtype)) for x in sides(form)]
        there = [x.to(device).requires_grad_() for x in host]
        known = options_of(form, lambda x: torch.as_tensor(x).to(device))
        loss = metricops.npairs_loss_from_embeddings(*there, **known, block_size=32)
        found = [x.cpu() for x in torch.autograd.grad(loss, there)]
        _, slopes = exact(torch, form, host)
        assert max(distances(torch, found, slopes)) < BOUNDS.get(dtype, 2e-6), form


def test_a_large_step_on_a_gpu_takes_little_memory(torch, device):
    if device != "cuda":
        pytest.skip("only with --device cuda")
    sides = [torch.randn(65_536, 768, device=device).bfloat16() for _ in range(2)]
    sides = [torch.nn.functional.normalize(x, dim=1).requires_grad_() for x in sides]
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    loss = metricops.npairs_loss_from_embeddings(*sides, temperature=0.07)
    torch.autograd.grad(loss, sides)
    assert torch.cuda.max_memory_allocated() - before <= 1.2e9
