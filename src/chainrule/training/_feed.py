"""Where a step's examples come from: memory of the device, or rows on the host that are brought over batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from .._backend import Backend, dtype_name
from .._random import host_generator
from .._typing import Array
from ..data import Batch, gather, make_window
from ..streams import Windows, rows_in_window, shuffled_in_windows
from ._step import Problem, State, make_epoch_step, make_step


class Feed(Protocol):
    """The examples of a training, and the step on some of them."""

    def begin(self, order: np.ndarray, first: int = 0) -> None:
        """Start an epoch that takes the examples in this order, ``(rows,)``, from the ``first`` on."""

    def step(self, state: State, rows: int) -> State:
        """The state after a step on the epoch's next ``rows`` examples. Donates the state."""

    def batch(self, first: int, rows: int) -> Batch:
        """The ``rows`` examples from the epoch's ``first`` one on."""

    def close(self) -> None:
        """Let go of what reads the examples."""


class Resident:
    """Examples on the device: the compiled step gathers its own rows."""

    def __init__(self, backend: Backend, problem: Problem, data: Batch) -> None:
        self._on, self.data = backend, data
        self._guarded = has_zero_weights(backend, data)
        self._program = backend.compile(make_epoch_step, problem, self._guarded)
        self._windows: dict[int, Array] = {}

    def takes(self, backend: Backend, data: Batch) -> bool:
        """Take these examples from now on, if the program that is compiled fits them."""
        fits = backend == self._on and has_zero_weights(backend, data) == self._guarded
        if fits:
            self.data = data
        return fits

    def release(self) -> None:
        """Let go of the examples, and keep the program for the next ones."""
        self.data = Batch(None, None, None)  # type: ignore[arg-type]  # until it takes others

    def begin(self, order: np.ndarray, first: int = 0) -> None:  # the state's cursor says where it is
        self._order = self._on.asarray(order, self._on.xp.int32)

    def step(self, state: State, rows: int) -> State:
        return self._program(state, self.data, self._order, self._window(rows))

    def batch(self, first: int, rows: int) -> Batch:
        cursor = self._on.asarray(np.asarray([first]), self._on.xp.int32)
        return gather(self._on, self.data, self._order, cursor, self._window(rows))

    def close(self) -> None:
        """Nothing reads."""

    def _window(self, rows: int) -> Array:
        if rows not in self._windows:
            self._windows[rows] = make_window(self._on, rows)
        return self._windows[rows]


class Source(Protocol):
    """Inputs on the host, in an epoch's order."""

    def begin(self, order: np.ndarray) -> None:
        """Take the rows in this order from now on."""

    def take(self, first: int, rows: int) -> Any:
        """The ``rows`` of the order from its ``first`` one on, as ``place`` takes them to the device."""

    def close(self) -> None:
        """Let go of what reads them."""


class Streamed:
    """Inputs on the host: ``place`` brings a batch's to the device. Targets and weights lie there already."""

    def __init__(
        self, backend: Backend, problem: Problem, data: Batch, source: Source, place: Callable[[Any], Array]
    ) -> None:
        self._on, self.data, self._source, self._place = backend, data, source, place
        self._program = backend.compile(make_step, problem, has_zero_weights(backend, data))

    def begin(self, order: np.ndarray, first: int = 0) -> None:
        self._order, self._first = order, first
        self._source.begin(order)

    def step(self, state: State, rows: int) -> State:
        state, _ = self._program(state, self.batch(self._first, rows))
        self._first += rows
        return state

    def batch(self, first: int, rows: int) -> Batch:
        xp, index = self._on.xp, self._on.asarray(self._order[first : first + rows], self._on.xp.int32)
        weight = None if self.data.weight is None else xp.take(self.data.weight, index, axis=0)
        return Batch(self._place(self._source.take(first, rows)), xp.take(self.data.y, index, axis=0), weight)

    def close(self) -> None:
        self._source.close()


def make_feed(
    on: Backend, problem: Problem, data: Batch, batch_size: int, seed: int | None
) -> tuple[Resident | Streamed, Callable[[int], np.ndarray]]:
    """The feed of this data, and ``order(epoch)``: without a seed the rows as they are.

    An order is drawn on the host and keyed by the seed and the epoch: the same on every backend.
    """
    rows, in_memory = data.x.shape[0], on.library.owns(data.x) and not isinstance(data.x, np.memmap)
    window = rows if in_memory else rows_in_window(data.x, batch_size)

    def order(epoch: int) -> np.ndarray:
        if seed is None:
            return np.arange(rows)
        return shuffled_in_windows(host_generator(seed, "order", epoch), rows, window, batch_size)

    if in_memory:
        return Resident(on, problem, data), order
    return Streamed(on, problem, data, Windows(data.x, window, dtype_name(on.dtype)), on.asarray), order


def has_zero_weights(on: Backend, data: Batch) -> bool:
    """Whether a step may meet a batch whose weights sum to 0."""
    return data.weight is not None and not on.to_numpy(on.xp.all(data.weight > 0.0))
