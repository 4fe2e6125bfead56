"""The processes or devices that share a batch."""

from typing import Any, Protocol

from metricops import _checks
from metricops._arguments.arrays import Inputs
from metricops._arguments.labels import is_held
from metricops._frameworks import unwrap
from metricops._frameworks.host import is_numpy, is_plain, labels_from_plain
from metricops._typing import Array


class Group(Protocol):
    """The processes or devices that share a batch, as one of them sees them."""

    @property
    def size(self) -> int:
        """Return how many they are."""

    def counts(self, x: Array) -> list[Any]:
        """Return how many rows of `x` each member has, own first.

        They are integers, or floats in arrays where they are known only at run time.
        """

    def number(self, counts: list[Any]) -> Any:
        """Return how many rows all members have, at least 1, to divide by."""

    def gather(self, x: Array, counts: list[Any]) -> Array:
        """Return everybody's rows of `x`, own first, differentiably."""

    def total(self, x: Array) -> Array:
        """Return the sum of everybody's `x`, all of one shape, differentiably."""


def check_alike(inputs: Inputs, name: str, value: Any) -> None:
    """Raise if labels became codes, which each member would assign differently."""
    lib, like, value = inputs.library, inputs.first, unwrap(value)
    if is_plain(value):
        value = labels_from_plain(name, value)
    if not is_numpy(value) or lib.traces_numpy() or is_held(lib, like, value):
        return
    need = f"of numbers that {lib.label} holds where a group shares the batch"
    _checks.refuse_dtype(name, need, str(value.dtype))
