"""How an operation meets TensorFlow's tapes, accumulators and symbolic gradients.

An operation is one step to them: its panels are computed while recording is paused.
Forward mode needs no rule of its own, as TensorFlow derives it from the gradient. With
g(u) the gradients of the value for an upstream u, which is linear in u, the tangent of
the value is the derivative of ``sum(g(u) * tangents)`` by u. So all that follows u must
be made of steps that TensorFlow records.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from metricops._frameworks.library import Library
from metricops._frameworks.operations import Arrays, Operation, is_given, spread
from metricops._frameworks.tensorflow import private
from metricops._frameworks.tensorflow.distances import pulled
from metricops._typing import Array

Wanted = tuple[bool, ...]


class Call(NamedTuple):
    """An operation with all that it is called on."""

    library: Library
    stepwise: Library  # the same without loops, where autodiff goes through each step
    operation: Operation
    config: Any
    arrays: Arrays
    constants: Arrays

    def value(self) -> Array:
        """Return the value."""
        return self.operation.value(*self._given())

    def value_and_saved(self, wanted: Wanted) -> tuple[Array, Arrays]:
        """Return the value, and what makes its gradients cheap."""
        return self.operation.value_and_saved(*self._given(), wanted)

    def backward(self, saved: Arrays, upstream: Array, wanted: Wanted) -> Arrays:
        """Return the gradients that are wanted, and None for the others."""
        return self.operation.backward(*self._given(), saved, upstream, wanted)

    def present(self) -> list[Array]:
        """Return the differentiable arrays that are given."""
        return [x for x in self.arrays if x is not None]

    def on(self, present: tuple[Array, ...]) -> "Call":
        """Return the call on other arrays in the place of those given."""
        return self._replace(arrays=spread(self.arrays, present))

    def here(self) -> "Call":
        """Return the call on the arrays as the graph that is being built sees them.

        A gradient may be built in another graph than the value.
        """
        arrays, constants = (
            tuple(None if x is None else tf.identity(x) for x in each)
            for each in (self.arrays, self.constants)
        )
        return self._replace(arrays=arrays, constants=constants)

    def by_steps(self) -> "Call":
        """Return the call by steps that can be differentiated one by one."""
        return self._replace(library=self.stepwise)

    def _given(self) -> tuple[Any, ...]:
        return self.library, self.config, self.arrays, self.constants


def differentiable(call: Call) -> Array:
    """Return the value of a call, with its derivatives."""
    eager = tf.executing_eagerly()
    if not private.is_complete() or (not eager and private.has_tangent(call.present())):
        # In a graph `tf.custom_gradient` passes arguments and value through one
        # IdentityN. An accumulator would take the tangent from that, which is 0.
        return call.by_steps().value()
    wanted = _wanted(call)
    if eager and not any(wanted):
        return call.value()

    @tf.custom_gradient
    def run(*present: Array) -> Any:
        own = call.on(present)
        if any(wanted):
            value, saved = _unrecorded(own, wanted)
        else:
            value, saved = own.value(), None
        return value, lambda upstream: _gradients(own, wanted, saved, upstream)

    return run(*call.present())


def _wanted(call: Call) -> Wanted:
    """Return for which arrays a gradient may be asked."""
    watched = tuple(x is not None and private.is_watched(x) for x in call.arrays)
    if any(watched) or tf.executing_eagerly():
        return watched
    # While a function is traced, a tape outside of it may watch its arguments.
    return is_given(call.arrays) if private.may_record() else watched


def _unrecorded(call: Call, wanted: Wanted) -> tuple[Array, Arrays]:
    """Return the value and what is saved, none of it recorded."""
    # A tape would keep every panel alive otherwise.
    with private.paused():
        value, saved = call.value_and_saved(wanted)
        if not tf.executing_eagerly():  # where gradients follow the graph itself
            saved = tuple(map(tf.stop_gradient, saved))
    return value, saved


def _gradients(
    call: Call, wanted: Wanted, saved: Arrays | None, upstream: Array
) -> list[Array | None]:
    """Return the gradients of all arrays given; eagerly, None for one not wanted."""
    given = is_given(call.arrays)
    if any(map(private.is_watched, call.present())):  # of the gradients, a derivative
        call, wanted = call.by_steps(), given
        _, saved = call.value_and_saved(wanted)
    elif not tf.executing_eagerly():
        return _in_graph(call.here(), wanted, saved, upstream)
    found = call.backward(saved or (), upstream, wanted)
    return [x for x, there in zip(found, given, strict=True) if there]


def _in_graph(
    call: Call, wanted: Wanted, saved: Arrays | None, upstream: Array
) -> list[Array | None]:
    """Return the gradients of all arrays given, also those that no tape wants yet.

    The caller of the traced function may want them; if not, TensorFlow drops them.
    """
    given = is_given(call.arrays)
    found: Arrays = (None,) * len(given)
    if saved is not None:
        found = call.backward(_remembered(call, wanted, saved), upstream, wanted)
    rest = tuple(there and x is None for there, x in zip(given, found, strict=True))
    if any(rest):
        _, more = _unrecorded(call, rest)
        others = call.backward(_remembered(call, rest, more), upstream, rest)
        pairs = zip(found, others, strict=True)
        found = tuple(y if x is None else x for x, y in pairs)
    return [x for x, there in zip(found, given, strict=True) if there]


def _remembered(call: Call, wanted: Wanted, saved: Arrays) -> Arrays:
    """Return what was saved, as a function of the arrays that is differentiable."""
    if not saved:
        return saved

    @tf.custom_gradient
    def run(*present: Array) -> Any:
        def again(*present: Array) -> Arrays:
            return call.here().on(present).by_steps().value_and_saved(wanted)[1]

        def pull(*upstreams: Array) -> list[Array]:
            return pulled(again, present, upstreams)

        return tuple(map(tf.identity, saved)), pull

    remembered: Arrays = run(*call.present())
    return remembered
