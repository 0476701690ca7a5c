"""What is not in memory, as something with a shape and slices."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from .._backend import library_of
from .._errors import DataError, FileError
from ._parquet import Parquet


def open_rows(X: Any) -> Any | None:
    """X as something with ``shape`` and slices that is read piece by piece; None for what is in memory already.

    Raises FileError for a path that cannot be read, DataError for one that holds no matrix of numbers.
    """
    if isinstance(X, str | os.PathLike):
        return _open_path(Path(X))
    if isinstance(X, np.memmap):
        return X
    in_memory = ("__array_namespace__", "iloc", "isna", "tocsr", "__dataframe__", "__arrow_c_stream__", "__dlpack__")
    if library_of(X) is not None or any(hasattr(X, name) for name in in_memory):
        return None
    return X if hasattr(X, "shape") and hasattr(X, "__getitem__") else None


def read_rows(X: Any) -> Any:
    """X in memory: what a path stands for is read; what is in memory already is given back."""
    return np.asarray(_open_path(Path(X))) if isinstance(X, str | os.PathLike) else X


def _open_path(path: Path) -> Any:
    if path.is_dir() or path.suffix == ".parquet":
        return Parquet(path)
    if path.suffix != ".npy":
        raise DataError(
            f"expected an array, or the path of a .npy file, a .parquet file or a folder of them, got {str(path)!r}: "
            "save an array with np.save, or take a column of Parquet files, cr.Parquet(path).column('y')."
        )
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}.") from error
    except ValueError as error:
        raise DataError(f"{path} is no .npy file of numbers ({error}).") from error
    if not isinstance(loaded, np.ndarray):
        raise DataError(f"{path} holds several arrays, expected one: save X alone with np.save.")
    return loaded
