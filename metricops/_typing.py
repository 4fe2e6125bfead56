"""The types that signatures share."""

from typing import Any, Literal, TypeAlias

Array: TypeAlias = Any
"""An array of any library; shapes and dtypes stand in the docstrings."""

Namespace: TypeAlias = Any
"""A module that implements the Python array API standard."""

Reduction: TypeAlias = Literal["mean", "sum", "weighted_mean", "none"]
Denominator: TypeAlias = Literal["all", "own", "negatives"]
"""How the losses of the anchors are combined."""

TermReduction: TypeAlias = Literal[
    "mean", "sum", "weighted_mean", "active_mean", "none"
]
"""How the pairs, or the triplets, of a loss of distances are combined."""
