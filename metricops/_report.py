"""What `python -m metricops` reports: what is installed here, and what works on it.

Each library is tried in a process of its own, so that a broken one breaks nothing else.
"""

import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import array_api_compat

from metricops._frameworks.survey import LIBRARIES

Record = dict[str, Any]

ADAPTERS = {"torch": "torch", "keras": "keras", "flax": "flax", "linen": "flax"}
TIME = 300  # seconds that a library may take


def version(package: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def installed(package: str) -> bool:
    """Return whether `package` can be found, without importing it."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def apart(kind: str, name: str) -> Record:
    """Return what another process finds out about a library or an adapter."""
    command = [sys.executable, "-m", "metricops._trials", kind, name]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=TIME)
        record: Record = json.loads(run.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {TIME} seconds"}
    except (IndexError, ValueError):
        said = run.stderr.strip().splitlines()[-1:] or ["without a word"]
        return {"error": f"ended with status {run.returncode}: {said[0]}"[:300]}
    return record


def looked_at(kind: str, name: str, package: str) -> Record:
    """Return what there is to say about a library or an adapter."""
    if not installed(package):
        return {"installed": False}
    return {"installed": True, "version": version(package)} | apart(kind, name)


def report(progress: Callable[[str], None] = lambda name: None) -> Record:
    """Return the versions of everything, and what works.

    `progress` is called with the name of each library and adapter that is done.
    """
    things = [("library", x.package, x.package) for x in LIBRARIES]
    things += [("adapter", name, package) for name, package in ADAPTERS.items()]
    found: Record = {"library": {}, "adapter": {}}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        records = pool.map(looked_at, *zip(*things, strict=True))
        for (kind, name, _), record in zip(things, records, strict=True):
            found[kind][name] = record
            progress(name)
    return {
        "metricops": version("metricops"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "array-api-compat": array_api_compat.__version__,
        "libraries": found["library"],
        "adapters": found["adapter"],
    }
