"""The passes of a loss of distances over its panels.

The module is long, as all of them take a panel in the same way.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from metricops._panels import mining
from metricops._panels.distances import Distances, distances_of, pulled
from metricops._panels.mining_keys import Keys
from metricops._panels.term_records import Candidates, FromSide, Problem, Rows
from metricops._panels.terms import Found, Masks, Part, sum_of, weighted
from metricops._typing import Array

# What each part of a loss is multiplied by, None: by 1; of what a panel comes to.
Shares = Callable[[tuple[Part, ...]], tuple[Array | float | None, ...]]


class Total(NamedTuple):
    """What the panels add up to, from one to the next."""

    candidates: Array | None  # (m, d): their gradient


class Out(NamedTuple):
    """What each panel gives of its rows."""

    parts: tuple[Part, ...]
    anchors: Array | None  # their gradient


class First(NamedTuple):
    """What a first pass finds of each row."""

    known: Array


class Met(NamedTuple):
    """Some rows beside all candidates."""

    rows: Rows  # with zeros for those that have no terms
    masks: Masks
    distances: Distances


class Panel(NamedTuple):
    """What comes of the distances of a panel."""

    rows: Rows  # with zeros for those that have no terms
    saved: tuple[Array, ...]  # what the gradient of the distances needs
    found: Found


def parts_of(problem: Problem) -> tuple[Part, ...]:
    """Return what the terms of each anchor come to: a product a panel."""
    found: tuple[Part, ...] = mining.by_keys(problem, _parts_of)
    return found


def counts_of(problem: Problem) -> tuple[Part, ...]:
    """Return parts with nothing but how many terms they have, without a product."""

    def body(_: Any, rows: Rows, candidates: Candidates) -> tuple[Any, Out]:
        masks = _masks(problem, rows, candidates)
        counts = terms.counts(lib, masks, rows.side.rows.dtype)
        return (), Out(tuple(Part(None, count, None) for count in counts), None)

    lib, terms = problem.library, problem.config.terms
    _, out = lib.loops.fold(body, problem.rows, problem.candidates, problem.block)
    parts: tuple[Part, ...] = out.parts
    return parts


def gradients(
    problem: Problem, weights: Array | None, shares: Shares, wanted: tuple[bool, bool]
) -> tuple[tuple[Part, ...], Array, Array]:
    """Return the parts, and the gradients of both sides: three products a panel.

    They are of the sum of each part's losses, times their weights and its share.
    """
    found: tuple[tuple[Part, ...], Array, Array] = mining.by_keys(
        problem, partial(_gradients, weights=weights, shares=shares, wanted=wanted)
    )
    return found


def _parts_of(problem: Problem, keys: Keys | None) -> tuple[Part, ...]:
    def body(_: Any, rows: Rows, candidates: Candidates) -> tuple[Any, Out]:
        def whole() -> Out:
            return Out(_panel(problem, rows, candidates).found.parts, None)

        if keys is None:
            return (), whole()
        masks = partial(_masks, problem, rows, candidates)
        found = mining.mined(problem, keys, rows, masks)
        few = Out((found.part,), None)
        return (), lib.when(found.complete, lambda: few, whole)

    lib, problem = problem.library, _prepared(problem)
    _, out = lib.loops.fold(body, problem.rows, problem.candidates, problem.block)
    parts: tuple[Part, ...] = out.parts
    return parts


def _gradients(
    problem: Problem,
    keys: Keys | None,
    weights: Array | None,
    shares: Shares,
    wanted: tuple[bool, bool],
) -> tuple[tuple[Part, ...], Array, Array]:
    lib, (of_anchors, of_candidates) = problem.library, wanted
    problem = _prepared(problem)
    whole = partial(_whole, problem, shares, wanted)

    def body(
        total: Total | None, rows: Rows, candidates: Candidates
    ) -> tuple[Total, Out]:
        def few() -> tuple[Total, Out]:
            sofar = None if total is None else total.candidates
            of_rows, moved = mining.pulled(problem, found, rows.weights, sofar)
            own = of_rows if of_anchors else None
            return Total(moved if of_candidates else None), Out((found.part,), own)

        if keys is None:
            return whole(total, rows, candidates)
        masks = partial(_masks, problem, rows, candidates)
        found = mining.mined(problem, keys, rows, masks)
        result: tuple[Total, Out] = lib.when(
            found.complete, few, lambda: whole(total, rows, candidates)
        )
        return result

    rows = problem.rows._replace(weights=weights)
    total, out = lib.loops.fold(body, rows, problem.candidates, problem.block)
    return out.parts, out.anchors, total.candidates


def _whole(
    problem: Problem,
    shares: Shares,
    wanted: tuple[bool, bool],
    total: Total | None,
    rows: Rows,
    candidates: Candidates,
) -> tuple[Total, Out]:
    """Return the gradients of a panel, of which every distance is computed."""
    panel = _panel(problem, rows, candidates)
    each = shares(panel.found.parts)
    error = sum_of(
        [weighted(x, one) for x, one in zip(panel.found.errors, each, strict=True)]
    )
    if panel.rows.weights is not None:
        error = error * panel.rows.weights[:, None]
    metric, places = problem.config.metric, _places(problem, rows)
    how = places, panel.saved, error, wanted
    sides = panel.rows.side, candidates.side
    of_rows, found = pulled(problem.library, metric, *sides, *how)
    if found is None:
        return Total(None), Out(panel.found.parts, of_rows)
    if panel.found.moved is not None:
        (share,) = each
        found = found + weighted(panel.found.moved, share)
    found = found if total is None else total.candidates + found
    return Total(found), Out(panel.found.parts, of_rows)


def _prepared(problem: Problem) -> Problem:
    """Return a problem with what a first pass finds, where that is asked for."""
    lib, terms = problem.library, problem.config.terms
    if not terms.looks_first:
        return problem

    def body(_: Any, rows: Rows, candidates: Candidates) -> tuple[Any, First]:
        met = _met(problem, rows, candidates)
        return (), First(terms.first(lib, met.distances.values, met.masks))

    _, out = lib.loops.fold(body, problem.rows, problem.candidates, problem.block)
    return problem._replace(
        rows=problem.rows._replace(known=out.known),
        candidates=problem.candidates._replace(known=out.known),
    )


def _panel(problem: Problem, rows: Rows, candidates: Candidates) -> Panel:
    lib, terms = problem.library, problem.config.terms
    rows, masks, distances = _met(problem, rows, candidates)
    among = FromSide(problem, rows, candidates)
    found = terms.found(lib, distances.values, masks, among)
    return Panel(rows, distances.saved, found)


def _met(problem: Problem, rows: Rows, candidates: Candidates) -> Met:
    lib, config = problem.library, problem.config
    masks = _masks(problem, rows, candidates)
    counted = config.terms.counted(lib, masks)
    if counted is not None:  # an anchor left out may hold a NaN, and 0 * NaN is one
        kept = lib.xp.where(counted[:, None], rows.side.rows, 0.0)
        rows = rows._replace(side=rows.side._replace(rows=kept))
    places = _places(problem, rows)
    sides = rows.side, candidates.side
    return Met(rows, masks, distances_of(lib, config.metric, *sides, places))


def _masks(problem: Problem, rows: Rows, candidates: Candidates) -> Masks:
    lib, config = problem.library, problem.config
    xp, every = lib.xp, candidates.side.rows
    places: Array = rows.positions
    if rows.labels is None:
        columns = lib.positions(every, 0, "candidates")
        own = places[:, None] == columns[None, :]
        return Masks(own, xp.logical_not(own))
    positives = config.roles.positives(lib, rows.labels, candidates.labels, every.dtype)
    negatives = xp.logical_not(positives)
    if config.exclude_diagonal:
        positives = lib.put_own(positives, places, False)
        negatives = lib.put_own(negatives, places, False)
    return Masks(positives, negatives)


def _places(problem: Problem, rows: Rows) -> Array | None:
    """Return where the rows are among the candidates, if they are."""
    return rows.positions if problem.shared else None
