"""Time and memory of the N-pairs loss: metricops, native formulas and other libraries.

Each method computes one loss, forward and backward to all its inputs. The methods of a
framework take turns in one process, once they were found to agree; what each needs
beyond its inputs is measured in a process of its own. One JSON line a method and
measure is printed, and added to the file `--out`; `report.py` makes tables of them.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

ROOT = Path(__file__).resolve().parents[1]
FRAMEWORKS = ("torch", "jax", "tensorflow", "numpy")
SIZES = ("64x128", "256x128", "1024x128", "4096x128", "8192x128", "8192x512")
HUGE = "131072x64"
DTYPES = ("float32", "bfloat16")
# Waiting threads sleep, so that the method whose turn it is has the cores to itself.
ENVIRONMENT = {
    "OMP_WAIT_POLICY": "passive",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = found.add_argument
    add("--framework", nargs="+", default=FRAMEWORKS, choices=FRAMEWORKS)
    add("--sizes", nargs="+", default=SIZES, metavar="ROWSxDIM")
    add("--huge", action="store_true", help=f"{HUGE} once, metricops only")
    task = found.add_mutually_exclusive_group()
    for name in ("symmetric", "one-set"):
        task.add_argument(f"--{name}", dest="task", action="store_const", const=name)
    found.set_defaults(task="pairs")
    add("--dtype", default="float32", choices=DTYPES)
    add("--device", default="cpu", choices=("cpu", "cuda"))
    add("--rounds", type=int, default=15, help="turns of each method; 0: no times")
    add("--threads", type=int, default=2, help="cores to run on, on the CPU")
    add("--no-memory", dest="memory", action="store_false", help="only times")
    add("--out", type=Path, help="a file of JSON lines to add to")
    return found


def environment(args: argparse.Namespace) -> dict[str, str]:
    """Return the environment of the processes, and keep them to so many cores."""
    found = {**os.environ, **ENVIRONMENT}
    if args.device == "cpu":
        count = str(args.threads)
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
        found |= dict.fromkeys(names, count)
        if hasattr(os, "sched_setaffinity"):  # XLA looks at nothing else
            cores = sorted(os.sched_getaffinity(0))[: args.threads]
            os.sched_setaffinity(0, cores)
    return found


def job(args: argparse.Namespace, framework: str) -> dict[str, Any]:
    """Return what the process of a framework is to do."""
    sizes = [HUGE] if args.huge else args.sizes
    return {
        "framework": framework,
        "sizes": [[int(number) for number in size.split("x")] for size in sizes],
        "only_ours": args.huge,
        "task": args.task,
        "dtype": args.dtype,
        "device": args.device,
        "rounds": min(args.rounds, 1) if args.huge else args.rounds,
        "threads": args.threads,
        "memory": args.memory,
    }


def lines(work: dict[str, Any], variables: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Yield what the process of a framework prints; exit as it does if it fails."""
    command = [sys.executable, "-m", "benchmarks._worker", json.dumps(work)]
    with subprocess.Popen(
        command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True
    ) as process:
        for text in process.stdout or ():
            yield json.loads(text)
    if process.returncode != 0:
        sys.exit(process.returncode)


def summary(line: dict[str, Any]) -> str:
    """Return a line for people."""
    words = [
        f"{line['framework']:10} {line['rows']:6} x {line['dim']:<4} {line['task']:9}",
        f"{line['method']:36}",
    ]
    if line["measure"] == "memory":
        return " ".join([*words, f"{line['extra_bytes'] / 2**20:9.1f} MiB"])
    words.append(f"{1e3 * line['median_s']:9.3f} ms")
    if line["ratios"]:
        words.append(f"{max(line['ratios'].values()):7.3f} of the best native")
    return " ".join(words)


def run(args: argparse.Namespace, out: TextIO | None) -> None:
    """Measure in one framework after the other."""
    variables = environment(args)
    for framework in args.framework:
        for line in lines(job(args, framework), variables):
            text = json.dumps(line)
            print(text, flush=True)
            print(summary(line), file=sys.stderr, flush=True)
            if out is not None:
                print(text, file=out, flush=True)


def main() -> None:
    """Measure what the command line asks for."""
    args = parser().parse_args()
    if args.out is None:
        run(args, None)
        return
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.open("a") as out:
        run(args, out)


if __name__ == "__main__":
    main()
