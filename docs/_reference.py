"""Writes the pages of the API reference: every public name, grouped by task."""

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import metricops

ADAPTERS = {
    "torch": "PyTorch modules",
    "flax": "Flax NNX modules",
    "linen": "Flax linen modules",
    "keras": "Keras losses, layers and metrics",
    "distances": "Distance objects",
}
# Of the modules of adapters that need no framework: what they are for.
ALONE = {
    "distances": (
        "In ``metricops.adapters.distances``: the distance objects of TensorFlow "
        "Similarity, with their names, aliases and configs, for arrays of any library "
        "and without TensorFlow or Keras."
    )
}
GROUPS: dict[str, tuple[str, str, Callable[[str], bool]]] = {
    "losses-of-embeddings": (
        "Losses of embeddings",
        (
            "They never hold the matrix of similarities: panels of anchors pass over "
            "all candidates, forward and backward. :doc:`../choosing` says which fits "
            "your data."
        ),
        lambda name: name.endswith("_loss_from_embeddings"),
    ),
    "other-losses": (
        "Other losses",
        "Of similarities, distances or scores that you have, and of two views.",
        lambda name: name.endswith("_loss") or name == "softmax_cross_entropy",
    ),
    "gradients": (
        "Gradients without autodiff",
        "How to train from NumPy, Dask or CuPy, and elsewhere without recording.",
        lambda name: name.endswith("_and_grad"),
    ),
    "similarities": (
        "Similarities and distances",
        "Of vectors, and of all pairs of rows.",
        lambda name: (
            name.startswith("pairwise_")
            or name in ("cosine_similarity", "dot", "l2_normalize")
        ),
    ),
    "search": (
        "Search and its quality",
        (
            "The nearest neighbours of queries among keys, exactly, in panels; and how "
            "good a search is."
        ),
        lambda name: (
            name.endswith("_at_k")
            or name in ("nearest_neighbors", "mean_average_precision")
            or name == "mean_reciprocal_rank"
        ),
    ),
}


def functions() -> list[str]:
    """Return the names of the public functions."""
    return [name for name, _ in inspect.getmembers(metricops, inspect.isfunction)]


def groups() -> dict[str, list[str]]:
    """Return the public functions of each page."""
    return {
        page: [name for name in functions() if belongs(name)]
        for page, (_, _, belongs) in GROUPS.items()
    }


def adapter_names(adapter: Any) -> list[str]:
    """Return the public classes and functions of a module of adapters."""
    found = {
        name: value
        for name, value in vars(adapter).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__.startswith("metricops.adapters")
    }
    return sorted(found, key=str.lower)


def heading(title: str, under: str) -> str:
    """Return a title as reStructuredText has it."""
    return f"{title}\n{under * len(title)}\n"


def function_page(name: str) -> str:
    """Return the page of a group of functions."""
    title, words, _ = GROUPS[name]
    parts = [heading(title, "="), words, ""]
    for member in groups()[name]:
        parts += [heading(member, "-"), f".. autofunction:: metricops.{member}", ""]
    return "\n".join(parts)


def adapter_page(name: str, title: str) -> str:
    """Return the page of a module of adapters."""
    module = importlib.import_module(f"metricops.adapters.{name}")
    words = f"In ``metricops.adapters.{name}``, which needs the framework installed."
    words = ALONE.get(name, words)
    parts = [heading(title, "="), words, ""]
    for member in adapter_names(module):
        kind = "class" if inspect.isclass(getattr(module, member)) else "function"
        path = f"metricops.adapters.{name}.{member}"
        parts += [heading(member, "-"), f".. auto{kind}:: {path}", ""]
    return "\n".join(parts)


def index(names: list[str]) -> str:
    """Return the page that lists the others."""
    words = (
        "Every public name, by task. Shapes and dtypes stand with each argument, and "
        "every example runs."
    )
    listed = "\n".join(f"   {name}" for name in names)
    tree = f".. toctree::\n   :maxdepth: 1\n\n{listed}\n"
    return "\n".join([heading("Reference", "="), words, "", tree])


def pages() -> dict[str, str]:
    """Return the text of every page by its file's name."""
    found = {name: function_page(name) for name in GROUPS}
    found |= {name: adapter_page(name, title) for name, title in ADAPTERS.items()}
    found["index"] = index(list(found))
    return {f"{name}.rst": text for name, text in found.items()}


def write(folder: Path) -> None:
    """Write the pages, those alone that changed, so that others are not built anew."""
    folder.mkdir(exist_ok=True)
    for name, text in pages().items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
