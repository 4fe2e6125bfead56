"""Train an embedding of handwritten digits with semi-hard triplets, in any framework.

A linear map takes the 64 pixels of scikit-learn's digits to 6 numbers, trained so that
a digit is nearer to all digits of its class than to others, by a margin. The triplets
are mined in each batch, with no matrix of distances. `--framework` chooses who
differentiates: NumPy needs no autodiff, as `metricops.value_and_grad` returns the
gradients. What is printed is recall@1 on held-out digits, before and after.
"""

import argparse
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from tqdm import tqdm

import metricops

Matrix = NDArray[np.float32]
Labels = NDArray[np.int64]
Step = Callable[[Any, Any, Any], tuple[Any, Any]]

TRAINING = 1200
DIMENSIONS = 6
BATCH = 100
LEARNING_RATE = 0.5


def loss_of(weights: Any, images: Any, labels: Any) -> Any:
    """Return the loss of a batch: all positives, each with a semi-hard negative."""
    return metricops.triplet_loss_from_embeddings(
        images @ weights, labels=labels, margin=0.2, normalize=True
    )


def numpy_step() -> Step:
    """Return a function of the loss and its gradient, without autodiff."""
    loss = metricops.value_and_grad(metricops.triplet_loss_from_embeddings)

    def step(weights: Any, images: Any, labels: Any) -> tuple[Any, Any]:
        value, gradients = loss(
            images @ weights, labels=labels, margin=0.2, normalize=True
        )
        return value, images.T @ gradients["anchors"]

    return step


def torch_step() -> Step:
    """Return the same by autograd of PyTorch."""
    import torch

    def step(weights: Any, images: Any, labels: Any) -> tuple[Any, Any]:
        leaf = torch.tensor(weights, requires_grad=True)
        loss = loss_of(leaf, torch.tensor(images), torch.tensor(labels))
        (gradient,) = torch.autograd.grad(loss, leaf)
        return loss.detach(), gradient

    return step


def jax_step() -> Step:
    """Return the same by JAX, compiled."""
    import jax

    found: Step = jax.jit(jax.value_and_grad(loss_of))
    return found


def tensorflow_step() -> Step:
    """Return the same by a tape of TensorFlow, in a graph."""
    import tensorflow as tf

    def step(weights: Any, images: Any, labels: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(weights)
            loss = loss_of(weights, images, labels)
        return loss, tape.gradient(loss, weights)

    graph = tf.function(step)
    return lambda *arrays: graph(*map(tf.constant, arrays))


FRAMEWORKS: dict[str, Callable[[], Step]] = {
    "numpy": numpy_step,
    "torch": torch_step,
    "jax": jax_step,
    "tensorflow": tensorflow_step,
}


def digits() -> tuple[Matrix, Labels, Matrix, Labels]:
    """Return the images and labels to train on, then those held out.

    The file is not shuffled first: neighbours in it are often one person's hand, and
    recall is to be measured on hands that were not trained on.
    """
    pixels, labels = load_digits(return_X_y=True)
    images = np.asarray(pixels / 16, dtype=np.float32)
    return images[:TRAINING], labels[:TRAINING], images[TRAINING:], labels[TRAINING:]


def train(
    step: Step, weights: Matrix, images: Matrix, labels: Labels, epochs: int, seed: int
) -> Matrix:
    """Return the weights after gradient descent, under a progress bar."""
    generator = np.random.default_rng(seed)
    with tqdm(total=epochs * len(images) // BATCH, desc="Training") as progress:
        for _ in range(epochs):
            for batch in generator.permutation(len(images)).reshape(-1, BATCH):
                loss, gradient = step(weights, images[batch], labels[batch])
                weights = weights - LEARNING_RATE * np.asarray(gradient, np.float32)
                progress.set_postfix(loss=f"{float(loss):.3f}", refresh=False)
                progress.update()
    return weights


def main() -> None:
    """Train, and report recall@1 before and after."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--framework", choices=FRAMEWORKS, default="numpy")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if importlib.util.find_spec(options.framework) is None:
        parser.error(f"{options.framework} is not installed.")
    images, labels, held, held_labels = digits()
    generator = np.random.default_rng(options.seed)
    start = generator.standard_normal((images.shape[1], DIMENSIONS))
    before = np.asarray(start / DIMENSIONS**0.5, dtype=np.float32)
    step = FRAMEWORKS[options.framework]()
    after = train(step, before, images, labels, options.epochs, options.seed)
    for name, weights in (("before", before), ("after", after)):
        directions = metricops.l2_normalize(held @ weights)
        recall = metricops.recall_at_k(directions, held_labels, k=(1,))[1]
        print(f"recall@1 {name} training: {float(recall):.3f}")


if __name__ == "__main__":
    main()
