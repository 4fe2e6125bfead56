"""The scores of the CoSENT loss, of which only the order matters."""

from typing import Any

from metricops import _checks
from metricops._arguments.arrays import Inputs, array_of_plain, numbers
from metricops._arguments.labels import column
from metricops._frameworks.host import in_order, is_numpy, is_plain
from metricops._typing import Array


def fitting(inputs: Inputs, scores: Any) -> Array:
    """Return a score for each similarity, in a dtype that keeps them apart."""
    lib, s = inputs.library, inputs.first
    like = lib.xp.astype(s, lib.exact_dtype(s))
    if (is_plain(scores) or is_numpy(scores)) and not lib.traces_numpy():
        host = array_of_plain("scores", scores) if is_plain(scores) else scores
        scores = in_order(host, lib.dtype(like).name)
    scores = column(lib, "scores", numbers(lib, "scores", scores, "similarities", like))
    count = lib.shape(s)[0]
    if not _checks.same(lib.shape(scores)[0], count):
        need = f"a score for each of {count} similarities"
        _checks.refuse_shape("scores", need, lib.shape(scores))
    need = "`scores` must have a score for each of `similarities`."
    return lib.stop_gradient(lib.agree(scores, 0, s, 0, need))
