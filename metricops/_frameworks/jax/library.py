"""JAX: custom gradients, and loops that are one operation in a trace.

The module is long, as one class says all that JAX does in another way.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from metricops._checks import Sentence, Shape
from metricops._frameworks.distances import root_by_one
from metricops._frameworks.dtypes import LONG_DOUBLES
from metricops._frameworks.jax import distances, gradients, halves, searches
from metricops._frameworks.jax.loops import Scans
from metricops._frameworks.jax.meshes import across_meshes
from metricops._frameworks.library import Library
from metricops._frameworks.operands import HALVES as WORDS
from metricops._frameworks.operations import Arrays, Operation, Search
from metricops._frameworks.primitives import of_width_two
from metricops._typing import Array


class Jax(Library):
    """JAX arrays and tracers."""

    looping = Scans
    panel = 2**20  # XLA holds several panels at once
    ring = 256
    has_halves = True
    abs_is_flat_at_zero = False

    def default_float(self, like: Array) -> Any:
        """Return the dtype that integers become."""
        return jnp.result_type(float)

    def shape(self, x: Array) -> Shape:
        """Return the shape of `x`, None where a size is a symbol of `jax.export`."""
        if not isinstance(x, jax.core.Tracer):
            return tuple(x.shape)
        return tuple(size if isinstance(size, int) else None for size in x.shape)

    def agree(
        self, x: Array, axis: int, other: Array, other_axis: int, need: str
    ) -> Array:
        """Return `x`, or raise where symbols of sizes are not the same."""
        if x.shape[axis] != other.shape[other_axis]:
            raise ValueError(Sentence(need))
        return x

    def cover(self, x: Array, other: Array, need: str) -> Array:
        """Return `x`, or raise where it has fewer rows than `other`.

        Where it cannot compare two symbols, JAX raises and says how to constrain them.
        """
        if x.shape[0] < other.shape[0]:
            raise ValueError(Sentence(need))
        return x

    def block(
        self, anchors: Array, candidates: Array, *, paired: bool = False
    ) -> int | None:
        """Return how many anchors a panel should hold.

        XLA holds fewer panels of pairs by position at once, so these may be larger.
        Each adds to the gradients of all candidates, so fewer take 0.8 to 0.95 of the
        time.
        """
        if self.shape(candidates)[0] is None:
            return 256
        if jax.default_backend() != "cpu":
            return self.device_block(2**26, candidates)
        panel = 2 * self.panel if paired else self.panel
        return max(panel // max(candidates.shape[0], 1), 64)

    def operands(self, x: Array, y: Array, normalize: bool) -> str:
        """Return the half that two sides are to be multiplied in, "" for none."""
        return halves.operands(x, y, normalize)

    def multiplying(self, half: str) -> Library:
        """Return the library whose products take their sides in a half."""
        return HALVES[half] if half else self

    def several(self, x: Array, block: int | None) -> bool:
        """Return whether the rows of `x` may be several panels."""
        return self.shape(x)[0] is None or super().several(x, block)

    def asarray(self, value: Any, like: Array, dtype: Any = None) -> Array:
        """Return a number or NumPy array as a JAX array."""
        # Uncommitted, so that it goes to the device of whatever it meets.
        return jnp.asarray(value, dtype=dtype)

    def host_dtype(self, name: str, like: Array) -> str:
        """Return the name of the dtype in which a NumPy array becomes one of JAX.

        It has 32 bits unless `jax_enable_x64` is set.
        """
        name = "float64" if name in LONG_DOUBLES else name
        return jax.dtypes.canonicalize_dtype(name).name

    def known_rows(self, x: Array) -> int | None:
        """Return the number of rows of `x`, None where an export leaves it open."""
        return x.shape[0] if isinstance(x.shape[0], int) else None

    def traced_number(self, number: float, like: Array) -> Array | None:
        """Return a number as an array, unless it is 1, which is left out of programs.

        A NumPy array is as cheap to make as a number, and `jax.jit` takes it as data.
        """
        return None if number == 1 else np.asarray(number, dtype=like.dtype)

    def one_integer_dtype(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Return integers of two dtypes as they are: JAX promotes them."""
        return x, y

    def recorded(self, x: Array) -> bool:
        """Return True: a tracer does not tell who looks on."""
        return True

    def stop_gradient(self, x: Array) -> Array:
        """Return `x` as a constant to autodiff."""
        return jax.lax.stop_gradient(x)

    def unfolded(self, x: Array) -> Array:
        """Return `x`, whose entries XLA does not know while it compiles."""
        # Also of an array that is no tracer: to a trace around it, it is a constant.
        return jax.lax.optimization_barrier(x)

    def softplus(self, x: Array) -> Array:
        """Return log(1 + exp(x)), of any x."""
        return jax.nn.softplus(x)

    def root(self, x: Array) -> Array:
        """Return the roots of positive numbers, with derivatives of every order."""
        return root_by_one(self, x)

    def sigmoid(self, x: Array) -> Array:
        """Return 1 / (1 + exp(-x)), of any x."""
        return jax.nn.sigmoid(x)

    @across_meshes
    def product(self, x: Array, y: Array) -> Array:
        """Return the matrix product of two arrays of one dtype, in that dtype."""
        return jnp.matmul(*of_width_two(jnp, x, y)) if x.shape[-1] == 1 else x @ y

    @across_meshes
    def widened_product(self, x: Array, y: Array, dtype: Any) -> Array:
        """Return the product in `dtype` of halves that are not widened first."""
        return jnp.matmul(x, y, preferred_element_type=dtype)

    @across_meshes
    def plus(self, x: Array, y: Array) -> Array:
        """Return ``x + y``."""
        return x + y

    def positions(self, x: Array, axis: int, name: str) -> Array:
        """Return 0, 1, ... along an axis of `x`."""
        return jnp.arange(x.shape[axis])

    def fuses(self) -> bool:
        """Return True, as XLA does."""
        return True

    def pick(self, x: Array, columns: Array) -> Array:
        """Return one column of each row of the matrix `x`, shape (n, 1)."""
        return jnp.take_along_axis(x, columns[:, None], axis=1)

    def gather(self, x: Array, indices: Array) -> Array:
        """Return the entries, or rows, of `x` at a matrix of indices."""
        return jnp.take(x, indices, axis=0)  # whose sizes may be symbols

    def first_equals(self, x: Array) -> Array:
        """Return for each number in `x` the place of the first that equals it."""
        order = jnp.argsort(x, stable=True)
        ordered, places = x[order], self.positions(x, 0, "keys")
        # `searchsorted` takes no sizes that are symbols.
        is_first = ordered != jnp.roll(ordered, 1)
        first = jax.lax.cummax(jnp.where(is_first, places, 0))
        return jnp.zeros_like(order).at[order].set(order[first])

    def running_log_sums(self, x: Array) -> Array:
        """Return the logarithms of the cumulative sums of exp(x) along each row."""
        return gradients.log_sums(self.log_sum, x)

    def largest(self, x: Array, k: int) -> tuple[Array, Array]:
        """Return the `k` largest of each row and their columns, ties by column."""
        return searches.largest(x, k)

    def selects(self, x: Array) -> bool:
        """Return whether the number of rows in `x` is known."""
        return self.known_rows(x) is not None

    def panel_product(self, x: Array, y: Array) -> Array:
        """Return the matrix product of two arrays of one dtype, with all its digits.

        GPUs and TPUs round its sides otherwise.
        """
        with jax.default_matmul_precision("highest"):
            return self.product(x, y)

    def exact_dtype(self, x: Array) -> Any:
        """Return float64 where it is switched on."""
        with jax.numpy_dtype_promotion("standard"):
            return jnp.promote_types(x.dtype, jnp.result_type(float))

    @across_meshes
    def found(
        self, search: Search, config: Any, queries: Array, keys: Array
    ) -> tuple[Array, Array]:
        """Return the scores and the indices of the best keys, by way of float64."""
        return searches.found(self, search, config, queries, keys)

    def redone(
        self,
        right: Array,
        function: Callable[[Array], Arrays],
        rows: Array,
        found: Arrays,
    ) -> Arrays:
        """Return what was `found`, with the rows that are not `right` done again."""
        return searches.redone(right, function, rows, found)

    @across_meshes
    def derived(
        self, value: Array, function: Callable[..., Array], arrays: Arrays
    ) -> Array:
        """Return `value`, with the derivatives of ``function(self, *arrays)``."""
        return searches.derived(partial(function, self), value, *arrays)

    def when(self, some: Array, yes: Any, no: Any) -> Any:
        """Return ``yes()`` if `some` is true, else ``no()``; their shapes are equal."""
        return distances.when(some, yes, no)

    def shortcut(self, short: Any, exact: Any, arrays: Arrays) -> tuple[Array, ...]:
        """Return ``exact(lib, *arrays)``, by `short` where there is float64."""
        return distances.shortcut(self, short, exact, arrays)

    @across_meshes
    def differentiable(
        self, operation: Operation, config: Any, arrays: Arrays, constants: Arrays
    ) -> Array:
        """Return the value of `operation`, with its gradient."""
        known = all(x is None or None not in self.shape(x) for x in arrays)
        # With labels, XLA's program of the operation's own gradient is the faster one.
        plain = all(x is None for x in constants)
        if known and plain and operation.is_small(self, config, arrays):
            return self.compiled(operation.value, config, arrays, constants)
        return gradients.differentiable(self, operation, config, arrays, constants)

    def constant(self, function: Callable[..., Any], config: Any, *arrays: Any) -> Any:
        """Return ``function(self, config, *arrays)``, a constant to autodiff."""
        fixed = jax.lax.stop_gradient(arrays)
        return self.compiled(function, config, *fixed)

    @across_meshes
    def compiled(self, function: Callable[..., Any], config: Any, *arrays: Any) -> Any:
        """Return ``function(self, config, *arrays)``, compiled once for its shapes.

        While another program is traced, it becomes a call, which XLA inlines.
        """
        return _compiled(self, function, config, *arrays)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _compiled(
    lib: Library, function: Callable[..., Any], config: Any, *arrays: Any
) -> Any:
    return function(lib, config, *arrays)


class _Halves(halves.HalfProducts, Jax):
    """JAX arrays, whose products take halves."""

    def _exact(self, x: Array, y: Array) -> Array:
        return Jax.product(self, x, y)

    def pair_product(self, x: Array, y: Array) -> Array:
        """Return the product of two matrices; its derivatives are float32's."""
        found: Array = self.compiled(_pair_product, None, x, y)
        return found


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _pair_product(lib: _Halves, _: None, x: Array, y: Array) -> Array:
    return lib.scores(x, y, 1.0)


@partial(_pair_product.defjvp, symbolic_zeros=True)
def _and_tangent(
    lib: _Halves, _: None, given: Any, tangents: Any
) -> tuple[Array, Array]:
    # Of a product of halves, JAX would make one of float32 with halves.
    value, (x, y), (of_x, of_y) = _pair_product(lib, None, *given), given, tangents
    parts = [Jax.product(lib, of_x, y)] if not isinstance(of_x, SymbolicZero) else []
    if not isinstance(of_y, SymbolicZero):
        parts.append(Jax.product(lib, x, of_y))
    return value, sum(parts, start=jnp.zeros_like(value))


JAX = Jax(jnp, "JAX")
HALVES = {half: _Halves(half) for half in WORDS}
