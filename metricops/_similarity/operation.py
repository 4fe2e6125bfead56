"""The distances of all pairs of rows, with their gradient, by the fastest way.

For many rows of float32, squares and lengths are computed by matrix products. For other
rows, and for absolute differences, they are computed by panels of differences.
"""

from functools import partial

from metricops._frameworks import Arrays, Library, Operation, register
from metricops._similarity import differences, products
from metricops._similarity.panel_sums import Config
from metricops._typing import Array


def value(lib: Library, config: Config, arrays: Arrays, constants: Arrays) -> Array:
    """Return the distances, shape (..., n, m).

    `arrays` are x (..., n, d), and y (..., m, d) or None for x. There may be a
    constant, (n,): where the rows of x stand among those of y. They are taken to be the
    same, and their distances to be 0.
    """
    chunked = lib.by_chunks(_of_chunks, config, *_both(arrays))
    if chunked is not None:
        return chunked
    exact = partial(_sums, config)
    if config.kind == "absolute":
        (found,) = lib.shortcut(_absolute, exact, arrays)
    elif _suits_products(lib, config, arrays):
        short, given = partial(products.sums, config), (*arrays, *constants)
        (found,) = lib.shortcut(short, exact, given)
    else:
        (found,) = exact(lib, *arrays)
    return found


def is_small(lib: Library, config: Config, arrays: Arrays) -> bool:
    """Return whether all fits one panel, so that plain autodiff is fastest."""
    if config.kind == "absolute" and not lib.abs_is_flat_at_zero:
        return False
    if config.kind == "length":  # plain autodiff loses the slope of a tiny one
        return False
    return differences.is_one_panel(lib, *_both(arrays))


def value_and_saved(
    lib: Library,
    config: Config,
    arrays: Arrays,
    constants: Arrays,
    wanted: tuple[bool, ...],
) -> tuple[Array, Arrays]:
    """Return the distances, also as what is saved where they are lengths."""
    found = value(lib, config, arrays, constants)
    return found, (found,) if needs_value(config) else ()


def needs_value(config: Config) -> bool:
    """Return whether gradients are computed from the distances: those of lengths."""
    return config.kind == "length"


def backward(
    lib: Library,
    config: Config,
    arrays: Arrays,
    constants: Arrays,
    saved: Arrays,
    upstream: Array,
    wanted: tuple[bool, ...],
) -> Arrays:
    """Return the gradients of ``sum(upstream * value)``."""
    (lengths,) = saved or (None,)
    given = (*arrays, upstream, lengths, *constants)
    short, exact = (partial(way, config, wanted) for way in (products.pull, _pull))
    suits = _suits_products(lib, config, arrays)
    if config.kind == "absolute":
        short, suits = partial(_absolute_pull, config, wanted), True
    found = iter(lib.shortcut(short, exact, given) if suits else exact(lib, *given))
    return tuple(next(found) if there else None for there in wanted)


def _of_chunks(config: Config, lib: Library, x: Array, y: Array) -> Array:
    """Return the distances of a chunk of rows to another."""
    return value(lib, config, (x, y), ())


def _suits_products(lib: Library, config: Config, arrays: Arrays) -> bool:
    x, y = _both(arrays)
    if config.kind == "absolute" or lib.dtype(x).bits != 32 or x.ndim != 2:
        return False
    empty = 0 in (*lib.shape(x), *lib.shape(y))
    return not empty and not differences.is_one_panel(lib, x, y)


def _sums(
    config: Config, lib: Library, x: Array, y: Array | None, places: Array | None = None
) -> tuple[Array, ...]:
    """Return the sums.

    The differences of the same rows are 0 without knowing their `places`.
    """
    return (differences.sums(lib, config, *_both((x, y))),)


def _absolute(lib: Library, x: Array, y: Array | None) -> tuple[Array, ...]:
    """Return the sums of absolute differences, by the fast way if there is one."""
    both = _both((x, y))
    found = lib.manhattan(*both)
    config = Config("absolute", False)
    return (differences.sums(lib, config, *both) if found is None else found,)


def _pull(
    config: Config,
    wanted: tuple[bool, ...],
    lib: Library,
    x: Array,
    y: Array | None,
    upstream: Array,
    lengths: Array | None,
    places: Array | None = None,
) -> tuple[Array, ...]:
    """Return the gradients that are wanted."""
    weights = upstream * 2 if config.kind == "squares" else upstream
    inverse = None if lengths is None else lib.inverses(lengths)
    turn = lib.xp.matrix_transpose
    if y is None:  # equal rows have equal distances both ways
        return (differences.pull(lib, config, x, x, weights + turn(weights), inverse),)
    back = None if inverse is None else turn(inverse)
    sides = ((x, y, weights, inverse), (y, x, turn(weights), back))
    return tuple(
        differences.pull(lib, config, *side)
        for side, there in zip(sides, wanted, strict=True)
        if there
    )


def _absolute_pull(
    config: Config,
    wanted: tuple[bool, ...],
    lib: Library,
    x: Array,
    y: Array | None,
    upstream: Array,
    lengths: None,
) -> tuple[Array, ...]:
    """Return the gradients that are wanted, by the fast way if there is one."""
    found = lib.manhattan_gradients(*_both((x, y)), upstream)
    if found is None:
        return _pull(config, wanted, lib, x, y, upstream, lengths)
    if y is None:
        of_x, of_same = found
        return (of_x + of_same,)
    return tuple(z for z, there in zip(found, wanted, strict=True) if there)


def _both(arrays: Arrays) -> tuple[Array, Array]:
    x, y = arrays
    return x, x if y is None else y


OPERATION = register(
    Operation(
        "differences",
        Config,
        value,
        value_and_saved,
        backward,
        is_small,
        needs_value=needs_value,
    )
)
