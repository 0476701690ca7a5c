"""NumPy: the CPU, and the reference for all others."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import array_api_compat.numpy
import numpy as np

from .._base.typing import Array, Device, DType, Namespace
from ._functions import RECORDER, UNRECORDED
from ._library import no_such_device
from ._program import Replayed, engine

NAME = "numpy"
COMPILES = True
COMPILES_SOON = True
RECORDS = True
LOOPS = False
NUMPYS_BLAS = True


def load() -> Namespace:
    return array_api_compat.numpy


def version() -> str:
    return np.__version__


def owns(x: object) -> bool:
    return isinstance(x, np.ndarray | np.generic)


def follows(x: Any) -> bool:
    return False


def devices() -> list[Device]:
    return ["cpu"]


def find_device(device: Any) -> Device:
    if device not in (None, 0, "cpu"):
        raise no_such_device(device, devices(), name="NumPy")
    return "cpu"


def device_name(device: Device) -> str:
    return str(device)


def device_of(x: Array) -> Device:
    return "cpu"


def active(device: Device) -> nullcontext[None]:
    return nullcontext()


def deterministic(device: Device) -> nullcontext[None]:
    return nullcontext()  # its sums have one order, whatever the number of threads is, as long as that is the same


def pieces_from(device: Device) -> float:
    return math.inf


def memory(device: Device) -> None:
    return None


def to_device(x: Any, dtype: DType, device: Device) -> Array:
    if x.dtype == dtype:
        return np.asarray(x)
    with np.errstate(over="ignore"):  # a number too large becomes an infinity, as on every backend
        return np.asarray(x, dtype=dtype)


def from_numpy(x: np.ndarray, device: Device) -> Array:
    return x


def to_numpy(x: Array) -> np.ndarray:
    return np.asarray(x)


def hand_out(x: Any) -> Array:
    x.flags.writeable = False  # of the array itself, or the view's could be made writeable again
    view: Array = x.view()
    return view


def compile(make: Callable[..., Callable[..., Any]], backend: Any, *arguments: Any) -> Callable[..., Any]:
    """The step, recorded at its first call and replayed from then on."""
    step, recorded = (make(replace(backend, xp=xp), *arguments) for xp in (UNRECORDED, RECORDER))
    return Replayed(step, recorded, backend.run(engine))
