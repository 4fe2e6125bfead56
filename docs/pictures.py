"""Draws the pictures of the concepts, and the one for link previews.

python docs/pictures.py
"""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

FOLDER = Path(__file__).parent
BLUE, GREEN, RED, GREY = "#2156b5", "#1a9850", "#c0392b", "#9aa5b1"
LABELS = np.asarray([0, 0, 1, 1, 2, 2, 2, 3])


def embeddings() -> Any:
    """Return rows of unit length, near their class' direction."""
    generator = np.random.default_rng(3)
    centres = generator.standard_normal((4, 6))
    rows = centres[LABELS] + 0.6 * generator.standard_normal((len(LABELS), 6))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def bare(axes: Any, title: str) -> None:
    """Take the ticks away, and set a title."""
    axes.set_title(title, fontsize=11)
    axes.set(xticks=[], yticks=[])


def draw_targets(path: Path) -> None:
    """Draw a matrix of similarities beside the targets by position and by label."""
    figure = Figure(figsize=(9, 3.3), layout="constrained", facecolor="white")
    scores, position, label = figure.subplots(1, 3)
    rows = embeddings()
    scores.imshow(rows @ rows.T, cmap="RdBu_r", vmin=-1, vmax=1)
    position.imshow(np.eye(len(rows)), cmap="Greens", vmin=0, vmax=1.3)
    same = (LABELS[:, None] == LABELS).astype(float)
    label.imshow(same / same.sum(1, keepdims=True), cmap="Greens", vmin=0, vmax=1.3)
    bare(scores, "similarities")
    bare(position, "targets by position")
    bare(label, "targets by label: 0 0 1 1 2 2 2 3")
    for axes in (scores, position, label):
        axes.set(xlabel="candidates", ylabel="anchors")
    figure.savefig(path, dpi=110)


def draw_panels(path: Path) -> None:
    """Draw a panel of anchors that passes over the matrix of similarities."""
    figure = Figure(figsize=(9, 2.9), layout="constrained", facecolor="white")
    for step, axes in enumerate(figure.subplots(1, 4)):
        axes.set(xlim=(-0.3, 8.3), ylim=(8.3, -0.3), aspect="equal")
        axes.add_patch(Rectangle((0, 0), 8, 8, fill=False, ec=GREY, ls="--"))
        axes.add_patch(Rectangle((0, 2 * step), 8, 2, fc=BLUE, alpha=0.8))
        for row in range(2 * step, 2 * step + 2):
            axes.add_patch(Rectangle((row, row), 1, 1, fc=GREEN))
        bare(axes, f"panel {step + 1}")
        axes.spines[:].set_visible(False)
        axes.set(xlabel="all candidates", ylabel="anchors")
    figure.savefig(path, dpi=110)


def draw_pairs(path: Path) -> None:
    """Draw which candidates some losses pull and push, around one anchor."""
    generator = np.random.default_rng(1)
    positives = np.asarray([[0.5, 0.25], [-0.35, 0.8], [1.15, -0.3]])
    negatives = generator.uniform(-1.9, 1.9, (14, 2))
    negatives = negatives[np.linalg.norm(negatives, axis=1) > 0.7]
    away = np.linalg.norm(negatives, axis=1)
    near, own = np.argsort(away), np.linalg.norm(positives, axis=1)
    beyond = int(np.argmin(np.where(away > own[0], away, np.inf)))
    rows = {
        "N-pairs: all, by softmax": ([0, 1, 2], list(range(len(negatives)))),
        "hard triplets": ([int(np.argmax(own))], [int(near[0])]),
        "semi-hard triplet": ([0], [beyond]),
        "contrastive: within a margin": (
            [0, 1, 2],
            np.flatnonzero(away < 1.3).tolist(),
        ),
    }
    figure = Figure(figsize=(9, 2.9), layout="constrained", facecolor="white")
    for axes, (title, (pulled, pushed)) in zip(
        figure.subplots(1, 4), rows.items(), strict=True
    ):
        axes.set(xlim=(-2.1, 2.1), ylim=(-2.1, 2.1), aspect="equal")
        for index in pulled:
            axes.plot(*zip((0, 0), positives[index], strict=True), color=GREEN, lw=1.5)
        for index in pushed:
            axes.plot(*zip((0, 0), negatives[index], strict=True), color=RED, lw=0.8)
        axes.scatter(*positives.T, color=GREEN, s=34, zorder=3)
        axes.scatter(*negatives.T, color=RED, s=34, marker="x", zorder=3)
        axes.scatter(0, 0, color="black", s=60, marker="*", zorder=4)
        bare(axes, title)
    figure.savefig(path, dpi=110)


def draw_temperature(path: Path) -> None:
    """Draw the shares of a softmax of the same cosines at three temperatures."""
    cosines = np.asarray([0.8, 0.6, 0.4, 0.2, 0.0, -0.2])
    figure = Figure(figsize=(9, 2.9), layout="constrained", facecolor="white")
    for axes, temperature in zip(
        figure.subplots(1, 3, sharey=True), (1.0, 0.2, 0.05), strict=True
    ):
        shares = np.exp(cosines / temperature)
        colours = [GREEN] + [RED] * (len(cosines) - 1)
        axes.bar(range(len(cosines)), shares / shares.sum(), color=colours)
        axes.set_xticks(range(len(cosines)), [f"{x:g}" for x in cosines])
        axes.set(xlabel="cosine", ylim=(0, 1))
        axes.set_title(f"temperature {temperature:g}", fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def draw_preview(path: Path) -> None:
    """Draw the image that a link to the site shows, 1200 by 630 pixels."""
    figure = Figure(figsize=(12, 6.3), facecolor=BLUE)
    figure.text(0.06, 0.62, "metricops", color="white", size=76, weight="bold")
    lines = (
        "Metric-learning losses, distances and search,",
        "written once for every array library",
    )
    figure.text(0.06, 0.4, "\n".join(lines), color="white", size=24, linespacing=1.5)
    names = "NumPy   PyTorch   JAX   TensorFlow   Dask   CuPy"
    figure.text(0.06, 0.17, names, color="#c9d9f7", size=22)
    axes = figure.add_axes((0.76, 0.5, 0.19, 0.36))
    rows = embeddings()
    axes.imshow(rows @ rows.T, cmap="Blues_r", vmin=-1, vmax=1)
    axes.axis("off")
    figure.savefig(path, dpi=100)


def main() -> None:
    """Draw all of them."""
    images = FOLDER / "images"
    draw_targets(images / "concept-targets.png")
    draw_panels(images / "concept-panels.png")
    draw_pairs(images / "concept-pairs.png")
    draw_temperature(images / "concept-temperature.png")
    draw_preview(FOLDER / "_static" / "preview.png")


if __name__ == "__main__":
    main()
