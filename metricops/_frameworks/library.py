"""What every array library can do, and the hooks that a framework overrides."""

from collections.abc import Callable
from typing import Any

from metricops._frameworks.distances import Distances
from metricops._frameworks.loops import Loops
from metricops._frameworks.operations import Arrays, Operation
from metricops._typing import Array, Namespace


class Library(Distances):
    """An array library that the array API standard and plain Python describe in full.

    NumPy, CuPy and array-api-strict are such; the subclasses are the others. It knows
    facts about arrays (`Facts`) and a few operations (`Primitives`, `Distances`);
    `loops` are its loops over panels.
    """

    looping: type[Loops] = Loops

    def __init__(self, xp: Namespace, label: str) -> None:
        super().__init__(xp, label)
        self.loops = self.looping(xp)

    def differentiable(
        self, operation: Operation, config: Any, arrays: Arrays, constants: Arrays
    ) -> Array:
        """Return the value of `operation`, with its gradient if there is autodiff."""
        return operation.value(self, config, arrays, constants)

    def constant(self, function: Callable[..., Any], config: Any, *arrays: Any) -> Any:
        """Return ``function(self, config, *arrays)``, a constant to autodiff.

        `function`, `config` and `arrays` are as `compiled` takes them.
        """
        return function(self, config, *arrays)

    def compiled(self, function: Callable[..., Any], config: Any, *arrays: Any) -> Any:
        """Return ``function(self, config, *arrays)``, compiled if the library compiles.

        `function` and `config` are the same, by ``==`` and by hash, in calls that do
        the same. Of `arrays` each is an array, None, or a tuple of both.
        """
        return function(self, config, *arrays)
