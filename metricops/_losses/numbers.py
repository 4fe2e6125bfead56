"""Operations whose value is a number, which save their gradients."""

from collections.abc import Callable
from typing import Any, NamedTuple

from metricops._frameworks import Arrays, Library, Operation, placed, register
from metricops._losses.solvable import Solvable
from metricops._typing import Array


class Solved(NamedTuple):
    """A loss, and its gradients by each of its arrays."""

    loss: Array
    gradients: Arrays = ()  # empty where they were not asked for; None for no array


Solve = Callable[..., Solved]
"""``solve(lib, config, arrays, constants, slopes)``; `slopes`: gradients or none."""


class Number(NamedTuple):
    """A loss that is a number, as frameworks and as `value_and_grad` take it."""

    operation: Operation
    solve: Callable[..., tuple[Array, Arrays]]

    def loss_of(self, call: Solvable) -> Array:
        """Return the loss, differentiable by the framework of its arrays."""
        run = call.inputs.library.differentiable
        loss = run(self.operation, call.config, call.arrays, call.constants)
        return call.inputs.narrow(loss)


def number(name: str, config: type, solve: Solve) -> Number:
    """Return the loss that a function solves, by its name in exported programs."""

    def value(lib: Library, config: Any, arrays: Arrays, constants: Arrays) -> Array:
        return solve(lib, config, arrays, constants, False).loss

    def value_and_saved(
        lib: Library,
        config: Any,
        arrays: Arrays,
        constants: Arrays,
        wanted: tuple[bool, ...],
    ) -> tuple[Array, Arrays]:
        found = solve(lib, config, arrays, constants, True)
        pairs = zip(found.gradients, wanted, strict=True)
        return found.loss, tuple(x for x, there in pairs if there)

    def value_and_gradients(
        lib: Library, static: Any, arrays: Arrays, constants: Arrays
    ) -> tuple[Array, Arrays]:
        config, wanted = static
        return value_and_saved(lib, config, arrays, constants, wanted)

    parts = value, value_and_saved, _backward, _is_small, _saves_gradients
    return Number(register(Operation(name, config, *parts)), value_and_gradients)


def _backward(
    lib: Library,
    config: Any,
    arrays: Arrays,
    constants: Arrays,
    saved: Arrays,
    upstream: Array,
    wanted: tuple[bool, ...],
) -> Arrays:
    """Return the gradients of ``upstream * value``."""
    return placed(wanted, tuple(x * upstream for x in saved))


def _is_small(lib: Library, config: Any, arrays: Arrays) -> bool:
    """Return False: the gradients cost about as little as the value."""
    return False


def _saves_gradients(config: Any) -> bool:
    return True
