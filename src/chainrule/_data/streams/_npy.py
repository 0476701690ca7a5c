"""Arrays in files as rows: a .npy file, and a memory map of somebody's own.

A page of a map that the file does not reach any more ends the process (SIGBUS). So what is given by its path is read
from the file, which then is an error.
"""

from __future__ import annotations

import math
import mmap
import os
import stat
import tokenize
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from ..._base.errors import DataError, FileError
from ..._base.storage import absolute

_BLOCK = 2**20  # bytes that are read to take some of them: seeking would take longer


def require_file(path: Path) -> None:
    """Raise FileError for a path that is there and no regular file, which a reader might wait for for ever."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # whoever opens it says why
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "named pipe", stat.S_IFSOCK: "socket"}
        kind = kinds.get(stat.S_IFMT(mode), "device")
        raise FileError(f"{path} is a {kind}: expected a file, which can be read more than once.")


def stamp(found: os.stat_result) -> tuple[int, int]:
    """What tells whether a file is still the same."""
    return found.st_size, found.st_mtime_ns


def has_changed(path: Path) -> FileError:
    """The error for a file that is not as it was when it was opened."""
    return FileError(f"{path} has changed since it was opened: start again with the file as it is now.")


class NpyRows:
    """The array of a .npy file, in slices; opened for each.

    Raises FileError for a file that cannot be read, or that changes later; DataError for one that holds no array.
    """

    def __init__(self, path: Path) -> None:
        require_file(path)
        self._path, self._file = path, absolute(path)
        try:
            with path.open("rb") as file:
                found = os.fstat(file.fileno())
                self.shape, self._by_column, self.dtype = _header(file, path)
                self._first, self._stamp = file.tell(), stamp(found)
        except OSError as error:
            raise FileError(f"cannot read {path}: {error.strerror or error}.") from error
        except DataError:
            raise
        except (ValueError, tokenize.TokenError) as error:
            raise DataError(
                f"{path} is no .npy file of numbers: {' '.join(str(error).split()).rstrip('.')}."
            ) from error
        self._width = math.prod(self.shape[1:])
        needed = self._first + math.prod(self.shape) * self.dtype.itemsize
        if found.st_size < needed:
            raise DataError(
                f"{path} is cut off: an array of {self.dtype} and shape {self.shape} takes {needed:,} bytes, and there "
                f"are {found.st_size:,}: write it again."
            )

    def __getitem__(self, key: Any) -> np.ndarray:
        """The rows of a slice; ``[::step, ...]`` is one too."""
        first, last, step = (key[0] if isinstance(key, tuple) else key).indices(self.shape[0])
        try:
            with self._file.open("rb", buffering=0) as file:
                if stamp(os.fstat(file.fileno())) != self._stamp:
                    raise has_changed(self._path)
                return self._read(file, first, max(first, last), step)
        except FileError:
            raise
        except OSError as error:
            raise FileError(f"cannot read {self._path}: {error.strerror or error}.") from error

    def _read(self, file: BinaryIO, first: int, last: int, step: int) -> np.ndarray:
        """``[first:last:step]``, of many rows between two that are taken only these."""
        each = max(1, step * self._width * self.dtype.itemsize)
        at_once = max(1, last - first) if step == 1 else max(1, _BLOCK // each) * step
        parts = [np.empty((0, *self.shape[1:]), self.dtype)]
        for start in range(first, last, at_once):
            rows = (min(start + at_once, last) - start - 1) // step * step + 1  # to the last one that is taken
            parts.append(self._neighbours(file, start, rows)[::step])
        return parts[1] if len(parts) == 2 else np.concatenate(parts)

    def _neighbours(self, file: BinaryIO, first: int, rows: int) -> np.ndarray:
        shape = (rows, *self.shape[1:])
        if not self._by_column:
            return self._numbers(file, first * self._width, rows * self._width).reshape(shape)
        columns = range(self._width)  # which are far from each other in the file
        made = np.stack([self._numbers(file, column * self.shape[0] + first, rows) for column in columns])
        return made.T.reshape(shape, order="F")

    def _numbers(self, file: BinaryIO, first: int, count: int) -> np.ndarray:
        file.seek(self._first + first * self.dtype.itemsize)
        numbers = np.fromfile(file, self.dtype, count)
        if len(numbers) != count:
            raise has_changed(self._path)
        return numbers


class MappedRows:
    """A memory map of the user's own, in slices, each looked at before it is read.

    Its pages are read, not its file: another one may have this name by now, and what was written to a private map is
    in no file. So a file that is cut off in the moment in which rows are copied still ends the process.

    Raises FileError for a file that has become shorter than the map, or, where it is mapped to read only, another.
    """

    def __init__(self, x: np.memmap, whole: np.memmap) -> None:
        self.shape, self.dtype, self._x = x.shape, x.dtype, x
        self._map: Any = whole.base
        self._needed = whole.offset + whole.nbytes
        self._path = Path(x.filename or "the file of the memory map")
        self._found: Any = self._look() if x.mode == "r" else None

    def __getitem__(self, key: Any) -> np.ndarray:
        """The rows of a slice, in the map."""
        now = None if self._found is None else self._look()
        written = now is not None and now[0] == self._found[0] and now != self._found  # and not another one of the name
        if written or self._map.size() < self._needed:
            raise has_changed(self._path)
        return np.asarray(self._x[key])

    def _look(self) -> tuple[int, ...] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, *stamp(found)


def map_of(x: np.memmap) -> MappedRows | None:
    """The map as rows; None for an array in memory that is a memmap by its class alone, such as a copy of one."""
    whole = _whole(x)
    return MappedRows(x, whole) if isinstance(whole, np.memmap) and isinstance(whole.base, mmap.mmap) else None


def check_map(x: np.ndarray) -> None:
    """Raise FileError for an array that lies in a map of a file which is shorter by now; reading it ends the process.

    Its class does not say that it lies in one: ``np.asarray`` of a map, a slice of that, ``np.frombuffer``.
    """
    owner: Any = x.base
    while type(owner) is np.ndarray:
        owner = owner.base
    if owner is None:  # of most arrays, which is asked for each prediction
        return
    whole = _whole(x)
    owner = whole.base
    while isinstance(owner, memoryview):
        owner = owner.obj
    if not isinstance(owner, mmap.mmap):
        return
    try:
        size = owner.size()
    except (OSError, ValueError):  # of no file
        return
    mapped = isinstance(whole, np.memmap)
    if size < (whole.offset + whole.nbytes if mapped else len(owner)):
        raise has_changed(Path((whole.filename if mapped else None) or "the file of the memory map"))


def _whole(x: Any) -> Any:
    """The array whose memory x lies in."""
    while isinstance(x.base, np.ndarray):
        x = x.base
    return x


def _header(file: BinaryIO, path: Path) -> tuple[tuple[int, ...], bool, np.dtype]:
    """The array's shape, whether it is in Fortran's order, and its dtype; the file is then at its first number."""
    if file.read(2) == b"PK":
        raise DataError(f"{path} holds several arrays, expected one: save X alone with np.save.")
    file.seek(0)
    versions = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    version = npy.read_magic(file)
    if version not in versions:
        raise ValueError(f"its version is {version}, expected one of {', '.join(map(str, versions))}")
    shape, by_column, dtype = versions[version](file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which run code when they are loaded")
    if min(shape, default=0) < 0:
        raise ValueError(f"its shape is {shape}")
    return shape, by_column, dtype
