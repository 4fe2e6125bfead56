"""N-pairs from embeddings never holds all similarities: counted, not timed.

`N` anchors against `N` candidates would have a similarity matrix of `MATRIX` bytes.
Everything below has to fit a small share of it, forward and backward.
"""

import json
import mmap
import os
import platform
import re
import subprocess
import sys
import tracemalloc
from functools import partial

import numpy as np
import pytest

import metricops
from tests.conftest import require

N, D, BLOCK = 2048, 8, 32
MATRIX = 4 * N * N
THIN = 4 * N * D
ROWS = np.random.default_rng(0).normal(size=(2, N, D)).astype(np.float32)
LABELS = np.arange(N) // 2

OPTIONS = {
    "positions": {},
    "labels": {"labels": LABELS},
    "self": {"labels": LABELS, "exclude_diagonal": True},
    "symmetric": {"symmetric": True},
    "rows": {"reduction": "none"},
    "symmetric rows": {"symmetric": True, "reduction": "none", "normalize": True},
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def call(options, anchors, candidates):
    return metricops.npairs_loss_from_embeddings(
        anchors, candidates, temperature=0.5, block_size=BLOCK, **options
    )


@every_option
def test_torch_saves_thin_tensors_for_the_gradient(options):
    torch = require("torch")
    anchors, candidates = (torch.tensor(x, requires_grad=True) for x in ROWS)
    kept = {}

    def pack(x):
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        loss = call(options, anchors, candidates).sum()
    loss.backward()
    assert sum(kept.values()) <= 8 * THIN


# Print how many bytes a step adds to what a process took at most before it.
STEP = """
import json, resource, sys
import torch, metricops
torch.set_num_threads(1)
options = json.loads(sys.argv[1])
sides = 1 if "exclude_diagonal" in options else 2

def step(n):
    rows = [torch.ones(n, 16).cumsum(0).sin().requires_grad_() for _ in range(sides)]
    given = dict(options)
    if given.pop("labelled", False):
        given["labels"] = torch.arange(n) // 2
    metricops.npairs_loss_from_embeddings(*rows, **given).sum().backward()

def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

step(600)
before = peak()
step(16384)
print(peak() - before)
"""


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"labelled": True},
        {"labelled": True, "exclude_diagonal": True},
        {"labelled": True, "exclude_diagonal": True, "reduction": "none"},
        {"symmetric": True},
        {"reduction": "none"},
    ],
    ids=json.dumps,
)
def test_torch_takes_a_few_panels_at_16384_rows(options):
    require("torch")
    command = [sys.executable, "-c", STEP, json.dumps(options)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(run.stdout) <= 80 * 2**20, f"{int(run.stdout) / 2**20:.0f} MiB"


# Print how many pages the system hands out to the third of some equal steps.
FAULTS = """
import json, resource, sys
import numpy as np, metricops
library, options = sys.argv[1], json.loads(sys.argv[2])
rows = np.random.default_rng(0).normal(size=(2, 4096, 32)).astype(np.float32)
labels = np.arange(4096) // 2
if library == "torch":
    import torch
    rows, labels = torch.from_numpy(rows), torch.from_numpy(labels)
if options.pop("labelled", False):
    rows, options["labels"] = rows[:1], labels
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    metricops.npairs_loss_and_grad(*rows, **options)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it knows glibc alone")
@pytest.mark.parametrize(
    "options",
    [{"labelled": True, "exclude_diagonal": True}, {"symmetric": True}],
    ids=json.dumps,
)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_panels_take_the_memory_that_was_freed(library, options):
    require(library)
    command = [sys.executable, "-c", FAULTS, library, json.dumps(options)]
    # A bound of malloc that is given in the environment is kept.
    plain = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=plain)
    assert int(run.stdout) * mmap.PAGESIZE <= 16 * 2**20  # 50 to 170 MiB else


# The other libraries at as many rows: a matrix would take 1024 MiB.

MANY = 16384
ONE_SET = {"labelled": True, "exclude_diagonal": True}
WAYS = [{}, ONE_SET, {"symmetric": True}]


def many(options):
    """Return rows of one set or of two, and their options."""
    rows = np.random.default_rng(0).normal(size=(2, MANY, 16)).astype(np.float32)
    given = dict(options)
    if given.pop("labelled", False):
        given["labels"] = np.arange(MANY) // 2
    return (rows[:1] if "exclude_diagonal" in options else rows), given


@pytest.mark.parametrize("options", WAYS, ids=json.dumps)
def test_numpy_takes_a_few_panels_at_16384_rows(options):
    rows, given = many(options)
    tracemalloc.start()
    metricops.npairs_loss_and_grad(*rows, **given)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= 64 * 2**20, f"{peak / 2**20:.0f} MiB"


@pytest.mark.parametrize("options", [*WAYS, {"reduction": "none"}], ids=json.dumps)
def test_jax_takes_a_few_panels_at_16384_rows(options):
    jax = require("jax")
    rows, given = many(options)

    def total(*rows):
        return metricops.npairs_loss_from_embeddings(*rows, **given).sum()

    step = jax.jit(jax.value_and_grad(total, tuple(range(len(rows)))))
    taken = step.lower(*rows).compile().memory_analysis().temp_size_in_bytes
    assert taken <= 32 * 2**20, f"{taken / 2**20:.0f} MiB"


WIDE = (4096, 512)  # several panels, smaller than a side
SIDE = 4 * 4096 * 512


@pytest.mark.parametrize("options", [{}, {"symmetric": True}], ids=json.dumps)
def test_jax_copies_no_side(options):
    jax = require("jax")
    rows = jax.ShapeDtypeStruct(WIDE, "float32")
    loss = partial(metricops.npairs_loss_from_embeddings, **options)
    compiled = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(rows, rows).compile()
    taken = compiled.memory_analysis().temp_size_in_bytes
    assert taken <= 2.8 * SIDE, f"{taken / SIDE:.1f} sides"


# Print how many bytes losses and their gradients take, by TensorFlow's own count.
COUNTED = """
import json, os, sys
from benchmarks._cases import Case, load
from benchmarks._memory import measure
from benchmarks._worker import PROBE_ENVIRONMENT

os.environ.update(PROBE_ENVIRONMENT)
tensorflow, cases = load("tensorflow"), json.loads(sys.argv[1])
taken = [measure(tensorflow, Case(*case), method) for method, case in cases]
print(json.dumps([each["extra_bytes"] for each in taken]))
"""


def test_tensorflow_holds_both_gradients_and_a_panel(tf):
    """No copy of a side by XLA, and in a graph no panel beside the next."""
    xla, how = "metricops, XLA", ("float32", "cpu")
    by_xla = [[xla, [*WIDE, task, *how]] for task in ("pairs", "symmetric")]
    cases = json.dumps([*by_xla, ["metricops", [8192, 128, "pairs", *how]]])
    command = [sys.executable, "-c", COUNTED, cases]
    run = subprocess.run(command, capture_output=True, check=True)
    one, symmetric, graph = json.loads(run.stdout)
    assert 0 < one <= 4.8 * SIDE
    assert 0 < symmetric <= 4.8 * SIDE
    assert 0 < graph <= 3.3 * 4 * 8192 * 128  # a panel is as large as a side


# Print how many bytes steps add to what the process took before them.
TENSORFLOW = """
import resource, sys
import tensorflow as tf
import metricops
from tests.test_memory import WAYS, many

def step(options, *rows):
    with tf.GradientTape() as tape:
        tape.watch(rows)
        loss = metricops.npairs_loss_from_embeddings(*rows, **options)
    return loss, tape.gradient(loss, rows)

def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

hows = {"a graph": {}, "xla": {"jit_compile": True}}

def run(*rows, options):
    if sys.argv[1] == "eager":
        return step(options, *rows)
    return tf.function(lambda *x: step(options, *x), **hows[sys.argv[1]])(*rows)

sets = [many(options) for options in WAYS]
for rows, options in sets:
    options = {k: v[:600] if k == "labels" else v for k, v in options.items()}
    few = [tf.constant(x[:600]) for x in rows]
    run(*few, options=options)
before = peak()
for rows, options in sets:
    run(*map(tf.constant, rows), options=options)
print(peak() - before)
"""


@pytest.mark.parametrize("how", ["a graph", "eager", "xla"])
def test_tensorflow_takes_a_few_panels_at_16384_rows(tf, how):
    command = [sys.executable, "-c", TENSORFLOW, how]
    # Small blocks go back to the system too: what counts is what is in use.
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert int(run.stdout) <= 192 * 2**20, f"{int(run.stdout) / 2**20:.0f} MiB"


@every_option
def test_torch_compile_holds_no_matrix(options):
    torch = require("torch")
    from torch._dynamo.backends.common import aot_autograd
    from torch._functorch.aot_autograd import make_boxed_func

    sizes: list[int] = []

    def look(graph, _):
        for node in graph.graph.nodes:
            values = node.meta.get("val", ())
            several = values if isinstance(values, tuple | list) else (values,)
            tensors = [x for x in several if isinstance(x, torch.Tensor)]
            sizes.extend(x.numel() * x.element_size() for x in tensors)
        return make_boxed_func(graph.forward)

    compiled = torch.compile(
        lambda a, c: call(options, a, c).sum(),
        fullgraph=True,
        backend=aot_autograd(fw_compiler=look),
    )
    anchors, candidates = (torch.tensor(x, requires_grad=True) for x in ROWS)
    compiled(anchors, candidates).backward()
    assert anchors.grad.shape == anchors.shape
    assert 0 < max(sizes) <= MATRIX / 32


@every_option
def test_jax_needs_a_panel_of_temporary_memory(options):
    jax = require("jax")
    step = jax.jit(jax.value_and_grad(lambda a, c: call(options, a, c).sum(), (0, 1)))
    analysis = step.lower(*ROWS).compile().memory_analysis()
    assert analysis.temp_size_in_bytes <= MATRIX / 4


@every_option
def test_tensorflow_compiles_to_no_matrix(options):
    tf = require("tensorflow")

    @tf.function(jit_compile=True)
    def step(anchors, candidates):
        with tf.GradientTape() as tape:
            tape.watch([anchors, candidates])
            loss = tf.reduce_sum(call(options, anchors, candidates))
        return loss, tape.gradient(loss, [anchors, candidates])

    given = [tf.constant(x) for x in ROWS]
    text = step.experimental_get_compiler_ir(*given)(stage="optimized_hlo")
    shapes = {tuple(map(int, s.split(","))) for s in re.findall(r"\[([\d,]+)\]", text)}
    assert (N, D) in shapes
    assert max(map(np.prod, shapes)) <= N * N / 16


@every_option
def test_numpy_needs_a_few_panels(options):
    if options.get("reduction") == "none":
        pytest.skip("the gradient of a loss a row takes autodiff")
    tracemalloc.start()
    metricops.npairs_loss_and_grad(*ROWS, temperature=0.5, block_size=BLOCK, **options)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= MATRIX / 4


def test_a_matrix_would_be_noticed():
    jax = require("jax")

    def plain(anchors, candidates):
        similarity = metricops.pairwise_inner_product(anchors, candidates) / 0.5
        return metricops.npairs_loss(similarity, LABELS)

    step = jax.jit(jax.value_and_grad(plain, (0, 1)))
    analysis = step.lower(*ROWS).compile().memory_analysis()
    assert analysis.temp_size_in_bytes >= MATRIX


@pytest.mark.parametrize(
    "name",
    [
        *("multi_similarity", "circle", "soft_nearest_neighbor"),
        *("lifted_structure", "margin_softmax"),
    ],
)
def test_losses_of_whole_rows_need_a_few_panels(name):
    loss = metricops.value_and_grad(getattr(metricops, f"{name}_loss_from_embeddings"))
    rows = ROWS if name == "margin_softmax" else ROWS[:1]
    loss(*(x[:64] for x in rows), labels=LABELS[:64])  # imports, and tables of types
    tracemalloc.start()
    loss(*rows, labels=LABELS, block_size=BLOCK)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= MATRIX / 3
