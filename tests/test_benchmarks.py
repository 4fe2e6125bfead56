"""The benchmarks run, and refuse to measure what disagrees."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import _search_page, _worker, report, scale_out
from benchmarks._cases import Case
from tests.conftest import require

ROOT = Path(__file__).parents[1]
FRAMEWORKS = ("numpy", "torch", "jax", "tensorflow")
TASKS = ("--symmetric", "--one-set")
COUNTS_MEMORY = Path("/proc/self/clear_refs").exists()


def benchmark(script, *options):
    """Run a script of the benchmarks, which must succeed, and return its lines."""
    words = [sys.executable, ROOT / "benchmarks" / script, *options]
    run = subprocess.run([*map(str, words)], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


def npairs(*options):
    return benchmark("npairs.py", "--sizes", "16x8", "--rounds", 1, *options)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_formulas_of_a_framework_agree_and_are_timed(framework):
    require(framework)
    if framework == "jax":
        require("optax")
    lines = npairs("--framework", framework, "--no-memory")
    kinds = [line["kind"] for line in lines]
    assert "ours" in kinds
    assert "native" in kinds
    for line in lines:
        assert line["measure"] == "time"
        assert line["median_s"] > 0
        assert min(line["ratios"].values()) > 0
        assert line["versions"][framework]


@pytest.mark.parametrize("task", TASKS)
def test_the_formulas_of_every_task_agree(task):
    lines = npairs("--framework", "numpy", "--no-memory", task)
    assert [line["method"] for line in lines] == ["by hand", "metricops"]


@pytest.mark.skipif(not COUNTS_MEMORY, reason="only Linux tells a process' peak")
def test_the_memory_of_a_similarity_matrix_is_seen():
    options = ("--sizes", "1024x8", "--rounds", 0, "--framework", "numpy")
    lines = benchmark("npairs.py", *options)
    extra = {line["method"]: line["extra_bytes"] for line in lines}
    assert extra["by hand"] > 4 * 1024**2


@pytest.mark.parametrize("off", [1.001, float("nan")])
def test_the_suite_stops_where_the_methods_disagree(off):
    case = Case(2, 1, "pairs", "float32", "cpu")
    with pytest.raises(SystemExit, match=r"^wrong is off by"):
        _worker.compare("wrong", case, np.asarray([1.0, off]), np.asarray([1.0, 1.0]))


def test_the_overhead_of_a_call_is_measured():
    lines = benchmark("overhead.py", "--framework", "numpy", "--rounds", 1)
    assert len(lines) > 8
    for line in lines:
        assert line["ours_us"] - line["guarded_us"] == line["overhead_us"]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_distances_and_searches_are_timed_beside_the_native_ones(framework):
    require(framework)
    require("sklearn")
    lines = benchmark("search.py", "--framework", framework, "--quick")
    assert {line["data"] for line in lines} == {"random", "clustered"}
    assert {line["measure"] for line in lines} == {"distances", "search"}
    for line in lines:
        assert line["best_s"] > 0
        if line["method"] == "metricops":
            assert line["largest_error"] < 2e-6


def test_the_searches_of_faiss_are_timed():
    pytest.importorskip("faiss")
    require("sklearn")
    lines = benchmark("search.py", "--framework", "faiss", "--quick")
    assert {line["method"] for line in lines} == {"metricops", "faiss, flat"}


def test_what_search_measured_goes_into_the_page(tmp_path):
    require("matplotlib")
    page = tmp_path / "benchmarks.md"
    page.write_text((ROOT / "docs" / "benchmarks.md").read_text())
    about: dict[str, Any] = {"function": "euclidean", "pass": "forward"}
    about |= {"framework": "torch", "data": "random", "largest_error": 1e-7}
    about |= {"device_name": "x86_64", "versions": {}, "best_s": 0.5}
    _search_page.write(
        [about | {"method": "metricops", "ratio": 2.34}, about | {"method": "cdist"}],
        page,
    )
    assert "| euclidean | **2.34** (≤ 2.2) |  |  |  |" in page.read_text()
    chart = tmp_path / "images" / "benchmark-search.png"
    assert chart.read_bytes().startswith(b"\x89PNG")


def test_the_report_fills_the_page_and_draws_the_charts(tmp_path):
    require("matplotlib")
    results, page = tmp_path / "results.jsonl", tmp_path / "page.md"
    npairs("--framework", "numpy", "--no-memory", "--out", results)
    page.write_text((ROOT / "docs" / "benchmarks.md").read_text())
    options = ("--page", page, "--images", tmp_path)
    assert benchmark("report.py", results, *options) == []
    assert "| NumPy, pairs | 16 x 8 |" in page.read_text()
    for name in ("benchmark-time.png", "benchmark-memory.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_the_report_marks_what_misses_its_goal():
    assert report.judged(1.204, 1.1, 2) == "**1.20** (≤ 1.1)"
    assert report.judged(1.0, 1.1, 2) == "1.00 (≤ 1.1)"


def test_the_last_line_about_a_thing_counts(tmp_path):
    file = tmp_path / "results.jsonl"
    file.write_text(
        '{"method": "x", "rows": 1}\n{"method": "x", "rows": 1, "new": 1}\n'
    )
    assert report.read([file]) == [{"method": "x", "rows": 1, "new": 1}]


def test_the_benchmark_for_gpus_runs_on_a_processor(tmp_path):
    require("torch")
    require("jax")
    file = tmp_path / "gpu.jsonl"
    lines = benchmark("gpu.py", "--device", "cpu", "--quick", "--out", file)
    assert [json.loads(x) for x in file.read_text().splitlines()] == lines
    ours = [line for line in lines if line["loss"].startswith("metricops")]
    assert len(ours) > 10
    assert all(line["ms"] > 0 for line in ours)


# Planning.


def test_the_page_to_plan_by_holds_what_the_simulator_counts():
    page = scale_out.PAGE.read_text()
    tables = scale_out.blocks(scale_out.Cluster(1).flops, scale_out.measured())
    # Made by: python benchmarks/scale_out.py --page docs/planning.md
    assert page == scale_out.filled(page, tables)


def test_the_simulator_counts_what_a_device_does():
    # Four devices of 256 rows of 16 numbers in two bytes.
    batch = scale_out.Batch(rows=1024, width=16, size=2)
    cluster = scale_out.Cluster(4, flops=1e9, inside=1e6)
    own, every, one = 256 * 16, 1024 * 16, 2 * 256 * 1024 * 16
    found = scale_out.gather(batch, cluster)
    assert found.products == 3 * one
    assert found.received == 2 * (every - own) * 2
    assert found.held == every * (2 + 4 + 2) + 256 * 1024 * 6
    assert found.seconds == pytest.approx(3 * one / 1e9 + found.received / 1e6)
    found = scale_out.ring(batch, cluster)
    assert found.products == 4 * one
    assert found.received == 2 * (every - own) * 2 + every * 4
    assert found.held == 2 * own * (2 + 4) + 256 * 256 * 6
    # The links are slow: only the last block of the first round waits for nothing.
    waits = found.received / 1e6
    assert found.seconds == pytest.approx(waits + one / 4 / 1e9)


def test_the_simulator_takes_the_measured_speed_of_the_loss(tmp_path):
    lines = tmp_path / "lines.jsonl"
    gpu = {"loss": "metricops", "rows": 1000, "width": 10, "ms": 0.1}
    slow = {"method": "metricops", "task": "pairs", "rows": 1000, "dim": 10}
    peer = {**gpu, "loss": "naive", "ms": 1e-3}
    texts = [json.dumps(x) for x in (gpu, {**slow, "median_s": 1.0}, peer)]
    lines.write_text("\n".join(texts))
    assert scale_out.kernel_of(lines) == pytest.approx(6e7 / 1e-4)
