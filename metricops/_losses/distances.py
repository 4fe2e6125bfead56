"""What every loss of distances does with its arguments."""

from typing import Any, NamedTuple

from metricops import _checks
from metricops._arguments.arrays import float_arrays
from metricops._arguments.embeddings import (
    check_unlabelled,
    fitting_candidates,
    fitting_labels,
    row_weights,
)
from metricops._losses.embeddings_call import Call, Engine
from metricops._panels.distances import METRICS
from metricops._panels.roles import roles_by
from metricops._panels.term_operation import OPERATION, value_and_gradients
from metricops._panels.term_records import Config, Given, Labels
from metricops._panels.terms import Terms
from metricops._similarity.metrics import canonical_among

REDUCTIONS = ("mean", "sum", "weighted_mean", "active_mean", "none")
_NAMES = ("anchors", "candidates", "sample_weight", "scales")
_ENGINE = Engine(OPERATION, value_and_gradients, _NAMES)


class Arguments(NamedTuple):
    """The arguments of a loss of distances, as given."""

    anchors: Any
    candidates: Any = None
    labels: Any = None
    candidate_labels: Any = None
    metric: str = "euclidean"
    normalize: bool = False
    exclude_diagonal: bool | None = None
    sample_weight: Any = None
    reduction: str = "mean"
    block_size: int | None = None


def admitted(terms: Terms, asked: Arguments) -> Call:
    """Return a call of a loss, having checked its arguments."""
    metric, block_size = _checked(asked)
    one = asked.candidates is None
    diagonal = one
    if asked.exclude_diagonal is not None:
        diagonal = _checks.check_bool("exclude_diagonal", asked.exclude_diagonal)
    main = {} if one else {"candidates": asked.candidates}
    inputs = float_arrays(anchors=asked.anchors, **main)
    lib, anchors, every = inputs.library, inputs.first, inputs.second
    lib.check_whole("anchors", anchors)
    lib.check_whole("candidates", every)
    option = "`exclude_diagonal` is True" if diagonal else None
    option = "`labels` is None" if asked.labels is None else option
    every = fitting_candidates(lib, anchors, every, option, False)
    labels, weights = Labels(None, None), None
    if asked.labels is not None:
        both = asked.labels, asked.candidate_labels
        labels = Labels(*fitting_labels(lib, anchors, every, *both))
    if asked.sample_weight is not None:
        weights = row_weights(lib, anchors, asked.sample_weight)
    roles = roles_by(labels.anchors)
    normalize = _checks.check_bool("normalize", asked.normalize)
    options = roles, metric, normalize, diagonal, asked.reduction, block_size
    given = Given(anchors, None if one else every, weights)
    return Call(inputs, Config(terms, *options), given, labels, _ENGINE)


def _checked(asked: Arguments) -> tuple[str, int | None]:
    """Return the metric and the rows of a panel, having checked the options."""
    _checks.check_reduction(asked.reduction, REDUCTIONS)
    metric = canonical_among(METRICS, asked.metric)
    if asked.labels is None:
        given = asked.candidates, asked.candidate_labels, asked.exclude_diagonal
        check_unlabelled(*given)
    return metric, _checks.check_block_size(asked.block_size)
