"""The public N-pairs loss of embeddings."""

from typing import Any, NamedTuple

from metricops import _checks
from metricops._arguments.arrays import Inputs, float_arrays
from metricops._arguments.labels import check_classes, column, label_arrays
from metricops._arguments.options import check_l2_weight, temperature_of
from metricops._arguments.weights import sample_weights
from metricops._frameworks import Arrays, Library, is_given, spread
from metricops._frameworks.public import public
from metricops._panels import embeddings
from metricops._panels.embeddings import Config
from metricops._typing import Array, Reduction


class Options(NamedTuple):
    """The options of a call, as given."""

    temperature: Any
    normalize: bool
    symmetric: bool
    exclude_diagonal: bool
    l2_weight: float
    reduction: str
    block_size: int | None


@public
def npairs_loss_from_embeddings(
    anchors: Array,
    candidates: Array | None = None,
    labels: Any = None,
    *,
    candidate_labels: Any = None,
    temperature: Any = 1.0,
    normalize: bool = False,
    symmetric: bool = False,
    exclude_diagonal: bool = False,
    l2_weight: float = 0.0,
    sample_weight: Any = None,
    reduction: Reduction = "mean",
    block_size: int | None = None,
) -> Array:
    """Return the N-pairs loss of embeddings, without ever holding their similarities.

    `npairs_loss` of ``anchors @ candidates.T / temperature``, in panels of anchors:
    beyond its arguments it takes memory for the gradients and for a panel. With
    `normalize` it is InfoNCE [2]_, with `symmetric` too CLIP's loss [3]_.

    Parameters
    ----------
    anchors : array of shape (n, d), real floating or integer
        The embeddings of the rows.
    candidates : array of shape (m, d), real floating or integer, optional
        The embeddings of the columns. Default: the anchors, which takes `labels`.
    labels : array or list of shape (n,), (n, 1) or (n, c), optional
        The label of each anchor, or several labels multi-hot. Default: candidate i is
        the positive of anchor i, and further candidates are negatives.
    candidate_labels : array or list of shape (m,), (m, 1) or (m, c), optional
        The same of each candidate. Default: `labels`.
    temperature : float or array of shape ()
        What divides the similarities; positive. An array is differentiable.
    normalize : bool
        Whether to scale embeddings to unit length first.
    symmetric : bool
        Whether to take the mean with the loss of the candidates against the anchors;
        n must be m. Each direction is reduced by its own count.
    exclude_diagonal : bool
        Whether pair (i, i) takes no part; n must be m, and `labels` given.
    l2_weight : float
        Adds ``l2_weight * (mean ||a||**2 + mean ||c||**2) / 4``, as [1]_ does.
    sample_weight : number or array of shape (n,), optional
        Weights of the anchors, and of the candidates if `symmetric`.
    reduction : {"mean", "sum", "weighted_mean", "none"}
        How to combine the anchors. "mean" divides by the number of anchors that have a
        positive, whatever their weights; "weighted_mean" by the sum of their weights.
    block_size : int, optional
        How many anchors a panel holds. Default: as many as suit the device. Any value
        gives the same result to rounding.

    Returns
    -------
    array of shape (), or (n,) if ``reduction="none"``
        Nonnegative without `l2_weight`, in nats, in the dtype that the embeddings
        promote to. An anchor without a positive has loss 0 and gradient 0.

    Raises
    ------
    TypeError
        If an argument is of a wrong dtype or library.
    ValueError
        If a shape or a value does not fit, or two options exclude each other.

    References
    ----------
    .. [1] K. Sohn, "Improved Deep Metric Learning with Multi-class N-pair Loss
       Objective", NeurIPS 2016, equation 7 and section 3.2.2.
    .. [2] A. van den Oord, Y. Li, O. Vinyals, "Representation Learning with
       Contrastive Predictive Coding", 2018, equation 4.
    .. [3] A. Radford et al., "Learning Transferable Visual Models From Natural Language
       Supervision", ICML 2021, figure 3.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import npairs_loss_from_embeddings
    >>> anchors = np.asarray([[1.0, 0.0], [0.0, 1.0]])
    >>> candidates = np.asarray([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    >>> loss = npairs_loss_from_embeddings(anchors, candidates, temperature=0.5)
    >>> round(float(loss), 4)
    0.1429
    """
    _checks.check_reduction(reduction)
    options = Options(
        temperature,
        normalize,
        symmetric,
        exclude_diagonal,
        l2_weight,
        reduction,
        block_size,
    )
    inputs, config, arrays, constants = _checked(
        anchors, candidates, labels, candidate_labels, sample_weight, options
    )
    run = inputs.library.differentiable
    return inputs.narrow(run(embeddings.OPERATION, config, arrays, constants))


@public
def npairs_loss_and_grad(
    anchors: Array,
    candidates: Array | None = None,
    labels: Any = None,
    *,
    candidate_labels: Any = None,
    temperature: Any = 1.0,
    normalize: bool = False,
    symmetric: bool = False,
    exclude_diagonal: bool = False,
    l2_weight: float = 0.0,
    sample_weight: Any = None,
    reduction: Reduction = "mean",
    block_size: int | None = None,
) -> tuple[Array, tuple[Array, Array | None, Array]]:
    """Return the N-pairs loss of embeddings and its gradients, without autodiff.

    How those train whose arrays have no autodiff: NumPy, CuPy, Dask. The arguments are
    those of `npairs_loss_from_embeddings`.

    Parameters
    ----------
    anchors, candidates, labels, candidate_labels, temperature, normalize, symmetric
        As in `npairs_loss_from_embeddings`.
    exclude_diagonal, l2_weight, sample_weight, block_size
        As in `npairs_loss_from_embeddings`.
    reduction : {"mean", "sum"}
        How to combine the anchors.

    Returns
    -------
    loss : array of shape ()
        As `npairs_loss_from_embeddings` returns it.
    gradients : tuple of three arrays
        By the anchors (n, d), the candidates (m, d) and the temperature (). With
        ``candidates=None`` the second is None and the first has both parts.

    Raises
    ------
    TypeError
        If an argument is of a wrong dtype or library.
    ValueError
        If a shape or a value does not fit, or two options exclude each other.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import npairs_loss_and_grad
    >>> anchors = np.asarray([[1.0, 0.0], [0.0, 1.0]])
    >>> loss, (of_anchors, _, _) = npairs_loss_and_grad(anchors, 2 * anchors)
    >>> of_anchors.round(4).tolist()
    [[-0.1192, 0.1192], [0.1192, -0.1192]]
    """
    _checks.check_reduction(reduction, ("mean", "sum"))
    options = Options(
        temperature,
        normalize,
        symmetric,
        exclude_diagonal,
        l2_weight,
        reduction,
        block_size,
    )
    inputs, config, arrays, constants = _checked(
        anchors, candidates, labels, candidate_labels, sample_weight, options
    )
    if arrays[2] is None:
        number = inputs.library.asarray(config.temperature, arrays[0], arrays[0].dtype)
        config, arrays = (
            config._replace(temperature=None),
            (*arrays[:2], number, arrays[3]),
        )
    lib = inputs.library
    loss, saved = embeddings.OPERATION.value_and_saved(
        lib, config, arrays, constants, is_given(arrays)
    )
    found = spread(arrays, saved)
    gradients = tuple(None if x is None else inputs.narrow(x) for x in found)
    return inputs.narrow(loss), (gradients[0], gradients[1], gradients[2])


def _checked(
    anchors: Any,
    candidates: Any,
    labels: Any,
    candidate_labels: Any,
    sample_weight: Any,
    options: Options,
) -> tuple[Inputs, Config, Arrays, Arrays]:
    """Return what a call is made of, having made sure that all of it fits."""
    _check_options(candidates, labels, candidate_labels, options)
    given = {"anchors": anchors}
    if candidates is not None:
        given["candidates"] = candidates
    inputs = float_arrays(**given)
    lib = inputs.library
    left, right = _check_embeddings(lib, inputs.arrays, labels is None, options)
    constants = (None, None)
    if labels is not None:
        constants = _check_labels(lib, left, right, labels, candidate_labels)
    number, array = temperature_of(lib, "anchors", left, options.temperature)
    weights = _weights(lib, left, sample_weight)
    targets = "position"
    if constants[0] is not None:
        targets = "labels" if constants[0].ndim == 1 else "multihot"
    config = Config(
        targets,
        bool(options.exclude_diagonal),
        options.block_size,
        bool(options.symmetric),
        bool(options.normalize),
        number,
        float(options.l2_weight),
        options.reduction,
    )
    arrays = (left, None if candidates is None else right, array, weights)
    return inputs, config, arrays, constants


def _check_options(candidates: Any, labels: Any, others: Any, options: Options) -> None:
    if labels is None:
        if candidates is None:
            _checks.refuse_value("labels", "given where `candidates` is None", None)
        if others is not None:
            _checks.refuse_value("labels", "given where `candidate_labels` is", None)
        if options.exclude_diagonal:
            _checks.refuse_value(
                "labels", "given where `exclude_diagonal` is True", None
            )
    check_l2_weight(options.l2_weight)
    if options.reduction == "none" and options.l2_weight != 0:
        need = 'zero where `reduction` is "none"'
        _checks.refuse_value("l2_weight", need, options.l2_weight)
    if options.block_size is not None:
        _checks.check_positive_int("block_size", options.block_size)


def _check_embeddings(
    lib: Library, arrays: tuple[Array, ...], paired: bool, options: Options
) -> tuple[Array, Array]:
    left, right = arrays[0], arrays[-1]
    n, m = lib.shape(left), lib.shape(right)
    _checks.check_rank("anchors", n, 2, "(n, d)")
    if len(m) != 2 or not _checks.same(n[1], m[1]):
        _checks.refuse_shape("candidates", f"shape (m, {n[1]}), to fit `anchors`", m)
    square = options.symmetric or options.exclude_diagonal
    if square and not _checks.same(n[0], m[0]):
        option = "symmetric" if options.symmetric else "exclude_diagonal"
        need = f"as many rows as `anchors`, {n[0]}, where `{option}` is True"
        _checks.refuse_shape("candidates", need, m)
    if paired and n[0] is not None and m[0] is not None and m[0] < n[0]:
        need = f"a row for each of {n[0]} anchors where `labels` is None"
        _checks.refuse_shape("candidates", need, m)
    if len(arrays) == 2:
        right = lib.agree(right, 1, left, 1, "`candidates` must fit `anchors`.")
        if square:
            right = lib.agree(right, 0, left, 0, "`candidates` must fit `anchors`.")
        if paired:
            need = (
                "`candidates` must have a row for each anchor where `labels` is None."
            )
            right = lib.cover(right, left, need)
    return left, right


def _check_labels(
    lib: Library, left: Array, right: Array, labels: Any, others: Any
) -> tuple[Array, Array | None]:
    given = {"labels": labels}
    if others is not None:
        given["candidate_labels"] = others
    arrays = label_arrays(lib, "anchors", left, **given)
    shapes = [lib.shape(x) for x in arrays]
    if any(len(shape) != 1 and shape[-1:] != (1,) for shape in shapes):
        for name, shape in zip(given, shapes, strict=True):
            need = (
                "(n,), (n, 1) or (n, c)" if name == "labels" else "(m, c), as `labels`"
            )
            _checks.check_rank(name, shape, 2, need)
        check_classes(lib, arrays, "candidate_labels")
    else:
        arrays = [column(lib, name, x) for name, x in zip(given, arrays, strict=True)]
    name = list(given)[-1]
    for side, x, y, word in (
        ("labels", arrays[0], left, "anchor"),
        (name, arrays[-1], right, "candidate"),
    ):
        count = lib.shape(y)[0]
        if not _checks.same(lib.shape(x)[0], count):
            need = f"a label for each of {count} {word}s"
            _checks.refuse_shape(side, need, lib.shape(x))
    first = lib.agree(
        arrays[0], 0, left, 0, "`labels` must have a label for each anchor."
    )
    need = f"`{name}` must have a label for each candidate."
    second = lib.agree(arrays[-1], 0, right, 0, need)
    return first, None if others is None and second is first else second


def _weights(lib: Library, anchors: Array, sample_weight: Any) -> Array | None:
    """Return a weight for each anchor."""
    if sample_weight is None:
        return None
    like = lib.xp.ones_like(lib.xp.sum(anchors, axis=1))
    weights = sample_weights(lib, sample_weight, "anchors", like)
    return like * weights if lib.shape(weights) == () else weights
