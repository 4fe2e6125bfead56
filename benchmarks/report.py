"""Turn the JSON lines of the benchmarks into the tables and charts of the docs.

Of lines about the same thing the last one counts; files are read in the order given, by
default those in `results/` by name. What stands in `--page` between
`<!-- begin NAME -->` and `<!-- end NAME -->` is replaced, and charts go to `--images`.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

Line = dict[str, Any]

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
FRAMEWORKS = {
    "torch": "PyTorch",
    "jax": "JAX",
    "tensorflow": "TensorFlow",
    "numpy": "NumPy",
}
OVERHEAD_BAR = 15.0


class Goal(NamedTuple):
    """What the library is to reach at a size; None: nothing is said."""

    rows: int
    dim: int
    task: str
    time: tuple[float | None, ...]  # over the best native, of each of FRAMEWORKS
    memory: float | None  # MiB

    def title(self) -> str:
        """Return the size, and the task if it is not the usual one."""
        size = f"{self.rows:,} x {self.dim}"
        return size if self.task == "pairs" else f"{size}, {self.task}"


GOALS = (
    Goal(64, 128, "pairs", (1.25, 1.1, 1.25, 1.1), None),
    Goal(256, 128, "pairs", (1.25, 1.1, 1.25, 1.1), None),
    Goal(1024, 128, "pairs", (1.1, 1.1, 1.1, 1.0), None),
    Goal(8192, 128, "pairs", (1.0, 1.0, 1.1, 0.9), 32),
    Goal(8192, 512, "pairs", (1.0, 1.1, 1.1, 0.95), 110),
    Goal(8192, 128, "symmetric", (0.5, 1.0, 1.0, None), 48),
    Goal(131072, 64, "pairs", (None, None, None, None), 300),
)
# Where a goal names the formula to be compared with; elsewhere it is the fastest.
NAMED = {("torch", "symmetric"): "ClipLoss"}


def read(files: Iterable[Path]) -> list[Line]:
    """Return the last line about each thing."""
    found: dict[tuple[Any, ...], Line] = {}
    keys = ("measure", "framework", "device", "dtype", "task", "rows", "dim")
    for file in files:
        for text in file.read_text().splitlines():
            line = json.loads(text)
            thing = line.get("method"), line.get("function")
            found[(*(line.get(key) for key in keys), *thing)] = line
    return list(found.values())


def select(lines: Iterable[Line], **values: Any) -> list[Line]:
    """Return the lines with these values."""
    return [
        line
        for line in lines
        if all(line.get(key) == value for key, value in values.items())
    ]


def time_ratio(lines: list[Line]) -> float | None:
    """Return our fastest time over the fastest native one, of one framework and case.

    What is native runs as it is and compiled, and so do we: each side has its best.
    """
    ratios = []
    for line in select(lines, measure="time", kind="ours"):
        named = NAMED.get((line["framework"], line["task"]))
        against = line["ratios"]
        if against:
            ratios.append(against[named] if named else max(against.values()))
    return min(ratios, default=None)


def alone(lines: list[Line]) -> str:
    """Return our fastest time, where nothing native runs."""
    times = [line["median_s"] for line in select(lines, measure="time", kind="ours")]
    return duration(min(times)) if times else ""


def memory(lines: list[Line], kind: str) -> float | None:
    """Return the most that one of the methods needs beyond its inputs, in MiB."""
    found = select(lines, measure="memory", kind=kind)
    return max((line["extra_bytes"] / 2**20 for line in found), default=None)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown: names to the left, numbers to the right."""
    head = list(head)
    marks = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, marks, *rows])


def judged(value: float | None, bar: float | None, digits: int) -> str:
    """Return a number beside what it is to be at most; bold if it is more."""
    if value is None:
        return "" if bar is None else f"not measured (≤ {bar:g})"
    text = f"{value:.{digits}f}"
    if bar is None:
        return text
    return f"{text} (≤ {bar:g})" if value <= bar else f"**{text}** (≤ {bar:g})"


def goal_table(lines: list[Line], measure: str) -> str:
    """Return the table of the goals in time, or in memory."""
    rows = []
    for goal in GOALS:
        row = [goal.title()]
        for framework, bar in zip(FRAMEWORKS, goal.time, strict=True):
            place = {"task": goal.task, "rows": goal.rows, "dim": goal.dim}
            case = select(lines, framework=framework, **place)
            if measure == "time":
                row.append(judged(time_ratio(case), bar, 2) or alone(case))
            else:
                row.append(judged(memory(case, "ours"), goal.memory, 0))
        rows.append(row)
    return table(["n x d", *FRAMEWORKS.values()], rows)


def detail_tables(lines: list[Line]) -> Iterator[str]:
    """Yield for each framework and task its methods' times and memory."""
    for framework, title in FRAMEWORKS.items():
        for task in ("pairs", "symmetric", "one-set"):
            part = select(lines, framework=framework, task=task)
            sizes = sorted({(line["rows"], line["dim"]) for line in part})
            methods = list(dict.fromkeys(line["method"] for line in part))
            if part:
                rows = [[m, *(cell(part, m, size) for size in sizes)] for m in methods]
                head = [f"{title}, {task}", *(f"{n:,} x {d}" for n, d in sizes)]
                yield table(head, rows)


def cell(lines: list[Line], method: str, size: tuple[int, int]) -> str:
    """Return a method's time and memory at a size."""
    found = select(lines, method=method, rows=size[0], dim=size[1])
    words = [duration(line["median_s"]) for line in select(found, measure="time")]
    for line in select(found, measure="memory"):
        mib = line["extra_bytes"] / 2**20
        words.append(f"{mib:.0f} MiB" if mib >= 10 else f"{mib:.1f} MiB")
    return ", ".join(words) or "-"


def duration(seconds: float) -> str:
    """Return a time in three digits."""
    if seconds < 1e-3:
        return f"{1e6 * seconds:.3g} µs"
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def overhead_table(lines: list[Line]) -> str:
    """Return what a call costs beyond the same formula, and beyond the shortest."""
    found = select(lines, measure="overhead")
    rows = []
    for function in dict.fromkeys(line["function"] for line in found):
        row = [f"`{function}`"]
        for framework in FRAMEWORKS:
            eager, guarded = framework in ("torch", "numpy"), framework != "tensorflow"
            for line in select(found, function=function, framework=framework):
                bar = OVERHEAD_BAR if eager else None
                cell = judged(line["overhead_us"], bar, 1)
                if guarded:
                    cell += f"; {line['ours_us'] - line['native_us']:.1f}"
                row.append(cell)
        rows.append(row)
    return table(["µs more", *FRAMEWORKS.values()], rows)


def setup(lines: list[Line]) -> str:
    """Return on what, and with which versions, the lines were measured."""
    devices = dict.fromkeys(line["device_name"] for line in lines)
    versions: dict[str, str] = {}
    for line in lines:
        versions |= line["versions"]
    named = ", ".join(f"{name} {number}" for name, number in sorted(versions.items()))
    return f"Measured on: {'; '.join(devices)}. Versions: {named}."


def blocks(lines: list[Line]) -> dict[str, str]:
    """Return what goes into the page, by name."""
    plain = select(lines, device="cpu", dtype="float32")
    overhead = select(lines, measure="overhead")
    other = [line for line in lines if line not in plain and line not in overhead]
    cases = dict.fromkeys((line["device_name"], line["dtype"]) for line in other)
    rest = [
        f"### {device}, {dtype}\n\n" + "\n\n".join(detail_tables(part))
        for device, dtype in cases
        if (part := select(other, device_name=device, dtype=dtype))
    ]
    return {
        "time": goal_table(plain, "time"),
        "memory": goal_table(plain, "memory"),
        "details": "\n\n".join(detail_tables(plain)),
        "other": "\n\n".join(rest) or "Not measured for this version.",
        "overhead": overhead_table(overhead),
        "setup": setup(lines),
    }


def fill(page: str, name: str, text: str) -> str:
    """Return the page with a marked part replaced."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    pattern = f"({re.escape(begin)}\n).*?({re.escape(end)})"
    filled, count = re.subn(
        pattern,
        lambda found: f"{found[1]}\n{text}\n\n{found[2]}",
        page,
        flags=re.DOTALL,
    )
    if count != 1:
        sys.exit(f"The page must have {begin} and {end} once.")
    return filled


def main() -> None:
    """Make what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="*", type=Path)
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "benchmarks.md")
    parser.add_argument("--images", type=Path, default=ROOT / "docs" / "images")
    args = parser.parse_args()
    # Those of gpu.py have no page.
    usual = [x for x in sorted(RESULTS.glob("*.jsonl")) if x.name != "gpu.jsonl"]
    files = [x.resolve() for x in args.results or usual]
    page = args.page.read_text()
    for name, text in blocks(read(files)).items():
        page = fill(page, name, text)
    args.page.write_text(page)
    drawing = [sys.executable, "-m", "benchmarks._charts", args.images.resolve()]
    subprocess.run([*map(str, drawing), *map(str, files)], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
