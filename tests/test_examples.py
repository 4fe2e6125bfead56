"""What the documentation shows runs, and prints what it says."""

import contextlib
import doctest
import inspect
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import metricops
from tests.conftest import QUICK, require

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "docs" / "examples" / "train_digits.py"
PUBLIC = sorted(name for name, _ in inspect.getmembers(metricops, inspect.isfunction))
FRAMEWORKS = ("numpy", "torch", "jax", "tensorflow")


def digits(*options: object, example: Path = DIGITS) -> str:
    """Run the digits example, which must succeed, and return what it printed."""
    words = [sys.executable, "-W", "error", example, *options]
    run = subprocess.run([*map(str, words)], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.mark.parametrize("name", PUBLIC)
def test_the_examples_of_a_docstring_run(name):
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    for example in finder.find(getattr(metricops, name), name, module=False, globs={}):
        runner.run(example)
    assert runner.failures == 0
    assert runner.tries > 0


def test_the_example_of_the_readme_prints_what_its_comments_say():
    text = (ROOT / "README.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    assert printed.getvalue().splitlines() == re.findall(
        r"\)  # (.*)$", code, re.MULTILINE
    )


def test_help_keeps_the_lines_of_a_docstring():
    """Commands stand there on lines of their own."""
    folders = ROOT / "docs", ROOT / "docs" / "examples", ROOT / "benchmarks"
    texts = {path: path.read_text() for x in folders for path in x.glob("*.py")}
    said = {path for path, text in texts.items() if "description=__doc__" in text}
    kept = {path for path in said if "RawDescriptionHelpFormatter" in texts[path]}
    assert len(said) > 10
    assert said == kept


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_one_epoch_on_the_digits_improves_recall_in_each_framework(framework, tmp_path):
    for name in (framework, "matplotlib", "sklearn", "tqdm"):
        require(name)
    picture = tmp_path / "digits.png"
    printed = digits("--framework", framework, "--epochs", 1, "--out", picture)
    before, after = (
        float(re.findall(rf"{when} training, .* ([01]\.\d+)\n", printed)[0])
        for when in ("before", "after")
    )
    assert after > before
    assert picture.read_bytes().startswith(b"\x89PNG")
    rows = re.findall(rf"^({'|'.join(FRAMEWORKS)}) +(.*)$", printed, re.MULTILINE)
    assert [name for name, _ in rows] == list(FRAMEWORKS)
    numbers = [row.split() for _, row in rows if "not installed" not in row]
    assert len(numbers) > 0
    for loss, norm in numbers:
        assert float(loss) == pytest.approx(float(numbers[0][0]), rel=1e-4)
        assert float(norm) == pytest.approx(float(numbers[0][1]), rel=1e-4)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_ten_epochs_find_other_halves_in_each_framework(framework, tmp_path):
    for name in (framework, "matplotlib", "sklearn", "tqdm"):
        require(name)
    picture = tmp_path / "other_half.png"
    options = "--framework", framework, "--epochs", 10, "--out", picture
    printed = digits(*options, example=DIGITS.with_name("other_half.py"))
    before, after = re.findall(r"training: .*recall@10 ([\d.]+)%", printed)
    assert float(before) < 5 < 25 < float(after)
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["triplet_digits.py", "memory_digits.py"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_one_epoch_of_triplets_improves_recall_in_each_framework(framework, name):
    for library in (framework, "sklearn", "tqdm"):
        require(library)
    options = "--framework", framework, "--epochs", 1
    printed = digits(*options, example=DIGITS.with_name(name))
    before, after = map(float, re.findall(r"training: ([01]\.\d+)\n", printed))
    assert after > before


@pytest.mark.parametrize("name", ["torch_processes.py", "jax_devices.py"])
def test_several_processes_or_devices_train_as_one(name):
    torch = name.startswith("torch")
    for library in ("torch" if torch else "flax", "sklearn"):
        require(library)
    words: list[str] = [sys.executable]
    if torch:
        launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2")
        words += [*launcher, "--standalone"]
    path = DIGITS.with_name(name)
    words += [str(path), "--epochs", "1", "--gather", "ring"]
    flags = {"xla_force_host_platform_device_count": 8, **QUICK}
    given = " ".join(f"--{name}={str(x).lower()}" for name, x in flags.items())
    environment = os.environ | {"XLA_FLAGS": given, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stdout + run.stderr
    several, one = re.findall(r"(?:processes|devices|one) ([\d.]+)", run.stdout)
    assert float(several) == pytest.approx(float(one), rel=1e-4)
    before, after = map(float, re.findall(r"@1 ([\d.]+)", run.stdout))
    assert after > before
