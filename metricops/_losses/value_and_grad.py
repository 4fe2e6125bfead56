"""The value and the gradients of any loss, without autodiff."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from metricops import _checks
from metricops._frameworks import Library, library, placed, unwrap
from metricops._frameworks.host import is_number, is_plain
from metricops._frameworks.public import public
from metricops._losses.solvable import SIGNATURES, Signature, Solvable
from metricops._typing import Array

Gradients = dict[str, Array]


@public
def value_and_grad(
    loss: Callable[..., Array],
) -> Callable[..., tuple[Array, Gradients]]:
    """Return a function of the value and the gradients of a loss, without autodiff.

    How those train whose arrays have no autodiff: NumPy, CuPy, Dask. For arrays of
    frameworks that have one, nothing is recorded.

    Parameters
    ----------
    loss : function
        A loss of this library, such as `npairs_loss_from_embeddings`.

    Returns
    -------
    function
        It takes the arguments of `loss`, with any `reduction` but "none". It returns
        the value, of shape (), and a dict from the name of each differentiable argument
        that was given as an array of floats (embeddings, similarities, temperatures,
        biases, weights) to its gradient, of the shape and dtype of the argument.

    Raises
    ------
    TypeError
        If `loss` is no loss of this library.
    ValueError
        From the function returned, if `reduction` is "none".

    Examples
    --------
    >>> import numpy as np
    >>> from metricops import npairs_loss_from_embeddings, value_and_grad
    >>> anchors = np.asarray([[1.0, 0.0], [0.0, 1.0]])
    >>> temperature = np.asarray(0.5)
    >>> loss = value_and_grad(npairs_loss_from_embeddings)
    >>> value, gradients = loss(anchors, 2 * anchors, temperature=temperature)
    >>> sorted(gradients)
    ['anchors', 'candidates', 'temperature']
    >>> gradients["anchors"].round(4).tolist()
    [[-0.036, 0.036], [0.036, -0.036]]
    """
    try:
        signature = SIGNATURES[loss]
    except (KeyError, TypeError):  # what has no hash is no function
        _checks.refuse_type("loss", "a loss of metricops", loss)

    return partial(_value_and_gradients, signature)


@public
def _value_and_gradients(
    signature: Signature, *given: Any, **named: Any
) -> tuple[Array, Gradients]:
    """Return the value and the gradients of a loss of such arguments."""
    arguments = _bound(signature, given, named)
    reduction = arguments.get("reduction")
    if isinstance(reduction, str) and reduction == "none":
        need = 'one that gives a number where gradients are wanted, not "none"'
        _checks.refuse_value("reduction", need, "none")
    return _solved(signature.solvable(**arguments), arguments)


def _bound(
    signature: Signature, given: tuple[Any, ...], named: dict[str, Any]
) -> dict[str, Any]:
    """Return all arguments by their names, or raise as a call does."""
    if len(given) > len(signature.positional):
        most = len(signature.positional)
        msg = f"The loss must be given {most} arguments by position; got {len(given)}."
        raise TypeError(msg)
    first = dict(zip(signature.positional, given, strict=False))
    for name in first:
        if name in named:
            msg = f"`{name}` must be given once; got it twice."
            raise TypeError(msg)
    arguments = {**signature.defaults, **first, **named}
    if arguments.keys() != signature.names:
        _check_names(signature.loss, given, named)
    return arguments


def _check_names(
    loss: Callable[..., Array], given: tuple[Any, ...], named: dict[str, Any]
) -> None:
    """Raise what Python does where `loss` does not take such arguments."""
    try:
        inspect.signature(loss).bind(*given, **named)
    except TypeError as error:
        msg = f"{loss.__name__}() {error}"
        raise TypeError(msg) from None


def _solved(call: Solvable, arguments: dict[str, Any]) -> tuple[Array, Gradients]:
    inputs = call.inputs
    lib, raw = inputs.library, [unwrap(arguments.get(name)) for name in call.names]
    wanted = tuple(
        x is not None and given is not None and _is_of_floats(name, given)
        for name, given, x in zip(call.names, raw, call.arrays, strict=True)
    )
    static = call.config, wanted
    value, saved = lib.constant(call.solve, static, call.arrays, call.constants)
    each = zip(call.names, raw, placed(wanted, saved), strict=True)
    return inputs.narrow(value), {
        name: _of_argument(lib, name, given, gradient)
        for name, given, gradient in each
        if gradient is not None
    }


def _is_of_floats(name: str, value: Any) -> bool:
    """Return whether an argument was given as an array of floats."""
    if is_plain(value) or is_number(value):
        return False
    return library(name, value).dtype(value).kind == "float"


def _of_argument(lib: Library, name: str, value: Any, gradient: Array) -> Array:
    """Return a gradient in the shape and the dtype of the argument."""
    # A trailing axis of size 1 was dropped, and a number stands for all.
    shape = list(value.shape)
    while shape and shape[-1] == 1:
        shape.pop()
    while gradient.ndim > len(shape):
        gradient = lib.xp.sum(gradient, axis=-1)
    while gradient.ndim < len(value.shape):
        gradient = gradient[..., None]
    if library(name, value) is not lib or gradient.dtype == value.dtype:
        return gradient
    return lib.xp.astype(gradient, value.dtype)
