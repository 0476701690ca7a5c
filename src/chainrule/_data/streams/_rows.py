"""What is not in memory, as something with a shape and slices."""

from __future__ import annotations

import os
from collections.abc import Iterator
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from ..._backend import library_of
from ..._base.errors import DataError
from ._attributes import attributes_of
from ._npy import MappedRows, NpyRows, check_map, map_of
from ._parquet import Parquet
from ._windows import rows_in_window, slice_of

_IN_MEMORY = ("__array_namespace__", "iloc", "isna", "tocsr", "__dataframe__", "__arrow_c_stream__", "__dlpack__")


def open_rows(X: Any, what: str = "X") -> Any | None:
    """X as something with ``shape`` and slices that is read piece by piece; None for what is in memory already.

    Raises FileError for a path that cannot be read, and for a memory map whose file was cut off; DataError for one that
    holds no matrix of numbers, for what fails when it is looked at, as a closed file of h5py does, and for a number of
    rows that is not known. ``what`` is its name in the messages.
    """
    if isinstance(X, str | os.PathLike):
        return _checked(_open_path(Path(X)), what)
    if isinstance(X, np.memmap):
        return map_of(_checked(X, what))
    if isinstance(X, np.ndarray):
        check_map(X)
        return None
    if library_of(X) is not None:
        return None
    has = attributes_of(X, ("shape", "__getitem__", *_IN_MEMORY), what)
    return _checked(X, what) if has == {"shape", "__getitem__"} else None


def in_windows(rows: Any, what: str = "X") -> Iterator[np.ndarray]:
    """The rows, a window at a time; each is good until the next one, which may lie in the same memory."""
    length, at_a_time = int(rows.shape[0]), rows_in_window(rows, 1)
    for first in range(0, max(length, 1), at_a_time):
        yield slice_of(rows, first, min(first + at_a_time, length), what)


def read_rows(X: Any, what: str = "X") -> Any:
    """X in memory: what is not is read; what is in memory already is given back."""
    rows = open_rows(X, what)
    if rows is None:
        return X
    if isinstance(rows, Parquet):
        return np.asarray(rows)
    parts = [np.array(part) for part in in_windows(rows, what)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def read_once(X: Any, what: str = "X") -> Any:
    """The same for what is gone through once, right away: a memory map stays one, however large it is."""
    rows = open_rows(X, what)
    if isinstance(rows, MappedRows):
        return rows[:]
    return X if rows is None else read_rows(rows, what)


def read_targets(y: Any, what: str = "y") -> Any:
    """Targets or weights in memory; a Parquet file's only column in its own dtype, for classes are whole numbers."""
    rows: Any = open_rows(y, what) if isinstance(y, str | os.PathLike) else y
    one = isinstance(rows, Parquet) and rows.shape[1] == 1
    return rows.column(rows.columns[0]) if one else read_rows(rows, what)


def _open_path(path: Path) -> Any:
    if path.is_dir() or path.suffix == ".parquet":
        return Parquet(path)
    if path.suffix != ".npy":
        raise DataError(
            f"expected an array, or the path of a .npy file, a .parquet file or a folder of them, got {str(path)!r}: "
            "save an array with np.save, or take a column of Parquet files, cr.Parquet(path).column('y')."
        )
    return NpyRows(path)


def _checked(rows: Any, what: str) -> Any:
    shape = tuple(rows.shape)
    if not all(isinstance(n, Integral) for n in shape):
        raise DataError(
            f"{what} has rows of a number that is not known yet, its shape is {shape}: have them counted, with dask by "
            f"{what}.compute_chunk_sizes()."
        )
    if not shape:
        raise DataError(f"{what} must have rows, (rows, features), got the single value of an array of shape ().")
    return rows
