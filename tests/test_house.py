"""The rules of the house: how far a call travels, and which room knows which."""

import ast
import sys
from itertools import pairwise
from pathlib import Path

import pytest

import metricops
from tests.conftest import require

ROOT = Path(metricops.__file__).parent
# Each room knows itself and those further down; `_frameworks` stands at the bottom.
ROOMS = (
    "__main__",
    "_report",
    "_trials",
    "_sharded",
    "_retrieval",
    "_losses",
    "_panels",
    "_similarity",
    "_arguments",
    "_frameworks",
    "_checks",
    "_typing",
)


def room_of(module):
    return module.split(".")[1]


def imports(path):
    """Return the rooms that a file imports from."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module == "metricops":
            names = [f"metricops.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {room_of(name) for name in names if name.startswith("metricops.")}
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_one_way(room):
    paths = [ROOT / f"{room}.py", *(ROOT / room).rglob("*.py")]
    present = [path for path in paths if path.exists()]
    known = set().union(*map(imports, present))
    above = ROOMS[: ROOMS.index(room)]
    assert present, room
    assert not known & set(above)


def test_every_file_stands_in_a_room():
    rooms = {path.relative_to(ROOT).parts[0] for path in ROOT.rglob("*.py")}
    assert {name.removesuffix(".py") for name in rooms} == {"__init__", *ROOMS}


def walked(call, matrix):
    """Return the functions of ours that are called before the first matrix product."""
    found: list[tuple[str, str]] = []
    product = type(matrix).__matmul__

    def stop(left, right):
        sys.setprofile(None)
        return product(left, right)

    def note(frame, event, _):
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(ROOT):
            found.append((str(path), frame.f_code.co_name))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(matrix), "__matmul__", stop)
        sys.setprofile(note)
        try:
            call()
        finally:
            sys.setprofile(None)
    return [call for call in found if not call[1].startswith("<")]


def test_a_call_soon_comes_to_its_first_product():
    xp = require("array_api_strict")
    x = xp.asarray([[1.0, 2.0], [3.0, 4.0], [0.0, 1.0]])
    y = xp.asarray([[1.0, 0.0], [3.0, 1.0], [0.0, 2.0]])

    def call():
        return metricops.npairs_loss_and_grad(x, y)

    call()  # imports, and the tables of types
    calls = walked(call, x)
    files = [path for path, _ in calls]
    changes = sum(a != b for a, b in pairwise(files))
    assert 0 < len(calls) <= 24, calls
    assert changes <= 12, calls


def lines_of(nodes):
    """Return the numbers of the lines that nodes take."""
    ends = [(node.lineno, node.end_lineno or node.lineno) for node in nodes]
    return {line for first, last in ends for line in range(first, last + 1)}


def own_lines(function):
    """Return how many lines a function has, without its docstring and inner ones."""
    inner = (ast.FunctionDef, ast.AsyncFunctionDef)
    body = function.body[1:] if ast.get_docstring(function) else function.body
    nested = [x for x in ast.walk(function) if isinstance(x, inner) and x != function]
    return len(lines_of(body) - lines_of(nested))


# Longer ones, and why.
LONG = {
    "admitted": "is one call, as each call more makes small losses slower",
    "npairs_loss_from_embeddings": "writes out its options, which are documentation",
    "npairs_loss_and_grad": "writes out its options, which are documentation",
    "problem_of": "fills one record of ten fields",
}


@pytest.mark.parametrize(
    "folder", [ROOT, ROOT.parent / "adapters"], ids=lambda x: x.name
)
def test_functions_have_about_twenty_lines(folder):
    functions = [
        (path.name, node.name, own_lines(node))
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    assert functions
    assert not [f for f in functions if f[-1] > 25 and f[1] not in LONG]


@pytest.mark.parametrize(
    "folder", [ROOT, ROOT.parent / "adapters"], ids=lambda x: x.name
)
def test_modules_have_about_two_hundred_lines_or_say_why(folder):
    texts = {path: path.read_text() for path in folder.rglob("*.py")}
    long = {path: text for path, text in texts.items() if text.count("\n") > 215}
    said = {path: ast.get_docstring(ast.parse(text)) for path, text in long.items()}
    assert texts
    assert not [path for path, words in said.items() if "is long, as" not in str(words)]


@pytest.mark.parametrize(
    "name",
    [
        *("multi_similarity", "circle", "soft_nearest_neighbor", "lifted_structure"),
        *("margin_softmax", "barlow_twins", "vicreg", "cosent", "sigmoid"),
    ],
)
def test_a_new_loss_has_at_most_120_lines_with_its_docstring(name):
    text = (ROOT / "_losses" / f"{name}.py").read_text()
    assert text.count("\n") <= 120


PRIVATE = ("torch._", "torch._C", "tensorflow.python", "keras.src", "jax._src")


def test_private_parts_of_frameworks_are_in_files_of_that_name():
    folders = (ROOT, ROOT.parent / "adapters")
    paths = [path for folder in folders for path in folder.rglob("*.py")]
    using = {
        path
        for path in paths
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.Attribute, ast.ImportFrom, ast.Import))
        and any(name in ast.unparse(node) for name in PRIVATE)
    }
    assert {path.name for path in using} <= {"private.py", "_private.py"}
    assert using
