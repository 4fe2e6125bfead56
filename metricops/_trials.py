"""Whether the public functions work on a library, on each of its devices.

A function works if it gives NumPy's numbers on a small example. This runs as a program
too, ``python -m metricops._trials library torch``, which prints a record as JSON.
"""

import importlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import metricops
from metricops._frameworks.survey import LIBRARIES, Installed, on

Record = dict[str, Any]

_SIZE = 12  # rows, as some functions look for the ten nearest others
_ROWS = [[((7 * i + 3 * j) % 11 - 5) / 4 for j in range(3)] for i in range(_SIZE)]
_OTHERS = [[((5 * i + 4 * j) % 13 - 6) / 4 for j in range(3)] for i in range(_SIZE)]
_SQUARE = [[((5 * i + 3 * j) % 7) / 2 for j in range(_SIZE)] for i in range(_SIZE)]
_FLOATS = [(5 * i % 7) / 4 for i in range(_SIZE)]
_CLASSES = [i % 4 for i in range(_SIZE)]
_COUNTS = [[int(i % 3 != j) for j in range(3)] for i in range(_SIZE)]
# An array for each argument that has no default, and for labels where there are any.
_ARGUMENTS: Record = {
    **dict.fromkeys(
        ("anchors", "embeddings", "first", "queries", "x", "y_true"), _ROWS
    ),
    **dict.fromkeys(("proxies", "second", "y", "y_pred"), _OTHERS),
    **dict.fromkeys(("similarity", "targets"), _SQUARE),
    **dict.fromkeys(("labels", "query_labels"), _CLASSES),
    **dict.fromkeys(("distances", "positive_distances", "scores"), _FLOATS),
    **dict.fromkeys(("negative_distances", "similarities"), _FLOATS[::-1]),
    "same": [i % 2 for i in range(_SIZE)],
    "axes": 1,
}


def functions() -> dict[str, Callable[..., Any]]:
    """Return the public functions by name."""
    return dict(inspect.getmembers(metricops, inspect.isfunction))


def example(name: str) -> Record:
    """Return small arguments for the public function of that name."""
    parameters = inspect.signature(functions()[name]).parameters.values()
    wanted = [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty or parameter.name == "labels"
    ]
    arguments = {word: _ARGUMENTS[word] for word in wanted}
    return arguments | {"labels": _COUNTS} if "multilabel" in name else arguments


def result(name: str, library: Installed, xp: Any, device: Any) -> list[Any]:
    """Return what a function gives for its example, as NumPy arrays."""
    if name == "value_and_grad":
        function = metricops.value_and_grad(metricops.npairs_loss_from_embeddings)
        arguments = example("npairs_loss_from_embeddings")
    else:
        function, arguments = functions()[name], example(name)
    given = {
        word: library.asarray(xp, numbers(value), device)
        if isinstance(value, list)
        else value
        for word, value in arguments.items()
    }
    return [library.to_numpy(x) for x in leaves(function(**given))]


def numbers(values: list[Any]) -> Any:
    """Return a list as a NumPy array of float32, or of int32."""
    array = LIBRARIES[0].module().asarray(values)
    return array.astype("float32" if array.dtype.kind == "f" else "int32")


def leaves(value: Any) -> Iterator[Any]:
    """Yield the arrays in dicts and tuples."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple):
        for part in value:
            yield from leaves(part)
    elif value is not None:
        yield value


def fault(name: str, library: Installed, xp: Any, device: Any) -> str | None:
    """Return what is wrong with a function there, or None."""
    host = LIBRARIES[0]
    np = host.module()
    try:
        expected = result(name, host, np, "cpu")
        with on(device):
            found = result(name, library, xp, device)
    except Exception as error:  # whatever it is, it is what we are looking for
        return described(error)
    pairs = zip(found, expected, strict=True)
    right = all(np.allclose(x, y, rtol=1e-2, atol=1e-2) for x, y in pairs)
    return None if right else "other numbers than NumPy's"


def described(error: BaseException) -> str:
    """Return an error in one line."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}"[:300]


def tried(package: str) -> Record:
    """Import a library and try all functions on each of its devices."""
    (library,) = (x for x in LIBRARIES if x.package == package)
    try:
        xp = library.module()
        devices = library.devices()
    except BaseException as error:  # a broken library may even try to exit
        return {"error": described(error)}
    rows = []
    for device in devices:
        faults = {name: fault(name, library, xp, device) for name in functions()}
        rows.append(
            {
                "device": str(device),
                "works": [name for name, words in faults.items() if words is None],
                "fails": {name: words for name, words in faults.items() if words},
            }
        )
    return {"devices": rows}


def imported(adapter: str) -> Record:
    """Import the module of adapters of that name."""
    try:
        importlib.import_module(f"metricops.adapters.{adapter}")
    except BaseException as error:
        return {"error": described(error)}
    return {}


if __name__ == "__main__":
    kind, name = sys.argv[1:]
    found = tried(name) if kind == "library" else imported(name)
    sys.stdout.write("\n" + json.dumps(found) + "\n")
