"""CuPy: NVIDIA GPUs, through array-api-compat. The same code as NumPy's; not yet run on a real GPU.

An array lies on the device that was current when it was made, and CuPy's operations want the current device to be
that of their arrays. So what computes does it inside ``active``.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from .._base.errors import BackendError
from .._base.typing import Array, Device, DType, Namespace
from ._gpu_memory import GPUMemory
from ._graph import Captured
from ._library import by_index, import_library, installed_version, no_such_device

NAME = "cupy"
COMPILES = False
COMPILES_SOON = True
RECORDS = False
LOOPS = False
NUMPYS_BLAS = False

_FULL = "pip install 'chainrule[cuda13-full]' (or cuda12-full) brings it"


def load() -> Namespace:
    _count()
    return _namespace()


def version() -> str:
    return installed_version("cupy-cuda13x", "cupy-cuda12x", "cupy-rocm-7-0", "cupy")


def is_for_amd() -> bool:
    """Whether this CuPy is built on ROCm: it runs, but none of the CUDA kernels here do."""
    cupy = sys.modules.get("cupy")  # there, where it can be asked for a backend that compiles
    return cupy is not None and bool(cupy.cuda.runtime.is_hip)


def owns(x: object) -> bool:
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(x, cupy.ndarray)


def follows(x: Any) -> bool:
    return False


def devices() -> list[Device]:
    cupy = _import()
    return [cupy.cuda.Device(i) for i in range(_count())]


def find_device(device: Any) -> Device:
    found = devices()
    index = getattr(_import().cuda.Device() if device is None else device, "id", device)
    if isinstance(index, str):
        index = index.removeprefix("cuda:").replace("cuda", "0")
        index = int(index) if index.isdecimal() else -1
    if not 0 <= index < len(found):
        raise no_such_device(device, found, name="CuPy")
    found_device = by_index(found, index, name="CuPy")
    _check_libraries(found_device)
    return found_device


def device_name(device: Device) -> str:
    return f"cuda:{device.id}"


def device_of(x: Any) -> Device:
    return x.device


def active(device: Device) -> Device:
    return device  # CuPy's device is the context in which it is current


def deterministic(device: Device) -> nullcontext[None]:
    return nullcontext()  # its sums and cuBLAS's on one stream have one order, and no kernel here adds atomically


def pieces_from(device: Device) -> float:
    return math.inf


def memory(device: Device) -> GPUMemory:
    return GPUMemory(device)


def to_device(x: Any, dtype: DType, device: Device) -> Array:
    with device:
        on_one_device = x if x.device == device else x.copy()  # asarray refuses an array with gaps from another device
        moved: Array = _import().asarray(on_one_device, dtype=dtype)
    return moved


def from_numpy(x: np.ndarray, device: Device) -> Array:
    with device:
        made: Array = _import().array(x)
    return made


def to_numpy(x: Any) -> np.ndarray:
    with x.device:  # else CuPy reads on the current device's stream, which does not wait for x
        host: np.ndarray = x.get()
    return host


def hand_out(x: Any) -> Array:
    with x.device:
        copy: Array = x.copy()
    return copy


def compile(make: Callable[..., Callable[..., Any]], backend: Any, *arguments: Any) -> Callable[..., Any]:
    return Captured(make(backend, *arguments))


def _import() -> ModuleType:
    return import_library("cupy", name="CuPy", extra="cuda13", otherwise=", or chainrule[cuda12] for a CUDA 12 driver")


@cache
def _namespace() -> Namespace:
    """array-api-compat's namespace, but for two functions of its that read by a mask, so that the host waits."""
    cupy, compat = _import(), import_library("array_api_compat.cupy", name="CuPy", extra="cuda13")

    def clip(x: Any, /, min: Any = None, max: Any = None) -> Any:
        return cupy.clip(x, min, max)

    def sign(x: Any, /) -> Any:
        return cupy.where(x == x, cupy.sign(x), x)  # CuPy before 14.2 answers 0 for NaN

    return SimpleNamespace(**{name: getattr(compat, name) for name in compat.__all__} | {"clip": clip, "sign": sign})


def _count() -> int:
    """How many CUDA devices there are, or one sentence on why there is none."""
    cupy = _import()
    try:
        count: int = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise BackendError(f"CuPy {cupy.__version__} is installed but {_why(cupy, str(error))}") from error
    except ImportError as error:
        raise _broken(cupy, "a CUDA library does not load", error) from error
    return count


def _why(cupy: ModuleType, message: str) -> str:
    if "InsufficientDriver" in message:
        driver, wanted = cupy.cuda.runtime.driverGetVersion(), cupy.cuda.runtime.runtimeGetVersion()
        if driver == 0:
            return "no CUDA device is visible: no NVIDIA driver was found, install one (nvidia-smi shows it)."
        return (
            f"the NVIDIA driver is too old for it, it is for CUDA {_dotted(driver)} and CuPy for {_dotted(wanted)}: "
            "update the driver, or install the CuPy that fits it (chainrule[cuda12] for a CUDA 12 driver)."
        )
    if "NoDevice" in message:
        return "no CUDA device is visible: the driver lists none (see nvidia-smi and CUDA_VISIBLE_DEVICES)."
    return f"the CUDA runtime refused: {message}."


def _dotted(version: int) -> str:
    """13.1 for 13010, as CUDA counts."""
    return f"{version // 1000}.{version % 1000 // 10}"


def _check_libraries(device: Device) -> None:
    """Raise BackendError where the first kernel, which needs the compiler NVRTC, or the first product, cuBLAS, fails.

    Without these libraries CuPy imports and even allocates, and would fail in the first step.
    """
    cupy = _import()
    what = "the compiler NVRTC does not load"
    try:
        with device:  # on another one it would leave a context, which takes memory
            square = cupy.ones((2, 2), dtype=cupy.float32)  # of one number CuPy takes no product by cuBLAS
            what = "cuBLAS does not load"
            cupy.matmul(square, square)
    except (cupy.cuda.runtime.CUDARuntimeError, MemoryError) as error:
        raise BackendError(
            f"CuPy {cupy.__version__} sees {device_name(device)}, but {_why(cupy, str(error))}"
        ) from error
    except cupy.cuda.compiler.CompileException as error:
        raise _broken(cupy, "the compiler NVRTC refuses CuPy's own kernels", error) from error
    except (ImportError, OSError, RuntimeError) as error:
        if str(error).startswith("CUBLAS_STATUS"):  # it is there, and says so itself
            raise _full(cupy, device, error) from error
        raise _broken(cupy, what, error) from error


def _full(cupy: ModuleType, device: Device, error: Exception) -> BackendError:
    with device:
        free, total = (size / 1e6 for size in cupy.cuda.runtime.memGetInfo())
    return BackendError(
        f"CuPy {cupy.__version__} sees {device_name(device)}, but cuBLAS does not start there ({error}), and "
        f"{free:.0f} MB of its {total:.0f} MB are free: end what has taken the memory (JAX takes three quarters of a "
        "GPU, unless XLA_PYTHON_CLIENT_PREALLOCATE=false)."
    )


def _broken(cupy: ModuleType, what: str, error: Exception) -> BackendError:
    reason = str(error).strip().partition("\n")[0]
    return BackendError(f"CuPy {cupy.__version__} is installed but {what} ({reason}): {_FULL}.")
