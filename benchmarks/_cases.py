"""What is computed, and what a module of formulas offers to compute it."""

import importlib
import platform
import re
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.floating[Any]]
Call = partial[tuple[Any, ...]]  # returns a loss, and a gradient of each input

TEMPERATURE = 0.05
GIB = 2**30


class Case(NamedTuple):
    """One loss at one size.

    Of pairs, candidate i is the positive of anchor i, and the softmax runs over all
    candidates; symmetric, also over all anchors. One set is NT-Xent: cosines, the other
    view of a row its positive, and all other rows its candidates.
    """

    rows: int
    dim: int
    task: str  # "pairs", "symmetric" or "one-set"
    dtype: str
    device: str

    def inputs(self) -> list[Matrix]:
        """Return unit rows: anchors and candidates, or one set of both."""
        random = np.random.default_rng(0)
        rows = self.rows // 2 if self.task == "one-set" else self.rows
        anchors, noise = (
            random.standard_normal((rows, self.dim), dtype=np.float32) for _ in range(2)
        )
        sides = [unit(anchors), unit(anchors + 2 * noise)]
        return [np.concatenate(sides)] if self.task == "one-set" else sides


class Framework(Protocol):
    """What the modules `_torch`, `_jax`, `_tensorflow` and `_numpy` have."""

    COMPILES: bool  # whether a first call compiles
    COUNTS: bool  # whether it tells what its arrays took on the CPU, as on a GPU
    PEERS: frozenset[str]  # the methods of other libraries

    def describe(self, case: Case) -> dict[str, Any]:
        """Return the versions, and what the device is called."""

    def methods(self, case: Case) -> dict[str, Call]:
        """Return the ways to compute the loss and its gradients, by name."""

    def wait(self, results: Any) -> None:
        """Return once the results are there."""

    def to_numpy(self, array: Any) -> Matrix:
        """Return an array in NumPy, as float32."""

    def counted_peak(self, call: Call, case: Case) -> int:
        """Return the bytes that a call adds to its arrays at most, as it tells."""

    def planned_bytes(self, call: Any) -> int | None:
        """Return the bytes of temporaries that the compiler plans, where it tells."""


def unit(x: Matrix) -> Matrix:
    """Return the rows of `x` at length 1."""
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def cpu_name() -> str:
    """Return what the processor is called."""
    information = Path("/proc/cpuinfo")
    text = information.read_text() if information.exists() else ""
    names = re.findall(r"^model name\s*:\s*(.*)$", text, re.MULTILINE)
    return names[0] if names else platform.machine()


def load(name: str) -> Framework:
    """Import the formulas of a framework, and with them the framework."""
    return cast(Framework, importlib.import_module(f"benchmarks._{name}"))


def is_ours(method: str) -> bool:
    """Return whether a method is this library."""
    return method.startswith("metricops")


def kind(framework: Framework, method: str) -> str:
    """Return whose a method is: "ours", "peer" or "native"."""
    if is_ours(method):
        return "ours"
    return "peer" if method in framework.PEERS else "native"


def options(case: Case, labels: Any) -> dict[str, Any]:
    """Return the arguments of metricops; `labels` are for one set."""
    return {
        "labels": labels if case.task == "one-set" else None,
        "temperature": TEMPERATURE,
        "normalize": case.task == "one-set",
        "symmetric": case.task == "symmetric",
        "exclude_diagonal": case.task == "one-set",
    }


def positives(case: Case) -> NDArray[np.int64]:
    """Return at which row the positive of each anchor stands."""
    rows = np.arange(case.rows)
    return (rows + case.rows // 2) % case.rows if case.task == "one-set" else rows


def labels(case: Case) -> NDArray[np.int64]:
    """Return the labels of one set."""
    return np.arange(case.rows) % (case.rows // 2)
