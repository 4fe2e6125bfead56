"""The losses of similarities of a batch that several processes or devices hold."""

from collections.abc import Callable
from typing import Any, NamedTuple

from metricops._arguments.weights import mass_of, reciprocal
from metricops._frameworks import Library, unwrap
from metricops._losses.embeddings import Arguments, admitted
from metricops._losses.solvable import Solvable
from metricops._panels.objective import Objective
from metricops._panels.records import Candidates, Given, Labels, Rows, problem_of
from metricops._panels.scores import pairs_of
from metricops._sharded.groups import Group, gathered
from metricops._typing import Array

# What decides which anchors count.
_ROLES = (
    *("anchors", "candidates", "labels", "candidate_labels", "exclude_diagonal"),
    *("ids", "candidate_ids", "block_size"),
)


class Side(NamedTuple):
    """The anchors, or the candidates: of one member, or of all."""

    embeddings: Array
    labels: Array | None  # None: candidate i is the positive of anchor i
    ids: Array | None
    bias: Array | None  # of the candidates
    counts: list[Any]  # everybody's rows, own first

    def gathered(self, member: "Member") -> "Side":
        """Return the anchors, or the candidates, of all."""
        arrays = self.embeddings, self.labels, self.ids, self.bias
        group, lib = member.group, member.library
        every, labels, ids, bias = gathered(group, lib, arrays, self.counts)
        return Side(every, labels, ids, bias, self.counts)


class Member(NamedTuple):
    """A member's call, besides its two sides."""

    group: Group
    library: Library
    dtype: Any  # to compute in
    weights: Array | None  # of own anchors; None: 1
    objective: Objective
    loss: Callable[..., Array]
    named: dict[str, Any]  # the arguments of the loss


class Found(NamedTuple):
    """Which rows count."""

    counted: Array


def loss_of_group(
    group: Group,
    loss: Callable[..., Array],
    own: Solvable,
    named: dict[str, Any],
    counts: list[list[Any]],
) -> Array:
    """Return a member's loss, of its own call and of all arguments by their names."""
    lib, config = own.inputs.library, own.config
    given, labels = Given(*own.arrays), labels_of_sides(own, named)
    anchors, candidates = unwrap(named["anchors"]), unwrap(named["candidates"])
    of_rows, *_ = counts
    *_, of_columns = counts
    dtype = lib.multiplying(config.operands).wide_dtype(given.anchors)
    member = Member(group, lib, dtype, given.weights, config.objective, loss, named)
    every = anchors if candidates is None else candidates
    bias = None if named.get("candidate_bias") is None else given.bias
    rows = Side(anchors, labels.anchors, labels.ids, None, of_rows)
    columns = Side(every, labels.candidates, labels.candidate_ids, bias, of_columns)
    found = _one_way(member, rows, columns)
    if named.get("symmetric") and not is_one_set(own):
        found = (found + _one_way(member, columns, rows)) / 2
    if config.l2_weight != 0:
        sides, rows_of = wide_sides(lib, given, dtype), (of_rows, of_columns)
        found = found + penalty(group, lib, config.l2_weight, sides, rows_of)
    return own.inputs.narrow(found)


def _one_way(member: Member, rows: Side, columns: Side) -> Array:
    """Return the loss of own rows against everybody's columns."""
    # A member's own columns come first, so that positions are those of its rows.
    others = columns.gathered(member)
    changed = {
        "anchors": rows.embeddings,
        "candidates": others.embeddings,
        "labels": rows.labels,
        "candidate_labels": others.labels,
        "ids": rows.ids,
        "candidate_ids": others.ids,
        "candidate_bias": others.bias,
        "symmetric": False,
    }
    named = {name: changed.get(name, x) for name, x in member.named.items()}
    weights = member.weights
    if named["reduction"] != "none":
        factor = member.group.size * _factor(member, rows, named)
        weights = factor if weights is None else weights * factor
        named["reduction"] = "sum"
    if "l2_weight" in named:
        named["l2_weight"] = 0.0  # of everybody's rows, by `penalty`
    return member.loss(**{**named, "sample_weight": weights})


def _factor(member: Member, rows: Side, named: dict[str, Any]) -> Array | float:
    """Return what turns the sum of everybody's weighted losses into the reduced loss.

    1 for "sum"; else 1 over the number, or the weights, of all anchors that count, and
    0 where there is none.
    """
    lib, weights, reduction = member.library, member.weights, named["reduction"]
    if reduction == "sum":
        return 1.0
    counted = _counted(member, named)
    if counted is None and (weights is None or reduction == "mean"):
        return 1.0 / member.group.number(rows.counts)
    like = weights
    if like is None:
        like = lib.xp.astype(counted, member.dtype)
    own = mass_of(lib, reduction, like, weights, counted)
    return reciprocal(lib, member.group.total(own))


def _counted(member: Member, named: dict[str, Any]) -> Array | None:
    """Return which of own rows count among everybody's columns; None: all."""
    lib, objective = member.library, member.objective
    if objective.counts_all:
        return None
    roles = {name: named[name] for name in _ROLES if name in named}
    call = admitted(objective, Arguments(**roles))
    problem = problem_of(lib, call.config, call.given, call.labels)
    if problem.rows.labels is None:
        return None

    def body(_: Any, rows: Rows, columns: Candidates) -> tuple[Any, Found]:
        pairs = pairs_of(problem, rows, columns)
        counted: Any = objective.counted(lib, pairs)
        return (), Found(counted[:, 0])

    found: Found
    _, found = lib.loops.fold(body, problem.rows, problem.candidates, problem.block)
    return found.counted


def labels_of_sides(own: Solvable, named: dict[str, Any]) -> Labels:
    """Return the labels and ids of both sides; no labels where pairs are by position.

    `named` are the arguments of the call by their names.
    """
    labels = Labels(*own.constants)
    others = labels.anchors if labels.candidates is None else labels.candidates
    ids = labels.ids if labels.candidate_ids is None else labels.candidate_ids
    if named["labels"] is None:  # whatever the objective made of it
        return Labels(None, None, labels.ids, ids)
    return Labels(labels.anchors, others, labels.ids, ids)


def is_one_set(own: Solvable) -> bool:
    """Return whether both sides are the same, so that both directions are."""
    given, labels = Given(*own.arrays), Labels(*own.constants)
    roles = labels.candidates, labels.candidate_ids
    return given.candidates is None and roles == (None, None)


def wide_sides(lib: Library, given: Given, dtype: Any) -> tuple[Array, Array]:
    """Return both sides in the dtype in which a loss is computed."""
    every = given.anchors if given.candidates is None else given.candidates
    one, other = (
        x if x.dtype == dtype else lib.xp.astype(x, dtype)
        for x in (given.anchors, every)
    )
    return one, other


def penalty(
    group: Group,
    lib: Library,
    weight: float,
    sides: tuple[Array, Array],
    counts: tuple[list[Any], list[Any]],
) -> Array | float:
    """Return own share of the penalty of the lengths of everybody's rows."""
    one, other = (
        lib.xp.sum(x * x) / group.number(n) for x, n in zip(sides, counts, strict=True)
    )
    return (one + other) * (weight * group.size / 4)
