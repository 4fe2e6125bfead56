"""The inputs of a Keras loss, as metricops takes them."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from metricops import _checks
from metricops._arguments.held import check_held

NAMES = {
    **dict.fromkeys(("anchors", "embeddings"), "y_pred"),
    **dict.fromkeys(("similarity", "similarities"), "y_pred"),
    **dict.fromkeys(("labels", "scores"), "y_true"),
}
"""What Keras calls the arguments of most losses."""


def renamed(names: Mapping[str, str], function: Any, *args: Any, **given: Any) -> Any:
    """Return ``function(*args, **given)``, whose errors call arguments by `names`."""
    try:
        return function(*args, **given)
    except (TypeError, ValueError) as error:
        _checks.rename(error, names)
        raise


def is_symbolic(*given: Any) -> bool:
    """Return whether something `given` is a placeholder of a functional model."""
    return any(isinstance(x, keras.KerasTensor) for x in given)


def tensor(x: Any) -> Any:
    """Return `x` as a tensor of the backend, in its own dtype."""
    return x if ops.is_tensor(x) else ops.convert_to_tensor(x)


def dense(labels: Any) -> Any:
    """Return labels as metricops takes them: tensors dense, and all else unchanged."""
    # Lists and NumPy arrays are passed on, as backends cut int64 and have no strings.
    if not ops.is_tensor(labels):
        return labels
    return ops.convert_to_tensor(labels, sparse=False)


def held(name: str, labels: Any) -> Any:
    """Return labels as a tensor, having made sure that the backend holds them.

    JAX would cut integers of 64 bits, and no backend computes with strings.
    """
    if ops.is_tensor(labels):
        return dense(labels)
    check_held(name, labels, ops.zeros(()), "as they become a tensor")
    return ops.convert_to_tensor(np.asarray(labels))


def python_ints(axes: Any) -> Any:
    """Return an int or a tuple of ints of Python, as Keras saves no others."""
    if isinstance(axes, (tuple, list)):
        return tuple(map(python_ints, axes))
    return int(axes) if isinstance(axes, np.integer) else axes


def plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of a config, with numbers of Python for those of NumPy."""
    return {
        name: x.item() if isinstance(x, np.generic) else x
        for name, x in options.items()
    }


def same_rank(x: Any, y: Any) -> tuple[Any, Any]:
    """Return two tensors, one of them with a last axis of 1 if the other has it."""
    # Keras allows targets of shape (n,) with predictions of shape (n, 1).
    if len(x.shape) == len(y.shape) + 1 and x.shape[-1] == 1:
        return x, ops.expand_dims(y, -1)
    if len(y.shape) == len(x.shape) + 1 and y.shape[-1] == 1:
        return ops.expand_dims(x, -1), y
    return x, y


@keras.saving.register_keras_serializable(package="metricops")
class Apply(keras.Operation):
    """A loss as a node of a functional model, which can be saved.

    Parameters
    ----------
    function : callable
        A loss or a function of this package, on tensors.
    name : str, optional
        The name of the node.
    **options
        What the function is called with beside the tensors.
    """

    def __init__(
        self, function: Callable[..., Any], name: str | None = None, **options: Any
    ) -> None:
        super().__init__(name=name)
        self.function = function
        self.options = options

    def call(self, *tensors: Any) -> Any:
        """Return the result of the function for the tensors."""
        return self.function(*tensors, **self.options)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this node again."""
        function = keras.saving.serialize_keras_object(self.function)
        return {**super().get_config(), "function": function, **self.options}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Apply":
        """Return the node of a config."""
        # What is no number or word, as a function is, was saved as a config too.
        return cls(
            **{
                key: keras.saving.deserialize_keras_object(value)
                if isinstance(value, Mapping)
                else value
                for key, value in config.items()
            }
        )
