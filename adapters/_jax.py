"""What the nnx and the Linen modules share: a mapped axis, a cap, and a memory."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metricops._arguments.held import labels_to_hold
from metricops._sharded import Visits, check_gather

from ._modules import MAX_LOG_SCALE, check_memory, check_module, module_loss

AxisName = Hashable | tuple[Hashable, ...]


def loss_over_axis(
    module: Any, axis_name: AxisName | None, *arrays: Any, **given: Any
) -> jax.Array:
    """Return the loss of a module; with `axis_name` it is the same on every device."""
    ring = check_gather(getattr(module, "gather", "all"), "axis_name", axis_name)
    if axis_name is None or _is_initializing(module):
        return module_loss(module, None, *arrays, **given)
    group = _Axis(axis_name, ring)
    loss: jax.Array = module_loss(module, group, *arrays, **given)
    return loss if module.reduction == "none" else jax.lax.pmean(loss, axis_name)


def check_over_axis(module: Any, **options: Any) -> None:
    """Raise what any call of a module raises for its options, and for these too."""
    check_module(module, **options)
    axis_name = getattr(module, "axis_name", None)
    check_gather(getattr(module, "gather", "all"), "axis_name", axis_name)


def _is_initializing(module: Any) -> bool:
    """Return whether Linen makes parameters, which it does outside of a mapped axis."""
    asked = getattr(module, "is_initializing", None)  # which modules of nnx lack
    return asked is not None and bool(asked())


@jax.custom_vjp
def capped(log_scale: jax.Array) -> jax.Array:
    """Return the log of a scale, at most `MAX_LOG_SCALE`.

    Above it, only a gradient that leads back passes: without any the scale would be
    stuck.
    """
    return jnp.minimum(log_scale, MAX_LOG_SCALE)


def _capped_forward(log_scale: jax.Array) -> tuple[jax.Array, jax.Array]:
    # Not `capped` again, which has no forward mode.
    return jnp.minimum(log_scale, MAX_LOG_SCALE), log_scale


def _capped_backward(log_scale: jax.Array, upstream: jax.Array) -> tuple[jax.Array]:
    away = (log_scale > MAX_LOG_SCALE) & (upstream < 0)
    return (jnp.where(away, jnp.zeros_like(upstream), upstream),)


capped.defvjp(_capped_forward, _capped_backward)


@dataclass(frozen=True)
class _Axis:
    """The devices along a mapped axis, as `loss_of_group` takes them."""

    name: AxisName
    ring: bool = False

    @property
    def size(self) -> int:
        """How many devices there are."""
        found: int = jax.lax.axis_size(self.name)
        return found

    def meet(
        self, call: dict[str, str], sides: tuple[jax.Array, ...]
    ) -> list[list[int]]:
        """Return how many rows of each side each device has: all the same.

        One program is traced for all, so that all make one call.
        """
        return [[len(x)] * self.size for x in sides]

    def fail(self, error: Exception) -> None:
        """Do nothing, as the call of all devices raises."""

    def number(self, counts: list[int]) -> int:
        """Return how many rows all devices have, at least 1."""
        return max(sum(counts), 1)

    def gather(self, x: jax.Array, counts: list[int]) -> jax.Array:
        """Return the rows of all devices, own first, differentiably."""
        rows = jax.lax.all_gather(x, self.name, tiled=True)
        return jnp.roll(rows, -jax.lax.axis_index(self.name) * len(x), axis=0)

    def total(self, x: jax.Array) -> jax.Array:
        """Return the sum over the devices, differentiably."""
        return jax.lax.psum(x, self.name)

    def lap(self, visits: Visits, visitor: Any, counts: list[int]) -> tuple[Any, Any]:
        """Have every device's visitor come by, each on its way during the one before.

        So that a scan has one form of step, the last one passes on a visitor too.
        """

        def step(state: Any, _: None) -> tuple[Any, None]:
            found, visitor, luggage = state
            coming = self._passed(visitor)
            own, theirs = visits.meet(visitor, False)
            theirs = visits.merge(self._passed(luggage), theirs)
            return (visits.merge(found, own), coming, theirs), None

        self._check_bound()
        coming = self._passed(visitor)
        found, theirs = _alike(visitor, *visits.meet(visitor, True))
        state = found, coming, theirs
        (found, _, theirs), _ = jax.lax.scan(step, state, length=self.size - 1)
        return found, self._passed(theirs)

    def _check_bound(self) -> None:
        """Raise in a lap of gradients that `vmap` no longer maps.

        JAX pulls gradients back from outside of `vmap` without the name of its axis. A
        name that was never bound is JAX's to refuse, in `meet`.
        """
        try:
            jax.lax.axis_size(self.name)
        except NameError:
            msg = (
                'A loss with `gather` "ring" must be differentiated inside `vmap` over '
                f"its axis, {self.name!r}; got `vmap` inside a gradient."
            )
            raise NotImplementedError(msg) from None

    def _passed(self, record: Any) -> Any:
        """Return what the device behind this one has; this one's goes to that before.

        A record may be empty.
        """
        pairs = [(i, (i - 1) % self.size) for i in range(self.size)]
        return jax.tree.map(lambda x: jax.lax.ppermute(x, self.name, pairs), record)


def _alike(visitor: Any, *records: Any) -> tuple[Any, ...]:
    """Return records that vary over the mesh axes that a visitor varies over.

    A scan wants what it carries to vary alike before and after a step.
    """
    first, *_ = jax.tree.leaves(visitor)
    zero = jnp.zeros_like(first, shape=())
    return jax.tree.map(lambda x: x + zero.astype(x.dtype), records)


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
