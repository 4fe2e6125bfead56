"""Train an embedding of handwritten digits on small batches, with a memory of others.

A batch of 20 digits has few of a class. So those of the batches before it, as they were
embedded then, are candidates too, behind those of the batch [1]_: hard negatives are
mined among 300 digits. `--framework` chooses who differentiates: NumPy needs no
autodiff, as `metricops.value_and_grad` returns the gradients. What is printed is
recall@1 on held-out digits, before and after.

PyTorch, Flax and Keras have it as a module or a loss: `CrossBatchMemory` of their
adapters.

.. [1] X. Wang, H. Zhang, W. Huang, M. R. Scott, "Cross-Batch Memory for Embedding
   Learning", CVPR 2020.
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
Step = Callable[..., tuple[Any, Any]]

TRAINING = 1200
DIMENSIONS = 6
BATCH = 20
MEMORY = 300
LEARNING_RATE = 0.2
LOSS: dict[str, Any] = {
    "margin": 0.2,
    "normalize": True,
    "negatives": "hard",
    "exclude_diagonal": True,  # the first candidates are the anchors themselves
}


def numpy_step() -> Step:
    """Return a function of the loss and its gradient, without autodiff."""
    loss = metricops.value_and_grad(metricops.triplet_loss_from_embeddings)

    def step(weights: Any, images: Any, memory: Any, *labels: Any) -> tuple[Any, Any]:
        own, every = labels
        batch = images @ weights
        candidates = np.concatenate([batch, memory])
        value, gradients = loss(batch, candidates, own, candidate_labels=every, **LOSS)
        # The batch is on both sides; the memory is constant.
        both = gradients["anchors"] + gradients["candidates"][: len(batch)]
        return value, images.T @ both

    return step


def torch_step() -> Step:
    """Return the same by autograd of PyTorch."""
    import torch

    def step(weights: Any, images: Any, memory: Any, *labels: Any) -> tuple[Any, Any]:
        leaf = torch.tensor(weights, requires_grad=True)
        batch = torch.tensor(images) @ leaf
        loss = loss_of(batch, torch.cat([batch, torch.tensor(memory)]), *labels)
        (gradient,) = torch.autograd.grad(loss, leaf)
        return loss.detach(), gradient

    return step


def jax_step() -> Step:
    """Return the same by JAX, compiled for each size of the memory."""
    import jax

    def value(weights: Any, images: Any, memory: Any, *labels: Any) -> Any:
        batch = images @ weights
        return loss_of(batch, jax.numpy.concatenate([batch, memory]), *labels)

    found: Step = jax.jit(jax.value_and_grad(value))
    return found


def tensorflow_step() -> Step:
    """Return the same by a tape of TensorFlow."""
    import tensorflow as tf

    def step(weights: Any, images: Any, memory: Any, *labels: Any) -> tuple[Any, Any]:
        weights = tf.constant(weights)
        with tf.GradientTape() as tape:
            tape.watch(weights)
            batch = images @ weights
            loss = loss_of(batch, tf.concat([batch, memory], axis=0), *labels)
        return loss, tape.gradient(loss, weights)

    return step


def loss_of(batch: Any, candidates: Any, labels: Any, others: Any) -> Any:
    """Return the loss of a batch against itself and the memory behind it."""
    return metricops.triplet_loss_from_embeddings(
        batch, candidates, labels, candidate_labels=others, **LOSS
    )


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
    memory, held = np.zeros((0, DIMENSIONS), np.float32), labels[:0]
    with tqdm(total=epochs * len(images) // BATCH, desc="Training") as progress:
        for _ in range(epochs):
            for batch in generator.permutation(len(images)).reshape(-1, BATCH):
                every = np.concatenate([labels[batch], held])
                loss, gradient = step(
                    weights, images[batch], memory, labels[batch], every
                )
                latest = [images[batch] @ weights, memory]
                memory, held = np.concatenate(latest)[:MEMORY], every[:MEMORY]
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
