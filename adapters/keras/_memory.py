"""A memory of batches for the losses of Keras, on each of its backends.

The module is long, as each backend keeps a memory in its own way.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops
from metricops.adapters._modules import check_memory

from metricops import _checks

from ._base import EmbeddingLoss, Loss, Reduction
from ._inputs import held, tensor

_GROWS = "A memory grows, but {} compiles for one size: compile the model with {}."
_NOTHING: dict[str, Any] = {"embeddings": [], "labels": [], "dtypes": []}
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

    Keras tells a loss nothing of whether it trains: ``model.evaluate``, also that of
    ``fit`` with validation data, compares with the memory and puts its batches there.
    After it, `clear` empties the memory, by a callback in ``fit``:
    ``keras.callbacks.LambdaCallback(on_test_end=lambda logs: loss.clear())``.

    Parameters
    ----------
    loss : keras.losses.Loss
        A loss of embeddings with labels against candidates, of this package, such as
        `TripletLoss`.
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
            need = "a loss of embeddings with labels that takes candidates"
            msg = f"`loss` must be {need}; got {loss!r}."
            raise TypeError(msg)
        if loss.gather:
            msg = (
                "`loss` must have gather=False, as each replica has a memory; got True."
            )
            raise ValueError(msg)
        self.loss = loss
        self.memory_size = _checks.check_positive_int("memory_size", memory_size)
        self.warmup_steps = _checks.check_int("warmup_steps", warmup_steps)
        if self.warmup_steps < 0:
            _checks.refuse_value("warmup_steps", "at least 0", warmup_steps)
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
        labels = _widened(_column(held("y_true", y_true)))
        # What traces shapes may have labels of another dtype.
        traced, before = _traces_shapes(), (y_pred[:0], labels[:0])
        if not traced:
            before = self._memory.held(y_pred, labels, self.memory_size)
        _check_alike(y_pred, labels, *before)
        both = zip((y_pred, labels), before, strict=True)
        every, theirs = (ops.concatenate(x)[: self.memory_size] for x in both)
        given = {"sample_weight": sample_weight, "reduction": reduction}
        loss = self.loss.among(every, theirs, labels, y_pred, **given)
        if not traced:
            self._memory.keep(every, theirs, self.memory_size, self.warmup_steps)
        return loss

    def clear(self) -> None:
        """Forget all embeddings: the next batch is compared with itself alone."""
        self._memory.clear()

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

    def held(self, embeddings: Any, labels: Any, size: int) -> tuple[Any, Any]:
        """Return what is held, in the form of a batch; of no rows if nothing is."""
        if self.embeddings is None:
            return embeddings[:0], labels[:0]
        return tensor(self.embeddings), tensor(self.labels)

    def keep(self, embeddings: Any, labels: Any, size: int, warmup: int) -> None:
        """Hold embeddings and labels, or nothing while warming up."""
        self.steps += 1
        if self.steps > warmup:
            self.embeddings, self.labels = ops.stop_gradient(embeddings), labels

    def clear(self) -> None:
        """Hold nothing; the steps go on."""
        self.embeddings = self.labels = None

    def saved(self) -> dict[str, Any] | None:
        """Return what is held as lists, or None where nothing was called."""
        steps = int(self.steps)
        if self.embeddings is None:
            return {**_NOTHING, "steps": steps} if steps else None
        embeddings, labels = (
            np.asarray(ops.convert_to_numpy(x)) for x in (self.embeddings, self.labels)
        )
        if not len(labels):
            return {**_NOTHING, "steps": steps} if steps else None
        return {
            "embeddings": embeddings.tolist(),
            "labels": labels.tolist(),
            "dtypes": [embeddings.dtype.name, labels.dtype.name],
            "steps": steps,
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Hold what was saved."""
        self.steps = saved["steps"]
        if saved["labels"]:
            of_embeddings, of_labels = saved["dtypes"]
            self.embeddings = tensor(np.asarray(saved["embeddings"], of_embeddings))
            labels = held("memory", np.asarray(saved["labels"], of_labels))
            self.labels = _widened(labels)


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

    def held(self, embeddings: Any, labels: Any, size: int) -> tuple[Any, Any]:
        import tensorflow as tf

        if self.embeddings is None:
            with tf.init_scope():
                made = [
                    _variable(np.zeros((0, *x.shape[1:]), x.dtype.as_numpy_dtype))
                    for x in (embeddings, labels)
                ]
                steps = _variable(np.asarray(self.steps, np.int64))
            if self.embeddings is None:  # else another replica was faster
                (self.embeddings, self.labels), self.steps = made, steps
        # A graph does not know the size of a batch before it runs.
        need = "`memory_size` must be at least the size of a batch."
        check = tf.debugging.assert_less_equal(tf.shape(embeddings)[0], size, need)
        with tf.control_dependencies([] if check is None else [check]):
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

    def saved(self) -> dict[str, Any] | None:
        if self.embeddings is None:
            return super().saved()
        import tensorflow as tf

        read = _Memory()  # of the first replica
        read.embeddings, read.labels, read.steps = map(
            tf.convert_to_tensor, (self.embeddings, self.labels, self.steps)
        )
        return read.saved()

    def clear(self) -> None:
        if self.embeddings is not None:  # graphs keep the variables
            self.embeddings.assign(self.embeddings[:0])
            self.labels.assign(self.labels[:0])

    def restore(self, saved: Mapping[str, Any]) -> None:
        super().restore(saved)
        if self.embeddings is None:
            return
        self.embeddings, self.labels = map(_variable, (self.embeddings, self.labels))
        self.steps = _variable(np.asarray(self.steps, np.int64))


def _column(labels: Any) -> Any:
    """Return labels of shape (n,) or (n, 1) in shape (n,)."""
    shape = tuple(labels.shape)
    if len(shape) not in (1, 2) or shape[1:] not in ((), (1,), (None,)):
        _checks.refuse_shape("y_true", "shape (n,) or (n, 1)", shape)
    return ops.reshape(labels, (-1,))


def _widened(labels: Any) -> Any:
    """Return integers in the widest dtype of the backend, so that any two meet."""
    wide = "int32" if keras.config.backend() == "jax" else "int64"
    narrow = ("int8", "uint8", "int16", "uint16", "int32")
    dtype = keras.backend.standardize_dtype(labels.dtype)
    return ops.cast(labels, wide) if dtype in narrow else labels


def _check_alike(y_pred: Any, labels: Any, embeddings: Any, others: Any) -> None:
    """Raise unless a batch goes with what the memory holds."""
    shape, width = tuple(y_pred.shape), embeddings.shape[-1]
    if shape[1:] != (width,):
        need = f"shape (n, {width}), as in the memory"
        _checks.refuse_shape("y_pred", need, shape)
    given, dtype = (keras.backend.standardize_dtype(x.dtype) for x in (labels, others))
    if given != dtype:
        _checks.refuse_dtype("y_true", f"of dtype {dtype}, as in the memory", given)


def _traces_shapes() -> bool:
    """Return whether Keras looks for shapes alone, with numbers that mean nothing."""
    with keras.SymbolicScope() as scope:
        return scope.original_scope is not None


def _variable(value: Any) -> Any:
    """Return a variable of any number of rows, of each replica of a strategy."""
    import tensorflow as tf

    return tf.Variable(
        value,
        shape=[None, *value.shape[1:]] if len(value.shape) else (),
        trainable=False,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
