"""`python -m metricops`: what is here, and what works on it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import array_api_compat
import numpy as np
import pytest

import metricops
from metricops import _report, _trials
from metricops.__main__ import text
from tests.conftest import LIBRARIES, require

# What a package named after a framework may do when it is imported.
BROKEN = {
    "raises": ("raise ImportError('libfoo.so: no\\nsuch file')", "libfoo.so: no such"),
    "exits": ("raise SystemExit(4)", "SystemExit: 4"),
    "ends": ("import os; os._exit(3)", "status 3"),
    "is empty": ("", "AttributeError"),
}


@pytest.mark.parametrize("package", LIBRARIES)
def test_every_public_function_works_on_every_library(package):
    require(package)
    found = _trials.tried(package)
    (row, *_) = found["devices"]
    assert row["fails"] == {}
    assert set(row["works"]) == set(_trials.functions())


@pytest.mark.parametrize(("code", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_framework_is_reported_and_breaks_nothing(
    code, words, tmp_path, monkeypatch
):
    (tmp_path / "cupy.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert words in _report.apart("library", "cupy")["error"]


def test_a_function_that_gives_other_numbers_does_not_work(monkeypatch):
    right = metricops.l2_normalize
    calls = []

    def l2_normalize(x):  # NumPy's own numbers come first
        calls.append(x)
        return right(x) if len(calls) == 1 else 2 * right(x)

    names = {"l2_normalize": l2_normalize}
    monkeypatch.setattr(_trials, "functions", lambda: names)
    (row,) = _trials.tried("numpy")["devices"]
    assert row["fails"] == {"l2_normalize": "other numbers than NumPy's"}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Return what `python -m metricops --json` prints beside NumPy and a broken JAX."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "jax.py").write_text("raise OSError('broken')")
    packages = (metricops, np, array_api_compat)
    places = [Path(str(package.__file__)).parent for package in packages]
    for place in [*places, places[1].with_name("numpy.libs")]:
        if place.exists():
            (folder / place.name).symlink_to(place)
    command = [sys.executable, "-S", "-m", "metricops", "--json"]
    run = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""  # no terminal, no progress
    return json.loads(run.stdout)


def test_what_is_not_installed_is_not_imported(alone):
    libraries = alone["libraries"]
    missing = {name for name, found in libraries.items() if not found["installed"]}
    assert missing == set(libraries) - {"numpy", "jax"}
    assert alone["adapters"]["keras"] == {"installed": False}
    assert libraries["jax"]["error"].endswith("OSError: broken")
    assert libraries["numpy"]["devices"][0]["fails"] == {}


def test_the_table_has_a_line_for_each_library_and_adapter(alone):
    lines = text(alone).splitlines()
    (numpy,) = (line for line in lines if line.startswith("NumPy "))
    count = len(_trials.functions())
    assert numpy.endswith(f"{count} of {count} functions")
    (jax,) = (line for line in lines if line.startswith("JAX "))
    assert "broken: " in jax
    (torch,) = (line for line in lines if line.startswith("PyTorch "))
    assert torch.endswith("not installed")
    assert sum(line.startswith(".") for line in lines) == len(_report.ADAPTERS)
