"""Ctrl-C between steps: the first one asks the loop to end after the step in flight, the second ends at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Interrupt:
    """Whether Ctrl-C was pressed."""

    asked: bool = False


@contextmanager
def deferred_interrupt() -> Iterator[Interrupt]:
    """Hold Ctrl-C back while inside, where that can be undone afterwards; no other signal is touched.

    Outside the main thread, and in a second interpreter, no handler can be installed. One of a host program in C could
    not be put back, and a process that ignores Ctrl-C, as one in the background does, goes on ignoring it.
    """
    interrupt = Interrupt()

    def handle(signum: int, frame: FrameType | None) -> None:
        if interrupt.asked:
            raise KeyboardInterrupt
        interrupt.asked = True

    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before in (None, signal.SIG_IGN):
        yield interrupt
        return
    try:
        signal.signal(signal.SIGINT, handle)
    except ValueError:  # not the main interpreter, or a main thread that the host program calls otherwise
        yield interrupt
        return
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
