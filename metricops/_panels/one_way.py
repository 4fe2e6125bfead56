"""Anchors against candidates: rows are closed inside a panel, so one pass is enough.

Let ``s = (u · c) / t`` be the scores of anchors u and candidates c, L the sum of the
weighted losses, and ``e = dL/ds``. Then::

    dL/du = (e @ c) / t,    dL/dc = (eᵀ @ u) / t,    dL/dt = -sum(u * dL/du) / t

`losses` is one matrix product a panel, `gradients` three.

The module is long, as both take a panel in the same way.
"""

from typing import Any, NamedTuple

from metricops._frameworks import Library
from metricops._panels.chain import Direction, Products
from metricops._panels.halves import (
    beside,
    beside_panels,
    lost,
    of_anchors,
    plus_lost,
    scales_later,
)
from metricops._panels.objective import Pairs, Slopes
from metricops._panels.records import (
    Candidates,
    Config,
    Given,
    Labels,
    Problem,
    Rows,
    Wanted,
    block_of,
)
from metricops._panels.scores import Side, pairs_of, scaled, scores_of, side_of
from metricops._similarity.normalize import unit_and_norm, unit_gradient
from metricops._typing import Array


class Panel(NamedTuple):
    """What is computed from a panel's scores."""

    side: Side
    slopes: Slopes
    counted: Array | None  # (b, 1)
    pull: Array | float  # what a row's slopes are multiplied by, a number or (b, 1)
    weight: Array | float  # the same of the error, as it is


class Total(NamedTuple):
    """The sums over panels so far."""

    candidates: Array | None  # (d, m): the gradient of the candidates, transposed
    bias: Array | None = None  # (1, m): that of the bias, divided by the temperature


class Out(NamedTuple):
    """What each panel gives of its rows."""

    losses: Array
    counted: Array | None
    anchors: Array | None  # their gradient
    along: Array | None  # sum(u * dL/du), for the temperature
    own: Array | None  # the slope at the row's own positive, times `pull`
    lost: Array | None  # what rounding of units took from the loss


def mean(lib: Library, config: Config, given: Given, labels: Labels) -> Array | None:
    """Return the mean loss by position if all rows are one panel; else None."""
    anchors, objective = given.anchors, config.objective
    every = anchors if given.candidates is None else given.candidates
    plain = labels.anchors is None and labels.ids is None and given.bias is None
    if not plain or objective.smoothing != 0:
        return None
    how = config.block_size, config.symmetric
    block = block_of(lib, *how, anchors, every, paired=True)
    if lib.several(anchors, block) or not lib.shape(anchors)[0]:
        return None  # without anchors the mean is 0
    pairs = Pairs(positive=lib.positions(anchors, 0, "anchors"))
    if config.normalize:
        anchors, every = (unit_and_norm(lib, x).unit for x in (anchors, every))
    number = config.temperature
    temperature = given.temperature if number is None else number
    columns = lib.xp.matrix_transpose(every)
    scores = lib.product(scaled(anchors, 1 / temperature), columns)
    return objective.mean(lib, scores, pairs)


def losses(problem: Problem) -> Direction:
    """Return the loss of each anchor."""
    lib, objective = problem.library, problem.config.objective

    def body(_: Any, rows: Rows, candidates: Candidates) -> tuple[Any, Direction]:
        pairs = pairs_of(problem, rows, candidates)
        counted = None
        if pairs.total is not None:
            counted = objective.counted(lib, pairs)
        side = side_of(problem, rows.anchors, counted)
        scores = scores_of(problem, rows, side.anchors, candidates, pairs)
        found = objective.losses(lib, scores, pairs)
        if counted is None:
            return (), Direction(found, None)
        counted = counted[:, 0]
        return (), Direction(lib.xp.where(counted, found, 0.0), counted)

    direction: Direction
    _, direction = lib.loops.fold(body, problem.rows, problem.candidates, problem.block)
    return direction


def gradients(
    problem: Problem, wanted: Wanted, share: float
) -> tuple[Direction, Products]:
    """Return the losses, and the gradients of their weighted sum times `share`."""
    lib, xp = problem.library, problem.library.xp
    enlarged: Array | float = 1.0
    if lib.halves:
        enlarged = of_anchors(problem, share)
        problem = problem._replace(candidates=beside_panels(lib, problem.candidates))

    def body(
        total: Total | None, rows: Rows, candidates: Candidates
    ) -> tuple[Total, Out]:
        panel = _panel(problem, rows, candidates, share)
        out = _rows_gradient(problem, wanted, rows, candidates, panel)
        if not (wanted.candidates or wanted.bias):
            return Total(None), out
        weight, error = panel.weight, panel.slopes.error
        sofar = Total(None) if total is None else total
        of_candidates = of_bias = None
        if wanted.candidates:
            left = beside(lib, panel.side.anchors, weight, error, enlarged)
            of_candidates = lib.plus_product(sofar.candidates, left, error)
        if wanted.bias:
            left = (xp.ones_like(panel.slopes.losses)[:, None] * weight)[None, :, 0]
            of_bias = lib.plus_product(sofar.bias, left, error)
        return Total(of_candidates, of_bias), out

    if problem.several:
        total, out = lib.loops.fold(
            body, problem.rows, problem.candidates, problem.block
        )
    else:
        total, out = body(None, problem.rows, problem.candidates)
    direction = Direction(out.losses, out.counted)
    return direction, _products(problem, total, out, enlarged)


def _products(
    problem: Problem, total: Total, out: Out, enlarged: Array | float
) -> Products:
    """Return the gradients, of what all panels have given."""
    lib, xp = problem.library, problem.library.xp
    of_candidates, less = None, None if out.lost is None else xp.sum(out.lost)
    if total.candidates is not None:
        of_candidates = xp.matrix_transpose(total.candidates)
        if lib.halves:
            of_candidates = scaled(of_candidates, 1 / enlarged)
            less = plus_lost(problem, less, of_candidates)
        of_candidates = plus_own(problem, of_candidates, out.own)
    of_bias = None
    if total.bias is not None:
        of_bias = plus_first(lib, total.bias[0, :], out.own)
    return Products(out.anchors, of_candidates, out.along, of_bias, less)


def _panel(problem: Problem, rows: Rows, candidates: Candidates, share: float) -> Panel:
    lib, objective = problem.library, problem.config.objective
    pairs = pairs_of(problem, rows, candidates)
    counted = None
    if pairs.total is not None:
        counted = objective.counted(lib, pairs)
    side = Side(lib.wide(rows.anchors) if lib.halves else rows.anchors, None)
    if counted is not None or problem.config.normalize:
        side = side_of(problem, rows.anchors, counted)
    given = candidates
    if lib.has_levels and objective.within_one and scales_later(candidates, pairs):
        pairs = pairs._replace(scale=candidates.scale)
        given = candidates._replace(scale=1.0)
    scores = scores_of(problem, rows, side.anchors, given, pairs)
    slopes = _whole(problem, objective.slopes(lib, scores, pairs), pairs)
    error, factor = lib.panel_operand(slopes.error, slopes.factor, objective.within_one)

    def of_row(factor: Any) -> Any:
        found = candidates.scale * share
        found = found if factor is None else factor * found
        found = found if rows.weights is None else rows.weights[:, None] * found
        if counted is None:
            return found
        return lib.xp.astype(counted, slopes.losses.dtype) * found

    pull = weight = of_row(slopes.factor)
    if error is not slopes.error:
        slopes, weight = slopes._replace(error=error), of_row(factor)
    if counted is not None:
        found = lib.xp.where(counted[:, 0], slopes.losses, 0.0)
        slopes = slopes._replace(losses=found)
    return Panel(side, slopes, counted, pull, weight)


def _whole(problem: Problem, slopes: Slopes, pairs: Pairs) -> Slopes:
    """Return slopes whose error holds those of the positives, where that is cheap.

    A compiler that fuses steps then multiplies the panel by the factor in the same
    pass. In a loop over panels it is as fast without.
    """
    lib, error, factor, own = problem.library, slopes.error, slopes.factor, slopes.own
    fuses = lib.fuses() and not problem.several
    if own is None or lib.halves or not (fuses or lib.puts_in_place()):
        return slopes
    if fuses and factor is not None:
        error, own, factor = error * factor, own * factor[:, 0], None
    return Slopes(slopes.losses, lib.put(error, pairs.positive, own), factor)


def _rows_gradient(
    problem: Problem, wanted: Wanted, rows: Rows, candidates: Candidates, panel: Panel
) -> Out:
    """Return what a panel gives of its rows: losses, and gradients if wanted."""
    lib, slopes = problem.library, panel.slopes
    counted = None if panel.counted is None else panel.counted[:, 0]
    own = None if slopes.own is None else slopes.own[:, None] * panel.pull
    of_rows = along = less = None
    if wanted.anchors or wanted.temperature:
        every, weight = candidates.embeddings, panel.weight
        if candidates.beside is not None:
            every, weight = candidates.beside, weight * candidates.back
        of_rows = lib.product(slopes.error, every) * weight
        paired = rows.paired
        if lib.halves:
            less = lost(problem, panel.side.anchors, of_rows)
            paired = None if own is None else lib.wide(paired)
        of_rows = of_rows if own is None else of_rows + own * paired
    if wanted.temperature:
        along = lib.dots(panel.side.anchors, of_rows, 1)
    if panel.side.units is not None and of_rows is not None:
        of_rows = unit_gradient(lib, panel.side.units, of_rows)
    flat = None if own is None else own[:, 0]
    return Out(slopes.losses, counted, of_rows, along, flat, less)


def plus_own(problem: Problem, of_candidates: Array, own: Array | None) -> Array:
    """Return the candidates' gradient with the part of each anchor's own positive."""
    if own is None:
        return of_candidates
    lib = problem.library
    side = side_of(problem, problem.rows.anchors, None)
    return plus_first(lib, of_candidates, side.anchors * own[:, None])


def plus_first(lib: Library, x: Array, first: Array | None) -> Array:
    """Return `x` with `first` added to its first rows."""
    if first is None:
        return x
    near, far = lib.split(x, first)
    near = near + first
    return near if far is None else lib.xp.concat([near, far], axis=0)
