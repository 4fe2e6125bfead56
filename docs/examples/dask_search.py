"""Search more keys than a worker's memory holds, with Dask.

    python docs/examples/dask_search.py [--keys 2000000] [--memory 512MB]

Two worker processes look for the nearest of 2,000,000 keys of 64 numbers, 512 MB of
them, which no process ever holds: a chunk of keys is made (or read from a file) where
it is needed, the best keys of each chunk are kept, and the best of those are the
result. Each query is a key that was moved a little, so that it is known which key is to
be found.
"""

import argparse
import resource
import sys
import time
from typing import Any

import dask.array as da
import numpy as np
from dask.distributed import Client, LocalCluster

from metricops import nearest_neighbors


def keys_from(first: int, count: int, width: int) -> Any:
    """Return some keys; a real search would read them from a file."""
    generator = np.random.default_rng(first)
    return generator.standard_normal((count, width), dtype=np.float32)


def chunked_keys(count: int, width: int, chunk: int) -> Any:
    """Return all keys as a Dask array, of which nothing is made yet."""
    firsts = np.arange(0, count, chunk)
    sizes = tuple(min(chunk, count - int(first)) for first in firsts)
    return da.from_array(firsts, chunks=1).map_blocks(
        lambda first: keys_from(
            int(first[0]), min(chunk, count - int(first[0])), width
        ),
        chunks=(sizes, (width,)),
        new_axis=1,
        dtype=np.float32,
        meta=np.empty((0, 0), np.float32),
    )


def peak_megabytes() -> float:
    """Return the most memory that this process has held so far."""
    unit = 1e6 if sys.platform == "darwin" else 1e3  # bytes there, else kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def main() -> None:
    """Search, and say what was found and what it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keys", type=int, default=2_000_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--chunk", type=int, default=100_000, help="keys at once")
    parser.add_argument("--memory", default="512MB", help="of each of two workers")
    args = parser.parse_args()

    keys = chunked_keys(args.keys, args.width, args.chunk)
    generator = np.random.default_rng(args.keys)
    chosen = generator.integers(0, min(args.chunk, args.keys), args.queries)
    first = keys_from(0, min(args.chunk, args.keys), args.width)
    noise = generator.standard_normal((args.queries, args.width), dtype=np.float32)
    queries = da.from_array(first[chosen] + 0.1 * noise)

    cluster = LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        memory_limit=args.memory,
        dashboard_address=":0",
    )
    with cluster, Client(cluster) as client:
        start = time.perf_counter()
        found = nearest_neighbors(queries, keys, k=10, metric="euclidean")
        _, indices = client.gather(client.compute(list(found)))
        seconds = time.perf_counter() - start
        peak = max(client.run(peak_megabytes).values())
    hits = int(np.sum(indices[:, 0] == chosen))
    print(f"{args.keys:,} keys of {args.width} numbers in {seconds:.1f} s")
    print(f"found the right key of {hits} of {args.queries} queries")
    print(f"a worker held at most {peak:.0f} MB")


if __name__ == "__main__":
    main()
