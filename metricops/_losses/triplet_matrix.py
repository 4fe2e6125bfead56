"""The triplet loss of a matrix of distances that is given: of any distance at all."""

from typing import Any, NamedTuple

from metricops import _checks
from metricops._arguments.arrays import float_arrays
from metricops._arguments.labels import column, label_arrays
from metricops._arguments.matches import matches
from metricops._arguments.weights import sample_weights
from metricops._frameworks import Arrays, Library, Operation, register
from metricops._frameworks.public import public
from metricops._losses.triplet_terms import Triplets
from metricops._panels.terms import Found, Masks, Part, reduced
from metricops._typing import Array


class Config(NamedTuple):
    """What is static about a call."""

    terms: Triplets


def _found(lib: Library, config: Config, arrays: Arrays, constants: Arrays) -> Found:
    """Return what the triplets of each row come to."""
    (distances,) = arrays
    among: Any = None  # no distances of candidates to each other
    return config.terms.found(lib, distances, Masks(*constants), among)


def value(lib: Library, config: Config, arrays: Arrays, constants: Arrays) -> Array:
    """Return the sum of each row's triplets, shape (n,)."""
    (part,) = _found(lib, config, arrays, constants).parts
    return part.losses


def value_and_saved(
    lib: Library,
    config: Config,
    arrays: Arrays,
    constants: Arrays,
    wanted: tuple[bool, ...],
) -> tuple[Array, Arrays]:
    """Return the same, and the derivative by the distances."""
    found = _found(lib, config, arrays, constants)
    (part,) = found.parts
    return part.losses, found.errors


def backward(
    lib: Library,
    config: Config,
    arrays: Arrays,
    constants: Arrays,
    saved: Arrays,
    upstream: Array,
    wanted: tuple[bool, ...],
) -> Arrays:
    """Return the gradient of ``sum(upstream * value)``."""
    (error,), (there,) = saved, wanted
    return (error * upstream[:, None] if there else None,)


# Of no size is autodiff as good: how ties share a gradient is a rule, which it lacks.
_OPERATION = register(
    Operation("triplets_of_matrix", Config, value, value_and_saved, backward)
)


@public
def triplet_loss_of_matrix(
    distances: Array,
    labels: Any,
    *,
    margin: float | None = 1.0,
    positives: str = "all",
    negatives: str = "semihard",
    sample_weight: Any = None,
    reduction: str = "mean",
) -> Array:
    """Return what `triplet_loss_from_embeddings` does, of the distances of one set.

    `distances` is of shape (n, n), from each to all, and `labels` (n,) or (n, 1).
    """
    _checks.check_reduction(reduction)
    inputs = float_arrays(distances=distances)
    lib, wide = inputs.library, inputs.first
    shape = lib.shape(wide)
    if len(shape) != 2 or not _checks.same(*shape):
        _checks.refuse_shape("distances", "shape (n, n)", shape)
    given = label_arrays(lib, "distances", wide, labels=labels)["labels"]
    rows = column(lib, "labels", given)
    _checks.check_same_shape("labels", lib.shape(rows), "the rows", shape[:1])
    rows = lib.agree(rows, 0, wide, 0, "`labels` must have a label for each row.")
    terms = Triplets(1, margin, positives, negatives, False)
    masks = _masks(lib, wide, rows)
    losses = lib.differentiable(_OPERATION, Config(terms), (wide,), masks)
    weights = sample_weights(lib, sample_weight, "distances", losses)
    counts = _counts(lib, terms, masks, losses)
    part = Part(losses, counts, counts)
    return inputs.narrow(reduced(lib, reduction, weights, None, (part,)))


def _masks(lib: Library, distances: Array, labels: Array) -> Masks:
    """Return who is a positive, and who a negative, of each row."""
    xp, places = lib.xp, lib.positions(distances, 0, "distances")
    alike = matches(lib, labels, labels)
    others = places[:, None] != places[None, :]
    return Masks(xp.logical_and(alike, others), xp.logical_not(alike))


def _counts(lib: Library, terms: Triplets, masks: Masks, like: Array) -> Array:
    """Return how many triplets each row has, of which each has one negative."""
    positives = lib.xp.sum(lib.xp.astype(masks.positives, like.dtype), axis=1)
    each = positives if terms.positives == "all" else lib.xp.ones_like(positives)
    return lib.xp.where(terms.counted(lib, masks), each, 0.0)
