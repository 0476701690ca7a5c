"""One training a folder: a lock of the operating system's, which a process that dies lets go of."""

from __future__ import annotations

import os
import re
import socket
import stat
import sys
from pathlib import Path
from typing import IO

from .._base.errors import FileError, warn

_OWNER = re.compile(rb"(process \d+ on [^\n]*\n)*")
_TRIES = 3  # where the file is removed between the moments that it is opened and locked
_FAR = 2**30  # the byte that is locked on Windows, where nobody reads a byte that is


class FolderLock:
    """Held from ``hold`` until ``release``; the file stays, and means nothing by itself.

    It is that of an open file, not of a process: two trainings of one process are told apart, and a copy of the file
    that somebody closes lets nothing go. A child that is forked would hold it too, and closes it as it begins.
    """

    def __init__(self, folder: Path, name: str = "lock") -> None:
        self._path = folder / name
        self._file: IO[bytes] | None = None

    def hold(self) -> bool:
        """Take the lock; whether it was held already, and still is: a folder may be removed, and made again by another.

        Raises FileError where the folder cannot be written to, where another training holds the lock, or where a file
        of this name is somebody else's.
        """
        for tried in range(_TRIES):
            if self._holds(self._path):
                return tried == 0
            self.release()
            self._file = self._lock()
            _held.add(self)
        return False

    def release(self) -> None:
        """Let go."""
        _held.discard(self)
        if self._file is not None:
            self._file.close()
            self._file = None

    def _lock(self) -> IO[bytes]:
        folder = self._path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = self._path.open("a+b", buffering=0)
        except OSError as error:
            raise FileError(f"cannot keep checkpoints in {folder}: {error.strerror or error}.") from error
        try:
            if not _is_free(file, self._path):
                owner = _content(file).decode(errors="replace").strip() or "another process"
                raise FileError(f"{owner} is training in {folder}: wait until it ends, or choose another folder.")
            if not _OWNER.fullmatch(_content(file)):
                raise FileError(f"{self._path} is no lock of a training run: move it away, or choose another folder.")
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        except BaseException as error:
            file.close()
            if isinstance(error, OSError) and not isinstance(error, FileError):
                raise FileError(f"cannot keep checkpoints in {folder}: {error.strerror or error}.") from error
            raise
        return file

    def _holds(self, path: Path) -> bool:
        """Whether the file that is locked is the one of this name."""
        try:
            return self._file is not None and os.path.samestat(os.fstat(self._file.fileno()), path.stat())
        except FileNotFoundError:
            return False


_held: set[FolderLock] = set()  # of this process


def _let_go() -> None:
    for lock in list(_held):
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def _content(file: IO[bytes]) -> bytes:
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return b"no file"
    file.seek(0)
    return file.read(200)


def _is_free(file: IO[bytes], path: Path) -> bool:
    """Whether nobody held the lock, and this process does now. Where there are no locks it is said."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(_FAR)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except (OSError, ImportError) as error:  # a browser has none, and some network file systems
        if any(lock._holds(path) for lock in _held):
            return False
        text = f"there are no file locks in {path.parent} ({error}): see to it that no other process trains there."
        warn(text)
    return True
