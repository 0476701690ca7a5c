"""array-api-strict: nothing beyond the standard works, on devices that stand in for a GPU. For tests."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np

from .._base.typing import Array, Device, DType, Namespace
from ._library import by_index, import_library, installed_version, no_such_device

NAME = "array-api-strict"
COMPILES = False
COMPILES_SOON = False
RECORDS = False
LOOPS = False
NUMPYS_BLAS = True

_NAMES = ("CPU_DEVICE", "device1", "device2", "no_float64")


def load() -> Namespace:
    return import_library("array_api_strict", name="array-api-strict", extra="test")


def version() -> str:
    return installed_version("array-api-strict")


def owns(x: object) -> bool:
    module = sys.modules.get("array_api_strict._array_object")  # where its array class is; it has no public name
    return module is not None and isinstance(x, module.Array)


def follows(x: Any) -> bool:
    return False


def devices() -> list[Device]:
    return [load().Device(name) for name in _NAMES]


def find_device(device: Any) -> Device:
    found = devices()
    if device is None:
        return found[0]
    if isinstance(device, int):
        return by_index(found, device, name="array-api-strict")
    for name, candidate in zip(_NAMES, found, strict=True):
        if device in (name, candidate) or (device == "cpu" and name == "CPU_DEVICE"):
            return candidate
    raise no_such_device(device, list(_NAMES), name="array-api-strict")


def device_name(device: Device) -> str:
    return _NAMES[devices().index(device)]


def device_of(x: Any) -> Device:
    return x.device


def active(device: Device) -> nullcontext[None]:
    return nullcontext()


def deterministic(device: Device) -> nullcontext[None]:
    return nullcontext()  # as NumPy, which it is made of


def pieces_from(device: Device) -> float:
    return math.inf


def memory(device: Device) -> None:
    return None


def to_device(x: Any, dtype: DType, device: Device) -> Array:
    moved: Array = load().astype(x.to_device(device), dtype, copy=False)
    return moved


def from_numpy(x: np.ndarray, device: Device) -> Array:
    made: Array = load().asarray(x, device=device, copy=True)
    return made


def to_numpy(x: Any) -> np.ndarray:
    return np.asarray(x.to_device(load().Device("CPU_DEVICE")))


def hand_out(x: Any) -> Array:
    copy: Array = load().asarray(x, copy=True)
    return copy


def compile(make: Callable[..., Callable[..., Any]], backend: Any, *arguments: Any) -> Callable[..., Any]:
    return make(backend, *arguments)
