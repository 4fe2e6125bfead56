"""All pairs of which one has the higher score, by a sort and running sums.

Each logit t stands twice in a row, in the order of the scores from the highest down:
as the upper one of its pairs and as the lower one, where lower ones come before upper
ones of the same score. So the upper ones before a lower one are those of higher score,
and with the logarithm u of the running sum of their exp(-t), the pairs of the lower one
sum to exp(t + u). From the other end, the same holds for an upper one.
"""

from typing import NamedTuple

from metricops._frameworks import Library
from metricops._losses.triplet_sorted import inverse
from metricops._typing import Array

_NOTHING = -float("inf")


class Ordered(NamedTuple):
    """The loss of all pairs, and its derivative by the logits."""

    loss: Array
    slopes: Array | None = None  # (n,)


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
