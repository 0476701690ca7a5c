"""A file is written whole or not at all: what stood there before stays until the new one is complete."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import threading
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from .errors import ConfigurationError, FileError

_number = count()  # of a partial file: threads may write to one name


def as_path(path: Any) -> Path:
    """The path of a file, as a Path. Raises ConfigurationError for what is none."""
    if not isinstance(path, str | os.PathLike):
        raise ConfigurationError(f"expected the path of a file, got {path!r:.60}: write 'model.safetensors'.")
    return Path(path)


def absolute(path: Any) -> Path:
    """The path from the root: it stays the same when the process goes to another folder.

    Raises ConfigurationError for what is no path, FileError where the folder that the process is in was removed.
    """
    try:
        return as_path(path).absolute()
    except FileNotFoundError as error:
        raise FileError(f"cannot find {str(path)!r}: the current folder was removed.") from error


def write_whole(path: str | os.PathLike[str], content: bytes, *, mark: str = "chainrule", durable: bool = True) -> None:
    """Write the content to a file beside the path, which then takes the path's name.

    A link stays, and what it points to is written. A file that is there keeps its mode, and its owner and group where
    the system lets it; its other hard links keep what they had. A new file has what the umask leaves. The file beside
    is named ``.<mark>-....partial``; ``durable`` has file and folder on the disk, for a power cut, on return.

    Raises FileError where it cannot be written: a full disk, a device or a pipe, a file that is read-only.
    """
    path = as_path(path)
    if not path.name:
        raise FileError(f"cannot write {str(path)!r}: give the name of a file.")
    try:
        target = Path(os.path.realpath(path))
        before = _standing(path)
        partial = target.with_name(f".{mark}-{os.getpid()}-{threading.get_ident()}-{next(_number)}.partial")
        try:
            partial.touch(0o600 if before else 0o666, exist_ok=False)
            with partial.open("wb") as file:
                if before:
                    _take_after(partial, target, before)
                file.write(content)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            partial.replace(target)
            if durable:
                _sync_folder(target.parent)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror or error}.") from error
    except ValueError as error:  # a NUL, or half a character
        raise FileError(f"cannot write {str(path)!r}: no file can have this name ({error}).") from error


def _standing(path: Path) -> os.stat_result | None:
    """What stands there, if it is a file that may be written to; None where there is nothing."""
    try:
        before = path.stat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(before.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(before.st_mode):
        raise OSError("it is a device, a pipe or a socket: give the name of a file")
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return before


def _take_after(partial: Path, target: Path, before: os.stat_result) -> None:
    """Give the new file the owner, group, mode and attributes of the old one, as far as the system lets it."""
    shutil.copystat(target, partial)
    mine = partial.stat()
    if not hasattr(os, "chown") or (mine.st_uid, mine.st_gid) == (before.st_uid, before.st_gid):
        return
    try:
        os.chown(partial, -1, before.st_gid)
    except OSError:
        partial.chmod(stat.S_IMODE(before.st_mode) & ~stat.S_IRWXG)  # what one group may is not another's
    else:
        with suppress(OSError):  # only root may give a file away
            os.chown(partial, before.st_uid, -1)
        partial.chmod(stat.S_IMODE(before.st_mode))


def _sync_folder(folder: Path) -> None:
    """Have the folder's new entry on the disk, so that a power cut leaves it; where folders can be opened, on POSIX."""
    if os.name != "posix":
        return
    try:
        entry = os.open(folder, os.O_RDONLY)
    except PermissionError:  # one that may be written to and not read
        return
    try:
        os.fsync(entry)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that has no such thing
            raise
    finally:
        os.close(entry)
