"""Train an embedding of handwritten digits on several devices of JAX.

Each device takes its part of every batch, and its negatives are those of all. Without
accelerators the devices are parts of the processor:

    export XLA_FLAGS=--xla_force_host_platform_device_count=8
    python docs/examples/jax_devices.py --gather ring

What is printed is the first batch's loss on the devices and on one alone, which are
equal, and recall@k of held-out digits.
"""

import argparse
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec
from metricops.adapters.linen import NPairsEmbeddingLoss
from sklearn.datasets import load_digits

import metricops

TRAINING = 1200
BATCH = 240  # on all devices
WHOLE, SPLIT = PartitionSpec(), PartitionSpec("batch")
Params = dict[str, Any]


def encode(params: Params, images: jax.Array) -> jax.Array:
    """Return embeddings of unit length."""
    hidden = jax.nn.relu(images @ params["first"])
    return metricops.l2_normalize(hidden @ params["second"])


def loss_of(
    axis_name: str | None,
    gather: metricops.Gather,
    params: Params,
    images: jax.Array,
    labels: jax.Array,
) -> jax.Array:
    """Return the loss of a batch; with an axis, of the parts of all devices."""
    loss = NPairsEmbeddingLoss(
        0.2, exclude_diagonal=True, axis_name=axis_name, gather=gather
    )
    found: jax.Array = loss.apply({}, encode(params, images), labels=labels)
    return found


def digits() -> tuple[jax.Array, jax.Array]:
    """Return all images and labels; those from `TRAINING` on are of other hands."""
    pixels, labels = load_digits(return_X_y=True)
    return jnp.asarray(pixels / 16, jnp.float32), jnp.asarray(labels)


def started(seed: int) -> Params:
    """Return parameters to start from."""
    first, second = jax.random.split(jax.random.key(seed))
    return {
        "first": jax.random.normal(first, (64, 128)) / 8,
        "second": jax.random.normal(second, (128, 8)) / 11,
    }


def report(name: str, params: Params, images: jax.Array, labels: jax.Array) -> None:
    """Print recall@k of digits, each searched among the others."""
    recalls = metricops.recall_at_k(encode(params, images), labels, k=(1, 5))
    shares = "  ".join(f"@{k} {float(share):.3f}" for k, share in recalls.items())
    print(f"{name:<16} recall  {shares}")


def main() -> None:
    """Train and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gather", choices=("all", "ring"), default="all")
    options = parser.parse_args()
    images, labels = digits()
    kinds = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((jax.device_count(),), ("batch",), axis_types=kinds)
    shared = jax.shard_map(
        partial(loss_of, "batch", options.gather),
        mesh=mesh,
        in_specs=(WHOLE, SPLIT, SPLIT),
        out_specs=WHOLE,
    )
    optimiser = optax.adam(0.003)

    @jax.jit
    def step(params: Params, state: Any, *batch: jax.Array) -> tuple[Params, Any]:
        gradients = jax.grad(shared)(params, *batch)
        updates, state = optimiser.update(gradients, state)
        return optax.apply_updates(params, updates), state

    params = started(options.seed)
    first = images[:BATCH], labels[:BATCH]
    several, alone = (
        jax.jit(shared)(params, *first),
        loss_of(None, "all", params, *first),
    )
    print(f"loss on {jax.device_count()} devices {several:.4f}, on one {alone:.4f}")
    report("before training", params, images[TRAINING:], labels[TRAINING:])
    state, generator = optimiser.init(params), np.random.default_rng(options.seed)
    for _ in range(options.epochs):
        for batch in generator.permutation(TRAINING).reshape(-1, BATCH):
            params, state = step(params, state, images[batch], labels[batch])
    report("after training", params, images[TRAINING:], labels[TRAINING:])


if __name__ == "__main__":
    main()
