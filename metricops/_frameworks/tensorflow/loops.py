"""Loops over panels: in a graph while loops, and eagerly those of Python."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from metricops._frameworks.loops import Body, Loops, Meetings
from metricops._frameworks.records import leaves, refilled
from metricops._frameworks.tensorflow import folding, sweeping
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
        return folding.fold(body, rows, consts, block, count)

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
