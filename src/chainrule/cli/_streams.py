"""Standard output and error as they come: closed, full, of few characters, or a terminal that obeys what it reads."""

from __future__ import annotations

import errno
import io
import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any, TextIO

_JOINERS = "\u200c\u200d"  # within words of Persian or Hindi, and within emoji


def printable(text: object) -> str:
    """``text`` as one line in which a terminal finds nothing to obey; what it would is written as Python writes it."""
    whole = str(text)
    if whole.isprintable():
        return whole
    return "".join(c.encode("unicode_escape").decode() if _commands(c) else c for c in whole)


def _commands(character: str) -> bool:
    """Whether it is no letter but a control: of the cursor, of lines, of the direction of writing."""
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _JOINERS


class Stream:
    """A standard stream to which a report can be written at any time: it never raises.

    What its encoding lacks is replaced. ``problem`` is the first failure; after it, all goes nowhere.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream: Any = stream
        self.problem = (
            OSError(errno.EBADF, "it is closed") if stream is None or getattr(stream, "closed", False) else None
        )
        self.encoding: str = getattr(stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write what can be written."""
        shown = text.encode(self.encoding, "replace").decode(self.encoding)
        self._attempt(lambda: self._stream.write(shown))
        return len(text)

    def flush(self) -> None:
        """Have all of it out."""
        self._attempt(lambda: self._stream.flush())

    def isatty(self) -> bool:
        """Whether people look at it."""
        return self.problem is None and bool(getattr(self._stream, "isatty", bool)())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def content(self) -> Iterator[Any]:
        """A file to write data to: out it goes as it is, in UTF-8, but for a terminal, which gets what can be read."""
        if self.problem is not None or self.isatty() or not hasattr(self._stream, "buffer"):
            yield SimpleNamespace(write=lambda line: self.write(printable(line.removesuffix("\n")) + "\n"))
            return
        self.flush()
        file = io.TextIOWrapper(self._stream.buffer, "utf-8", "replace", newline="")
        try:
            yield file
            file.flush()
        except OSError as error:
            self._fail(error)
        finally:
            file.detach()

    def _attempt(self, action: Any) -> None:
        if self.problem is None:
            try:
                action()
            except (OSError, ValueError) as error:  # a ValueError where it was closed meanwhile
                self._fail(error if isinstance(error, OSError) else OSError(errno.EBADF, "it is closed"))

    def _fail(self, error: OSError) -> None:
        """Give up, also on what is still in the buffer, which Python would try to write at its end."""
        self.problem = error
        with suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
