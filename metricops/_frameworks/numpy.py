"""NumPy: the same as the standard's functions, by calls that cost less.

The module is long, as one class says all that NumPy does in another way.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import array_api_compat.numpy
import numpy as np

from metricops._checks import Shape
from metricops._frameworks import numpy_panels
from metricops._frameworks.library import Library
from metricops._frameworks.loops import Body, Loops, filled
from metricops._frameworks.operations import Arrays, Search
from metricops._frameworks.records import leaves
from metricops._typing import Array, Namespace

_vecdot: Any = np.vecdot  # NumPy's annotations leave out `axis`
_total: Any = np.add.reduce  # and here they ask for one of many forms of `keepdims`
_largest: Any = np.maximum.reduce


class _Loops(Loops):
    """Loops whose results are written in place."""

    def fold(
        self, body: Body, rows: Any, consts: Any, block: int | None
    ) -> tuple[Any, Any]:
        """Run `body` over panels, whose outputs are copied at once."""
        if block is None or block >= leaves(rows)[0].shape[0]:
            return body(None, rows, consts)
        return filled(body, rows, consts, block, _empty)


def _empty(count: int, x: Array) -> Array:
    return np.empty((count, *x.shape[1:]), x.dtype)


class NumPy(Library):
    """NumPy arrays."""

    looping = _Loops

    def default_float(self, like: Array) -> Any:
        """Return the dtype that integers become."""
        return np.float64

    def host_dtype(self, name: str, like: Array) -> str:
        """Return `name`: dtypes are kept."""
        return name

    def asarray(self, value: Any, like: Array, dtype: Any = None) -> Array:
        """Return a number or array as an array."""
        return np.asarray(value, dtype=dtype)

    def positions(self, x: Array, axis: int, name: str) -> Array:
        """Return 0, 1, ... along an axis of `x`."""
        return np.arange(x.shape[axis])

    def pick(self, x: Array, columns: Array) -> Array:
        """Return one column of each row of the matrix `x`, shape (n, 1)."""
        return x[np.arange(x.shape[0]), columns][:, None]

    def peak(self, x: Array, axis: int | tuple[int, ...]) -> Array:
        """Return the maxima along `axis`, kept; 0 for an empty array."""
        reduce = _largest if x.size else _total
        return reduce(x, axis=axis, keepdims=True)

    # In place: fresh memory for a panel would have to be mapped page by page.

    def plus(self, x: Array, y: Array) -> Array:
        """Return ``x + y``, in place."""
        return np.add(x, y, out=x)

    def times(self, x: Array, y: Array) -> Array:
        """Return ``x * y``, in place."""
        return np.multiply(x, y, out=x)

    def minus(self, x: Array, y: Array) -> Array:
        """Return ``x - y``, in place."""
        return np.subtract(x, y, out=x)

    def only(self, x: Array, kept: Array) -> Array:
        """Return `x`, and 0 where it is not `kept`, in place."""
        np.copyto(x, 0.0, where=~kept)
        return x

    def over(self, x: Array, y: Array) -> Array:
        """Return ``x / y``, in place."""
        return np.divide(x, y, out=x)

    def less(self, x: Array, y: Array, factor: Array) -> Array:
        """Return ``x - y * factor``, in place."""
        return numpy_panels.less(x, y, factor)

    def exp(self, x: Array) -> Array:
        """Return the exponentials of `x`, in place."""
        return np.exp(x, out=x)

    def put(self, x: Array, columns: Array, value: Any) -> Array:
        """Return `x` with one column of each row replaced, in place."""
        x[np.arange(x.shape[0]), columns] = value
        return x

    def put_each(self, x: Array, columns: Array, value: float) -> Array:
        """Return `x` with some columns of each row replaced by a number, in place."""
        np.put_along_axis(x, columns, value, axis=1)
        return x

    def puts_in_place(self) -> bool:
        """Return True."""
        return True

    def plus_rows(self, total: Array, columns: Array, rows: Array) -> Array:
        """Return `total` with rows added at `columns`, in place."""
        np.add.at(total, columns.ravel(), rows.reshape(-1, rows.shape[-1]))
        return total

    @np.errstate(over="ignore", invalid="ignore")
    def normal_lengths(self, x: Array, axes: tuple[int, ...]) -> Array | None:
        """Return the lengths of vectors, if none is 0 or extreme, without a warning."""
        return super().normal_lengths(x, axes)

    def looks(self, x: Array) -> bool:
        """Return True."""
        return True

    def running_log_sums(self, x: Array) -> Array:
        """Return the logarithms of the cumulative sums of exp(x) along each row."""
        return np.logaddexp.accumulate(x, axis=1)

    def exact_dtype(self, x: Array) -> Any:
        """Return float64."""
        return np.float64 if x.dtype == np.float32 else x.dtype

    def search_block(self, queries: Array, keys: Array) -> int | None:
        """Return how many queries a panel of a search should hold."""
        rows = self.block(queries, keys)  # each panel takes many short steps
        return rows if rows is None else 2 * rows

    def found(
        self, search: Search, config: Any, queries: Array, keys: Array
    ) -> tuple[Array, Array]:
        """Return the scores and the indices of the best keys of each query."""
        return search.found(_Reusing(self.xp, self.label), config, queries, keys)

    @np.errstate(invalid="ignore")
    def quietly(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return ``function(self, *arguments)``, without a warning of a NaN."""
        return function(self, *arguments)

    @np.errstate(invalid="ignore", over="ignore")
    def compiled(self, function: Callable[..., Any], config: Any, *arrays: Any) -> Any:
        """Return ``function(self, config, *arrays)``, without a warning.

        A search looks at products of all pairs, and a key may be infinitely far.
        """
        return function(self, config, *arrays)

    def within(self, x: Array, k: int, slack: Array) -> tuple[Array, Array, Array]:
        """Return the columns of each row that are near its `k` largest, and more."""
        return numpy_panels.within(x, k, slack)

    def redone(
        self,
        right: Array,
        function: Callable[[Array], Arrays],
        rows: Array,
        found: Arrays,
    ) -> Arrays:
        """Return what was `found`, with the rows that are not `right` done again."""
        wrong = np.flatnonzero(~right)
        if wrong.size:
            for x, new in zip(found, function(rows[wrong]), strict=True):
                x[wrong] = new
        return found

    def dots(self, x: Array, y: Array, axis: int) -> Array:
        """Return the sums of the products of two matrices along an axis."""
        return _vecdot(x, y, axis=axis)

    def plus_product(self, total: Array | None, x: Array, y: Array) -> Array:
        """Return ``x @ y`` added to `total`, in place."""
        product = x @ y
        return product if total is None else np.add(total, product, out=total)

    def shortcut(self, short: Any, exact: Any, arrays: Arrays) -> tuple[Array, ...]:
        """Return ``short(lib, *arrays)``, in a library that uses memory again."""
        # Rows that are not finite, and pairs that are computed again, may be NaN.
        with np.errstate(invalid="ignore"):
            return short(_Reusing(self.xp, self.label), *arrays)

    def within_one(self, x: Array) -> Array:
        """Return `x` between -1 and 1, in place."""
        return np.clip(x, -1.0, 1.0, out=x if isinstance(x, np.ndarray) else None)


class _Reusing(NumPy):
    """NumPy for one loop over panels, each written over the one before.

    Fresh memory is mapped page by page, which for a panel takes as long as its product.
    """

    def __init__(self, xp: Namespace, label: str) -> None:
        super().__init__(xp, label)
        self._last: dict[str, Array] = {}

    def panel_product(self, x: Array, y: Array) -> Array:
        """Return the matrix product of two arrays of one dtype."""
        out = self._memory("product", (x.shape[0], y.shape[1]), x.dtype)
        return np.matmul(x, y, out=out)

    def search_product(self, x: Array, y: Array) -> Array:
        """Return ``x @ y.mT``, as the transpose of a product: it takes less time."""
        out = self._memory("product", (y.shape[0], x.shape[0]), x.dtype)
        return np.matmul(y, x.mT, out=out).mT

    def exact_block(self, rows: Array, columns: Array) -> int | None:
        """Return as many rows as stay in the caches."""
        return max(2**17 // max(rows.shape[1] * columns.shape[1], 1), 1)

    def panel_rows(self, x: Array, indices: Array) -> Array:
        """Return the rows of `x` at a matrix of indices."""
        out = self._memory("rows", (*indices.shape, *x.shape[1:]), x.dtype)
        return np.take(x, indices, axis=0, out=out, mode="clip")

    def narrowed(self, x: Array, dtype: Any, root: bool, narrow: Array) -> Array:
        """Return `x`, or its square root, in `dtype`."""
        out = self._memory("narrowed", x.shape, dtype)
        if not root:
            return np.positive(x, out=out, casting="same_kind")
        if not narrow:
            return np.sqrt(x, out=out, casting="same_kind")
        np.copyto(out, x, casting="same_kind")
        return np.sqrt(out, out=out)

    def manhattan(self, x: Array, y: Array) -> Array | None:
        """Return the sums of absolute differences of rows, in tiles in the caches."""
        if x.ndim != 2 or x.shape[1] == 0:
            return None
        return numpy_panels.absolute(x, y)

    def _memory(self, name: str, shape: Shape, dtype: Any) -> Array:
        found = self._last.get(name)
        if found is None or found.shape != shape:
            found = self._last[name] = np.empty(shape, dtype)
        return found


def _transposed(x: Array) -> Array:
    return x.mT


def _sum(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    return _total(x, axis=axis, keepdims=keepdims)


def _max(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    return _largest(x, axis=axis, keepdims=keepdims)


def _mean(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    total = _total(x, axis=axis, keepdims=keepdims)
    return total / (x.size // max(total.size, 1))


# On tiny arrays NumPy's functions and methods cost more than what they call.
NUMPY = NumPy(
    SimpleNamespace(
        **vars(array_api_compat.numpy)
        | {"matrix_transpose": _transposed, "max": _max, "mean": _mean}
        | {"sum": _sum}
    ),
    "NumPy",
)
