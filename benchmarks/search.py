"""Distances and searches of many rows beside the usual native ways.

Each function takes turns with what a user of the framework would write for it, on
random rows, and on rows that are clustered as trained embeddings are: around 64 centres
that both sides share, with spread 5 %, off the origin by 3. NumPy and PyTorch run
eagerly, JAX and TensorFlow traced, each framework in a process of its own; `faiss` is
its flat indexes beside NumPy. What is native may have lost digits: its largest relative
error is told too. One JSON line a way is printed, and written to the file `--out`; with
`--page` a table and a chart of them go into the docs.
"""

import argparse
import importlib.util
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import _search_page
from benchmarks._search_ways import FRAMEWORKS, OURS, Framework, K, rows

Function = Callable[..., Any]
DATA = ("random", "clustered")
BACKWARD = ("euclidean", "squared_euclidean", "cosine_similarity")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
SLOW = "manhattan"  # which is measured on random rows alone, and in fewer rounds


class Options(NamedTuple):
    """What a measurement is of, and how often it is taken."""

    number: int  # of rows, of each of two sets
    dim: int
    rounds: int
    clock: str


def exact(name: str, x: Any, y: Any) -> Any:
    """Return the values in float64, from differences."""
    wide = [z.astype(np.float64) for z in (x, y)]
    if name == "cosine_similarity":
        units = [z / np.linalg.norm(z, axis=1, keepdims=True) for z in wide]
        return units[0] @ units[1].T
    from scipy.spatial.distance import cdist

    words = {"squared_euclidean": "sqeuclidean", "manhattan": "cityblock"}
    return cdist(*wide, words.get(name, name))


def largest_error(name: str, result: Any, x: Any, y: Any) -> float:
    """Return the largest error of the first rows, relative but for cosines."""
    if name.startswith("search"):
        return _error_of_search(name, result, x[:128], y)
    expected = exact(name, x[:128], y)
    error = np.abs(np.asarray(result)[:128] - expected)
    return float(np.max(error if name == "cosine_similarity" else error / expected))


def _error_of_search(name: str, result: Any, x: Any, y: Any) -> float:
    """Return by how much the keys found are worse than the best, in exact values."""
    indices = np.asarray(result[1])[: len(x)]
    if name == "search_cosine":
        table = 1 - exact("cosine_similarity", x, y)
        found = np.sort(np.take_along_axis(table, indices, axis=1))
        return float(np.max(found - np.sort(table, axis=1)[:, :K]))
    table = exact("euclidean", x, y)
    found = np.sort(np.take_along_axis(table, indices, axis=1))
    return float(np.max(found / np.sort(table, axis=1)[:, :K]) - 1)


def alternating(
    ways: dict[str, Function],
    arrays: tuple[Any, ...],
    wait: Function,
    options: Options,
) -> dict[str, float]:
    """Return the least seconds of each way over rounds in which they take turns."""
    clock = CLOCKS[options.clock]
    times: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():  # traces, and warms up
        wait(way(*arrays))
    for _ in range(options.rounds):
        for name, way in ways.items():
            start = clock()
            wait(way(*arrays))
            times[name].append(clock() - start)
    return {name: min(found) for name, found in times.items()}


def measured(
    framework: str, data: str, functions: list[str] | None, options: Options
) -> Iterator[dict[str, Any]]:
    """Yield a line for each function, pass and way."""
    found: Framework = FRAMEWORKS[framework]()
    hosts = rows(data, options.number, options.dim)
    arrays = tuple(map(found.asarray, hosts))
    for name, native in found.native.items():
        if (functions and name not in functions) or (name, data) == (SLOW, "clustered"):
            continue
        pair: dict[str, Function] = {native.name: native.function}
        pair["metricops"] = OURS[name]
        traced = {way: found.traced(function) for way, function in pair.items()}
        errors = {
            way: largest_error(name, function(*arrays), *hosts)
            for way, function in traced.items()
        }
        about = {
            "framework": framework,
            "function": name,
            "data": data,
            "rows": options.number,
            "dim": options.dim,
            "clock": options.clock,
        }
        for label, ways in _passes(found, name, pair, traced).items():
            own = options._replace(rounds=3) if name == SLOW else options
            best = alternating(ways, arrays, found.wait, own)
            for way, seconds in best.items():
                yield {
                    "measure": "search" if name.startswith("search") else "distances",
                    **about,
                    "pass": label,
                    "method": way,
                    "best_s": seconds,
                    "ratio": seconds / best[native.name],
                    "largest_error": errors[way],
                }


def _passes(
    found: Framework, name: str, pair: dict[str, Function], traced: dict[str, Function]
) -> dict[str, dict[str, Function]]:
    """Return the ways of each pass."""
    passes = {"forward": traced}
    if found.slopes and name in BACKWARD:
        passes["forward and backward"] = {
            way: found.traced(found.slopes(function)) for way, function in pair.items()
        }
    return passes


def described(framework: str) -> dict[str, Any]:
    """Return what a line says of the machine."""
    packages = {"faiss": "faiss-cpu"}
    names = ("metricops", packages.get(framework, framework))
    versions = {name: version(name) for name in names}
    versions["python"] = platform.python_version()
    return {"device_name": platform.machine(), "versions": versions}


def parsed() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--framework", choices=FRAMEWORKS, action="append")
    parser.add_argument("--function", choices=OURS, action="append")
    parser.add_argument("--data", choices=DATA, action="append")
    parser.add_argument("--size", help="rows x dimensions; default 4096x128")
    parser.add_argument("--rounds", type=int, help="default 15; faiss: 5")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--quick", action="store_true", help="few rows, to see it work")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--page", type=Path, help="the docs to write tables into")
    return parser.parse_args()


def options_of(framework: str, given: argparse.Namespace) -> Options:
    """Return what to measure of a framework."""
    size = given.size or ("16384x128" if framework == "faiss" else "4096x128")
    size = "256x16" if given.quick and not given.size else size
    rounds = given.rounds or (1 if given.quick else 5 if framework == "faiss" else 15)
    count, dim = map(int, size.split("x"))
    return Options(count, dim, rounds, given.clock)


def lines_of(framework: str, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the lines of a framework, measured in this process."""
    for data in given.data or DATA:
        options = options_of(framework, given)
        for line in measured(framework, data, given.function, options):
            yield line | described(framework)


def elsewhere(framework: str) -> Iterator[dict[str, Any]]:
    """Yield the lines of a framework, measured in a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--framework", framework]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield from map(json.loads, process.stdout or ())
    if process.returncode:
        sys.exit(f"{framework} could not be measured.")


def main() -> None:
    """Measure what the command line asks for."""
    given = parsed()
    if given.framework:
        for framework in given.framework:
            for line in lines_of(framework, given):
                print(json.dumps(line), flush=True)
        return
    found = []
    there = [name for name in FRAMEWORKS if importlib.util.find_spec(name)]
    for framework in there:
        for line in elsewhere(framework):
            print(json.dumps(line), flush=True)
            found.append(line)
    if given.out:
        text = "".join(json.dumps(line) + "\n" for line in found)
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(text)
    if given.page:
        _search_page.write(found, given.page)


if __name__ == "__main__":
    main()
