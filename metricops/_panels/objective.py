"""What a loss gives to the engine: the loss of a row of scores, and its derivative."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from metricops._frameworks import Library
from metricops._typing import Array


class Pairs(NamedTuple):
    """The roles of the pairs of a panel of scores, shape (b, m).

    `positive` says which pairs are positives where each row has only one, or none if
    its `total` is 0. Otherwise `targets` and `total` do.
    """

    positive: Array = None  # (b,): the column of each row's only positive
    targets: Array | None = None  # (b, m): how much each candidate is a positive
    total: Array | None = None  # (b, 1): the sum of each row's targets; None: all 1
    excluded: Array | None = None  # (b,): a column of each row that takes no part
    exists: Array | None = None  # (b, m): which pairs take part; None: all
    scale: Array | None = None  # what scores are still to be multiplied by; None: 1


class Slopes(NamedTuple):
    """The losses of a panel's rows, and their derivatives by the scores.

    The derivative is ``error * factor``. If `own` is given, the error at the columns
    `Pairs.positive` is `own`, and 0 stands there until the engine adds it. The engine
    multiplies the thin side of a product by `factor`, which costs less than the panel,
    and rounds less; where a compiler fuses steps, it may multiply the panel. The error
    may be a half.
    """

    losses: Array  # (b,)
    error: Array  # (b, m)
    factor: Array | None = None  # (b, 1); None: 1
    own: Array | None = None  # (b,); None: the error is whole


class Sums:
    """How a loss closes rows whose scores are seen in parts.

    With this, one set takes half the products, and both directions one pass less. Sums
    are records of arrays of shape (rows,), or of such records. `record` and `paired`
    are for `Objective.sums`; `nothing` is for one set and for `visited_sums`.
    """

    record: Any  # of the sums: a named tuple

    def of(
        self, lib: Library, scores: Array, pairs: Pairs, axis: int, last: bool
    ) -> Any:
        """Return the sums along an axis; the `last` to ask may overwrite the scores."""
        raise NotImplementedError

    def nothing(self, lib: Library, zeros: Array) -> Any:
        """Return the sums of rows that have seen no candidate."""
        raise NotImplementedError

    def merged(self, lib: Library, old: Any, new: Any) -> Any:
        """Return the sums of the same rows over two sets of candidates."""
        raise NotImplementedError

    def paired(self, rows: Any, columns: Any) -> Any:
        """Return the columns' sums, completed by what only the rows know of a pair."""
        return columns

    def losses(self, lib: Library, sums: Any) -> tuple[Array, Array | None]:
        """Return the losses, and which of them count (None: all)."""
        raise NotImplementedError

    def closing(self, lib: Library, sums: Any, upstream: Array) -> Any:
        """Return each row's closing numbers, for losses weighted by `upstream`."""
        raise NotImplementedError

    def error(
        self, lib: Library, scores: Array, pairs: Pairs, rows: Any, columns: Any
    ) -> Array:
        """Return the derivative by the scores of the rows' and the columns' losses.

        `columns` may be None. The scores may be overwritten.
        """
        raise NotImplementedError

    def joint_error(
        self, lib: Library, scores: Array, pairs: Pairs, rows: Any, columns: Any
    ) -> Array:
        """Return the same where no upstream is below 0, by `joint_exponentials`.

        The library has them, but not all sums may keep their digits so.
        """
        return self.error(lib, scores, pairs, rows, columns)

    def own(self, rows: Any, columns: Any) -> Array | None:
        """Return the derivative at each row's own positive, if `error` lacks it."""
        return None


@dataclass(frozen=True)
class Objective:
    """A loss of a row of scores; its fields are words and numbers.

    A subclass has `losses` and `slopes`. An objective is registered, so that programs
    that are exported can name it.
    """

    takes_halves = True  # whether its scores are products of the rows as given
    has_bias = False  # whether `bias`, a number, is added to the scores
    within_one = False  # whether no derivative by a score is above 1 or below -1
    smoothing = 0.0  # the engine subtracts so much of the mean score; see `smoothing`
    needs_negatives = False  # whether an anchor without a negative does not count
    counts_all = False  # whether an anchor without a positive counts too
    fuses_mean = False  # whether a framework may have `mean` in one call

    def counted(self, lib: Library, pairs: Pairs) -> Array | None:
        """Return which rows count by their targets, shape (b, 1); None: all.

        By position all rows count, and this is not called. When it is, there are no
        scores yet: an anchor left out may hold a NaN.
        """
        if self.counts_all:
            return None
        some = pairs.total != 0
        if not self.needs_negatives:
            return some
        others = negatives(lib, pairs, pairs.targets)
        return lib.xp.logical_and(some, lib.xp.any(others, axis=1, keepdims=True))

    def losses(self, lib: Library, scores: Array, pairs: Pairs) -> Array:
        """Return the rows' losses, shape (b,). The scores may be overwritten."""
        raise NotImplementedError

    def slopes(self, lib: Library, scores: Array, pairs: Pairs) -> Slopes:
        """Return losses and derivatives. The scores may be overwritten."""
        raise NotImplementedError

    def mean(self, lib: Library, scores: Array, pairs: Pairs) -> Array:
        """Return the mean of the losses."""
        return lib.xp.mean(self.losses(lib, scores, pairs))

    def sums(self, paired: bool) -> Any:
        """Return the `Sums` that close rows met in parts, or None if nothing does.

        `paired` is whether each row has one positive, at its position.
        """
        return None

    def visited_sums(self) -> Any:
        """Return the `Sums` of rows whose candidates come by a few at a time, or None.

        A row's positives may be in any of the parts; one without any may have no
        `Pairs.targets`. No part has `Pairs.excluded`.
        """
        return None


def masked(lib: Library, x: Array, pairs: Pairs, value: float) -> Array:
    """Return a panel with `value` where a pair takes no part.

    The panel `x` may be overwritten.
    """
    if pairs.excluded is not None:
        x = lib.put_own(x, pairs.excluded, value)
    return x if pairs.exists is None else lib.xp.where(pairs.exists, x, value)


def turned_pairs(lib: Library, pairs: Pairs) -> Pairs:
    """Return the roles of the pairs of a square panel, seen from its columns."""
    turn, total = lib.xp.matrix_transpose, pairs.total
    targets, exists = (
        None if x is None else turn(x) for x in (pairs.targets, pairs.exists)
    )
    if targets is not None:
        total = lib.row_sums(targets)
    return pairs._replace(targets=targets, total=total, exists=exists)


def negatives(lib: Library, pairs: Pairs, like: Array) -> Array:
    """Return which pairs of a panel such as `like` are negatives, shape (b, m)."""
    xp = lib.xp
    if pairs.targets is None:
        columns = lib.positions(like, 1, "candidates")[None, :]
        found = columns != pairs.positive[:, None]
    else:
        found = pairs.targets == 0
    if pairs.excluded is not None:
        found = lib.put_own(found, pairs.excluded, False)
    return found if pairs.exists is None else xp.logical_and(found, pairs.exists)
