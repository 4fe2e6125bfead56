"""What a framework may do better for distances and cosines."""

from collections.abc import Callable
from typing import Any

import array_api_compat

from metricops._frameworks.operations import Arrays
from metricops._frameworks.primitives import Primitives
from metricops._typing import Array


class Distances(Primitives):
    """Shortcuts by way of float64, and panels that use the same memory again."""

    def shortcut(self, short: Any, exact: Any, arrays: Arrays) -> tuple[Array, ...]:
        """Return ``exact(lib, *arrays)``, or the same from `short` where that works.

        `short` is faster. It needs float64 and may branch on values. Derivatives are
        always those of `exact`.
        """
        info = self.xp.__array_namespace_info__()
        first, *_ = arrays
        device = array_api_compat.device(first)
        known = info.dtypes(device=device, kind="real floating")
        return (short if "float64" in known else exact)(self, *arrays)

    def manhattan(self, x: Array, y: Array) -> Array | None:
        """Return the sums of absolute differences of rows, or None: no fast way."""
        return None

    def manhattan_gradients(
        self, x: Array, y: Array, upstream: Array
    ) -> tuple[Array, Array] | None:
        """Return the gradients of ``sum(upstream * manhattan(x, y))``, or None."""
        return None

    def within_one(self, x: Array) -> Array:
        """Return cosines limited to the range from -1 to 1, which rounding may leave.

        The gradient is that of `x`, as if nothing had been limited. `x` may be
        overwritten.
        """
        fixed = self.stop_gradient(x)
        return x - (fixed - self.clip(fixed, -1.0, 1.0))

    def root(self, x: Array) -> Array:
        """Return the roots of positive numbers, however large, and their derivatives.

        A framework with autodiff takes `root_by_one` where it records.
        """
        return self.xp.sqrt(x)

    def inverses(self, lengths: Array) -> Array:
        """Return the reciprocals of lengths, and 0 for a length of 0.

        One so small that sums of its reciprocal overflow is as good as 0.
        """
        zero = lengths < self.shortest(lengths)
        inverse = 1 / self.xp.where(zero, self.xp.ones_like(lengths), lengths)
        return self.xp.where(zero, self.xp.zeros_like(lengths), inverse)

    def by_chunks(
        self, function: Callable[..., Array], config: Any, x: Array, y: Array
    ) -> Array | None:
        """Return ``function(config, lib, x, y)``; None where arrays have no chunks.

        It has a number for each pair of a row of x (..., n, d) and one of y (..., m,
        d), and no other row matters to it.
        """
        return None

    def summed_by_chunks(
        self, function: Callable[..., Array], config: Any, *arrays: Array
    ) -> Array | None:
        """Return ``function(config, lib, *arrays)``; None where there are no chunks.

        For each row of x (..., n, d) it is a sum over the rows of y (..., m, d), with
        factors (..., n, m); the arrays are x, y and these.
        """
        return None

    # Only functions passed as `short` use these. Each may write into the memory that
    # it used for the panel before.

    def panel_product(self, x: Array, y: Array) -> Array:
        """Return the matrix product of two arrays of one dtype."""
        return self.product(x, y)

    def search_product(self, x: Array, y: Array) -> Array:
        """Return ``x @ y.mT`` of queries and keys."""
        return self.panel_product(x, self.xp.matrix_transpose(y))

    def panel_rows(self, x: Array, indices: Array) -> Array:
        """Return the rows of `x` at a matrix of indices."""
        return self.gather(x, indices)

    def panel_dots(self, x: Array, y: Array) -> Array:
        """Return inner products along the last axis; `x` may be overwritten."""
        return self.dots(x, y, -1)

    def narrowed(self, x: Array, dtype: Any, root: bool, narrow: Array) -> Array:
        """Return `x`, or with `root` its square root, in `dtype`.

        `x` may be overwritten. Where all is `narrow`, a bool, roots may be taken in
        `dtype`, which on a processor takes less time.
        """
        if root:  # rounding makes some negative, and those are computed again later
            x = self.xp.sqrt(self.clip(x, 0.0, float("inf")))
        return self.xp.astype(x, dtype)

    def peaks(self, lengths: Array) -> Array:
        """Return the largest reciprocal of each row of lengths, of those not 0."""
        return self.xp.max(self.inverses(lengths), axis=1)

    def weights(
        self, upstream: Array, lengths: Array | None, dtype: Any
    ) -> tuple[Array, Array | None]:
        """Return ``upstream / lengths``, or `upstream` alone, in a dtype; and `peaks`.

        It is 0 where a length is. It may be too small, or too large, for the dtype of
        the two. Without lengths there are no peaks.
        """
        wide = upstream if upstream.dtype == dtype else self.xp.astype(upstream, dtype)
        if lengths is None:
            return wide, None
        inverse = self.inverses(lengths)
        return wide * self.xp.astype(inverse, dtype), self.xp.max(inverse, axis=1)


def root_by_one(lib: Distances, x: Array) -> Array:
    """Return the roots of positive numbers, with derivatives of every order.

    Derivatives of a root fall with each order by a factor of `x`, and soon underflow.
    So they are taken of the root of a number near 1: `x` over the square of its root.
    """
    root = lib.xp.sqrt(lib.stop_gradient(x))
    near = lib.xp.sqrt(x / root / root)
    found = root + root * (near - lib.stop_gradient(near))
    return lib.xp.where(root == float("inf"), root, found)
