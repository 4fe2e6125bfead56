"""How Sphinx builds the site. It needs the extra `all`, and no network."""

import importlib
import importlib.metadata
import os
import re
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER))
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_reference = importlib.import_module("_reference")

project = "metricops"
author = "The metricops maintainers"
project_copyright = author
release = version = importlib.metadata.version("metricops")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "examples"]
templates_path: list[str] = []
default_role = "code"  # single backticks in docstrings
nitpicky = False

autodoc_typehints = "none"  # the docstrings have them, with shapes and dtypes
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
suppress_warnings: list[str] = []
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = "metricops"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/favicon.svg"
html_baseurl = os.environ.get("DOCS_URL", "")
html_copy_source = False
html_show_sourcelink = False
html_theme_options: dict[str, Any] = {
    "light_logo": "favicon.svg",
    "dark_logo": "favicon.svg",
    "light_css_variables": {
        "color-brand-primary": "#2156b5",
        "color-brand-content": "#2156b5",
    },
    "dark_css_variables": {
        "color-brand-primary": "#8ab4ff",
        "color-brand-content": "#8ab4ff",
    },
}
myst_html_meta = {
    "description": "Metric-learning losses and similarities for every array library.",
    "property=og:title": "metricops",
    "property=og:type": "website",
    "property=og:description": "Losses, distances and search for NumPy, PyTorch, JAX "
    "and TensorFlow, with no matrix of similarities.",
    "property=og:image": html_baseurl + "_static/preview.png",
    "name=twitter:card": "summary_large_image",
}

# Pages outside of this folder, by where they stand in the site.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}


def site_links(text: str) -> str:
    """Return a page of the repository with links that hold in the site.

    Links into folders that the site does not have become plain text.
    """
    for name, page in PAGES.items():
        text = text.replace(f"]({name})", f"]({page})")
    text = text.replace("](docs/examples)", "](../examples)").replace("](docs/", "](")
    return re.sub(r"\[([^\]]+)\]\(\.\./[^)]*\)", r"\1", text)


def on_source(app: Any, name: str, source: list[str]) -> None:
    """Mend the links of a page."""
    source[0] = site_links(source[0])


def on_include(app: Any, path: Path, parent: str, source: list[str]) -> None:
    """Mend the links of a page that another one includes."""
    source[0] = site_links(source[0])


def on_docstring(
    app: Any, kind: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Give the references of each docstring names of their own on the page."""
    label = re.sub(r"\W", "-", name.removeprefix("metricops."))
    for index, line in enumerate(lines):
        line = re.sub(r"\[(\d+)\]_", rf"[#{label}-\1]_", line)
        lines[index] = re.sub(r"^(\s*)\.\. \[(\d+)\]", rf"\1.. [#{label}-\2]", line)


def setup(app: Any) -> None:
    """Write the pages of the reference, and mend what the site reads."""
    _reference.write(FOLDER / "reference")
    app.connect("source-read", on_source)
    app.connect("include-read", on_include)
    app.connect("autodoc-process-docstring", on_docstring, priority=400)
