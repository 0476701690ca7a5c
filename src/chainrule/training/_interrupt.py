"""Ctrl-C between steps: the first one asks the loop to end after the step in flight, the second ends at once."""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass, field
from types import FrameType
from typing import Any


@dataclass
class Interrupt:
    """Whether Ctrl-C was pressed, which is held back while inside; see ``deferred_interrupt``."""

    asked: bool = False
    _before: Any = field(default=None, init=False)  # None: nothing to put back

    def __enter__(self) -> Interrupt:
        before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is threading.main_thread() and before not in (None, signal.SIG_IGN):
            try:
                signal.signal(signal.SIGINT, self._handle)
            except ValueError:  # not the main interpreter, or a main thread that the host program calls otherwise
                return self
            self._before = before
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


def deferred_interrupt() -> Interrupt:
    """Hold Ctrl-C back while inside, where that can be undone afterwards; no other signal is touched.

    Outside the main thread, and in a second interpreter, no handler can be installed. One of a host program in C could
    not be put back, and a process that ignores Ctrl-C, as one in the background does, goes on ignoring it.
    """
    return Interrupt()
