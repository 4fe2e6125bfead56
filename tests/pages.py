"""The code that the pages show: the tests run it, and so does a newcomer.

``python pages.py torch`` runs what they show of PyTorch, each part on its own, with the
Python that it is called with. See `.ci/newcomer`.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def blocks(page: str) -> list[str]:
    """Return the blocks of Python of a page."""
    text = (ROOT / f"{page}.md").read_text()
    return re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def tabs() -> dict[str, str]:
    """Return the block of each tab of the quick start by the framework's name."""
    text = (ROOT / "docs" / "quickstart.md").read_text()
    pattern = r"^:sync: (\w+)\n\n```python\n(.*?)^```$"
    return dict(re.findall(pattern, text, re.DOTALL | re.MULTILINE))


def guides() -> dict[str, str]:
    """Return the porting notes as one program for each framework that they show."""
    first, *others = blocks("docs/porting")
    jax = [code for code in others if "jax" in code]
    torch = [code for code in others if "jax" not in code]
    return {"torch": "\n".join([first, *torch]), "flax": "\n".join([first, *jax])}


def programs(name: str) -> dict[str, str]:
    """Return what the pages show of a framework, by where they show it."""
    found = {"quick start": tabs(), "porting notes": guides()}
    shown = {where: codes[name] for where, codes in found.items() if name in codes}
    if name == "numpy":
        pages = {page: "\n".join(blocks(page)) for page in ("README", "docs/index")}
        (last,) = set(blocks("docs/quickstart")) - set(tabs().values())
        shown |= {**pages, "quick start, did it work": last}
    return shown


def main(name: str) -> None:
    """Run what the pages show of a framework."""
    shown = programs(name)
    assert shown, f"no page shows {name}"
    for where, code in shown.items():
        sys.stderr.write(f"{name}: {where}\n")
        subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
