"""SIGTERM is taken as Ctrl-C while a training runs: whoever stops a machine wants its model, too."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Ending:
    """What asked the training to end, as an exit code, which a KeyboardInterrupt carries: Ctrl-C, or SIGTERM's 143."""

    code: int = 130


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[Ending]:
    """Hand SIGTERM to whoever has Ctrl-C at that moment; nothing is changed where SIGTERM is ignored."""
    ending = Ending()
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield ending
        return

    def handle(signum: int, frame: FrameType | None) -> None:
        ending.code = 143
        ctrl_c = signal.getsignal(signal.SIGINT)
        if not callable(ctrl_c):  # it is ignored, as in a script's background
            raise KeyboardInterrupt
        ctrl_c(signal.SIGINT, frame)

    signal.signal(signal.SIGTERM, handle)
    try:
        yield ending
    except KeyboardInterrupt as error:
        error.args = (ending.code,)
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
