"""dpnp: Intel's GPUs, and processors, by SYCL; its namespace follows the standard by itself. Not yet run on a GPU.

A device here is dpnp's queue to it: arrays of two queues do not mix.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from contextlib import nullcontext
from types import ModuleType
from typing import Any

import numpy as np

from .._base.errors import BackendError
from .._base.typing import Array, Device, DType, Namespace
from ._library import by_index, import_library, installed_version, no_such_device

NAME = "dpnp"
COMPILES = False
COMPILES_SOON = False
RECORDS = False
LOOPS = False
NUMPYS_BLAS = False


def load() -> Namespace:
    return import_library("dpnp", name="dpnp", extra="dpnp")


def version() -> str:
    return installed_version("dpnp")


def owns(x: object) -> bool:
    dpnp = sys.modules.get("dpnp")
    return dpnp is not None and isinstance(x, dpnp.ndarray)


def follows(x: Any) -> bool:
    return False


def devices() -> list[Device]:
    return [_queue(device) for device in _dpctl().get_devices()]


def find_device(device: Any) -> Device:
    found = devices()
    if not found:
        raise BackendError(
            f"dpnp {version()} is installed but SYCL sees no device: for an Intel GPU install its driver, for the "
            f"processor set OCL_ICD_FILENAMES={sys.prefix}/lib/libintelocl.so before Python starts."
        )
    names = [device_name(one) for one in found]
    try:  # None is the device that SYCL thinks most of; a string is SYCL's own: "gpu", "opencl:cpu:0"
        return _queue(by_index(names, device, name="dpnp") if isinstance(device, int) else device)
    except (TypeError, ValueError, _dpctl().SyclDeviceCreationError):
        raise no_such_device(device, names, name="dpnp") from None


def device_name(device: Device) -> str:
    return str(device.sycl_device.filter_string)


def device_of(x: Any) -> Device:
    return x.device


def active(device: Device) -> nullcontext[None]:
    return nullcontext()


def deterministic(device: Device) -> nullcontext[None]:
    raise BackendError(
        "dpnp promises of no sum or product that two runs give the same bits, got deterministic=True: leave it out, or "
        "take another backend."
    )


def pieces_from(device: Device) -> float:
    return math.inf


def memory(device: Device) -> None:
    return None


def to_device(x: Any, dtype: DType, device: Device) -> Array:
    moved: Array = load().asarray(x, dtype=dtype, device=device)
    return moved


def from_numpy(x: np.ndarray, device: Device) -> Array:
    made: Array = load().asarray(x.astype(x.dtype.newbyteorder("="), copy=False), device=device)
    return made


def to_numpy(x: Any) -> np.ndarray:
    host: np.ndarray = load().asnumpy(x)
    return host


def hand_out(x: Any) -> Array:
    copy: Array = load().asarray(x, copy=True)
    return copy


def compile(make: Callable[..., Callable[..., Any]], backend: Any, *arguments: Any) -> Callable[..., Any]:
    raise BackendError(
        "dpnp has nothing that compiles a step, got compile=True: leave it out, or take another backend."
    )


def _dpctl() -> ModuleType:
    load()  # which says why, where it cannot run
    return import_library("dpctl", name="dpctl", extra="dpnp")


def _queue(device: Any) -> Device:
    """The device with the queue that dpnp keeps for it."""
    return load().tensor.Device.create_device(device)
