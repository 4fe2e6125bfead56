"""The table and the chart of what `search.py` measured."""

from pathlib import Path
from typing import Any

from benchmarks.report import FRAMEWORKS, Line, fill, select, setup, table

# What is measured, and our time over the native one at most, by framework.
GOALS: dict[tuple[str, str], tuple[str, dict[str, float]]] = {
    ("euclidean", "forward"): (
        "euclidean",
        {"numpy": 0.9, "torch": 2.2, "jax": 2.2, "tensorflow": 2.5},
    ),
    ("euclidean", "forward and backward"): (
        "euclidean, forward and backward",
        {"torch": 1.7, "jax": 2.4},
    ),
    ("squared_euclidean", "forward"): ("squared euclidean", {}),
    ("manhattan", "forward"): ("manhattan", {"numpy": 1.2, "torch": 1.2}),
    ("cosine_similarity", "forward"): (
        "cosine similarity",
        {"numpy": 1.15, "torch": 1.2},
    ),
    ("search_cosine", "forward"): (
        "search, cosine",
        {"numpy": 0.5, "torch": 1.15, "jax": 1.2, "tensorflow": 1.2},
    ),
    ("search_euclidean", "forward"): (
        "search, euclidean",
        {"numpy": 0.9, "torch": 1.1, "jax": 1.5},
    ),
}
FAISS = {"random": 1.5, "clustered": 1.7}


def ratio(lines: list[Line], **values: Any) -> float | None:
    """Return our time over the native one."""
    found = select(lines, method="metricops", **values)
    return found[-1]["ratio"] if found else None


def judged(value: float | None, bar: float | None) -> str:
    """Return a ratio, bold where it misses its bar."""
    if value is None:
        return "-"
    text = f"{value:.2f}"
    return f"**{text}**" if bar is not None and value > bar else text


def ratios(lines: list[Line]) -> str:
    """Return the table of ratios, random rows and clustered ones."""
    body = []
    for (function, label), (title, bars) in GOALS.items():
        cells = []
        for framework in FRAMEWORKS:
            case = {"framework": framework, "function": function, "pass": label}
            bar = bars.get(framework)
            both = [
                judged(ratio(lines, data=data, **case), bar)
                for data in ("random", "clustered")
            ]
            goal = f" (≤ {bar:g})" if bar else ""
            shown = "; ".join(x for x in both if x != "-")
            cells.append(shown + goal if shown else "")
        body.append([title, *cells])
    return table(["", *FRAMEWORKS.values()], body)


def errors(lines: list[Line]) -> str:
    """Return the table of the largest errors."""
    body = []
    for (function, label), (title, _) in GOALS.items():
        if label != "forward":
            continue
        found = select(lines, function=function, **{"pass": label})
        ours = [x["largest_error"] for x in found if x["method"] == "metricops"]
        theirs = [x["largest_error"] for x in found if x["method"] != "metricops"]
        if found:
            body.append([title, f"{max(ours):.1e}", f"{max(theirs):.1e}"])
    return table(["largest error", "metricops", "native"], body)


def times(lines: list[Line]) -> str:
    """Return the table of all times, in milliseconds."""
    body = []
    for line in lines:
        names = (line[key] for key in ("framework", "function", "pass", "data"))
        body.append([*names, line["method"], f"{1e3 * line['best_s']:.0f}"])
    return table(["framework", "function", "pass", "rows", "way", "ms"], body)


def faiss(lines: list[Line]) -> str:
    """Return the table beside faiss."""
    body = []
    for function in ("search_cosine", "search_euclidean"):
        cells = []
        for data, bar in FAISS.items():
            case = {"framework": "faiss", "function": function, "data": data}
            cells.append(f"{judged(ratio(lines, **case), bar)} (≤ {bar:g})")
        body.append([GOALS[function, "forward"][0], *cells])
    return table(["NumPy beside faiss", *FAISS], body)


def chart(lines: list[Line], path: Path) -> None:
    """Draw our time over the native one, a bar for each framework."""
    from matplotlib.figure import Figure

    from benchmarks._charts import STYLES

    picture = Figure(figsize=(8, 4.5), layout="constrained")
    axes = picture.subplots()
    titles = [title for title, _ in GOALS.values()]
    for i, (framework, label) in enumerate(FRAMEWORKS.items()):
        values = [
            ratio(
                lines,
                framework=framework,
                function=function,
                data="random",
                **{"pass": kind},
            )
            or 0
            for function, kind in GOALS
        ]
        places = [j + 0.2 * (i - 1.5) for j in range(len(values))]
        axes.barh(places, values, 0.18, color=STYLES[framework][0], label=label)
    axes.axvline(1, color="0.4", linewidth=1)
    axes.set_yticks(range(len(titles)), titles)
    axes.invert_yaxis()
    axes.set_xlabel("metricops' time over the native one (below 1: faster)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path, dpi=150)


def write(lines: list[Line], page: Path) -> None:
    """Put the tables into the page, and the chart beside it."""
    text = page.read_text()
    parts = {
        "search": "\n\n".join((ratios(lines), faiss(lines), setup(lines))),
        "search errors": errors(lines),
        "search times": times(lines),
    }
    for name, part in parts.items():
        text = fill(text, name, part)
    page.write_text(text)
    chart(lines, page.parent / "images" / "benchmark-search.png")
