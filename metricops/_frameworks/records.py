"""Records of arrays: named tuples whose entries may be None, or records themselves."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from metricops._typing import Array


def leaves(record: Any) -> list[Array]:
    """Return the arrays of a record, in order."""
    found: list[Array] = []
    for x in record:
        if isinstance(x, tuple):
            found.extend(leaves(x))
        elif x is not None:
            found.append(x)
    return found


def refilled(form: Any, arrays: Iterable[Array]) -> Any:
    """Return a record like `form` that holds `arrays` instead of its own."""
    return _refilled(form, iter(arrays))


def _refilled(form: Any, arrays: Iterator[Array]) -> Any:
    entries: list[Any] = []
    for x in form:
        if isinstance(x, tuple):
            entries.append(_refilled(x, arrays))
        else:
            entries.append(None if x is None else next(arrays))
    return form._make(entries) if hasattr(form, "_make") else tuple(entries)


def each(record: Any, function: Callable[[Array], Array]) -> Any:
    """Return the record with ``function(x)`` in place of each array x."""
    return refilled(record, [function(x) for x in leaves(record)])


def sliced(record: Any, start: int, stop: int) -> Any:
    """Return some rows of each array of a record."""
    return each(record, lambda x: x[start:stop, ...])
