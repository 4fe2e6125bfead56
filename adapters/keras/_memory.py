"""A memory of batches for the losses of Keras, on each of its backends.

The module is long, as each backend keeps a memory in its own way.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops
from metricops.adapters._embedding_loss import check_memory

from ._base import EmbeddingLoss, Loss, Reduction
from ._inputs import tensor

_GROWS = "A memory grows, but {} compiles for one size: compile the model with {}."
_register = keras.saving.register_keras_serializable


@_register(package="metricops")
class CrossBatchMemory(Loss):
    """A loss of a batch against itself and the embeddings of batches before it [1]_.

    ``tensorflow_similarity.losses.XBM`` is the same. `y_true` holds the labels, of
    shape (n,) or (n, 1), and `y_pred` the embeddings, of shape (n, d). Embeddings in
    the memory are constants; they come behind those of the batch. The memory starts
    empty, and is part of the config, so that it is saved with a compiled model.

    The memory grows, and XLA compiles a step for arrays of one size. So compile the
    model with ``jit_compile=False``, as Keras does by itself for PyTorch and, where
    there is no GPU, for TensorFlow. On JAX every step is compiled but with
    ``run_eagerly=True``, which it needs there. Any other step is refused.

    Parameters
    ----------
    loss : keras.losses.Loss
        A loss of embeddings with labels, of this package, such as `TripletLoss`.
    memory_size : int
        How many embeddings to hold, those of the batch among them.
    warmup_steps : int
        For how many calls the loss is of the batch alone, and the memory stays empty:
        at first embeddings change too fast to be remembered.
    reduction, name, dtype
        As in `CosineSimilarity`; the reduction is in place of that of `loss`.

    References
    ----------
    .. [1] X. Wang, H. Zhang, W. Huang, M. R. Scott, "Cross-Batch Memory for Embedding
       Learning", CVPR 2020, section 3.3.

    Examples
    --------
    >>> from metricops.adapters.keras import CrossBatchMemory, TripletEmbeddingLoss
    >>> loss = CrossBatchMemory(TripletEmbeddingLoss(), memory_size=4)
    >>> float(loss([7], [[0.0, 0.0]])), float(loss([8], [[0.5, 0.0]]))
    (0.0, 0.0)
    >>> round(float(loss([7], [[0.0, 0.25]])), 4)
    0.691
    """

    def __init__(
        self,
        loss: Any,
        memory_size: int,
        warmup_steps: int = 0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        if not isinstance(loss, EmbeddingLoss):
            msg = f"`loss` must be a loss of embeddings with labels; got {loss!r}."
            raise TypeError(msg)
        if loss.gather:
            msg = (
                "`loss` must have gather=False, as each replica has a memory; got True."
            )
            raise ValueError(msg)
        self.loss = loss
        self.memory_size = memory_size
        self.warmup_steps = warmup_steps
        kinds: dict[str, type[_Memory]] = {"tensorflow": _Variables, "jax": _OnHost}
        self._memory = kinds.get(keras.config.backend(), _Memory)()

    def call(
        self,
        y_true: Any,
        y_pred: Any,
        sample_weight: Any = None,
        reduction: Reduction = "none",
    ) -> Any:
        """Return the losses of the anchors, of shape (n,), or their mean."""
        if y_pred.shape[0] is not None:
            check_memory(self.memory_size, y_pred.shape[0])
        labels = ops.reshape(tensor(y_true), (-1,))
        held = self._memory.held(y_pred, labels)
        both = zip((y_pred, labels), held, strict=True)
        every, theirs = (ops.concatenate(x)[: self.memory_size] for x in both)
        self._memory.keep(every, theirs, self.memory_size, self.warmup_steps)
        given = {"sample_weight": sample_weight, "reduction": reduction}
        return self.loss.among(every, theirs, labels, y_pred, **given)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this loss again, and the memory."""
        return {
            **super().get_config(),
            "loss": keras.saving.serialize_keras_object(self.loss),
            "memory_size": self.memory_size,
            "warmup_steps": self.warmup_steps,
            "memory": self._memory.saved(),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "CrossBatchMemory":
        """Return the loss of a config, with what it remembers."""
        given = {
            **config,
            "loss": keras.saving.deserialize_keras_object(config["loss"]),
        }
        memory = given.pop("memory", None)
        found = cls(**given)
        if memory is not None:
            found._memory.restore(memory)
        return found


XBM = CrossBatchMemory
"""The name in TensorFlow Similarity."""


class _Memory:
    """Embeddings and labels of batches before, and how many there were: in tensors."""

    def __init__(self) -> None:
        self.embeddings: Any = None  # None where nothing is held
        self.labels: Any = None
        self.steps: Any = 0

    def held(self, embeddings: Any, labels: Any) -> tuple[Any, Any]:
        """Return what is held, in the form of a batch; of no rows if nothing is."""
        if self.embeddings is None:
            return embeddings[:0], labels[:0]
        return tensor(self.embeddings), tensor(self.labels)

    def keep(self, embeddings: Any, labels: Any, size: int, warmup: int) -> None:
        """Hold embeddings and labels, or nothing while warming up."""
        self.steps += 1
        if self.steps > warmup:
            self.embeddings, self.labels = ops.stop_gradient(embeddings), labels

    def saved(self) -> dict[str, Any] | None:
        """Return what is held as lists."""
        if self.embeddings is None:
            return None
        embeddings, labels = (
            np.asarray(ops.convert_to_numpy(x)) for x in (self.embeddings, self.labels)
        )
        return {
            "embeddings": embeddings.tolist(),
            "labels": labels.tolist(),
            "dtypes": [embeddings.dtype.name, labels.dtype.name],
            "steps": int(self.steps),
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Hold what was saved."""
        of_embeddings, of_labels = saved["dtypes"]
        self.embeddings = tensor(np.asarray(saved["embeddings"], of_embeddings))
        self.labels = tensor(np.asarray(saved["labels"], of_labels))
        self.steps = saved["steps"]


class _OnHost(_Memory):
    """A memory in NumPy arrays, as JAX traces what it differentiates."""

    def keep(self, embeddings: Any, labels: Any, size: int, warmup: int) -> None:
        import jax

        seen: list[Any] = []
        called = [True]

        def see(*arrays: Any) -> None:
            if not called:  # by a compiled step, long after this call
                raise NotImplementedError(_GROWS.format("JAX", "run_eagerly=True"))
            seen.extend(np.array(x) for x in arrays)

        jax.debug.callback(see, embeddings, labels)
        jax.effects_barrier()
        called.clear()
        if seen:  # else shapes alone are traced
            self.steps += 1
            if self.steps > warmup:
                self.embeddings, self.labels = seen


class _Variables(_Memory):
    """A memory in variables of TensorFlow, as a graph keeps nothing else."""

    def held(self, embeddings: Any, labels: Any) -> tuple[Any, Any]:
        import tensorflow as tf

        if self.embeddings is None:
            with tf.init_scope():
                self.embeddings, self.labels = (
                    _variable(np.zeros((0, *x.shape[1:]), x.dtype.as_numpy_dtype))
                    for x in (embeddings, labels)
                )
                self.steps = tf.Variable(self.steps, trainable=False, dtype="int64")
        return self.embeddings.value(), self.labels.value()

    def keep(self, embeddings: Any, labels: Any, size: int, warmup: int) -> None:
        import tensorflow as tf

        from metricops._frameworks.tensorflow.private import in_xla

        if in_xla():
            raise NotImplementedError(_GROWS.format("XLA", "jit_compile=False"))
        steps = self.steps.assign_add(1)
        count = tf.where(steps > warmup, size, 0)
        self.embeddings.assign(tf.stop_gradient(embeddings)[:count])
        self.labels.assign(labels[:count])

    def restore(self, saved: Mapping[str, Any]) -> None:
        super().restore(saved)
        import tensorflow as tf

        self.embeddings, self.labels = map(_variable, (self.embeddings, self.labels))
        self.steps = tf.Variable(self.steps, trainable=False, dtype="int64")


def _variable(value: Any) -> Any:
    """Return a variable of any number of rows."""
    import tensorflow as tf

    shape = [None, *value.shape[1:]]
    return tf.Variable(value, shape=shape, trainable=False)
