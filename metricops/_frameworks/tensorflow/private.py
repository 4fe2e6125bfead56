"""What is private of TensorFlow: whether a tape or an accumulator is recording.

No public function tells. It buys memory and time: a gradient needs one panel at a
time, which for 8,192 pairs takes 48 MiB in place of 1.9 GiB, and a third of the time.
Without one of these names an operation is differentiated step by step, which gives the
same numbers but keeps all panels.
"""

import contextlib
from collections.abc import Sequence

import tensorflow as tf

from metricops._typing import Array

try:
    from tensorflow.python.eager import forwardprop_util, record
except ImportError:  # a TensorFlow that keeps them elsewhere
    forwardprop_util = record = None

# Buys programs for XLA without a choice of two ways, of which it would compile both.
try:
    from tensorflow.python.ops import control_flow_util
except ImportError:
    control_flow_util = None

_OF_RECORD = ("stop_recording", "should_record_backprop", "could_possibly_record")


def in_xla() -> bool:
    """Return whether a graph is being traced that XLA is known to compile."""
    ask = getattr(control_flow_util, "GraphOrParentsInXlaContext", None)
    if ask is None or tf.executing_eagerly():
        return False
    return bool(ask(tf.compat.v1.get_default_graph()))


def is_complete() -> bool:
    """Return whether this TensorFlow has all that is used here."""
    recorded = all(hasattr(record, name) for name in _OF_RECORD)
    return recorded and hasattr(forwardprop_util, "pack_tangents")


def paused() -> contextlib.AbstractContextManager[None]:
    """Return a context in which neither tapes nor accumulators record."""
    context: contextlib.AbstractContextManager[None] = record.stop_recording()
    return context


def is_watched(x: Array) -> bool:
    """Return whether a tape or an accumulator differentiates by the tensor `x`."""
    return record.should_record_backprop([x]) or has_tangent([x])


def has_tangent(arrays: Sequence[Array]) -> bool:
    """Return whether a forward accumulator holds a tangent of one of `arrays`."""
    return bool(forwardprop_util.pack_tangents(list(arrays)).tangents)


def may_record() -> bool:
    """Return whether there is a tape or an accumulator, whatever it watches."""
    return bool(record.could_possibly_record())
