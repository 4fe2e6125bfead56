"""The public margin softmax loss of embeddings, against proxies of classes."""

import math
from typing import Any

from metricops import _checks
from metricops._arguments.arrays import Inputs, float_arrays, numbers
from metricops._arguments.embeddings import one_each, row_weights
from metricops._arguments.labels import column, label_arrays
from metricops._arguments.options import check_number, check_positive, check_share
from metricops._frameworks.host import is_numpy, is_plain
from metricops._frameworks.public import public
from metricops._losses.embeddings import Call, loss_of, solvable
from metricops._losses.margin_softmax_objective import MarginSoftmax
from metricops._losses.solvable import Solvable, differentiated
from metricops._panels.records import Config, Given, Labels
from metricops._panels.roles import roles_by
from metricops._typing import Array, Reduction

_NAMES = ("embeddings", "proxies", "", "sample_weight", "")


def _admitted(
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
    own, classes = _labels(inputs, labels)
    weights = None
    if sample_weight is not None:
        like = lib.multiplying(inputs.half).wide(rows[:, :1])
        weights = row_weights(lib, like, sample_weight, "embeddings")
    temperature, roles = 1 / objective.scale, roles_by(own)
    options_of = True, False, False, 0.0, reduction, block_size
    config = Config(objective, roles, temperature, *options_of, inputs.half)
    given = Given(rows, inputs.second, None, weights)
    return Call(inputs, config, given, Labels(own, classes))


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


def _labels(inputs: Inputs, labels: Any) -> tuple[Array, Array]:
    """Return the labels of rows, and those of all classes to compare them with."""
    lib, rows, proxies = inputs.library, inputs.first, inputs.second
    classes, count = lib.positions(proxies, 0, "proxies"), lib.shape(proxies)[0]
    if is_plain(labels) or is_numpy(labels):
        numbers(lib, "labels", labels, "embeddings", rows, "of numbers of classes")
        # Beside them, no label is cut to the integers that the library has.
        classes = classes if count is None else range(count)
    given = {"labels": labels, "proxies": classes}
    found = label_arrays(lib, "embeddings", rows, **given)
    own = column(lib, "labels", found["labels"])
    own = one_each(lib, "labels", own, rows, "a label", "embedding")
    return own, found["proxies"]


def _solvable(**given: Any) -> Solvable:
    """Return a call as `value_and_grad` takes it."""
    return solvable(_admitted(**given))._replace(names=_NAMES)


@public
@differentiated(_solvable)
def margin_softmax_loss_from_embeddings(
    embeddings: Array,
    proxies: Array,
    labels: Any,
    *,
    scale: float = 64.0,
    margin: float = 0.35,
    angular_margin: float = 0.0,
    label_smoothing: float = 0.0,
    sample_weight: Any = None,
    reduction: Reduction = "mean",
    block_size: int | None = None,
) -> Array:
    """Return the softmax loss of cosines to class proxies, with a margin.

    The logit of a class is `scale` times the cosine of an embedding and the proxy of
    the class; that of the embedding's own class is ``scale * (cos(angle +
    angular_margin) - margin)``. It is CosFace [1]_ as it is, ArcFace [2]_ with
    ``margin=0.0, angular_margin=0.5``, and NormFace with neither. No matrix of logits
    is ever held; if the proxies have no gradient, it takes a matrix product less.

    Parameters
    ----------
    embeddings : array of shape (n, d), real floating or integer
        The rows.
    proxies : array of shape (c, d), real floating or integer
        A vector for each class.
    labels : array or list of shape (n,) or (n, 1)
        The index of each row's proxy. A row whose label is out of range (-1, say) takes
        no part: it has loss 0 and is not counted.
    scale : float
        What cosines are multiplied by; positive.
    margin : float
        What is subtracted from the cosine of the own class.
    angular_margin : float
        What is added to the angle to the own class, in radians, from 0 to pi. Where
        that would be more than pi, the cosine less ``angular_margin *
        sin(angular_margin)`` is taken.
    label_smoothing : float
        The share of the target that is spread evenly over all classes, from 0 to 1.
    sample_weight : number or array of shape (n,), optional
        Weights of the rows.
    reduction : {"mean", "sum", "weighted_mean", "none"}
        How to combine the rows. "mean" divides by the number of those that count,
        whatever their weights; "weighted_mean" by the sum of their weights.
    block_size : int, optional
        How many rows a panel holds. Default: as many as suit the device. Any value
        gives the same result to rounding.

    Returns
    -------
    array of shape (), or (n,) if ``reduction="none"``
        In nats, in the dtype that embeddings and proxies promote to. A row that is its
        proxy has a finite gradient.

    Raises
    ------
    TypeError
        If an argument is of a wrong dtype or library.
    ValueError
        If a shape or a value does not fit.

    References
    ----------
    .. [1] H. Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face
       Recognition", CVPR 2018, equation 4.
    .. [2] J. Deng, J. Guo, N. Xue, S. Zafeiriou, "ArcFace: Additive Angular Margin Loss
       for Deep Face Recognition", CVPR 2019, equation 3.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import margin_softmax_loss_from_embeddings
    >>> x, proxies = np.asarray([[3.0, 4.0], [0.0, 2.0]]), np.eye(2)
    >>> loss = margin_softmax_loss_from_embeddings(x, proxies, [1, 1], scale=4.0)
    >>> round(float(loss), 4)
    0.5546
    """
    call = _admitted(
        embeddings,
        proxies,
        labels,
        sample_weight,
        reduction,
        block_size,
        scale=scale,
        margin=margin,
        angular_margin=angular_margin,
        label_smoothing=label_smoothing,
    )
    return loss_of(call)
