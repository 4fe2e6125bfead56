"""PyTorch: custom gradients, autocast, and what Dynamo can trace."""

from collections.abc import Callable
from typing import Any

import torch

from metricops._checks import refuse_kind
from metricops._frameworks.dtypes import LONG_DOUBLES, describe
from metricops._frameworks.library import Library
from metricops._frameworks.loops import Loops
from metricops._frameworks.operands import HALVES as WORDS
from metricops._frameworks.operations import Arrays, Operation, Search
from metricops._frameworks.torch import distances, private, products, selection
from metricops._frameworks.torch.gradients import Call, call_of, run, wanted_of
from metricops._frameworks.torch.halves import HalfProducts
from metricops._frameworks.torch.loops import InPlace
from metricops._frameworks.torch.namespace import NAMESPACE
from metricops._frameworks.torch.primitives import TorchPrimitives
from metricops._typing import Array, Namespace

_DTYPES = {
    dtype: describe(str(dtype).removeprefix("torch."))
    for dtype in vars(torch).values()
    if isinstance(dtype, torch.dtype)
}


class Torch(TorchPrimitives):
    """PyTorch tensors."""

    looping: type[Loops] = InPlace
    converts = True
    spreads = True
    ring = 512
    has_halves = True

    def __init__(self, xp: Namespace, label: str) -> None:
        super().__init__(xp, label)
        self.dtypes = _DTYPES

    def convert(self, name: str, x: Array) -> Array:
        """Return `x`, or raise for a sparse or nested tensor."""
        if x.is_nested:
            refuse_kind(name, "nested tensor")
        if x.layout is not torch.strided:
            refuse_kind(name, "sparse tensor")
        return x

    def check_whole(self, name: str, x: Array) -> None:
        """Raise for a tensor whose rows are spread over a mesh of devices."""
        if type(x).__name__ == "DTensor":
            refuse_kind(name, "DTensor")

    def default_float(self, like: Array) -> Any:
        """Return the dtype that integers become."""
        return torch.get_default_dtype()

    def narrow_dtype(self, dtype: Any, like: Array) -> Any:
        """Return float32 under autocast, as PyTorch's own losses do."""
        return torch.float32 if products.is_autocast(like) else dtype

    def asarray(self, value: Any, like: Array, dtype: Any = None) -> Array:
        """Return a number or NumPy array as a tensor on the device of `like`."""
        if isinstance(value, (int, float)):  # so nothing is copied to the device
            return torch.full((), value, dtype=dtype, device=like.device)
        if torch.compiler.is_compiling():  # a NumPy array is a traced tensor then
            return torch.as_tensor(value, dtype=dtype, device=like.device)
        # A copy: as_tensor warns of read-only NumPy memory.
        return torch.tensor(value, dtype=dtype, device=like.device)

    def host_dtype(self, name: str, like: Array) -> str:
        """Return the name of the dtype in which a NumPy array becomes a tensor."""
        if name == "bfloat16":  # of another package, which PyTorch does not know
            return "float32"
        name = "float64" if name in LONG_DOUBLES else name
        no_doubles = name == "float64" and like.device.type == "mps"
        return "float32" if no_doubles else name

    def known_rows(self, x: Array) -> int | None:
        """Return the number of rows of `x`, None where an export leaves it open."""
        return x.shape[0] if isinstance(x.shape[0], int) else None

    def block(
        self, anchors: Array, candidates: Array, *, paired: bool = False
    ) -> int | None:
        """Return how many anchors a panel should hold; None: all, of open sizes."""
        rows, columns = anchors.shape[0], candidates.shape[0]
        if not (isinstance(rows, int) and isinstance(columns, int)):
            return None
        if anchors.is_cpu or not products.is_accelerator(anchors.device):
            return super().block(anchors, candidates)
        return self.device_block(products.panel_of(anchors.device), candidates)

    def operands(self, x: Array, y: Array, normalize: bool) -> str:
        """Return the half that two sides are to be multiplied in, "" for none."""
        return "" if x.is_cpu else products.operands(x, y, normalize)

    def multiplying(self, half: str) -> Library:
        """Return the library whose products take their sides in a half."""
        return HALVES[half] if half else self

    def traces_numpy(self) -> bool:
        """Return whether Dynamo makes tensors of NumPy arrays."""
        return torch.compiler.is_compiling()

    def sees_values(self, x: Array) -> bool:
        """Return whether Python code may branch on the values in `x`."""
        return selection.sees_values(x)

    def selects(self, x: Array) -> bool:
        """Return whether Python may look at the numbers in `x`."""
        return self.sees_values(x)

    def rounds_products(self, x: Array) -> bool:
        """Return whether the user allows products of TF32 or bfloat16."""
        return x.dtype == torch.float32 and products.rounds(x.device)

    def found(
        self, search: Search, config: Any, queries: Array, keys: Array
    ) -> tuple[Array, Array]:
        """Return the scores and the indices of the best keys; one node of a graph."""
        constant = not any(wanted_of((queries, keys)))
        if torch.compiler.is_compiling() and constant:
            from metricops._frameworks.torch import opaque

            return opaque.searched(search, config, queries, keys)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not constant):
            lib = self._reusing((queries, keys)) or self
            return search.found(lib, config, queries, keys)

    def derived(
        self, value: Array, function: Callable[..., Array], arrays: Arrays
    ) -> Array:
        """Return `value`, or ``function(self, *arrays)`` where that is recorded."""
        seen = any(wanted_of(arrays)) or private.forward_active()
        if seen or private.transforms_active():
            return function(self, *arrays)
        return value

    def compiled(
        self, function: Callable[..., Any], config: Any, *arrays: Array | None
    ) -> Any:
        """Return ``function(self, config, *arrays)``, recorded only if it must be."""
        given = tuple(x for x in arrays if x is not None)
        one, *_ = given
        if not self.sees_values(one) or any(wanted_of(given)):
            return function(self, config, *arrays)
        with torch.no_grad():  # so that panels are written in place
            return function(self, config, *arrays)

    def recorded(self, x: Array) -> bool:
        """Return whether autograd or a transform may see what is done with `x`."""
        return private.recorded() and (x.requires_grad or not self.sees_values(x))

    def shortcut(self, short: Any, exact: Any, arrays: Arrays) -> tuple[Array, ...]:
        """Return ``exact(lib, *arrays)``, by `short` where nothing is recorded."""
        lib = self._reusing(arrays)
        if lib is None:
            return exact(self, *arrays)
        with torch.no_grad():
            return short(lib, *arrays)

    def _reusing(self, arrays: Arrays) -> "_Reusing | None":
        """Return the library for a loop over panels; None where steps are recorded."""
        looked_at = distances.may_be_looked_at(arrays, private.recorded)
        return _Reusing(self.xp, self.label) if looked_at else None

    def within_one(self, x: Array) -> Array:
        """Return cosines limited to -1 and 1, in place where nothing is recorded."""
        fixed = x.detach()
        if not distances.may_be_looked_at((fixed,), private.recorded):
            return super().within_one(x)
        fixed.clamp_(-1.0, 1.0)
        return x

    def differentiable(
        self, operation: Operation, config: Any, arrays: Arrays, constants: Arrays
    ) -> Array:
        """Return the value of `operation`, with its gradient."""
        # In an export, comparing a size would fix it.
        if not private.exporting() and operation.is_small(self, config, arrays):
            return operation.value(self, config, arrays, constants)
        if torch.compiler.is_compiling():
            from metricops._frameworks.torch import opaque

            way = opaque.compiled
            if private.exporting():
                way = opaque.exported
            return way(operation, config, (arrays, constants))
        recorded = any(wanted_of(arrays))
        if not recorded or private.forward_levels() > 1:
            # PyTorch then differentiates, or batches, the functions that it is made of.
            return operation.value(self, config, arrays, constants)
        call = call_of(Call, self, operation, config, arrays)
        return run(call, (*arrays, *constants))


class _Reusing(distances.Reusing, Torch):
    """The library for one loop over panels."""

    def __init__(self, xp: Any, label: str) -> None:
        super().__init__(xp, label)
        self._last = {}


class Halves(HalfProducts, Torch):
    """PyTorch tensors, whose products take halves."""


TORCH = Torch(NAMESPACE, "PyTorch")
HALVES = {half: Halves(half) for half in WORDS}
