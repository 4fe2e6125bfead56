"""The types that signatures share."""

from typing import Any, Literal, TypeAlias

Array: TypeAlias = Any
"""An array of any library; shapes and dtypes stand in the docstrings."""

Namespace: TypeAlias = Any
"""A module that implements the Python array API standard."""

Reduction: TypeAlias = Literal["mean", "sum", "weighted_mean", "none"]
"""How the losses of the anchors are combined."""

Denominator: TypeAlias = Literal["all", "own", "negatives"]
"""With which candidates a positive competes."""

Gather: TypeAlias = Literal["all", "ring"]
"""How the members of a group meet everybody's candidates."""

TermReduction: TypeAlias = Literal[
    "mean", "sum", "weighted_mean", "active_mean", "none"
]
"""How the pairs, or the triplets, of a loss of distances are combined."""
