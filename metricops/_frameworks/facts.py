"""Facts about the arrays of a library: dtype, device, shape, and how to make one."""

from typing import Any

import array_api_compat

from metricops._checks import Shape, check_same_shape
from metricops._frameworks.dtypes import INSTEAD, Dtype, describe
from metricops._typing import Array, Namespace


class Facts:
    """What is known of the arrays of a library without computing with them."""

    panel = 2**21  # similarities: 8 MiB of float32 stay in the caches of a processor
    ring = 0  # up to how many rows a panel of one set has twice as many; 0: never
    spreads = False  # whether rows of an array may be spread over devices
    converts = False  # whether `convert` does anything
    abs_is_flat_at_zero = True  # whether autodiff takes 0 for the slope of `abs` at 0

    def __init__(self, xp: Namespace, label: str) -> None:
        self.xp = xp
        self.label = label
        self.dtypes: dict[Any, Dtype] = {}

    def convert(self, name: str, x: Array) -> Array:
        """Return the array in the variable `x`, or raise for a sparse one."""
        return x

    def check_whole(self, name: str, x: Array) -> None:
        """Raise where the rows of `x` are spread over devices, each with its own."""

    def dtype(self, x: Array) -> Dtype:
        """Return the dtype of `x` in words."""
        found = self.dtypes.get(x.dtype)
        if found is None:
            name = getattr(x.dtype, "name", None) or str(x.dtype).rpartition(".")[2]
            found = describe(name, getattr(x.dtype, "isnative", True))
            self.dtypes[x.dtype] = found
        return found

    def dtype_called(self, name: str) -> Any:
        """Return the library's dtype of that name."""
        return getattr(self.xp, name)

    def default_float(self, like: Array) -> Any:
        """Return the dtype that integers become on the device of `like`."""
        info = self.xp.__array_namespace_info__()
        device = array_api_compat.device(like)
        return info.default_dtypes(device=device)["real floating"]

    def host_dtype(self, name: str, like: Array) -> str:
        """Return the name of the dtype in which a NumPy array goes to a device.

        `name` is that of its own dtype, which is kept where the device of `like` has
        it. Otherwise it is a narrower one that the device has.
        """
        info = self.xp.__array_namespace_info__()
        dtypes = info.dtypes(device=array_api_compat.device(like))
        while name not in dtypes and name in INSTEAD:
            name = INSTEAD[name]
        return name

    def narrow_dtype(self, dtype: Any, like: Array) -> Any:
        """Return the dtype in which a result of half precision goes out."""
        return dtype

    def exact_dtype(self, x: Array) -> Any:
        """Return a dtype so wide that its errors vanish when rounded to that of `x`."""
        return x.dtype

    def shape(self, x: Array) -> Shape:
        """Return the shape of `x`, None where a size is unknown."""
        return tuple(x.shape)

    def size(self, x: Array, axis: int) -> Any:
        """Return the size of an axis, as an int, or as an array in a graph."""
        return x.shape[axis]

    def known_rows(self, x: Array) -> int | None:
        """Return the number of rows of `x`, None where it is open while tracing."""
        return self.shape(x)[0]

    def count(self, x: Array) -> Any:
        """Return the number of rows of `x`, at least 1, to divide by."""
        return max(x.shape[0], 1)

    def cover(self, x: Array, other: Array, need: str) -> Array:
        """Return `x`, checked at run time to have as many rows as `other` or more."""
        return x

    def agree(
        self, x: Array, axis: int, other: Array, other_axis: int, need: str
    ) -> Array:
        """Return `x`, checked at run time where a size is unknown while tracing."""
        return x

    def shaped(self, name: str, x: Array, other: str, like: Array) -> Array:
        """Return the argument `name`, made sure to have the shape of the `other`."""
        check_same_shape(name, self.shape(x), other, self.shape(like))
        for axis in range(len(self.shape(like))):
            need = f"`{name}` must have the shape of `{other}`."
            x = self.agree(x, axis, like, axis, need)
        return x

    def asarray(self, value: Any, like: Array, dtype: Any = None) -> Array:
        """Return a number or NumPy array as an array on the device of `like`."""
        return self.xp.asarray(value, dtype=dtype, device=array_api_compat.device(like))

    def positions(self, x: Array, axis: int, name: str) -> Array:
        """Return 0, 1, ... along an axis of the argument `name`, on its device."""
        return self.xp.arange(x.shape[axis], device=array_api_compat.device(x))

    def split(self, x: Array, like: Array) -> tuple[Array, Array | None]:
        """Return the first rows of `x`, as many as `like` has, and the rest if any."""
        count = like.shape[0]
        return (x, None) if x.shape[0] == count else (x[:count, ...], x[count:, ...])

    def first_column(self, x: Array) -> Array:
        """Return the first column of a matrix; zeros where it has no columns."""
        return x[:, 0]

    def only_column(self, x: Array, need: str) -> Array:
        """Return the only column of a matrix, whose width is checked at run time."""
        return x[:, 0]

    def traced_number(self, number: float, like: Array) -> Array | None:
        """Return a number as an array if the library compiles anew for each number.

        None where a number is best left as it is.
        """
        return None

    def traces_numpy(self) -> bool:
        """Return whether NumPy arrays are being traced, so that they have no values."""
        return False

    def check_beside_host(self, name: str, x: Array) -> None:
        """Raise unless the argument `name` can be combined with NumPy arrays."""

    def selects(self, x: Array) -> bool:
        """Return whether `within` and `redone` can be taken of the rows in `x`."""
        return True

    def rounds_products(self, x: Array) -> bool:
        """Return whether products of float32 may be of numbers with fewer digits."""
        return False

    def looks(self, x: Array) -> bool:
        """Return whether reading a value of `x` costs nothing."""
        return False

    def recorded(self, x: Array) -> bool:
        """Return whether autodiff may record operations on `x` one by one."""
        return False

    def block(
        self, anchors: Array, candidates: Array, *, paired: bool = False
    ) -> int | None:
        """Return how many anchors a panel should hold.

        `paired` is whether each has one positive, at its own position.
        """
        return max(self.panel // max(candidates.shape[0], 1), 64)

    def fits_both_directions(self) -> bool:
        """Return whether panels by position are as tall for both directions as for one.

        Elsewhere they have half as many rows, as twice as many panels are held.
        """
        return False

    def distances_block(self, x: Array, y: Array) -> int | None:
        """Return how many rows a panel of distances should hold."""
        return self.block(x, y)

    def search_block(self, queries: Array, keys: Array) -> int | None:
        """Return how many queries a panel of a search should hold."""
        return self.block(queries, keys)

    def exact_block(self, rows: Array, columns: Array) -> int | None:
        """Return for how many rows at a time a few columns are computed exactly.

        None: for all.
        """
        return None

    def device_block(self, similarities: int, candidates: Array) -> int:
        """Return the same for an accelerator whose panels have that many."""
        rows = similarities // max(candidates.shape[0], 1)
        return max(rows // 256 * 256, 256)

    def several(self, x: Array, block: int | None) -> bool:
        """Return whether the rows of `x` may be several panels."""
        return block is not None and x.shape[0] > block
