"""What the modules of the N-pairs loss of embeddings share, whatever the framework."""

import inspect
import math
from typing import Any

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


def log_scale(temperature: float) -> float:
    """Return the log of the inverse temperature, at most `MAX_LOG_SCALE`.

    Raises
    ------
    ValueError
        If `temperature` is not positive and finite.
    """
    if not 0 < temperature < math.inf:
        msg = f"`temperature` must be positive and finite; got {temperature!r}."
        raise ValueError(msg)
    return min(-math.log(temperature), MAX_LOG_SCALE)


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


def check_memory(memory_size: int, batch: int) -> None:
    """Raise unless a memory holds a batch."""
    if memory_size < batch:
        msg = (
            f"`memory_size` must be at least the size of a batch, {batch}; "
            f"got {memory_size}."
        )
        raise ValueError(msg)
