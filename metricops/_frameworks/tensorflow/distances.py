"""TensorFlow: distances by products in float64, with the derivatives of exact ones."""

from typing import Any

import tensorflow as tf

from metricops._frameworks.library import Library
from metricops._frameworks.operations import Arrays, spread
from metricops._typing import Array


def shortcut(lib: Library, short: Any, exact: Any, arrays: Arrays) -> tuple[Array, ...]:
    """Return ``short(lib, *arrays)``, with the derivatives of `exact`."""

    @tf.custom_gradient
    def run(*present: Array) -> Any:
        own = spread(arrays, tuple(map(tf.stop_gradient, present)))

        def pull(*upstreams: Array) -> Any:
            with tf.GradientTape() as tape:
                tape.watch([x for x in present if x.dtype.is_floating])
                again = exact(lib, *spread(arrays, present))
            zero = tf.UnconnectedGradients.ZERO
            return tape.gradient(again, list(present), list(upstreams), zero)

        return short(lib, *own), pull

    return tuple(run(*(x for x in arrays if x is not None)))


def when(some: Array, yes: Any, no: Any) -> Any:
    """Return ``yes()`` if `some` is true, else ``no()``; their shapes are equal."""
    if tf.executing_eagerly():
        return yes() if bool(some) else no()
    return tf.cond(some, yes, no)
