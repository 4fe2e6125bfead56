"""Tries every public function on every library, and writes `docs/support.md`.

    python docs/support.py

A value counts as right if it is NumPy's in float64, to what the dtype can hold, and a
gradient if it is the slope of that value along a random direction. Each library is
tried in a process of its own.
"""

import argparse
import importlib
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import metricops
from metricops import _trials
from metricops._frameworks.survey import LIBRARIES, Installed

PAGE = Path(__file__).with_name("support.md")
DTYPES = {"float16": 2e-2, "bfloat16": 1e-1, "float32": 1e-4, "float64": 1e-6}
TRACED = {
    "torch": ("torch.compile",),
    "jax": ("jax.jit",),
    "tensorflow": ("tf.function", "tf.function, sizes unknown", "XLA"),
}
Arrays = dict[str, Any]
TITLE = """# Support

What each function was tried on, by `python docs/support.py`: a value is right if it is
NumPy's in float64, to what the dtype can hold, and a gradient if it is the slope of
that value. The tests try far more. CuPy is not in the table, as it needs a GPU.

## Libraries and dtypes

A mark stands for every floating dtype that the library has: float32, float64, float16
(but for array-api-strict), and bfloat16 in PyTorch, JAX and TensorFlow. JAX has 64 bits
where `jax_enable_x64` is set, as it was here. Integers are taken, and become floats."""
PROGRAMS = """## Traced, and differentiated

In float32; `torch.compile` with `fullgraph=True` and the backend `aot_eager`. A dash
stands where there is nothing to differentiate, and at the circle loss, whose weights
are constants to its gradient: that is not the slope of its value.
[Transforms](transforms.md) has second derivatives, forward mode and `vmap`, and
[distributed training](distributed.md#which-losses) which losses processes and devices
can share."""


def example(name: str) -> Arrays:
    """Return arguments for the function of that name, random where they are floats."""
    generator = np.random.default_rng(7)
    called = "npairs_loss_from_embeddings" if name == "value_and_grad" else name
    found: Arrays = {}
    for word, value in _trials.example(called).items():
        array = np.asarray(value)
        if array.dtype.kind == "f":
            array = generator.standard_normal(array.shape)
            found[word] = np.abs(array) + 0.1 if is_positive(word) else array
        else:
            found[word] = array.astype(np.int32) if array.ndim else value
    return found


def is_positive(word: str) -> bool:
    """Return whether an argument holds distances or shares."""
    return "distances" in word or word == "targets"


def function_called(name: str) -> Callable[..., Any]:
    """Return a public function; of `value_and_grad`, that of the N-pairs loss."""
    function: Callable[..., Any] = getattr(metricops, name)
    if name == "value_and_grad":
        function = function(metricops.npairs_loss_from_embeddings)
    return function


def floats(arrays: Arrays) -> list[str]:
    """Return the arguments that are arrays of floats."""
    return [
        name for name, x in arrays.items() if getattr(x, "dtype", None) == np.float64
    ]


def expected(name: str) -> list[Any]:
    """Return the numbers of NumPy in float64."""
    found = function_called(name)(**example(name))
    return [np.asarray(x) for x in _trials.leaves(found)]


def cast(library: Installed, x: Any, dtype: str) -> Any:
    """Return an array of `library` as `dtype`."""
    xp = library.module()
    if library.package == "torch":
        return x.to(getattr(xp, dtype))
    if library.package == "tensorflow":
        return xp.cast(x, dtype)
    if library.package == "array_api_strict":
        return xp.astype(x, getattr(xp, dtype))
    return x.astype(dtype)


def given(library: Installed, arrays: Arrays, dtype: str) -> Arrays:
    """Return the arguments as arrays of `library`."""
    xp, device = library.module(), library.devices()[0]
    found: Arrays = {}
    for word, x in arrays.items():
        if not isinstance(x, np.ndarray):
            found[word] = x
        elif x.dtype.kind == "f":
            found[word] = cast(library, library.asarray(xp, x, device), dtype)
        else:
            found[word] = library.asarray(xp, x, device)
    return found


def host(library: Installed, x: Any) -> Any:
    """Return an array as NumPy's, bfloat16 as float32."""
    if "bfloat16" in str(x.dtype):
        x = cast(library, x, "float32")
    return np.asarray(library.to_numpy(x))


def is_right(library: Installed, found: Any, name: str, tolerance: float) -> bool:
    """Return whether a result has the expected numbers."""
    pairs = zip(_trials.leaves(found), expected(name), strict=True)
    return all(
        np.allclose(host(library, x), y, rtol=tolerance, atol=tolerance)
        for x, y in pairs
    )


def traced(library: Installed, way: str, name: str, arrays: Arrays) -> Any:
    """Return what a function gives as `way` traces it."""
    module = importlib.import_module(library.package)
    words = [word for word, x in arrays.items() if hasattr(x, "dtype")]
    rest = {word: x for word, x in arrays.items() if word not in words}

    def call(*values: Any) -> Any:
        return function_called(name)(**dict(zip(words, values, strict=True)), **rest)

    values = [arrays[word] for word in words]
    if way == "jax.jit":
        return module.jit(call)(*values)
    if way == "torch.compile":
        module.compiler.reset()  # each function is compiled as the first of all
        return module.compile(call, fullgraph=True, backend="aot_eager")(*values)
    signature = None
    if "unknown" in way:
        signature = [module.TensorSpec([None] * len(x.shape), x.dtype) for x in values]
    graph = module.function(call, input_signature=signature, jit_compile=way == "XLA")
    return graph(*values)


def weighted(name: str, arrays: Arrays, xp: Any) -> Any:
    """Return the sum of all numbers of a result."""
    results = _trials.leaves(function_called(name)(**arrays))
    return sum(xp.sum(x) for x in results)


def slope(name: str, arrays: Arrays, directions: Arrays) -> float:
    """Return the slope of a function along some directions, in NumPy."""
    ends = [
        {**arrays, **{w: arrays[w] + step * directions[w] for w in directions}}
        for step in (1e-6, -1e-6)
    ]
    high, low = (float(weighted(name, end, np)) for end in ends)
    return (high - low) / 2e-6


def gradients(library: Installed, name: str, arrays: Arrays, words: list[str]) -> Any:
    """Return the gradients that a framework gives, in NumPy."""
    module = importlib.import_module(library.package)
    if library.package == "jax":
        rest = {word: x for word, x in arrays.items() if word not in words}
        pulled = module.grad(lambda d: weighted(name, {**rest, **d}, module.numpy))(
            {word: arrays[word] for word in words}
        )
        return [np.asarray(pulled[word]) for word in words]
    if library.package == "torch":
        leaves = [arrays[word].requires_grad_() for word in words]
        return [
            x.numpy()
            for x in module.autograd.grad(weighted(name, arrays, module), leaves)
        ]
    leaves = [arrays[word] for word in words]
    with module.GradientTape() as tape:
        tape.watch(leaves)
        value = sum(
            module.reduce_sum(x)
            for x in _trials.leaves(function_called(name)(**arrays))
        )
    return [x.numpy() for x in tape.gradient(value, leaves)]


def has_slope(name: str) -> bool:
    """Return whether a function is one to differentiate."""
    constant = name.startswith(("circle", "mean_", "nearest"))
    return not constant and "_at_k" not in name and not name.endswith("_and_grad")


def gradient_is_right(library: Installed, name: str) -> bool:
    """Return whether the gradient is the slope of the value."""
    arrays, generator = example(name), np.random.default_rng(5)
    words = [word for word in floats(arrays) if word not in ("targets", "scores")]
    directions = {word: generator.standard_normal(arrays[word].shape) for word in words}
    right = slope(name, arrays, directions)
    found = gradients(library, name, given(library, arrays, "float32"), words)
    pairs = zip(found, directions.values(), strict=True)
    along = sum(float(np.sum(x * y)) for x, y in pairs)
    return bool(np.isclose(along, right, rtol=1e-3, atol=1e-3))


def value_is_right(library: Installed, name: str, dtype: str) -> bool:
    """Return whether a function is right in a dtype."""
    found = function_called(name)(**given(library, example(name), dtype))
    return is_right(library, found, name, DTYPES[dtype] * scale(name))


def traced_is_right(library: Installed, name: str, way: str) -> bool:
    """Return whether a function is right as `way` traces it."""
    found = traced(library, way, name, given(library, example(name), "float32"))
    return is_right(library, found, name, DTYPES["float32"] * scale(name))


def attempt(check: Callable[..., bool], library: Installed, *words: str) -> bool:
    """Return whether a check passes, without an error."""
    try:
        return check(library, *words)
    except Exception as error:
        sys.stderr.write(f"  {type(error).__name__}: {str(error)[:150]}\n")
        return False


def tried(package: str, names: list[str]) -> dict[str, dict[str, bool]]:
    """Return, for each function, what works on a library."""
    (library,) = (x for x in LIBRARIES if x.package == package)
    if package == "jax":
        importlib.import_module("jax").config.update("jax_enable_x64", True)
    rows: dict[str, dict[str, bool]] = {}
    for name in names:
        sys.stderr.write(f"{package} {name}\n")
        row = rows[name] = {}
        for dtype in DTYPES:
            if has_dtype(package, dtype):
                row[dtype] = attempt(value_is_right, library, name, dtype)
        for way in TRACED.get(package, ()):
            row[way] = attempt(traced_is_right, library, name, way)
        if package in TRACED and has_slope(name):
            row["gradient"] = attempt(gradient_is_right, library, name)
    return rows


def scale(name: str) -> float:
    """Return how large the numbers of a function are."""
    return max(1.0, max(float(np.max(np.abs(x))) for x in expected(name)))


def has_dtype(package: str, dtype: str) -> bool:
    """Return whether a library has arrays of a dtype."""
    if dtype == "bfloat16":
        return package in TRACED
    return dtype != "float16" or package != "array_api_strict"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table of Markdown."""
    lines = [head, ["---"] + [":---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(row: dict[str, bool], key: str) -> str:
    """Return a mark: it works, it does not, or there is nothing to try."""
    return {True: "✓", False: "✗", None: "-"}[row.get(key)]


def dtypes(row: dict[str, bool]) -> str:
    """Return a mark if a function works in all dtypes, or those in which it does."""
    works = [dtype for dtype in DTYPES if row.get(dtype)]
    every = all(row.get(dtype, True) for dtype in DTYPES)
    return "✓" if every else ", ".join(works) or "✗"


def page(found: dict[str, dict[str, dict[str, bool]]]) -> str:
    """Return the page of all that was tried."""
    names = list(next(iter(found.values())))
    labels = {x.package: x.label for x in LIBRARIES}
    values = [[f"`{n}`", *(dtypes(found[p][n]) for p in found)] for n in names]
    ways = [(p, way) for p in found for way in (*TRACED.get(p, ()), "gradient")]
    ways = [(p, way) for p, way in ways if p in TRACED]
    heads = [f"gradient, {labels[p]}" if way == "gradient" else way for p, way in ways]
    programs = [[f"`{n}`", *(cell(found[p][n], way) for p, way in ways)] for n in names]
    parts = [
        TITLE,
        table(["", *(labels[p] for p in found)], values),
        PROGRAMS,
        table(["", *heads], programs),
    ]
    return "\n\n".join(parts)


def main() -> None:
    """Try one library and print a record, or all of them and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--library", help="one alone, printed as JSON")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.library:
        print("\n" + json.dumps(tried(options.library, list(_trials.functions()))))
        return
    found = {}
    for package in (x.package for x in LIBRARIES if x.package != "cupy"):
        command = [sys.executable, __file__, "--library", package]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[package] = json.loads(run.stdout.splitlines()[-1])
    PAGE.write_text(page(found) + "\n")
    print(f"Written: {PAGE}")


if __name__ == "__main__":
    main()
