"""Train an embedding of handwritten digits with the N-pairs loss, in any framework.

A linear map takes the 64 pixels of scikit-learn's digits to 6 numbers, trained so that
digits of one class come together. `--framework` chooses who differentiates and who
optimises: NumPy needs no autodiff, as `metricops.npairs_loss_and_grad` returns the
gradient; the others use their own. What is printed is recall@1, the share of held-out
digits whose nearest other held-out digit is of their class, before and after.
"""

import argparse
import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from tqdm import tqdm

import metricops

Matrix = NDArray[np.float32]
Labels = NDArray[np.int64]

TRAINING = 1200
DIMENSIONS = 6
BATCH = 100
LEARNING_RATE = 0.01
# The other digits of a batch are an anchor's candidates; it is not one of its own.
LOSS: dict[str, Any] = {"temperature": 0.2, "normalize": True, "exclude_diagonal": True}


class Embedding:
    """A linear embedding in one framework, with its optimiser."""

    weights: Any

    def loss_and_gradient(self, images: Matrix, labels: Labels) -> tuple[Any, Any]:
        """Return the loss of a batch, and its gradient in the weights."""
        raise NotImplementedError

    def apply(self, gradient: Any) -> None:
        """Let the optimiser change the weights."""
        raise NotImplementedError

    def step(self, images: Matrix, labels: Labels) -> float:
        """Take one step downhill; return the loss before it."""
        loss, gradient = self.loss_and_gradient(images, labels)
        self.apply(gradient)
        return float(loss)

    def matrix(self) -> Matrix:
        """Return the weights in NumPy, shape (pixels, dimensions)."""
        return np.asarray(self.weights)


class Adam:
    """Adam (Kingma and Ba, 2015) for arrays of any library, called as optax's is."""

    def init(self, weights: Any) -> Any:
        """Return the state before the first step: both moments, and the step."""
        return 0 * weights, 0 * weights, 0

    def update(self, gradient: Any, state: Any) -> tuple[Any, Any]:
        """Return what to add to the weights, and the next state."""
        first, second, step = state
        step += 1
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        scale = (second / (1 - 0.999**step)) ** 0.5 + 1e-8
        return -LEARNING_RATE * first / (1 - 0.9**step) / scale, (first, second, step)


class NumPyEmbedding(Embedding):
    """No autodiff: metricops returns the gradient with the loss."""

    def __init__(self, weights: Matrix) -> None:
        self.weights = weights
        self.optimiser: Any = Adam()
        self.state = self.optimiser.init(weights)

    def loss_and_gradient(self, images: Matrix, labels: Labels) -> tuple[Any, Any]:
        loss, (gradient, _, _) = metricops.npairs_loss_and_grad(
            images @ self.weights, labels=labels, **LOSS
        )
        return loss, images.T @ gradient

    def apply(self, gradient: Any) -> None:
        change, self.state = self.optimiser.update(gradient, self.state)
        self.weights = self.weights + change


class JAXEmbedding(NumPyEmbedding):
    """`jax.value_and_grad` under `jax.jit`, and optax's Adam if optax is installed."""

    def __init__(self, weights: Matrix) -> None:
        import jax

        super().__init__(jax.numpy.asarray(weights))
        self.value_and_grad = jax.jit(jax.value_and_grad(loss_of))
        if installed("optax"):
            import optax

            self.optimiser = optax.adam(LEARNING_RATE)
            self.state = self.optimiser.init(self.weights)

    def loss_and_gradient(self, images: Matrix, labels: Labels) -> tuple[Any, Any]:
        loss, gradient = self.value_and_grad(self.weights, images, labels)
        return loss, gradient


class TorchEmbedding(Embedding):
    """`loss.backward()` and `torch.optim.Adam`."""

    def __init__(self, weights: Matrix) -> None:
        import torch

        self.weights = torch.nn.Parameter(torch.tensor(weights))
        self.optimiser = torch.optim.Adam([self.weights], lr=LEARNING_RATE)

    def loss_and_gradient(self, images: Matrix, labels: Labels) -> tuple[Any, Any]:
        self.optimiser.zero_grad()
        loss = loss_of(self.weights, self.weights.new_tensor(images), labels)
        loss.backward()
        return loss.detach(), self.weights.grad

    def apply(self, gradient: Any) -> None:
        self.optimiser.step()  # it finds the gradient in the parameter

    def matrix(self) -> Matrix:
        return np.asarray(self.weights.detach())


class TensorFlowEmbedding(Embedding):
    """`tf.GradientTape` inside a `tf.function`, and the Adam of `tf.keras`."""

    def __init__(self, weights: Matrix) -> None:
        # With another backend, Keras' optimisers refuse a tf.Variable.
        os.environ["KERAS_BACKEND"] = "tensorflow"
        import tensorflow as tf

        def differentiate(images: Any, labels: Any) -> tuple[Any, Any]:
            with tf.GradientTape() as tape:
                loss = loss_of(self.weights, images, labels)
            return loss, tape.gradient(loss, self.weights)

        self.weights = tf.Variable(weights)
        self.optimiser = tf.keras.optimizers.Adam(LEARNING_RATE, epsilon=1e-8)
        self.graph = tf.function(differentiate)

    def loss_and_gradient(self, images: Matrix, labels: Labels) -> tuple[Any, Any]:
        loss, gradient = self.graph(images, labels)
        return loss, gradient

    def apply(self, gradient: Any) -> None:
        self.optimiser.apply_gradients([(gradient, self.weights)])


FRAMEWORKS: dict[str, Callable[[Matrix], Embedding]] = {
    "numpy": NumPyEmbedding,
    "torch": TorchEmbedding,
    "jax": JAXEmbedding,
    "tensorflow": TensorFlowEmbedding,
}


def loss_of(weights: Any, images: Any, labels: Any) -> Any:
    """Return the N-pairs loss of a batch, for autodiff of any framework."""
    embeddings = images @ weights
    return metricops.npairs_loss_from_embeddings(embeddings, labels=labels, **LOSS)


def installed(library: str) -> bool:
    """Return whether `library` can be imported, without importing it."""
    return importlib.util.find_spec(library) is not None


def digits() -> tuple[Matrix, Labels, Matrix, Labels]:
    """Return the images and labels to train on, then those held out.

    The file is not shuffled first: neighbours in it are often one person's hand, and
    recall is to be measured on hands that were not trained on.
    """
    pixels, labels = load_digits(return_X_y=True)
    images = np.asarray(pixels / 16, dtype=np.float32)
    return images[:TRAINING], labels[:TRAINING], images[TRAINING:], labels[TRAINING:]


def initial(pixels: int, seed: int) -> Matrix:
    """Return random weights under which an embedding is about as long as its image."""
    generator = np.random.default_rng(seed)
    weights = generator.standard_normal((pixels, DIMENSIONS)) / DIMENSIONS**0.5
    return np.asarray(weights, dtype=np.float32)


def batches(
    images: Matrix, labels: Labels, epochs: int, seed: int
) -> Iterator[tuple[Matrix, Labels]]:
    """Yield every image once per epoch, in a new order each time."""
    generator = np.random.default_rng(seed)
    for _ in range(epochs):
        order = generator.permutation(len(images)).reshape(-1, BATCH)
        yield from ((images[chosen], labels[chosen]) for chosen in order)


def train(
    model: Embedding, images: Matrix, labels: Labels, epochs: int, seed: int
) -> None:
    """Train `model` in place, under a progress bar that shows the loss."""
    steps = epochs * len(images) // BATCH
    with tqdm(batches(images, labels, epochs, seed), "Training", steps) as progress:
        for batch in progress:
            progress.set_postfix(loss=f"{model.step(*batch):.3f}", refresh=False)


def recall(embeddings: Matrix, labels: Labels) -> float:
    """Return recall@1 among `embeddings`, each without itself."""
    return float(metricops.recall_at_k(embeddings, labels, k=(1,))[1])


def plane(embeddings: Matrix) -> Matrix:
    """Return the first two principal components of the embeddings' directions."""
    directions = metricops.l2_normalize(embeddings)
    centred = directions - directions.mean(axis=0)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    return np.asarray(left[:, :2] * scale[:2])


def draw(pictures: dict[str, Matrix], labels: Labels, path: Path) -> None:
    """Write one panel per entry of `pictures`, each image as the digit that it is."""
    figure = Figure(figsize=(5 * len(pictures), 5.3), layout="constrained")
    panels = figure.subplots(1, len(pictures))
    for axes, (title, embeddings) in zip(panels, pictures.items(), strict=True):
        points = plane(embeddings)
        for digit in range(10):
            x, y = points[labels == digit].T
            axes.scatter(x, y, s=36, color=f"C{digit}", marker=f"${digit}$", lw=0.3)
        axes.set(title=title, xlabel="principal component 1", xticks=[], yticks=[])
    panels[0].set_ylabel("principal component 2")
    figure.savefig(path, dpi=100)


def agreement(weights: Matrix, images: Matrix, labels: Labels) -> str:
    """Return a table of one batch's loss and gradient norm in every framework."""
    lines = [f"{'framework':<14}{'loss':>10}{'gradient norm':>16}"]
    for name, embedding in FRAMEWORKS.items():
        if not installed(name):
            lines.append(f"{name:<14}{'not installed':>26}")
            continue
        loss, gradient = embedding(weights).loss_and_gradient(images, labels)
        norm = np.linalg.norm(np.asarray(gradient))
        lines.append(f"{name:<14}{float(loss):>10.5f}{norm:>16.5f}")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--framework", choices=FRAMEWORKS, default="numpy")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("train_digits.png"))
    options = parser.parse_args()
    if not installed(options.framework):
        parser.error(f"{options.framework} is not installed.")
    return options


def report(embeddings: dict[str, Matrix], labels: Labels, path: Path) -> None:
    """Print the recall of each entry of `embeddings`, and draw them side by side."""
    pictures = {}
    print(f"\nrecall@1 on {len(labels)} held-out digits")
    for name, points in embeddings.items():
        title = f"{name}, {points.shape[1]} numbers"
        score = recall(points, labels)
        print(f"  {title:<30}{score:.3f}")
        pictures[f"{title}: recall@1 {score:.3f}"] = points
    draw(pictures, labels, path)
    print(f"\nThe picture: {path}")


def main() -> None:
    """Train, and report what it did to recall@1, to the picture and to the loss."""
    options = arguments()
    images, labels, held_images, held_labels = digits()
    weights = initial(images.shape[1], options.seed)
    model = FRAMEWORKS[options.framework](weights)
    train(model, images, labels, options.epochs, options.seed)
    embeddings = {
        "raw pixels": held_images,
        "before training": held_images @ weights,
        "after training": held_images @ model.matrix(),
    }
    report(embeddings, held_labels, options.out)
    print(f"\nOne batch of {BATCH} digits in every framework")
    print(agreement(model.matrix(), images[:BATCH], labels[:BATCH]))


if __name__ == "__main__":
    main()
