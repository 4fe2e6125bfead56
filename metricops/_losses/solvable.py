"""What `value_and_grad` knows of a loss: what its arguments become, and what solves it.

A loss enters by `differentiated`, with a function of the same arguments that says what
is to be solved. A loss of embeddings is an operation of the engine; one of numbers that
are given already is a `Formula`; one that is a single number, of all rows together, is
a `Number`, an operation that saves its gradients.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from metricops._arguments.arrays import Inputs
from metricops._arguments.weights import reduce_losses, slopes_of_reduced
from metricops._frameworks import Arrays, Library, Operation, placed, register
from metricops._typing import Array

Loss = TypeVar("Loss", bound=Callable[..., Any])


class Solvable(NamedTuple):
    """A call of a loss, and what solves it."""

    inputs: Inputs
    solve: Callable[..., tuple[Array, Arrays]]
    """``solve(lib, (config, wanted), arrays, constants)``.

    The value, and the gradients of those of `arrays` of which `wanted` says so.
    """
    config: Any
    arrays: Arrays
    constants: Arrays
    names: tuple[str, ...]  # of the argument that each of `arrays` is


class Signature(NamedTuple):
    """The arguments of a loss, and how a call of it is made."""

    loss: Callable[..., Any]
    names: frozenset[str]  # of all arguments
    positional: tuple[str, ...]
    defaults: dict[str, Any]
    solvable: Callable[..., Solvable]


SIGNATURES: dict[Any, Signature] = {}


def differentiated(solvable: Callable[..., Solvable]) -> Callable[[Loss], Loss]:
    """Return what enters a loss in the table of `value_and_grad`, and returns it.

    `solvable` takes all arguments of the loss by their names.
    """

    def enter(loss: Loss) -> Loss:
        found = [*inspect.signature(loss).parameters.values()]
        positional = tuple(x.name for x in found if x.kind is not x.KEYWORD_ONLY)
        defaults = {x.name: x.default for x in found if x.default is not x.empty}
        names = frozenset(x.name for x in found)
        SIGNATURES[loss] = Signature(loss, names, positional, defaults, solvable)
        return loss

    return enter


@dataclass(frozen=True)
class Formula:
    """The losses of arrays, and their slopes; its fields are words and numbers."""

    reduction: str

    def losses(self, lib: Library, *arrays: Array) -> tuple[Array, Array | None]:
        """Return the losses, and which of them count; None: all."""
        raise NotImplementedError

    def slopes(self, lib: Library, upstream: Array, *arrays: Array) -> Arrays:
        """Return the gradients of ``sum(upstream * losses)`` by each of the arrays."""
        raise NotImplementedError


def loss_of_formula(call: Solvable) -> Array:
    """Return the loss of a call of a formula; the last array are its weights."""
    lib, formula, (*main, weights) = call.inputs.library, call.config, call.arrays
    losses, counted = formula.losses(lib, *main)
    reduced = reduce_losses(lib, losses, weights, formula.reduction, counted)
    return call.inputs.narrow(reduced)


def solve_formula(
    lib: Library,
    static: tuple[Formula, tuple[bool, ...]],
    arrays: Arrays,
    constants: Arrays,
) -> tuple[Array, Arrays]:
    """Return the value of a formula, and its gradients that are wanted."""
    formula, wanted = static
    *main, weights = arrays
    losses, counted = formula.losses(lib, *main)
    loss = reduce_losses(lib, losses, weights, formula.reduction, counted)
    how = lib, formula.reduction, losses, weights, counted
    upstream, of_weights = slopes_of_reduced(*how)
    found = *formula.slopes(lib, upstream, *main), of_weights
    return loss, tuple(x for x, there in zip(found, wanted, strict=True) if there)


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

    # The gradients cost about as little as the value, so autodiff is never cheaper.
    parts = name, config, value, value_and_saved, _backward
    operation = Operation(*parts, saves_gradients=_saves_gradients)
    return Number(register(operation), value_and_gradients)


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


def _saves_gradients(config: Any) -> bool:
    return True
