"""The charts of the docs: time against the best native formula, and memory."""

import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmarks.report import FRAMEWORKS, Line, memory, read, select, time_ratio

# Okabe and Ito's colours, which the colour-blind tell apart, and a marker each.
STYLES = {
    "torch": ("#D55E00", "o"),
    "jax": ("#0072B2", "s"),
    "tensorflow": ("#009E73", "^"),
    "numpy": ("#000000", "D"),
}
DENSE = {
    "torch": "cross_entropy",
    "jax": "optax",
    "tensorflow": "sparse softmax",
    "numpy": "by hand",
}
DIM = 128


def figure(title: str, label: str) -> tuple[Figure, Any]:
    """Return an empty chart over n, both axes logarithmic."""
    picture = Figure(figsize=(7, 4.5), layout="constrained")
    axes = picture.subplots()
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(f"n (pairs of rows, d = {DIM}, float32, CPU)")
    axes.set_ylabel(label)
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    axes.yaxis.set_minor_formatter(NullFormatter())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    return picture, axes


def sizes(lines: list[Line]) -> list[int]:
    """Return the numbers of rows, small to large."""
    return sorted({line["rows"] for line in lines})


def draw(
    axes: Any, framework: str, points: dict[int, float | None], **style: Any
) -> None:
    """Draw a line through the points that there are."""
    known = {rows: value for rows, value in points.items() if value is not None}
    colour, marker = STYLES[framework]
    axes.plot(
        list(known), list(known.values()), color=colour, marker=marker, ms=5, **style
    )


def times(lines: list[Line]) -> Figure:
    """Return our time over that of the best native formula, over n."""
    picture, axes = figure(
        "metricops' time, forward and backward, over the fastest native formula's",
        "time ratio (below 1: faster)",
    )
    axes.axhline(1, color="0.4", linewidth=1)
    for framework, title in FRAMEWORKS.items():
        part = select(lines, framework=framework)
        points = {n: time_ratio(select(part, rows=n)) for n in sizes(part)}
        draw(axes, framework, points, label=title)
    ticks = [0.12, 0.18, 0.25, 0.35, 0.5, 0.7, 1, 1.4, 2, 2.8, 4, 5.6, 8]
    low, high = axes.get_ylim()
    axes.set_yticks([tick for tick in ticks if low / 1.2 <= tick <= high * 1.2])
    axes.set_yticks([], minor=True)
    axes.legend(frameon=False)
    return picture


def memories(lines: list[Line]) -> Figure:
    """Return what we and the dense formulas need beyond the inputs, over n."""
    picture, axes = figure(
        "Memory beyond the inputs: metricops (solid), dense native formula (dashed)",
        "MiB at the peak, gradients included",
    )
    for framework, title in FRAMEWORKS.items():
        part = select(lines, framework=framework)
        # Too little to be seen in pages of memory is no point on a logarithmic axis.
        ours = {n: memory(select(part, rows=n), "ours") or None for n in sizes(part)}
        dense = select(part, method=DENSE[framework])
        theirs = {
            n: memory(select(dense, rows=n), "native") or None for n in sizes(part)
        }
        draw(axes, framework, ours, label=title)
        draw(axes, framework, theirs, linestyle="--", markerfacecolor="white")
    axes.legend(frameon=False)
    return picture


def main() -> None:
    """Draw the charts into the folder of the command line, from the files after it."""
    folder, *files = map(Path, sys.argv[1:])
    plain = select(read(files), device="cpu", dtype="float32", task="pairs", dim=DIM)
    folder.mkdir(parents=True, exist_ok=True)
    times(plain).savefig(folder / "benchmark-time.png", dpi=150)
    memories(plain).savefig(folder / "benchmark-memory.png", dpi=150)


if __name__ == "__main__":
    main()
