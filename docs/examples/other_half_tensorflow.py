"""Two networks in TensorFlow, for `other_half.py`: Keras, a tape and `tf.function`."""

import os
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"  # before Keras is imported

import keras
import tensorflow as tf

import metricops


def network(hidden: int, numbers: int) -> keras.Model:
    """Return a network with one hidden layer."""
    return keras.Sequential(
        [
            keras.Input((32,)),
            keras.layers.Dense(hidden, activation="relu"),
            keras.layers.Dense(numbers),
        ]
    )


class Networks:
    """A network for top halves, one for bottom halves, and their optimiser."""

    def __init__(
        self,
        hidden: int,
        numbers: int,
        learning_rate: float,
        loss: dict[str, Any],
        seed: int,
    ) -> None:
        keras.utils.set_random_seed(seed)
        self.top, self.bottom = network(hidden, numbers), network(hidden, numbers)
        self.optimiser = keras.optimizers.Adam(learning_rate)
        self.optimiser.build(self.variables)
        self.options = loss

    @property
    def variables(self) -> list[Any]:
        """Return the variables of both networks."""
        return [*self.top.trainable_variables, *self.bottom.trainable_variables]

    @tf.function
    def differentiated(self, tops: tf.Tensor, bottoms: tf.Tensor) -> tf.Tensor:
        """Take one step downhill; return the loss before it."""
        with tf.GradientTape() as tape:
            loss = metricops.npairs_loss_from_embeddings(
                self.top(tops, training=True),
                self.bottom(bottoms, training=True),
                **self.options,
            )
        gradients = tape.gradient(loss, self.variables)
        self.optimiser.apply_gradients(zip(gradients, self.variables, strict=True))
        return loss

    def step(self, tops: Any, bottoms: Any) -> float:
        """Take one step downhill; return the loss before it."""
        tops, bottoms = tf.convert_to_tensor(tops), tf.convert_to_tensor(bottoms)
        return float(self.differentiated(tops, bottoms))

    def embed(self, tops: Any, bottoms: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the embeddings of top halves and of bottom halves."""
        return self.top(tops), self.bottom(bottoms)
