"""Count what the loss of a batch costs that many devices share, before there are any.

    python benchmarks/scale_out.py [--flops 4.05e14] [--page docs/planning.md]

It needs no framework and measures nothing: it walks through the steps of a device, and
adds up its matrix products, the bytes that it receives, the bytes that it holds, and
the seconds that these take on a cluster. It is fed with the speed of the loss on one
device, by `--flops`, or from lines of `benchmarks/results` by `--kernel`. With `--page`
it fills the tables of docs/planning.md.
"""

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "planning.md"
BATCHES = tuple(2**power for power in (15, 17, 19, 21, 24))
DEVICES = (8, 64, 256, 1024)
PANEL = 2**27  # scores that are held at once
PROCESSOR_LINK = 3e9  # bytes a second: Ethernet of 25 Gb/s
ACCUMULATED = 4  # bytes of a number of a gradient that is being summed


class Batch(NamedTuple):
    """As many anchors as candidates, each against all of the others."""

    rows: int
    width: int = 768
    size: int = 2  # bytes of a number: bfloat16


class Cluster(NamedTuple):
    """Devices, and what they can do; links count bytes a second into a device."""

    devices: int
    flops: float = 405e12  # what the loss achieves on one device
    inside: float = 450e9  # links between devices of one machine
    between: float = 50e9  # links between machines
    together: int = 8  # devices of a machine
    free: float = 40e9  # bytes of a device that the model leaves

    @property
    def link(self) -> float:
        """Return the bytes a second of the slowest link of a ring of all devices."""
        return self.inside if self.devices <= self.together else self.between


class Cost(NamedTuple):
    """What a step costs a device."""

    products: float = 0.0  # floating-point operations of matrix products
    received: float = 0.0  # bytes
    held: float = 0.0  # bytes, beyond its own embeddings and their gradients
    seconds: float = 0.0

    def then(
        self, cluster: Cluster, products: float, received: float, at_once: bool = False
    ) -> "Cost":
        """Return the cost with one more part, of products and of a transfer.

        `at_once` says that the bytes arrive while the products are computed.
        """
        times = products / cluster.flops, received / cluster.link
        return self._replace(
            products=self.products + products,
            received=self.received + received,
            seconds=self.seconds + (max(times) if at_once else sum(times)),
        )


def product(batch: Batch, anchors: int, candidates: int) -> float:
    """Return the operations of one matrix product of anchors and candidates."""
    return 2.0 * anchors * candidates * batch.width


def own_rows(batch: Batch, cluster: Cluster) -> int:
    """Return how many anchors, and candidates, the fullest device has."""
    return -(-batch.rows // cluster.devices)


def panel_bytes(anchors: int, candidates: int) -> float:
    """Return the bytes of a panel: scores in float32, and their softmax in a half."""
    return 6.0 * min(PANEL, anchors * candidates)


def matrix_bytes(anchors: int, candidates: int) -> float:
    """Return the bytes of a matrix of scores and of the derivative by them."""
    return 2 * 4.0 * anchors * candidates


def gather(batch: Batch, cluster: Cluster) -> Cost:
    """Return the cost where each device gathers all candidates before it starts."""
    own, others = own_rows(batch, cluster), range(cluster.devices - 1)
    block = own * batch.width
    every = block * cluster.devices
    # All candidates, the sum of their gradients, and these in the dtype that is sent.
    held = every * (2 * batch.size + ACCUMULATED) + panel_bytes(own, batch.rows)
    cost = Cost(held=held)
    for _ in others:  # an all-gather passes each block once around
        cost = cost.then(cluster, 0.0, block * batch.size)
    cost = cost.then(cluster, 3 * product(batch, own, batch.rows), 0.0)
    for _ in others:  # a reduce-scatter passes the gradients around
        cost = cost.then(cluster, 0.0, block * batch.size)
    return cost


def ring(batch: Batch, cluster: Cluster) -> Cost:
    """Return the cost where blocks of candidates pass from device to device.

    A softmax is known only after the first round, so scores are computed twice. In the
    second round the gradients of a block travel with it, and home at the end.
    """
    own, last = own_rows(batch, cluster), cluster.devices - 1
    block, one = own * batch.width, product(batch, own, own)
    # The block at hand and the one that arrives, each with its gradient.
    held = 2 * block * (batch.size + ACCUMULATED) + panel_bytes(own, own)
    cost = Cost(held=held)
    for step in range(cluster.devices):
        arrives = 0 if step == last else block * batch.size
        cost = cost.then(cluster, one, arrives, at_once=True)
    for step in range(cluster.devices):
        arrives = 0 if step == last else block * batch.size
        moved = arrives + (block * ACCUMULATED if cluster.devices > 1 else 0)
        cost = cost.then(cluster, 3 * one, moved, at_once=True)
    return cost


def matrix(batch: Batch, cluster: Cluster) -> Cost:
    """Return the cost of `gather` by a matrix of own anchors and all candidates."""
    own = own_rows(batch, cluster)
    more = matrix_bytes(own, batch.rows) - panel_bytes(own, batch.rows)
    cost = gather(batch, cluster)
    return cost._replace(held=cost.held + more)


FORMS: dict[str, Callable[[Batch, Cluster], Cost]] = {
    "gather": gather,
    "ring": ring,
    "matrix": matrix,
}


def bound(batch: Batch, cluster: Cluster, form: str) -> str:
    """Return what a step runs out of: memory, or else links, or else products."""
    cost = FORMS[form](batch, cluster)
    if cost.held > cluster.free:
        return "memory"
    moving = cost.received / cluster.link
    return "links" if moving > cost.products / cluster.flops else "products"


def largest(cluster: Cluster, form: str, width: int = 768) -> int:
    """Return the largest power of two of rows that fits the devices."""
    rows = cluster.devices
    while FORMS[form](Batch(2 * rows, width), cluster).held <= cluster.free:
        rows *= 2
    return rows


def written(number: float, units: Iterable[str]) -> str:
    """Return a number in three digits, with the unit that suits it."""
    names = list(units)
    while number >= 999.5 and len(names) > 1:
        number, names = number / 1000, names[1:]
    digits = 0 if number >= 99.5 else 1 if number >= 9.95 else 2
    return f"{number:,.{digits}f} {names[0]}"


def duration(seconds: float) -> str:
    """Return a time with the unit that suits it."""
    if seconds >= 120:
        return f"{seconds / 60:,.0f} min"
    return f"{seconds:.1f} s" if seconds >= 1 else written(1e3 * seconds, ["ms"])


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table of Markdown; all but its first column stand on the right."""
    names = list(head)
    rule = ["---", *["---:"] * (len(names) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (names, rule, *rows))


def by_size(cell: Callable[[Batch, Cluster], str], flops: float) -> str:
    """Return a table of a cell for each batch and each number of devices."""
    head = ["rows", *(f"{devices:,} devices" for devices in DEVICES)]
    rows = [
        [f"{n:,}", *(cell(Batch(n), Cluster(p, flops)) for p in DEVICES)]
        for n in BATCHES
    ]
    return table(head, rows)


def both(show: Callable[[Cost], str]) -> Callable[[Batch, Cluster], str]:
    """Return a cell of what `show` says of a gather and of a ring."""
    return lambda batch, cluster: " / ".join(
        show(form(batch, cluster)) for form in (gather, ring)
    )


def timed(batch: Batch, cluster: Cluster) -> str:
    """Return how long both forms take, or that they do not fit."""
    words = []
    for form in ("gather", "ring"):
        cost = FORMS[form](batch, cluster)
        why = bound(batch, cluster, form)
        mark = {"memory": "-", "links": f"*{duration(cost.seconds)}*"}
        words.append(mark.get(why, duration(cost.seconds)))
    return " / ".join(words)


def largest_table() -> str:
    """Return how many rows fit, by form and number of devices."""
    rows = [
        [f"{p:,}", *(f"{largest(Cluster(p), form):,}" for form in FORMS)]
        for p in DEVICES
    ]
    return table(["devices", *FORMS], rows)


class Published(NamedTuple):
    """What others have published of a step."""

    source: str
    rows: int
    width: int
    devices: int
    milliseconds: float
    together: int = 8  # devices of a machine


PUBLISHED = (
    Published("siglip-kernel", 65_536, 768, 1, 48.8),
    Published("siglip-kernel", 65_536, 768, 4, 13.1),
    Published("siglip-kernel, on two machines", 65_536, 768, 8, 10.1, together=4),
    Published("siglip-kernel", 131_072, 768, 1, 193.4),
    Published("siglip-kernel, on two machines", 131_072, 768, 8, 31.5, together=4),
)


def published_table(flops: float) -> str:
    """Return published times beside those that are counted here for their sizes."""
    rows = []
    for step in PUBLISHED:
        cluster = Cluster(step.devices, flops, together=step.together)
        batch = Batch(step.rows, step.width)
        ours = (1e3 * form(batch, cluster).seconds for form in (gather, ring))
        times = [f"{ms:.1f} ms" for ms in (step.milliseconds, *ours)]
        size = f"{step.rows:,} x {step.width}"
        rows.append([step.source, size, f"{step.devices}", *times])
    return table(["source", "rows", "devices", "published", "gather", "ring"], rows)


class PublishedMemory(NamedTuple):
    """What others have published of the memory of a step, of rows of 768 numbers."""

    source: str
    form: str
    rows: int
    devices: int
    gigabytes: float


PUBLISHED_MEMORY = (
    PublishedMemory("Inf-CL", "ring", 262_144, 8, 1.45),
    PublishedMemory("Inf-CL", "ring", 1_048_576, 32, 1.44),
    PublishedMemory("OpenCLIP, by Inf-CL's authors", "matrix", 131_072, 8, 33.64),
    PublishedMemory("OpenCLIP, by Inf-CL's authors", "matrix", 262_144, 32, 34.35),
)


def published_memory_table() -> str:
    """Return published bytes of CLIP's loss beside those that are counted here.

    It has two directions, each with a matrix of its own; in a ring they take turns.
    """
    rows = []
    for step in PUBLISHED_MEMORY:
        batch, cluster = Batch(step.rows), Cluster(step.devices)
        held = FORMS[step.form](batch, cluster).held
        if step.form == "matrix":
            held += matrix_bytes(own_rows(batch, cluster), step.rows)
        sizes = [f"{step.rows:,}", f"{step.devices}"]
        memory = [f"{step.gigabytes:.2f} GB", f"{held / 1e9:.2f} GB"]
        rows.append([step.source, step.form, *sizes, *memory])
    return table(["source", "form", "rows", "devices", "published", "here"], rows)


def blocks(flops: float, processor: float) -> dict[str, str]:
    """Return the tables of the page by name."""

    def slow(batch: Batch, cluster: Cluster) -> str:
        own = cluster._replace(
            flops=processor, inside=PROCESSOR_LINK, between=PROCESSOR_LINK
        )
        return timed(batch._replace(size=4), own)

    return {
        "products": by_size(
            both(lambda x: written(x.products / 1e9, ["GFLOP", "TFLOP", "PFLOP"])),
            flops,
        ),
        "received": by_size(
            both(lambda x: written(x.received / 1e6, ["MB", "GB"])), flops
        ),
        "held": by_size(both(lambda x: written(x.held / 1e6, ["MB", "GB"])), flops),
        "seconds": by_size(timed, flops),
        "processors": by_size(slow, flops),
        "largest": largest_table(),
        "published": published_table(flops),
        "memory": published_memory_table(),
    }


def kernel_of(path: Path) -> float:
    """Return the operations a second of our loss in lines of results, at the best."""
    found = []
    for text in path.read_text().splitlines():
        line = json.loads(text)
        name = line.get("method", line.get("loss"))
        seconds = line.get("median_s", line.get("ms", 0) / 1e3)
        if name == "metricops" and seconds and line.get("task", "pairs") == "pairs":
            width = line.get("dim", line.get("width"))
            found.append(6 * line["rows"] ** 2 * width / seconds)
    return max(found)


def measured() -> float:
    """Return the operations a second of our loss on two cores of a processor."""
    return kernel_of(ROOT / "benchmarks" / "results" / "cpu.jsonl")


def filled(page: str, tables: dict[str, str]) -> str:
    """Return a page with its marked tables replaced."""
    for name, text in tables.items():
        begin, end = f"<!-- begin {name} -->\n", f"\n<!-- end {name} -->"
        before, rest = page.split(begin)
        _, after = rest.split(end)
        page = f"{before}{begin}\n{text}\n{end}{after}"
    return page


def main() -> None:
    """Print the tables, or fill the page with them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--flops", type=float, default=Cluster(1).flops)
    parser.add_argument("--kernel", type=Path, default=None)
    parser.add_argument("--page", type=Path, default=None)
    args = parser.parse_args()
    flops = args.flops if args.kernel is None else kernel_of(args.kernel)
    tables = blocks(flops, measured())
    if args.page is None:
        for name, text in tables.items():
            print(f"{name}\n\n{text}\n")
    else:
        args.page.write_text(filled(args.page.read_text(), tables))


if __name__ == "__main__":
    main()
