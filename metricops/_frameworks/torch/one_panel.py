"""PyTorch while a graph is traced: tensors whose sizes may be symbols."""

from metricops._frameworks.library import Library
from metricops._frameworks.loops import Whole
from metricops._frameworks.operands import HALVES
from metricops._frameworks.primitives import CrossEntropy
from metricops._frameworks.torch.halves import HalfProducts
from metricops._frameworks.torch.library import Torch
from metricops._frameworks.torch.namespace import NAMESPACE
from metricops._typing import Array


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

    def block(self, anchors: Array, candidates: Array) -> int | None:
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
