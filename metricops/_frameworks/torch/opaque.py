"""Operations as one node of a graph, in `torch.compile` and `torch.export`.

If an operation were traced, its panels would be unrolled and all held at once. So it
becomes one of four operators. Their first arguments are the name of the operation, and
its config as `programs` encodes it:

- ``metricops::call`` is the value; the one that an exported program holds;
- ``metricops::run`` is the value and what is saved, for a compiled program;
- ``metricops::gradient`` is the gradient, of both;
- ``metricops::search``, in `operators`, is what a search finds: it has no gradient.
"""

from typing import Any

import torch

from metricops._frameworks import programs
from metricops._frameworks.operations import Arrays, Operation, operation_called, placed
from metricops._frameworks.torch import gradients, private
from metricops._frameworks.torch.gradients import Call
from metricops._frameworks.torch.library import Torch
from metricops._frameworks.torch.operators import ONE_PANEL, batched, operator
from metricops._frameworks.torch.operators import searched as searched
from metricops._typing import Array


def exported(operation: Operation, config: Any, given: tuple[Arrays, Arrays]) -> Array:
    """Return the value, as one node of a program that is exported."""
    arrays, constants = given
    encoded = programs.encode(config)
    # PyTorch cannot differentiate a list of tensors in which some are None.
    there = [x is not None for x in arrays], [x is not None for x in constants]
    tensors = [x for x in (*arrays, *constants) if x is not None]
    return _CALL(operation.name, *encoded, *there, tensors)


def compiled(operation: Operation, config: Any, given: tuple[Arrays, Arrays]) -> Array:
    """Return the value, as one node of a graph that Dynamo traces."""
    arrays, constants = given
    text, numbers, sizes = programs.encode(config)
    return _in_graph(operation.name, text, numbers, sizes, [*arrays], [*constants])


@torch.compiler.allow_in_graph
def _in_graph(
    name: str,
    text: str,
    numbers: list[float],
    sizes: list[int],
    arrays: list[Array | None],
    constants: list[Array | None],
) -> Array:
    """Return the value. Dynamo does not trace this, so `torch.func` sees `autograd`."""
    operation = operation_called(name)
    config = programs.decode(operation, programs.Encoded(text, numbers, sizes))
    if private.forward_levels() > 1:
        msg = (
            "torch.compile cannot trace forward mode inside forward mode; take one of "
            "them backward, or leave it outside torch.compile."
        )
        raise NotImplementedError(msg)
    found = gradients.call_of(_OpaqueCall, ONE_PANEL, operation, config, tuple(arrays))
    return gradients.run(found, (*arrays, *constants))


class _OpaqueCall(Call):
    """A call of which value and gradient are a node each."""

    def values(self, given: Arrays) -> Arrays:
        wanted = [there and self.saving for there in self.wanted]
        return tuple(_RUN(*self._encoded(given), wanted))

    def gradients(self, given: Arrays, saved: Arrays, upstream: Array) -> Arrays:
        state = list(self.wanted), self.saving, list(saved), upstream
        return tuple(_GRADIENT(*self._encoded(given), *state))

    def _encoded(self, given: Arrays) -> tuple[Any, ...]:
        encoded = programs.encode(self.config)
        return (self.operation.name, *encoded, *_sides(given, self.count))


def _sides(given: Arrays, count: int) -> tuple[list[Any], list[Any]]:
    return list(given[:count]), list(given[count:])


def _decoded(
    library: Torch, state: Any, arrays: list[Any], wanted: list[bool], saving: bool
) -> Call:
    name, *encoded = state
    operation = operation_called(name)
    config = programs.decode(operation, programs.Encoded(*encoded))
    return Call(library, operation, config, len(arrays), tuple(wanted), saving)


def _call(library: Torch) -> Any:
    """Return the kernel of the operator ``metricops::call``."""

    def kernel(
        name: str,
        text: str,
        numbers: Any,
        sizes: Any,
        arrays: Any,
        constants: Any,
        tensors: Any,
    ) -> Array:
        if private.forward_levels() > 0:
            msg = (
                "An exported program has no forward mode; differentiate the function "
                "of metricops itself."
            )
            raise NotImplementedError(msg)
        state, wanted = (name, text, numbers, sizes), [False] * len(arrays)
        found = _decoded(library, state, arrays, wanted, saving=False)
        value, *_ = found.values(placed((*arrays, *constants), tuple(tensors)))
        return value

    return kernel


def _run(library: Torch) -> Any:
    """Return the kernel of the operator ``metricops::run``."""

    def kernel(
        name: str,
        text: str,
        numbers: Any,
        sizes: Any,
        arrays: Any,
        constants: Any,
        wanted: Any,
    ) -> list[Array]:
        state = name, text, numbers, sizes
        found = _decoded(library, state, arrays, wanted, any(wanted))
        return list(found.values((*arrays, *constants)))

    return kernel


def _gradient(library: Torch) -> Any:
    """Return the kernel of the operator ``metricops::gradient``."""

    def kernel(
        name: str,
        text: str,
        numbers: Any,
        sizes: Any,
        arrays: Any,
        constants: Any,
        wanted: Any,
        saving: bool,
        saved: Any,
        upstream: Array,
    ) -> list[Array]:
        state = name, text, numbers, sizes
        found = _decoded(library, state, arrays, wanted, saving)
        return list(found.gradients((*arrays, *constants), tuple(saved), upstream))

    return kernel


_GIVEN = "bool[] arrays, bool[] constants, Tensor[] tensors"
_ARRAYS = "Tensor?[] arrays, Tensor?[] constants"
_STATE = "bool[] wanted, bool saving, Tensor[] saved, Tensor upstream"
_CALL = operator("call", _GIVEN, "Tensor", _call)
_RUN = operator("run", f"{_ARRAYS}, bool[] wanted", "Tensor[]", _run)
_GRADIENT = operator("gradient", f"{_ARRAYS}, {_STATE}", "Tensor[]", _gradient)


# How PyTorch differentiates and batches the nodes themselves.


def _save(ctx: Any, inputs: Any, output: Any) -> None:
    *ctx.state, ctx.arrays, ctx.constants, tensors = inputs
    ctx.save_for_backward(*tensors)


def _pull(ctx: Any, upstream: Array) -> Any:
    given = placed((*ctx.arrays, *ctx.constants), ctx.saved_tensors)
    call = _decoded(ONE_PANEL, ctx.state, ctx.arrays, ctx.arrays, saving=False)
    call = _OpaqueCall(**vars(call))
    found = gradients.gradient(call, given, upstream)
    every = [*found, *(None for there in ctx.constants if there)]
    # PyTorch takes an empty list for a list of tensors, which has a list of gradients.
    nothing: list[Any] = [
        None if x else [] for x in (*ctx.state[2:], ctx.arrays, ctx.constants)
    ]
    return None, None, *nothing, every


_CALL.register_autograd(_pull, setup_context=_save)
_RUN.register_vmap(batched(_RUN))
_GRADIENT.register_vmap(batched(_GRADIENT))
