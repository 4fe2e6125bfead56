"""Two networks in NumPy, for `other_half.py`: gradients and Adam written by hand."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

import metricops

Matrix = NDArray[np.float32]


class Network:
    """A hidden layer of rectified numbers, and a linear layer, with Adam for both."""

    def __init__(
        self, sizes: tuple[int, int, int], rate: float, seed: list[int]
    ) -> None:
        generator = np.random.default_rng(seed)
        self.rate = rate
        self.weights = []
        for inputs, outputs in pairwise(sizes):
            matrix = generator.standard_normal((inputs, outputs)) * (2 / inputs) ** 0.5
            self.weights += [matrix, np.zeros(outputs)]
        self.weights = [x.astype(np.float32) for x in self.weights]
        self.moments = [(0 * x, 0 * x) for x in self.weights]
        self.steps = 0

    def __call__(self, x: Matrix) -> Matrix:
        """Return the embeddings of `x`, and remember what their gradient needs."""
        first, first_bias, second, second_bias = self.weights
        hidden = np.maximum(x @ first + first_bias, 0)
        self.inputs = x, hidden
        return hidden @ second + second_bias

    def gradients(self, upstream: Matrix) -> list[Matrix]:
        """Return the gradients of the weights, given that of the embeddings."""
        x, hidden = self.inputs
        inner = np.where(hidden > 0, upstream @ self.weights[2].T, 0)
        return [x.T @ inner, inner.sum(0), hidden.T @ upstream, upstream.sum(0)]

    def update(self, gradients: list[Matrix]) -> None:
        """Take a step of Adam (Kingma and Ba, 2015)."""
        self.steps += 1
        for index, gradient in enumerate(gradients):
            first, second = self.moments[index]
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            self.moments[index] = first, second
            scale = np.sqrt(second / (1 - 0.999**self.steps)) + 1e-8
            change = first / (1 - 0.9**self.steps) / scale
            self.weights[index] = self.weights[index] - self.rate * change


class Networks:
    """A network for top halves and one for bottom halves, trained together."""

    def __init__(
        self,
        hidden: int,
        numbers: int,
        learning_rate: float,
        loss: dict[str, Any],
        seed: int,
    ) -> None:
        sizes = 32, hidden, numbers
        self.top = Network(sizes, learning_rate, [seed, 0])
        self.bottom = Network(sizes, learning_rate, [seed, 1])
        self.options = loss

    def step(self, tops: Matrix, bottoms: Matrix) -> float:
        """Take one step downhill; return the loss before it."""
        loss, gradients = metricops.npairs_loss_and_grad(
            self.top(tops), self.bottom(bottoms), **self.options
        )
        of_tops, of_bottoms, _ = map(np.asarray, gradients)
        self.top.update(self.top.gradients(of_tops))
        self.bottom.update(self.bottom.gradients(of_bottoms))
        return float(loss)

    def embed(self, tops: Matrix, bottoms: Matrix) -> tuple[Matrix, Matrix]:
        """Return the embeddings of top halves and of bottom halves."""
        return self.top(tops), self.bottom(bottoms)
