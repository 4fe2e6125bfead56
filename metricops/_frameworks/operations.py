"""Functions that frameworks take as one operation, and the tables of all of them."""

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from metricops._typing import Array

Arrays = tuple[Any, ...]  # of arrays, or None where one is not given


def never(*_: Any) -> bool:
    """Return False, whatever the call."""
    return False


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
    is_small: Callable[..., bool] = never
    """``is_small(lib, config, arrays)``: whether autodiff of `value` is cheaper."""
    saves_gradients: Callable[..., bool] = never
    """``saves_gradients(config)``: whether the value is a number, shape (), and what
    `value_and_saved` saves are its gradients, one for each array wanted."""
    needs_value: Callable[..., bool] = never
    """``needs_value(config)``: whether the first array saved is the value itself."""


class Search(NamedTuple):
    """A choice of a few of many rows, which has no derivative."""

    name: str  # what an exported program calls it
    config: type  # the record of words and numbers, static, that its functions take
    found: Callable[..., tuple[Array, Array]]
    """``found(lib, config, queries, keys)``: scores and indices of the best keys."""
    outline: Callable[..., tuple[Array, Array]]
    """``outline(lib, config, queries, keys)``: zeros of their shapes and dtypes."""
    merged: Callable[..., tuple[Array, Array]]
    """``merged(lib, config, parts)``: the best of what was found in parts of the keys,
    of which the first have the lower indices."""


_OPERATIONS: dict[str, Operation] = {}
_SEARCHES: dict[str, Search] = {}


def register(operation: Operation) -> Operation:
    """Enter `operation` in the table by its name, and return it."""
    _OPERATIONS[operation.name] = operation
    return operation


def operation_called(name: str) -> Operation:
    """Return the operation that a program names, or raise where there is none."""
    found = _OPERATIONS.get(name)
    return _refuse("operation", name, _OPERATIONS) if found is None else found


def register_search(search: Search) -> Search:
    """Enter `search` in the table by its name, and return it."""
    _SEARCHES[search.name] = search
    return search


def search_called(name: str) -> Search:
    """Return the search that a program names, or raise where there is none."""
    found = _SEARCHES.get(name)
    return _refuse("search", name, _SEARCHES) if found is None else found


def _refuse(kind: str, name: str, table: dict[str, Any]) -> NoReturn:
    known = ", ".join(sorted(table))
    msg = f"The program names the {kind} {name!r}; metricops has {known}."
    raise ValueError(msg)


def is_given(arrays: Arrays) -> tuple[bool, ...]:
    """Return which of `arrays` are not None."""
    return tuple(x is not None for x in arrays)


def placed(wanted: tuple[bool, ...], gradients: tuple[Array, ...]) -> Arrays:
    """Return the gradients at the places that are wanted, and None at the others."""
    rest = iter(gradients)
    # A list, as a generator costs a microsecond more in each call.
    found = [next(rest) if there else None for there in wanted]
    return tuple(found)


def spread(arrays: Arrays, gradients: tuple[Array, ...]) -> Arrays:
    """Return the gradients, one for each of `arrays` that is not None."""
    return placed(is_given(arrays), gradients)
