"""Arrays that are sharded over a mesh of explicit axes.

There JAX wants to be told how each result is sharded where it cannot tell, as where
rows that are sharded meet columns that are. So what is computed from such arrays is
computed with automatic axes, where the compiler partitions, and comes out sharded like
the rows that it belongs to.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec


def across_meshes(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of a library, with automatic axes where arrays have explicit."""

    @wraps(method)
    def call(lib: Any, *given: Any) -> Any:
        mesh = explicit_mesh(given)
        if mesh is None:
            return method(lib, *given)
        return _automatic(method, mesh, lib, given)

    return call


def explicit_mesh(given: Any) -> Any:
    """Return the mesh of explicit axes over which some array is sharded, or None."""
    for x in jax.tree.leaves(given):
        if isinstance(x, jax.Array):
            mesh = jax.typeof(x).sharding.mesh
            if AxisType.Explicit in mesh.axis_types:
                return mesh
    return None


def _automatic(
    method: Callable[..., Any], mesh: Any, lib: Any, given: tuple[Any, ...]
) -> Any:
    leaves, form = jax.tree.flatten(given)
    places = [i for i, x in enumerate(leaves) if isinstance(x, jax.Array)]
    arrays = [leaves[i] for i in places]

    def run(*arrays: Any) -> Any:
        filled = list(leaves)
        for place, x in zip(places, arrays, strict=True):
            filled[place] = x
        return method(lib, *jax.tree.unflatten(form, filled))

    plain = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arrays]
    found = jax.eval_shape(run, *plain)
    shardings = jax.tree.map(lambda x: _sharding(mesh, x.shape, arrays), found)
    return jax.sharding.auto_axes(run, out_sharding=shardings)(*arrays)


def _sharding(mesh: Any, shape: tuple[Any, ...], arrays: list[Any]) -> NamedSharding:
    """Return how a result is sharded: like an array of its shape, or of its rows."""
    same = [x for x in arrays if x.shape == shape]
    rows = [x for x in arrays if shape and x.shape[:1] == shape[:1]]
    spec: tuple[Any, ...] = ()
    if same:
        spec = jax.typeof(same[0]).sharding.spec
    elif rows:
        spec = jax.typeof(rows[0]).sharding.spec[:1]
    return NamedSharding(mesh, PartitionSpec(*spec))
