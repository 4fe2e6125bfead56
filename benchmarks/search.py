"""Distances and searches of many rows beside the usual native ways.

Each function takes turns with what a user of the framework would write for it, on
random rows, and on rows that are clustered as trained embeddings are: around 64 centres
that both sides share, with spread 5 %, off the origin by 3. NumPy and PyTorch run
eagerly, JAX and TensorFlow traced, each framework in a process of its own; `faiss` is
its flat indexes beside NumPy. What is native may have lost digits: its largest relative
error is told too. One JSON line a way is printed, and written to the file `--out`; with
`--page` a table and a chart of them go into the docs.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))


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
