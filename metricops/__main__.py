"""Print the versions, libraries and devices here, and which of ours work on them.

``python -m metricops`` prints a table, and ``python -m metricops --json`` all of it,
for a report of a bug.
"""

import argparse
import json
import sys

from metricops._frameworks.survey import LIBRARIES
from metricops._report import Record, report


def text(found: Record) -> str:
    """Return a report as a table."""
    lines = [
        f"metricops {found['metricops']}, array-api-compat {found['array-api-compat']}",
        f"Python {found['python']}, {found['platform']}",
        "",
        f"{'library':<18}{'version':<14}{'device':<26}works",
    ]
    labels = {library.package: library.label for library in LIBRARIES}
    for package, record in found["libraries"].items():
        lines += library_lines(labels[package], record)
    lines += ["", "metricops.adapters"]
    for adapter, record in found["adapters"].items():
        lines.append(f"{'.' + adapter:<18}{adapter_state(record)}")
    return "\n".join(lines) + "\n"


def library_lines(label: str, record: Record) -> list[str]:
    """Return a line for each device of a library, and one for each failure."""
    if not record["installed"]:
        return [f"{label:<18}not installed"]
    start = f"{label:<18}{record['version'] or 'unknown':<14}"
    if "error" in record:
        return [f"{start}broken: {record['error']}"]
    lines = []
    for row in record["devices"]:
        works, fails = row["works"], row["fails"]
        count = f"{len(works)} of {len(works) + len(fails)} functions"
        lines.append(f"{start}{row['device']:<26}{count}")
        lines += [f"    {name}: {words}" for name, words in fails.items()]
        start = " " * len(start)
    return lines


def adapter_state(record: Record) -> str:
    """Return whether a module of adapters can be imported, in words."""
    if not record["installed"]:
        return "not installed"
    version = record["version"] or "unknown"
    return f"{version:<14}" + (record.get("error") or "can be imported")


def progress(name: str) -> None:
    """Say on a terminal what has been tried."""
    sys.stderr.write(f"\r{'tried ' + name:<40}")
    sys.stderr.flush()


def main() -> None:
    """Print the report that the command line asks for."""
    words = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser("python -m metricops", description=words)
    parser.add_argument(
        "--json", action="store_true", help="all of it, for a report of a bug"
    )
    options = parser.parse_args()
    if sys.stderr.isatty():
        found = report(progress)
        sys.stderr.write(f"\r{'':<40}\r")
    else:
        found = report()
    sys.stdout.write(
        json.dumps(found, indent=2) + "\n" if options.json else text(found)
    )


if __name__ == "__main__":
    main()
