"""Train an embedding of handwritten digits in an ordinary Flax NNX and optax loop.

The modules of `metricops.adapters.flax` go where Flax's own go: into `nnx.jit`, an
optimiser of optax and a checkpoint of orbax. What is printed is recall@k, the share of
held-out digits with one of their class among the k nearest others; the picture shows
some digits and their nearest neighbours.
"""

import argparse
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from flax import nnx
from matplotlib.figure import Figure
from metricops.adapters.flax import MetricEmbedding, NPairsEmbeddingLoss
from sklearn.datasets import load_digits
from tqdm import tqdm

import metricops

TRAINING = 1200
BATCH = 100


class Model(nnx.Module):
    """An encoder of digits, and the loss that it is trained with."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(64, 128, rngs=rngs)
        self.embedding = MetricEmbedding(128, 8, rngs=rngs)
        # The embeddings have unit length. The other digits of a batch are a digit's
        # candidates; it is not one of its own.
        self.loss = NPairsEmbeddingLoss(
            0.2, learnable_temperature=True, exclude_diagonal=True
        )

    def __call__(self, images: jax.Array) -> jax.Array:
        """Return embeddings of unit length."""
        return self.embedding(nnx.relu(self.hidden(images)))


@nnx.jit
def step(
    model: Model, optimiser: nnx.Optimizer, images: jax.Array, labels: jax.Array
) -> jax.Array:
    """Take one step downhill; return the loss before it."""

    def loss_of(model: Model) -> jax.Array:
        return model.loss(model(images), labels=labels)

    loss, gradients = nnx.value_and_grad(loss_of)(model)
    optimiser.update(model, gradients)
    return loss


def digits() -> tuple[jax.Array, jax.Array]:
    """Return all images and labels; those from `TRAINING` on are of other hands."""
    pixels, labels = load_digits(return_X_y=True)
    return jnp.asarray(pixels / 16, jnp.float32), jnp.asarray(labels)


def train(
    model: Model, images: jax.Array, labels: jax.Array, epochs: int, seed: int
) -> list[float]:
    """Train `model` in place, under a progress bar; return the losses."""
    optimiser = nnx.Optimizer(model, optax.adam(0.003), wrt=nnx.Param)
    generator = np.random.default_rng(seed)
    losses = []
    with tqdm(total=epochs * len(images) // BATCH, desc="Training") as progress:
        for _ in range(epochs):
            for batch in generator.permutation(len(images)).reshape(-1, BATCH):
                loss = step(model, optimiser, images[batch], labels[batch])
                losses.append(float(loss))
                progress.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
                progress.update()
    return losses


def save(model: Model, path: Path) -> None:
    """Write the parameters of `model` to a new folder."""
    shutil.rmtree(path, ignore_errors=True)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path.absolute(), nnx.state(model))


def load(path: Path) -> Model:
    """Return the model whose parameters `save` wrote."""
    model = Model(nnx.Rngs(0))
    with ocp.StandardCheckpointer() as checkpointer:
        state = checkpointer.restore(path.absolute(), nnx.state(model))
    nnx.update(model, state)
    return model


def draw(images: jax.Array, embeddings: jax.Array, path: Path) -> None:
    """Write a picture of the first digits, each above its nearest neighbours."""
    _, found = metricops.nearest_neighbors(embeddings, k=5)
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    figure.suptitle("Held-out digits, and below each its nearest neighbours")
    grid = figure.subplots(6, 10)
    for query, column in enumerate(grid.T):
        shown = [query, *found[query].tolist()]
        for axes, index in zip(column, shown, strict=True):
            axes.imshow(images[index].reshape(8, 8), cmap="gray_r")
            axes.axis("off")
    figure.savefig(path, dpi=100)


def report(name: str, embeddings: jax.Array, labels: jax.Array) -> None:
    """Print recall@k of embeddings, each searched among the others."""
    recalls = metricops.recall_at_k(embeddings, labels, k=(1, 5, 10))
    shares = "  ".join(f"@{k} {float(share):.3f}" for k, share in recalls.items())
    print(f"{name:<16} recall  {shares}")


def main() -> None:
    """Train, save, load, and report on what was loaded."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("flax_digits.png"))
    options = parser.parse_args()
    images, labels = digits()
    held, held_labels = images[TRAINING:], labels[TRAINING:]
    model = Model(nnx.Rngs(options.seed))
    before = model(held)
    train(model, images[:TRAINING], labels[:TRAINING], options.epochs, options.seed)

    checkpoint = options.out.with_suffix(".orbax")
    save(model, checkpoint)
    loaded = load(checkpoint)
    after = loaded(held)
    report("before training", before, held_labels)
    report("after training", after, held_labels)
    print(f"temperature learnt: {float(loaded.loss.temperature):.3f}")
    draw(held, after, options.out)
    print(f"checkpoint: {checkpoint}\npicture: {options.out}")


if __name__ == "__main__":
    main()
