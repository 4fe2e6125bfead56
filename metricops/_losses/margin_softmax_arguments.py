"""What the margin softmax loss does with its arguments."""

import math
from typing import Any

from metricops import _checks
from metricops._arguments.arrays import Inputs, float_arrays, numbers
from metricops._arguments.embeddings import one_each, row_weights
from metricops._arguments.labels import column, indices, label_arrays
from metricops._arguments.options import check_number, check_positive, check_share
from metricops._frameworks.host import indices_from_plain, is_numpy, is_plain
from metricops._losses.embeddings_call import Call
from metricops._losses.margin_softmax_objective import MarginSoftmax
from metricops._panels.records import Config, Given, Labels
from metricops._panels.roles import BY_INDEX
from metricops._typing import Array


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
    config = Config(objective, BY_INDEX, temperature, *options_of, inputs.half)
    given = Given(rows, inputs.second, None, weights)
    return Call(inputs, config, given, Labels(own, None))


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


def _indices(inputs: Inputs, labels: Any) -> Array:
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
