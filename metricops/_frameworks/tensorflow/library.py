"""TensorFlow: custom gradients, sizes unknown while tracing, and loops in graphs.

The module is long, as one class says all that TensorFlow does in another way.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from metricops._checks import Shape, refuse_value
from metricops._frameworks.distances import root_by_one
from metricops._frameworks.dtypes import LONG_DOUBLES
from metricops._frameworks.library import Library
from metricops._frameworks.loops import Loops
from metricops._frameworks.operands import HALVES as WORDS
from metricops._frameworks.operations import Arrays, Operation
from metricops._frameworks.primitives import CrossEntropy, of_width_two
from metricops._frameworks.records import each
from metricops._frameworks.tensorflow import (
    distances,
    gradients,
    halves,
    namespace,
    private,
    searches,
)
from metricops._frameworks.tensorflow.loops import Stepwise, WhileLoops
from metricops._typing import Array


def _row_losses(scores: Array, columns: Array) -> Array:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(columns, scores)


def _row_slopes(scores: Array, columns: Array) -> tuple[Array, Array]:
    losses, error = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(
        features=scores, labels=columns
    )
    return losses, error


class TensorFlow(Library):
    """TensorFlow tensors, eager and symbolic."""

    looping: type[Loops] = WhileLoops
    converts = True
    panel = 2**20  # XLA holds several panels at once
    ring = 512
    has_halves = True

    def convert(self, name: str, x: Array) -> Array:
        """Return the tensor in the variable `x`."""
        tensor = tf.convert_to_tensor(x)
        if tensor.shape.rank is None:
            refuse_value(name, "of a known number of dimensions", tensor.shape)
        return tensor

    def default_float(self, like: Array) -> Any:
        """Return the dtype that integers become."""
        return tf.float32

    def host_dtype(self, name: str, like: Array) -> str:
        """Return the name of the dtype in which a NumPy array becomes a tensor."""
        return "float64" if name in LONG_DOUBLES else name

    def dtype_called(self, name: str) -> Any:
        """Return the dtype called `name`."""
        return tf.as_dtype(name)

    def shape(self, x: Array) -> Shape:
        """Return the shape of `x`, None where a size is unknown."""
        return tuple(x.shape)

    def size(self, x: Array, axis: int) -> Any:
        """Return the size of an axis, as a tensor where it is unknown."""
        known = x.shape[axis]
        return tf.shape(x)[axis] if known is None else known

    def agree(
        self, x: Array, axis: int, other: Array, other_axis: int, need: str
    ) -> Array:
        """Return `x`, checked at run time where a size is unknown while tracing."""
        if None not in (x.shape[axis], other.shape[other_axis]):
            return x
        # Both checks are needed: XLA drops the assertion but checks the reshape, and a
        # graph without XLA runs the assertion but does not check the reshape.
        expected = self.size(other, other_axis)
        check = tf.debugging.assert_equal(self.size(x, axis), expected, message=need)
        with tf.control_dependencies([] if check is None else [check]):
            sizes = [self.size(x, i) for i in range(x.shape.rank)]
            sizes[axis] = expected
            result = tf.reshape(x, sizes)
        result.set_shape(
            x.shape.merge_with(_with_size(x, axis, other.shape[other_axis]))
        )
        return result

    def cover(self, x: Array, other: Array, need: str) -> Array:
        """Return `x`, checked at run time to have as many rows as `other` or more."""
        if None not in (x.shape[0], other.shape[0]):
            return x
        head, tail = self.split(x, other)
        return (
            x
            if tail is None
            else tf.concat([self.agree(head, 0, other, 0, need), tail], 0)
        )

    def asarray(self, value: Any, like: Array, dtype: Any = None) -> Array:
        """Return a number or NumPy array as a tensor."""
        if dtype is not None and isinstance(value, np.ndarray):
            value = value.astype(dtype.as_numpy_dtype)
        return tf.convert_to_tensor(value, dtype=dtype)

    def stop_gradient(self, x: Array) -> Array:
        """Return `x` as a constant to autodiff."""
        return tf.stop_gradient(x)

    def count(self, x: Array) -> Any:
        """Return the number of rows of `x`, at least 1, to divide by."""
        if x.shape[0] is not None:
            return super().count(x)
        return tf.cast(tf.maximum(self.size(x, 0), 1), x.dtype)

    def block(
        self, anchors: Array, candidates: Array, *, paired: bool = False
    ) -> int | None:
        """Return how many anchors a panel should hold."""
        if candidates.shape[0] is None:
            return 256
        if halves.is_accelerated():
            return self.device_block(2**26, candidates)
        return super().block(anchors, candidates)

    def fits_both_directions(self) -> bool:
        """Return whether panels by position are as tall for both directions as for one.

        XLA holds no more for both then, and they take 0.75 to 0.9 of the time.
        """
        return not halves.is_accelerated()

    def distances_block(self, x: Array, y: Array) -> int | None:
        """Return how many rows a panel of distances should hold."""
        return self._tall_block(2**22, x, y)

    def search_block(self, queries: Array, keys: Array) -> int | None:
        """Return how many queries a panel of a search should hold."""
        return self._tall_block(2**23, queries, keys)

    def _tall_block(self, panel: int, x: Array, y: Array) -> int | None:
        """Return how many rows a panel of so many numbers should hold.

        On a processor a product of few rows takes twice as long for each.
        """
        if y.shape[0] is None or halves.is_accelerated() or private.in_xla():
            return self.block(x, y)
        return max(panel // max(y.shape[0], 1), 64)

    def operands(self, x: Array, y: Array, normalize: bool) -> str:
        """Return the half that two sides are to be multiplied in, "" for none."""
        return halves.operands(x, y, normalize)

    def multiplying(self, half: str) -> Library:
        """Return the library whose products take their sides in a half."""
        return _HALVES[half] if half else self

    def cross_entropy(self, scores: Array) -> CrossEntropy:
        """Return what there is for the cross-entropy of rows of such scores."""
        # There may be no columns, which they refuse. In a graph the formula's own steps
        # take half to nine tenths of the time, as their buffers are used again.
        if not scores.shape[1] or not tf.executing_eagerly():
            return CrossEntropy()
        return CrossEntropy(None, _row_losses, _row_slopes)

    def several(self, x: Array, block: int | None) -> bool:
        """Return whether the rows of `x` may be several panels."""
        return x.shape[0] is None or super().several(x, block)

    def softplus(self, x: Array) -> Array:
        """Return log(1 + exp(x)), of any x."""
        return tf.nn.softplus(x)

    def root(self, x: Array) -> Array:
        """Return the roots of positive numbers, with derivatives of every order."""
        return root_by_one(self, x)

    def sigmoid(self, x: Array) -> Array:
        """Return 1 / (1 + exp(-x)), of any x."""
        return tf.sigmoid(x)

    def product(self, x: Array, y: Array) -> Array:
        """Return the matrix product of two arrays of one dtype, in that dtype."""
        x, y = of_width_two(self.xp, x, y) if x.shape[-1] == 1 else (x, y)
        return x @ y

    def widened_product(self, x: Array, y: Array, dtype: Any) -> Array:
        """Return the product of halves in float32, of halves as they are in XLA."""
        half = self.operands(x, y, normalize=False)
        if not half:
            return super().widened_product(x, y, dtype)
        return self.multiplying(half).pair_product(x, y)

    def positions(self, x: Array, axis: int, name: str) -> Array:
        """Return 0, 1, ... along an axis of `x`."""
        return tf.range(self.size(x, axis))

    def split(self, x: Array, like: Array) -> tuple[Array, Array | None]:
        """Return the first rows of `x`, as many as `like` has, and the rest if any."""
        if None not in (x.shape[0], like.shape[0]):
            return super().split(x, like)
        count = self.size(like, 0)
        return x[:count], x[count:]

    def first_column(self, x: Array) -> Array:
        """Return the first column of a matrix; zeros where it has no columns."""
        return tf.pad(x, [[0, 0], [0, 1]])[:, 0]

    def only_column(self, x: Array, need: str) -> Array:
        """Return the only column of a matrix, whose width is checked at run time."""
        one = tf.zeros((1, 1), x.dtype)
        return self.agree(x, 1, one, 1, need)[:, 0]

    def pick(self, x: Array, columns: Array) -> Array:
        """Return one column of each row of the matrix `x`, shape (n, 1)."""
        return tf.gather(x, columns[:, None], axis=1, batch_dims=1)

    def put(self, x: Array, columns: Array, value: Any) -> Array:
        """Return `x` with one column of each row replaced, by a number or by (n,)."""
        if not (self.puts_in_place() and x.dtype.is_floating):
            return super().put(x, columns, value)
        rows = tf.cast(tf.range(tf.size(columns)), columns.dtype)
        places = tf.stack([rows, columns], axis=1)
        value = tf.broadcast_to(tf.cast(value, x.dtype), tf.shape(columns))
        return tf.tensor_scatter_nd_update(x, places, value)

    def put_own(self, x: Array, places: Array, value: Any) -> Array:
        """Return `x` with a number where each row meets itself, as one diagonal."""
        if private.in_xla():  # which must know where a diagonal begins
            return self.put(x, places, value)
        first = tf.reduce_sum(places[:1])  # 0 without rows
        value = tf.fill(tf.shape(places), tf.cast(value, x.dtype))
        return tf.linalg.set_diag(x, value, k=tf.cast(first, tf.int32))

    def puts_in_place(self) -> bool:
        """Return whether a graph may write into a panel that nothing else reads.

        XLA would rather write it anew, in one pass with what is next.
        """
        return not (tf.executing_eagerly() or private.in_xla())

    def fuses(self) -> bool:
        """Return whether XLA compiles what is done."""
        return private.in_xla()

    def gather(self, x: Array, indices: Array) -> Array:
        """Return the entries, or rows, of `x` at a matrix of indices."""
        # The gradient of `tf.gather` would be no tensor, but `tf.IndexedSlices`.
        return tf.gather_nd(x, indices[..., None])

    def rows(self, x: Array, indices: Array) -> Array:
        """Return the rows of the matrix `x` at a vector of indices."""
        return tf.gather(x, indices)

    def columns(self, x: Array, indices: Array) -> Array:
        """Return the columns of the matrix `x` at a vector of indices."""
        return tf.gather(x, indices, axis=1)

    def first_equals(self, x: Array) -> Array:
        """Return for each number in `x` the place of the first that equals it."""
        order = tf.argsort(x, stable=True)
        return tf.gather(order, tf.searchsorted(tf.gather(x, order), x))

    def running_log_sums(self, x: Array) -> Array:
        """Return the logarithms of the cumulative sums of exp(x) along each row."""
        return tf.math.cumulative_logsumexp(x, axis=1)

    def largest(self, x: Array, k: int) -> tuple[Array, Array]:
        """Return the `k` largest of each row and their columns, ties by column."""
        return searches.largest(x, k)

    def top(self, x: Array, k: int) -> tuple[Array, Array]:
        """Return the `k` largest of each row of constants, and their columns."""
        values, columns = tf.math.top_k(x, k)
        return values, columns

    def dots(self, x: Array, y: Array, axis: int) -> Array:
        """Return the sums of the products of two matrices along an axis."""
        if axis == -1 and y.shape.rank == 3 and y.shape[1] == 1:
            # Without an array of the products.
            return tf.linalg.matvec(x, y[:, 0, :])
        return super().dots(x, y, axis)

    def exact_dtype(self, x: Array) -> Any:
        """Return float64."""
        return tf.float64 if x.dtype == tf.float32 else x.dtype

    def redone(
        self,
        right: Array,
        function: Callable[[Array], Arrays],
        rows: Array,
        found: Arrays,
    ) -> Arrays:
        """Return what was `found`, with the rows that are not `right` done again."""
        return searches.redone(right, function, rows, found)

    def derived(
        self, value: Array, function: Callable[..., Array], arrays: Arrays
    ) -> Array:
        """Return `value`, with the derivatives of ``function(self, *arrays)``."""
        return searches.derived(partial(function, self), value, arrays)

    def narrowed(self, x: Array, dtype: Any, root: bool, narrow: Array) -> Array:
        """Return `x`, or with `root` its square root, in `dtype`."""
        if not root or private.in_xla():
            return super().narrowed(x, dtype, root, narrow)
        wide = partial(super().narrowed, x, dtype, root, narrow)
        return self.when(narrow, lambda: tf.sqrt(tf.cast(x, dtype)), wide)

    def rounds_products(self, x: Array) -> bool:
        """Return whether there is a device that multiplies float32 as TF32."""
        allowed = tf.config.experimental.tensor_float_32_execution_enabled()
        return bool(x.dtype == tf.float32 and allowed and halves.is_accelerated())

    def constant(self, function: Callable[..., Any], config: Any, *arrays: Any) -> Any:
        """Return ``function(self, config, *arrays)``, which no tape records."""
        fixed = [each(record, tf.stop_gradient) for record in arrays]
        return function(self, config, *fixed)

    def when(self, some: Array, yes: Any, no: Any) -> Any:
        """Return ``yes()`` if `some` is true, else ``no()``; their shapes are equal."""
        return distances.when(some, yes, no)

    def shortcut(self, short: Any, exact: Any, arrays: Arrays) -> tuple[Array, ...]:
        """Return ``exact(lib, *arrays)``, by `short`."""
        return distances.shortcut(self, short, exact, arrays)

    def differentiable(
        self, operation: Operation, config: Any, arrays: Arrays, constants: Arrays
    ) -> Array:
        """Return the value of `operation`, with its gradient."""
        constants = tuple(None if x is None else _kept(x) for x in constants)
        return gradients.differentiable(
            gradients.Call(self, _BY_STEP, operation, config, arrays, constants)
        )


def _kept(x: Array) -> Array:
    """Return `x`; in a graph, an empty one as no constant.

    Where TensorFlow's optimizer gathers the constant factors of a product, it divides
    by the number of entries of an empty one, and the process ends.
    """
    if tf.executing_eagerly() or 0 not in x.shape:
        return x
    return tf.raw_ops.PlaceholderWithDefault(input=x, shape=x.shape)


def _with_size(x: Array, axis: int, size: int | None) -> list[int | None]:
    shape = list(x.shape)
    shape[axis] = size
    return shape


class _ByStep(TensorFlow):
    """TensorFlow without loops in graphs, where autodiff goes through each step."""

    looping = Stepwise

    def recorded(self, x: Array) -> bool:
        """Return True."""
        return True

    def puts_in_place(self) -> bool:
        """Return False."""
        return False

    def multiplying(self, half: str) -> Library:
        """Return the library that widens halves."""
        return _HALVES_BY_STEP[half] if half else self

    def cross_entropy(self, scores: Array) -> CrossEntropy:
        """Return nothing, as it would be chosen by a look."""
        return CrossEntropy()

    def running_log_sums(self, x: Array) -> Array:
        """Return the logarithms of the cumulative sums of exp(x) along each row.

        An accumulator over TensorFlow's gradient of them gives NaN where the first
        entries are minus infinity.
        """
        if x.shape[1] is None:
            return super().running_log_sums(x)
        return Library.running_log_sums(self, x)

    def times(self, x: Array, y: Array) -> Array:
        """Return ``x * y``, with a tangent of 0 where `x` is infinite.

        An accumulator adds x times the tangent of y, which is 0 of a number.
        """
        infinite = tf.math.is_inf(x)
        fixed = tf.stop_gradient(x * y)
        return tf.where(infinite, fixed, tf.where(infinite, tf.zeros_like(x), x) * y)


class _Halves(halves.HalfProducts, TensorFlow):
    """TensorFlow, whose products take halves."""


class _HalvesByStep(halves.Widened, _ByStep):
    """The same without loops in graphs."""


TENSORFLOW = TensorFlow(namespace, "TensorFlow")
_BY_STEP = _ByStep(namespace, "TensorFlow")
_HALVES = {half: _Halves(half) for half in WORDS}
_HALVES_BY_STEP = {half: _HalvesByStep(half) for half in WORDS}
