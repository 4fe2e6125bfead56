"""The memory of embeddings of batches before, in PyTorch, NNX and Linen."""

import re
from functools import partial
from typing import Any

import numpy as np
import pytest

import metricops
from tests.conftest import require

X = np.random.default_rng(0).standard_normal((3, 3, 4)).astype(np.float32)
LABELS = np.asarray([[0, 1, 0], [1, 1, 2], [0, 2, 0]])
ADAPTERS = {"torch": "torch", "nnx": "flax", "linen": "linen"}


class Memory:
    """A `CrossBatchMemory` of one of the adapters, called alike."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.adapter: Any = require(f"metricops.adapters.{ADAPTERS[kind]}")
        self.variables: dict[str, Any] = {}
        self.build("ContrastiveEmbeddingLoss", 7)

    def build(self, loss: Any, *arguments: Any) -> None:
        if isinstance(loss, str):
            loss = getattr(self.adapter, loss)()
        self.module = self.adapter.CrossBatchMemory(loss, *arguments)

    def array(self, x: Any) -> Any:
        if self.kind == "torch":
            return require("torch").tensor(x)
        return require("jax.numpy").asarray(x)

    def __call__(self, embeddings: Any, labels: Any) -> float:
        if self.kind != "linen":
            return float(self.module(embeddings, labels))
        given = self.variables, embeddings, labels
        found, state = self.module.apply(*given, mutable=["memory"])
        self.variables = state
        return float(found)

    def step(self, i: int, labels: Any = None) -> float:
        """Call it on the batch `i`."""
        labels = self.array(LABELS[i]) if labels is None else labels
        return self(self.array(X[i]), labels)

    @property
    def held(self) -> tuple[Any, Any]:
        """Embeddings and labels in NumPy."""
        if self.kind == "linen":
            held = self.variables["memory"]
            return np.array(held["embeddings"]), np.array(held["labels"])
        held = self.module.embeddings, self.module.labels
        if self.kind == "torch":
            held = [x.numpy() for x in held]
        return np.array(held[0]), np.array(held[1])


@pytest.fixture(params=ADAPTERS)
def memory(request: pytest.FixtureRequest) -> Memory:
    return Memory(request.param)


def refusal(error: type[Exception], words: str) -> Any:
    return pytest.raises(error, match=f"^{re.escape(words)}")


def test_what_is_held_is_a_copy(memory):
    x, labels = X[0].copy(), LABELS[0].astype(np.int32)
    if memory.kind == "torch":
        x, labels = map(require("torch").from_numpy, (x, labels))
    for _ in range(2):
        memory(x if memory.kind == "torch" else memory.array(x), labels)
        x[:] += 1
        labels[:] += 100
    rows, kept = memory.held
    np.testing.assert_allclose(rows, np.concatenate([X[0] + 1, X[0]]), rtol=1e-6)
    assert kept.tolist() == [100, 101, 100, 0, 1, 0]


def test_the_latest_are_held_and_no_more(memory):
    for i in range(3):
        memory.step(i)
    rows, kept = memory.held
    np.testing.assert_array_equal(rows, X[::-1].reshape(9, 4)[:7])
    np.testing.assert_array_equal(kept, LABELS[::-1].reshape(9)[:7])
    if memory.kind == "torch":
        module = memory.module
        assert module.embeddings.untyped_storage().nbytes() == rows.nbytes
        assert module.labels.untyped_storage().nbytes() == kept.nbytes


@pytest.mark.parametrize("form", ["list", "numpy", "column"])
def test_labels_are_taken_in_every_form(memory, form):
    forms: dict[str, Any] = {
        "list": lambda i: LABELS[i].tolist(),
        "numpy": lambda i: LABELS[i],
        # A column behind a row.
        "column": lambda i: memory.array(LABELS[i][:, None] if i else LABELS[i]),
    }
    found = [memory.step(i, forms[form](i)) for i in range(2)]
    kept = memory.held[1]
    other = Memory(memory.kind)
    assert found == [other.step(i) for i in range(2)]
    np.testing.assert_array_equal(kept, other.held[1])


def test_a_loss_without_candidate_labels_is_refused(memory):
    need = "`loss` must be a loss module that takes `candidate_labels`; got "
    given = {
        "LiftedStructureLoss": "LiftedStructureLoss",
        "NPairsLoss": "NPairsLoss",
        metricops.triplet_loss_from_embeddings: "triplet_loss_from_embeddings",
        memory.adapter.TripletEmbeddingLoss: "TripletEmbeddingLoss",
        5: "int",
    }
    for loss, word in given.items():
        with refusal(TypeError, f"{need}{word}."):
            memory.build(loss, 8)
    assert not hasattr(metricops.triplet_loss_from_embeddings, "exclude_diagonal")


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((-3,), ValueError, "`memory_size` must be at least 1; got -3."),
        ((8.5,), TypeError, "`memory_size` must be an int; got 8.5."),
        ((True,), TypeError, "`memory_size` must be an int; got True."),
        ((8, -1), ValueError, "`warmup_steps` must be at least 0; got -1."),
        ((8, 0.5), TypeError, "`warmup_steps` must be an int; got 0.5."),
    ],
)
def test_sizes_are_refused_at_once(memory, arguments, error, words):
    with refusal(error, words):
        memory.build("ContrastiveEmbeddingLoss", *arguments)


@pytest.mark.parametrize(
    ("x", "labels", "error", "words"),
    [
        (X[1], 5, ValueError, "`labels` must have shape (n,), (n, 1) or (n, c); got s"),
        (X[1], [1, 2], ValueError, "`labels` must have a label for each of 3 anchors;"),
        (
            X[1],
            [[1, 0], [0, 1], [1, 1]],
            ValueError,
            "`labels` must have shape (n,), as those in the memory; got shape (3, 2).",
        ),
        (
            X[1],
            np.asarray([0.0, 1.0, 2.0], np.float32),
            TypeError,
            "`labels` must be of dtype int",
        ),
        (
            X[1],
            ["a", "b", "c"],
            TypeError,
            "`labels` must be of numbers that ",
        ),
        (
            X[1][:, :2],
            LABELS[1],
            ValueError,
            "`embeddings` must have shape (n, 4), as those in the memory; got shape (3",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_not_held(memory, x, labels, error, words):
    memory.step(0)
    rows, kept = memory.held
    with refusal(error, words):
        memory(memory.array(x), labels)
    for found, expected in zip(memory.held, (rows, kept), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_embeddings_of_another_library_are_refused(memory):
    with refusal(TypeError, "`embeddings` must be of the library of `memory`, "):
        memory(X[0], LABELS[0])


def test_integers_of_two_widths_are_held_as_they_are(memory):
    memory.step(0)
    memory.step(1, memory.array(np.asarray([200, 1, 255], np.uint8)))
    assert memory.held[1].tolist() == [200, 1, 255, *LABELS[0]]


def test_labels_of_several_classes_are_held_too():
    memory = Memory("torch")
    memory.build("NPairsEmbeddingLoss", 5)
    hot = np.asarray([[1, 0, 1], [0, 1, 1], [1, 1, 0]])
    for i in range(2):
        memory.step(i, memory.array(hot))
    np.testing.assert_array_equal(memory.held[1], np.concatenate([hot, hot])[:5])


def test_a_memory_is_read_and_not_written_outside_of_training(memory):
    trained = memory.step(0)
    rows, kept = memory.held
    if memory.kind == "linen":
        given = memory.array(X[1]), memory.array(LABELS[1])
        found = float(memory.module.apply(memory.variables, *given))
    else:
        memory.module.eval()
        found = memory.step(1)
        memory.module.train()
    np.testing.assert_array_equal(memory.held[0], rows)
    np.testing.assert_array_equal(memory.held[1], kept)
    assert found == memory.step(1) != trained
    assert len(memory.held[1]) == 6


def test_calls_are_counted_in_training_alone():
    nnx = require("flax.nnx")
    if not hasattr(nnx, "view"):
        pytest.skip("this version of Flax has no views")
    memory = Memory("nnx")
    memory.build("ContrastiveEmbeddingLoss", 6, 1)
    view = nnx.view(memory.module, use_running_average=True)
    given = memory.array(X[0]), memory.array(LABELS[0])
    view(*given)
    memory.step(0)
    assert len(memory.held[1]) == 0
    memory.step(1)
    view(*given)
    np.testing.assert_array_equal(memory.held[1], LABELS[1])


def test_a_memory_is_saved_and_moves_with_its_model(tmp_path):
    torch = require("torch")
    memory, other = Memory("torch"), Memory("torch")
    memory.step(0, memory.array(np.asarray([0.1, 1e9, 0.1])))
    model, again = (torch.nn.Sequential(x.module) for x in (memory, other))
    assert not list(model.buffers())  # which processes would have alike
    torch.save(model.state_dict(), tmp_path / "state")
    state = torch.load(tmp_path / "state")
    assert list(state) == ["0.embeddings", "0.labels", "0.steps"]
    again.load_state_dict(state)
    for found, expected in zip(other.held, memory.held, strict=True):
        np.testing.assert_array_equal(found, expected)
    labels = memory.array(np.asarray([0.1, 1e9, 2.0]))
    assert other.step(1, labels) == memory.step(1, labels)
    assert state["0.labels"].tolist() == [0.1, 1e9, 0.1]  # a copy is held
    again.half()
    assert other.module.embeddings.dtype == torch.float16
    np.testing.assert_array_equal(other.held[1], memory.held[1])
    assert again.to("meta")[0].labels.is_meta
    again.load_state_dict(state, assign=True)
    assert other.held[1].tolist() == [0.1, 1e9, 0.1]
    del state["0.labels"]
    with pytest.raises(
        RuntimeError, match=r'Missing key\(s\) in state_dict: "0.labels"'
    ):
        again.load_state_dict(state)


@pytest.mark.parametrize("kind", ["torch", "nnx"])
def test_a_compiled_step_has_the_same_memory(kind):
    memory, compiled = Memory(kind), Memory(kind)
    if kind == "torch":
        torch = require("torch")
        how = {"fullgraph": True, "backend": "aot_eager"}
        call = torch.compile(compiled.module, **how)
    else:
        nnx = require("flax.nnx")
        step = nnx.jit(lambda module, *given: module(*given))
        call = partial(step, compiled.module)
    for i in range(2):
        found = call(memory.array(X[i]), memory.array(LABELS[i]))
        assert float(found) == pytest.approx(memory.step(i), rel=1e-5)
    for found, expected in zip(compiled.held, memory.held, strict=True):
        np.testing.assert_array_equal(found, expected)
