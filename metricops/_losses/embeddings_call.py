"""A call of a loss of embeddings, and how it is computed."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from metricops._arguments.arrays import Inputs
from metricops._frameworks import Arrays, Operation, placed
from metricops._losses.solvable import Loss, Solvable, differentiated
from metricops._panels.operation import OPERATION, value_and_gradients
from metricops._panels.records import Given, Wanted
from metricops._typing import Array


class Engine(NamedTuple):
    """What computes a call: its loss, or its loss and gradients."""

    operation: Operation
    solve: Callable[..., tuple[Array, Arrays]]
    names: tuple[str, ...]  # of the argument that each differentiable array is


_NAMES = ("anchors", "candidates", "temperature", "sample_weight", "candidate_bias")
SCORES = Engine(OPERATION, value_and_gradients, _NAMES)


class Call(NamedTuple):
    """A call whose arguments have been checked, in the records of its engine."""

    inputs: Inputs
    config: Any
    given: Any  # the differentiable arrays
    labels: Any  # the constant ones
    engine: Engine = SCORES


def solvable(call: Call) -> Solvable:
    """Return a call as `value_and_grad` takes it."""
    engine, arrays = call.engine, (call.given, call.labels)
    return Solvable(call.inputs, engine.solve, call.config, *arrays, engine.names)


def solvable_by(
    admitted: Callable[..., Call], names: tuple[str, ...] | None = None
) -> Callable[[Loss], Loss]:
    """Return what enters a loss in the table of `value_and_grad`, and returns it.

    `admitted` takes all arguments of the loss by their names, and checks them; `names`
    are of the argument that each array of a call is, if not those of the engine.
    """
    return differentiated(partial(_solvable, admitted, names))


def _solvable(
    admitted: Callable[..., Call], names: tuple[str, ...] | None, **given: Any
) -> Solvable:
    """Return a call of a loss as `value_and_grad` takes it."""
    found = solvable(admitted(**given))
    return found if names is None else found._replace(names=names)


def loss_of(call: Call) -> Array:
    """Return the loss, differentiable by the framework of its arrays."""
    lib, operation = call.inputs.library, call.engine.operation
    loss = lib.differentiable(operation, call.config, call.given, call.labels)
    return call.inputs.narrow(loss)


def loss_and_gradients(call: Call) -> tuple[Array, tuple[Array, Array | None, Array]]:
    """Return the loss, and its gradients by anchors, candidates and temperature."""
    inputs, given = call.inputs, call.given
    wanted = Wanted(True, given.candidates is not None, True, False)
    static = call.config, wanted
    run = inputs.library.constant
    loss, saved = run(value_and_gradients, static, given, call.labels)
    found = Given(*placed(wanted, saved))
    of_candidates = (
        None if found.candidates is None else inputs.narrow(found.candidates)
    )
    of_anchors, of_temperature = map(inputs.narrow, (found.anchors, found.temperature))
    return inputs.narrow(loss), (of_anchors, of_candidates, of_temperature)
