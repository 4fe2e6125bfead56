"""What modules refuse when they are made, in the words of a call."""

from collections.abc import Mapping
from typing import Any

import numpy as np

import metricops
from metricops import _checks
from metricops._losses.solvable import SIGNATURES

_AXES = 16  # more than any batch has
_MATRICES = ("anchors", "embeddings", "first", "proxies", "second", "similarity")
_VECTORS = ("distances", "labels", "same", "scores", "similarities")
# A batch without samples, for each argument that is not an option.
_EMPTY: Mapping[str, Any] = {
    **dict.fromkeys(_MATRICES, np.empty((0, 0))),
    **dict.fromkeys(_VECTORS, np.empty((0,))),
    **dict.fromkeys(("y_true", "y_pred"), np.empty((0,) * _AXES)),
}


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
