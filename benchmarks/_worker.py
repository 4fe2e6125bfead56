"""The process in which the methods of one framework take turns."""

import gc
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import numpy as np

from benchmarks._cases import (
    TEMPERATURE,
    Call,
    Case,
    Framework,
    Matrix,
    is_ours,
    kind,
    load,
)

LONG_ENOUGH = 0.02  # seconds; faster calls are timed several at a time
# Of the largest number. What half precision is off depends on the formula.
TOLERANCE = {"float32": 2e-4, "bfloat16": 0.1}
# Freed memory goes back to the system at once, so that the peak is what was alive.
PROBE_ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": "131072",
    # On processors TensorFlow counts what oneDNN's allocator gives. By itself it takes
    # that on newer ones alone.
    "TF_ENABLE_ONEDNN_OPTS": "1",
}


def check(framework: Framework, case: Case, methods: dict[str, Call]) -> None:
    """Exit if two methods disagree about the loss or a gradient."""
    expected: list[Matrix] = []
    for name, call in methods.items():
        found = [framework.to_numpy(x) for x in call()]
        if not expected:
            expected = found
            if case.task == "pairs":
                compare(f"The gradient of {name}", case, *spot(case, found[1]))
        for got, want in zip(found, expected, strict=True):
            compare(name, case, got, want)


def compare(name: str, case: Case, got: Matrix, want: Matrix) -> None:
    """Exit if an array is not what it should be."""
    error = float(np.max(np.abs(got - want)) / np.max(np.abs(want)))
    if not error <= TOLERANCE[case.dtype]:  # also if it is NaN
        sys.exit(f"{name} is off by {error:.1e} at {case}.")


def spot(case: Case, gradient: Matrix) -> tuple[Matrix, Matrix]:
    """Return some rows of the anchors' gradient, and what the definition gives."""
    anchors, candidates = case.inputs()
    rows = np.linspace(0, case.rows - 1, 16).astype(int)
    scores = anchors[rows] @ candidates.T / TEMPERATURE
    softmax = np.exp(scores - scores.max(axis=1, keepdims=True))
    softmax /= softmax.sum(axis=1, keepdims=True)
    want = (softmax @ candidates - candidates[rows]) / (TEMPERATURE * case.rows)
    return gradient[rows], want


def seconds(framework: Framework, call: Call, repeats: int) -> float:
    """Return the mean time of some calls."""
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    for _ in range(repeats):
        framework.wait(call())
    taken = time.perf_counter() - start
    gc.enable()
    return taken / repeats


def take_turns(
    framework: Framework, methods: dict[str, Call], rounds: int
) -> dict[str, list[float]]:
    """Return the times of each method, from rounds in which each has its turn."""
    names = list(methods)
    first = {name: seconds(framework, methods[name], 1) for name in names}
    repeats = {name: min(100, math.ceil(LONG_ENOUGH / first[name])) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        shift = turn % len(names)  # so that the first of a round is not always the same
        for name in names[shift:] + names[:shift]:
            times[name].append(seconds(framework, methods[name], repeats[name]))
    return times


def time_lines(
    framework: Framework, times: dict[str, list[float]]
) -> Iterator[dict[str, Any]]:
    """Yield for each method its time, and its ratio to each native method."""
    native = [name for name in times if kind(framework, name) == "native"]
    for name, taken in times.items():
        low, middle, high = np.quantile(taken, (0.25, 0.5, 0.75)).tolist()
        ratios = {
            other: statistics.median(
                x / y for x, y in zip(taken, times[other], strict=True)
            )
            for other in native
        }
        yield {
            "measure": "time",
            "method": name,
            "median_s": middle,
            "quartiles_s": [low, high],
            "ratios": ratios,
        }


def memory_line(name: str, case: Case, method: str) -> dict[str, Any]:
    """Return what a method needs, from a process of its own."""
    command = [sys.executable, "-m", "benchmarks._memory", name, method]
    printed = subprocess.run(
        [*command, json.dumps(case)],
        env={**os.environ, **PROBE_ENVIRONMENT},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    return {"measure": "memory", "method": method, **json.loads(printed)}


def results(job: dict[str, Any], case: Case) -> Iterator[dict[str, Any]]:
    """Yield the lines of a case, each with what it was measured on."""
    framework = load(job["framework"])
    methods = framework.methods(case)
    if job["only_ours"]:
        methods = {name: call for name, call in methods.items() if is_ours(name)}
    check(framework, case, methods)
    found: list[dict[str, Any]] = []
    if job["rounds"]:
        found += time_lines(framework, take_turns(framework, methods, job["rounds"]))
    yield from found
    names = list(methods)
    del methods  # and with them the inputs: the next process needs the memory
    if job["memory"]:
        yield from (memory_line(job["framework"], case, name) for name in names)


def setup(job: dict[str, Any], case: Case) -> dict[str, Any]:
    """Return what a line says besides its measure."""
    about = load(job["framework"]).describe(case)
    versions = {"metricops": version("metricops"), "python": platform.python_version()}
    return {
        "framework": job["framework"],
        **case._asdict(),
        "rounds": job["rounds"],
        "threads": job["threads"],
        "device_name": about["device_name"],
        "versions": {**versions, **about["versions"]},
    }


def main() -> None:
    """Do the job of the command line; print a JSON line a result."""
    job = json.loads(sys.argv[1])
    framework = load(job["framework"])
    for rows, dim in job["sizes"]:
        case = Case(rows, dim, job["task"], job["dtype"], job["device"])
        about = setup(job, case)
        for line in results(job, case):
            line["kind"] = kind(framework, line["method"])
            print(json.dumps({**about, **line}), flush=True)


if __name__ == "__main__":
    main()
