"""What panels of halves are multiplied with, made such that nothing overflows.

Unit vectors are rounded to a half where they are multiplied. How much the loss changes
by that is known to the first order from its gradients g by the unit vectors u: it is
the sum of g times what u lost. That takes no panel.

All panels of a call have the same powers of 2, so that their products are added in
place.
"""

from typing import Any

from metricops._frameworks import Library
from metricops._panels.objective import Pairs
from metricops._panels.records import Candidates, Problem
from metricops._typing import Array


def beside_panels(lib: Library, candidates: Candidates) -> Candidates:
    """Return candidates that are ready to be multiplied with panels of slopes."""
    beside, back = lib.beside_panels(candidates.embeddings)
    return candidates._replace(beside=beside, back=back)


def of_anchors(problem: Problem, share: float) -> Array | float:
    """Return what anchors are multiplied with beside panels, the same for all."""
    lib, rows = problem.library, problem.rows
    if not problem.config.objective.within_one:
        return 1.0
    largest = problem.candidates.scale * share
    for x in (rows.weights, None if problem.config.normalize else rows.anchors):
        if x is not None:
            largest = largest * largest_of(lib, x)
    return lib.enlargement(largest) * lib.enlargement(1.0)


def enlargement(problem: Problem, *upstreams: Array) -> Array | float:
    """Return what weights of losses are multiplied by, so that slopes suit a half."""
    lib = problem.library
    if not lib.halves:
        return 1.0
    return lib.enlargement(sum(largest_of(lib, x) for x in upstreams))


def beside(
    lib: Library, anchors: Array, weight: Any, error: Array, enlarged: Array | float
) -> Array:
    """Return anchors, transposed, as the left side of a product with a panel.

    Transposing the thin sum at the end costs less than transposing the panel.
    """
    if isinstance(enlarged, float) and enlarged == 1.0:
        return lib.xp.matrix_transpose(anchors * weight)
    left = anchors * (weight * enlarged)
    return lib.xp.matrix_transpose(lib.xp.astype(left, error.dtype))


def lost(problem: Problem, units: Array, gradient: Array) -> Array | None:
    """Return how much more the loss of each row would be, had it not been rounded.

    The gradient is without the positives' part, as their scores are exact. None where
    nothing is rounded by us.
    """
    lib = problem.library
    if not lib.halves or not problem.config.normalize:
        return None
    return lib.dots(lib.lost(units), gradient, 1)


def plus_lost(problem: Problem, rows: Array | None, gradient: Array) -> Array | None:
    """Return the sum of what rows lost, and what candidates did."""
    units = None if problem.units is None else problem.units.unit
    found = None if units is None else lost(problem, units, gradient)
    if found is None:
        return rows
    total = problem.library.xp.sum(found)
    return total if rows is None else rows + total


def scales_later(candidates: Candidates, pairs: Pairs) -> bool:
    """Return whether the scale is to meet scores where their peaks are subtracted.

    A number meets them inside the product, but an array would take a pass.
    """
    plain = pairs.targets is None and pairs.exists is None and candidates.bias is None
    return plain and not isinstance(candidates.scale, float)


def largest_of(lib: Library, x: Array) -> Array:
    """Return the size of the largest of some numbers that is finite, in float32.

    It is 0 of none. An anchor that is left out may hold a NaN.
    """
    size = lib.xp.abs(x)
    kept = lib.xp.where(size < float("inf"), size, lib.xp.zeros_like(size))
    peak = lib.peak(kept, tuple(range(x.ndim)))
    return lib.wide(lib.xp.reshape(peak, ()))
