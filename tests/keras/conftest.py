"""One suite for the Keras adapter, run once per backend.

    KERAS_BACKEND=jax python -m pytest -n 2 tests/keras

Keras chooses its backend once per process, so nothing here is parametrised over them.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.conftest import QUICK, require

if os.environ.get("KERAS_BACKEND") == "jax":  # it compiles each operation of a test
    flags = [f"--{name}={str(value).lower()}" for name, value in QUICK.items()]
    os.environ.setdefault("XLA_FLAGS", " ".join(flags))

keras: Any = require("keras")
BACKEND = keras.config.backend()

if BACKEND == "tensorflow":  # two devices, for replicas; all else is on the first
    config = require("tensorflow").config
    (processor,) = config.list_physical_devices("CPU")
    devices = [config.LogicalDeviceConfiguration()] * 2
    config.set_logical_device_configuration(processor, devices)
if BACKEND == "torch":
    require("torch").set_num_threads(1)


# Keras' own way from a tensor to NumPy, in `fit` too, asks NumPy for a copy or none.
ALLOWED = "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the one warning through that is Keras' alone."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings(ALLOWED))


@pytest.fixture(autouse=True)
def fresh_state() -> Iterator[None]:
    """Give each test its own names, seed and dtype policy."""
    keras.utils.clear_session(free_memory=False)  # that would take a second
    keras.utils.set_random_seed(0)
    policy = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(policy)


def to_numpy(x: Any) -> Any:
    """Return a tensor of the backend, which `x` must be, as a NumPy array."""
    assert keras.ops.is_tensor(x), f"{type(x)} is no tensor of {BACKEND}"
    if keras.backend.standardize_dtype(x.dtype) == "bfloat16":
        x = keras.ops.cast(x, "float32")  # NumPy has none of its own
    return keras.ops.convert_to_numpy(x)


def masked(x: Any, mask: Any) -> Any:
    """Return `x` as a tensor that carries a Keras mask."""
    tensor = keras.ops.convert_to_tensor(x)
    tensor._keras_mask = keras.ops.convert_to_tensor(mask)
    return tensor


def gradient(function: Callable[[Any], Any], x: Any) -> Any:
    """Return the gradient of a scalar function at `x`, by autodiff of the backend."""
    x = keras.ops.convert_to_tensor(x)
    if BACKEND == "jax":
        found = require("jax").grad(function)(x)
    elif BACKEND == "torch":
        leaf = x.detach().requires_grad_()
        (found,) = require("torch").autograd.grad(function(leaf), leaf)
    else:
        with require("tensorflow").GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        found = tape.gradient(value, x)
    return to_numpy(found)


def random(*shape: int, seed: int = 0) -> Any:
    """Return normal numbers in float32, the same on every backend."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
