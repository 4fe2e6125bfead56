"""What the sigmoid loss does with its arguments."""

from typing import Any

from metricops import _checks
from metricops._losses.embeddings import admitted_within
from metricops._losses.embeddings_call import Call
from metricops._losses.sigmoid_objective import Sigmoids


def admitted(*, bias: Any, **given: Any) -> Call:
    """Return a call, having checked its arguments."""
    if bias is None:  # which the engine takes for a loss without one
        _checks.refuse_type("bias", "a number or an array", bias)
    return admitted_within(Sigmoids(), bias=bias, **given)
