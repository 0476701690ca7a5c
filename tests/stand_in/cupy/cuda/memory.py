"""Memory, accounted for by device: what arrays use, and what the pool has of the driver and keeps for the next."""

import collections
import threading

import numpy as _np


class OutOfMemoryError(MemoryError):
    """No such memory."""


class MemoryPool:
    """The pool: memory that arrays leave stays in it until ``free_all_blocks``."""

    def __init__(self):
        self._used, self._total, self._limit = (collections.Counter() for _ in range(3))

    def take(self, size):
        device = _current()
        used, most = self._used[device] + size, min(self._limit[device] or capacity[device], capacity[device])
        if used > most:
            raise OutOfMemoryError(
                f"Out of memory allocating {size:,} bytes (allocated so far: {self._total[device]:,} bytes)."
            )
        self._used[device], self._total[device] = used, max(used, self._total[device])

    def give(self, size, device):
        self._used[device] -= size

    def used_bytes(self):
        return self._used[_current()]

    def total_bytes(self):
        return self._total[_current()]

    def free_bytes(self):
        return self.total_bytes() - self.used_bytes()

    def get_limit(self):
        return self._limit[_current()]

    def set_limit(self, size=None):
        self._limit[_current()] = size or 0

    def free_all_blocks(self):
        self._total[_current()] = self.used_bytes()

    def malloc(self, size):
        return Memory(size, self)


class Memory:
    """An allocation on the current device, in the 512 bytes that CuPy's pool rounds to."""

    def __init__(self, nbytes, pool=None):
        self.device, self.size = _current(), -(-nbytes // 512) * 512
        self._pool, self._held = pool or current_pool(), 0
        self._pool.take(self.size)
        self._held = self.size

    def __del__(self):
        if self._held:
            self._pool.give(self._held, self.device)


def alloc(size):
    """Memory of the host's, at an address that is a multiple of 256."""
    from . import get_current_stream

    made, graph = current_pool().malloc(size), get_current_stream().graph
    made.bytes = _np.zeros(size + 256, _np.uint8)
    if graph is not None:
        graph.keep(made.bytes)
    made.ptr = -(-made.bytes.ctypes.data // 256) * 256
    return made


def current_pool():
    return getattr(local, "pool", pool)


def _current():
    from . import runtime

    return runtime.getDevice()


capacity = {0: 2**40, 1: 2**40}
pool = MemoryPool()
local = threading.local()
