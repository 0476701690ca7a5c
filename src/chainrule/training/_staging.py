"""A training and the memory of its device: whether X moves there as a whole, and what is said where it runs out."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .._backend import Backend, dtype_name, reference_backend
from .._base.errors import DeviceMemoryError, readable_size, warn
from .._base.typing import Array
from .._data.checks import check_inputs
from .._model.prediction import bytes_a_row
from ..network import Sequential

_SHARE = 0.9  # of the free memory, which the pool cannot fill to the last byte
# Vectors as long as theta: itself, the gradient, Adam's two moments and what it makes of them, what an epoch that
# diverges goes back to, and which of it is penalized.
_VECTORS = 10
_PASSES = 3  # numbers of each layer's width: forward, backward, and one on the way


class Needs(NamedTuple):
    """About how many bytes a training takes besides X: for all that is as long as theta, and for a row of a batch."""

    state: int
    row: int

    def rest(self, free: int, batch_size: int) -> int:
        """What it leaves of so many bytes, and a margin."""
        return int(_SHARE * free) - self.state - batch_size * self.row


def needs_of(backend: Backend, network: Sequential) -> Needs:
    """The estimate for a network."""
    state = _VECTORS * network.size * np.dtype(dtype_name(backend.dtype)).itemsize
    return Needs(state, _PASSES * bytes_a_row(backend, network))


def rows_on_host(backend: Backend, network: Sequential, X: Any, batch_size: int) -> np.ndarray | None:
    """X on the host, checked, where it does not fit on the device beside the training of it; None where it does."""
    assert backend.memory is not None, "only a device with a memory of its own can be too small"
    size, free = backend.bytes_to_move(X), backend.memory.free()
    if not 0 <= needs_of(backend, network).rest(free, batch_size) < size:
        return None
    warn(
        f"X takes {readable_size(size)} and {backend.device_name} has {readable_size(free)} free: it stays on the "
        "host and is brought over batch by batch, to the same result.",
        UserWarning,
    )
    return np.asarray(check_inputs(reference_backend("numpy", dtype=dtype_name(backend.dtype)), X, network.n_in))


class HostRows:
    """The rows of an array on the host in an epoch's order, each batch's by what chooses them."""

    def __init__(self, x: np.ndarray) -> None:
        self._x = x

    def begin(self, order: np.ndarray, stop: Callable[[], bool]) -> None:
        self._order = order

    def take(self, first: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
        return self._x, self._order[first : first + rows]

    def close(self) -> None:
        """Nothing reads."""


def carrier(backend: Backend) -> Callable[[tuple[np.ndarray, np.ndarray]], Array]:
    """What takes the rows that ``HostRows`` chooses to the device."""
    assert backend.memory is not None, "rows stay on the host for a device with a memory of its own"
    carry = backend.memory.carrier()
    return lambda chosen: carry(*chosen)


@dataclass
class OnDevice:
    """A training run with the backend's device active; the memory that it took is given back.

    Raises DeviceMemoryError where the memory runs out.
    """

    backend: Backend
    network: Sequential
    X: Any
    batch_size: int
    _free: int = field(default=0, init=False)

    def __enter__(self) -> None:
        memory = self.backend.memory
        self._free = 0 if memory is None else memory.free()
        with ExitStack() as inside:
            inside.enter_context(self.backend.active())
            if memory is not None:
                inside.enter_context(memory.returned())
            self._inside = inside.pop_all()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        ran_out = isinstance(error, MemoryError) and self.backend.memory is not None
        if error is not None and ran_out:
            traceback.clear_frames(error.__traceback__)  # they hold the arrays that filled the memory
        self._inside.close()
        if ran_out:
            needs, size = needs_of(self.backend, self.network), self.backend.bytes_to_move(self.X)
            raise _ran_out(self.backend, needs, size, self._free, self.batch_size) from error


def _ran_out(backend: Backend, needs: Needs, size: int, free: int, batch_size: int) -> DeviceMemoryError:
    spare, total = needs.rest(free, 0), needs.state + needs.row * batch_size
    rows = (spare - size if 2 * size < spare else spare) // needs.row  # a large X stays on the host
    if rows <= 0:
        remedy = "free some, or train a smaller network."
    else:
        remedy = (
            f"about batch_size={rows} would fit." if rows < batch_size else "free some, or take a smaller batch_size."
        )
    return DeviceMemoryError(
        f"{backend.device_name} ran out of memory: this training takes about {readable_size(total)} besides X with "
        f"batch_size={batch_size}, and {readable_size(free)} were free: {remedy}"
    )
