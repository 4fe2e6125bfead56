"""Both directions: anchors against candidates and candidates against anchors.

A column is closed only after the last panel. So a first pass gathers the sums of rows
and columns, by one matrix product a panel. A second pass computes the scores again and
takes the gradients of both directions from them, by three products a panel.
"""

from typing import Any, NamedTuple

from metricops._panels.chain import Direction, Products
from metricops._panels.halves import beside_panels, enlargement, lost, plus_lost
from metricops._panels.objective import Pairs, turned_pairs
from metricops._panels.one_way import Total, plus_own
from metricops._panels.records import Candidates, Problem, Rows, Wanted, sums_of
from metricops._panels.scores import pairs_of, scaled, scores_of
from metricops._similarity.normalize import unit_and_norm
from metricops._typing import Array


class Both(NamedTuple):
    """The same of both directions: sums, closing numbers, or upstream gradients."""

    rows: Any
    columns: Any


class ClosedRows(NamedTuple):
    """Some rows, their closing numbers, and those of the columns at their positions."""

    rows: Rows
    closing: Any
    paired: Any
    beside: Array  # as panels are multiplied with them


class ClosedCandidates(NamedTuple):
    """All candidates, and the closing numbers of their columns."""

    candidates: Candidates
    closing: Any


class RowsOut(NamedTuple):
    """What each panel gives of its rows, where it is wanted."""

    anchors: Array | None  # their gradient
    along: Array | None  # sum(u * dL/du), for the temperature
    own: Array | None  # the slope at the row's own positive
    lost: Array | None  # what rounding of units took from the loss


def prepared(problem: Problem) -> Problem:
    """Return a problem whose rows have unit length, if asked for, for both passes."""
    if not problem.config.normalize:
        return problem
    lib = problem.library
    units = unit_and_norm(lib, lib.wide(problem.rows.anchors))
    rows = problem.rows._replace(anchors=units.unit)
    return problem._replace(rows=rows, row_units=units)


def losses(problem: Problem) -> tuple[Direction, Direction]:
    """Return the losses of the rows, and of the columns, of the only panel."""
    lib, objective = problem.library, problem.config.objective
    problem = prepared(problem)
    rows = problem.rows
    pairs = pairs_of(problem, rows, problem.candidates)
    scores = scores_of(problem, rows, rows.anchors, problem.candidates, pairs)
    turned = lib.xp.matrix_transpose(scores)
    if not lib.recorded(scores):  # then the scores may be overwritten
        turned = turned + 0.0

    def direction(scores: Array, pairs: Pairs) -> Direction:
        counted = None if pairs.total is None else objective.counted(lib, pairs)
        found = objective.losses(lib, scores, pairs)
        if counted is None:
            return Direction(found, None)
        counted = counted[:, 0]
        return Direction(lib.xp.where(counted, found, 0.0), counted)

    columns = direction(turned, turned_pairs(lib, pairs))
    return direction(scores, pairs), columns


def gathered(problem: Problem) -> Both:
    """Return the sums of each row and of each column."""
    lib, sums = problem.library, sums_of(problem)

    def body(columns: Any, rows: Rows, candidates: Candidates) -> tuple[Any, Any]:
        pairs = pairs_of(problem, rows, candidates)
        scores = scores_of(problem, rows, rows.anchors, candidates, pairs)
        found = sums.of(lib, scores, pairs, axis=0, last=False)
        columns = found if columns is None else sums.merged(lib, columns, found)
        return columns, sums.of(lib, scores, pairs, axis=1, last=True)

    columns, rows = lib.loops.fold(
        body, problem.rows, problem.candidates, problem.block
    )
    return Both(rows, sums.paired(rows, columns))


def directions(problem: Problem, both: Both) -> tuple[Direction, Direction]:
    """Return the losses of the rows, and of the columns."""
    lib, sums = problem.library, sums_of(problem)
    rows, columns = sums.losses(lib, both.rows), sums.losses(lib, both.columns)
    return Direction(*rows), Direction(*columns)


def gradients(
    problem: Problem, both: Both, upstream: Both, wanted: Wanted, positive: bool
) -> Products:
    """Return the gradients of the sum of both losses, weighted by `upstream`.

    `positive` is whether no weight is known to be below 0.
    """
    lib, xp, sums = problem.library, problem.library.xp, sums_of(problem)
    enlarged = enlargement(problem, upstream.rows, upstream.columns)
    upstream = Both(*(scaled(x, enlarged) for x in upstream))
    scale = problem.candidates.scale / enlarged
    closing = Both(
        *(sums.closing(lib, x, up) for x, up in zip(both, upstream, strict=True))
    )
    beside, back = lib.beside_panels(problem.rows.anchors)
    problem = problem._replace(candidates=beside_panels(lib, problem.candidates))

    def body(
        total: Total | None, rows: ClosedRows, columns: ClosedCandidates
    ) -> tuple[Total, RowsOut]:
        anchors, candidates = lib.wide(rows.rows.anchors), columns.candidates
        error = _error(problem, rows, columns, positive)
        own = sums.own(rows.closing, rows.paired)
        own = None if own is None else own[:, None] * scale
        of_rows = along = less = None
        if wanted.anchors or wanted.temperature:
            of_rows = lib.product(error, candidates.beside)
            of_rows = scaled(of_rows, scale * candidates.back)
            less = lost(problem, anchors, of_rows)
            of_rows = (
                of_rows if own is None else of_rows + own * lib.wide(rows.rows.paired)
            )
        if wanted.temperature:
            along = xp.sum(anchors * of_rows, axis=1)
        out = RowsOut(of_rows, along, None if own is None else own[:, 0], less)
        if not wanted.candidates:
            return Total(None), out
        left = xp.matrix_transpose(rows.beside)
        sofar = None if total is None else total.candidates
        return Total(lib.plus_product(sofar, left, error)), out

    rows = ClosedRows(problem.rows, closing.rows, closing.columns, beside)
    columns = ClosedCandidates(problem.candidates, closing.columns)
    total, out = lib.loops.fold(body, rows, columns, problem.block)
    of_candidates, less = None, None if out.lost is None else xp.sum(out.lost)
    if wanted.candidates:
        of_candidates = scaled(xp.matrix_transpose(total.candidates), scale * back)
        less = plus_lost(problem, less, of_candidates)
        of_candidates = plus_own(problem, of_candidates, out.own)
    return Products(out.anchors, of_candidates, out.along, None, less)


def _error(
    problem: Problem, rows: ClosedRows, columns: ClosedCandidates, positive: bool
) -> Array:
    pairs = pairs_of(problem, rows.rows, columns.candidates)
    own = rows.rows
    scores = scores_of(problem, own, own.anchors, columns.candidates, pairs)
    lib, sums = problem.library, sums_of(problem)
    error = sums.joint_error if positive and lib.has_levels else sums.error
    return lib.rounded(error(lib, scores, pairs, rows.closing, columns.closing))
