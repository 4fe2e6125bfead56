"""What the nnx and the Linen modules of the losses with a memory share."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metricops._arguments.held import labels_to_hold

from ._embedding_loss import check_memory


class Memory(NamedTuple):
    """Embeddings of batches before, the latest first, and their labels."""

    embeddings: jax.Array
    labels: jax.Array
    calls: jax.Array  # (k, 0) of k calls of warming up: a shape is known while tracing


class Beside(NamedTuple):
    """What a batch is compared with, and what is remembered then."""

    embeddings: jax.Array
    labels: jax.Array
    candidate_labels: jax.Array
    memory: Memory


def nothing() -> Memory:
    """Return an empty memory."""
    return Memory(
        jnp.zeros((0, 0)), jnp.zeros((0,), jnp.int32), jnp.zeros((0, 0), jnp.bool)
    )


def beside(
    memory: Memory, embeddings: jax.Array, labels: Any, size: int, warmup: int
) -> Beside:
    """Return a batch, and what is remembered behind it, `size` in all."""
    check_memory(size, len(embeddings))
    labels = labels_to_hold((memory.embeddings, memory.labels), embeddings, labels)
    if len(memory.calls) < warmup:
        calls = jnp.zeros((len(memory.calls) + 1, 0), memory.calls.dtype)
        return Beside(embeddings, labels, labels, memory._replace(calls=calls))
    every, theirs = embeddings, labels
    if len(memory.labels):
        room = size - len(labels)
        every = jnp.concatenate([embeddings, memory.embeddings[:room]])
        theirs = jnp.concatenate([labels, memory.labels[:room]])
    # Copies, as an array of JAX may lie in one of NumPy.
    kept = jax.lax.stop_gradient(every).copy(), theirs.copy()
    return Beside(every, labels, theirs, Memory(*kept, memory.calls))
