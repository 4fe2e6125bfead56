"""TensorFlow: the largest of many, and what a search does again in a loop."""

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from metricops._frameworks.operations import Arrays
from metricops._frameworks.tensorflow.distances import pulled
from metricops._typing import Array

_AGAIN = 16  # rows that are done again at a time


def largest(x: Array, k: int) -> tuple[Array, Array]:
    """Return the `k` largest of each row and their columns, ties by column."""
    # Halves leave room between the least number and minus infinity. To XLA -0 is not 0.
    ranks = tf.maximum(tf.stop_gradient(x) / 2, x.dtype.min)
    ranks = tf.where(ranks == 0, tf.zeros_like(ranks), ranks)
    least = tf.fill(tf.shape(x), tf.cast(-math.inf, x.dtype))
    _, columns = tf.math.top_k(tf.where(tf.math.is_nan(x), least, ranks), k)
    return tf.gather(x, columns, axis=1, batch_dims=1), columns


def redone(
    right: Array, function: Callable[[Array], Arrays], rows: Array, found: Arrays
) -> Arrays:
    """Return what was `found`, with the rows that are not `right` done again."""
    size = rows.shape[0]
    count = tf.minimum(_AGAIN, tf.shape(rows)[0]) if size is None else min(_AGAIN, size)

    def step(wrong: Array, *found: Array) -> Any:
        _, places = tf.math.top_k(tf.cast(wrong, tf.float32), count)
        new = function(tf.gather(rows, places))
        done = (wrong, tf.zeros_like(places, tf.bool)), *zip(found, new, strict=True)
        return [tf.tensor_scatter_nd_update(x, places[:, None], y) for x, y in done]

    _, *result = tf.while_loop(
        lambda wrong, *_: tf.reduce_any(wrong),
        step,
        [tf.logical_not(right), *found],
        parallel_iterations=1,
    )
    return tuple(result)


def derived(function: Callable[..., Array], value: Array, arrays: Arrays) -> Array:
    """Return `value`, with the derivatives of ``function(*arrays)``."""
    given = [x for x in arrays if x.dtype.is_floating]

    @tf.custom_gradient
    def run(*given: Array) -> Any:
        def again(*given: Array) -> Array:
            own = iter(given)
            return function(*(next(own) if x.dtype.is_floating else x for x in arrays))

        def pull(upstream: Array) -> Any:
            return pulled(again, given, (upstream,))

        return tf.identity(value), pull

    return run(*given)
