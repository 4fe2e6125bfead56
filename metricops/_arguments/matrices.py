"""The arguments of a loss of a similarity matrix: the matrix and its labels."""

from typing import Any

from metricops import _checks
from metricops._arguments.arrays import Inputs, float_arrays
from metricops._frameworks import Library
from metricops._typing import Array


def checked_similarity(similarity: Array, reduction: str) -> Inputs:
    """Return a similarity matrix as an array of floats, having checked its rank."""
    _checks.check_reduction(reduction)
    inputs = float_arrays(similarity=similarity)
    shape = inputs.library.shape(inputs.first)
    _checks.check_rank("similarity", shape, 2, "(n, m)")
    inputs.library.check_whole("similarity", inputs.first)
    return inputs


def given_labels(labels: Any, others: Any) -> dict[str, Any]:
    """Return those labels that are given, by argument."""
    given = {"labels": labels}
    if others is not None:
        given["column_labels"] = others
    return given


def fitting_labels(
    lib: Library, similarity: Array, given: dict[str, Array]
) -> tuple[Array, Array]:
    """Return the labels of the rows and of the columns, one for each."""
    n, m = lib.shape(similarity)
    labels = given["labels"]
    name = "column_labels" if "column_labels" in given else "labels"
    others = given[name]
    _check_count("labels", lib.shape(labels), n, "rows")
    _check_count(name, lib.shape(others), m, "columns")
    need = "`labels` must have a label for each row of `similarity`."
    rows = lib.agree(labels, 0, similarity, 0, need)
    need = f"`{name}` must have a label for each column of `similarity`."
    return rows, lib.agree(others, 0, similarity, 1, need)


def _check_count(name: str, shape: _checks.Shape, count: int | None, word: str) -> None:
    """Raise unless there is a label for each of `count` rows or columns."""
    given, *_ = shape
    if not _checks.same(given, count):
        _checks.refuse_shape(name, f"a label for each of {count} {word}", shape)
