"""The site: what it says runs, names everything, and works in a browser."""

import importlib.util
import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import metricops
from tests.conftest import require
from tests.pages import programs, tabs

DOCS = Path(__file__).parents[1] / "docs"
# Pages whose every sort of content is looked at, at the width of a phone and a desktop.
PAGES = (
    *("index", "quickstart", "choosing", "concepts", "porting", "benchmarks"),
    *("support", "precision", "distributed", "planning", "accelerators"),
    *("transforms", "reference/losses-of-embeddings", "reference/keras", "changelog"),
)
# Loads each page in a frame, and writes down what it finds; `done` ends it.
DRIVER = """
<body><iframe id="frame"></iframe><pre id="found"></pre><script>
const frame = document.getElementById("frame"), found = {wide: [], hidden: []};
const pause = (time) => new Promise((go) => setTimeout(go, time));
const load = (page) => new Promise((go) => {
  frame.onload = () => go(frame.contentDocument);
  frame.src = "SITE/" + page;
});
const visible = (block) => block && block.offsetParent !== null;
(async () => {
  for (const width of [390, 1280]) {
    frame.style.width = width + "px";
    frame.style.height = "900px";
    for (const page of PAGES) {
      const html = (await load(page + ".html")).documentElement;
      if (html.scrollWidth > width) found.wide.push([page, width, html.scrollWidth]);
      for (const image of html.querySelectorAll("article img"))
        if (image.naturalWidth === 0) found.hidden.push([page, image.src]);
    }
  }
  const start = await load("quickstart.html");
  const blocks = [...start.querySelectorAll(".sd-tab-content")];
  found.before = blocks.map(visible);
  start.querySelectorAll(".sd-tab-set > label")[1].click();
  found.after = blocks.map(visible);
  found.copies = start.querySelectorAll("button.copybtn").length;
  found.themes = start.querySelectorAll("button.theme-toggle").length;
  const hit = "#search-results a[href*=losses-of-embeddings]";
  const search = await load("search.html?q=InfoNCE");
  for (let i = 0; i < 40 && !search.querySelector(hit); i++) await pause(250);
  found.hits = [...search.querySelectorAll("#search-results li a")].map((x) => x.href);
  document.getElementById("found").textContent = JSON.stringify(found);
})();
</script></body>
"""


@pytest.mark.parametrize("framework", tabs())
def test_each_tab_of_the_quick_start_runs(framework):
    require(framework)
    code = tabs()[framework]
    if framework == "keras":  # one backend to a process
        words = [sys.executable, "-W", "error", "-c", code]
        run = subprocess.run(words, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
    else:
        exec(code, {})


def test_other_examples_run():
    for code in programs("numpy").values():
        exec(code, {})


def reference():
    """Return the module that writes the pages of the reference."""
    spec = importlib.util.spec_from_file_location("reference", DOCS / "_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_has_every_public_function_once():
    module = reference()
    named = [name for names in module.groups().values() for name in names]
    assert sorted(named) == sorted(module.functions())


def test_the_reference_has_every_module_of_adapters():
    module = reference()
    files = (DOCS.parent / "adapters").iterdir()
    public = {path.stem for path in files if not path.name.startswith(("_", "."))}
    assert set(module.ADAPTERS) == public
    page = module.adapter_page("distances", "Distance objects")
    assert "metricops.adapters.distances.EuclideanDistance" in page


def test_choosing_a_loss_names_functions_and_options_that_exist():
    module, text = reference(), (DOCS / "choosing.md").read_text()
    called = re.findall(r"`(\w+)\(", text)
    assert set(called) <= set(module.functions())
    losses = {name for name in module.functions() if name.endswith("_from_embeddings")}
    assert losses - set(called) == {"circle_loss_from_embeddings"} | {
        "lifted_structure_loss_from_embeddings"
    }


@pytest.mark.parametrize("name", reference().functions())
def test_a_public_function_says_shapes_dtypes_errors_and_arguments(name):
    function = getattr(metricops, name)
    text = inspect.getdoc(function) or ""
    _, *parts = re.split(r"^(\w+)\n---+$", text, flags=re.MULTILINE)
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    assert {"Parameters", "Returns", "Raises", "Examples"} <= set(sections)
    # "a, b : type" describes both; a line without a type says where they are described.
    lines = re.findall(r"^(\w.*)$", sections["Parameters"], re.MULTILINE)
    named = [name for line in lines for name in line.split(" : ")[0].split(", ")]
    assert sorted(named) == sorted(inspect.signature(function).parameters)
    assert "shape" in sections["Returns"]
    assert "float" in sections["Parameters"] or "dtype" in text


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site, with no warning."""
    for name in ("sphinx", "furo", "myst_parser", "sphinx_design", "sphinx_copybutton"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q"]
    run = subprocess.run([*command, DOCS, folder], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return folder


def test_the_site_works_in_a_browser(site, tmp_path):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    driver = tmp_path / "driver.html"
    code = DRIVER.replace("SITE", site.as_uri()).replace("PAGES", json.dumps(PAGES))
    driver.write_text(code)
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    options += ["--allow-file-access-from-files", "--virtual-time-budget=60000"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    run = subprocess.run(
        [chromium, *options, profile, "--window-size=1300,1000", driver.as_uri()],
        capture_output=True,
        text=True,
    )
    (text,) = re.findall(r'<pre id="found">(.*?)</pre>', run.stdout, re.DOTALL)
    found = json.loads(text)
    assert found["wide"] == []
    assert found["hidden"] == []
    assert found["before"] == [True] + [False] * 5
    assert found["after"] == [False, True] + [False] * 4
    assert found["copies"] >= 8
    assert found["themes"] >= 1
    assert any("losses-of-embeddings" in hit for hit in found["hits"])


def test_the_table_of_support_has_a_row_for_every_public_function():
    text = (DOCS / "support.md").read_text()
    rows = re.findall(r"^\| `(\w+)`", text, re.MULTILINE)
    assert sorted(rows) == sorted(2 * reference().functions())
