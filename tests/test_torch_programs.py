"""Programs that `torch.export` saves: loaded elsewhere, and years later."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import metricops
from metricops._frameworks import programs
from metricops._frameworks.operations import operation_called
from tests.definitions import embeddings_loss, numeric_gradient

ROOT = Path(__file__).parents[1]
# Written by `save` below, in the first version that has format 1.
SAVED = ROOT / "tests" / "data" / "program-format-1.pt2"
LABELS = [0, 1, 0, 1]
OPTIONS: dict[str, Any] = {"temperature": 0.5, "normalize": True}
X, Y = np.random.default_rng(0).standard_normal((2, 4, 3))

# Load a program after importing metricops and PyTorch in an order, and run it.
LOAD = """
import sys, {first}, {second}
import torch, metricops
program = torch.export.load(sys.argv[1]).module()
rows = torch.ones(4, 3, dtype=torch.float64)
print(float(program(rows, rows, torch.arange(4) % 2)))
"""


def exported(torch: Any, strict: bool = False) -> Any:
    """Return the loss as a program for any number of rows."""
    base: Any = torch.nn.Module

    class Loss(base):
        def forward(self, x, y, labels):
            return metricops.npairs_loss_from_embeddings(
                x, y, labels, block_size=3, **OPTIONS
            )

    rows = torch.export.Dim("rows", min=2, max=100_000)
    module, given = Loss(), [torch.asarray(x) for x in (X, Y, LABELS)]
    module(*given)  # PyTorch warns if the first call of all is one that it traces
    return torch.export.export(
        module, tuple(given), dynamic_shapes=({0: rows},) * 3, strict=strict
    )


def save(torch: Any, path: Path) -> None:
    """Save the program, without the places of the files that it comes from."""
    program = exported(torch)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    torch.export.save(program, path)


@pytest.fixture
def program(torch):
    return exported(torch).module()


def given(torch):
    x, y = (torch.tensor(rows, requires_grad=True) for rows in (X, Y))
    return x, y, torch.asarray(LABELS)


def test_a_program_that_is_saved_loads_and_runs(torch, tmp_path):
    save(torch, tmp_path / "program.pt2")
    program = torch.export.load(tmp_path / "program.pt2").module()
    found = program(*given(torch)).detach()
    np.testing.assert_allclose(found, embeddings_loss(X, Y, LABELS, **OPTIONS))


def test_a_program_saved_in_format_1_loads_and_runs(torch):
    program = torch.export.load(SAVED).module()
    found = program(*given(torch)).detach()
    np.testing.assert_allclose(found, embeddings_loss(X, Y, LABELS, **OPTIONS))


@pytest.mark.parametrize("strict", [False, True])
def test_a_program_is_one_node_of_words_and_numbers(torch, strict):
    graph = exported(torch, strict).graph
    (node,) = (node for node in graph.nodes if node.op == "call_function")
    name, text, numbers, sizes, *_ = node.args
    assert str(node.target) == "metricops.call.default"
    # Of floats: the smoothing of the objective, the temperature and the penalty.
    assert (name, numbers, sizes) == ("loss_from_embeddings", [0.0, 0.5, 0.0], [3])
    found = json.loads(text)
    assert found["format"] == 1
    assert found["config"]["temperature"] == {"number": 1}
    assert found["config"]["block_size"] == {"size": 0}


def test_a_program_exported_without_gradients_has_them(torch, program):
    x, y, labels = given(torch)
    found = torch.autograd.grad(program(x, y, labels), (x, y))
    expected = numeric_gradient(
        lambda x, y: embeddings_loss(x, y, LABELS, **OPTIONS), X, Y
    )
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-8)


def test_a_program_has_second_derivatives(torch, program):
    x, y, labels = given(torch)
    assert torch.autograd.gradgradcheck(lambda x, y: program(x, y, labels), (x, y))


def test_a_compiled_program_trains(torch, program):
    x, y, labels = given(torch)
    compiled = torch.compile(program, fullgraph=True, backend="aot_eager")
    (found,) = torch.autograd.grad(compiled(x, y, labels), [x])
    (expected,) = torch.autograd.grad(program(x, y, labels), [x])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_a_program_refuses_forward_mode(torch, program):
    x, y, labels = (z.detach() for z in given(torch))
    with pytest.raises(NotImplementedError, match="no forward mode"):
        torch.func.jvp(lambda x: program(x, y, labels), (x,), (y,))
    forward = torch.autograd.forward_ad
    with forward.dual_level():
        dual = forward.make_dual(x, y)
        with pytest.raises(NotImplementedError, match="no forward mode"):
            program(dual, y, labels)


def load(folder: Path, first: str, second: str) -> str:
    code = LOAD.format(first=first, second=second)
    run = subprocess.run(
        [sys.executable, "-c", code, SAVED],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_a_fresh_process_loads_a_program(torch, tmp_path):
    expected = float(np.log(2))  # two of the four rows are of the anchor's class
    for name in ("metricops", "metricops_torch_autoload.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "metricops-0.dist-info").mkdir()
    entry = "[torch.backends]\nmetricops = metricops_torch_autoload:register\n"
    (tmp_path / "metricops-0.dist-info" / "entry_points.txt").write_text(entry)
    (tmp_path / "metricops-0.dist-info" / "METADATA").write_text("Name: metricops\n")
    for first, second in (("metricops", "torch"), ("torch", "metricops")):
        found = float(load(tmp_path, first, second))
        np.testing.assert_allclose(found, expected * 2, rtol=1e-12)


def test_the_entry_point_is_declared_and_imports_nothing():
    text = (ROOT / "pyproject.toml").read_text()
    assert 'metricops = "metricops_torch_autoload:register"' in text
    code = (
        "import metricops_torch_autoload as module, sys; module.register(); "
        "print({'metricops', 'numpy', 'torch'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert run.stdout == "set()\n", run.stderr


class Inner(NamedTuple):
    name: str
    weight: float


class Outer(NamedTuple):
    inner: Inner
    size: int | None
    flag: bool
    none: None = None


CONFIG = Outer(Inner("words", 0.5), 3, True)
OPERATION = operation_called("loss_from_embeddings")._replace(config=Outer)


@pytest.fixture
def records(monkeypatch):
    """Have the tables of words end with the test."""
    monkeypatch.setattr(programs, "_RECORDS", {"inner": Inner})
    monkeypatch.setattr(programs, "_WORDS", {})


def test_a_config_inside_a_config_comes_back(records):
    encoded = programs.encode(CONFIG)
    json.loads(encoded.text)
    assert (encoded.numbers, encoded.sizes) == ([0.5], [3])
    assert programs.decode(OPERATION, encoded) == CONFIG


def test_a_field_of_a_new_name_keeps_its_word(records):
    class Renamed(NamedTuple):
        inner: Inner
        rows: int | None
        flag: bool
        later: str = "default"

    old = programs.encode(CONFIG)._replace(
        text=programs.encode(CONFIG).text.replace(', "none": null', "")
    )
    programs.register_words(Renamed, {"rows": "size"})
    found = programs.decode(OPERATION._replace(config=Renamed), old)
    assert found == Renamed(Inner("words", 0.5), 3, True)
    assert '"size"' in programs.encode(found).text


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"format": 1', '"format": 2', "holds format 2 of metricops"),
        ('"record": "inner"', '"record": "os"', "names the record 'os'"),
        ('"flag"', '"flags"', "names the option 'flags'"),
    ],
)
def test_an_unknown_word_gets_a_sentence(records, old, new, words):
    encoded = programs.encode(CONFIG)
    changed = encoded._replace(text=encoded.text.replace(old, new))
    with pytest.raises(ValueError, match=words):
        programs.decode(OPERATION, changed)


def test_an_unknown_operation_gets_a_sentence(torch):
    import metricops._frameworks.torch.opaque

    assert metricops._frameworks.torch.opaque
    with pytest.raises(ValueError, match=r"names the operation 'os\.system'"):
        torch.ops.metricops.call("os.system", "{}", [], [], [], [], [])
