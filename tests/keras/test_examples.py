"""What the documentation of the adapter shows runs, and prints what it says."""

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from metricops.adapters.keras import (
    _batch,
    _memory,
    _siblings,
    _similarity,
    layers,
    losses,
    metrics,
)

from tests.conftest import require
from tests.keras.conftest import BACKEND

ROOT = Path(__file__).parents[2]


MODULES = [layers, losses, metrics]
if BACKEND != "jax":  # it compiles each example, which takes a second
    MODULES += [_batch, _memory, _siblings, _similarity]


@pytest.mark.parametrize("module", MODULES, ids=lambda x: x.__name__.split(".")[-1])
def test_every_public_object_has_an_example_that_runs(module):
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    public = [
        value
        for name, value in vars(module).items()
        if getattr(value, "__module__", "") == module.__name__ and name[0] != "_"
    ]
    for value in public:
        (example, *_) = finder.find(value, value.__name__, module=False, globs={})
        assert example.examples, value
        runner.run(example)
    assert runner.failures == 0


@pytest.mark.parametrize("backend", [BACKEND])
def test_one_epoch_on_the_digits_saves_a_network_that_retrieves(tmp_path, backend):
    require("sklearn")
    out = tmp_path / "digits.keras"
    script = ROOT / "docs" / "examples" / "keras_digits.py"
    words = [sys.executable, script, "--epochs", "1", "--out", out]
    environment = {**os.environ, "KERAS_BACKEND": backend}
    run = subprocess.run(
        [*map(str, words)], capture_output=True, text=True, env=environment
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"on {backend}" in run.stdout
    before, after = map(float, re.findall(r"recall@1 ([01]\.\d+)", run.stdout))
    assert after > before
    assert out.exists()
