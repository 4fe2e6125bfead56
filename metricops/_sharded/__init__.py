"""The loss of a batch that several processes or devices hold.

Each member of the group takes its own anchors against everybody's candidates, its own
candidates first. What it returns is scaled so that the *mean* over the members is the
loss of the whole batch: data parallel training averages gradients over the members, and
so gets the whole batch's gradient.

Members meet everybody's candidates all at once, gathered (`embeddings`, `distances`),
or one member's at a time, in a ring (`ring`), which takes less memory and one product
more.

Nothing here knows a framework: an adapter brings its collectives, as a `Group`.
"""

from metricops._frameworks.records import each, leaves
from metricops._sharded.groups import Group, Visits, check_gather
from metricops._sharded.losses import loss_of_group

__all__ = ["Group", "Visits", "check_gather", "each", "leaves", "loss_of_group"]
