"""What chainrule asks of an array library. One module beside this file answers for each library.

Nothing here or in those modules imports an array library at import time: a library is imported when it is selected.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from .._base.errors import BackendError
from .._base.typing import Array, Device, DType, Namespace

_FOR_GPUS = {"torch": "torch:cuda", "cupy": "cupy", "dpnp": "dpnp:gpu"}


class Memory(Protocol):
    """The memory of a device that is not the host's."""

    def free(self) -> int:
        """How many bytes arrays can still take."""

    def returned(self) -> AbstractContextManager[None]:
        """With the device active: what was taken since, and is free again at its end, goes back to the driver."""

    def carrier(self) -> Callable[[np.ndarray, np.ndarray], Array]:
        """``carry(x, index)``: the rows ``x[index]`` of an array on the host, here.

        They are there for what is asked of them before the next call; they travel while it works on those before.
        """


class Library(Protocol):
    """The questions. A module answers them with functions."""

    NAME: str
    COMPILES: bool  # whether steps are compiled unless it is said
    COMPILES_SOON: bool  # whether compiling takes no longer than some steps, so that predictions are compiled too
    RECORDS: bool  # whether that is by NumPy's recording, which is no compiler that a user knows to be careful with
    LOOPS: bool  # whether a compiled call takes several steps, by a loop of the library's own
    NUMPYS_BLAS: bool  # whether that is what multiplies

    def load(self) -> Namespace:
        """The array API namespace. Raises BackendError, in one sentence, where the library cannot run."""

    def version(self) -> str: ...

    def owns(self, x: object) -> bool:
        """Whether ``x`` is an array of this library; imports nothing."""

    def follows(self, x: Any) -> bool:
        """Whether the library follows what is done with ``x``, an array of its, to differentiate or to compile it:
        its numbers may not be looked at then, and what is computed must stay in the library.
        """

    def devices(self) -> list[Device]: ...

    def find_device(self, device: Any) -> Device:
        """The library's device for an index, its own string or its own object; None is its default.

        Raises BackendError, ``no_such_device``, for another.
        """

    def device_name(self, device: Device) -> str:
        """What ``find_device`` understands and a person can read."""

    def device_of(self, x: Array) -> Device:
        """Equal (``==``) to what ``find_device`` gave for the same one, and taken by ``xp.zeros(..., device=...)``."""

    def active(self, device: Device) -> AbstractContextManager[object]:
        """While it lasts, ``device`` is the current one of this thread, where the library has such a thing."""

    def deterministic(self, device: Device) -> AbstractContextManager[None]:
        """While it lasts, nothing runs whose result may differ from run to run on one machine.

        Raises BackendError, in one sentence, where that must be said before the library is imported, or where the
        library promises it of nothing.
        """

    def pieces_from(self, device: Device) -> float:
        """From how many parameters on a compiled step is faster on the layers' pieces; infinite: never."""

    def memory(self, device: Device) -> Memory | None:
        """The device's memory; None where it is the host's, or is not looked after."""

    def to_device(self, x: Array, dtype: DType, device: Device) -> Array:
        """An array of this library with this dtype on this device, outside any autograd graph."""

    def from_numpy(self, x: np.ndarray, device: Device) -> Array:
        """``x``, of any dtype, strides and byte order that NumPy has for numbers; it may share its memory."""

    def to_numpy(self, x: Array) -> np.ndarray:
        """``x`` on the host, when all that it was computed from has been."""

    def hand_out(self, x: Array) -> Array:
        """``x`` for the user: nothing that is written into it reaches ``x``."""

    def compile(self, make: Callable[..., Callable[..., Any]], backend: Any, *arguments: Any) -> Callable[..., Any]:
        """The step ``make(backend, *arguments)`` compiled, its first argument donated."""


def import_library(module: str, *, name: str, extra: str, otherwise: str = "") -> ModuleType:
    """Import an array library, or say in one sentence how to get it (``otherwise`` names another way)."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module.split(".")[0]:
            why = f"{name} is not installed"
        else:
            why = f"{name} is installed but cannot be imported ({error})"
        raise BackendError(f"{why}: pip install 'chainrule[{extra}]'{otherwise}.") from error


def by_index(devices: list[Device], device: int, *, name: str) -> Device:
    """``devices[device]``, or a sentence that lists what there is."""
    if not 0 <= device < len(devices):
        raise no_such_device(device, devices, name=name)
    return devices[device]


def no_such_device(device: object, devices: Sequence[object], *, name: str) -> BackendError:
    """The error for a device that does not exist."""
    listed = ", ".join(f"{i} ({d})" for i, d in enumerate(devices))
    hint = f": {on_a_gpu()}" if name == "NumPy" and is_gpu(device) else ""
    return BackendError(f"{name} has no device {device!r} on this machine; it has {listed}{hint}.")


def is_gpu(word: object) -> bool:
    """Whether ``word`` is what others call a GPU: ``"cuda:1"``."""
    return str(word).lower().partition(":")[0] in ("cuda", "gpu", "mps", "hip", "rocm")


def on_a_gpu() -> str:
    """What to write for a GPU, of what is installed here."""
    here = [name for module, name in _FOR_GPUS.items() if importlib.util.find_spec(module) is not None]
    needs = "" if here else ", which takes pip install 'chainrule[torch]' or 'chainrule[cuda13]'"
    return f"for a GPU write backend={' or '.join(map(repr, here or ('torch:cuda', 'cupy')))}{needs}"


def installed_version(*distributions: str) -> str:
    """The version of the first of these distributions that is installed."""
    for distribution in distributions:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "not installed"
