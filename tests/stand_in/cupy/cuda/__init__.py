"""Devices, streams, events and memory of the stand-in."""

import collections
import contextlib
import threading
import weakref

import numpy as _np

from . import compiler as compiler
from . import memory as memory
from . import runtime as runtime
from .device import Device as Device
from .memory import MemoryPool as MemoryPool
from .memory import alloc as alloc


class Event:
    """A place in a stream's queue. One that was never recorded is passed at once."""

    def __init__(self, block=False, disable_timing=False):
        self._stream, self._place = None, 0

    def record(self, stream=None):
        self._stream = stream or get_current_stream()
        self._place = self._stream.queued

    def synchronize(self):
        if self._stream is not None:
            self._stream.drain(self._place)


class Stream:
    """Work in order. The null stream does it at once, any other when it must. Streams of one address are equal."""

    def __init__(self, null=False, non_blocking=False):
        self.null, self.graph = null, None
        self.ptr, self.device_id = (0, -1) if null else (id(self), runtime.getDevice())
        self._waiting, self._done = collections.deque(), 0
        _streams.add(self)

    def __del__(self):
        if self.is_capturing():
            raise RuntimeError("a stream goes while it is captured")
        self.drain()  # what was asked for is done all the same

    def __eq__(self, other):
        return isinstance(other, Stream) and self.ptr == other.ptr

    def __hash__(self):
        return self.ptr

    @property
    def queued(self):
        return self._done + len(self._waiting)

    def queue(self, work):
        self._waiting.append(work)
        if self.null:
            self.drain()

    def drain(self, place=None):
        """Do what waits, up to a place in the queue."""
        while self._waiting and (place is None or self._done < place):
            work = self._waiting.popleft()
            self._done += 1
            work()

    def record(self, event=None):
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event):
        # What the event stands for now; it may be recorded again before this stream's turn comes.
        stream, place = event._stream, event._place
        if stream is not None:
            self.queue(lambda: stream.drain(place))

    def synchronize(self):
        if self.is_capturing():
            self.graph.valid = False
            raise runtime.CUDARuntimeError("cudaErrorStreamCaptureUnsupported: operation not permitted")
        self.drain()

    def begin_capture(self, mode=None):
        if self.null:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        if self.is_capturing():
            raise runtime.CUDARuntimeError("cudaErrorIllegalState: the stream is captured already")
        self.graph = Graph()

    def end_capture(self):
        graph, self.graph = self.graph, None
        graph.spoil()
        if not graph.valid:
            raise runtime.CUDARuntimeError("cudaErrorStreamCaptureInvalidated: operation failed before")
        return graph

    def is_capturing(self):
        return self.graph is not None

    def __enter__(self):
        if self.device_id != runtime.getDevice():
            raise RuntimeError("the stream is of another device than the current one")
        _stack().append(self)
        return self

    def __exit__(self, *_):
        _stack().pop()


class Graph:
    """What was asked for while a stream was captured: nothing of it has been done."""

    def __init__(self):
        self._work, self._made, self.valid = [], [], True

    def note(self, work, *made):
        """Do ``work`` at each launch, which makes these NumPy arrays."""
        self._work.append(work)
        self.keep(*made)

    def keep(self, *made):
        """Memory that was taken in the capture stays, as it stays in the pool of the graph."""
        self._made += made

    def spoil(self):
        """What a capture seemed to make is nobody's to read."""
        for made in self._made:
            made.fill(_np.nan if made.dtype.kind == "f" else 0)

    def launch(self, stream=None):
        (stream or get_current_stream()).queue(lambda: [work() for work in self._work])


_streams = weakref.WeakSet()
_local = threading.local()
_null = {}


def _stack():
    if not hasattr(_local, "streams"):
        _local.streams = []
    return _local.streams


def get_current_stream():
    device = runtime.getDevice()
    mine = [stream for stream in _stack() if stream.device_id == device]
    if not mine and device not in _null:
        _null[device] = Stream(null=True)
    return mine[-1] if mine else _null[device]


def synchronize(device):
    for stream in _streams:
        if stream.device_id == device:
            stream.drain()


def refuse_in_capture(what):
    """cuBLAS cannot be captured through CuPy, and what the host waits for or hands over would be lost in a replay."""
    if get_current_stream().is_capturing():
        kind = NotImplementedError if what in ("matmul", "dot", "tensordot") else RuntimeError
        raise kind(f"{what} during stream capture is not supported")


@contextlib.contextmanager
def using_allocator(allocator):
    before, memory.local.pool = memory.current_pool(), allocator.__self__
    try:
        yield
    finally:
        memory.local.pool = before


class PinnedMemoryPool:
    """Counts what is allocated; all of it is free again when the arrays over it are gone."""

    def __init__(self):
        self.freed = 0

    def free_all_blocks(self):
        self.freed += 1


pinned_memory_pool = PinnedMemoryPool()


def alloc_pinned_memory(size):
    return bytearray(size)


def is_available():
    return runtime.getDeviceCount() > 0
