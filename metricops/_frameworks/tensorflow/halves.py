"""Products of halves whose results are float32, which XLA has on a GPU or TPU.

TensorFlow's own kernels have none, and those of processors round. What is traced is
compiled for the devices that there are, so the choice is made while it is traced. A
panel of float16 is scaled such that its largest number is 2**14, as in the other
frameworks.
"""

from functools import cache
from typing import Any

import tensorflow as tf

from metricops._frameworks.library import Library
from metricops._frameworks.operands import parts_of
from metricops._frameworks.tensorflow import namespace, private
from metricops._typing import Array

_LARGEST = 14  # the exponent of the largest number of a panel in float16
_NARROW = (tf.float16, tf.bfloat16)


@cache
def is_accelerated() -> bool:
    """Return whether there is another device than processors."""
    kinds = {device.device_type for device in tf.config.list_logical_devices()}
    return bool(kinds & {"GPU", "TPU"})


def operands(x: Array, y: Array, normalize: bool) -> str:
    """Return the half in which to multiply two sides, "" for none."""
    if x.dtype not in _NARROW or y.dtype != x.dtype:
        return ""
    if not private.in_xla() or not is_accelerated():
        return ""
    return "float16" if normalize else str(x.dtype.name)


class HalfProducts(Library):
    """The products of a library whose sides are in a half."""

    def __init__(self, half: str) -> None:
        super().__init__(namespace, "TensorFlow")
        self.halves = half
        self.scored, self.panels = map(tf.as_dtype, parts_of(half))

    def rounds_products(self, x: Array) -> bool:
        """Return False: TF32 holds all digits of a half."""
        return False

    def wide(self, x: Array) -> Array:
        """Return a half in float32; others as they are."""
        return tf.cast(x, tf.float32) if x.dtype in _NARROW else x

    def wide_dtype(self, x: Array) -> Any:
        """Return float32."""
        return tf.float32

    def scores(self, x: Array, y: Array, scale: Array | float) -> Array:
        """Return ``x @ y * scale``, scaled in float32."""
        x, y = (tf.cast(z, self.scored) for z in (x, y))
        return self._product(x, y) * scale

    def lost(self, x: Array) -> Array:
        """Return what vectors lose where they are rounded to the half."""
        return x - tf.cast(tf.cast(x, self.scored), x.dtype)

    def product(self, x: Array, y: Array) -> Array:
        """Return the matrix product in float32."""
        (x, first), (y, second) = self._narrowed(x), self._narrowed(y)
        return self._product(x, y) * first * second

    def pair_product(self, x: Array, y: Array) -> Array:
        """Return the product of two matrices, whose gradients are such products."""
        # A custom gradient would lose a tangent.
        if not private.is_complete() or private.has_tangent([x, y]):
            return super().product(self.wide(x), self.wide(y))

        @tf.custom_gradient
        def run(x: Array, y: Array) -> Any:
            def pull(upstream: Array) -> tuple[Array, Array]:
                columns, rows = map(tf.linalg.matrix_transpose, (x, y))
                panel, back = self._scaled(upstream)
                of_x = self.pair_product(panel, rows) * back
                of_y = self.pair_product(columns, panel) * back
                return tf.cast(of_x, x.dtype), tf.cast(of_y, y.dtype)

            return self.scores(x, y, 1.0), pull

        found: Array = run(x, y)
        return found

    def _product(self, x: Array, y: Array) -> Array:
        return tf.linalg.matmul(x, y, output_type=tf.float32)

    def _narrowed(self, x: Array) -> tuple[Array, Array | float]:
        """Return an array in the half, and what to multiply the product by."""
        if x.dtype == self.panels:
            return x, 1.0
        x, back = self._scaled(x)
        return tf.cast(x, self.panels), back

    def _scaled(self, x: Array) -> tuple[Array, Array | float]:
        """Return an array that suits the half, and what to multiply products by."""
        if self.panels == tf.bfloat16:
            return x, 1.0
        x = tf.cast(x, tf.float32)
        power = _power(tf.reduce_max(tf.abs(x)))
        return x * (2.0**_LARGEST / power), power * 2.0**-_LARGEST


def _power(x: Array) -> Array:
    """Return the power of 2 that is next below a number, from 2**-100 to 2**100.

    Infinity and NaN count as 2**14.
    """
    x = tf.where(tf.math.is_finite(x), x, 2.0**_LARGEST)
    x = tf.clip_by_value(x, 2.0**-100, 2.0**100)
    bits = tf.bitwise.bitwise_and(tf.bitcast(x, tf.int32), 0x7F800000)
    return tf.bitcast(bits, tf.float32)


class Widened(HalfProducts):
    """The same, where each step is differentiated: halves are widened."""

    def lost(self, x: Array) -> Array:
        """Return 0."""
        return tf.zeros_like(x)

    def _product(self, x: Array, y: Array) -> Array:
        return tf.cast(x, tf.float32) @ tf.cast(y, tf.float32)
