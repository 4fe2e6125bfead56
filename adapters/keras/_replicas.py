"""The replicas of a TensorFlow strategy, as a loss takes those that share a batch."""

from typing import Any

import tensorflow as tf

# In what dtype rows travel of those that TensorFlow does not gather.
_SENT = {
    **dict.fromkeys((tf.bool, tf.int8, tf.uint8, tf.int16, tf.uint16), tf.int32),
    **dict.fromkeys((tf.uint32, tf.uint64), tf.int64),
    tf.bfloat16: tf.float32,
}


class Replicas:
    """The replicas of a strategy, as `loss_of_group` takes them.

    They may have any number of rows, which a graph does not know while it is traced: so
    counts are numbers in tensors.
    """

    ring = False

    def __init__(self, context: Any) -> None:
        self.context = context
        self.size: int = context.num_replicas_in_sync

    def meet(self, call: dict[str, str], sides: tuple[Any, ...]) -> list[list[Any]]:
        """Return how many rows of each side each replica has, own first.

        One program is run by all, so that all make one call.
        """
        return [self._counts(x) for x in sides]

    def fail(self, error: Exception) -> None:
        """Do nothing, as the call of all replicas raises."""

    def _counts(self, x: Any) -> list[Any]:
        every = self.context.all_gather(tf.shape(x)[:1], axis=0)
        # Floats, as they divide sums.
        counts = tf.cast(every, tf.float64 if x.dtype == tf.float64 else tf.float32)
        own_first = tf.roll(counts, -self._place, axis=0)
        return list(tf.unstack(own_first, num=self.size))

    def number(self, counts: list[Any]) -> Any:
        """Return how many rows all have, at least 1, to divide by."""
        return tf.maximum(tf.add_n(counts), 1.0)

    def gather(self, x: Any, counts: list[Any]) -> Any:
        """Return the rows of all replicas, own first, differentiably."""
        sent = tf.cast(x, _SENT.get(x.dtype, x.dtype))
        rows = tf.cast(self.context.all_gather(sent, axis=0), x.dtype)
        in_order = tf.roll(tf.stack(counts), self._place, axis=0)
        before = tf.cast(tf.reduce_sum(in_order[: self._place]), tf.int32)
        return tf.roll(rows, -before, axis=0)

    def total(self, x: Any) -> Any:
        """Return the sum over the replicas, differentiably."""
        return self.context.all_reduce(tf.distribute.ReduceOp.SUM, x)

    @property
    def _place(self) -> Any:
        return self.context.replica_id_in_sync_group


def replicas() -> Replicas | None:
    """Return the replicas that this one runs beside; None where there is one alone.

    Outside of a replica, where a strategy is only in scope, a batch is whole.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return None
    return Replicas(context)
