"""How an operation meets the autograd of PyTorch, backward and forward, and twice.

`_Run` is the value, and `_Gradient` its gradient, which is differentiable too. With the
value f(x) and an upstream u, the gradient is g(x, u), the derivative of u·f(x) by x. So

- forward mode of f is the derivative of g(x, u)·t by u, as g is linear in u;
- that of g, by x, is the derivative of g(x, u)·t by x, as second derivatives are
  symmetric, and by u it is g(x, t);

and all of these are reverse mode of g, which consists of functions that PyTorch can
differentiate.
"""

from dataclasses import dataclass
from typing import Any

import torch

from metricops._frameworks.library import Library
from metricops._frameworks.operations import Arrays, Operation, is_given, placed
from metricops._frameworks.torch import private
from metricops._typing import Array


@dataclass(frozen=True)
class Call:
    """What is static about a call of an operation, and how its parts are computed."""

    library: Library
    operation: Operation
    config: Any
    count: int  # of the arrays given, how many are differentiable; others are constant
    wanted: tuple[bool, ...]  # which of those get a gradient
    saving: bool  # whether the value comes with what its gradient needs

    def values(self, given: Arrays) -> Arrays:
        """Return the value, and behind it what else is saved."""
        parts = self.config, given[: self.count], given[self.count :]
        if not self.saving:
            return (self.operation.value(self.library, *parts),)
        value, saved = self.operation.value_and_saved(self.library, *parts, self.wanted)
        return (value, *saved[self.keeps :])

    @property
    def keeps(self) -> int:
        """Return 1 where the value is what is saved first, else 0."""
        return int(self.saving and self.operation.needs_value(self.config))

    def gradients(self, given: Arrays, saved: Arrays, upstream: Array) -> Arrays:
        """Return the gradients that are wanted, and no others."""
        lib, wanted = self.library, self.wanted
        parts = self.config, given[: self.count], given[self.count :]
        if not self.saving:
            _, saved = self.operation.value_and_saved(lib, *parts, wanted)

        def of(upstream: Array) -> Arrays:
            found = self.operation.backward(lib, *parts, saved, upstream, wanted)
            return tuple(x for x, there in zip(found, wanted, strict=True) if there)

        return private.one_by_one(of, upstream)

    def plain_value(self, given: Arrays) -> Array:
        """Return the value by functions that PyTorch can differentiate."""
        parts = given[: self.count], given[self.count :]
        return self.operation.value(self.library, self.config, *parts)

    def derived(self, given: Arrays, upstream: Array) -> Arrays:
        """Return the gradients by functions that PyTorch can differentiate again."""
        return Call(
            self.library, self.operation, self.config, self.count, self.wanted, False
        ).gradients(given, (), upstream)


def wanted_of(arrays: Arrays) -> tuple[bool, ...]:
    """Return which arrays are known to need a gradient."""
    recorded = torch.is_grad_enabled()
    return tuple(x is not None and recorded and x.requires_grad for x in arrays)


def call_of(
    kind: type[Call],
    library: Library,
    operation: Operation,
    config: Any,
    arrays: Arrays,
) -> Call:
    """Return the call of an operation, with the gradients that may be asked for."""
    wanted = wanted_of(arrays)
    levels = private.forward_levels()
    saving = any(wanted) or levels > 0
    if private.transforms_active() or levels > 0:
        # Another transform than the innermost may want what this one does not.
        wanted = is_given(arrays)
    return kind(library, operation, config, len(arrays), wanted, saving)


def run(call: Call, given: Arrays) -> Array:
    """Return the value of a call, differentiable."""
    value, *_ = _Run.apply(call, *given)
    return value


def gradient(call: Call, given: Arrays, upstream: Array) -> Arrays:
    """Return the wanted gradients of a call, differentiable."""
    return _Gradient.apply(call, len(given), upstream, *given)


class _Run(torch.autograd.Function):
    """The value of an operation, then what it saved for its gradient."""

    generate_vmap_rule = True

    @staticmethod
    @private.signed
    def forward(call: Call, *given: Array | None) -> Any:
        return call.values(given)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.call, *given = inputs
        ctx.width = len(given)
        ctx.set_materialize_grads(False)
        saved = output[1 - ctx.call.keeps :]
        ctx.save_for_backward(*given, *saved)
        ctx.save_for_forward(*given, *saved)  # `vmap` wants both to be the same

    @staticmethod
    def backward(ctx: Any, upstream: Array | None, *_: Any) -> Any:
        if upstream is None:
            return (None,) * (1 + ctx.width)
        tensors = ctx.saved_tensors  # read once, as a checkpoint allows
        if private.recorded():
            found = _Gradient.apply(ctx.call, ctx.width, upstream, *tensors)
        else:
            parts = tensors[: ctx.width], tensors[ctx.width :]
            found = ctx.call.gradients(*parts, upstream)
        constants = (None,) * (ctx.width - ctx.call.count)
        return (None, *placed(ctx.call.wanted, found), *constants)

    @staticmethod
    def jvp(ctx: Any, _: None, *tangents: Array | None) -> Any:
        call, tensors = ctx.call, ctx.saved_tensors
        given, saved = tensors[: ctx.width], tensors[ctx.width :]
        along = _along(call, given, tangents)

        # What else is saved is no result, so its tangents are 0: `vmap` takes no None.
        nothing = tuple(torch.zeros_like(x) for x in saved[call.keeps :])
        if call.operation.saves_gradients(call.config):
            first, *_others = along
            one = first.new_ones(())
            found = _Gradient.apply(call, ctx.width, one, *given, *saved)
            parts = [(x * t).sum() for x, t in zip(found, along, strict=True)]
            return (sum(parts), *nothing)
        upstream = torch.zeros_like(call.plain_value(given))
        of_upstream, *_rest = _pulled(call, given, upstream, along)
        return (of_upstream, *nothing)


class _Gradient(torch.autograd.Function):
    """The wanted gradients of an operation, differentiable by its arrays too."""

    generate_vmap_rule = True

    @staticmethod
    def forward(call: Call, width: int, upstream: Array, *tensors: Array | None) -> Any:
        found = call.gradients(tensors[:width], tensors[width:], upstream)
        return tuple(x.contiguous() for x in found)  # a tangent has the same layout

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.call, ctx.width, upstream, *tensors = inputs
        ctx.saved = len(tensors) - ctx.width
        ctx.save_for_backward(upstream, *tensors[: ctx.width])
        ctx.save_for_forward(upstream, *tensors[: ctx.width])

    @staticmethod
    def backward(ctx: Any, *upstreams: Array) -> Any:
        call, (upstream, *given) = ctx.call, ctx.saved_tensors
        of_upstream, *found = _pulled(call, tuple(given), upstream, upstreams)
        others = (None,) * (ctx.width - call.count + ctx.saved)
        return (None, None, of_upstream, *placed(call.wanted, tuple(found)), *others)

    @staticmethod
    def jvp(ctx: Any, _: None, __: None, *tangents: Array | None) -> Any:
        call, (upstream, *given) = ctx.call, ctx.saved_tensors
        of_upstream, *others = tangents
        along = _along(call, given, others)
        _, *found = _pulled(call, tuple(given), upstream, along)
        if of_upstream is None:
            return tuple(found)
        linear = call.derived(tuple(given), of_upstream)
        return tuple(x + y for x, y in zip(found, linear, strict=True))


def _along(call: Call, given: Any, tangents: Any) -> Arrays:
    """Return a tangent for each array that is wanted, 0 where it has none."""
    return tuple(
        torch.zeros_like(x) if tangent is None else tangent
        for x, tangent, there in zip(given, tangents, call.wanted, strict=False)
        if there
    )


def _pulled(call: Call, given: Arrays, upstream: Array, along: Arrays) -> Arrays:
    """Return the derivatives of g(x, u)·along by u, and by the wanted ones of x."""
    arrays, constants = given[: call.count], given[call.count :]

    def gradients(upstream: Array, *wanted: Array) -> Arrays:
        own = placed(call.wanted, wanted)
        own = tuple(x if y is None else y for x, y in zip(arrays, own, strict=True))
        return call.derived((*own, *constants), upstream)

    wanted = [x for x, there in zip(arrays, call.wanted, strict=True) if there]
    _, pull = torch.func.vjp(gradients, upstream, *wanted)
    return pull(along)
