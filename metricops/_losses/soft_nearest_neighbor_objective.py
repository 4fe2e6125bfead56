"""What the soft nearest neighbour loss asks of a row of scores.

With the log-sum-exps P of a row's positives and N of its negatives (see `two_sided`),
the share of the positives in the sum of both is ``1 / (1 + exp(N - P))``. So the loss
is ``softplus(N - P)``, which keeps its digits also where it is small.
"""

from dataclasses import dataclass

from metricops._frameworks import Library
from metricops._frameworks.programs import register_record
from metricops._losses.npairs_terms import finite
from metricops._losses.two_sided import parted, positives_of, slopes_of
from metricops._panels.objective import Objective, Pairs, Slopes
from metricops._typing import Array


@dataclass(frozen=True)
class LogShares(Objective):
    """Minus the logarithm of the positives' share of a row."""

    takes_halves = False  # on squares the rows are moved, which would round them

    def counted(self, lib: Library, pairs: Pairs) -> Array:
        """Return which rows have a positive, shape (b, 1)."""
        return pairs.total != 0

    def losses(self, lib: Library, scores: Array, pairs: Pairs) -> Array:
        """Return the rows' losses. The scores may be overwritten."""
        near, far = parted(lib, scores, positives_of(lib, scores, pairs))
        return lib.softplus(far.logs - finite(lib, near.logs))

    def slopes(self, lib: Library, scores: Array, pairs: Pairs) -> Slopes:
        """Return losses and derivatives. The scores may be overwritten."""
        near, far = parted(lib, scores, positives_of(lib, scores, pairs))
        gap = far.logs - finite(lib, near.logs)
        slope = lib.sigmoid(gap)
        return Slopes(lib.softplus(gap), slopes_of(lib, near, far, -slope, slope))


register_record("log_shares", LogShares)
