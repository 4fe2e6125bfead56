"""TensorFlow: distances by products in float64, with the derivatives of exact ones."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from metricops._frameworks.library import Library
from metricops._frameworks.operations import Arrays, spread
from metricops._typing import Array


def pulled(
    function: Callable[..., Any], arrays: Arrays, upstreams: Arrays
) -> list[Array]:
    """Return the gradients of ``function(*arrays)``, 0 where it does not depend."""
    zero = tf.UnconnectedGradients.ZERO

    def in_graph(arrays: Arrays, upstreams: Arrays) -> Any:
        here = [tf.identity(x) for x in arrays]
        return tf.gradients(
            function(*here), here, upstreams, unconnected_gradients=zero
        )

    if not tf.executing_eagerly():
        return list(in_graph(arrays, upstreams))
    if not _tapes_record():
        return list(tf.function(in_graph)(arrays, upstreams))
    # An array may stand twice among them: each has a gradient of its own.
    here = [tf.identity(x) for x in arrays]
    with tf.GradientTape() as tape:
        tape.watch([x for x in here if x.dtype.is_floating])
        found = function(*here)
    return list(tape.gradient(found, here, list(upstreams), zero))


def _tapes_record() -> bool:
    """Return whether tapes record: not while an accumulator derives forward mode."""
    one = tf.ones(())
    with tf.GradientTape() as tape:
        tape.watch(one)
        two = one + one
    return tape.gradient(two, one) is not None


def shortcut(lib: Library, short: Any, exact: Any, arrays: Arrays) -> tuple[Array, ...]:
    """Return ``short(lib, *arrays)``, with the derivatives of `exact`."""

    @tf.custom_gradient
    def run(*present: Array) -> Any:
        own = spread(arrays, tuple(map(tf.stop_gradient, present)))

        def pull(*upstreams: Array) -> Any:
            def again(*present: Array) -> Any:
                return exact(lib, *spread(arrays, present))

            return pulled(again, present, upstreams)

        return short(lib, *own), pull

    return tuple(run(*(x for x in arrays if x is not None)))


def when(some: Array, yes: Any, no: Any) -> Any:
    """Return ``yes()`` if `some` is true, else ``no()``; their shapes are equal."""
    if tf.executing_eagerly():
        return yes() if bool(some) else no()
    return tf.cond(some, yes, no)
