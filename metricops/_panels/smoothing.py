"""Label smoothing: a share e of an anchor's target is spread over all its candidates.

With targets t of sum 1, scores s, and M the mean of the scores that take part, the
cross-entropy against ``(1 - e) * t + e / k`` is::

    log Z - (1 - e) * sum(t * s) - e * M

The objective computes the first two terms. The last is added here, from the product of
an anchor with the sum of its candidates, which needs no panel of scores. By position
the objective leaves e out, and ``e * (s₊ - M)`` is added.

With ids each row has candidates of its own, and their sums are products with ones and
zeros. Halves would round those, so they are widened for such a call.
"""

from typing import Any, NamedTuple

from metricops._panels.chain import Direction
from metricops._panels.objective import masked
from metricops._panels.one_way import plus_first
from metricops._panels.plans import Directions, turned_given
from metricops._panels.records import (
    Candidates,
    Given,
    Labels,
    Problem,
    Rows,
    problem_of,
)
from metricops._panels.scores import Side, pairs_of, side_of
from metricops._similarity.normalize import unit_gradient
from metricops._typing import Array


class Sums(NamedTuple):
    """What is added up of the candidates of some rows, or of the rows of candidates."""

    found: Array


class Spread(NamedTuple):
    """Some rows, and what each gives to all its candidates."""

    rows: Rows
    given: Array


def losses(
    problem: Problem, given: Given, labels: Labels, directions: Directions
) -> Directions:
    """Return the losses of each direction with the term of this module."""
    ways = _ways(problem, given, labels)
    return tuple(_smoothed(*way) for way in zip(ways, directions, strict=True))


def gradients(
    problem: Problem,
    given: Given,
    labels: Labels,
    directions: Directions,
    upstreams: list[Array],
) -> Given:
    """Return the gradients of the mean of the directions' terms, weighted."""
    ways = zip(_ways(problem, given, labels), directions, upstreams, strict=True)
    found, *turned = (_gradients(*way) for way in ways)
    for other in turned:
        back = other._replace(anchors=other.candidates, candidates=other.anchors)
        pairs = zip(found, back, strict=True)
        found = Given(*(None if x is None else (x + y) / 2 for x, y in pairs))
    if given.candidates is None:
        both = found.anchors + found.candidates
        found = found._replace(anchors=both, candidates=None)
    return found


def plus(some: Given, more: Given) -> Given:
    """Return those gradients that are wanted, with what is to be added to them."""
    pairs = zip(some, more, strict=True)
    return Given(*(x if x is None or y is None else x + y for x, y in pairs))


def _ways(problem: Problem, given: Given, labels: Labels) -> list[Problem]:
    """Return the problem of each direction."""
    if not problem.symmetric:
        return [problem]
    turned = turned_given(given, labels)
    return [problem, problem_of(problem.library, problem.config, *turned)]


def _smoothed(problem: Problem, one: Direction) -> Direction:
    """Return the losses of a direction with its term."""
    lib, xp = problem.library, problem.library.xp
    side = _side(problem, one)
    sums, bias, count = _of_candidates(problem)
    term = -_score(problem, side, sums, bias) / count
    if problem.rows.labels is None:
        own = problem.candidates.bias
        own, _ = (None, None) if own is None else lib.split(own, side.anchors)
        term = term + _score(problem, side, lib.wide(problem.rows.paired), own)
    found = one.losses + problem.config.objective.smoothing * term
    if one.counted is not None:
        found = xp.where(one.counted, found, 0.0)
    return one._replace(losses=found)


def _gradients(problem: Problem, one: Direction, upstream: Array) -> Given:
    """Return the gradients of the terms' sum weighted by `upstream`, of both sides."""
    lib, xp, scale = problem.library, problem.library.xp, problem.candidates.scale
    side = _side(problem, one)
    sums, _, count = _of_candidates(problem)
    if one.counted is not None:
        upstream = xp.where(one.counted, upstream, 0.0)
    own = upstream * problem.config.objective.smoothing
    each = (-own / count)[:, None]
    of_anchors = sums * each
    of_candidates = _of_rows(problem, side.anchors * each)
    of_bias = _of_rows(problem, each)[:, 0]
    if problem.rows.labels is None:
        of_anchors = of_anchors + lib.wide(problem.rows.paired) * own[:, None]
        of_candidates = plus_first(lib, of_candidates, side.anchors * own[:, None])
        of_bias = plus_first(lib, of_bias, own)
    of_anchors, of_candidates = of_anchors * scale, of_candidates * scale
    of_temperature = -xp.sum(side.anchors * of_anchors) * scale
    if side.units is not None:
        of_anchors = unit_gradient(lib, side.units, of_anchors)
    if problem.units is not None:
        of_candidates = unit_gradient(lib, problem.units, of_candidates)
    return Given(of_anchors, of_candidates, of_temperature, None, of_bias)


def _side(problem: Problem, one: Direction) -> Side:
    """Return the anchors as they enter a product; 0 for those that do not count."""
    counted = None if one.counted is None else one.counted[:, None]
    return side_of(problem, problem.rows.anchors, counted)


def _score(problem: Problem, side: Side, columns: Array, bias: Array | None) -> Array:
    """Return the score of each anchor with its row of `columns`, shape (n,)."""
    found = problem.library.xp.sum(side.anchors * columns, axis=1)
    found = found * problem.candidates.scale
    return found if bias is None else found + bias


def _of_candidates(problem: Problem) -> tuple[Array, Array | None, Array]:
    """Return the sum of each row's candidates, that of their bias, and their number.

    Of the last, at least 1. The sums may be the same row for all.
    """
    xp, every, given = problem.library.xp, _every(problem), problem.candidates
    one = xp.ones_like(xp.sum(every, axis=1, keepdims=True))
    bias = [] if given.bias is None else [given.bias[:, None]]
    found = _added(problem, xp.concat([every, *bias, one], axis=1))
    count = xp.where(found[:, -1] < 1, 1.0, found[:, -1])
    if not bias:
        return found[:, :-1], None, count
    return found[:, :-2], found[:, -2], count


def _every(problem: Problem) -> Array:
    """Return all candidates, of which nothing is rounded to a half by us."""
    if problem.units is not None:
        return problem.units.unit
    return problem.library.wide(problem.candidates.embeddings)


def _added(problem: Problem, x: Array) -> Array:
    """Return for each row the sum of the rows of `x` of its candidates."""
    lib = problem.library

    def body(_: Any, rows: Rows, candidates: Candidates) -> tuple[Any, Sums]:
        return (), Sums(lib.product(_taking_part(problem, rows, candidates), x))

    if problem.rows.ids is not None:
        _, sums = lib.loops.fold(body, problem.rows, problem.candidates, problem.block)
        return sums.found
    total = lib.xp.sum(x, axis=0, keepdims=True)
    if problem.config.exclude_diagonal:
        own, _ = lib.split(x, problem.rows.anchors)
        total = total - own
    return total


def _of_rows(problem: Problem, x: Array) -> Array:
    """Return for each candidate the sum of the rows of `x` whose candidate it is."""
    lib, xp = problem.library, problem.library.xp

    def body(total: Any, rows: Spread, candidates: Candidates) -> tuple[Sums, Any]:
        part = _taking_part(problem, rows.rows, candidates)
        sofar = None if total is None else total.found
        return Sums(lib.plus_product(sofar, xp.matrix_transpose(part), rows.given)), ()

    if problem.rows.ids is not None:
        rows = Spread(problem.rows, x)
        sums, _ = lib.loops.fold(body, rows, problem.candidates, problem.block)
        return sums.found
    zero = xp.sum(_every(problem), axis=1, keepdims=True)
    total = xp.zeros_like(zero) + xp.sum(x, axis=0, keepdims=True)
    return plus_first(lib, total, -x) if problem.config.exclude_diagonal else total


def _taking_part(problem: Problem, rows: Rows, candidates: Candidates) -> Array:
    """Return 1 for the pairs of a panel that take part, and 0 for others."""
    pairs = pairs_of(problem, rows, candidates)
    dtype = candidates.embeddings.dtype
    return masked(
        problem.library, problem.library.xp.astype(pairs.exists, dtype), pairs, 0.0
    )
