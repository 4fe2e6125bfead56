"""What the modules share, whatever the framework: options, and what is refused of them.

Options are refused when a module is made, in the words of a call.
"""

import inspect
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

import metricops
from metricops import _checks
from metricops._arguments.options import check_positive
from metricops._losses.solvable import SIGNATURES
from metricops._sharded import Group, loss_of_group

MAX_LOG_SCALE = math.log(100)
"""The largest log of an inverse temperature, as in CLIP."""

OPTIONS = (
    "normalize",
    "symmetric",
    "exclude_diagonal",
    "l2_weight",
    "label_smoothing",
    "denominator",
    "reduction",
    "block_size",
)
"""The attributes of a module of the N-pairs loss that are options of the function."""

SIGMOID_OPTIONS = ("normalize", "exclude_diagonal", "reduction", "block_size")
"""The same of the sigmoid loss."""

_AXES = 16  # more than any batch has
_MATRICES = ("anchors", "embeddings", "first", "proxies", "second", "similarity")
_VECTORS = ("distances", "labels", "same", "scores", "similarities")
# A batch without samples, for each argument that is not an option.
_EMPTY: Mapping[str, Any] = {
    **dict.fromkeys(_MATRICES, np.empty((0, 0))),
    **dict.fromkeys(_VECTORS, np.empty((0,))),
    **dict.fromkeys(("y_true", "y_pred"), np.empty((0,) * _AXES)),
}


def log_scale(temperature: float) -> float:
    """Return the log of the inverse temperature, at most `MAX_LOG_SCALE`.

    Raises
    ------
    TypeError
        If `temperature` is no number.
    ValueError
        If it is not positive and finite.
    """
    return min(-math.log(check_positive("temperature", temperature)), MAX_LOG_SCALE)


def module_loss(module: Any, group: Group | None, *arrays: Any, **given: Any) -> Any:
    """Return the loss of a module, of the batch of `group` if there is one.

    A module has its loss as `_function`, and the names of its options as `_shown`.
    """
    given |= {name: getattr(module, name) for name in module._shown}
    if group is None:
        return module._function(*arrays, **given)
    return loss_of_group(group, module._function, *arrays, **given)


def option_names(loss: Any) -> tuple[str, ...]:
    """Return the names of the options of a loss: what it takes by name alone.

    Those are left out that go with the arrays of a call.
    """
    beside = "candidate_labels", "sample_weight"
    found = inspect.signature(loss).parameters.values()
    names = (x.name for x in found if x.kind is x.KEYWORD_ONLY)
    return tuple(name for name in names if name not in beside)


def check_options(loss: Any, **options: Any) -> None:
    """Raise what any call of a loss of metricops raises for these options.

    They are tried on a batch without samples. Arrays of other libraries than NumPy are
    left to the call.
    """
    signature = SIGNATURES[loss]
    batch = {name: x for name, x in _EMPTY.items() if name in signature.names}
    if loss is metricops.npairs_multilabel_loss:
        batch["labels"] = batch["similarity"]
    known = {name: x for name, x in options.items() if not _is_foreign(x)}
    signature.solvable(**{**signature.defaults, **batch, **known})


def check_module(module: Any, **options: Any) -> None:
    """Raise what any call of a module raises for its options, and for these too.

    A module has its loss as `_function`, and the names of its options as `_shown`.
    """
    own = {name: getattr(module, name) for name in module._shown}
    check_options(module._function, **own, **options)


def check_dot(axes: Any, normalize: Any) -> None:
    """Raise what any call of `metricops.dot` raises for these options."""
    batch = np.empty((0,) * _AXES)
    metricops.dot(batch, batch, axes=axes, normalize=normalize)


def shape_of_proxies(num_classes: Any, embedding_size: Any) -> tuple[int, int]:
    """Return the shape of so many proxies of such a size, or raise."""
    return (
        _checks.check_positive_int("num_classes", num_classes),
        _checks.check_positive_int("embedding_size", embedding_size),
    )


def _is_foreign(x: Any) -> bool:
    """Return whether an option is an array of another library than NumPy."""
    return hasattr(x, "shape") and not isinstance(x, (np.ndarray, np.generic))


def check_memory(memory_size: int, batch: int) -> None:
    """Raise unless a memory holds a batch."""
    if memory_size < batch:
        msg = (
            f"`memory_size` must be at least the size of a batch, {batch}; "
            f"got {memory_size}."
        )
        raise ValueError(msg)


def check_memory_options(loss: Any, memory_size: Any, warmup_steps: Any) -> None:
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
