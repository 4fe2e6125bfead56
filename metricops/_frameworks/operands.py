"""In what dtype two sides are multiplied: as they are, or in halves.

A half is a word. Where panels are multiplied in another one than the sides of scores,
the word names both.
"""

from typing import Any

from metricops._frameworks.facts import Facts
from metricops._typing import Array

HALVES = ("float16", "bfloat16", "bfloat16, float16")


def parts_of(half: str) -> tuple[str, str]:
    """Return the half of the sides of scores, and that of panels, of a word."""
    first, _, second = half.partition(", ")
    return first, second or first


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

    # A panel, and what it is multiplied with. Libraries with halves that are given
    # float32 results may round both; others take them as they are.

    has_levels = False  # whether `joint_exponentials` is there

    def lost(self, x: Array) -> Array:
        """Return what vectors lose as the sides of scores; 0 where they are widened."""
        return self.xp.zeros_like(x)

    def panel_operand(
        self, x: Array, factor: Any, within_one: bool
    ) -> tuple[Array, Any]:
        """Return a panel as it is multiplied, and the factors of its rows, (b, 1).

        Their products are the same. `within_one` is whether no entry of ``x * factor``
        is above 1 or below -1.
        """
        return x, factor

    def beside_panels(self, x: Array) -> tuple[Array, Array | float]:
        """Return vectors as panels are multiplied with them, and a number.

        With that the products are to be multiplied.
        """
        return x, 1.0

    def enlargement(self, largest: Any) -> Array | float:
        """Return a power of 2 that makes numbers up to `largest` suit a half.

        They are not too large then, and few are too small. The factors of a panel's
        rows that `panel_operand` returns are at most 1 over ``enlargement(1.0)``.
        """
        return 1.0

    def rounded(self, x: Array) -> Array:
        """Return a panel whose numbers suit a half as it is multiplied."""
        return x

    def row_sums(self, x: Array, axis: int = 1) -> Array:
        """Return the sums of a panel's rows, or columns, of halves or marks, kept."""
        return self.xp.sum(x, axis=axis, keepdims=True)

    def marks(self, x: Array, dtype: Any) -> Array:
        """Return a panel of bool as numbers that `dots`, `less` and `row_sums` take."""
        return self.xp.astype(x, dtype)

    def joint_exponentials(self, x: Array, rows: Array, columns: Array) -> Array:
        """Return ``exp(x + rows) + exp(x + columns)`` as it is multiplied.

        Rows are (b,), columns (m,). The panel `x` may be overwritten.
        """
        raise NotImplementedError

    def wide_dtype(self, x: Array) -> Any:
        """Return the dtype of what is summed up of products with `x`."""
        return x.dtype

    def scores(self, x: Array, y: Array, scale: Array | float) -> Array:
        """Return ``x @ y * scale`` of halves, scaled in float32."""
        raise NotImplementedError
