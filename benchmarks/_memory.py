"""The process in which one method runs, to see what it needs beyond its inputs."""

import ctypes
import gc
import json
import re
import sys
from pathlib import Path
from typing import Any

from benchmarks._cases import Case, Framework, load

STATUS = Path("/proc/self/status")


def host_peak(framework: Framework, case: Case, method: str) -> int:
    """Return the bytes that a call adds to the process at most, gradients among them.

    What a first call loads or compiles does not count. Where that takes no call of this
    size, none is made before: so nothing of this size can have been kept from it.
    """
    first = case if framework.COMPILES else case._replace(rows=min(case.rows, 256))
    call = framework.methods(first)[method]
    framework.wait(call())
    if first != case:
        call = framework.methods(case)[method]
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
    before = status("VmRSS")
    results = call()
    framework.wait(results)
    return status("VmHWM") - before


def status(field: str) -> int:
    """Return a field of this process' status in bytes."""
    return 1024 * int(re.findall(rf"{field}:\s+(\d+) kB", STATUS.read_text())[0])


def measure(framework: Framework, case: Case, method: str) -> dict[str, Any]:
    """Return the extra memory of a method in bytes, measured and planned."""
    if case.device == "cpu" and not framework.COUNTS:
        extra = host_peak(framework, case, method)
        call = framework.methods(case)[method]
    else:
        call = framework.methods(case)[method]
        framework.wait(call())
        extra = framework.counted_peak(call, case)
    return {"extra_bytes": extra, "planned_bytes": framework.planned_bytes(call)}


def main() -> None:
    """Measure the method of the command line; print a JSON line."""
    name, method, case = sys.argv[1:]
    print(json.dumps(measure(load(name), Case(*json.loads(case)), method)))


if __name__ == "__main__":
    main()
