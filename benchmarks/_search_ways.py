"""What a user of each framework writes for distances and searches of rows."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import metricops

Function = Callable[..., Any]
K = 10
OURS: dict[str, Function] = {
    "euclidean": metricops.pairwise_euclidean_distance,
    "squared_euclidean": metricops.pairwise_squared_euclidean_distance,
    "manhattan": metricops.pairwise_manhattan_distance,
    "cosine_similarity": metricops.pairwise_cosine_similarity,
    "search_cosine": partial(metricops.nearest_neighbors, k=K, metric="cosine"),
    "search_euclidean": partial(metricops.nearest_neighbors, k=K, metric="euclidean"),
}


class Way(NamedTuple):
    """A way to do it, and what it is called."""

    name: str
    function: Function


class Framework(NamedTuple):
    """A framework, and the usual ways in it."""

    native: dict[str, Way]
    asarray: Function
    traced: Callable[[Function], Function]
    slopes: Callable[[Function], Function] | None  # a function with its gradients
    wait: Callable[[Any], Any]  # until a result is there


def rows(kind: str, count: int, dim: int) -> tuple[Any, Any]:
    """Return two sets of rows in NumPy."""
    random = np.random.default_rng(0)
    noise = [random.standard_normal((count, dim)) for _ in range(2)]
    if kind == "clustered":
        centres = 3 + random.standard_normal((64, dim))
        noise = [centres[random.integers(0, 64, count)] + 0.05 * z for z in noise]
    first, second = (z.astype(np.float32) for z in noise)
    return first, second


def _expansion(xp: Any, x: Any, y: Any) -> Any:
    """Return squared distances as they are often written."""
    squares = (x * x).sum(1)[:, None] + (y * y).sum(1)[None, :] - 2 * x @ y.T
    return xp.maximum(squares, 1e-12)


def of_numpy() -> Framework:
    from scipy.spatial.distance import cdist
    from sklearn.metrics import pairwise
    from sklearn.neighbors import NearestNeighbors

    def search(metric: str) -> Way:
        def run(x: Any, y: Any) -> Any:
            found = NearestNeighbors(n_neighbors=K, algorithm="brute", metric=metric)
            return found.fit(y).kneighbors(x)

        return Way("scikit-learn", run)

    native = {
        "euclidean": Way("scikit-learn", pairwise.euclidean_distances),
        "squared_euclidean": Way(
            "scikit-learn",
            lambda x, y: pairwise.euclidean_distances(x, y, squared=True),
        ),
        "manhattan": Way("scipy", lambda x, y: cdist(x, y, "cityblock")),
        "cosine_similarity": Way("scikit-learn", pairwise.cosine_similarity),
        "search_cosine": search("cosine"),
        "search_euclidean": search("euclidean"),
    }
    return Framework(native, np.asarray, lambda f: f, None, lambda x: x)


def of_torch() -> Framework:
    import torch
    from torch.nn.functional import normalize

    def slopes(function: Function) -> Function:
        def both(x: Any, y: Any) -> Any:
            leaves = [z.detach().requires_grad_() for z in (x, y)]
            return torch.autograd.grad(function(*leaves).sum(), leaves)

        return both

    native = {
        "euclidean": Way("cdist", torch.cdist),
        "squared_euclidean": Way("cdist", lambda x, y: torch.cdist(x, y).square()),
        "manhattan": Way("cdist", lambda x, y: torch.cdist(x, y, p=1.0)),
        "cosine_similarity": Way(
            "normalize, product",
            lambda x, y: normalize(x) @ normalize(y).T,
        ),
        "search_cosine": Way(
            "product, topk", lambda x, y: torch.topk(normalize(x) @ normalize(y).T, K)
        ),
        "search_euclidean": Way(
            "cdist, topk",
            lambda x, y: torch.topk(torch.cdist(x, y), K, largest=False),
        ),
    }
    return Framework(native, torch.asarray, lambda f: f, slopes, lambda x: x)


def of_jax() -> Framework:
    import jax
    import jax.numpy as jnp

    def unit(x: Any) -> Any:
        return x / jnp.linalg.norm(x, axis=1, keepdims=True)

    def slopes(function: Function) -> Function:
        return jax.grad(lambda x, y: jnp.sum(function(x, y)), argnums=(0, 1))

    native = {
        "euclidean": Way("expansion", lambda x, y: jnp.sqrt(_expansion(jnp, x, y))),
        "squared_euclidean": Way("expansion", lambda x, y: _expansion(jnp, x, y)),
        "cosine_similarity": Way(
            "normalize, product", lambda x, y: unit(x) @ unit(y).T
        ),
        "search_cosine": Way(
            "product, top_k", lambda x, y: jax.lax.top_k(unit(x) @ unit(y).T, K)
        ),
        "search_euclidean": Way(
            "expansion, top_k",
            lambda x, y: jax.lax.top_k(-jnp.sqrt(_expansion(jnp, x, y)), K),
        ),
    }
    return Framework(native, jnp.asarray, jax.jit, slopes, jax.block_until_ready)


def of_tensorflow() -> Framework:
    import tensorflow as tf

    def squares(x: Any, y: Any) -> Any:
        norms = [tf.reduce_sum(z * z, 1) for z in (x, y)]
        products = tf.matmul(x, y, transpose_b=True)
        return tf.maximum(norms[0][:, None] + norms[1][None, :] - 2 * products, 1e-12)

    def cosines(x: Any, y: Any) -> Any:
        units = [tf.math.l2_normalize(z, 1) for z in (x, y)]
        return tf.matmul(*units, transpose_b=True)

    def slopes(function: Function) -> Function:
        def both(x: Any, y: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch([x, y])
                total = tf.reduce_sum(function(x, y))
            return tape.gradient(total, [x, y])

        return both

    native = {
        "euclidean": Way("expansion", lambda x, y: tf.sqrt(squares(x, y))),
        "squared_euclidean": Way("expansion", squares),
        "cosine_similarity": Way("normalize, product", cosines),
        "search_cosine": Way(
            "product, top_k", lambda x, y: tf.math.top_k(cosines(x, y), K)
        ),
        "search_euclidean": Way(
            "expansion, top_k",
            lambda x, y: tf.math.top_k(-tf.sqrt(squares(x, y)), K),
        ),
    }
    return Framework(native, tf.constant, tf.function, slopes, lambda x: x)


def of_faiss() -> Framework:
    """Return the searches of faiss, whose flat indexes are exact, beside NumPy."""
    import faiss

    def by_cosine(x: Any, y: Any) -> Any:
        x, y = x.copy(), y.copy()
        faiss.normalize_L2(x)
        faiss.normalize_L2(y)
        index = faiss.IndexFlatIP(y.shape[1])
        index.add(y)
        return index.search(x, K)

    def by_distance(x: Any, y: Any) -> Any:
        index = faiss.IndexFlatL2(y.shape[1])
        index.add(y)
        squares, indices = index.search(x, K)
        return np.sqrt(squares), indices

    native = {
        "search_cosine": Way("faiss, flat", by_cosine),
        "search_euclidean": Way("faiss, flat", by_distance),
    }
    return Framework(native, np.asarray, lambda f: f, None, lambda x: x)


FRAMEWORKS = {
    "numpy": of_numpy,
    "torch": of_torch,
    "jax": of_jax,
    "tensorflow": of_tensorflow,
    "faiss": of_faiss,
}
