"""What the terms of a panel may ask beyond its own distances."""

from typing import Any

from metricops._panels.distances import Side, distances_of, pulled
from metricops._panels.term_records import Candidates, Problem, Rows
from metricops._panels.terms import Known
from metricops._typing import Array


class FromSide:
    """What a panel's own distances do not tell; see `terms.Among`."""

    def __init__(self, problem: Problem, rows: Rows, candidates: Candidates) -> None:
        self.library, self.metric = problem.library, problem.config.metric
        self.side, self.weights = candidates.side, rows.weights
        self.known = None
        if rows.known is not None and candidates.known is not None:
            self.known = Known(rows.known[:, None], candidates.known[None, :])

    def distances(self, columns: Array) -> tuple[Array, Any]:
        """Return those of the candidates at `columns`, (b,), to all, and a state."""
        own = self._at(columns)
        return distances_of(self.library, self.metric, own, self.side, columns)

    def pulled(self, columns: Array, state: Any, error: Array) -> Array:
        """Return the gradient of ``sum(w * error * distances)``, shape (m, d).

        The weights w are those of the rows of the panel.
        """
        lib, own = self.library, self._at(columns)
        if self.weights is not None:
            error = error * self.weights[:, None]
        of_own, of_all = pulled(
            lib, self.metric, own, self.side, columns, state, error, (True, True)
        )
        every = lib.positions(self.side.rows, 0, "candidates")
        here = lib.xp.astype(every[:, None] == columns[None, :], of_own.dtype)
        found: Array = of_all + lib.product(here, of_own)
        return found

    def nothing(self) -> Array:
        """Return a gradient of 0."""
        return self.library.xp.zeros_like(self.side.rows)

    def _at(self, columns: Array) -> Side:
        lib, (rows, missing) = self.library, self.side
        found = lib.gather(rows, columns[:, None])[:, 0, :]
        if missing is not None:
            missing = lib.gather(missing, columns[:, None])[:, 0]
        return Side(found, missing)
