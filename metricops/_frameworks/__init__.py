"""The one place that knows the frameworks.

`library(name, x)` returns the `Library` of an array: its array API namespace, and
methods for what the standard leaves open. A framework is imported when the first of its
arrays is met, so `import metricops` imports none.
"""

import importlib
import sys
from typing import Any

import array_api_compat
import numpy as np

from metricops._checks import refuse_kind, refuse_version
from metricops._frameworks.dtypes import Dtype
from metricops._frameworks.host import refuse_subclass
from metricops._frameworks.library import Library
from metricops._frameworks.loops import Meetings, Step
from metricops._frameworks.operations import (
    Arrays,
    Operation,
    Search,
    is_given,
    placed,
    register,
    register_search,
    spread,
)
from metricops._typing import Array

__all__ = [
    "Arrays",
    "Dtype",
    "Library",
    "Meetings",
    "Operation",
    "Search",
    "Step",
    "is_given",
    "known_library",
    "library",
    "placed",
    "register",
    "register_search",
    "spread",
    "unwrap",
]

_BY_TYPE: dict[type, Library] = {}
_BY_NAMESPACE: dict[str, Library] = {}
_LABELS = {"cupy": "CuPy", "array_api_strict": "array-api-strict"}
_VERSION = "2024.12"  # the oldest of the standard that has all that the kernels use


def library(name: str, x: Array) -> Library:
    """Return the library of the array `x`, the argument called `name`.

    Raises
    ------
    TypeError
        If `x` is no dense array of a library that array-api-compat knows.
    """
    found = _BY_TYPE.get(type(x))
    return _resolve(name, x) if found is None else found


def known_library(first: Array, *others: Array) -> Library | None:
    """Return the library of arrays all of one library met before, or else None."""
    found = _BY_TYPE.get(type(first))
    for x in others:
        if _BY_TYPE.get(type(x)) is not found:
            return None
    return found


def unwrap(x: Array) -> Array:
    """Return the array that a Keras or Flax variable holds, and anything else as is."""
    if type(x) in _BY_TYPE or isinstance(x, (list, tuple, np.ndarray, np.generic)):
        return x
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        return x
    keras, nnx = sys.modules.get("keras"), sys.modules.get("flax.nnx")
    if keras is not None and isinstance(x, keras.Variable):
        return x.value
    if nnx is not None and isinstance(x, nnx.Variable):
        return x[...]
    return x


def _resolve(name: str, x: Array) -> Library:
    # PyTorch goes first, by isinstance: it is the only branch that Dynamo can trace.
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        from metricops._frameworks.torch.library import TORCH

        found: Library = TORCH
    elif _is_tensorflow(x):
        from metricops._frameworks.tensorflow.library import TENSORFLOW

        found = TENSORFLOW
    else:
        return _standard(name, x)
    _BY_TYPE[type(x)] = found
    return found


def _standard(name: str, x: Array) -> Library:
    refuse_subclass(name, x)
    try:
        xp = array_api_compat.array_namespace(x)
    except TypeError:
        refuse_kind(name, _foreign(x))
    found = _BY_NAMESPACE.get(xp.__name__)
    if found is None:
        found = _make(xp)
        version = getattr(xp, "__array_api_version__", "")
        if version < _VERSION:
            refuse_version(name, _VERSION, found.label, version or "none")
        _BY_NAMESPACE[xp.__name__] = found
    # A float0 array is a NumPy array by its type, but belongs to JAX.
    if getattr(x.dtype, "kind", "") != "V":
        _BY_TYPE[type(x)] = found
    return found


def _make(xp: Any) -> Library:
    name = xp.__name__.removeprefix("array_api_compat.").partition(".")[0]
    if name == "numpy":
        from metricops._frameworks.numpy import NUMPY

        return NUMPY
    if name == "jax":
        from metricops._frameworks.jax.library import JAX

        return JAX
    if name == "dask":
        from metricops._frameworks.dask import Dask

        return Dask(xp, "Dask")
    return Library(xp, _LABELS.get(name, name))


def _is_tensorflow(x: Any) -> bool:
    """Return whether `x` is a dense tensor or a variable of TensorFlow.

    Whoever has one has imported TensorFlow.
    """
    tf = sys.modules.get("tensorflow")
    return tf is not None and isinstance(x, (tf.Tensor, tf.Variable))


def _foreign(x: Any) -> str:
    """Return a word for something that is no dense array."""
    module, name = type(x).__module__.partition(".")[0], type(x).__name__
    if module == "scipy":
        return "sparse matrix"
    return "sparse array" if module == "jax" and name in ("BCOO", "BCSR") else name


# A saved program of PyTorch may be loaded before any tensor has been met, and needs our
# operators. Where PyTorch is imported later, it calls `metricops_torch_autoload`.
if sys.modules.get("torch") is not None:
    importlib.import_module("metricops._frameworks.torch.opaque")
