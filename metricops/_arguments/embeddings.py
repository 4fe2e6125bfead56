"""What the arguments of a loss of embeddings become: two sides, labels, numbers."""

from typing import Any

from metricops import _checks
from metricops._arguments.arrays import numbers
from metricops._arguments.labels import check_classes, column, label_arrays
from metricops._arguments.weights import sample_weights
from metricops._frameworks import Library
from metricops._typing import Array


def fitting_candidates(
    lib: Library, anchors: Array, candidates: Array, option: str | None, square: bool
) -> Array:
    """Return the candidates, having made sure that they fit the anchors.

    `option` is the option that asks for a candidate for each anchor, in words, or None.
    `square` says whether there may be no other candidates.
    """
    n, m = lib.shape(anchors), lib.shape(candidates)
    if len(n) != 2:
        _checks.check_rank("anchors", n, 2, "(n, d)")
    if len(m) != 2 or not _checks.same(n[1], m[1]):
        _checks.refuse_shape("candidates", f"shape (m, {n[1]}), to fit `anchors`", m)
    if option is not None and n[0] is not None and m[0] is not None:
        if square and n[0] != m[0]:
            need = f"as many rows as `anchors`, {n[0]}, where {option}"
            _checks.refuse_shape("candidates", need, m)
        if m[0] < n[0]:
            need = f"a row for each of {n[0]} anchors where {option}"
            _checks.refuse_shape("candidates", need, m)
    if candidates is anchors or None not in (*n, *m):
        return candidates
    need = "`candidates` must fit `anchors`."
    candidates = lib.agree(candidates, 1, anchors, 1, need)
    if square:
        return lib.agree(candidates, 0, anchors, 0, need)
    if option is None:
        return candidates
    need = f"`candidates` must have a row for each anchor where {option}."
    return lib.cover(candidates, anchors, need)


def check_unlabelled(
    candidates: Any, candidate_labels: Any, exclude_diagonal: Any
) -> None:
    """Raise where another argument needs labels, of which there are none."""
    if candidates is None:
        _checks.refuse_value("labels", "given where `candidates` is None", None)
    if candidate_labels is not None:
        _checks.refuse_value("labels", "given where `candidate_labels` is", None)
    if exclude_diagonal:
        need = "given where `exclude_diagonal` is True"
        _checks.refuse_value("labels", need, None)


def fitting_labels(
    lib: Library, anchors: Array, candidates: Array, labels: Any, others: Any
) -> tuple[Array, Array | None]:
    """Return the labels of both sides, both (n,) or both multi-hot.

    Those of the candidates are None if they are those of the anchors.
    """
    given = {"labels": labels}
    if others is not None:
        given["candidate_labels"] = others
    named = _alike(lib, label_arrays(lib, "anchors", anchors, **given))
    return _both_sides(lib, named, anchors, candidates, "a label")


def fitting_ids(
    lib: Library, anchors: Array, candidates: Array, ids: Any, others: Any
) -> tuple[Array | None, Array | None]:
    """Return the ids of both sides, (n,) and (m,).

    Those of the candidates are None if they are those of the anchors.
    """
    if ids is None:
        if others is not None:
            _checks.refuse_value("ids", "given where `candidate_ids` is", None)
        return None, None
    given = {"ids": ids}
    if others is not None:
        given["candidate_ids"] = others
    arrays = label_arrays(lib, "anchors", anchors, **given)
    named = {name: column(lib, name, x) for name, x in arrays.items()}
    return _both_sides(lib, named, anchors, candidates, "an id")


def fitting_bias(lib: Library, candidates: Array, bias: Any) -> Array:
    """Return a bias for each candidate."""
    need, kinds = "of real numbers", ("float", "int")
    array = numbers(lib, "candidate_bias", bias, "anchors", candidates, need, kinds)
    shape, count = lib.shape(array), lib.shape(candidates)[0]
    if len(shape) != 1 or not _checks.same(shape[0], count):
        known = "m" if count is None else count
        _checks.refuse_shape("candidate_bias", f"shape ({known},)", shape)
    need = "`candidate_bias` must have a number for each candidate."
    return lib.agree(array, 0, candidates, 0, need)


def _alike(lib: Library, named: dict[str, Array]) -> dict[str, Array]:
    """Return labels that are all of shape (n,), or all multi-hot."""
    shapes = {name: lib.shape(x) for name, x in named.items()}
    # If one side is known to have one column, an unknown width of the other is 1 too.
    one_known = any(_is_column(shape, (1,)) for shape in shapes.values())
    widths = (1, None) if one_known else (1,)
    if all(_is_column(shape, widths) for shape in shapes.values()):
        return {name: column(lib, name, x) for name, x in named.items()}
    if len(shapes["labels"]) == 1 or _is_column(shapes["labels"], (1,)):
        need = "shape (m,) or (m, 1), as `labels`"
        _checks.refuse_shape("candidate_labels", need, shapes["candidate_labels"])
    for name, shape in shapes.items():
        need = "(n,), (n, 1) or (n, c)" if name == "labels" else "(m, c), as `labels`"
        _checks.check_rank(name, shape, 2, need)
    check_classes(lib, named)
    return named


def _is_column(shape: _checks.Shape, widths: tuple[int | None, ...]) -> bool:
    """Return whether labels of this shape are one for each row."""
    return len(shape) == 1 or (len(shape) == 2 and shape[1] in widths)


def _both_sides(
    lib: Library, named: dict[str, Array], anchors: Array, candidates: Array, what: str
) -> tuple[Array, Array | None]:
    """Return labels or ids of both sides, having made sure that there are enough.

    `named` are those of the anchors, and maybe those of the candidates, by argument.
    """
    (name, given), *others = named.items()
    own = one_each(lib, name, given, anchors, what, "anchor")
    if others:
        ((name, given),) = others
        return own, one_each(lib, name, given, candidates, what, "candidate")
    same = one_each(lib, name, own, candidates, what, "candidate")
    return own, None if same is own else same


def one_each(
    lib: Library, name: str, x: Array, rows: Array, what: str, word: str
) -> Array:
    """Return labels or ids, having made sure that there is one for each of the rows."""
    count = lib.shape(rows)[0]
    if not _checks.same(lib.shape(x)[0], count):
        need = f"{what} for each of {count} {word}s"
        _checks.refuse_shape(name, need, lib.shape(x))
    return lib.agree(x, 0, rows, 0, f"`{name}` must have {what} for each {word}.")


def row_weights(
    lib: Library, anchors: Array, sample_weight: Any, name: str = "anchors"
) -> Array:
    """Return a weight for each anchor; these are the argument `name`."""
    like = lib.xp.ones_like(lib.xp.sum(anchors, axis=1))
    weights = sample_weights(lib, sample_weight, name, like)
    return like * weights if lib.shape(weights) == () else weights
