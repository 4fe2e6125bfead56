"""Which arrays a call takes: of one library, with companions moved to it."""

import subprocess
import sys
from itertools import permutations
from typing import Any

import numpy as np
import pytest

import metricops
from tests.conftest import DIFFERENTIABLE, LIBRARIES, Library, require

X = [[2.0, 1.0, 0.0], [0.0, 2.0, 1.0], [1.0, 0.0, 2.0]]
Y = [[1.0, 1.0, 0.5], [0.0, 1.0, 2.0], [3.0, 0.0, 1.0]]
NAMES = {
    "numpy": "NumPy",
    "torch": "PyTorch",
    "jax": "JAX",
    "tensorflow": "TensorFlow",
    "dask": "Dask",
    "array_api_strict": "array-api-strict",
}
# Each function as a call of embeddings or similarities, of which it may take two.
TWO: dict[str, Any] = {
    "cosine_similarity": metricops.cosine_similarity,
    "dot": lambda x, y: metricops.dot(x, y, axes=1),
    "pairwise_inner_product": metricops.pairwise_inner_product,
    "pairwise_cosine_similarity": metricops.pairwise_cosine_similarity,
    "cosine_similarity_loss": metricops.cosine_similarity_loss,
    "npairs_loss_from_embeddings": metricops.npairs_loss_from_embeddings,
    "npairs_loss_and_grad": lambda x, y: metricops.npairs_loss_and_grad(x, y)[0],
    "nearest_neighbors": lambda x, y: metricops.nearest_neighbors(x, y)[0],
    "recall_at_k": lambda x, y: metricops.recall_at_k(x, [0, 1, 2], y, [0, 1, 2], k=2)[
        2
    ],
}
ONE: dict[str, Any] = {
    "l2_normalize": metricops.l2_normalize,
    "softmax_cross_entropy": lambda x: metricops.softmax_cross_entropy(x, np.eye(3)),
    "npairs_loss": lambda x: metricops.npairs_loss(x, [0, 1, 0]),
    "npairs_multilabel_loss": lambda x: metricops.npairs_multilabel_loss(x, np.eye(3)),
}
ALL: dict[str, Any] = {
    **TWO,
    **{name: lambda x, y, call=call: call(x) for name, call in ONE.items()},
}
two = pytest.mark.parametrize("name", TWO)
every = pytest.mark.parametrize("name", ALL)


# One library.


@two
def test_main_arrays_of_two_libraries_are_refused_by_name(name):
    x, y = Library("numpy").asarray(X), Library("torch").asarray(Y)
    form = r"`\w+` must be of the library of `\w+`, {}; got an array of {}\."
    with pytest.raises(TypeError, match=form.format("NumPy", "PyTorch")):
        TWO[name](x, y)
    with pytest.raises(TypeError, match=form.format("PyTorch", "NumPy")):
        TWO[name](y, x)


@pytest.mark.parametrize(("first", "second"), list(permutations(LIBRARIES, 2)))
def test_any_two_libraries_are_told_apart(first, second):
    x, y = Library(first).asarray(X), Library(second).asarray(Y)
    words = (
        f"`y` must be of the library of `x`, {NAMES[first]}; "
        f"got an array of {NAMES[second]}."
    )
    with pytest.raises(TypeError) as caught:
        metricops.cosine_similarity(x, y)
    assert str(caught.value) == words


@two
def test_a_list_beside_an_array_is_refused(library, name):
    x = library.asarray(X)
    words = rf"must be of the library of `\w+`, {NAMES[library.name]}; got a list\."
    for arrays in ((x, Y), (Y, x)):
        with pytest.raises(TypeError, match=words):
            TWO[name](*arrays)


@every
def test_lists_alone_are_numpy_arrays(name):
    result = ALL[name](X, Y)
    assert isinstance(result, np.ndarray | np.generic)
    assert result.dtype == np.float64
    np.testing.assert_array_equal(result, ALL[name](np.asarray(X), np.asarray(Y)))


@every
def test_the_inputs_stay_as_they_were(library, name):
    x, y = library.asarray(X), library.asarray(Y)
    library.to_numpy(ALL[name](x, y))
    np.testing.assert_array_equal(library.to_numpy(x), np.asarray(X, np.float32))
    np.testing.assert_array_equal(library.to_numpy(y), np.asarray(Y, np.float32))


def test_read_only_arrays_are_taken(library):
    labels, weights = np.asarray([0, 1, 0]), np.ones(3)
    labels.flags.writeable = weights.flags.writeable = False
    similarity = library.asarray(X)
    loss = metricops.npairs_loss(similarity, labels, sample_weight=weights)
    plain = metricops.npairs_loss(similarity, [0, 1, 0])
    np.testing.assert_array_equal(library.to_numpy(loss), library.to_numpy(plain))


def test_views_are_taken():
    cube = np.random.default_rng(0).standard_normal((3, 4, 2))
    torch = Library("torch").module
    expected = metricops.l2_normalize(np.ascontiguousarray(cube[::-1, :, 1]))
    for view in (cube[::-1, :, 1], torch.asarray(cube)[:, :, 1].flip(0)):
        result = metricops.l2_normalize(view)
        np.testing.assert_allclose(result, expected, rtol=1e-14)


# Companions.


@pytest.mark.parametrize("kind", ["list", "tuple", "numpy", "own"])
def test_companions_are_moved_to_the_main_arrays(library, kind):
    convert = {
        "list": lambda values: values,
        "tuple": tuple,
        "numpy": np.asarray,
        "own": library.asarray,
    }[kind]
    x, y = library.asarray(X), library.asarray(Y)
    loss = metricops.npairs_loss_from_embeddings(
        x,
        y,
        convert([0, 1, 0]),
        candidate_labels=convert([1, 0, 1]),
        sample_weight=convert([1.0, 2.0, 0.5]),
        temperature=2.0 if kind in ("list", "tuple") else convert(np.float32(2)),
    )
    assert library.owns(loss)
    expected = metricops.npairs_loss_from_embeddings(
        X,
        Y,
        [0, 1, 0],
        candidate_labels=[1, 0, 1],
        sample_weight=[1.0, 2.0, 0.5],
        temperature=2.0,
    )
    np.testing.assert_allclose(library.to_numpy(loss), expected, rtol=1e-5)


FOREIGN: dict[str, Any] = {
    "labels": lambda x, other: metricops.npairs_loss(x, other),
    "column_labels": lambda x, other: metricops.npairs_loss(
        x, [0, 1, 2], column_labels=other
    ),
    "targets": lambda x, other: metricops.softmax_cross_entropy(x, other),
    "sample_weight": lambda x, other: metricops.npairs_loss(
        x, [0, 1, 2], sample_weight=other
    ),
    "temperature": lambda x, other: metricops.npairs_loss_from_embeddings(
        x, x, temperature=other
    ),
    "candidate_labels": lambda x, other: metricops.npairs_loss_from_embeddings(
        x, x, [0, 1, 2], candidate_labels=other
    ),
    "query_labels": lambda x, other: metricops.recall_at_k(x, other, k=1),
}


@pytest.mark.parametrize("argument", FOREIGN)
@pytest.mark.parametrize("main", ["numpy", "torch", "jax", "array_api_strict"])
def test_a_companion_of_another_library_is_refused_by_name(argument, main):
    foreign = "jax" if main == "torch" else "torch"
    other = Library(foreign).asarray([0, 1, 2])
    x = Library(main).asarray(X)
    words = (
        rf"^`{argument}` must be .*{NAMES[main]}; got an array of {NAMES[foreign]}\.$"
    )
    with pytest.raises(TypeError, match=words):
        FOREIGN[argument](x, other)


def test_a_jax_tracer_beside_numpy_arrays_is_refused_by_name(jax):
    similarity = np.asarray(X)

    @jax.jit
    def loss(labels):
        return metricops.npairs_loss(similarity, labels)

    with pytest.raises(TypeError, match="NumPy; got an array of JAX"):
        loss(jax.numpy.asarray([0, 1, 2]))


def test_a_jax_tracer_beside_a_numpy_main_array_is_refused_by_name(jax):
    with pytest.raises(TypeError, match="JAX; got an array of NumPy"):
        jax.jit(lambda x: metricops.cosine_similarity(x, np.asarray(Y)))(
            jax.numpy.asarray(X)
        )


# Variables.


def variables(name, values):
    """Return the variables of a framework that hold `values`."""
    library = Library(name)
    array = library.asarray(values)
    if name == "torch":
        return [library.module.nn.Parameter(array)]
    if name == "tensorflow":
        return [library.module.Variable(array)]
    nnx = require("flax.nnx")
    return [nnx.Param(array)]


@every
@pytest.mark.parametrize("framework", DIFFERENTIABLE)
def test_variables_are_arrays(framework, name):
    library = Library(framework)
    expected = ALL[name](library.asarray(X), library.asarray(Y))
    for x, y in zip(variables(framework, X), variables(framework, Y), strict=True):
        result = library.to_numpy(ALL[name](x, y))
        np.testing.assert_array_equal(result, library.to_numpy(expected))


def test_keras_variables_are_arrays():
    keras = require("keras")
    library = Library(keras.backend.backend())
    x, y = (
        keras.Variable(np.asarray(X, np.float32)),
        keras.Variable(np.asarray(Y, np.float32)),
    )
    weights, labels = (
        keras.Variable([1.0, 2.0, 0.5]),
        keras.Variable([0, 1, 0], dtype="int32"),
    )
    result = metricops.npairs_loss_from_embeddings(x, y, labels, sample_weight=weights)
    assert library.owns(result)
    expected = metricops.npairs_loss_from_embeddings(
        X, Y, [0, 1, 0], sample_weight=[1.0, 2.0, 0.5]
    )
    np.testing.assert_allclose(library.to_numpy(result), expected, rtol=1e-5)


def test_a_variable_may_meet_an_array(tf):
    result = metricops.cosine_similarity(tf.Variable(X), tf.constant(Y))
    expected = metricops.cosine_similarity(X, Y)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_a_variable_may_be_a_companion(tf):
    weights = tf.Variable([1.0, 0.0, 1.0])
    labels = tf.Variable([0, 1, 2])
    result = metricops.npairs_loss(tf.constant(X), labels, sample_weight=weights)
    expected = metricops.npairs_loss(X, [0, 1, 2], sample_weight=[1.0, 0.0, 1.0])
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_a_tensorflow_variable_has_a_gradient(tf):
    x = tf.Variable(X)
    with tf.GradientTape() as tape:
        loss = metricops.npairs_loss_from_embeddings(x, tf.constant(Y))
    expected = metricops.npairs_loss_and_grad(X, Y)[1][0]
    np.testing.assert_allclose(tape.gradient(loss, x), expected, atol=1e-6)


def test_a_torch_parameter_has_a_gradient(torch):
    x = torch.nn.Parameter(torch.tensor(X))
    metricops.npairs_loss_from_embeddings(x, torch.tensor(Y)).backward()
    expected = metricops.npairs_loss_and_grad(X, Y)[1][0]
    np.testing.assert_allclose(x.grad, expected, atol=1e-6)


# What is refused, with what to do instead.


@pytest.mark.parametrize("name", ["l2_normalize", "npairs_loss", "cosine_similarity"])
def test_a_ragged_tensor_is_refused_with_its_conversion(tf, name):
    ragged = tf.ragged.constant([[1.0, 2.0], [3.0]])
    words = (
        r"must be a dense array; got RaggedTensor: convert it with \.to_tensor\(\)\."
    )
    with pytest.raises(TypeError, match=words):
        ALL[name](ragged, ragged)


def test_a_sparse_tensor_is_refused_with_its_conversion(tf):
    sparse = tf.sparse.from_dense(X)
    with pytest.raises(TypeError) as caught:
        metricops.l2_normalize(sparse)
    assert str(caught.value) == (
        "`x` must be a dense array; "
        "got SparseTensor: convert it with tf.sparse.to_dense()."
    )


def test_a_sparse_companion_is_refused_with_its_conversion(tf):
    sparse = tf.sparse.from_dense(np.eye(3))
    with pytest.raises(TypeError, match=r"^`labels` .*tf\.sparse\.to_dense\(\)\.$"):
        metricops.npairs_multilabel_loss(tf.constant(X), sparse)


def test_a_sparse_torch_tensor_is_refused_with_its_conversion(torch):
    with pytest.raises(TypeError) as caught:
        metricops.l2_normalize(torch.tensor(X).to_sparse())
    assert str(caught.value) == (
        "`x` must be a dense array; got sparse tensor: convert it with .to_dense()."
    )


def test_a_sparse_jax_array_is_refused_with_its_conversion(jax):
    sparse = require("jax.experimental.sparse")
    with pytest.raises(TypeError) as caught:
        metricops.l2_normalize(sparse.BCOO.fromdense(jax.numpy.asarray(X)))
    assert str(caught.value) == (
        "`x` must be a dense array; got sparse array: convert it with .todense()."
    )


@every
def test_a_keras_tensor_is_refused_with_the_layer_to_use(name):
    keras = require("keras")
    x = keras.Input((3,))
    with pytest.raises(TypeError, match=r"KerasTensor.*metricops\.adapters\.keras"):
        ALL[name](x, x)


@pytest.mark.parametrize(
    "value", [None, "text", {"a": 1}, object()], ids=["None", "str", "dict", "object"]
)
def test_what_is_no_array_is_refused_by_its_type(value):
    with pytest.raises(TypeError) as caught:
        metricops.l2_normalize(value)
    words = f"`x` must be a dense array; got {type(value).__name__}."
    assert str(caught.value) == words


# Devices.


@every
def test_the_result_is_on_the_device_of_the_input(name):
    xp = Library("array_api_strict").module
    device = xp.Device("device1")
    result = ALL[name](xp.asarray(X, device=device), xp.asarray(Y, device=device))
    assert result.device == device


def test_companions_go_to_the_device_of_the_main_arrays():
    xp = Library("array_api_strict").module
    device = xp.Device("device1")
    loss = metricops.npairs_loss_from_embeddings(
        xp.asarray(X, device=device),
        xp.asarray(Y, device=device),
        [0, 1, 0],
        candidate_labels=np.asarray([1, 0, 1]),
        sample_weight=[1.0, 2.0, 0.5],
        temperature=np.asarray(2.0),
    )
    assert loss.device == device


def test_gradients_are_on_the_device_of_the_input():
    xp = Library("array_api_strict").module
    device = xp.Device("device1")
    x, y = xp.asarray(X, device=device), xp.asarray(Y, device=device)
    for gradient in metricops.npairs_loss_and_grad(x, y)[1]:
        assert gradient is not None
        assert gradient.device == device


@every
def test_a_result_without_data_has_the_right_shape(torch, name):
    x = torch.empty((3, 3), device="meta")
    result = ALL[name](x, torch.empty((3, 3), device="meta"))
    assert result.device.type == "meta"
    assert result.shape == ALL[name](torch.tensor(X), torch.tensor(Y)).shape


# Dask.


@every
def test_dask_computes_nothing_before_it_is_asked(name):
    library = Library("dask")
    x, y = library.asarray(X), library.asarray(Y)

    def refuse(*_, **__):
        raise AssertionError("computed")

    with require("dask").config.set(scheduler=refuse):
        result = ALL[name](x, y)
    np.testing.assert_allclose(
        library.to_numpy(result),
        ALL[name](np.asarray(X, np.float32), np.asarray(Y, np.float32)),
        rtol=1e-5,
    )


def unknown(rows):
    """Return `rows` as a Dask array whose number of rows Dask does not know."""
    array = Library("dask").asarray(rows)
    return array[array[:, 0] > -1]


@pytest.mark.parametrize(
    "name",
    [
        "l2_normalize",
        "cosine_similarity",
        "dot",
        "pairwise_inner_product",
        "pairwise_cosine_similarity",
        "cosine_similarity_loss",
    ],
)
def test_unknown_chunks_do_where_positions_do_not_matter(name):
    result = ALL[name](unknown(X), unknown(Y)).compute()
    np.testing.assert_allclose(result, ALL[name](X, Y), rtol=1e-5, atol=1e-7)


def test_unknown_chunks_do_where_labels_say_what_belongs_together():
    labels = Library("dask").asarray([0, 1, 0])[Library("dask").asarray(X)[:, 0] > -1]
    similarity = metricops.pairwise_inner_product(unknown(X))
    result = metricops.npairs_loss(similarity, labels)
    expected = metricops.npairs_loss(metricops.pairwise_inner_product(X), [0, 1, 0])
    np.testing.assert_allclose(result.compute(), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("(anchors|candidates)", lambda x: metricops.npairs_loss_from_embeddings(x, x)),
        (
            "anchors",
            lambda x: metricops.npairs_loss_from_embeddings(
                x, None, [0, 1, 0], exclude_diagonal=True
            ),
        ),
        ("queries", metricops.nearest_neighbors),
    ],
    ids=["candidates", "exclude_diagonal", "nearest_neighbors"],
)
def test_unknown_chunks_are_refused_where_positions_matter(argument, call):
    words = rf"^`{argument}` must have known chunks, as its compute_chunk_sizes\(\)"
    with pytest.raises(ValueError, match=words):
        call(unknown(X))


# What NumPy would quietly take for something else.

COMPANIONS: dict[str, Any] = {
    "labels": lambda x, value: metricops.npairs_loss(x, value),
    "column_labels": lambda x, value: metricops.npairs_loss(
        x, [0, 1, 2], column_labels=value
    ),
    "candidate_labels": lambda x, value: metricops.npairs_loss_from_embeddings(
        x, x, [0, 1, 2], candidate_labels=value
    ),
    "query_labels": lambda x, value: metricops.recall_at_k(x, value, k=1),
    "key_labels": lambda x, value: metricops.recall_at_k(x, [0, 1, 2], x, value, k=1),
    "sample_weight": lambda x, value: metricops.npairs_loss(
        x, [0, 1, 2], sample_weight=value
    ),
}
companions = pytest.mark.parametrize("argument", COMPANIONS)


@companions
def test_a_masked_companion_is_refused_with_its_conversion(library, argument):
    masked = np.ma.masked_array([0, 1, 2], [False, True, False])
    for value in (masked, [masked, masked], [np.ma.masked, 1, 2]):
        with pytest.raises(TypeError) as caught:
            COMPANIONS[argument](library.asarray(X), value)
        assert str(caught.value).startswith(f"`{argument}` must be a dense array; got ")
        assert str(caught.value).endswith(": convert it with .filled().")


OTHER_COMPANIONS: dict[str, Any] = {
    "targets": (metricops.softmax_cross_entropy, np.eye(3)),
    "temperature": (
        lambda x, value: metricops.npairs_loss_from_embeddings(x, x, temperature=value),
        0.5,
    ),
    "labels": (metricops.npairs_multilabel_loss, np.eye(3)),
}


@pytest.mark.parametrize("argument", OTHER_COMPANIONS)
def test_a_masked_number_is_refused_with_its_conversion(library, argument):
    call, value = OTHER_COMPANIONS[argument]
    with pytest.raises(TypeError) as caught:
        call(library.asarray(X), np.ma.masked_array(value, mask=True))
    assert str(caught.value) == (
        f"`{argument}` must be a dense array; "
        "got MaskedArray: convert it with .filled()."
    )


def test_a_masked_main_array_is_refused_with_its_conversion():
    words = r"^`x` must be a dense array; got MaskedArray: convert it with \.filled"
    with pytest.raises(TypeError, match=words):
        metricops.l2_normalize(np.ma.masked_array(X))


matrices = pytest.mark.filterwarnings("ignore:the matrix subclass")


@every
@matrices
def test_a_matrix_is_refused_with_its_conversion(name):
    matrix = np.asmatrix(X)
    words = r"must be a dense array; got matrix: convert it with numpy\.asarray\(\)\.$"
    with pytest.raises(TypeError, match=words):
        ALL[name](matrix, matrix)


@matrices
def test_a_matrix_of_labels_is_refused_with_its_conversion(library):
    with pytest.raises(TypeError) as caught:
        metricops.npairs_loss(library.asarray(X), np.asmatrix([[0], [1], [2]]))
    assert str(caught.value) == (
        "`labels` must be a dense array; got matrix: convert it with numpy.asarray()."
    )


FOREIGN_LISTS = ["torch", "jax", "tensorflow", "dask", "array_api_strict"]


@companions
@pytest.mark.parametrize("framework", FOREIGN_LISTS)
def test_a_list_of_arrays_is_refused_with_what_to_do(framework, argument):
    library = Library(framework)
    values = [library.asarray(np.asarray(value)) for value in (0, 1, 2)]
    for main in (library, Library("numpy")):
        for value in (values, tuple(values), [[one] for one in values]):
            with pytest.raises(TypeError) as caught:
                COMPANIONS[argument](main.asarray(X), value)
            assert str(caught.value) == (
                f"`{argument}` must be one array, or a list of numbers; "
                f"got a list of arrays of {NAMES[framework]}: stack them first."
            )


@every
@pytest.mark.parametrize("framework", FOREIGN_LISTS)
def test_a_list_of_rows_that_are_arrays_is_refused_with_what_to_do(framework, name):
    library = Library(framework)
    rows = [library.asarray(row) for row in X]
    words = rf"got a list of arrays of {NAMES[framework]}: stack them first\.$"
    with pytest.raises(TypeError, match=words):
        ALL[name](rows, rows)


def test_a_list_of_numpy_arrays_is_one_array(library):
    similarity = library.asarray(X)
    labels = [np.asarray(0), np.int64(1), np.asarray(0)]
    weights = [np.float32(1), np.asarray(2.0), 0.5]
    loss = metricops.npairs_loss(similarity, labels, sample_weight=weights)
    expected = metricops.npairs_loss(X, [0, 1, 0], sample_weight=[1.0, 2.0, 0.5])
    np.testing.assert_allclose(library.to_numpy(loss), expected, rtol=1e-5)


# Versions of the standard.


@pytest.mark.parametrize("version", ["2022.12", "2023.12"])
def test_a_library_of_an_older_standard_is_refused(version):
    code = (
        "import array_api_strict as xp\n"
        f"xp.set_array_api_strict_flags(api_version={version!r})\n"
        "import metricops\n"
        "try:\n"
        "    metricops.l2_normalize(xp.ones((2, 2)))\n"
        "except TypeError as error:\n"
        "    print(error)\n"
    )
    require("array_api_strict")
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout == (
        "`x` must be of a library that implements version 2024.12 of the array API "
        f"standard, or a later one; got an array of array-api-strict, with {version}.\n"
    )


def test_the_oldest_version_of_the_standard_is_enough():
    xp = Library("array_api_strict").module
    x, y = xp.asarray(X), xp.asarray(Y)
    with xp.ArrayAPIStrictFlags(api_version="2024.12"):
        for name, call in ALL.items():
            result = call(x, y)
            expected = call(np.asarray(X), np.asarray(Y))
            np.testing.assert_allclose(
                np.asarray(result), expected, rtol=1e-12, err_msg=name
            )


# Dask, whose chunks may be unknown, beside companions that have sizes.

BESIDE: dict[str, Any] = {
    "npairs_loss": (
        "similarity",
        lambda x: metricops.npairs_loss(x, np.asarray([0, 1, 0])),
    ),
    "npairs_loss, list": ("similarity", lambda x: metricops.npairs_loss(x, [0, 1, 0])),
    "embeddings": (
        "anchors",
        lambda x: metricops.npairs_loss_from_embeddings(x, None, [0, 1, 0]),
    ),
    "multilabel": (
        "similarity",
        lambda x: metricops.npairs_multilabel_loss(x, np.eye(3)),
    ),
    "targets": (
        "similarity",
        lambda x: metricops.softmax_cross_entropy(x, np.eye(3)),
    ),
    "sample_weight": (
        "y_pred",
        lambda x: metricops.cosine_similarity_loss(x, x, sample_weight=[1, 2, 3]),
    ),
    "recall": ("queries", lambda x: metricops.recall_at_k(x, ["a", "b", "a"], k=1)),
}


@pytest.mark.parametrize("name", BESIDE)
def test_unknown_chunks_beside_numpy_arrays_are_refused_by_name(name):
    argument, call = BESIDE[name]
    words = rf"^`{argument}` must have known chunks, as its compute_chunk_sizes\(\)"
    with pytest.raises(ValueError, match=words):
        call(unknown(X))


def test_one_weight_does_beside_unknown_chunks():
    for weight in (2, 2.0, np.float32(2), np.asarray(2.0), [2.0]):
        loss = metricops.cosine_similarity_loss(
            unknown(X), unknown(Y), sample_weight=weight
        )
        expected = 2 * metricops.cosine_similarity_loss(X, Y)
        np.testing.assert_allclose(loss.compute(), expected, rtol=1e-5)


MISMATCHED: dict[str, Any] = {
    "labels": lambda x, y: metricops.npairs_loss_from_embeddings(x, None, y[:, 0]),
    "candidate_labels": lambda x, y: metricops.npairs_loss_from_embeddings(
        y, x, y[:, 0], candidate_labels=y[:, 0]
    ),
    "column_labels": lambda x, y: metricops.npairs_loss(
        metricops.pairwise_inner_product(y, x), y[:, 0], column_labels=y[:, 0]
    ),
    "query_labels": lambda x, y: metricops.recall_at_k(x, y[:, 0], k=1),
    "key_labels": lambda x, y: metricops.recall_at_k(y, y[:, 0], x, y[:, 0], k=1),
    "sample_weight": lambda x, y: metricops.cosine_similarity_loss(
        x, x, sample_weight=y[:, 0]
    ),
    "targets": metricops.softmax_cross_entropy,
    "y": metricops.cosine_similarity,
}


@pytest.mark.parametrize("argument", MISMATCHED)
def test_unknown_chunks_beside_known_ones_are_refused(argument):
    known = require("dask.array").from_array(np.asarray(Y), chunks=2)
    words = rf"^`{argument}` must .*call its compute_chunk_sizes\(\)"
    for given in ((unknown(X), known), (known, unknown(X))):
        with pytest.raises(ValueError, match=words):
            MISMATCHED[argument](*given)


def test_a_search_among_keys_of_unknown_chunks_is_refused():
    known = require("dask.array").from_array(np.asarray(Y), chunks=2)
    with pytest.raises(ValueError, match=r"^`keys` must have known chunks"):
        metricops.nearest_neighbors(known, unknown(X))
