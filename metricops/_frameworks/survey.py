"""What is installed of each array library: its version, its devices, arrays on them."""

import contextlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from metricops._typing import Array


@dataclass(frozen=True)
class Installed:
    """An array library as a user finds it."""

    label: str
    package: str
    path: str  # of the module that has `asarray`
    devices: Callable[[], list[Any]]
    asarray: Callable[[Any, Any, Any], Array]  # of module, values and device
    to_numpy: Callable[[Array], Any] = np.asarray

    def module(self) -> Any:
        """Import the library, and return the module that has its arrays."""
        return importlib.import_module(self.path)


def _cpu() -> list[Any]:
    return ["cpu"]


def _torch_devices() -> list[Any]:
    torch = importlib.import_module("torch")
    found = torch.accelerator.current_accelerator(check_available=True)
    count = torch.accelerator.device_count() if found else 0
    return ["cpu", *(f"{found.type}:{index}" for index in range(count))]


def _jax_devices() -> list[Any]:
    jax = importlib.import_module("jax")
    return list(dict.fromkeys([*jax.devices("cpu")[:1], *jax.devices()]))


def _tensorflow_devices() -> list[Any]:
    tf = importlib.import_module("tensorflow")
    kinds = ("CPU", "GPU", "TPU")
    return [x.name for kind in kinds for x in tf.config.list_logical_devices(kind)]


def _cupy_devices() -> list[Any]:
    cupy = importlib.import_module("cupy")
    count = cupy.cuda.runtime.getDeviceCount()
    return [cupy.cuda.Device(index) for index in range(count)]


def _plainly(xp: Any, values: Any, device: Any) -> Array:
    return xp.asarray(values)


def _on_device(xp: Any, values: Any, device: Any) -> Array:
    return xp.asarray(values, device=device)


def _in_context(xp: Any, values: Any, device: Any) -> Array:
    with device:
        return xp.asarray(values)


def _in_tensorflow(tf: Any, values: Any, device: Any) -> Array:
    with tf.device(device):
        return tf.identity(tf.convert_to_tensor(values))


def _of_torch(x: Array) -> Any:
    return x.detach().cpu().numpy()


def _of_cupy(x: Array) -> Any:
    return x.get()


LIBRARIES = (
    Installed("NumPy", "numpy", "numpy", _cpu, _plainly),
    Installed("PyTorch", "torch", "torch", _torch_devices, _on_device, _of_torch),
    Installed("JAX", "jax", "jax.numpy", _jax_devices, _on_device),
    Installed(
        "TensorFlow", "tensorflow", "tensorflow", _tensorflow_devices, _in_tensorflow
    ),
    Installed("CuPy", "cupy", "cupy", _cupy_devices, _in_context, _of_cupy),
    Installed("Dask", "dask", "dask.array", _cpu, _plainly),
    Installed(
        "array-api-strict", "array_api_strict", "array_api_strict", _cpu, _plainly
    ),
)


def on(device: Any) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which CuPy computes on `device`, if it is one of CuPy's."""
    if hasattr(device, "__enter__"):
        entered: contextlib.AbstractContextManager[Any] = device
        return entered
    return contextlib.nullcontext()
