"""TensorFlow Similarity's distance objects, on the arrays of any library.

The names, aliases, configs and numbers of ``tensorflow_similarity.distances``, over the
functions of metricops, and without TensorFlow or Keras: `metricops.adapters.keras` has
the same classes, registered there.

The module is long, as it has a class for each distance.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import metricops
from metricops._arguments.beside import of_one_library
from metricops._similarity.metrics import ALIASES, canonical

Array: TypeAlias = Any

_PACKAGES = ("metricops", "Similarity")


class Distance(ABC):
    """A distance, or a similarity, of each vector of a batch to each of another.

    A subclass has a `metric` and ``call(query_embeddings, key_embeddings=None)``.

    Parameters
    ----------
    name : str, optional
        What the object is called. Default: the name of its metric.
    aliases : sequence of str, optional
        What it is called too. Default: TensorFlow Similarity's aliases.
    """

    metric = ""

    def __init__(
        self, name: str | None = None, aliases: Sequence[str] | None = None
    ) -> None:
        self.name = self.metric if name is None else name
        self.aliases = list(
            ALIASES.get(self.metric, ()) if aliases is None else aliases
        )

    def __call__(
        self, query_embeddings: Array, key_embeddings: Array | None = None
    ) -> Array:
        """Return the matrix of the distances.

        Parameters
        ----------
        query_embeddings : array of shape (..., n, d)
            The vectors of the rows of the result.
        key_embeddings : array of shape (..., m, d), optional
            The vectors of its columns. Default: the queries.

        Returns
        -------
        array of shape (..., n, m), of the library of the arguments
            A list or a NumPy array beside an array of another library joins that; a
            list takes its dtype too. Lists alone are taken as NumPy arrays.

        Raises
        ------
        TypeError
            If an argument is not a real array, or they are of two other libraries.
        ValueError
            If a shape does not fit.
        """
        return self.call(query_embeddings, key_embeddings)

    @abstractmethod
    def call(
        self, query_embeddings: Array, key_embeddings: Array | None = None
    ) -> Array:
        """Return the matrix of the distances, as calling the object does."""

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this distance again."""
        return {"name": self.name, "aliases": list(self.aliases)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Distance":
        """Return the distance of a config, of ours or of TensorFlow Similarity's."""
        return cls(**config)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={x!r}" for name, x in self.get_config().items())
        return f"{type(self).__name__}({given})"


class _Metric(Distance):
    """A distance that a function of metricops computes.

    A subclass has a `metric` and its ``_function(x, y)``.
    """

    @abstractmethod
    def _function(self, x: Array, y: Array | None) -> Array:
        """Return the matrix for two arrays of one library, or for one and None."""

    def call(
        self, query_embeddings: Array, key_embeddings: Array | None = None
    ) -> Array:
        """Return the matrix of the distances, as calling the object does."""
        return self._function(*of_one_library(query_embeddings, key_embeddings))


class InnerProductSimilarity(_Metric):
    """Inner products: a similarity, of which large is near.

    Parameters
    ----------
    name, aliases
        As in `Distance`.

    Examples
    --------
    >>> import numpy as np
    >>> from metricops.adapters.distances import InnerProductSimilarity
    >>> InnerProductSimilarity()(np.asarray([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[5.0, 11.0], [11.0, 25.0]]
    """

    metric = "inner_product"
    _function = staticmethod(metricops.pairwise_inner_product)


class CosineDistance(_Metric):
    """One less the cosine of vectors that have length one already.

    As in TensorFlow Similarity, it is 1 less the inner product, and at least 0.

    Parameters
    ----------
    name, aliases
        As in `Distance`.
    normalize : bool
        Whether to scale the vectors to length one first.
    """

    metric = "cosine"

    def __init__(
        self,
        name: str | None = None,
        aliases: Sequence[str] | None = None,
        *,
        normalize: bool = False,
    ) -> None:
        super().__init__(name, aliases)
        self.normalize = normalize

    def _function(self, x: Array, y: Array | None) -> Array:
        """Return the matrix of the distances."""
        return metricops.pairwise_cosine_distance(x, y, normalize=self.normalize)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this distance again."""
        return {**super().get_config(), "normalize": self.normalize}


class EuclideanDistance(_Metric):
    """The lengths of the differences, with gradient 0 where vectors are equal.

    Parameters
    ----------
    name, aliases
        As in `Distance`.
    """

    metric = "euclidean"
    _function = staticmethod(metricops.pairwise_euclidean_distance)


class SquaredEuclideanDistance(_Metric):
    """The squared lengths of the differences.

    Parameters
    ----------
    name, aliases
        As in `Distance`.
    """

    metric = "squared_euclidean"
    _function = staticmethod(metricops.pairwise_squared_euclidean_distance)


class ManhattanDistance(_Metric):
    """The sums of the absolute differences.

    Parameters
    ----------
    name, aliases
        As in `Distance`.
    """

    metric = "manhattan"
    _function = staticmethod(metricops.pairwise_manhattan_distance)


class SNRDistance(_Metric):
    """The variance of a difference over that of the query, which is the anchor.

    Parameters
    ----------
    name, aliases
        As in `Distance`.
    """

    metric = "snr"
    _function = staticmethod(metricops.pairwise_snr_distance)


DISTANCES: tuple[type[Distance], ...] = (
    InnerProductSimilarity,
    CosineDistance,
    EuclideanDistance,
    SquaredEuclideanDistance,
    ManhattanDistance,
    SNRDistance,
)
"""The classes, each of which `get` knows by its name and its aliases."""

_BY_METRIC = {cls.metric: cls for cls in DISTANCES}


def get(identifier: str | Mapping[str, Any] | Distance) -> Distance:
    """Return the distance that `identifier` means.

    Parameters
    ----------
    identifier : str, dict or Distance
        A name, a class name or an alias, in any case; a config of `serialize` or of
        TensorFlow Similarity; or a distance, which is returned as it is.

    Returns
    -------
    Distance
        A new one, unless `identifier` is one.

    Raises
    ------
    ValueError
        If `identifier` means none; the nearest name is given.

    Examples
    --------
    >>> from metricops.adapters import distances
    >>> distances.get("L2").name
    'euclidean'
    """
    if isinstance(identifier, Distance):
        return identifier
    if isinstance(identifier, Mapping):
        return deserialize(identifier)
    if not isinstance(identifier, str):
        msg = (
            f"`identifier` must be a name, a config or a Distance; got {identifier!r}."
        )
        raise ValueError(msg)
    return _BY_METRIC[canonical(identifier, "identifier")]()


def distance_canonicalizer(
    user_distance: str | Mapping[str, Any] | Distance,
) -> Distance:
    """Return the distance that `user_distance` means: an older name of `get`."""
    return get(user_distance)


def serialize(distance: Distance) -> dict[str, Any]:
    """Return the config of a distance, as Keras and `deserialize` read it.

    Parameters
    ----------
    distance : Distance
        Any, of these classes or of another.

    Returns
    -------
    dict
        With "module", "class_name", "config" and "registered_name".
    """
    cls = type(distance)
    return {
        "module": cls.__module__,
        "class_name": cls.__name__,
        "config": distance.get_config(),
        "registered_name": f"metricops>{cls.__name__}",
    }


def deserialize(
    config: Mapping[str, Any],
    custom_objects: Mapping[str, type[Distance]] | None = None,
) -> Distance:
    """Return the distance of a config.

    Parameters
    ----------
    config : dict
        What `serialize` returns, or TensorFlow Similarity's own did. It is not changed.
    custom_objects : dict of str to type, optional
        Classes of your own, by their names.

    Returns
    -------
    Distance
        A new one.

    Raises
    ------
    ValueError
        If `config` names no class, or one that is not known; the nearest name is given.
    """
    if not isinstance(config, Mapping) or not isinstance(config.get("class_name"), str):
        msg = f'`config` must be a dict with a "class_name"; got {config!r}.'
        raise ValueError(msg)
    package, _, name = config["class_name"].rpartition(">")
    own = {**(custom_objects or {})}
    cls = own.get(config["class_name"]) or own.get(name)
    if cls is None:
        known = package in ("", *_PACKAGES)
        wanted = name if known else config["class_name"]
        cls = _BY_METRIC[canonical(wanted, "class_name")]
    return cls.from_config(dict(config.get("config") or {}))
