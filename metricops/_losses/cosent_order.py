"""All pairs of which one has the higher score, by a sort and running sums.

Each logit t stands twice in a row, in the order of the scores from the highest down:
as the upper one of its pairs and as the lower one, where lower ones come before upper
ones of the same score. So the upper ones before a lower one are those of higher score,
and with the logarithm u of the running sum of their exp(-t), the pairs of the lower one
sum to exp(t + u). From the other end, the same holds for an upper one.
"""

from typing import Any, NamedTuple

from metricops import _checks
from metricops._arguments.arrays import Inputs, array_of_plain, numbers
from metricops._arguments.labels import column
from metricops._frameworks import Library
from metricops._frameworks.host import in_order, is_numpy, is_plain
from metricops._losses.triplet_sorted import inverse
from metricops._typing import Array

_NOTHING = -float("inf")


class Ordered(NamedTuple):
    """The loss of all pairs, and its derivative by the logits."""

    loss: Array
    slopes: Array | None = None  # (n,)


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


def ordered(lib: Library, logits: Array, scores: Array, slopes: bool) -> Ordered:
    """Return the logarithm of 1 and the sum over the pairs of exp(lower - upper)."""
    xp = lib.xp
    # What is no number has no place in an order: it goes into the results.
    known = xp.logical_and(scores == scores, logits == logits)
    named = xp.where(logits == logits, xp.astype(scores, logits.dtype), logits)
    unknown = xp.sum(xp.where(known, 0.0, named))
    logits = xp.where(known, logits, 0.0)[None, :]
    both, keys = (xp.concat([x, x], axis=1) for x in (logits, scores[None, :]))
    _, order = lib.largest(keys, lib.size(keys, 1))
    is_lower = order < lib.size(logits, 1)
    logits = lib.chosen(both, order)
    before = lib.running_log_sums(xp.where(is_lower, _NOTHING, -logits))
    lower = xp.where(is_lower, logits + before, _NOTHING)
    peak = lib.clip(lib.peak(lower, 1), 0.0, float("inf"))
    # log(exp(-peak) + ...), which is exact where the sum is small
    rest = xp.expm1(-peak) + xp.sum(xp.exp(lower - peak), axis=1, keepdims=True)
    loss = peak + xp.log1p(rest) + unknown
    if not slopes:
        return Ordered(loss[0, 0])
    back = lib.size(order, 1) - 1 - lib.positions(order, 1, "similarities")[None, :]
    turned = lib.chosen(xp.where(is_lower, logits, _NOTHING), back)
    behind = lib.chosen(lib.running_log_sums(turned), back)
    upper = xp.where(is_lower, _NOTHING, behind - logits)
    found = xp.exp(lower - loss) - xp.exp(upper - loss)
    found = lib.chosen(found, inverse(lib, order, found.dtype))[0, :]
    count = lib.size(scores, 0)
    return Ordered(loss[0, 0], found[:count] + found[count:])
