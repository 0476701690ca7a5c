"""SIGTERM is taken as Ctrl-C while a training run goes on: whoever stops a machine wants its model, too."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Ending:
    """What asked the training to end: ``code`` is the exit code, 130 for Ctrl-C and 143 for SIGTERM.

    A callback of the training: where Ctrl-C is ignored, as in a script's background, it goes on being ignored, and who
    would have it is told of SIGTERM alone.
    """

    def __init__(self) -> None:
        self.code = 130
        self._ctrl_c: Any = None
        self._ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN

    def on_train_begin(self, run: object) -> None:
        """Who has Ctrl-C now is the loop, which ends after the step in flight."""
        if self._ctrl_c is not None and self._ignored:
            self._ctrl_c = signal.signal(signal.SIGINT, signal.SIG_IGN)

    def begin(self) -> None:
        """Take SIGTERM, and give Ctrl-C somebody whom the loop can take it from."""
        if self._ignored:
            signal.signal(signal.SIGINT, self._nobody)
            self._ctrl_c = self._nobody
        signal.signal(signal.SIGTERM, self._terminate)

    def end(self) -> None:
        """Leave both as they were."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if self._ignored:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _terminate(self, signum: int, frame: FrameType | None) -> None:
        self.code = 143
        ctrl_c = self._ctrl_c or signal.getsignal(signal.SIGINT)
        if not callable(ctrl_c) or ctrl_c == self._nobody:  # the loop is not at work
            raise KeyboardInterrupt
        ctrl_c(signal.SIGINT, frame)

    def _nobody(self, signum: int, frame: FrameType | None) -> None:
        pass


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[Ending]:
    """Hand SIGTERM to whoever has Ctrl-C at that moment; a KeyboardInterrupt that comes of it carries the exit code.

    Nothing is changed outside the main thread, or where SIGTERM is ignored or somebody else's.
    """
    ending = Ending()
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield ending
        return
    ending.begin()
    try:
        yield ending
    except KeyboardInterrupt as error:
        error.args = (ending.code,)
        raise
    finally:
        ending.end()
