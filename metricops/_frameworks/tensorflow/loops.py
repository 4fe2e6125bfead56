"""Loops over panels: in a graph while loops, and eagerly those of Python.

The results of a loop in a graph are gathered in TensorFlow's lists.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from metricops._frameworks.loops import Body, Loops, Meetings
from metricops._frameworks.records import each, leaves, refilled
from metricops._frameworks.tensorflow import private, sweeping
from metricops._typing import Array


class WhileLoops(Loops):
    """Loops that are one operation in a graph."""

    def fold(
        self, body: Body, rows: Any, consts: Any, block: int | None
    ) -> tuple[Any, Any]:
        """Run `body` over panels."""
        leading = leaves(rows)[0]
        total = leading.shape[0]
        if block is None or (total is not None and block >= total):
            return body(None, rows, consts)
        if tf.executing_eagerly():
            return super().fold(body, rows, consts, block)
        count = tf.shape(leading)[0] if total is None else total
        return _fold(body, rows, consts, block, count)

    def sweep(self, meetings: Meetings, rows: Any, block: int | None) -> Any:
        """Take each pair of rows once."""
        total = leaves(rows)[0].shape[0]
        if block is None or block >= total or tf.executing_eagerly():
            return super().sweep(meetings, rows, block)
        return sweeping.sweep(meetings, rows, block)

    def repeat(
        self, body: Callable[[Any], Any], state: Any, counts: Array, most: int
    ) -> Any:
        """Return what `body` makes of a state, by as many runs as the largest count."""
        if tf.executing_eagerly():
            return super().repeat(body, state, counts, most)
        return _repeat(body, state, counts, most)


class Stepwise(Loops):
    """Loops whose steps are all written out, so that autodiff goes through each.

    Accumulators, `tape.jacobian` and XLA cannot differentiate through the lists of a
    while loop. Autodiff keeps all panels in any case, so they may be few and large.
    """

    def fold(
        self, body: Body, rows: Any, consts: Any, block: int | None
    ) -> tuple[Any, Any]:
        """Run `body` over panels, a few of them, or one where sizes are unknown."""
        total = leaves(rows)[0].shape[0]
        if block is None or total is None:
            return body(None, rows, consts)
        return super().fold(body, rows, consts, _enlarged(block, total))

    def sweep(self, meetings: Meetings, rows: Any, block: int | None) -> Any:
        """Take each pair of rows once, in a few panels."""
        total = leaves(rows)[0].shape[0]
        large = None if block is None else _enlarged(block, total)
        return super().sweep(meetings, rows, large)

    def repeat(
        self, body: Callable[[Any], Any], state: Any, counts: Array, most: int
    ) -> Any:
        """Return what `body` makes of a state, by as many runs as the largest count."""
        if tf.executing_eagerly():
            return super().repeat(body, state, counts, most)
        return _repeat(body, state, counts, most)


def _repeat(body: Callable[[Any], Any], state: Any, counts: Array, most: int) -> Any:
    runs = tf.reduce_max(tf.pad(counts, [[0, 1]]))  # 0 of no rows

    def step(i: Array, given: Any) -> Any:
        new = leaves(body(refilled(state, given)))
        pairs = zip(new, leaves(state), strict=True)
        return i + 1, [tf.ensure_shape(x, y.shape) for x, y in pairs]

    _, found = tf.while_loop(
        lambda i, _: i < runs,
        step,
        (tf.zeros_like(runs), leaves(state)),
        parallel_iterations=1,
        maximum_iterations=most,  # without which XLA has no derivative of the loop
    )
    return refilled(state, found)


def _enlarged(block: int, total: int) -> int:
    """Return a size of panels such that there are at most 64, each written out."""
    return max(block, -(-total // 64))


def _fold(
    body: Body, rows: Any, consts: Any, block: int, total: Any
) -> tuple[Any, Any]:
    """Run `body` over panels, all of one size but the first, a shorter one."""
    if not isinstance(total, int):
        total = tf.maximum(total, 1)
        block = tf.minimum(block, total)
    count = (total - 1) // block
    first = total - count * block
    form, start = body(None, each(rows, lambda x: x[:first]), consts)
    part = _parts(rows, first, count, block)
    heads = leaves(start)
    shapes = [_panel_shape(x, block) for x in heads]
    # A first panel that is as tall as the others is joined to them without a copy. In
    # XLA that gains nothing.
    level = isinstance(first, int) and first == block
    listed = int(level and not private.in_xla())
    pairs = zip(heads, shapes, strict=True)
    lists = [_list_of(x, shape, count + listed) for x, shape in pairs]
    if listed:
        lists = [_written(y, 0, x) for x, y in zip(heads, lists, strict=True)]

    def step(i: Array, carried: Any, handles: Any) -> Any:
        carry, out = body(refilled(form, carried), part(i), consts)
        new = zip(handles, leaves(out), strict=True)
        written = [_written(handle, i + listed, x) for handle, x in new]
        return i + 1, leaves(carry), written

    _, carried, lists = tf.while_loop(
        lambda i, *_: i < count,
        step,
        (tf.constant(0), _after(heads, leaves(form)), lists),
        parallel_iterations=1,  # more would hold more panels
        maximum_iterations=count,
    )
    outs = zip(heads, lists, shapes, strict=True)
    joined = [_joined(x, handle, shape, count, listed) for x, handle, shape in outs]
    return refilled(form, _after(joined, carried)), refilled(start, joined)


def _after(done: list[Array], arrays: list[Array]) -> list[Array]:
    """Return arrays that a graph has only when others are done.

    What these took is free by then. Else the first panel would stay beside the next
    ones, and the list of all panels beside what is computed from the sums.
    """
    with tf.control_dependencies(done):
        return [tf.identity(x) for x in arrays]


def _parts(rows: Any, first: Any, count: Any, block: Any) -> Callable[[Array], Any]:
    """Return what gives the i-th panel after the first rows.

    Rows are gathered by their places where their number is known: all panels, apart
    from each other, would be a copy of the rows, and XLA pads what is sliced from a
    place that it does not know to twice its size.
    """
    if isinstance(count, int):
        within = first + tf.range(block)
        return lambda i: each(rows, lambda x: tf.gather(x, i * block + within))
    # XLA gathers nothing from no rows.
    panels = each(rows, lambda x: tf.reshape(x[first:], _panel_shape(x, count, block)))
    return lambda i: each(panels, lambda x: tf.gather(x, i))


def _panel_shape(x: Array, *leading: Any) -> list[Any]:
    return [*leading, *(_size(x, axis) for axis in range(1, x.shape.rank))]


def _list_of(x: Array, shape: list[Any], count: Any) -> Array:
    """Return a list for `count` panels of that shape.

    The raw operation takes a shape that is computed, which XLA needs where the number
    of rows is unknown while tracing. `tf.TensorArray` does not.
    """
    return tf.raw_ops.TensorListReserve(
        element_shape=shape, num_elements=count, element_dtype=x.dtype
    )


def _written(handle: Array, i: Array, item: Array) -> Array:
    return tf.raw_ops.TensorListSetItem(input_handle=handle, index=i, item=item)


def _joined(
    head: Array, handle: Array, shape: list[Any], count: Any, listed: int
) -> Array:
    """Return the panels of a list, after the first one if that is not among them."""
    panels = count + listed
    stacked = tf.raw_ops.TensorListStack(
        input_handle=handle,
        element_shape=shape,
        element_dtype=head.dtype,
        num_elements=panels if isinstance(count, int) else -1,  # else no size is known
    )
    # Not -1, which is undefined where rows have no features.
    count = _size(stacked, 0) * _size(stacked, 1)
    joined = tf.reshape(stacked, _panel_shape(head, count))
    if not listed:
        joined = tf.concat([head, joined], axis=0)
    joined.set_shape([None, *head.shape[1:]])
    return joined


def _size(x: Array, axis: int) -> Any:
    """Return the size of an axis, as a tensor where it is unknown."""
    known = x.shape[axis]
    return tf.shape(x)[axis] if known is None else known
