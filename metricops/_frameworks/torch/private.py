"""What of PyTorch is private: what each part buys, and another way without it.

A name is looked up once, at import; `None` stands for one that is gone.
"""

import inspect
from functools import reduce
from typing import Any

import torch
from torch.autograd import forward_ad

_LINEAR = (
    "mkldnn::_linear_pointwise(Tensor X, Tensor W, Tensor? B, str attr, "
    "Scalar?[] scalars, str? algorithm)"
)


def _named(path: str) -> Any:
    """Return what stands at a path below `torch`, or None."""
    return reduce(lambda x, name: getattr(x, name, None), path.split("."), torch)


def _linear() -> Any:
    """Return the product ``x @ y.mT`` of oneDNN, or None where it takes other words."""
    found = _named("ops.mkldnn._linear_pointwise")
    schema = str(getattr(getattr(found, "default", None), "_schema", ""))
    return found if schema.partition(" ->")[0] == _LINEAR else None


# Buys a sixth to a half of the time of large products, depending on the processor.
linear = _linear()

# Buys panels that are changed in place: a quarter of the time of a loss of 4,096 pairs
# with its gradient, and 80 MiB. Without it each panel is a new one.
_transforms_active = _named("_C._are_functorch_transforms_active")

# These buy forward mode of an operation by its gradients. Without them PyTorch goes
# through the steps of every panel.
_interpreters = _named("_C._functorch.get_interpreter_stack")
_jvp = _named("_C._functorch.TransformType.Jvp")

# These buy batched gradients, as `is_grads_batched` of `torch.autograd.grad` asks for
# them, where panels are changed in place. Without them PyTorch refuses the change.
_is_batched = _named("_C._functorch.is_legacy_batchedtensor")
_add_batch_dim, _remove_batch_dim = (
    _named("_add_batch_dim"),
    _named("_remove_batch_dim"),
)

# Buys forward mode inside torch.compile of PyTorch 2.10, where `is_exporting` is always
# true. Without it a compiled loss is one node there, as an exported one.
_FLAG = "_is_exporting_flag"
_exporting_flag = _FLAG if hasattr(torch.compiler, _FLAG) else None


def signed(function: Any) -> Any:
    """Return a function that holds its signature, which PyTorch asks for at each call.

    Buys 0.03 ms of a call.
    """
    function.__signature__ = inspect.signature(function)
    return function


def exporting() -> bool:
    """Return whether PyTorch exports a program."""
    if _exporting_flag is None:
        return torch.compiler.is_exporting()
    return bool(getattr(torch.compiler, _exporting_flag))


def transforms_active() -> bool:
    """Return whether a transform of `torch.func` is active, or may be."""
    return _transforms_active is None or _transforms_active()


def one_by_one(function: Any, upstream: Any) -> Any:
    """Return ``function(upstream)``, which are several where autograd batches it."""
    gone = None in (_is_batched, _add_batch_dim, _remove_batch_dim)
    if gone or not _is_batched(upstream):
        return function(upstream)
    rows = _remove_batch_dim(upstream, 1, 0, 0)  # there is one level alone
    found = zip(*map(function, rows.unbind()), strict=True)
    return tuple(_add_batch_dim(torch.stack(x), 0, 1) for x in found)


def recorded() -> bool:
    """Return whether autograd, in either mode, or `torch.func` sees what is done."""
    return torch.is_grad_enabled() or transforms_active() or forward_active()


def forward_levels() -> int:
    """Return how many forward modes are nested; 2 where one is, or maybe several."""
    if _interpreters is None or _jvp is None:
        return 2 if forward_active() else 0
    found = sum(x.key() == _jvp for x in _interpreters() or ())
    return found or int(forward_active())


def forward_active() -> bool:
    """Return whether forward mode is active: only then can a dual number be made."""
    level = getattr(forward_ad, "_current_level", None)  # buys 0.1 ms a call
    if level is not None and level >= 0:
        return True
    if level is not None and _interpreters is not None:
        return False
    one = torch.ones(())
    try:
        dual = forward_ad.make_dual(one, one, level=0)
    except RuntimeError:
        return False
    # In the kernel of an operator, where autograd is left behind, none is made.
    return forward_ad.unpack_dual(dual, level=0).tangent is not None
