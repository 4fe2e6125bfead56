"""What a framework does for distances: shortcuts by float64, and memory used again."""

from typing import Any

import array_api_compat

from metricops._frameworks.operations import Arrays
from metricops._frameworks.primitives import Primitives
from metricops._typing import Array


class Distances(Primitives):
    """The parts of distances and cosines that a framework may do better."""

    def shortcut(self, short: Any, exact: Any, arrays: Arrays) -> tuple[Array, ...]:
        """Return ``exact(lib, *arrays)``, by `short` where that can be taken.

        `short` is a faster way to the same values, by float64 and a look at them. Its
        derivatives are those of `exact`.
        """
        info = self.xp.__array_namespace_info__()
        device = array_api_compat.device(arrays[0])
        known = info.dtypes(device=device, kind="real floating")
        return (short if "float64" in known else exact)(self, *arrays)

    def manhattan(self, x: Array, y: Array) -> Array | None:
        """Return the sums of absolute differences of rows, if there is a fast way."""
        return None

    def within_one(self, x: Array) -> Array:
        """Return `x`, which is the caller's to lose, between -1 and 1.

        That is for what rounding took past 1: its gradient is kept.
        """
        fixed = self.stop_gradient(x)
        return x - (fixed - self.clip(fixed, -1.0, 1.0))

    def inverses(self, lengths: Array) -> Array:
        """Return the reciprocals of lengths: 0 of 0, where no slope is."""
        zero = lengths == 0
        inverse = 1 / self.xp.where(zero, self.xp.ones_like(lengths), lengths)
        return self.xp.where(zero, self.xp.zeros_like(lengths), inverse)

    # For `short` alone: the memory of the last panel may serve for the next.

    def panel_product(self, x: Array, y: Array) -> Array:
        """Return the matrix product of two arrays of one dtype."""
        return self.product(x, y)

    def narrowed(self, x: Array, dtype: Any, root: bool, sizes: Array) -> Array:
        """Return `x`, which is the caller's to lose, or its square root, in `dtype`.

        No square of a row of `x` that is not infinite is more than 2 of its `sizes`.
        """
        if root:  # less than 0 are some that will be made anew
            x = self.xp.sqrt(self.clip(x, 0.0, float("inf")))
        return self.xp.astype(x, dtype)

    def weights(self, upstream: Array, inverse: Array | None) -> Array:
        """Return their product, or `upstream`, in float64."""
        found = upstream if inverse is None else upstream * inverse
        return self.xp.astype(found, self.xp.float64)
