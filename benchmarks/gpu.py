"""Time N-pairs losses on a GPU, with their peak memory: one run of less than 8 minutes.

    python benchmarks/gpu.py [--device cuda] [--quick] [--out FILE]

It writes a JSON object a line to benchmarks/results/gpu.jsonl: what was run, the median
milliseconds of a forward and a backward pass, and the peak of megabytes beyond the
embeddings. What a version of PyTorch does not have, or the memory does not hold, is a
line with an error.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

import metricops

OUT = Path(__file__).parent / "results" / "gpu.jsonl"
SIZES = ((8_192, 512), (65_536, 768), (262_144, 512))
DTYPES = ("bfloat16", "float16", "float32")
PANELS = (512, 1024, 2048, 4096, 8192)
TEMPERATURE = 0.07
LIMIT = 7.5 * 60  # seconds; what comes later is left out, and said to be

Loss = Callable[[Any, Any, Any], Any]


def naive(anchors: Any, candidates: Any, labels: Any) -> Any:
    """Return the loss by a matrix of all similarities."""
    scores = anchors @ candidates.mT / TEMPERATURE
    return functional.cross_entropy(scores, labels)


def native(anchors: Any, candidates: Any, labels: Any) -> Any:
    """Return PyTorch's own fused loss, of version 2.13 and newer."""
    fused: Any = vars(functional)["linear_cross_entropy"]
    return fused(anchors / TEMPERATURE, candidates, labels)


def ours(**options: Any) -> Loss:
    """Return our loss with some options."""

    def loss(anchors: Any, candidates: Any, labels: Any) -> Any:
        own = {**options}
        if own.pop("labelled", False):
            own |= {"labels": labels // 2, "candidate_labels": labels // 2}
        if own.pop("one_set", False):
            own |= {"labels": labels // 2, "exclude_diagonal": True}
            candidates = None
        return metricops.npairs_loss_from_embeddings(
            anchors, candidates, temperature=TEMPERATURE, **own
        )

    return loss


LOSSES: dict[str, Loss] = {
    "naive": naive,
    "native linear_cross_entropy": native,
    "metricops": ours(),
    "metricops, normalize": ours(normalize=True),
    "metricops, symmetric": ours(symmetric=True),
    "metricops, labels": ours(labelled=True),
    "metricops, one set": ours(one_set=True),
}


def embeddings(rows: int, width: int, device: str, dtype: str) -> list[Any]:
    """Return anchors and candidates of unit length, each near its partner."""
    generator = torch.Generator(device).manual_seed(0)
    anchors = torch.randn(rows, width, device=device, generator=generator)
    others = torch.randn(rows, width, device=device, generator=generator)
    sides = (anchors, anchors + 2 * others)
    return [
        functional.normalize(x, dim=1).to(getattr(torch, dtype)).requires_grad_()
        for x in sides
    ]


def measured(loss: Loss, sides: list[Any], runs: int) -> dict[str, float]:
    """Return the median time of a step, and its peak of memory."""
    device = sides[0].device
    labels = torch.arange(sides[0].shape[0], device=device)
    on_gpu = device.type == "cuda"

    def step() -> None:
        value = loss(sides[0], sides[1], labels)
        torch.autograd.grad(value, sides, allow_unused=True)
        if on_gpu:
            torch.cuda.synchronize()

    step()
    before = 0
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - start))
    found = {"ms": round(statistics.median(times), 2)}
    if on_gpu:
        peak = torch.cuda.max_memory_allocated() - before
        found["peak_mb"] = round(peak / 1e6, 1)
    return found


def cases(quick: bool) -> list[tuple[str, Loss, int, int, str]]:
    """Return what is run: a name, a loss, a size and a dtype, the short ones first."""
    sizes = ((512, 32),) if quick else SIZES
    found = []
    for rows, width in sizes:
        for dtype in DTYPES:
            slow = dtype == "float32" and rows > 2**16
            for name, loss in LOSSES.items():
                if not slow and not (name == "naive" and rows > 2**16):
                    found.append((name, loss, rows, width, dtype))
    for panel in (64,) if quick else PANELS:
        rows, width = sizes[min(1, len(sizes) - 1)]
        named = f"metricops, block_size={panel}"
        found.append((named, ours(block_size=panel), rows, width, "bfloat16"))
    return found


def compiled(rows: int, width: int, device: str) -> dict[str, float]:
    """Return what a step costs in a compiled program."""
    torch.compiler.reset()
    step: Any = torch.compile(ours())
    return measured(step, embeddings(rows, width, device, "bfloat16"), 5)


def in_jax(rows: int, width: int) -> dict[str, float]:
    """Return what a step costs in JAX, on its default device."""
    import jax

    keys = jax.random.split(jax.random.key(0), 2)
    sides = [jax.random.normal(key, (rows, width), "bfloat16") for key in keys]

    def loss(anchors: Any, candidates: Any) -> Any:
        return metricops.npairs_loss_from_embeddings(
            anchors, candidates, temperature=TEMPERATURE, normalize=True
        )

    step = jax.jit(jax.value_and_grad(loss, (0, 1)))
    jax.block_until_ready(step(*sides))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        jax.block_until_ready(step(*sides))
        times.append(1e3 * (time.perf_counter() - start))
    return {"ms": round(statistics.median(times), 2)}


def attempt(run: Callable[[], dict[str, float]]) -> dict[str, Any]:
    """Return what a run found, or the error that it ended with."""
    try:
        return dict(run())
    except Exception as error:  # a missing function, or memory: both are findings
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return {"error": f"{type(error).__name__}: {error}"[:200]}


def main(arguments: list[str]) -> None:
    """Run all, and write a line each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args(arguments)
    device, quick, started = asked.device, asked.quick, time.monotonic()
    gpu = torch.cuda.get_device_name() if device == "cuda" else device
    about = {"device": gpu, "torch": torch.__version__}
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    with asked.out.open("w") as file:

        def write(name: str, rows: int, width: int, dtype: str, run: Any) -> None:
            late = time.monotonic() - started > LIMIT
            found = {"error": "left out: late"} if late else attempt(run)
            line = {"loss": name, "rows": rows, "width": width, "dtype": dtype}
            print(text := json.dumps(about | line | found), flush=True)
            file.write(text + "\n")

        for name, loss, rows, width, dtype in cases(quick):

            def run(loss: Any = loss, case: Any = (rows, width, device, dtype)) -> Any:
                return measured(loss, embeddings(*case), 2 if case[0] > 2**16 else 5)

            write(name, rows, width, dtype, run)
        rows, width = (512, 32) if quick else SIZES[1]
        if not quick:
            each = (rows, width, "bfloat16")
            write("metricops, compiled", *each, lambda: compiled(rows, width, device))
        write("metricops, JAX", rows, width, "bfloat16", lambda: in_jax(rows, width))


if __name__ == "__main__":
    main(sys.argv[1:])
