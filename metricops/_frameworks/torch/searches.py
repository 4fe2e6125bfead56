"""Searches as one node of a graph, in `torch.compile` and `torch.export`."""

from typing import Any

from metricops._frameworks import programs
from metricops._frameworks.operations import Search, search_called
from metricops._frameworks.torch.library import Torch
from metricops._frameworks.torch.one_panel import ONE_PANEL
from metricops._frameworks.torch.operators import batched, operator
from metricops._typing import Array


def searched(
    search: Search, config: Any, queries: Array, keys: Array
) -> tuple[Array, Array]:
    """Return what a search finds, as one node of a graph."""
    scores, indices = _SEARCH(search.name, *programs.encode(config), queries, keys)
    return scores, indices


def _search(library: Torch) -> Any:
    """Return the kernel of the operator ``metricops::search``."""

    def kernel(
        name: str, text: str, numbers: Any, sizes: Any, queries: Array, keys: Array
    ) -> list[Array]:
        search = search_called(name)
        config = programs.decode(search, programs.Encoded(text, numbers, sizes))
        way = search.outline if library is ONE_PANEL else search.found
        return list(way(library, config, queries, keys))

    return kernel


_SEARCH = operator("search", "Tensor queries, Tensor keys", "Tensor[]", _search)
_SEARCH.register_vmap(batched(_SEARCH))
