"""Two networks in JAX, for `other_half.py`: Flax NNX modules, `nnx.jit` and optax."""

from typing import Any

import jax
import optax
from flax import nnx
from metricops.adapters.flax import NPairsEmbeddingLoss


class Model(nnx.Module):
    """A network for top halves, one for bottom halves, and the loss of both."""

    def __init__(
        self, hidden: int, numbers: int, loss: dict[str, Any], rngs: nnx.Rngs
    ) -> None:
        self.top = network(hidden, numbers, rngs)
        self.bottom = network(hidden, numbers, rngs)
        self.loss = NPairsEmbeddingLoss(**loss)

    def __call__(self, tops: jax.Array, bottoms: jax.Array) -> jax.Array:
        """Return the loss of a batch: row i of one belongs to row i of the other."""
        return self.loss(self.top(tops), self.bottom(bottoms))


def network(hidden: int, numbers: int, rngs: nnx.Rngs) -> nnx.Sequential:
    """Return a network with one hidden layer."""
    return nnx.Sequential(
        nnx.Linear(32, hidden, rngs=rngs),
        nnx.relu,
        nnx.Linear(hidden, numbers, rngs=rngs),
    )


@nnx.jit
def step(
    model: Model, optimiser: nnx.Optimizer, tops: jax.Array, bottoms: jax.Array
) -> jax.Array:
    """Take one step downhill; return the loss before it."""
    loss, gradients = nnx.value_and_grad(lambda model: model(tops, bottoms))(model)
    optimiser.update(model, gradients)
    return loss


@nnx.jit
def embed(
    model: Model, tops: jax.Array, bottoms: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the embeddings of top halves and of bottom halves."""
    return model.top(tops), model.bottom(bottoms)


class Networks:
    """The model and its optimiser."""

    def __init__(
        self,
        hidden: int,
        numbers: int,
        learning_rate: float,
        loss: dict[str, Any],
        seed: int,
    ) -> None:
        self.model = Model(hidden, numbers, loss, nnx.Rngs(seed))
        adam = optax.adam(learning_rate)
        self.optimiser = nnx.Optimizer(self.model, adam, wrt=nnx.Param)

    def step(self, tops: Any, bottoms: Any) -> float:
        """Take one step downhill; return the loss before it."""
        return float(step(self.model, self.optimiser, tops, bottoms))

    def embed(self, tops: Any, bottoms: Any) -> tuple[jax.Array, jax.Array]:
        """Return the embeddings of top halves and of bottom halves."""
        return embed(self.model, tops, bottoms)
