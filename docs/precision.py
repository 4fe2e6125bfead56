"""Measures how far float32 results are off, and writes `docs/precision.md`.

    python docs/precision.py

The right numbers come from the native formula in float64, of the same float32 inputs.
An error is the largest of all entries, in units of the last place of the right number.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import tensorflow as tf
import torch
from torch.nn import functional

import metricops

PAGE = Path(__file__).with_name("precision.md")
LIBRARIES: dict[str, Callable[[Any], Any]] = {
    "NumPy": np.asarray,
    "PyTorch": torch.asarray,
    "JAX": jnp.asarray,
    "TensorFlow": tf.convert_to_tensor,
}
Case = tuple[str, Callable[..., Any], Callable[..., Any], tuple[Any, ...]]


def divided(x: Any) -> Any:
    """Return rows divided by their lengths."""
    return x / torch.linalg.vector_norm(x, dim=1, keepdim=True)


def cosines(x: Any, y: Any) -> Any:
    """Return the cosine of each pair of rows."""
    return functional.cosine_similarity(x, y)


def cross_entropy(anchors: Any, candidates: Any) -> Any:
    """Return what a user of PyTorch would write for InfoNCE."""
    scores = functional.normalize(anchors) @ functional.normalize(candidates).T / 0.07
    return functional.cross_entropy(scores, torch.arange(len(scores)), reduction="none")


def ours(anchors: Any, candidates: Any) -> Any:
    """Return the same loss by metricops."""
    return metricops.npairs_loss_from_embeddings(
        anchors, candidates, temperature=0.07, normalize=True, reduction="none"
    )


def cases() -> list[Case]:
    """Return rows of the table: words, ours, the native function, and arguments."""
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((2, 512, 128)).astype(np.float32)
    near = (x + 1e-3 * y).astype(np.float32)
    far = (x + 100).astype(np.float32), (y + 100).astype(np.float32)

    normalize, distance = metricops.l2_normalize, metricops.pairwise_euclidean_distance
    tiny = ((1e-30 * x).astype(np.float32),)
    return [
        ("`l2_normalize`", normalize, divided, (x,)),
        ("the same, of rows of length 1e-29", normalize, divided, tiny),
        ("`cosine_similarity`", metricops.cosine_similarity, cosines, (x, near)),
        ("`pairwise_euclidean_distance`", distance, torch.cdist, (x, y)),
        ("the same, off the origin by 100", distance, torch.cdist, far),
        ("the same, of near rows", distance, torch.cdist, (x, near)),
        ("InfoNCE, each anchor's loss", ours, cross_entropy, (x, y)),
        ("the same, of near pairs", ours, cross_entropy, (x, near)),
    ]


def error(found: Any, right: Any) -> str:
    """Return the largest error in units of the last place, in words."""
    ulp = np.spacing(np.abs(right).astype(np.float32)).astype(np.float64)
    off = np.abs(np.asarray(found, dtype=np.float64) - right) / ulp
    worst = float(off.max())
    if not np.isfinite(worst):
        return "not a number"
    return f"{worst:.1f}" if worst < 100 else f"{worst:,.0f}"


def row(case: Case) -> list[str]:
    """Return a row of the table."""
    words, function, native, values = case
    wide = [torch.asarray(value.astype(np.float64)) for value in values]
    right = native(*wide).numpy()
    plain = native(*map(torch.asarray, values)).numpy()
    found = [
        error(np.asarray(function(*map(make, values))), right)
        for make in LIBRARIES.values()
    ]
    return [words, error(plain, right), *found]


def main() -> None:
    """Measure, and write the page."""
    head = ["", "PyTorch's own", *LIBRARIES]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *map(row, cases())]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    text = PAGE.read_text()
    start, end = "<!-- begin errors -->", "<!-- end errors -->"
    before, rest = text.split(start)
    PAGE.write_text(f"{before}{start}\n\n{table}\n\n{end}{rest.split(end)[1]}")
    print(table)


if __name__ == "__main__":
    main()
