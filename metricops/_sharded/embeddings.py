"""The losses of similarities of a batch that several processes or devices hold."""

from typing import Any, NamedTuple

from metricops._arguments.weights import mass_of, reciprocal
from metricops._frameworks import Library
from metricops._losses.embeddings import Arguments, admitted, loss_of
from metricops._losses.npairs_embeddings import objective_of
from metricops._losses.sigmoid_objective import Sigmoids
from metricops._panels.objective import Objective
from metricops._panels.records import Candidates, Rows, problem_of
from metricops._panels.scores import pairs_of
from metricops._sharded.groups import Group, check_alike
from metricops._typing import Array


class Side(NamedTuple):
    """The anchors, or the candidates: of one member, or of all."""

    embeddings: Array
    labels: Array | None  # None: candidate i is the positive of anchor i
    ids: Array | None
    bias: Array | None  # of the candidates
    counts: list[int]  # everybody's rows, own first

    def gathered(self, group: Group) -> "Side":
        """Return the anchors, or the candidates, of all."""

        def whole(x: Array | None) -> Array | None:
            return None if x is None else group.gather(x, self.counts)

        return Side(
            group.gather(self.embeddings, self.counts),
            whole(self.labels),
            whole(self.ids),
            whole(self.bias),
            self.counts,
        )


class Member(NamedTuple):
    """A member's call, besides its two sides."""

    group: Group
    library: Library
    dtype: Any  # to compute in
    weights: Array | None  # of own anchors; None: 1
    objective: Objective
    asked: Arguments


class Found(NamedTuple):
    """Which rows count."""

    counted: Array


def npairs_loss_of_group(
    group: Group,
    anchors: Array,
    candidates: Array | None,
    labels: Any,
    *,
    label_smoothing: float = 0.0,
    denominator: str = "all",
    **options: Any,
) -> Array:
    """Return a loss whose mean over the members is the loss of the whole batch.

    The arguments are those of `npairs_loss_from_embeddings`, of this member alone. With
    ``reduction="none"``, return the losses of its own anchors.
    """
    objective = objective_of(denominator, label_smoothing, labels)
    asked = Arguments(anchors, candidates, labels, **options)
    return _loss_of_group(group, objective, asked)


def sigmoid_loss_of_group(
    group: Group, anchors: Array, candidates: Array | None, labels: Any, **options: Any
) -> Array:
    """Do what `npairs_loss_of_group` does, for `sigmoid_loss_from_embeddings`."""
    if options["exclude_diagonal"] is None:
        options["exclude_diagonal"] = candidates is None
    asked = Arguments(anchors, candidates, labels, **options)
    return _loss_of_group(group, Sigmoids(), asked)


def _loss_of_group(group: Group, objective: Objective, asked: Arguments) -> Array:
    anchors, candidates = asked.anchors, asked.candidates
    # A member with bad arguments raises here, before any other waits for it.
    call = admitted(objective, asked)
    for name in ("labels", "candidate_labels", "ids", "candidate_ids"):
        check_alike(call.inputs, name, getattr(asked, name))
    lib, given = call.inputs.library, call.given
    dtype = lib.multiplying(call.config.operands).wide_dtype(given.anchors)
    member = Member(group, lib, dtype, given.weights, objective, asked)
    own, others = call.labels.anchors, call.labels.candidates
    if asked.labels is None:  # by position, whatever the objective made of it
        own = others = None
    ids, other_ids = call.labels.ids, call.labels.candidate_ids
    rows = Side(anchors, own, ids, None, group.counts(anchors))
    columns = rows._replace(
        labels=own if others is None else others,
        ids=ids if other_ids is None else other_ids,
        bias=None if asked.candidate_bias is None else given.bias,
    )
    if candidates is not None:
        columns = columns._replace(
            embeddings=candidates, counts=group.counts(candidates)
        )
    loss = _one_way(member, rows, columns)
    return (loss + _one_way(member, columns, rows)) / 2 if asked.symmetric else loss


def _one_way(member: Member, rows: Side, columns: Side) -> Array:
    """Return the loss of own rows against everybody's columns."""
    # A member's own columns come first, so that positions are those of its rows.
    others = columns.gathered(member.group)
    asked, weights = member.asked, member.weights
    asked = asked._replace(
        anchors=rows.embeddings,
        candidates=others.embeddings,
        labels=rows.labels,
        candidate_labels=others.labels,
        ids=rows.ids,
        candidate_ids=others.ids,
        candidate_bias=others.bias,
        symmetric=False,
    )
    if asked.reduction != "none":
        factor = member.group.size * _factor(member, rows, asked)
        weights = factor if weights is None else weights * factor
        share = rows.counts[0] / max(sum(rows.counts), 1)
        l2_weight = asked.l2_weight * member.group.size * share
        asked = asked._replace(reduction="sum", l2_weight=l2_weight)
    return loss_of(admitted(member.objective, asked._replace(sample_weight=weights)))


def _factor(member: Member, rows: Side, asked: Arguments) -> Array | float:
    """Return what turns the sum of everybody's weighted losses into the reduced loss.

    1 for "sum"; else 1 over the number, or the weights, of all anchors that count, and
    0 where there is none.
    """
    lib, weights, reduction = member.library, member.weights, asked.reduction
    if reduction == "sum":
        return 1.0
    counted = _counted(member, asked)
    if counted is None and (weights is None or reduction == "mean"):
        return 1.0 / max(sum(rows.counts), 1)
    like = weights
    if like is None:
        like = lib.xp.astype(counted, member.dtype)
    own = mass_of(lib, reduction, like, weights, counted)
    return reciprocal(lib, member.group.total(own))


def _counted(member: Member, asked: Arguments) -> Array | None:
    """Return which of own rows count among everybody's columns; None: all."""
    lib, objective = member.library, member.objective
    asked = asked._replace(normalize=False, sample_weight=None)
    call = admitted(objective, asked)
    problem = problem_of(lib, call.config, call.given, call.labels)
    if problem.rows.labels is None or objective.counts_all:
        return None

    def body(_: Any, rows: Rows, columns: Candidates) -> tuple[Any, Found]:
        pairs = pairs_of(problem, rows, columns)
        counted: Any = objective.counted(lib, pairs)
        return (), Found(counted[:, 0])

    found: Found
    _, found = lib.loops.fold(body, problem.rows, problem.candidates, problem.block)
    return found.counted
