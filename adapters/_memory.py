"""What a memory of batches takes, whatever the framework."""

import inspect
from typing import Any

from metricops import _checks
from metricops._arguments.arrays import main_arrays
from metricops._arguments.labels import check_held, column, label_arrays
from metricops._frameworks import Library, library

from ._embedding_loss import check_memory


def check_options(loss: Any, memory_size: Any, warmup_steps: Any) -> None:
    """Raise unless a memory of such a loss, size and number of calls can be made."""
    if not _takes_candidates(loss):
        got = getattr(loss, "__name__", type(loss).__name__)
        need = "a loss module that takes `candidate_labels`"
        msg = f"`loss` must be {need}; got {got}."
        raise TypeError(msg)
    _checks.check_positive_int("memory_size", memory_size)
    if _checks.check_int("warmup_steps", warmup_steps) < 0:
        _checks.refuse_value("warmup_steps", "at least 0", warmup_steps)


def _takes_candidates(loss: Any) -> bool:
    """Return whether a loss takes the labels of candidates, and can leave out itself.

    A module that `torch.compile` has wrapped takes anything.
    """
    call = getattr(loss, "forward", loss)
    if isinstance(loss, type) or not hasattr(loss, "exclude_diagonal"):
        return False
    found = inspect.signature(call).parameters.values()
    return any(x.name == "candidate_labels" or x.kind is x.VAR_KEYWORD for x in found)


def labels_to_hold(
    held: tuple[Any, Any], embeddings: Any, labels: Any, memory_size: int
) -> Any:
    """Return the labels of a batch as an array, of shape (n,) unless multi-hot.

    `held` are the embeddings and the labels in the memory, which a batch has to fit.
    """
    lib, own = main_arrays(embeddings=embeddings).library, library("memory", held[0])
    if lib is not own:
        got = f"an array of {lib.label}"
        _checks.refuse_library("embeddings", "memory", own.label, got)
    check_memory(memory_size, len(embeddings))
    check_held(lib, embeddings, "labels", labels, "where a memory holds them")
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
    kinds = [lib.dtype(x) for x in (labels, held)]
    if any(x.kind == "bool" for x in kinds):
        return
    new, old = kinds
    if (new.kind, new.signed) != (old.kind, old.signed):
        word = "floats" if old.kind == "float" else "integers"
        word = word if old.signed else f"unsigned {word}"
        need = f"of {word}, as those in the memory"
        _checks.refuse_dtype("labels", need, new.name)
