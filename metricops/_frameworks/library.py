"""An array library: what the kernels ask of it."""

from collections.abc import Callable
from typing import Any

from metricops._frameworks.distances import Distances
from metricops._frameworks.loops import Loops
from metricops._frameworks.operations import Arrays, Operation, Search
from metricops._typing import Array, Namespace


class Library(Distances):
    """An array library that follows the array API standard, such as CuPy.

    It has facts about arrays (`Facts`), a few operations (`Primitives`, `Distances`)
    and, as `loops`, its loops over panels. Subclasses are the libraries that know a
    better way for some of these, or have autodiff or a compiler.
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

    def found(
        self, search: Search, config: Any, queries: Array, keys: Array
    ) -> tuple[Array, Array]:
        """Return the scores and the indices of the best keys of each query."""
        return search.found(self, config, queries, keys)

    def derived(
        self, value: Array, function: Callable[..., Array], arrays: Arrays
    ) -> Array:
        """Return `value`, which is ``function(self, *arrays)`` without derivatives."""
        return value

    def constant(self, function: Callable[..., Any], config: Any, *arrays: Any) -> Any:
        """Return ``function(self, config, *arrays)``, a constant to autodiff.

        `function`, `config` and `arrays` are as `compiled` takes them.
        """
        return function(self, config, *arrays)

    def quietly(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return ``function(self, *arguments)``; infinities may become NaN in it."""
        return function(self, *arguments)

    def compiled(self, function: Callable[..., Any], config: Any, *arrays: Any) -> Any:
        """Return ``function(self, config, *arrays)``, compiled if the library compiles.

        `function` and `config` must compare and hash equal in calls that do the same,
        as they are the key of the compiled program. Each of `arrays` is an array, None,
        or a tuple of these.
        """
        return function(self, config, *arrays)
