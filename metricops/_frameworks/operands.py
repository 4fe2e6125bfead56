"""In what dtype two sides are multiplied: as they are, or in halves.

A half is a word. Where panels are multiplied in another one than the sides of scores,
the word names both.
"""

from typing import Any

from metricops._frameworks.facts import Facts
from metricops._typing import Array

HALVES = ("float16", "bfloat16", "bfloat16, float16")


class Operands(Facts):
    """What a library without products of halves says of them."""

    has_halves = False  # whether `operands` may name one
    halves = ""  # the half that products take their sides in; "": float32 and wider

    def operands(self, x: Array, y: Array, normalize: bool) -> str:
        """Return the half that two sides are to be multiplied in, "" for none.

        It is one whose products are float32 where these run. `normalize` is whether
        vectors of unit length are multiplied: of those float16 keeps more.
        """
        return ""

    def multiplying(self, half: str) -> Any:
        """Return the library whose products take their sides in a half; "": itself."""
        return self

    def wide(self, x: Array) -> Array:
        """Return a half in float32; others as they are."""
        return x

    def operand(self, x: Array) -> Array:
        """Return vectors as the sides of scores, in the half that is multiplied."""
        return x

    def panel_operand(self, x: Array, weight: Any) -> tuple[Array, Any]:
        """Return a panel as it is multiplied, and the weights of its rows, (b, 1).

        Their products are the same. Of a half the weights are powers of 2, which round
        nothing on the other side of the product.
        """
        return x, weight

    def wide_dtype(self, x: Array) -> Any:
        """Return the dtype of what is summed up of products with `x`."""
        return x.dtype

    def scores(self, x: Array, y: Array, scale: Array | float) -> Array:
        """Return ``x @ y * scale`` of halves, scaled in float32."""
        raise NotImplementedError
