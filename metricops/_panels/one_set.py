"""One set against itself: its scores are symmetric, so half of them suffice.

Each pair of panels is taken once, and its results count for both panels: see
`Loops.sweep`. `gathered` takes half a matrix product, and `gradients` one and a half.
So there are two in all, where anchors against other candidates take three.

With ``g[i, j]`` the derivative of row i's weighted loss by the score ``x_i · x_j / t``,
the gradient of x is ``(g + gᵀ) @ x / t``.
"""

from typing import Any, NamedTuple

from metricops._frameworks import Meetings
from metricops._panels.chain import Products
from metricops._panels.halves import enlargement, plus_lost
from metricops._panels.objective import Pairs, masked
from metricops._panels.records import Problem, sums_of
from metricops._panels.roles import without_equal_ids
from metricops._panels.scores import scaled
from metricops._typing import Array


class Members(NamedTuple):
    """Some rows of the set, and what belongs to them."""

    embeddings: Array
    scaled: Array  # embeddings / temperature; of halves, the embeddings
    labels: Array
    ids: Array | None
    closing: Any = None
    beside: Array | None = None  # embeddings as panels are multiplied with them


class Gradient(NamedTuple):
    """The gradient of some rows."""

    embeddings: Array


def gathered(problem: Problem) -> Any:
    """Return the sums of each row."""
    lib, sums = problem.library, sums_of(problem)

    def within(panel: Members, exists: Array | None) -> Any:
        scores, pairs = _tile(problem, panel, panel, exists)
        return sums.of(lib, scores, pairs, axis=1, last=True)

    def between(panel: Members, others: Members, exists: Array | None) -> Any:
        scores, pairs = _tile(problem, panel, others, exists)
        own = sums.of(lib, scores, pairs, axis=1, last=False)
        return own, sums.of(lib, scores, pairs, axis=0, last=True)

    def merge(old: Any, new: Any) -> Any:
        return sums.merged(lib, old, new)

    members = _members(problem, None)
    zeros = lib.xp.zeros_like(lib.wide(members.embeddings))
    start = sums.nothing(lib, lib.xp.sum(zeros, axis=1))
    meetings = Meetings(within, between, merge, start)
    return lib.loops.sweep(meetings, members, problem.block)


def gradients(problem: Problem, found: Any, upstream: Array) -> Products:
    """Return the gradient of the losses' sum weighted by `upstream`."""
    lib, xp, sums = problem.library, problem.library.xp, sums_of(problem)

    def turned(panel: Members, error: Array) -> Array:
        # Transposing the thin product costs less than transposing the error.
        found = lib.product(xp.matrix_transpose(panel.beside), error)
        return xp.matrix_transpose(found)

    def within(panel: Members, exists: Array | None) -> Any:
        scores, pairs = _tile(problem, panel, panel, exists)
        # The columns of this panel are its rows, but rounded differently: their scores
        # might exceed the peak of the row. So the rows alone are used.
        error = sums.error(lib, scores, pairs, panel.closing, None)
        error = lib.rounded(error)
        return Gradient(lib.product(error, panel.beside) + turned(panel, error))

    def between(panel: Members, others: Members, exists: Array | None) -> Any:
        scores, pairs = _tile(problem, panel, others, exists)
        error = sums.error(lib, scores, pairs, panel.closing, others.closing)
        error = lib.rounded(error)
        own = lib.product(error, others.beside)
        return Gradient(own), Gradient(turned(panel, error))

    def merge(old: Gradient, new: Gradient) -> Gradient:
        return Gradient(lib.plus(old.embeddings, new.embeddings))

    enlarged = enlargement(problem, upstream, upstream)
    closing = sums.closing(lib, found, scaled(upstream, enlarged))
    members = _members(problem, closing)
    beside, back = lib.beside_panels(members.embeddings)
    members = members._replace(beside=beside)
    start = Gradient(xp.zeros_like(lib.wide(members.embeddings)))
    meetings = Meetings(within, between, merge, start)
    total = lib.loops.sweep(meetings, members, problem.block)
    total = scaled(total.embeddings, problem.candidates.scale * back / enlarged)
    # The total counts each row as anchor and as candidate; the temperature wants half.
    along = xp.sum(lib.wide(members.embeddings) * total, axis=1) / 2
    return Products(None, total, along, None, plus_lost(problem, None, total))


def _members(problem: Problem, closing: Any) -> Members:
    given = problem.candidates
    x = given.embeddings
    # Where halves are multiplied, the scale meets their product instead.
    side = x if problem.library.halves else scaled(x, given.scale)
    return Members(x, side, given.labels, given.ids, closing)


def _tile(
    problem: Problem, panel: Members, others: Members, exists: Array | None
) -> tuple[Array, Pairs]:
    """Return the scores of two sets of rows, and the roles of their pairs."""
    lib, config = problem.library, problem.config
    columns = lib.xp.matrix_transpose(others.embeddings)
    if lib.halves:
        scores = lib.scores(panel.scaled, columns, problem.candidates.scale)
    else:
        scores = lib.product(panel.scaled, columns)
    targets = config.roles.targets(lib, panel.labels, others.labels, scores.dtype)
    excluded = None
    if config.exclude_diagonal and panel is others:
        excluded = lib.positions(panel.embeddings, 0, "anchors")
    pairs = Pairs(excluded=excluded, exists=exists)
    targets = masked(lib, targets, pairs, 0.0)
    pairs = pairs._replace(targets=targets)
    if panel.ids is not None:
        pairs = without_equal_ids(lib, pairs, panel.ids, others.ids)
    return masked(lib, scores, pairs, -float("inf")), pairs
