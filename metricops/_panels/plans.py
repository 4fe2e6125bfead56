"""Which passes a call takes: one direction, both, or one set by halves."""

from itertools import islice
from typing import NamedTuple

from metricops._arguments.weights import factor_of
from metricops._frameworks import Arrays
from metricops._panels import both_ways, one_set, one_way
from metricops._panels.both_ways import Both
from metricops._panels.chain import Direction, Products, chained, upstream_of
from metricops._panels.records import (
    Given,
    Labels,
    Problem,
    Wanted,
    problem_of,
    sums_of,
)
from metricops._similarity.normalize import Units
from metricops._typing import Array

Directions = tuple[Direction, ...]


class Gradients(NamedTuple):
    """The losses of each direction, and the gradients."""

    directions: Directions
    found: Given
    lost: Array | None  # what rounding took from the loss; None: nothing


class Back(NamedTuple):
    """What comes back to a call whose value are the losses of rows."""

    saved: Arrays  # the sums that `losses` returned
    upstream: Array  # what the rows are weighted by


def losses(
    problem: Problem, given: Given, labels: Labels, by_halves: bool
) -> tuple[Directions, Arrays]:
    """Return the losses of each direction, and sums that `gradients` can use again."""
    sums = sums_of(problem)
    if by_halves and sums is not None:
        found = one_set.gathered(problem)
        return (Direction(*sums.losses(problem.library, found)),), tuple(found)
    if not problem.symmetric:
        if given.candidates is None and problem.units is not None:
            problem = _scaled_once(problem, problem.units)
        return (one_way.losses(problem),), ()
    if sums is None:
        turned = problem_of(
            problem.library, problem.config, *turned_given(given, labels)
        )
        return (one_way.losses(problem), one_way.losses(turned)), ()
    problem = both_ways.prepared(problem)
    both = both_ways.gathered(problem)
    return both_ways.directions(problem, both), (*both.rows, *both.columns)


def gradients(
    problem: Problem,
    given: Given,
    labels: Labels,
    wanted: Wanted,
    back: Back | None = None,
) -> Gradients:
    """Return the losses of each direction, and the gradients of the reduced loss.

    With `back`, those of the sum of the rows, each the mean of the directions, weighted
    by what is upstream.
    """
    lib, config = problem.library, problem.config
    by_halves = problem.one_set and (problem.several or back is not None)
    if (by_halves or problem.symmetric) and sums_of(problem) is not None:
        solve = _by_halves if by_halves else _from_both
        return solve(problem, given, wanted, back)
    upstream = None if back is None else back.upstream
    one = _one_way(problem, given, wanted, upstream)
    if not problem.symmetric:
        return one
    turned, others = turned_given(given, labels)
    other = problem_of(lib, config, turned, others)
    found = _one_way(other, turned, _swapped(given, wanted), upstream)
    return _mean_of(given, one, found)


def _one_way(
    problem: Problem, given: Given, wanted: Wanted, upstream: Array | None
) -> Gradients:
    """Return one direction's losses, and the gradients of its reduced loss.

    With `upstream`, those of the sum of the losses weighted by it.
    """
    lib, config = problem.library, problem.config
    if given.candidates is None and problem.units is not None:
        problem = _scaled_once(problem, problem.units)
    weights = given.weights if upstream is None else upstream
    if weights is not None:
        problem = problem._replace(rows=problem.rows._replace(weights=weights))
    asked = _of_one_set(wanted) if given.candidates is None else wanted
    share, last = 1.0, upstream is None and config.reduction != "sum"
    alike = config.reduction == "mean" or weights is None
    all_count = problem.rows.labels is None or config.roles.complete
    count = problem.rows.anchors.shape[0] if all_count else None
    if last and alike and type(count) is int and count:
        # All of a known number count, so their factor goes where it costs nothing.
        share, last = 1.0 / count, False
    one, products = one_way.gradients(problem, asked, share)
    if last:
        # How many anchors count is known only after the last panel.
        factor = factor_of(lib, config.reduction, one.losses, weights, one.counted)
        each = (None if x is None else lib.times(x, factor) for x in products)
        one, products = one._replace(factor=factor), Products(*each)
    found = chained(problem, given, wanted, products)
    return Gradients((one,), found, products.lost)


def _scaled_once(problem: Problem, units: Units) -> Problem:
    """Return a problem whose anchors, which are the candidates, have unit length."""
    rows = problem.rows._replace(anchors=units.unit)
    return problem._replace(rows=rows, row_units=units)


def _of_one_set(wanted: Wanted) -> Wanted:
    """Return what the passes must give: the gradients of both sides, or of none."""
    return wanted._replace(candidates=wanted.anchors)


def _by_halves(
    problem: Problem, given: Given, wanted: Wanted, back: Back | None
) -> Gradients:
    lib, config, sums = problem.library, problem.config, sums_of(problem)
    found = one_set.gathered(problem) if back is None else sums.record(*back.saved)
    one = Direction(*sums.losses(lib, found))
    if back is None:
        upstream = upstream_of(lib, config, given.weights, one)
    else:
        upstream = back.upstream
    products = one_set.gradients(problem, found, upstream)
    found = chained(problem, given, wanted, products)
    return Gradients((one,), found, products.lost)


def _from_both(
    problem: Problem, given: Given, wanted: Wanted, back: Back | None
) -> Gradients:
    lib, config = problem.library, problem.config
    problem = both_ways.prepared(problem)
    both = both_ways.gathered(problem) if back is None else _both(problem, back.saved)
    directions = both_ways.directions(problem, both)
    if back is None:
        pulls = [upstream_of(lib, config, given.weights, one) / 2 for one in directions]
    else:
        pulls = [back.upstream / 2] * 2
    asked = _of_one_set(wanted) if given.candidates is None else wanted
    positive = back is None and given.weights is None
    products = both_ways.gradients(problem, both, Both(*pulls), asked, positive)
    found = chained(problem, given, wanted, products)
    return Gradients(directions, found, products.lost)


def _both(problem: Problem, saved: Arrays) -> Both:
    """Return the sums of both directions, as `losses` returned them."""
    record, rest = sums_of(problem).record, iter(saved)
    rows = record(*islice(rest, len(record._fields)))
    return Both(rows, record(*rest))


def turned_given(given: Given, labels: Labels) -> tuple[Given, Labels]:
    """Return the other direction: the candidates as anchors."""
    every = given.anchors if given.candidates is None else given.candidates
    others = labels.anchors if labels.candidates is None else labels.candidates
    ids = labels.ids if labels.candidate_ids is None else labels.candidate_ids
    return given._replace(anchors=every, candidates=given.anchors), Labels(
        others, labels.anchors, ids, labels.ids
    )


def _swapped(given: Given, wanted: Wanted) -> Wanted:
    """Return what is wanted of the other direction."""
    every = wanted.anchors if given.candidates is None else wanted.candidates
    return wanted._replace(anchors=every, candidates=wanted.anchors)


def _mean_of(given: Given, one: Gradients, other: Gradients) -> Gradients:
    """Return the mean of the gradients of both directions, the other one turned."""
    turned = other.found
    back = turned._replace(anchors=turned.candidates, candidates=turned.anchors)
    if given.candidates is None and back.anchors is not None:
        back = back._replace(anchors=back.anchors + back.candidates, candidates=None)
    pairs = zip(one.found, back, strict=True)
    found = Given(*(None if x is None else (x + y) / 2 for x, y in pairs))
    lost = None
    if one.lost is not None and other.lost is not None:
        lost = (one.lost + other.lost) / 2
    return Gradients((*one.directions, *other.directions), found, lost)
