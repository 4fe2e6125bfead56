"""Operators that are one node of a graph: for tensors, their shapes, and batches.

Searches are one, in `torch.compile` and `torch.export`.
"""

from typing import Any

import torch

from metricops._frameworks import programs
from metricops._frameworks.library import Library
from metricops._frameworks.loops import Whole
from metricops._frameworks.operands import HALVES
from metricops._frameworks.operations import Search, search_called
from metricops._frameworks.primitives import CrossEntropy
from metricops._frameworks.torch.halves import HalfProducts
from metricops._frameworks.torch.library import TORCH, Torch
from metricops._frameworks.torch.namespace import NAMESPACE
from metricops._typing import Array

_CONFIG = "str operation, str config, float[] numbers, SymInt[] sizes"


class _Once(Whole):
    """Loops of one run, which has the shapes of all."""

    def runs(self, counts: Array, most: int) -> int:
        """Return 1: the numbers of a graph are not known."""
        return 1


class OnePanel(Torch):
    """PyTorch tensors of a graph, whose sizes may be symbols: all in one panel."""

    looping = _Once

    def multiplying(self, half: str) -> Library:
        """Return the library that knows what comes of products of halves."""
        return _HALVES[half] if half else self

    def cross_entropy(self, scores: Array) -> CrossEntropy:
        """Return nothing: PyTorch 2.13 has that of a symbolic square be a scalar."""
        return CrossEntropy()

    def block(
        self, anchors: Array, candidates: Array, *, paired: bool = False
    ) -> int | None:
        """Return None: as many rows as there are."""
        return None

    def several(self, x: Array, block: int | None) -> bool:
        """Return False: all rows are one panel."""
        return False


class _Halves(HalfProducts, OnePanel):
    """The same, where only shapes and dtypes are asked for."""

    def _widens(self, x: Array) -> bool:
        return True


_HALVES = {half: _Halves(half) for half in HALVES}
ONE_PANEL = OnePanel(NAMESPACE, "PyTorch")


def operator(name: str, rest: str, result: str, kernel: Any) -> Any:
    """Return the operator whose kernel is ``kernel(library)``."""
    schema = f"({_CONFIG}, {rest}) -> {result}"
    operator = torch.library.custom_op(
        f"metricops::{name}", kernel(TORCH), mutates_args=(), schema=schema
    )
    operator.register_fake(kernel(ONE_PANEL))
    return operator


def batched(operator: Any) -> Any:
    """Return how `torch.func.vmap` batches an operator: one call for each."""

    def rule(info: Any, in_dims: Any, *arguments: Any) -> Any:
        rows = [
            operator(*_row(list(arguments), list(in_dims), i))
            for i in range(info.batch_size)
        ]
        stacked = [torch.stack(column) for column in zip(*rows, strict=True)]
        return stacked, [0] * len(stacked)

    return rule


def _row(x: Any, dim: Any, i: int) -> Any:
    if isinstance(dim, (list, tuple)):
        return [_row(part, own, i) for part, own in zip(x, dim, strict=True)]
    return x if dim is None else x.select(dim, i)


def searched(
    search: Search, config: Any, queries: Array, keys: Array
) -> tuple[Array, Array]:
    """Return what a search finds, as one node of a graph."""
    scores, indices = _SEARCH(search.name, *programs.encode(config), queries, keys)
    return scores, indices


def _search(library: Torch) -> Any:
    """Return the kernel of the operator ``metricops::search``."""

    def kernel(
        name: str, text: str, numbers: Any, sizes: Any, queries: Array, keys: Array
    ) -> list[Array]:
        search = search_called(name)
        config = programs.decode(search, programs.Encoded(text, numbers, sizes))
        way = search.outline if library is ONE_PANEL else search.found
        return list(way(library, config, queries, keys))

    return kernel


_SEARCH = operator("search", "Tensor queries, Tensor keys", "Tensor[]", _search)
_SEARCH.register_vmap(batched(_SEARCH))
