"""Find the other half of handwritten digits, with two small networks, in any framework.

Each of scikit-learn's digits is cut into a top and a bottom half. One network maps top
halves to 32 numbers, another one bottom halves, and the symmetric N-pairs loss trains
both so that the halves of one digit come together. Then each top half of 597 digits, of
hands that were not trained on, looks for its own bottom half among all 597. Nothing but
the pairs says what belongs together: no label is used.

`--framework` chooses who differentiates and who optimises. NumPy needs no autodiff, as
`metricops.npairs_loss_and_grad` returns the gradients. The networks and the training
step are in `other_half_numpy.py` and its sisters; the rest is the same for all.
"""

import argparse
import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from tqdm import tqdm

import metricops

Matrix = NDArray[np.float32]
Indices = NDArray[np.int64]

NEEDS = {
    "numpy": ("numpy",),
    "torch": ("torch",),
    "jax": ("jax", "flax", "optax"),
    "tensorflow": ("tensorflow",),
}
TRAINING = 1200
BATCH = 240
EVERY = 25  # steps from one measurement of recall to the next
NETWORKS: dict[str, Any] = {
    "hidden": 256,
    "numbers": 32,
    "learning_rate": 0.003,
    # A top half looks for its bottom half, and a bottom half for its top half.
    "loss": {"temperature": 0.2, "normalize": True, "symmetric": True},
}
TOP, BOTTOM, FRAME = "black", "#2156b5", "#1a9850"
SHOWN = 5  # bottom halves beside each top half
CELL = 10  # pixels from one digit of the picture to the next


@dataclass
class Found:
    """For each top half all bottom halves, best first."""

    order: Indices

    @property
    def ranks(self) -> Indices:
        """Return where each top half has its own bottom half; 1 is first."""
        own = np.arange(len(self.order))[:, None]
        return np.argmax(self.order == own, axis=1) + 1

    def recall(self, k: int) -> float:
        """Return the share of top halves that have their own among the best k."""
        return float((self.ranks <= k).mean())

    def __str__(self) -> str:
        median = np.median(self.ranks)
        return (
            f"recall@1 {self.recall(1):.1%}, recall@10 {self.recall(10):.1%}, "
            f"median rank {median:.0f} of {len(self.order)}"
        )


@dataclass
class History:
    """The loss of every step, and the recall of some."""

    losses: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    recalls: list[float] = field(default_factory=list)


def digits() -> tuple[Matrix, Matrix]:
    """Return the digits to train on and those held out, shape (n, 8, 8).

    The file is not shuffled first: neighbours in it are often one person's hand.
    """
    images = np.asarray(load_digits().images / 16, dtype=np.float32)
    return images[:TRAINING], images[TRAINING:]


def halves(images: Matrix) -> tuple[Matrix, Matrix]:
    """Return the pixels of the top halves and those of the bottom halves."""
    return images[:, :4].reshape(-1, 32), images[:, 4:].reshape(-1, 32)


def shifted(images: Matrix, generator: np.random.Generator) -> Matrix:
    """Return images moved left or right by a pixel, or not, at random."""
    wide = np.pad(images, [(0, 0), (0, 0), (1, 1)])
    starts = generator.integers(0, 3, len(images))
    columns = starts[:, None, None] + np.arange(8)
    return np.take_along_axis(wide, np.broadcast_to(columns, images.shape), axis=2)


def batches(images: Matrix, epochs: int, seed: int) -> Iterator[tuple[Matrix, Matrix]]:
    """Yield the halves of every digit once per epoch, in a new order each time."""
    generator = np.random.default_rng(seed)
    for _ in range(epochs):
        for chosen in generator.permutation(len(images)).reshape(-1, BATCH):
            yield halves(shifted(images[chosen], generator))


def search(networks: Any, images: Matrix) -> Found:
    """Let each top half look for its bottom half among those of all `images`."""
    tops, bottoms = networks.embed(*halves(images))
    _, order = metricops.nearest_neighbors(tops, bottoms, k=len(images))
    return Found(np.asarray(order))


def train(networks: Any, images: Matrix, held: Matrix, options: Any) -> History:
    """Train the networks in place, under a progress bar with the loss and recall."""
    history = History()
    steps = options.epochs * len(images) // BATCH
    stream = batches(images, options.epochs, options.seed)
    with tqdm(stream, "Training", steps) as progress:
        for step, (tops, bottoms) in enumerate(progress, 1):
            history.losses.append(networks.step(tops, bottoms))
            if step % EVERY == 0 or step == steps:
                history.steps.append(step)
                history.recalls.append(search(networks, held).recall(10))
            recall = f"{history.recalls[-1]:.1%}" if history.recalls else "?"
            words = {"loss": f"{history.losses[-1]:.3f}", "recall@10": recall}
            progress.set_postfix(words, refresh=False)
    return history


def inked(pixels: Matrix, colour: str) -> Any:
    """Return pixels as red, green and blue: paper where 0 and `colour` where 1."""
    ink = np.asarray(to_rgb(colour))
    return 1 - pixels[..., None] * (1 - ink)


def montage(images: Matrix, found: Found, queries: Indices) -> Any:
    """Return one image: a row for each query, with its best bottom halves glued on."""
    picture = np.ones((len(queries) * CELL, SHOWN * CELL, 3))
    for row, query in enumerate(queries):
        for column, candidate in enumerate(found.order[query, :SHOWN]):
            y, x = row * CELL + 1, column * CELL + 1
            picture[y : y + 4, x : x + 8] = inked(images[query, :4], TOP)
            picture[y + 4 : y + 8, x : x + 8] = inked(images[candidate, 4:], BOTTOM)
    return picture


def draw_found(axes: Any, images: Matrix, found: Found, queries: Indices) -> None:
    """Draw the best bottom halves of some top halves, and frame the true ones."""
    axes.imshow(montage(images, found, queries), interpolation="nearest")
    axes.set(xticks=CELL * np.arange(SHOWN) + CELL / 2 - 0.5, yticks=[])
    axes.set_xticklabels([str(rank) for rank in range(1, SHOWN + 1)], fontsize=9)
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    for row, column in zip(*np.nonzero(own(found, queries)), strict=True):
        corner = column * CELL - 0.1, row * CELL - 0.1
        frame = Rectangle(corner, CELL - 0.8, CELL - 0.8, fill=False)
        frame.set(edgecolor=FRAME, linewidth=2.2)
        axes.add_patch(frame)


def own(found: Found, queries: Indices) -> Any:
    """Return which of the bottom halves shown are those of their top half."""
    return found.order[queries, :SHOWN] == queries[:, None]


def draw_history(axes: Any, history: History) -> None:
    """Draw the loss of each step, and recall@10 on an axis of its own."""
    steps = np.arange(1, len(history.losses) + 1)
    axes.plot(steps, history.losses, color=BOTTOM, lw=0.8)
    axes.set(xlabel="step", ylim=(0, None))
    axes.set_title("loss", color=BOTTOM, loc="left", fontsize=11)
    other = axes.twinx()
    other.plot(history.steps, np.multiply(history.recalls, 100), color=FRAME, lw=2)
    other.set(ylim=(0, 100))
    other.yaxis.set_major_formatter("{x:.0f} %")
    other.set_title("recall@10, unseen digits", color=FRAME, loc="right", fontsize=11)


def draw(
    images: Matrix, before: Found, after: Found, history: History, path: Path
) -> None:
    """Write the picture: what was found before and after, and the way there."""
    labels = load_digits().target[TRAINING:]
    queries = np.asarray([np.flatnonzero(labels == digit)[0] for digit in range(10)])
    figure = Figure(figsize=(9.2, 5.2), layout="constrained", facecolor="white")
    left, middle, right = figure.subplots(1, 3, width_ratios=(2.3, 2.3, 4))
    for axes, found, when in ((left, before, "before"), (middle, after, "after")):
        draw_found(axes, images, found, queries)
        title = f"{when} training\n{found.recall(SHOWN):.0%} are among the five"
        axes.set_title(title, fontsize=11)
    draw_history(right, history)
    figure.suptitle(
        f"Which of {len(images)} bottom halves (blue) fits this top half (black)? "
        "The best five, its own framed.",
        fontsize=12,
    )
    figure.savefig(path, dpi=110)


def arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--framework", choices=NEEDS, default="numpy")
    parser.add_argument("--epochs", type=int, default=300, help="of five steps each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("other_half.png"))
    options = parser.parse_args()
    for package in NEEDS[options.framework]:
        if importlib.util.find_spec(package) is None:
            parser.error(f"{package} is not installed.")
    return options


def main() -> None:
    """Train, and report on what was found before and after."""
    options = arguments()
    images, held = digits()
    module = importlib.import_module(f"other_half_{options.framework}")
    networks = module.Networks(seed=options.seed, **NETWORKS)
    before = search(networks, held)
    history = train(networks, images, held, options)
    after = search(networks, held)
    print(f"\n{len(held)} unseen top halves look for their own bottom halves")
    print(f"  before training: {before}\n  after training:  {after}")
    draw(held, before, after, history, options.out)
    print(f"\nThe picture: {options.out}")


if __name__ == "__main__":
    main()
