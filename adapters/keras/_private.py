"""What is private of Keras, each with a public way in place of it."""

from typing import Any

import keras

try:
    # Buys 1 ms a call: without it a layer is called to read the mask. A tracer of JAX
    # has no attribute for it.
    from keras.src.backend import get_keras_mask
except ImportError:
    get_keras_mask = None


def mask_of(x: Any) -> Any:
    """Return the Keras mask of a tensor, or None."""
    return mask_by_layer(x) if get_keras_mask is None else get_keras_mask(x)


def mask_by_layer(x: Any) -> Any:
    """Return what `mask_of` does, through what every layer is given."""
    if not keras.ops.is_tensor(x):
        return None
    layer = _Reader(autocast=False)
    layer(x)
    return layer.mask


class _Reader(keras.layers.Layer):
    """A layer that keeps the mask of its input."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Return the input."""
        self.mask = mask
        return inputs


def set_direction(metric: keras.metrics.Metric, direction: str) -> None:
    """Say whether the best of a `metric` is "up" or "down".

    Callbacks that keep the best model read it; without it they need `mode` given.
    """
    metric._direction = direction
