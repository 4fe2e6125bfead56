"""The package as a user gets it, and the rules that its configuration holds."""

import email
import importlib.metadata
import json
import re
import shutil
import site
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.conftest import require

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
FRAMEWORKS = ("array_api_strict", "dask", "flax", "jax", "keras", "tensorflow", "torch")

# Run the example of every public name, and print where metricops is and how many ran.
RUN_EXAMPLES = """
import doctest, sys
sys.path.insert(0, sys.argv[1])
import metricops
finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
for name, value in vars(metricops).items():
    if callable(value):
        for example in finder.find(value, name, module=False, globs={}):
            runner.run(example)
print(metricops.__file__, runner.tries)
sys.exit(runner.failures)
"""


def shell(*command: object) -> str:
    """Run a command, which must succeed, and return what it printed."""
    words = [str(word) for word in command]
    run = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def ruff(path: str, source: str) -> set[str]:
    """Return the codes of what ruff would say of `source` in the file `path`."""
    require("ruff")
    words = ("-m", "ruff", "check", "--output-format", "json", "--stdin-filename")
    run = subprocess.run(
        [sys.executable, *words, path, "-"],
        input=source,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    return {finding["code"] for finding in json.loads(run.stdout)}


def modules() -> set[str]:
    """Return the files that every distribution must hold, by their installed names."""
    kernels = {
        str(path.relative_to(ROOT)) for path in (ROOT / "metricops").rglob("*.py")
    }
    adapters = {
        f"metricops/{path.relative_to(ROOT)}"
        for path in (ROOT / "adapters").rglob("*.py")
    }
    return kernels | adapters | {"metricops/py.typed", "metricops_torch_autoload.py"}


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """Build the sdist, and the wheel from it, in a copy: no build/ is left behind."""
    require("build")
    copy = tmp_path_factory.mktemp("checkout")
    names = "pyproject.toml", "README.md", "LICENSE", "metricops_torch_autoload.py"
    for name in names:
        shutil.copy(ROOT / name, copy)
    for name in ("metricops", "adapters"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    shell(sys.executable, "-m", "build", "--no-isolation", copy)
    (wheel,) = (copy / "dist").glob("*.whl")
    (sdist,) = (copy / "dist").glob("*.tar.gz")
    return wheel, sdist


def test_the_wheel_holds_every_module(distributions):
    assert modules() <= set(zipfile.ZipFile(distributions[0]).namelist())


def test_the_sdist_holds_every_module(distributions):
    with tarfile.open(distributions[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    inside = {name.replace("metricops/adapters", "adapters") for name in modules()}
    assert inside <= names


def test_the_wheel_needs_numpy_and_array_api_compat_alone(distributions):
    archive = zipfile.ZipFile(distributions[0])
    (path,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
    metadata = email.message_from_bytes(archive.read(path))
    needs = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    always = {need.name for need in needs if need.marker is None}
    assert always == {"array-api-compat", "numpy"}


def test_the_wheel_runs_where_numpy_and_array_api_compat_are_alone(
    distributions, tmp_path
):
    options = ("--quiet", "--no-deps", "--no-index", "--target", tmp_path)
    shell(sys.executable, "-m", "pip", "install", *options, distributions[0])
    for name in ("array_api_compat", "numpy", "numpy.libs"):
        for folder in map(Path, site.getsitepackages()):
            if (folder / name).exists():
                (tmp_path / name).symlink_to(folder / name)
    # -S leaves the environment's own packages out, -I the working directory.
    printed = shell(sys.executable, "-I", "-S", "-c", RUN_EXAMPLES, tmp_path)
    file, tries = printed.splitlines()[-1].split()
    assert Path(file).is_relative_to(tmp_path)
    assert int(tries) > 0


def test_the_wheel_is_small_and_holds_no_tests(distributions):
    names = zipfile.ZipFile(distributions[0]).namelist()
    assert not [name for name in names if "test" in Path(name).name]
    assert distributions[0].stat().st_size < 376 * 1024


# What a user's own code says, and what a type checker is to say of it.
USER = """
import metricops
from metricops.adapters.keras import NPairsLoss

reduction: metricops.Reduction = "mean"
loss = metricops.npairs_loss([[1.0]], [0], reduction=reduction)
found: dict[int, object] = metricops.recall_at_k([[1.0]], [0])
metricops.l2_normalize([1.0], axis="last")  # wrong: a string
metricops.npairs_loss([[1.0]], [0], reduction="median")  # wrong: no such word
"""


def test_types_reach_code_that_uses_the_wheel(distributions, tmp_path):
    require("mypy")
    shell(sys.executable, "-m", "venv", "--without-pip", tmp_path / "user")
    (packages,) = (tmp_path / "user").glob("lib/*/site-packages")
    zipfile.ZipFile(distributions[0]).extractall(packages)
    code = tmp_path / "code.py"
    code.write_text(USER)
    python = tmp_path / "user" / "bin" / "python"
    options = ("--strict", "--python-executable", python, "--config-file=")
    cache = ("--cache-dir", tmp_path / "cache")
    run = subprocess.run(
        [sys.executable, "-m", "mypy", *map(str, (*options, *cache, code))],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    wrong = [n for n, line in enumerate(USER.splitlines(), 1) if "wrong:" in line]
    reported = re.findall(r"^code\.py:(\d+): error: .*\[arg-type\]$", run.stdout, re.M)
    assert [int(number) for number in reported] == wrong, run.stdout
    assert run.stdout.endswith("Found 2 errors in 1 file (checked 1 source file)\n")


def workflows() -> dict[str, Any]:
    """Return the workflows by name."""
    yaml = require("yaml")
    paths = (ROOT / ".github" / "workflows").glob("*.yml")
    return {path.stem: yaml.safe_load(path.read_text()) for path in paths}


def test_workflows_run_the_scripts_that_everybody_runs():
    jobs = [job for flow in workflows().values() for job in flow["jobs"].values()]
    steps = [step for job in jobs for step in job["steps"]]
    lines = [step["run"] for step in steps if "run" in step]
    scripts = {line.split()[0] for line in lines}
    names = ("run", "framework", "build", "versions", "newcomer")
    assert scripts == {f".ci/{name}" for name in names}
    for script in scripts:
        shell("bash", "-n", ROOT / script)
        assert (ROOT / script).stat().st_mode & 0o100
    wanted = {word for line in lines if ".ci/run" in line for word in line.split()[1:]}
    assert wanted == set(
        re.findall(r'^step "(.*?)"', (ROOT / ".ci/run").read_text(), re.M)
    )
    assert all("@" in step["uses"] for step in steps if "uses" in step)
    assert all("timeout-minutes" in job for job in jobs)


def test_workflows_may_read_unless_a_job_says_more():
    flows = workflows()
    assert all(flow["permissions"] == {"contents": "read"} for flow in flows.values())
    more = {
        (name, job): set(flow["jobs"][job]["permissions"])
        for name, flow in flows.items()
        for job in flow["jobs"]
        if "permissions" in flow["jobs"][job]
    }
    assert more == {
        ("docs", "deploy"): {"pages", "id-token"},
        ("release", "publish"): {"id-token"},
    }


def test_the_version_stands_in_one_place():
    places = [*ROOT.glob("*.*"), *(ROOT / "docs").glob("*.py")]
    places += [path for name in modules() for path in ROOT.glob(name)]
    texts = {path.name: path.read_text() for path in places if path.is_file()}
    stated = re.compile(
        rf"version.{{,5}}{re.escape(PROJECT['version'])}", re.IGNORECASE
    )
    assert {name for name, text in texts.items() if stated.search(text)} == {
        "pyproject.toml"
    }


def test_importing_metricops_imports_no_framework():
    code = f"import metricops, sys; print(sorted(set(sys.modules) & set({FRAMEWORKS})))"
    assert shell(sys.executable, "-c", code) == "[]\n"


@pytest.mark.parametrize("framework", [*FRAMEWORKS, "cupy", "numpy"])
@pytest.mark.parametrize("statement", ["import {}", "from {} import x as y"])
def test_a_kernel_may_not_import_a_framework(framework, statement):
    source = f'"""Probe."""\n\n{statement.format(framework)}\n'
    assert "TID251" in ruff("metricops/_probe.py", source)
    assert "TID251" not in ruff("metricops/_frameworks/_probe.py", source)
    assert "TID251" not in ruff("adapters/probe.py", source)


def test_adapters_are_imported_by_their_installed_name():
    source = '"""Probe."""\n\nimport adapters.torch\n'
    assert "TID251" in ruff("metricops/_probe.py", source)


def test_adapters_import_public_names_and_few_modules_besides():
    allowed = {
        *("_sharded", "_similarity.metrics", "_arguments.beside"),
        *("_losses.triplet_matrix", "_frameworks.tensorflow.private"),
        *("_arguments.held", "_arguments.options", "_arguments.weights"),
        "_losses.solvable",
    }
    found = set()
    for path in (ROOT / "adapters").rglob("*.py"):
        text = path.read_text()
        found |= set(re.findall(r"(?:from|import) metricops\.(_[\w.]*)", text))
    assert found == allowed


@pytest.mark.parametrize("marker", ["main-job", "tests"])
def test_a_command_of_the_readme_is_one_block_that_bash_can_parse(marker):
    pattern = rf"^<!-- {marker} -->\n```sh\n(.*?)^```$"
    (block,) = re.findall(
        pattern, (ROOT / "README.md").read_text(), flags=re.DOTALL | re.MULTILINE
    )
    shell("bash", "-n", "-c", block)
    assert "pip install -c constraints.txt" in block
    for extra in re.findall(r"\.\[([a-z,]+)\]", block):
        assert set(extra.split(",")) <= set(EXTRAS)


def test_ci_takes_its_commands_from_the_readme():
    script = (ROOT / ".ci" / "run").read_text()
    assert {"main-job", "tests"} == set(re.findall(r"command_of ([a-z-]+)", script))
    shell("bash", "-n", ROOT / ".ci" / "run")


def cells(line: str) -> list[str]:
    """Return the cells of a row of a table."""
    return [cell.strip() for cell in line.strip("|\n ").split("|")]


@pytest.mark.parametrize(
    ("words", "section", "row"),
    [
        ("| time, of the", "time", "| 8,192 x 128 |"),
        ("| memory beyond", "memory", "| 8,192 x 128 |"),
        ("| memory for 131,072", "memory", "| 131,072 x 64 |"),
    ],
)
def test_the_figures_of_the_readme_are_those_of_the_benchmarks(words, section, row):
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    table = page.partition(f"<!-- begin {section} -->")[2].splitlines()
    (measured,) = [line for line in table if line.startswith(row)][:1]
    readme = (ROOT / "README.md").read_text().splitlines()
    (said,) = (line for line in readme if line.startswith(words))
    numbers = [re.findall(r"[\d.]+", cell)[0] for cell in cells(measured)[1:]]
    assert cells(said)[1:] == numbers


def test_the_readme_is_short_and_its_badges_are_true():
    text = (ROOT / "README.md").read_text()
    assert text.count("\n") < 150
    assert f"![Python {PROJECT['requires-python'].strip('>=')} or newer]" in text
    assert f"![licence {PROJECT['license']}]" in text
    standard = (ROOT / "metricops" / "_frameworks" / "__init__.py").read_text()
    (version,) = re.findall(r"!\[array API ([\d.]+)\]", text)
    assert f'_VERSION = "{version}"' in standard


def pins() -> dict[str, str]:
    """Return the version of each package in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    each = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in each}


def add_needs(package: str, found: set[str]) -> None:
    """Add `package` and all that it needs, on any system, to what is `found`."""
    name = canonicalize_name(package)
    if name in found or name == PROJECT["name"]:
        return
    found.add(name)
    try:
        lines = importlib.metadata.requires(package) or []
    except importlib.metadata.PackageNotFoundError:  # of another system or Python
        return
    for need in map(Requirement, lines):
        if "extra" not in str(need.marker):
            add_needs(need.name, found)


def test_every_pin_is_of_something_needed():
    installed = {
        canonicalize_name(found.name): Version(found.version).public
        for found in importlib.metadata.distributions()
    }
    if pins().items() - installed.items():
        pytest.skip("other versions than those of constraints.txt are installed")
    needed: set[str] = set()
    for group in [PROJECT["dependencies"], *EXTRAS.values()]:
        for need in map(Requirement, group):
            add_needs(need.name, needed)
    assert set(pins()) - needed == set()


def test_the_configuration_names_files_that_exist():
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    for pattern in config["ruff"]["lint"]["per-file-ignores"]:
        braces = re.match(r"\{(.*)\}(.*)", pattern)
        parts = [pattern]
        if braces:
            parts = [name + braces[2] for name in braces[1].split(",")]
        for part in parts:
            assert any(ROOT.glob(part)), part


def test_every_dependency_is_pinned_within_its_bounds():
    versions = pins()
    needs = [
        *PROJECT["dependencies"],
        *(need for group in EXTRAS.values() for need in group),
    ]
    for need in map(Requirement, needs):
        if need.name != PROJECT["name"]:
            assert versions[canonicalize_name(need.name)] in need.specifier


LIBRARIES = ("torch", "jax", "tensorflow", "keras", "flax", "dask")


@pytest.mark.parametrize("library", ["numpy", "array-api-compat", *LIBRARIES])
def test_a_library_is_bounded_to_its_next_major_release(library):
    needs = [*PROJECT["dependencies"], *(x for name in LIBRARIES for x in EXTRAS[name])]
    (need,) = (need for need in map(Requirement, needs) if need.name == library)
    bounds = {bound.operator: Version(bound.version) for bound in need.specifier}
    pinned = Version(pins()[canonicalize_name(library)])
    assert bounds.keys() == {">=", "<"}
    assert bounds["<"] == Version(str(pinned.major + 1))


def test_every_dependency_says_its_lowest_version():
    script = (ROOT / ".ci" / "versions").read_text()
    shell("bash", "-n", ROOT / ".ci" / "versions")
    (code,) = re.findall(r"<<'PYTHON'\n(.*?)^PYTHON$", script, re.DOTALL | re.M)
    lowest = shell(sys.executable, "-c", code).splitlines()
    needs = [PROJECT["dependencies"], *EXTRAS.values()]
    names = {Requirement(x).name for group in needs for x in group} - {PROJECT["name"]}
    assert {line.partition("==")[0] for line in lowest} == names
    for line in lowest:
        assert Version(line.partition("==")[2])


def test_the_extra_called_all_holds_every_other():
    (everything,) = map(Requirement, EXTRAS["all"])
    assert everything.extras == set(EXTRAS) - {"all"}
