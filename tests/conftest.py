"""One suite for every array library, eager and traced.

`library` is one of the array libraries; `run` calls a function in one of them, eagerly
or traced; `gradient` differentiates a function in one of those that can.
"""

import contextlib
import importlib
import importlib.util
import os
from collections.abc import Callable, Iterable
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest

# One thread each: the tests run side by side, and sums keep their order.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

LIBRARIES = ("numpy", "torch", "jax", "tensorflow", "dask", "array_api_strict")
DIFFERENTIABLE = ("torch", "jax", "tensorflow")
DTYPES = (
    *("float16", "bfloat16", "float32", "float64", "complex64"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)
# JAX compiles an eager call piece by piece, which takes several times as long as `jit`.
USUAL_MODE = {"jax": "jit"}
TRACED = (
    ("torch", "compile"),
    ("tensorflow", "graph"),
    ("tensorflow", "unknown"),
    ("tensorflow", "xla"),
)
TRACED_GRADIENT = (
    ("torch", "compile"),
    ("tensorflow", "graph"),
    ("tensorflow", "xla"),
)


# Without `--all` XLA compiles a program of JAX five times as fast, and less well, ...
QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_parallel_codegen_split_count": 1,
    "xla_cpu_use_fusion_emitters": False,
}
# ... but not in these files, where it counts how numbers are rounded.
COMPILED_FULLY = (
    *("test_jax", "test_logits", "test_precision", "test_random_calls"),
    "test_small_losses",
)
COMPILER: dict[str, Any] = {}

# Left out without `--all`: ways of tracing, in files other than these, ...
LONG_WAYS = ("torch-compile", "tensorflow-unknown", "tensorflow-xla")
TRACED_FULLY = ("test_labels", "test_objectives")
# ... and tests that take ten seconds or more, beside others of the same code.
LONG_TESTS = (
    "test_derivatives_of_a_large_batch_do_not_depend_on_its_panels[None",
    "test_derivatives_of_a_large_batch_do_not_depend_on_its_panels[100-a graph",
    "test_second_derivatives_are_those_of_the_first[forward_over_reverse-'a graph",
    "test_one_epoch_on_the_digits_improves_recall_in_each_framework[jax",
    "test_one_epoch_on_the_digits_improves_recall_in_each_framework[tensorflow",
    "test_one_epoch_of_triplets_improves_recall_in_each_framework[jax",
    "test_one_epoch_of_triplets_improves_recall_in_each_framework[tensorflow",
    "test_distances_and_searches_are_timed_beside_the_native_ones[jax",
    "test_distances_and_searches_are_timed_beside_the_native_ones[tensorflow",
    "test_gradients_are_right_when_traced[tensorflow-graph-labels-all swapped",
    "test_lifted_gradients_are_right_when_traced[tensorflow",
    "test_tensorflow_takes_a_few_panels_at_16384_rows[eager",
    "test_tensorflow_takes_a_few_panels_at_16384_rows[xla",
    "test_tensorflow_takes_a_few_panels_at_16384_rows[a graph",
    "test_keras_has_the_same_loss_and_gradients_as_pytorch",
    "test_the_formulas_of_a_framework_agree_and_are_timed[tensorflow",
    "test_the_formulas_of_a_framework_agree_and_are_timed[torch",
    "test_distances_and_searches_are_timed_beside_the_native_ones[torch",
    "test_the_benchmark_for_gpus_runs_on_a_processor",
    "test_one_epoch_on_the_digits_improves_recall_in_each_framework[torch",
    "test_the_example_trains_saves_loads_and_draws",
    "test_the_best_keys_are_found_when_traced[tensorflow-graph",
    "test_a_key_that_is_nan_comes_after_all_numbers_traced[tensorflow-graph",
    "test_an_infinitely_far_key_comes_before_one_that_is_nan_traced[tensorflow-graph",
    "test_no_query_is_its_own_neighbour_where_all_are_infinitely_far_traced[tensorflow",
    "test_a_traced_search_does_crowded_rows_again[tensorflow",
    "test_snr_of_rows_of_infinite_length_is_a_number[jax-float64",
    "test_equal_keys_come_by_index[jax-cosine",
    "test_equal_keys_come_by_index[jax-euclidean",
    "test_jax_may_refuse_arrays_of_other_ranks[200",
    "test_no_process_of_a_ring_holds_all_candidates",
    "test_several_processes_or_devices_train_as_one[torch",
    "test_second_derivatives_are_those_of_the_first[forward_over_reverse-'XLA inside'",
    "test_a_jacobian_of_a_gradient_of_panels_is_the_hessian[a graph inside",
    "test_second_derivatives_are_those_of_the_first_in_each_order[None",
    'test_torch_takes_a_few_panels_at_16384_rows[{"labelled": true}',
    'test_torch_takes_a_few_panels_at_16384_rows[{"symmetric"',
    'test_torch_takes_a_few_panels_at_16384_rows[{"reduction"',
    'test_numpy_takes_a_few_panels_at_16384_rows[{"symmetric"',
    "test_ten_epochs_find_other_halves_in_each_framework[tensorflow",
    "test_ten_epochs_find_other_halves_in_each_framework[jax",
    "test_second_derivatives_are_those_of_the_first_in_each_order[2-weighted",
    "test_second_derivatives_are_those_of_the_first_in_each_order[2-symmetric",
    "test_vmap_of_each_mode_is_a_loop[None",
    "test_gradients_are_right_when_traced[tensorflow-graph-one set-triplets all",
    "test_gradients_are_right_when_traced[tensorflow-graph-position-contrastive",
    "test_a_persistent_tape_differentiates_twice[XLA",
    "test_a_jacobian_of_a_gradient_of_panels_is_the_hessian[inside XLA",
    "test_second_derivatives_are_those_of_the_first[reverse_over_reverse-'XLA",
    "test_many_rows_are_mapped_over[jax",
    "test_export_leaves_sizes_open[neighbors",
    "test_one_epoch_of_triplets_improves_recall_in_each_framework[torch-memory",
    "test_checkpoint_and_shard_map_keep_each_mode[None",
    "test_a_length_has_derivatives_of_every_order[jax",
    "test_the_best_keys_are_found_in_panels[jax-cosine",
    "test_the_site_works_in_a_browser",
    "test_each_tab_of_the_quick_start_runs[keras",
    "test_each_tab_of_the_quick_start_runs[flax",
    "test_every_public_function_works_on_every_library[jax",
    "test_two_workers_train_as_one_process_does",
    "test_fit_under_a_strategy_trains_as_one_process_does[TripletEmbeddingLoss",
    "test_two_workers_find_what_one_process_does[float64",
    "test_no_process_holds_the_pairs_of_two_chunks[sigmoid",
    "test_no_process_holds_the_pairs_of_two_chunks[contrastive",
    "test_no_process_holds_the_pairs_of_two_chunks[triplets",
    "test_no_process_holds_the_pairs_of_two_chunks[precision",
    "test_sharded_arrays_have_the_numbers_of_whole_ones[all",
    "test_replicas_have_the_loss_and_gradients_of_the_whole_batch[small-mined",
    "test_replicas_have_the_loss_and_gradients_of_the_whole_batch[small-circle",
    "test_replicas_have_the_loss_and_gradients_of_the_whole_batch[small-hard",
    "test_replicas_have_the_loss_and_gradients_of_the_whole_batch[small-n-pairs, ",
    "test_replicas_have_the_loss_and_gradients_of_the_whole_batch[small-soft",
    "test_replicas_have_the_loss_and_gradients_of_the_whole_batch[small-triplets, sum",
    "test_replicas_have_the_loss_and_gradients_of_the_whole_batch[several panels-con",
    "test_every_public_function_works_on_every_library[tensorflow",
    "test_second_derivatives_are_those_of_the_first_in_each_order[2-one set",
    "test_second_derivatives_are_those_of_the_first_in_each_order[2-labels",
    "test_forward_mode_is_the_derivative_along_the_tangents['a graph inside'-{'labels",
    "test_forward_mode_is_the_derivative_along_the_tangents['inside XLA'-{'block",
    "test_second_derivatives_are_those_of_the_first[forward_over_reverse-'eager'-{'lab",
    "test_gradients_are_right_when_traced[tensorflow-graph-one set-contrastive",
    "test_ten_epochs_find_other_halves_in_each_framework[torch",
    "test_jax_vmap_is_a_loop_in_32_bits[cosine-vmap of jit of grad",
    "test_torch_compile_takes_another_value_of_an_int[npairs_loss_and_grad",
    "test_jax_may_refuse_arrays_of_other_ranks[3-cosine",
    "test_the_nearest_keys_come_first_when_traced[tensorflow-graph",
    "test_torch_takes_a_few_panels_at_16384_rows[{}",
    "test_jax_export_leaves_the_number_of_rows_open[_recall",
    "test_export_leaves_sizes_open[given",
    "test_export_leaves_sizes_open[gradients",
    "test_export_leaves_sizes_open[position",
    "test_export_leaves_sizes_open[batch",
    "test_export_leaves_sizes_open[recall",
    "test_jax_may_refuse_arrays_of_other_ranks[3-snr",
    "test_forward_mode_is_the_gradient[None-labels",
    "test_forward_mode_is_the_gradient[2-one set",
    "test_every_row_meets_every_row_when_traced[tensorflow-graph-snr",
    "test_gradients_are_right_when_traced[tensorflow-graph-labels-triplets a",
    "test_values_are_right_when_traced[tensorflow-graph-labels-all swapped",
    "test_one_epoch_of_triplets_improves_recall_in_each_framework[numpy-memory",
    "test_its_gradients_are_right_when_traced[tensorflow-graph-labels",
    (
        "test_torch_takes_a_few_panels_at_16384_rows"
        '[{"labelled": true, "exclude_diagonal": true, "reduction"'
    ),
    "test_one_epoch_of_triplets_improves_recall_in_each_framework[torch-triplet",
    "test_each_jax_vmap_is_a_loop_in_32_bits",
    "test_jax_vmap_is_a_loop_in_32_bits[lifted-vmap of grad",
    "test_its_gradients_are_right_when_traced[tensorflow-graph-symmetric",
    "test_gradients_are_right_when_traced[tensorflow-graph-one set-triplets hard",
    "test_no_features_have_a_gradient_when_traced[tensorflow-graph-2-cosine",
    "test_no_features_have_a_gradient_when_traced[tensorflow-graph-600-euclidean",
    "test_random_calls_are_their_definition[jax-2",
    "test_random_calls_are_their_definition[jax-3",
    "test_mixed_precision_trains_without_nan[mixed_bfloat16-jit",
    "test_mixed_precision_trains_without_nan[mixed_bfloat16-eager",
    "test_the_formulas_of_a_framework_agree_and_are_timed[jax",
    "test_its_gradients_are_right_when_traced[tensorflow-graph-one set",
    "test_second_derivatives_are_those_of_the_first[reverse_over_reverse-'a graph",
    "test_the_gradient_is_that_of_the_definition_when_traced[tensorflow-graph-snr",
    "test_one_epoch_on_the_digits_saves_a_network_that_retrieves[jax",
    "test_one_epoch_on_the_digits_saves_a_network_that_retrieves[torch",
    "test_second_derivatives_of_all_positives_are_compiled_by_xla",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Have `--device cuda` run on a GPU what makes sense there, and `--all` all."""
    parser.addoption("--device", default="cpu", help="of PyTorch, for its device tests")
    parser.addoption("--all", action="store_true", help="also what takes long")


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leave out what takes long, unless all is asked for, or a test by its name."""
    if config.getoption("--all") or any("::" in word for word in config.args):
        return
    long = {item for item in items if takes_long(item)}
    config.hook.pytest_deselected(items=list(long))
    items[:] = [item for item in items if item not in long]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Make the device of `fake_device` known, where some tests take it.

    PyTorch counts its devices once, at the first backward pass of a process.
    """
    takes_device = any(item.path.stem == "test_accelerators" for item in session.items)
    if takes_device and importlib.util.find_spec("torch") is not None:
        importlib.import_module("tests.fake_device").register()


def takes_long(item: pytest.Item) -> bool:
    """Return whether a test is left out without `--all`."""
    if item.name.startswith(LONG_TESTS):
        return True
    way = any(word in item.name for word in LONG_WAYS)
    return way and item.path.stem not in TRACED_FULLY


@pytest.fixture(autouse=True)
def compiler(request: pytest.FixtureRequest) -> None:
    """Have JAX compile quickly, unless all is asked for or it counts."""
    COMPILER.clear()
    if not request.config.getoption("--all"):
        COMPILER.update({} if request.path.stem in COMPILED_FULLY else QUICK)


@pytest.fixture
def device(request: pytest.FixtureRequest) -> str:
    """Return the device of PyTorch that was asked for."""
    name = str(request.config.getoption("--device"))
    if name == "cuda" and not require("torch").cuda.is_available():
        pytest.fail("there is no CUDA device")
    return name


def supports(library: str, dtype: str) -> bool:
    """Return whether `library` has arrays of `dtype`; JAX, in its default 32 bits."""
    if library == "jax":
        return dtype not in ("float64", "int64", "uint64", "complex128")
    if dtype == "bfloat16":
        return library in DIFFERENTIABLE
    return dtype != "float16" or library != "array_api_strict"


def having(fixture: str, names: str, cases: Iterable[Any]) -> pytest.MarkDecorator:
    """Parametrise a test over the libraries, each with the cases whose dtypes it has.

    `fixture` is the one that gets the library; in a case, every string that names a
    dtype is one that the library must have.
    """
    rows = [case if isinstance(case, tuple) else (case,) for case in cases]
    kept = [
        (library, *row)
        for library in LIBRARIES
        for row in rows
        if all(supports(library, x) for x in row if isinstance(x, str) and x in DTYPES)
    ]
    arguments = [fixture, *names.split(", ")]
    return pytest.mark.parametrize(arguments, kept, indirect=[fixture])


def require(name: str) -> ModuleType:
    """Import `name`; without it a test skips, and fails where CI is to have it."""
    if importlib.util.find_spec(name.partition(".")[0]) is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is not installed, and in CI every library is")
        pytest.skip(f"{name} is not installed", allow_module_level=True)
    return importlib.import_module(name)


class Library:
    """An array library as the tests use it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.differentiable = name in DIFFERENTIABLE
        paths = {"jax": "jax.numpy", "dask": "dask.array"}
        self.module: Any = require(paths.get(name, name))
        if name == "torch":
            self.module.set_num_threads(1)
        if name == "dask":
            require("dask").config.set(scheduler="synchronous")

    def supports(self, dtype: str) -> bool:
        """Return whether the library has arrays of `dtype`."""
        return supports(self.name, dtype)

    def dtype(self, name: str) -> Any:
        """Return the library's dtype called `name`."""
        return getattr(self.module, name)

    def asarray(self, values: Any, dtype: str | None = None) -> Any:
        """Turn `values` into an array: floats in lists are float32 unless told."""
        if dtype is None and self.owns(values):
            return values
        host = np.asarray(values)
        if dtype == "bfloat16" or (
            dtype is None and host.dtype == np.float64 and isinstance(values, list)
        ):
            host = host.astype(np.float32)
        elif dtype is not None:
            host = host.astype(dtype)
        array = getattr(self, f"_from_numpy_{self.name}")(host)
        return self.cast(array, dtype) if dtype == "bfloat16" else array

    def cast(self, x: Any, dtype: str) -> Any:
        """Return `x` as `dtype`."""
        if self.name == "torch":
            return x.to(self.dtype(dtype))
        if self.name == "tensorflow":
            return self.module.cast(x, dtype)
        if self.name == "array_api_strict":
            return self.module.astype(x, self.dtype(dtype))
        return x.astype(dtype)

    def owns(self, x: Any) -> bool:
        """Return whether `x` is an array of this library."""
        if self.name == "numpy":
            return isinstance(x, np.ndarray | np.generic)
        if self.name == "jax":
            return isinstance(x, self.module.ndarray)
        if self.name == "dask":
            return isinstance(x, self.module.Array)
        if self.name == "tensorflow":
            return isinstance(x, self.module.Tensor | self.module.Variable)
        if self.name == "torch":
            return isinstance(x, self.module.Tensor)
        return type(x).__module__.startswith("array_api_strict")

    def dtype_of(self, x: Any) -> str:
        """Return the name of the dtype of `x`."""
        return getattr(x.dtype, "name", None) or str(x.dtype).rpartition(".")[-1]

    def to_numpy(self, result: Any) -> Any:
        """Turn the arrays in `result` into NumPy's; they must be this library's."""
        if result is None:
            return None
        if isinstance(result, dict):
            return {key: self.to_numpy(value) for key, value in result.items()}
        if isinstance(result, tuple | list):
            return tuple(self.to_numpy(value) for value in result)
        assert self.owns(result), f"{type(result)} is no array of {self.name}"
        if self.dtype_of(result) == "bfloat16":
            result = self.cast(result, "float32")
        if self.name == "torch":
            return result.detach().cpu().numpy()
        if self.name == "tensorflow":
            return result.numpy()
        return np.asarray(result)

    def x64(self) -> contextlib.AbstractContextManager[Any]:
        """Return a context in which the library has float64 and int64."""
        if self.name != "jax":
            return contextlib.nullcontext()
        context: contextlib.AbstractContextManager[Any] = require("jax").enable_x64(
            True
        )
        return context

    def trace(
        self, function: Callable[..., Any], mode: str, arrays: tuple[Any, ...]
    ) -> Callable[..., Any]:
        """Return `function` as `mode` traces it for arrays like `arrays`."""
        if mode == "eager":
            return function
        if mode == "jit":
            jitted: Callable[..., Any] = require("jax").jit(
                function, compiler_options=dict(COMPILER)
            )
            return jitted
        if mode in ("compile", "aot_eager"):
            backend = "eager" if mode == "compile" else mode
            self.module.compiler.reset()  # a test meets no other test's graphs
            compiled: Callable[..., Any] = self.module.compile(
                function, fullgraph=True, backend=backend
            )
            return compiled
        signature = [
            self.module.TensorSpec(_signature_shape(mode, tuple(x.shape)), x.dtype)
            for x in arrays
        ]
        graph: Callable[..., Any] = self.module.function(
            function, input_signature=signature, jit_compile=mode == "xla"
        )
        return graph

    def _from_numpy_numpy(self, host: Any) -> Any:
        return host.copy()

    def _from_numpy_torch(self, host: Any) -> Any:
        return self.module.asarray(host.copy())

    def _from_numpy_jax(self, host: Any) -> Any:
        return self.module.asarray(host)

    def _from_numpy_tensorflow(self, host: Any) -> Any:
        return self.module.constant(host)

    def _from_numpy_dask(self, host: Any) -> Any:
        # Two chunks along each axis, so that nothing passes by luck.
        chunks = tuple(max(1, -(-size // 2)) for size in host.shape)
        return self.module.from_array(host, chunks=chunks)

    def _from_numpy_array_api_strict(self, host: Any) -> Any:
        return self.module.asarray(host.copy())


def _signature_shape(mode: str, shape: tuple[int, ...]) -> tuple[int | None, ...]:
    """Return what a graph knows of `shape`: nothing, or all but the batch size."""
    if mode == "unknown":
        return (None,) * len(shape)
    return (None, *shape[1:]) if shape else ()


class Run:
    """Call a function on arrays of a library, in one of its modes."""

    def __init__(self, library: Library, mode: str) -> None:
        self.library = library
        self.mode = mode

    def __call__(
        self, function: Callable[..., Any], *values: Any, **options: Any
    ) -> Any:
        """Return ``function(*arrays, **options)`` as NumPy arrays."""
        arrays = tuple(self.library.asarray(value) for value in values)
        traced = self.library.trace(partial(function, **options), self.mode, arrays)
        return self.library.to_numpy(traced(*arrays))


class Gradient:
    """Differentiate a scalar function of arrays by a framework's own autodiff."""

    def __init__(self, library: Library, mode: str) -> None:
        self.library = library
        self.mode = mode

    def __call__(
        self,
        function: Callable[..., Any],
        *values: Any,
        upstream: Any = 1.0,
        **options: Any,
    ) -> tuple[Any, ...]:
        """Return the gradient of ``sum(upstream * function(*values))``, in NumPy."""
        library = self.library
        pull = {"jax": _jax_pull, "torch": _torch_pull, "tensorflow": _tf_pull}
        with library.x64():
            arrays = tuple(library.asarray(value) for value in values)
            call: Callable[..., Any] = partial(function, **options)
            if library.name == "torch":
                call = library.trace(call, self.mode, arrays)
            differentiated: Callable[..., Any] = partial(
                pull[library.name], call, np.asarray(upstream)
            )
            if library.name != "torch":
                differentiated = library.trace(differentiated, self.mode, arrays)
            return tuple(library.to_numpy(tuple(differentiated(*arrays))))


def _jax_pull(function: Callable[..., Any], upstream: Any, *arrays: Any) -> Any:
    result, pull = require("jax").vjp(function, *arrays)
    return pull(require("jax.numpy").asarray(upstream, dtype=result.dtype))


def _torch_pull(function: Callable[..., Any], upstream: Any, *arrays: Any) -> Any:
    torch = require("torch")
    leaves = [x.detach().requires_grad_() for x in arrays]
    result = function(*leaves)
    given = torch.asarray(upstream).to(result.dtype).expand(result.shape)
    return torch.autograd.grad(result, leaves, given)


def _tf_pull(function: Callable[..., Any], upstream: Any, *arrays: Any) -> Any:
    tf = require("tensorflow")
    with tf.GradientTape() as tape:
        for x in arrays:
            tape.watch(x)
        result = function(*arrays)
    given = tf.cast(upstream, result.dtype)
    return tape.gradient(result, list(arrays), output_gradients=given)


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Library:
    """Return each array library in turn."""
    return Library(request.param)


@pytest.fixture(params=LIBRARIES)
def run(request: pytest.FixtureRequest) -> Run:
    """Return a caller for each array library: eager, and jitted in JAX."""
    return Run(Library(request.param), USUAL_MODE.get(request.param, "eager"))


@pytest.fixture(params=TRACED, ids="-".join)
def traced(request: pytest.FixtureRequest) -> Run:
    """Return a caller for each other way in which frameworks trace a function."""
    name, mode = request.param
    return Run(Library(name), mode)


@pytest.fixture(params=DIFFERENTIABLE)
def gradient(request: pytest.FixtureRequest) -> Gradient:
    """Return a differentiator for each autodiff framework; JAX has 64 bits there."""
    return Gradient(Library(request.param), USUAL_MODE.get(request.param, "eager"))


@pytest.fixture(params=TRACED_GRADIENT, ids="-".join)
def traced_gradient(request: pytest.FixtureRequest) -> Gradient:
    """Return a differentiator for each other way in which frameworks trace."""
    name, mode = request.param
    return Gradient(Library(name), mode)


@pytest.fixture(params=DIFFERENTIABLE)
def framework(request: pytest.FixtureRequest) -> Library:
    """Return each autodiff framework in turn."""
    return Library(request.param)


@pytest.fixture
def torch() -> Any:
    """Return PyTorch, for a test of one of its own transforms."""
    module = Library("torch").module
    module.compiler.reset()
    return module


@pytest.fixture
def jax() -> ModuleType:
    """Return JAX, for a test of one of its own transforms."""
    return require("jax")


@pytest.fixture
def tf() -> Any:
    """Return TensorFlow, for a test of one of its own transforms."""
    return Library("tensorflow").module
