"""A function and its gradient as one record, and the table of all of them."""

from collections.abc import Callable
from typing import Any, NamedTuple

from metricops._typing import Array

Arrays = tuple[Any, ...]  # of arrays, or None where one is not given


class Operation(NamedTuple):
    """A function and its gradient, in array API functions.

    Each of its functions takes the `Library` first, then a `Config`, the differentiable
    arrays and the constant ones. Entries of both may be None.
    """

    name: str  # what an exported program calls it
    config: type  # the record of words and numbers, static, that its functions take
    value: Callable[..., Array]
    """``value(lib, config, arrays, constants)``: the value alone, at the least cost."""
    value_and_saved: Callable[..., tuple[Array, Arrays]]
    """``value_and_saved(lib, config, arrays, constants, wanted)``.

    The value, and arrays that make `backward` cheap, none of them None. `wanted` says
    for each of `arrays` whether its gradient is wanted; False where it is None.
    """
    backward: Callable[..., Arrays]
    """``backward(lib, config, arrays, constants, saved, upstream, wanted)``.

    The gradients of ``sum(upstream * value)``, one for each entry of `arrays`; None
    where it is not wanted.
    """
    is_small: Callable[..., bool]
    """``is_small(lib, config, arrays)``: whether autodiff of `value` is cheaper."""
    saves_gradients: Callable[..., bool]
    """``saves_gradients(config)``: whether the value is a number, shape (), and what
    `value_and_saved` saves are its gradients, one for each array wanted."""


_OPERATIONS: dict[str, Operation] = {}


def register(operation: Operation) -> Operation:
    """Enter `operation` in the table by its name, and return it."""
    _OPERATIONS[operation.name] = operation
    return operation


def operation_called(name: str) -> Operation:
    """Return the operation that a program names, or raise where there is none."""
    found = _OPERATIONS.get(name)
    if found is None:
        known = ", ".join(sorted(_OPERATIONS))
        msg = f"The program names the operation {name!r}; metricops has {known}."
        raise ValueError(msg)
    return found


def is_given(arrays: Arrays) -> tuple[bool, ...]:
    """Return which of `arrays` are not None."""
    return tuple(x is not None for x in arrays)


def placed(wanted: tuple[bool, ...], gradients: tuple[Array, ...]) -> Arrays:
    """Return the gradients at the places that are wanted, and None at the others."""
    rest = iter(gradients)
    return tuple(next(rest) if there else None for there in wanted)


def spread(arrays: Arrays, gradients: tuple[Array, ...]) -> Arrays:
    """Return the gradients, one for each of `arrays` that is not None."""
    return placed(is_given(arrays), gradients)
