"""The objects, names and configs of `metricops.adapters.distances`."""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from metricops.adapters import distances

from tests.conftest import having

CLASSES = {
    "inner_product": distances.InnerProductSimilarity,
    "cosine": distances.CosineDistance,
    "euclidean": distances.EuclideanDistance,
    "squared_euclidean": distances.SquaredEuclideanDistance,
    "manhattan": distances.ManhattanDistance,
    "snr": distances.SNRDistance,
}
# As TensorFlow Similarity writes them in its documentation and its registry.
NAMES = {
    "inner_product": ("inner_product", "ip", "InnerProductSimilarity", " IP\n"),
    "cosine": ("cosine", "CosineDistance", "COSINE"),
    "euclidean": ("euclidean", "l2", "pythagorean", "EuclideanDistance"),
    "squared_euclidean": ("sql2", "sqeuclidean", "SquaredEuclideanDistance"),
    "manhattan": ("manhattan", "l1", "taxicab", "ManhattanDistance"),
    "snr": ("snr", "signal-to-noise-ratio", "SNRDistance", "SnrDistance "),
}
each = pytest.mark.parametrize("metric", CLASSES)
QUERY, KEY = [[1.0, 2.0], [3.0, 4.5]], [[5.0, 9.0], [3.0, 6.0], [1.0, 8.0]]

with np.load(Path(__file__).parent / "data" / "originals.npz") as stored:
    ARRAYS = dict(stored)
CASES = [
    case for case in json.loads(bytes(ARRAYS["manifest"])) if case["op"] == "distance"
]


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_an_object_gives_the_originals_numbers(case):
    query, key = (ARRAYS[f"{case['case']}/in/{side}"] for side in ("query", "key"))
    result = distances.get(case["params"]["name"])(query, key)
    expected = ARRAYS[f"{case['case']}/out/out"]
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@each
def test_an_object_takes_the_arrays_of_any_library(library, metric):
    query, key = library.asarray(QUERY), library.asarray(KEY)
    result = library.to_numpy(CLASSES[metric]()(query, key))
    expected = CLASSES[metric]()(np.asarray(QUERY), np.asarray(KEY))
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@each
def test_one_set_is_compared_with_itself(metric):
    distance, x = CLASSES[metric](), np.asarray(KEY)
    np.testing.assert_array_equal(distance(x), distance(x, x))


@each
def test_call_is_what_calling_does(metric):
    distance, x, y = CLASSES[metric](), np.asarray(QUERY), np.asarray(KEY)
    np.testing.assert_array_equal(distance.call(x, y), distance(x, y))


def test_lists_are_taken_as_numpy_arrays():
    result = distances.InnerProductSimilarity()(QUERY, KEY)
    assert result.tolist() == [[23.0, 15.0, 17.0], [55.5, 36.0, 39.0]]


@each
@pytest.mark.parametrize("kind", ["array", "list"])
def test_a_numpy_array_or_a_list_joins_the_array_beside_it(library, metric, kind):
    distance = CLASSES[metric]()
    query, key = library.asarray(QUERY), library.asarray(KEY)
    whole = library.to_numpy(distance(query, key))
    hosts = [np.asarray(x, np.float32) for x in (QUERY, KEY)]
    if kind == "list":
        hosts = [host.tolist() for host in hosts]
    for call in (distance, distance.call):
        for result in (call(query, hosts[1]), call(hosts[0], key)):
            assert library.dtype_of(result) == "float32"
            np.testing.assert_allclose(library.to_numpy(result), whole, rtol=1e-6)


@having("library", "dtype", [("float16",), ("bfloat16",), ("float64",)])
def test_a_list_takes_the_float_dtype_of_the_array_beside_it(library, dtype):
    query = library.asarray(QUERY, dtype)
    result = distances.EuclideanDistance()(query, KEY)
    assert library.dtype_of(result) == dtype


def test_a_list_of_floats_beside_integers_is_of_the_default_float(library):
    query = library.asarray(np.asarray([[1, 2], [3, 4]], np.int32))
    result = distances.SquaredEuclideanDistance()(query, KEY)
    default = (
        "float64"
        if library.name in ("numpy", "dask", "array_api_strict")
        else "float32"
    )
    assert library.dtype_of(result) == default
    expected = distances.SquaredEuclideanDistance()([[1.0, 2.0], [3.0, 4.0]], KEY)
    np.testing.assert_allclose(library.to_numpy(result), expected, rtol=1e-6)


def test_a_numpy_array_keeps_its_dtype_beside_another_array(library):
    query, key = library.asarray(QUERY, "float32"), np.asarray(KEY, np.float64)
    result = distances.EuclideanDistance()(query, key)
    wide = "float32" if library.name == "jax" else "float64"
    assert library.dtype_of(result) == wide


def test_the_gradient_of_a_tensor_beside_a_numpy_array(gradient):
    distance = distances.SNRDistance()
    query = np.asarray(QUERY, np.float32)

    def loss(x: Any) -> Any:
        return distance(x, np.asarray(KEY, np.float32))[0, 0]

    (found,) = gradient(loss, query)
    # (y_0 - y_1)**2 / (x_0 - x_1)**2 of the differences from the key.
    step, slopes = 1e-6, []
    for axis in (0, 1):
        shift = step * np.eye(2)[axis]
        up, down = (
            distance(np.asarray(QUERY) + s, np.asarray(KEY)) for s in (shift, -shift)
        )
        slopes.append((up - down)[0, 0] / (2 * step))
    np.testing.assert_allclose(found, [slopes, [0.0, 0.0]], rtol=1e-3)


@pytest.mark.parametrize("kind", ["array", "list"])
def test_what_joins_may_be_a_constant_of_a_trace(traced, kind):
    distance = distances.SNRDistance()
    key = KEY if kind == "list" else np.asarray(KEY, np.float32)
    result = traced(lambda x: distance(x, key), np.asarray(QUERY, np.float32))
    np.testing.assert_allclose(result, distance(QUERY, KEY), rtol=1e-5)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ([[1.0, 2.0], [3.0]], "`y` must be a rectangular list; got a ragged list."),
        ([["a", "b"]], "`y` must be of integers or real floats; got dtype "),
        (np.ma.masked_array(KEY), "`y` must be a dense array; got MaskedArray: "),
        (np.asarray([[True, False]]), "`y` must be of integers or real floats; got "),
    ],
)
def test_what_cannot_join_is_refused(library, key, message):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        distances.EuclideanDistance()(library.asarray(QUERY), key)


# What TensorFlow Similarity's own tests ask for.


def test_cosine_distance_takes_vectors_as_they_are():
    x = np.asarray([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]], np.float32)
    expected = [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]]
    np.testing.assert_array_equal(distances.CosineDistance()(x), expected)


def test_cosine_distance_normalizes_when_told():
    x = np.asarray([[0.0, 2.0], [1.0, 1.0]])
    result = distances.CosineDistance(normalize=True)(x)
    expected = 1 - np.sqrt(0.5)
    np.testing.assert_allclose(result, [[0, expected], [expected, 0]], atol=1e-15)


# Names.


@each
def test_a_distance_is_called_by_its_metric(metric):
    distance = CLASSES[metric]()
    assert distance.name == str(distance) == metric


def test_a_name_of_ones_own_is_kept():
    distance = distances.EuclideanDistance(name="mine", aliases=["m"])
    assert (distance.name, distance.aliases) == ("mine", ["m"])
    assert repr(distance) == "EuclideanDistance(name='mine', aliases=['m'])"


@pytest.mark.parametrize(
    ("metric", "name"), [(metric, name) for metric in NAMES for name in NAMES[metric]]
)
def test_get_knows_every_name(metric, name):
    for get in (distances.get, distances.distance_canonicalizer):
        assert type(get(name)) is CLASSES[metric]


@each
def test_get_knows_every_alias_that_an_object_has(metric):
    for alias in CLASSES[metric]().aliases:
        assert type(distances.get(alias)) is CLASSES[metric]


def test_get_returns_a_distance_as_it_is_and_of_a_name_a_new_one():
    distance = distances.SNRDistance()
    assert distances.get(distance) is distance
    assert distances.get("snr") is not distances.get("snr")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("euclidian", "euclidean"), ("cosin", "cosine"), ("manhatten", "manhattan")],
)
def test_an_unknown_name_is_named_with_the_nearest(name, nearest):
    message = (
        rf"`identifier` must be one of inner_product, .*; got '{name}'\. Nearest: "
    )
    with pytest.raises(ValueError, match=f"{message}'{nearest}'"):
        distances.get(name)


@pytest.mark.parametrize("identifier", [None, 3, distances.SNRDistance])
def test_what_is_no_name_is_refused(identifier):
    message = "`identifier` must be a name, a config or a Distance; got "
    with pytest.raises(ValueError, match=message):
        distances.get(identifier)


# Configs.


@each
def test_a_config_gives_back_every_argument(metric):
    given: dict[str, Any] = {"name": "mine", "aliases": ["m"]}
    if metric == "cosine":
        given["normalize"] = True
    distance = CLASSES[metric](**given)
    assert distance.get_config() == given
    again = CLASSES[metric].from_config(distance.get_config())
    assert again.get_config() == given
    assert again.aliases is not distance.aliases


@each
def test_serialize_and_deserialize_are_inverse(metric):
    config = distances.serialize(CLASSES[metric](name="mine"))
    config = json.loads(json.dumps(config))
    for again in (distances.deserialize(config), distances.get(config)):
        assert type(again) is CLASSES[metric]
        assert again.name == "mine"


def test_serialize_writes_what_keras_reads():
    assert distances.serialize(distances.SNRDistance()) == {
        "module": "metricops.adapters.distances",
        "class_name": "SNRDistance",
        "config": {"name": "snr", "aliases": ["snrdistance", "signal-to-noise-ratio"]},
        "registered_name": "metricops>SNRDistance",
    }


ORIGINALS = {
    "0.17 on TensorFlow 2.15": {
        "module": "tensorflow_similarity.distances.cosine",
        "class_name": "CosineDistance",
        "config": {"name": "cosine"},
        "registered_name": "Similarity>CosineDistance",
    },
    "0.17 on TensorFlow 2.11": {
        "class_name": "Similarity>CosineDistance",
        "config": {"name": "cosine", "aliases": []},
    },
    "0.16": {"class_name": "Similarity>CosineDistance", "config": {}},
    "ours": {"class_name": "metricops>CosineDistance", "config": {}},
    "no config": {"class_name": "CosineDistance"},
    "lower case": {"class_name": "cosine", "config": {"name": "cosine"}},
}


@pytest.mark.parametrize("config", ORIGINALS.values(), ids=ORIGINALS)
def test_the_originals_configs_are_read_and_left_alone(config):
    before = copy.deepcopy(config)
    distance = distances.deserialize(config)
    assert type(distance) is distances.CosineDistance
    assert distance.name == "cosine"
    assert config == before


class ChebyshevDistance(distances.Distance):
    metric = "chebyshev"

    def call(self, query_embeddings, key_embeddings=None):
        raise NotImplementedError


@pytest.mark.parametrize("key", ["ChebyshevDistance", "mine>ChebyshevDistance"])
def test_classes_of_ones_own_are_found(key):
    config = {"class_name": "mine>ChebyshevDistance", "config": {}}
    found = distances.deserialize(config, custom_objects={key: ChebyshevDistance})
    assert type(found) is ChebyshevDistance
    assert (found.name, found.aliases) == ("chebyshev", [])


@pytest.mark.parametrize("name", ["CosinDistance", "other>CosineDistance"])
def test_an_unknown_class_is_named_with_the_nearest(name):
    message = (
        rf"`class_name` must be one of .*; got '{name}'\. Nearest: 'cosinedistance'"
    )
    with pytest.raises(ValueError, match=message):
        distances.deserialize({"class_name": name, "config": {}})


@pytest.mark.parametrize("config", [{}, {"class_name": None}, "cosine", None])
def test_what_is_no_config_is_refused(config):
    message = '`config` must be a dict with a "class_name"; got '
    with pytest.raises(ValueError, match=message):
        distances.deserialize(config)


def test_an_argument_that_a_class_does_not_have_is_refused():
    with pytest.raises(TypeError, match="unexpected keyword argument 'foo'"):
        distances.get({"class_name": "SNRDistance", "config": {"foo": 1}})


def test_importing_the_objects_imports_no_framework():
    frameworks = {"keras", "tensorflow", "torch", "jax", "flax", "dask"}
    module = "metricops.adapters.distances"
    code = f"import {module}, sys; print(set(sys.modules) & {frameworks})"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout == "set()\n"
