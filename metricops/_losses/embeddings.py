"""What every loss of embeddings does with its arguments."""

from typing import Any, NamedTuple

from metricops import _checks
from metricops._arguments.arrays import Inputs, float_arrays
from metricops._arguments.embeddings import (
    check_unlabelled,
    fitting_bias,
    fitting_candidates,
    fitting_ids,
    fitting_labels,
    row_weights,
)
from metricops._arguments.options import check_number, scalar_of, temperature_of
from metricops._frameworks import Library
from metricops._losses.embeddings_call import Call
from metricops._panels.objective import Objective
from metricops._panels.records import Config, Given, Labels
from metricops._panels.roles import BY_POSITION, Roles, roles_by
from metricops._typing import Array

_NO_LABELS = Labels(None, None)


class Arguments(NamedTuple):
    """The arguments of a loss of embeddings, as given."""

    anchors: Any
    candidates: Any = None
    labels: Any = None
    candidate_labels: Any = None
    temperature: Any = 1.0
    normalize: bool = False
    symmetric: bool = False
    exclude_diagonal: bool = False
    l2_weight: float = 0.0
    sample_weight: Any = None
    reduction: str = "mean"
    block_size: int | None = None
    ids: Any = None
    candidate_ids: Any = None
    candidate_bias: Any = None
    bias: Any = None  # of an objective that has one


def admitted(objective: Objective, asked: Arguments) -> Call:
    """Return a call of a loss, having checked its arguments."""
    asked = _checked(asked)
    plain = objective.smoothing == 0 or asked.ids is asked.candidate_ids is None
    normalize = asked.normalize if objective.takes_halves and plain else None
    if asked.candidates is None:
        inputs = float_arrays(normalize, anchors=asked.anchors)
    else:
        given = {"anchors": asked.anchors, "candidates": asked.candidates}
        inputs = float_arrays(normalize, **given)
    lib, anchors, every = inputs.library, inputs.first, inputs.second
    shape = anchors.shape
    alike = isinstance(shape, tuple) and shape == every.shape and len(shape) == 2
    if lib.spreads:
        lib.check_whole("anchors", anchors)
        lib.check_whole("candidates", every)
    if not alike:  # equal shapes fit with all options
        every = _candidates(lib, anchors, every, asked)
    labels, roles = _NO_LABELS, BY_POSITION
    if asked.labels is not None or objective.needs_negatives:
        labels, roles = _labels(lib, anchors, every, asked)
    if asked.ids is not None or asked.candidate_ids is not None:
        labels = _with_ids(lib, anchors, every, asked, labels)
    number, temperature, weights = asked.temperature, None, None
    half, rows, columns = inputs.half, anchors, every
    if half:
        apart = objective.within_one and labels.anchors is None
        half, rows, columns = _beside_halves(inputs, every, apart)
    if type(number) is not float or number != 1.0:
        number, temperature = temperature_of(lib, "anchors", rows, number)
    if asked.sample_weight is not None:
        weights = row_weights(lib, rows, asked.sample_weight)
    biased = asked.candidate_bias is not None or objective.has_bias
    bias = _bias(lib, rows, columns, asked) if biased else None
    candidates = None if asked.candidates is None else every
    flags = asked.normalize, asked.symmetric, asked.exclude_diagonal
    l2, reduction, size = asked.l2_weight, asked.reduction, asked.block_size
    config = Config(objective, roles, number, *flags, l2, reduction, size, half)
    arrays = Given(anchors, candidates, temperature, weights, bias)
    return Call(inputs, config, arrays, labels)


def admitted_within(
    objective: Objective,
    *,
    candidates: Any,
    exclude_diagonal: bool | None,
    **given: Any,
) -> Call:
    """Return a call whose anchors are no candidates of themselves, unless it is said.

    They are where candidates are given.
    """
    diagonal = candidates is None if exclude_diagonal is None else exclude_diagonal
    asked = Arguments(candidates=candidates, exclude_diagonal=diagonal, **given)
    return admitted(objective, asked)


def _beside_halves(
    inputs: Inputs, every: Array, apart: bool
) -> tuple[str, Array, Array]:
    """Return the half to multiply in, and rows and columns whose numbers are float32.

    Where positives are not kept `apart` from panels, bfloat16 would round these too
    much.
    """
    half = inputs.half
    if half == "bfloat16" and not apart:
        half = "bfloat16, float16"
    wide = inputs.library.multiplying(half).wide
    return half, wide(inputs.first[:, :1]), wide(every[:, :1])


def _checked(asked: Arguments) -> Arguments:
    """Return arguments whose options that are words and numbers have been checked."""
    if type(asked.reduction) is not str or asked.reduction not in _checks.REDUCTIONS:
        _checks.check_reduction(asked.reduction)
    normalize, symmetric = asked.normalize, asked.symmetric
    if not (type(normalize) is type(symmetric) is type(asked.exclude_diagonal) is bool):
        asked = _with_flags(asked)
    alone = asked.candidates is None or asked.candidate_labels is not None
    if asked.labels is None and (alone or asked.exclude_diagonal):
        given = asked.candidates, asked.candidate_labels, asked.exclude_diagonal
        check_unlabelled(*given)
    if type(asked.l2_weight) is not float or asked.l2_weight != 0:
        asked = _with_penalty(asked)
    if asked.candidate_bias is not None and asked.symmetric:
        need = "False where `candidate_bias` is given"
        _checks.refuse_value("symmetric", need, asked.symmetric)
    if asked.block_size is None:
        return asked
    size = _checks.check_positive_int("block_size", asked.block_size)
    return asked._replace(block_size=size)


def _with_flags(asked: Arguments) -> Arguments:
    """Return arguments whose flags are bools, or raise."""
    names = "normalize", "symmetric", "exclude_diagonal"
    flags: Any = {
        name: _checks.check_bool(name, getattr(asked, name)) for name in names
    }
    return asked._replace(**flags)


def _labels(
    lib: Library, anchors: Array, candidates: Array, asked: Arguments
) -> tuple[Labels, Roles]:
    """Return the labels of both sides, and what they mean."""
    if asked.labels is None:
        count = lib.known_rows(candidates)
        if asked.ids is None and count is not None and count > 1:
            return _NO_LABELS, BY_POSITION  # each anchor has a negative
        own = lib.positions(anchors, 0, "anchors")
        others = lib.positions(candidates, 0, "candidates")
        return Labels(own, others), roles_by(own)
    given = asked.labels, asked.candidate_labels
    own, others = fitting_labels(lib, anchors, candidates, *given)
    return Labels(own, others), roles_by(own)


def _with_ids(
    lib: Library, anchors: Array, candidates: Array, asked: Arguments, labels: Labels
) -> Labels:
    """Return labels with the ids of both sides."""
    given = asked.ids, asked.candidate_ids
    own, others = fitting_ids(lib, anchors, candidates, *given)
    return labels._replace(ids=own, candidate_ids=others)


def _bias(lib: Library, anchors: Array, candidates: Array, asked: Arguments) -> Array:
    """Return what is added to the scores: a number for each candidate, or one."""
    if asked.candidate_bias is None:
        return scalar_of(lib, "bias", "anchors", anchors, asked.bias)
    return fitting_bias(lib, candidates, asked.candidate_bias)


def _candidates(lib: Library, anchors: Array, every: Array, asked: Arguments) -> Array:
    """Return the candidates, as many as the options ask for, and on one device."""
    option = None
    if asked.labels is None:
        option = "`labels` is None"
    if asked.exclude_diagonal:
        option = "`exclude_diagonal` is True"
    if asked.symmetric:
        option = "`symmetric` is True"
    return fitting_candidates(lib, anchors, every, option, asked.symmetric)


def _with_penalty(asked: Arguments) -> Arguments:
    """Return arguments whose penalty has a weight that is a float, or raise."""
    weight = check_number("l2_weight", asked.l2_weight)
    if asked.reduction == "none" and weight != 0:
        need = 'zero where `reduction` is "none"'
        _checks.refuse_value("l2_weight", need, asked.l2_weight)
    return asked._replace(l2_weight=weight)
