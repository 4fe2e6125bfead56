"""A panel of scores: its rows as they enter the product, and its pairs' roles."""

from typing import NamedTuple

from metricops._panels.objective import Pairs, masked
from metricops._panels.records import Candidates, Problem, Rows
from metricops._panels.roles import without_equal_ids
from metricops._similarity.normalize import Units, unit_and_norm
from metricops._typing import Array


def pairs_of(problem: Problem, rows: Rows, candidates: Candidates) -> Pairs:
    """Return the roles of the pairs of some rows and all candidates."""
    lib, config = problem.library, problem.config
    if rows.labels is None:
        pairs = Pairs(positive=rows.positions)
        if rows.ids is None:
            return pairs
        return without_equal_ids(lib, pairs, rows.ids, candidates.ids)
    dtype = lib.wide_dtype(candidates.embeddings)
    only = config.roles.only(rows.labels)
    if only is not None and config.roles.complete:
        return Pairs(only)
    if only is not None:
        there = only >= 0
        columns = lib.xp.where(there, only, lib.xp.zeros_like(only))
        return Pairs(columns, total=lib.xp.astype(there, dtype)[:, None])
    targets = config.roles.targets(lib, rows.labels, candidates.labels, dtype)
    excluded = rows.positions if config.exclude_diagonal else None
    if excluded is not None:
        targets = lib.put_own(targets, excluded, 0.0)
    total = lib.row_sums(targets)
    pairs = Pairs(targets=targets, total=total, excluded=excluded)
    if rows.ids is None:
        return pairs
    return without_equal_ids(lib, pairs, rows.ids, candidates.ids)


def scaled(x: Array, scale: Array | float) -> Array:
    """Return `x` times a scale that is often 1."""
    return x if isinstance(scale, float) and scale == 1.0 else x * scale


class Side(NamedTuple):
    """Some anchors as they enter a product."""

    anchors: Array
    units: Units | None  # their lengths, if they were scaled to unit length


def side_of(problem: Problem, anchors: Array, counted: Array | None) -> Side:
    """Return anchors as they enter a product; 0 for those that do not count."""
    lib = problem.library
    anchors = lib.wide(anchors) if lib.halves else anchors
    if problem.config.normalize and problem.row_units is None:
        units = unit_and_norm(lib, anchors, kept=counted)
        return Side(units.unit, units)
    if counted is not None:  # an anchor left out may hold NaN, and 0 * NaN is NaN
        anchors = lib.xp.where(counted, anchors, 0.0)
    return Side(anchors, None)


def scores_of(
    problem: Problem, rows: Rows, anchors: Array, candidates: Candidates, pairs: Pairs
) -> Array:
    """Return the scores of a panel, minus infinity where a pair takes no part."""
    lib = problem.library
    columns = lib.xp.matrix_transpose(candidates.embeddings)
    if lib.halves:
        scores = lib.scores(anchors, columns, candidates.scale)
        if problem.config.normalize and rows.paired is not None:
            # Rounding a unit vector costs most in the score of the only positive.
            own = lib.dots(anchors, rows.paired, 1) * candidates.scale
            scores = lib.put(scores, pairs.positive, own)
    else:
        scale = candidates.scale
        if not isinstance(scale, float) or scale != 1.0:
            n, m = (lib.known_rows(x) for x in (anchors, candidates.embeddings))
            if n is not None and m is not None and m < n:  # scaling fewer is faster
                columns = columns * scale
            else:
                anchors = anchors * scale
        scores = lib.product(anchors, columns)
    if candidates.bias is not None:
        bias = candidates.bias
        scores = lib.plus(scores, bias[None, :] if bias.ndim == 1 else bias)
    return masked(lib, scores, pairs, -float("inf"))
