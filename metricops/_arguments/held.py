"""Labels that outlive a call, or leave it: in a memory, a tensor or other processes."""

from typing import Any

from metricops import _checks
from metricops._arguments.arrays import main_arrays
from metricops._arguments.labels import column, is_held, label_arrays
from metricops._frameworks import Library, library, unwrap
from metricops._frameworks.host import is_numpy, is_plain, labels_from_plain
from metricops._typing import Array


def check_held(name: str, labels: Any, like: Array, where: str) -> None:
    """Raise if labels would become codes, which mean something in one call alone.

    `like` is an array of the library that is to hold them, `where` is part of a
    sentence.
    """
    lib, labels = library(name, like), unwrap(labels)
    if is_plain(labels):
        labels = labels_from_plain(name, labels)
    if is_numpy(labels) and not (lib.traces_numpy() or is_held(lib, like, labels)):
        need = f"of numbers that {lib.label} holds {where}"
        _checks.refuse_dtype(name, need, str(labels.dtype))


def labels_to_hold(held: tuple[Any, Any], embeddings: Any, labels: Any) -> Array:
    """Return the labels of a batch as an array, of shape (n,) unless multi-hot.

    `held` are the embeddings and the labels in the memory, which a batch has to fit.
    """
    lib, own = main_arrays(embeddings=embeddings).library, library("memory", held[0])
    if lib is not own:
        got = f"an array of {lib.label}"
        _checks.refuse_library("embeddings", "memory", own.label, got)
    check_held("labels", labels, embeddings, "where a memory holds them")
    found = label_arrays(lib, "embeddings", embeddings, labels=labels)["labels"]
    if found.ndim not in (1, 2):
        need = "shape (n,), (n, 1) or (n, c)"
        _checks.refuse_shape("labels", need, tuple(found.shape))
    if len(found) != len(embeddings):
        need = f"a label for each of {len(embeddings)} anchors"
        _checks.refuse_shape("labels", need, tuple(found.shape))
    if found.ndim == 2 and found.shape[1] == 1:
        found = column(lib, "labels", found)
    if len(held[1]):
        _check_rows("embeddings", embeddings, held[0])
        _check_rows("labels", found, held[1])
        _check_kind(lib, found, held[1])
    return found


def _check_rows(name: str, x: Any, held: Any) -> None:
    """Raise unless rows have the shape of those in the memory."""
    if x.shape[1:] != held.shape[1:]:
        sizes = f"(n, {held.shape[1]})" if held.ndim == 2 else "(n,)"
        need = f"shape {sizes}, as those in the memory"
        _checks.refuse_shape(name, need, tuple(x.shape))


def _check_kind(lib: Library, labels: Any, held: Any) -> None:
    """Raise unless labels keep their numbers beside those in the memory."""
    new, old = kinds = [lib.dtype(x) for x in (labels, held)]
    if any(x.kind == "bool" for x in kinds):
        return
    # Every library has a signed integer for short unsigned ones.
    long = [x for x in kinds if not x.signed and x.bits >= 32]
    if new.kind != old.kind or (long and new.signed != old.signed):
        word = "floats" if old.kind == "float" else f"dtype {old.name}"
        need = f"of {word}, as those in the memory"
        _checks.refuse_dtype("labels", need, new.name)
