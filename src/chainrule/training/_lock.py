"""One training a folder: a lock of the operating system's, which a process that dies lets go of."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import IO

from .._errors import FileError


class FolderLock:
    """Held from ``acquire`` until ``release``; the file stays, and means nothing by itself."""

    def __init__(self, folder: Path, name: str = "lock") -> None:
        self._path = folder / name
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Raise FileError where the folder cannot be written to, or another process trains in it."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = self._path.open("a+")
        except OSError as error:
            raise FileError(f"cannot keep checkpoints in {self._path.parent}: {error.strerror or error}.") from error
        if not _try_lock(file):
            file.seek(0)
            owner = file.read().strip() or "another process"
            file.close()
            raise FileError(
                f"{owner} is training in {self._path.parent}: wait until it ends, or choose another folder."
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        self._file = file

    def release(self) -> None:
        """Let go."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _try_lock(file: IO[str]) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
