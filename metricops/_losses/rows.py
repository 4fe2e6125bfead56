"""The reduction of losses that are computed elsewhere, a loss for each row."""

from typing import Any

from metricops import _checks
from metricops._arguments.arrays import float_arrays
from metricops._arguments.weights import reduce_losses, sample_weights
from metricops._frameworks.public import public
from metricops._typing import Array, Reduction


@public
def reduced_rows(
    losses: Array, *, sample_weight: Any = None, reduction: Reduction = "mean"
) -> Array:
    """Return losses of any shape, weighted and reduced as those of every loss are."""
    _checks.check_reduction(reduction)
    inputs = float_arrays(losses=losses)
    lib, wide = inputs.library, inputs.first
    weights = sample_weights(lib, sample_weight, "losses", wide)
    return inputs.narrow(reduce_losses(lib, wide, weights, reduction))
