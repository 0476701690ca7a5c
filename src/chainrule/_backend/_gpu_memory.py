"""A GPU's memory: what is free, what goes back, and how rows come over from the host without the GPU waiting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._base.typing import Array, Device


@dataclass(frozen=True)
class GPUMemory:
    """The memory of one device as CuPy manages it: a pool keeps what arrays leave for the next ones."""

    device: Device

    def free(self) -> int:
        import cupy

        with self.device:
            pool = cupy.get_default_memory_pool()
            free = cupy.cuda.runtime.memGetInfo()[0] + pool.free_bytes()
            limit = pool.get_limit()
            return max(0, min(free, limit - pool.used_bytes()) if limit else free)

    def returned(self) -> _Returned:
        return _Returned()

    def carrier(self) -> Carrier:
        return Carrier(self.device)


class _Returned:
    """The pool gives back at the end what it took meanwhile, where that is free again."""

    def __enter__(self) -> None:
        import cupy

        self._pool, self._pinned = cupy.get_default_memory_pool(), cupy.get_default_pinned_memory_pool()
        self._before = self._pool.total_bytes()

    def __exit__(self, *_: object) -> None:
        if self._pool.total_bytes() > self._before:
            self._pool.free_all_blocks()
            self._pinned.free_all_blocks()  # an X from the host went through as many bytes of it


class Carrier:
    """Two buffers at either end of a copy, in turn, and a stream of its own for the copies.

    While the device works on one batch the next one travels. Events keep the order: the host fills a buffer when the
    copy out of it is done, a copy begins when the steps on the batch that it overwrites are, a step when its copy is.
    """

    def __init__(self, device: Device) -> None:
        import cupy

        with device:
            self._stream = cupy.cuda.Stream(non_blocking=True)
            self._slots = _Slot(), _Slot()

    def __call__(self, x: np.ndarray, index: np.ndarray) -> Array:
        import cupy

        steps = cupy.cuda.get_current_stream()
        last, slot = self._slots = self._slots[::-1]
        last.read.record(steps)  # all steps on it are queued by now
        slot.copied.synchronize()
        host, there = slot.rows(index.size, x)
        np.take(x, index, axis=0, out=host, mode="clip")  # without the mode NumPy gathers into a copy of ``out``
        self._stream.wait_event(slot.read)
        there.set(host, stream=self._stream)
        slot.copied.record(self._stream)
        steps.wait_event(slot.copied)
        return there


class _Slot:
    """A page-locked buffer on the host, which alone a GPU reads while the host goes on, and its copy on the device."""

    def __init__(self) -> None:
        import cupy

        self.copied, self.read = (cupy.cuda.Event(disable_timing=True) for _ in range(2))
        self._host: np.ndarray = np.empty((0, 0))
        self._there: Any = None

    def rows(self, rows: int, like: np.ndarray) -> tuple[np.ndarray, Any]:
        """Room for so many rows at both ends."""
        import cupy

        if len(self._host) < rows:
            shape = rows, *like.shape[1:]
            self._there = cupy.empty(shape, dtype=like.dtype)
            pinned = cupy.cuda.alloc_pinned_memory(self._there.nbytes)
            self._host = np.frombuffer(pinned, like.dtype, self._there.size).reshape(shape)
            self.read.record()  # what was there before, in memory that the pool had kept, may still be read
        return self._host[:rows], self._there[:rows]
