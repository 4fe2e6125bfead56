"""Which candidates are positives of which anchors, by the labels of a call."""

from dataclasses import dataclass
from typing import Any

from metricops._arguments.matches import matches, shared_or_same
from metricops._frameworks import Library
from metricops._frameworks.programs import register_record
from metricops._panels.objective import Pairs
from metricops._typing import Array


@dataclass(frozen=True)
class Roles:
    """How the targets of a panel come from labels."""

    complete = False  # whether each anchor is known to have its only positive

    def targets(
        self, lib: Library, labels: Array, others: Array, dtype: Any
    ) -> Array | None:
        """Return how much each candidate is a positive of each anchor, shape (n, m).

        None where each row has one positive, at its position.
        """
        raise NotImplementedError

    def only(self, labels: Array) -> Array | None:
        """Return the column of each row's only positive, -1 where there is none.

        None where rows may have several.
        """
        return None

    def positives(self, lib: Library, labels: Array, others: Array, dtype: Any) -> Any:
        """Return which candidates are positives of which anchors, bool."""
        return self.targets(lib, labels, others, dtype) != 0


@dataclass(frozen=True)
class ByPosition(Roles):
    """Candidate i is the only positive of anchor i."""

    def targets(
        self, lib: Library, labels: Array, others: Array, dtype: Any
    ) -> Array | None:
        """Return None: there is one positive, at the row's position."""
        return None


@dataclass(frozen=True)
class ByIndex(Roles):
    """The label of an anchor is the index of its only positive, -1 for none."""

    complete: bool = False  # whether no label is -1

    def only(self, labels: Array) -> Array | None:
        """Return the labels."""
        return labels


@dataclass(frozen=True)
class ByLabels(Roles):
    """The candidates of an anchor's label are its positives."""

    def targets(
        self, lib: Library, labels: Array, others: Array, dtype: Any
    ) -> Array | None:
        """Return 1 where labels are equal, and 0 elsewhere."""
        return lib.marks(matches(lib, labels, others), dtype)

    def positives(self, lib: Library, labels: Array, others: Array, dtype: Any) -> Any:
        """Return where labels are equal."""
        return matches(lib, labels, others)


@dataclass(frozen=True)
class ByMultihot(Roles):
    """The candidates that share labels with an anchor are its positives."""

    def targets(
        self, lib: Library, labels: Array, others: Array, dtype: Any
    ) -> Array | None:
        """Return the numbers of labels that are shared.

        Labels that turn out at run time to have one column are compared instead.
        """
        return shared_or_same(lib, labels, others, dtype)


def without_equal_ids(lib: Library, pairs: Pairs, ids: Array, others: Array) -> Pairs:
    """Return the roles of pairs of which those of equal ids take no part.

    A positive takes part whatever its ids.
    """
    xp = lib.xp
    same = matches(lib, ids, others)
    if pairs.targets is None:
        same = lib.put(same, pairs.positive, False)
    else:
        same = xp.logical_and(same, pairs.targets == 0)
    exists = xp.logical_not(same)
    if pairs.exists is not None:
        exists = xp.logical_and(exists, pairs.exists)
    return pairs._replace(exists=exists)


BY_POSITION: Roles = ByPosition()
_BY_LABELS, _BY_MULTIHOT = ByLabels(), ByMultihot()


def roles_by(labels: Array | None) -> Roles:
    """Return what labels mean: of none, one each, or multi-hot."""
    if labels is None:
        return BY_POSITION
    return _BY_LABELS if labels.ndim == 1 else _BY_MULTIHOT


register_record("by_position", ByPosition)
register_record("by_index", ByIndex)
register_record("by_labels", ByLabels)
register_record("by_multihot", ByMultihot)
