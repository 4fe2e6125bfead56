"""The processes or devices that share a batch."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from metricops import _checks
from metricops._arguments.arrays import Inputs
from metricops._arguments.held import check_held
from metricops._frameworks import Library, known_library, unwrap
from metricops._typing import Array

GATHERS = ("all", "ring")
"""How members meet everybody's candidates: all at once, or one member's at a time."""


class Visits(NamedTuple):
    """What is done while everybody's candidates come by; see `RingGroup.lap`."""

    rows: Any
    """The record of own rows: with the visitors', all that is computed with."""
    meet: Callable[[Any, bool], tuple[Any, Any]]
    """``meet(visitor, home)``: results of own rows, and what goes on with the visitor.

    All three are records: named tuples of arrays, None, or records. `home` is whether
    the visitor are own candidates.
    """
    merge: Callable[[Any, Any], Any]
    """``merge(old, new)``: what was found at two visits as one record.

    It does the same for what travels with a visitor.
    """


class Group(Protocol):
    """The processes or devices that share a batch, as one of them sees them."""

    @property
    def size(self) -> int:
        """Return how many they are."""

    @property
    def ring(self) -> bool:
        """Return whether this is a `RingGroup`, whose candidates are not gathered."""

    def meet(self, call: dict[str, str], sides: tuple[Array, ...]) -> list[list[Any]]:
        """Return how many rows of each side each member has, own first.

        They are integers, or floats in arrays where they are known only at run time.
        Raise where a member has made another call, in words by argument, or none.
        """

    def fail(self, error: Exception) -> None:
        """Tell the others, instead of `meet`, that this member raises."""

    def number(self, counts: list[Any]) -> Any:
        """Return how many rows all members have, at least 1, to divide by."""

    def gather(self, x: Array, counts: list[Any]) -> Array:
        """Return everybody's rows of `x`, own first, differentiably."""

    def total(self, x: Array) -> Array:
        """Return the sum of everybody's `x`, all of one shape, differentiably."""


class RingGroup(Group, Protocol):
    """A group whose candidates are passed around."""

    def lap(self, visits: Visits, visitor: Any, counts: list[int]) -> tuple[Any, Any]:
        """Have everybody's visitor come by once, this member's own first.

        Return the results of own rows, and what own visitor came home with. `counts`
        are the rows of each member's visitor.
        """


def gathered(
    group: Group, lib: Library, arrays: tuple[Array | None, ...], counts: list[Any]
) -> tuple[Array | None, ...]:
    """Return everybody's rows of some arrays, own first: one gather for each dtype.

    The arrays have one number of rows; None stays None.
    """
    every: list[Array | None] = [None] * len(arrays)
    left = {i: x for i, x in enumerate(arrays) if x is not None}
    while left:
        dtype = next(iter(left.values())).dtype
        kind = [i for i, x in left.items() if x.dtype == dtype]
        if any(None in lib.shape(left[i])[1:] for i in kind):  # of a graph
            kind = kind[:1]
        parts = _gathered_alike(group, lib, [left.pop(i) for i in kind], counts)
        for i, x in zip(kind, parts, strict=True):
            every[i] = x
    return tuple(every)


def _gathered_alike(
    group: Group, lib: Library, arrays: list[Array], counts: list[Any]
) -> list[Array]:
    """Return everybody's rows of arrays of one dtype, in one gather."""
    if len(arrays) == 1:
        return [group.gather(x, counts) for x in arrays]
    tables = [x[:, None] if x.ndim == 1 else x for x in arrays]
    whole = group.gather(lib.xp.concat(tables, axis=1), counts)
    found, first = [], 0
    for x, table in zip(arrays, tables, strict=True):
        last = first + table.shape[1]
        found.append(whole[:, first] if x.ndim == 1 else whole[:, first:last])
        first = last
    return found


def described(lib: Library, named: dict[str, Any]) -> dict[str, str]:
    """Return in words what the members of a group must have alike in a call."""
    words = {name: _words(lib, x) for name, x in named.items() if name != "block_size"}
    if isinstance(named["sample_weight"], (int, float)):  # of own anchors
        words["sample_weight"] = "a number"
    return words


def _words(lib: Library, x: Any) -> str:
    x = unwrap(x)
    if isinstance(x, (list, tuple)):
        return "a list"
    if not (hasattr(x, "shape") and hasattr(x, "dtype")):
        return repr(x)
    sizes = ["n", *map(str, x.shape[1:])] if len(x.shape) else []
    words = f"an array of {x.dtype} of shape ({', '.join(sizes)})"
    # Members exchange gradients only where all of them have some.
    recorded = known_library(x) is lib and lib.recorded(x)
    return f"{words} that has a gradient" if recorded else words


def check_alike(inputs: Inputs, name: str, value: Any) -> None:
    """Raise if labels became codes, which each member would assign differently."""
    where = "where a group shares the batch"
    check_held(name, value, inputs.first, where)


def check_gather(gather: Any, argument: str, group: Any) -> bool:
    """Return whether candidates are to be passed around a group that is given."""
    _checks.check_word("gather", gather, GATHERS)
    if gather == "ring" and group is None:
        _checks.refuse_value(argument, 'given where `gather` is "ring"', None)
    return bool(gather == "ring")
