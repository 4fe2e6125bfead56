"""What the modules of the N-pairs loss of embeddings share, whatever the framework."""

import inspect
import math
from typing import Any

import metricops
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
"""The attributes of a module that are options of the function."""

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


def embedding_loss(module: Any, group: Group | None, *arrays: Any, **given: Any) -> Any:
    """Return the loss with the options of `module`, of the batch of `group` if any."""
    options = options_of(module, OPTIONS)
    loss = metricops.npairs_loss_from_embeddings
    return loss_of(loss, group, *arrays, **given, **options)


def sigmoid_loss(module: Any, group: Group | None, *arrays: Any, **given: Any) -> Any:
    """Return the sigmoid loss with the options of `module`, as `embedding_loss`."""
    options = options_of(module, SIGMOID_OPTIONS)
    loss = metricops.sigmoid_loss_from_embeddings
    return loss_of(loss, group, *arrays, **given, **options)


def labelled_loss(module: Any, group: Group | None, *arrays: Any, **given: Any) -> Any:
    """Return the loss that `module` names, with its options, as `embedding_loss`."""
    options = options_of(module, module._shown)
    return loss_of(module._function, group, *arrays, **given, **options)


def loss_of(loss: Any, group: Group | None, *arrays: Any, **given: Any) -> Any:
    """Return a loss of anchors and candidates, of the batch of `group` if any."""
    if group is None:
        return loss(*arrays, **given)
    return loss_of_group(group, loss, *arrays, **given)


def options_of(module: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the attributes of a module that are options of its function."""
    return {name: getattr(module, name) for name in names}


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
