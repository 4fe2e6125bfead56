"""Train an embedding of handwritten digits with Keras, on whichever backend is set.

    KERAS_BACKEND=jax python docs/examples/keras_digits.py

A small convolutional network ends in a `MetricEmbedding`, and `fit` trains it with
`NPairsEmbeddingLoss` on pairs of scikit-learn's digits: an anchor and another image of
its class. The network is saved, loaded again and measured on held-out digits by
recall@k, the share of them that have one of their class among their k nearest others.
"""

import argparse
from pathlib import Path
from typing import Any

import keras
import numpy as np
from metricops.adapters.keras import MetricEmbedding, NPairsEmbeddingLoss
from numpy.typing import NDArray
from sklearn.datasets import load_digits

import metricops

Images = NDArray[np.float32]
Labels = NDArray[np.int64]

TRAINING = 1200
DIMENSIONS = 16
BATCH = 100


def digits() -> tuple[Images, Labels, Images, Labels]:
    """Return the images and labels to train on, then those held out.

    The file is not shuffled first: neighbours in it are often one person's hand, and
    recall is to be measured on hands that were not trained on.
    """
    pixels, labels = load_digits(return_X_y=True)
    images = np.asarray(pixels / 16, dtype=np.float32).reshape(-1, 8, 8, 1)
    return images[:TRAINING], labels[:TRAINING], images[TRAINING:], labels[TRAINING:]


class Pairs(keras.utils.PyDataset):
    """Batches of anchors and positives, paired anew for every epoch."""

    def __init__(self, images: Images, labels: Labels, seed: int) -> None:
        super().__init__()
        self.images, self.labels = images, labels
        self.generator = np.random.default_rng(seed)
        self.on_epoch_end()

    def on_epoch_end(self) -> None:
        """Draw an order of the anchors, and for each a positive of its class."""
        self.anchors = self.generator.permutation(len(self.labels))
        self.positives = np.empty_like(self.anchors)
        for label in np.unique(self.labels):
            of_class = np.flatnonzero(self.labels == label)
            chosen = self.generator.choice(of_class, len(of_class))
            self.positives[self.labels[self.anchors] == label] = chosen

    def __len__(self) -> int:
        return len(self.labels) // BATCH

    def __getitem__(self, index: int) -> tuple[Images, Labels]:
        batch = slice(index * BATCH, (index + 1) * BATCH)
        sides = [self.images[self.anchors[batch]], self.images[self.positives[batch]]]
        return np.stack(sides, axis=1), self.labels[self.anchors[batch]]


def network() -> Any:
    """Return a network from an image to its embedding."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.Flatten(),
            MetricEmbedding(DIMENSIONS),
        ]
    )


def train(embed: Any, pairs: Pairs, epochs: int) -> None:
    """Fit `embed` to pairs of images; what it learns stays in it."""
    inputs = keras.Input((2, 8, 8, 1))
    sides = [embed(inputs[:, side]) for side in range(2)]
    model = keras.Model(inputs, keras.ops.stack(sides, axis=1))
    # Embeddings have length one: the temperature sets how far similarities reach.
    loss = NPairsEmbeddingLoss(temperature=0.2, symmetric=True)
    model.compile(keras.optimizers.Adam(0.003), loss=loss)
    model.fit(pairs, epochs=epochs, shuffle=False, verbose=2)


def recall(embed: Any, images: Images, labels: Labels) -> dict[int, float]:
    """Return recall@k among the embeddings of `images`, each without itself."""
    embeddings = embed.predict(images, verbose=0)
    shares = metricops.recall_at_k(embeddings, labels, k=(1, 5, 10))
    return {k: float(share) for k, share in shares.items()}


def arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("digits.keras"))
    return parser.parse_args()


def main() -> None:
    """Train, save, load, and report recall@k before and after."""
    options = arguments()
    keras.utils.set_random_seed(options.seed)
    images, labels, held_images, held_labels = digits()
    embed = network()
    scores = {"before training": recall(embed, held_images, held_labels)}
    train(embed, Pairs(images, labels, options.seed), options.epochs)
    embed.save(options.out)
    loaded = keras.models.load_model(options.out)
    scores["after training"] = recall(loaded, held_images, held_labels)
    print(f"\nKeras {keras.__version__} on {keras.config.backend()}")
    print(f"{len(held_labels)} held-out digits:")
    for name, shares in scores.items():
        print(f"  {name:<16}", *(f"recall@{k} {x:.3f}" for k, x in shares.items()))
    print(f"\nThe network: {options.out}")


if __name__ == "__main__":
    main()
