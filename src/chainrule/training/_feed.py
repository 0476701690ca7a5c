"""Where a step's examples come from: memory of the device, or rows on the host that are brought over batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import islice, takewhile
from typing import Any, Protocol

import numpy as np

from .._backend import Backend
from .._base.errors import DataError
from .._base.typing import Array
from .._data.streams import ReadAhead
from ..batch import Batch, gather, make_window
from ._step import Problem, State, make_epoch_step, make_step


def _never() -> bool:
    return False


class Feed(Protocol):
    """The examples of a training run, batch by batch, and the step on a batch once it is compiled.

    Rows that are not on the device are read between steps: an error of theirs leaves the state whole.
    """

    @property
    def steps(self) -> int | None:
        """How many batches an epoch has, where that is known."""

    def compile(self, backend: Backend, problem: Problem) -> None:
        """Make the step: the last thing before the first epoch, since its schedule may ask for ``steps``.

        ``backend`` is the feed's own, with the bodies that the training takes.
        """

    def begin(self, order: np.ndarray, done: int = 0, stop: Callable[[], bool] = _never) -> Iterator[int]:
        """Start an epoch that takes the examples in this order, ``(rows,)``, after the first ``done`` of its steps.

        Gives how many rows each step takes; after each number one of the two below takes them. Where ``stop`` becomes
        true while examples are waited for, there are no more of them.
        """

    def step(self, state: Any, rows: int, most: int = 1) -> tuple[Any, int]:
        """The state after a step on the next ``rows`` examples, and how many steps were taken. Donates the state.

        Both states may be ``Held``.

        Where steps of as many rows follow, up to ``most`` may be taken together.
        """

    def batch(self, rows: int) -> Batch:
        """The next ``rows`` examples."""

    def close(self) -> None:
        """Let go of what reads the examples."""


class DeviceFeed:
    """Examples on the device: the compiled step gathers its own rows."""

    def __init__(self, backend: Backend, data: Batch, sizes: Sequence[int]) -> None:
        self._backend, self._data, self._sizes, self.steps = backend, data, sizes, len(sizes)
        self._windows: dict[int, Array] = {}

    def compile(self, backend: Backend, problem: Problem) -> None:
        self._guarded, self._providers = _has_zero_weights(backend, self._data.weight), backend.providers
        self._program = backend.compile(make_epoch_step, problem, self._guarded)

    def takes(self, backend: Backend, data: Batch, sizes: Sequence[int]) -> bool:
        """Take these examples from now on, if the program that is compiled fits them."""
        same = backend == self._backend and backend.providers == self._providers
        fits = same and _has_zero_weights(backend, data.weight) == self._guarded
        if fits:
            self._data, self._sizes, self.steps = data, sizes, len(sizes)
        return fits

    def release(self) -> None:
        """Let go of the examples, and keep the program for the next ones."""
        del self._data

    def begin(self, order: np.ndarray, done: int = 0, stop: Callable[[], bool] = _never) -> Iterator[int]:
        self._order = self._backend.asarray(order, self._backend.xp.int32)
        self._first, self._done = sum(self._sizes[:done]), done
        return self._rows_of_steps()

    def _rows_of_steps(self) -> Iterator[int]:
        while self._done < len(self._sizes):
            self._done += 1
            yield self._sizes[self._done - 1]

    def step(self, state: Any, rows: int, most: int = 1) -> tuple[Any, int]:  # its cursor says where it is
        inputs = self._data, self._order, self._window(rows)
        repeat = getattr(self._program, "repeat", None)
        if repeat is None:
            return self._program(state, *inputs), 1
        alike = takewhile(rows.__eq__, islice(self._sizes, self._done, self._done + most - 1))
        steps = 1 + sum(1 for _ in alike)
        self._done += steps - 1
        return repeat(steps, state, *inputs), steps

    def batch(self, rows: int) -> Batch:
        cursor = self._backend.asarray(np.asarray([self._first]), self._backend.xp.int32)
        self._first += rows
        return gather(self._backend, self._data, self._order, cursor, self._window(rows))

    def close(self) -> None:
        """Nothing reads."""

    def _window(self, rows: int) -> Array:
        if rows not in self._windows:
            self._windows[rows] = make_window(self._backend, rows)
        return self._windows[rows]


class Source(Protocol):
    """Inputs on the host, in an epoch's order."""

    def begin(self, order: np.ndarray, stop: Callable[[], bool]) -> None:
        """Take the rows in this order from now on; where ``stop`` becomes true, none that must be waited for."""

    def take(self, first: int, rows: int) -> Any | None:
        """The ``rows`` of the order from its ``first`` one on, as ``to_device`` takes them; None when it is stopped."""

    def close(self) -> None:
        """Let go of what reads them."""


class HostFeed:
    """Inputs on the host: ``to_device`` brings a batch's to the device. Targets and weights lie there already."""

    def __init__(
        self, backend: Backend, data: Batch, sizes: Sequence[int], source: Source, to_device: Callable[[Any], Array]
    ) -> None:
        self._backend, self._data, self._sizes, self.steps = backend, data, sizes, len(sizes)
        self._source, self._to_device = source, to_device

    def compile(self, backend: Backend, problem: Problem) -> None:
        self._program = backend.compile(make_step, problem, _has_zero_weights(backend, self._data.weight))

    def begin(self, order: np.ndarray, done: int = 0, stop: Callable[[], bool] = _never) -> Iterator[int]:
        self._source.begin(order, stop)
        first = sum(self._sizes[:done])
        for rows in self._sizes[done:]:
            self._batch: Batch | None = None  # its memory is free while the next one comes
            self._batch = self._take(order, first, rows)
            if self._batch is None:
                return
            first += rows
            yield rows

    def step(self, state: State, rows: int, most: int = 1) -> tuple[State, int]:
        return self._program(state, self.batch(rows))[0], 1

    def batch(self, rows: int) -> Batch:
        assert self._batch is not None
        return self._batch

    def close(self) -> None:
        self._source.close()

    def _take(self, order: np.ndarray, first: int, rows: int) -> Batch | None:
        taken = self._source.take(first, rows)
        if taken is None:
            return None
        xp, index = self._backend.xp, self._backend.asarray(order[first : first + rows], self._backend.xp.int32)
        weight = None if self._data.weight is None else xp.take(self._data.weight, index, axis=0)
        return Batch(self._to_device(taken), xp.take(self._data.y, index, axis=0), weight)


class IterableFeed:
    """Batches one by one, in an order of their own; ``to_batch`` copies, checks and brings them to the device.

    It is handed the number of a batch, from 1, and the batch.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        start: Callable[[int], Iterator[Any]],
        to_batch: Callable[[int, Any], Batch],
        steps: int | None,
    ) -> None:
        self._backend, self._start, self._to_batch, self.steps = backend, start, to_batch, steps
        self._ahead = ReadAhead[Batch]("the batches")
        self._batches: Generator[Batch] | None = None

    def compile(self, backend: Backend, problem: Problem) -> None:
        self._program = backend.compile(make_step, problem)

    def begin(self, order: np.ndarray, done: int = 0, stop: Callable[[], bool] = _never) -> Iterator[int]:
        self.close()
        steps = done
        convert, start = self._to_batch, self._start
        self._batches = self._ahead.through(lambda: (convert(*each) for each in enumerate(start(done), done + 1)), stop)
        for batch in self._batches:
            self._batch, steps = batch, steps + 1
            yield batch.x.shape[0]
        if not steps and not stop():
            raise DataError("an epoch had no batch: the batches must be there each time that they are gone through.")

    def step(self, state: State, rows: int, most: int = 1) -> tuple[State, int]:
        return self._program(state, self._batch)[0], 1

    def batch(self, rows: int) -> Batch:
        return self._batch

    def close(self) -> None:
        if self._batches is not None:
            self._batches.close()


def _has_zero_weights(backend: Backend, weight: Array | None) -> bool:
    """Whether a step may meet a batch whose weights sum to 0."""
    return weight is not None and not backend.to_numpy(backend.xp.all(weight > 0.0))
