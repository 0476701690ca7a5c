"""CuPy: NVIDIA GPUs, through array-api-compat. The same code as NumPy's; not yet run on a real GPU."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from .._errors import BackendError
from .._typing import Array, Device, DType, Namespace
from ._library import by_index, import_library, installed_version, no_such_device

NAME = "cupy"
COMPILES = False
RECORDS = False


def load() -> Namespace:
    _count()
    return import_library("array_api_compat.cupy", name="CuPy", extra="cuda13")


def version() -> str:
    return installed_version("cupy-cuda13x", "cupy-cuda12x", "cupy")


def owns(x: object) -> bool:
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(x, cupy.ndarray)


def devices() -> list[Device]:
    cupy = _import()
    return [cupy.cuda.Device(i) for i in range(_count())]


def find_device(device: Any) -> Device:
    found = devices()
    if device is None:
        return found[0]
    index = getattr(device, "id", device)
    if isinstance(index, str):
        index = index.removeprefix("cuda:").replace("cuda", "0")
        index = int(index) if index.isdecimal() else -1
    if not 0 <= index < len(found):
        raise no_such_device(device, found, name="CuPy")
    return by_index(found, index, name="CuPy")


def device_name(device: Device) -> str:
    return f"cuda:{device.id}"


def device_of(x: Any) -> Device:
    return x.device


def place(x: Any, dtype: DType, device: Device) -> Array:
    import cupy

    with device:
        placed: Array = cupy.asarray(x, dtype=dtype)
    return placed


def from_numpy(x: np.ndarray, device: Device) -> Array:
    import cupy

    with device:
        made: Array = cupy.array(x)
    return made


def to_numpy(x: Any) -> np.ndarray:
    host: np.ndarray = x.get()
    return host


def compile(make: Callable[..., Callable[..., Any]], backend: Any, *arguments: Any) -> Callable[..., Any]:
    return make(backend, *arguments)


def _import() -> ModuleType:
    return import_library("cupy", name="CuPy", extra="cuda13", otherwise=", or chainrule[cuda12] for a CUDA 12 driver")


def _count() -> int:
    """How many CUDA devices there are, or one sentence on why there is none."""
    cupy = _import()
    try:
        count: int = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise BackendError(f"CuPy {version()} is installed but {_why(str(error))}") from error
    except ImportError as error:
        raise BackendError(
            f"CuPy {version()} is installed but a CUDA library is missing ({error}): "
            f"pip install 'chainrule[cuda13-full]' (or cuda12-full) brings them."
        ) from error
    return count


def _why(message: str) -> str:
    if "InsufficientDriver" in message:
        return "no CUDA device is visible: no NVIDIA driver was found, or it is older than the CUDA version of CuPy."
    if "NoDevice" in message:
        return "no CUDA device is visible: the driver lists none (see nvidia-smi and CUDA_VISIBLE_DEVICES)."
    return f"the CUDA runtime refused: {message}."
