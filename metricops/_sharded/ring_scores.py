"""Scores of rows and visitors: what a ring of similarities adds up.

Rows are unit vectors already, where that is asked for, and divided by the temperature.
Where halves are multiplied, they are so afterwards, and visitors travel as halves.
Where there are no labels, a visitor other than own candidates has no targets.

The module is long, as an encounter is one class.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from metricops._arguments.matches import matches
from metricops._frameworks import Arrays, Library
from metricops._frameworks.operands import parts_of
from metricops._frameworks.records import each
from metricops._panels.objective import Pairs, masked
from metricops._panels.records import Labels, block_of
from metricops._panels.roles import Roles, without_equal_ids
from metricops._sharded.ring import Results, Sides
from metricops._typing import Array


class Rows(NamedTuple):
    """Own rows, and what belongs to each of them."""

    anchors: Array  # (n, d)
    positions: Array  # (n,): which of own candidates is each row's positive
    labels: Array | None
    ids: Array | None
    scale: Array | None  # (n, 1): what products of halves are multiplied by
    closing: Any = None  # what the derivative needs of each row


class Visitor(NamedTuple):
    """Some member's candidates, and what travels with them."""

    embeddings: Array  # (m, d)
    labels: Array | None
    ids: Array | None
    bias: Array | None
    closing: Any = None  # of the other direction


class Gradient(NamedTuple):
    """The gradients of rows, or of a visitor."""

    embeddings: Array
    bias: Array | None = None


@dataclass(frozen=True)
class Scores:
    """What the scores of rows and visitors come to; an `Encounter`."""

    sums: Any  # how rows are closed that are seen in parts
    roles: Roles
    symmetric: bool
    exclude_diagonal: bool
    block_size: int | None
    operands: str  # the half that sides are multiplied in; "": as they are
    as_given: bool  # whether that is a dtype of rows as given, not of unit vectors

    def sides(self, lib: Library, arrays: Arrays, constants: Arrays) -> Sides:
        """Return both sides."""
        anchors, every, bias = arrays
        *matched, scale = constants
        labels = Labels(*matched)
        own = lib.positions(anchors, 0, "anchors")
        if scale is not None:
            anchors, every = (self._halves(lib, x) for x in (anchors / scale, every))
        return Sides(
            Rows(anchors, own, labels.anchors, labels.ids, scale),
            Visitor(every, labels.candidates, labels.candidate_ids, bias),
        )

    def _halves(self, lib: Library, x: Array) -> Array:
        """Return rows as they are multiplied: those that were halves as halves."""
        half, _ = parts_of(self.operands)
        if self.as_given:
            return lib.xp.astype(x, lib.dtype_called(half))
        return lib.multiplying(self.operands).operand(x)

    def gathered(
        self, lib: Library, rows: Rows, visitor: Visitor, home: bool
    ) -> Results:
        """Return the sums of own rows over a visitor, and of its columns."""
        lib = lib.multiplying(self.operands)

        def body(columns: Any, rows: Rows, visitor: Visitor) -> tuple[Any, Any]:
            scores, pairs = self._panel(lib, rows, visitor, home)
            if self.symmetric:
                found = self._sums(lib, scores, pairs, 0, False)
                merged = columns is not None
                columns = self.merged(lib, columns, found) if merged else found
            return columns, self._sums(lib, scores, pairs, 1, True)

        columns, own = self._fold(lib, body, rows, visitor)
        return Results(own, columns if self.symmetric else ())

    def nothing(self, lib: Library, sides: Sides) -> Results:
        """Return the sums of no scores."""
        rows, visitor = sides
        wide = lib.multiplying(self.operands).wide
        own, theirs = (
            self.sums.nothing(lib, lib.xp.sum(lib.xp.zeros_like(wide(x)), axis=1))
            for x in (rows.anchors, visitor.embeddings)
        )
        return Results(own, theirs if self.symmetric else ())

    def merged(self, lib: Library, old: Any, new: Any) -> Any:
        """Return the sums of both."""
        return self.sums.merged(lib, old, new) if old else ()

    def value(self, lib: Library, found: Results) -> Array:
        """Return the losses of rows and which count, then those of columns if asked."""
        lines = []
        for sums in (found.own, found.theirs) if self.symmetric else (found.own,):
            losses, counted = self.sums.losses(lib, sums)
            one = lib.xp.ones_like(losses)
            counted = one if counted is None else lib.xp.astype(counted, one.dtype)
            lines += [losses[None, :], counted[None, :]]
        return lib.xp.concat(lines, axis=0)

    def closed(
        self, lib: Library, sides: Sides, found: Results, upstream: Array
    ) -> Sides:
        """Return both sides with the closing numbers of rows, and of columns."""
        (rows, visitor), own = sides, found.own
        _, counted = self.sums.losses(lib, own)
        if counted is not None and not self.symmetric:
            # An anchor left out may hold NaN, and 0 * NaN is NaN.
            kept = lib.xp.where(counted[:, None], rows.anchors, 0.0)
            rows = rows._replace(anchors=kept)
            own = each(own, lambda x: lib.xp.where(counted, x, 0.0))
        closing = self.sums.closing(lib, own, upstream[0, :])
        if self.symmetric:
            back = self.sums.closing(lib, found.theirs, upstream[2, :])
            visitor = visitor._replace(closing=back)
        return Sides(rows._replace(closing=closing), visitor)

    def pulled(self, lib: Library, rows: Rows, visitor: Visitor, home: bool) -> Results:
        """Return the gradients of own rows, and of a visitor."""
        lib = lib.multiplying(self.operands)
        turned = lib.xp.matrix_transpose

        def body(
            total: Gradient | None, rows: Rows, visitor: Visitor
        ) -> tuple[Gradient, Gradient]:
            scores, pairs = self._panel(lib, rows, visitor, home)
            closing = rows.closing, visitor.closing
            error = self.sums.error(lib, scores, pairs, *closing)
            of_bias = None if visitor.bias is None else lib.xp.sum(error, axis=0)
            error, back = lib.panel_operand(error, None, False)
            of_rows = lib.product(error, visitor.embeddings)
            anchors = rows.anchors
            if rows.scale is not None:
                anchors = lib.wide(anchors) * rows.scale
            if back is not None:
                of_rows, anchors = of_rows * back, anchors * back
            sofar = None if total is None else total.embeddings
            # Transposing the thin sum at the end costs less than transposing the panel.
            found = lib.plus_product(sofar, turned(anchors), error)
            if of_bias is None:
                return Gradient(found), Gradient(of_rows)
            of_bias = of_bias if total is None else total.bias + of_bias
            return Gradient(found, of_bias), Gradient(of_rows)

        total, own = self._fold(lib, body, rows, visitor)
        return Results(own, Gradient(turned(total.embeddings), total.bias))

    def gradients(self, lib: Library, arrays: Arrays, found: Results) -> Arrays:
        """Return the gradients of anchors, candidates and bias."""
        return found.own.embeddings, found.theirs.embeddings, found.theirs.bias

    def _fold(self, lib: Library, body: Any, rows: Rows, visitor: Visitor) -> Any:
        """Run `body` over panels of rows against a visitor."""
        sides = rows.anchors, visitor.embeddings
        block = block_of(lib, self.block_size, False, *sides)
        return lib.loops.fold(body, rows, visitor, block)

    def _sums(
        self, lib: Library, scores: Array, pairs: Pairs, axis: int, last: bool
    ) -> Any:
        if lib.shape(scores)[axis] == 0:  # whose peak would be 0
            return self.sums.nothing(lib, lib.xp.sum(scores, axis=axis))
        return self.sums.of(lib, scores, pairs, axis, last)

    def _panel(
        self, lib: Library, rows: Rows, visitor: Visitor, home: bool
    ) -> tuple[Array, Pairs]:
        """Return the scores of rows and a visitor, and the roles of their pairs."""
        columns = lib.xp.matrix_transpose(visitor.embeddings)
        if rows.scale is None:
            scores = lib.product(rows.anchors, columns)
        else:
            scores = lib.scores(rows.anchors, columns, rows.scale)
        if visitor.bias is not None:
            scores = lib.plus(scores, visitor.bias[None, :])
        pairs = self._pairs(lib, rows, visitor, home, scores.dtype)
        return masked(lib, scores, pairs, -float("inf")), pairs

    def _pairs(
        self, lib: Library, rows: Rows, visitor: Visitor, home: bool, dtype: Any
    ) -> Pairs:
        """Return the roles of pairs; without labels, positives are at home alone."""
        targets = own = exists = None
        if home:
            columns = lib.positions(visitor.embeddings, 0, "candidates")
            own = rows.positions[:, None] == columns[None, :]
        if rows.labels is not None:
            both = rows.labels, visitor.labels
            targets = self.roles.targets(lib, *both, dtype)
        elif own is not None:
            targets = lib.xp.astype(own, dtype)
        if self.exclude_diagonal and own is not None:
            exists = lib.xp.logical_not(own)
            targets = lib.xp.where(own, 0.0, targets)
        if rows.ids is None:
            return Pairs(targets=targets, exists=exists)
        return self._apart(lib, rows, visitor, targets, exists)

    def _apart(
        self,
        lib: Library,
        rows: Rows,
        visitor: Visitor,
        targets: Array | None,
        exists: Array | None,
    ) -> Pairs:
        """Return the roles of pairs of which those of equal ids take no part."""
        if targets is None:
            others = lib.xp.logical_not(matches(lib, rows.ids, visitor.ids))
            return Pairs(exists=others)
        pairs = Pairs(targets=targets, exists=exists)
        return without_equal_ids(lib, pairs, rows.ids, visitor.ids)
