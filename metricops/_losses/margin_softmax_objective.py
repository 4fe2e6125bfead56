"""What the margin softmax loss does with its arguments, and with a row of scores.

The scores are scaled cosines to all classes.

The cosine c of the own class becomes f(c) = cos(acos(c) + angular_margin) - margin.
With N the log-sum-exp of the other classes, and s the own score after that::

    loss = softplus(N - s),    dloss/ds = -sigmoid(N - s)

which keep their digits where the loss is small. The other classes share the slope by
their softmax. Smoothing by e adds ``e * (s - mean of all)``.

By ``c * cos(m) - sqrt(1 - c**2) * sin(m)`` the angle itself is not needed. Its slope
has no limit where a row is its proxy: there the root is taken for a constant.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from metricops import _checks
from metricops._arguments.arrays import Inputs, float_arrays, numbers
from metricops._arguments.embeddings import one_each, row_weights
from metricops._arguments.labels import Indices, column, indices, label_arrays
from metricops._arguments.options import check_number, check_positive, check_share
from metricops._frameworks import Library
from metricops._frameworks.host import indices_from_plain, is_numpy, is_plain
from metricops._frameworks.programs import register_record
from metricops._losses.embeddings_call import Call
from metricops._losses.npairs_terms import Side, side_of
from metricops._panels.objective import Objective, Pairs, Slopes
from metricops._panels.records import Config, Given, Labels
from metricops._panels.roles import ByIndex
from metricops._typing import Array


class Parts(NamedTuple):
    """What the loss of a row is made of."""

    score: Array  # (b, 1): its score, with the margin
    slope: Array | float  # (b, 1): of that by the score without it
    others: Side  # the sum of the other classes
    gap: Array  # (b, 1): how far the others are above the own class
    mean: Array | None  # (b, 1): that of all scores, for smoothing


@dataclass(frozen=True)
class MarginSoftmax(Objective):
    """The cross-entropy of a softmax whose own class has to win by a margin."""

    scale: float = 64.0
    margin: float = 0.35
    angular_margin: float = 0.0
    label_smoothing: float = 0.0

    def losses(self, lib: Library, scores: Array, pairs: Pairs) -> Array:
        """Return the rows' losses. The scores may be overwritten."""
        if scores.shape[1] == 0:  # no row is of a class
            return lib.xp.sum(scores, axis=1)
        return self._closed(lib, self._parts(lib, scores, pairs))

    def slopes(self, lib: Library, scores: Array, pairs: Pairs) -> Slopes:
        """Return losses and derivatives. The scores may be overwritten."""
        if scores.shape[1] == 0:
            return Slopes(lib.xp.sum(scores, axis=1), scores)
        found = self._parts(lib, scores, pairs)
        losses, pull = self._closed(lib, found), lib.sigmoid(found.gap)
        factor = pull / found.others.partition
        if self.label_smoothing == 0:
            own = -found.slope * found.others.partition
            error = lib.put(found.others.exponentials, pairs.positive, own[:, 0])
            return Slopes(losses, error, factor)
        each = self.label_smoothing / lib.count(lib.xp.matrix_transpose(scores))
        own = (self.label_smoothing - each - pull) * found.slope
        error = lib.minus(lib.times(found.others.exponentials, factor), each)
        return Slopes(losses, lib.put(error, pairs.positive, own[:, 0]))

    def _closed(self, lib: Library, found: Parts) -> Array:
        losses = lib.softplus(found.gap)
        if found.mean is not None:
            losses = losses + self.label_smoothing * (found.score - found.mean)
        return losses[:, 0]

    def _parts(self, lib: Library, scores: Array, pairs: Pairs) -> Parts:
        score, slope = self._moved(lib, lib.pick(scores, pairs.positive))
        mean = None
        if self.label_smoothing != 0:
            scores = lib.put(scores, pairs.positive, score[:, 0])
            mean = lib.xp.mean(scores, axis=1, keepdims=True)
        others = side_of(lib, lib.put(scores, pairs.positive, -float("inf")))
        return Parts(score, slope, others, others.logs[:, None] - score, mean)

    def _moved(self, lib: Library, score: Array) -> tuple[Array, Array | float]:
        """Return the score of the own class with the margins, and the slope of it."""
        if self.angular_margin == 0:
            return score - self.scale * self.margin, 1.0
        xp, angle, cosine = lib.xp, self.angular_margin, score / self.scale
        cos, sin = math.cos(angle), math.sin(angle)
        squares = (1 - cosine) * (1 + cosine)
        apart = squares > 0
        length = xp.sqrt(xp.where(apart, squares, 1.0))
        turned = cosine * cos - xp.where(apart, length, 0.0) * sin
        slope = cos + xp.where(apart, cosine / length, 0.0) * sin
        # From where on the angle would be more than pi, the slope is 1.
        within = cosine > -cos
        moved = xp.where(within, turned, cosine - angle * sin)
        moved = self.scale * (moved - self.margin)
        return moved, xp.where(within, slope, 1.0)


def admitted(
    embeddings: Any,
    proxies: Any,
    labels: Any,
    sample_weight: Any,
    reduction: Any,
    block_size: Any,
    **options: Any,
) -> Call:
    """Return a call, having checked its arguments."""
    objective = _objective(**options)
    _checks.check_reduction(reduction)
    block_size = _checks.check_block_size(block_size)
    inputs = _fitting(float_arrays(True, embeddings=embeddings, proxies=proxies))
    lib, rows = inputs.library, inputs.first
    own = _indices(inputs, labels)
    weights = None
    if sample_weight is not None:
        like = lib.multiplying(inputs.half).wide(rows[:, :1])
        weights = row_weights(lib, like, sample_weight, "embeddings")
    temperature = 1 / objective.scale
    options_of = True, False, False, 0.0, reduction, block_size
    config = Config(
        objective, ByIndex(own.complete), temperature, *options_of, inputs.half
    )
    given = Given(rows, inputs.second, None, weights)
    return Call(inputs, config, given, Labels(own.places, None))


def _objective(
    scale: Any, margin: Any, angular_margin: Any, label_smoothing: Any
) -> MarginSoftmax:
    """Return the objective of a call, having checked its numbers."""
    angle = check_number("angular_margin", angular_margin)
    if not 0 <= angle <= math.pi:
        _checks.refuse_value("angular_margin", "from 0 to pi", angular_margin)
    return MarginSoftmax(
        check_positive("scale", scale),
        check_number("margin", margin),
        angle,
        check_share("label_smoothing", label_smoothing),
    )


def _fitting(inputs: Inputs) -> Inputs:
    """Return embeddings, and proxies made sure to fit them."""
    lib, rows, proxies = inputs.library, inputs.first, inputs.second
    lib.check_whole("embeddings", rows)
    lib.check_whole("proxies", proxies)
    n, m = lib.shape(rows), lib.shape(proxies)
    _checks.check_rank("embeddings", n, 2, "(n, d)")
    if len(m) != 2 or not _checks.same(n[1], m[1]):
        _checks.refuse_shape("proxies", f"shape (c, {n[1]}), to fit `embeddings`", m)
    need = "`proxies` must fit `embeddings`."
    return inputs._replace(second=lib.agree(proxies, 1, rows, 1, need))


def _indices(inputs: Inputs, labels: Any) -> Indices:
    """Return the index of each row's class, -1 where it is of none."""
    lib, rows, proxies = inputs.library, inputs.first, inputs.second
    if is_plain(labels) or is_numpy(labels):
        numbers(lib, "labels", labels, "embeddings", rows, "of numbers of classes")
        if not lib.traces_numpy():
            labels = indices_from_plain("labels", labels)
    found = label_arrays(lib, "embeddings", rows, labels=labels)
    own = column(lib, "labels", found["labels"])
    own = one_each(lib, "labels", own, rows, "a label", "embedding")
    return indices(lib, own, proxies, "proxies")


register_record("margin_softmax", MarginSoftmax)
