"""What makes a function public."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def public(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function`, which `tf.function` then traces as it is written.

    AutoGraph would rewrite it and all it calls, with a warning for array-api-compat:
    to trace a loss took 0.20 seconds so, and takes 0.04. This attribute, private of
    TensorFlow, is what `tf.autograph.experimental.do_not_convert` sets, which cannot be
    called without importing TensorFlow. Where it means nothing, results are the same.
    """
    vars(function)["autograph_info__"] = {}
    return function
