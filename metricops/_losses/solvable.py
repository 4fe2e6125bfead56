"""What `value_and_grad` knows of a loss: what its arguments become, and what solves it.

A loss enters by `differentiated`, with a function of the same arguments that says what
is to be solved. A loss of embeddings is an operation of the engine; one of numbers that
are given already is a `Formula`.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from metricops._arguments.arrays import Inputs
from metricops._arguments.weights import reduce_losses, slopes_of_reduced
from metricops._frameworks import Arrays, Library
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


def solve_formula(
    lib: Library,
    static: tuple[Formula, tuple[bool, ...]],
    arrays: Arrays,
    constants: Arrays,
) -> tuple[Array, Arrays]:
    """Return the value and gradients of a formula; the last array are its weights."""
    formula, wanted = static
    *main, weights = arrays
    losses, counted = formula.losses(lib, *main)
    loss = reduce_losses(lib, losses, weights, formula.reduction, counted)
    how = lib, formula.reduction, losses, weights, counted
    upstream, of_weights = slopes_of_reduced(*how)
    found = *formula.slopes(lib, upstream, *main), of_weights
    return loss, tuple(x for x, there in zip(found, wanted, strict=True) if there)
