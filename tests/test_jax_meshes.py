"""Arrays that JAX has sharded over a mesh, of automatic or explicit axes, and Keras'.

Expected values are those of the same call, compiled, with arrays of one device.
"""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metricops
from tests.conftest import QUICK, require

DEVICES = 8
NAMED = {"temperature": 0.5, "normalize": True}
SEPARATE = {"negatives": "hard", "metric": "squared_euclidean"}
# Losses of embeddings: their options, and what they take beside anchors.
LOSSES: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "by position": ("npairs", ("candidates",), NAMED),
    "by label": ("npairs", ("candidates", "labels"), {"reduction": "none"}),
    "clip": ("npairs", ("candidates",), {"symmetric": True, "l2_weight": 0.1}),
    "one set": ("npairs", ("labels",), {"exclude_diagonal": True}),
    "own": ("npairs", ("labels",), {"denominator": "own", "exclude_diagonal": True}),
    "smoothed": ("npairs", ("candidates",), {"label_smoothing": 0.25}),
    "sigmoid": ("sigmoid", ("candidates", "labels"), {}),
    "triplets": ("triplet", ("labels",), {}),
    "triplets of two sets": ("triplet", ("candidates", "labels"), SEPARATE),
    "contrastive": ("contrastive", ("candidates", "labels"), {}),
    "multi-similarity": ("multi_similarity", ("labels",), {}),
    "circle": ("circle", ("labels",), {"gamma": 8.0}),
    "soft nearest neighbours": ("soft_nearest_neighbor", ("labels",), {}),
    "lifted": ("lifted_structure", ("labels",), {}),
}
PAIRWISE = (
    *("inner_product", "cosine_similarity", "cosine_distance", "euclidean_distance"),
    *("manhattan_distance", "snr_distance", "cosine_similarity of halves"),
)
FEW = ("by position", "cosine_distance", "search")
# Several panels: more than 2**21 similarities.
LARGE = ("by position", "contrastive")


def rows(n: int) -> dict[str, Any]:
    """Return the rows of a batch, by what they are."""
    generator = np.random.default_rng(n)
    sides = generator.standard_normal((2, n, 5)).astype(np.float32)
    labels = (np.arange(n) // 2 % max(n // 4, 2)).astype(np.int32)
    return {"anchors": sides[0], "candidates": sides[1], "labels": labels}


def number(case: str) -> Any:
    """Return a function from rows to a number, of which all that is found is a part."""
    jnp = require("jax.numpy")

    def run(given: Any) -> Any:
        x, y, labels = (given[name] for name in ("anchors", "candidates", "labels"))
        if case == "search":
            found = metricops.recall_at_k(x, labels, y, labels, k=3)[3]
            return jnp.sum(metricops.nearest_neighbors(x, y, 3)[0]) + found
        if case in PAIRWISE:
            name, _, halves = case.partition(" of ")
            x, y = (z.astype("float16") if halves else z for z in (x, y))
            found = getattr(metricops, f"pairwise_{name}")(x, y)
            return jnp.sum(found.astype(jnp.float32) ** 2)
        name, beside, options = LOSSES[case]
        loss = getattr(metricops, f"{name}_loss_from_embeddings")
        return jnp.sum(loss(x, **{k: given[k] for k in beside}, **options))

    return run


def solve(case: str, given: dict[str, Any]) -> Any:
    """Return a number, and its gradient by the embeddings."""
    jax = require("jax")
    function = number(case)

    def of_embeddings(sides: Any) -> Any:
        return function({**given, **sides})

    sides = {name: given[name] for name in ("anchors", "candidates")}
    return jax.jit(jax.value_and_grad(of_embeddings))(sides)


def keras_fit(sharded: bool) -> Any:
    """Return the loss of a step of `fit`, and the kernel after it."""
    keras, adapter = require("keras"), require("metricops.adapters.keras")
    given = rows(16)
    if sharded:
        parallel = keras.distribution.DataParallel(
            devices=[f"cpu:{i}" for i in range(8)]
        )
        keras.distribution.set_distribution(parallel)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    model.set_weights([np.eye(5, 3, dtype=np.float32), np.zeros(3, np.float32)])
    model.compile(keras.optimizers.SGD(0.1), adapter.TripletEmbeddingLoss(gather=True))
    log = model.fit(
        given["anchors"], given["labels"], batch_size=16, shuffle=False, verbose=0
    )
    keras.distribution.set_distribution(None)
    return log.history["loss"][0], model.get_weights()[0]


def find(path: str, cases: list[str]) -> None:
    """Write what each case gives, on one device and sharded; run in a new process."""
    jax = require("jax")
    jax.config.update("jax_num_cpu_devices", DEVICES)
    found: dict[Any, Any] = {}
    spec = jax.sharding.PartitionSpec("batch")
    kinds = {"automatic": jax.sharding.AxisType.Auto}
    kinds["explicit"] = jax.sharding.AxisType.Explicit
    for case in cases:
        if case == "keras":
            found["keras", "one"], found["keras", "all"] = map(keras_fit, (False, True))
            continue
        name, _, size = case.partition(", ")
        given = rows(int(size or 16))
        found[case, "one"] = solve(name, given)
        for kind, axes in kinds.items():
            mesh = jax.make_mesh((DEVICES,), ("batch",), axis_types=(axes,))
            split = jax.device_put(given, jax.sharding.NamedSharding(mesh, spec))
            found[case, kind] = solve(name, split)
    numbers = jax.tree.map(np.asarray, found)
    Path(path).write_bytes(pickle.dumps(numbers))


CASES = {
    "few": [*FEW, "keras"],
    "all": [*LOSSES, *PAIRWISE, "search", *(f"{name}, 2400" for name in LARGE)],
}


@pytest.mark.parametrize("cases", CASES)
def test_sharded_arrays_have_the_numbers_of_whole_ones(cases, tmp_path):
    require("jax")
    names = list(CASES[cases])
    if require("importlib.util").find_spec("keras") is None:
        names = [name for name in names if name != "keras"]
    code = f"from tests.test_jax_meshes import find; find({str(tmp_path / 'found')!r}, "
    flags = " ".join(f"--{name}={str(value).lower()}" for name, value in QUICK.items())
    environment = {**os.environ, "KERAS_BACKEND": "jax", "XLA_FLAGS": flags}
    words = [sys.executable, "-c", f"{code}{names})"]
    run = subprocess.run(
        words,
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[1],
    )
    assert run.returncode == 0, run.stderr
    found = pickle.loads((tmp_path / "found").read_bytes())
    assert {case for case, _ in found} == set(names)
    for (case, way), result in found.items():
        whole = found[case, "one"]
        compare(result, whole, f"{case}, {way}", 1e-3 if "halves" in case else 1e-5)


def compare(found: Any, expected: Any, message: str, most: float) -> None:
    """Assert that numbers, or records of them, agree to `most`."""
    if isinstance(expected, dict):
        found, expected = found.values(), expected.values()
    if not isinstance(expected, np.ndarray):
        for ours, theirs in zip(found, expected, strict=True):
            compare(ours, theirs, message, most)
        return
    atol = most * float(np.max(np.abs(expected)))
    np.testing.assert_allclose(found, expected, rtol=most, atol=atol, err_msg=message)
