"""Data handed over in Python (frames, arrays, paths) as the table that a model was trained on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from .._backend import to_host
from .._base.errors import DataError, warn
from .._data.frames import column_names, is_frame, read_columns
from .._data.streams import open_rows, read_rows
from ._cells import as_column, as_feature
from ._files import read_table
from ._preprocessing import Preprocessing
from ._table import Table, as_text, listed


def as_table(X: Any, prepared: Preprocessing, what: str = "X") -> Table:
    """X as a table with the columns that ``prepared`` was learned from.

    A frame (pandas, polars, Arrow, a dict of columns) and the path of a table's file have them by name; an array
    ``(rows, columns)`` has the raw columns by position, in the order of the table, which a warning says once.

    Args:
        X: a frame, the path of a file, an array or a table.
        prepared: what the model was trained with, its ``preprocessing``.
        what: what messages call X; default ``"X"``.

    Raises:
        DataError: an array of another shape, or a frame's column that is neither numbers nor text.
    """
    if isinstance(X, Table):
        return X
    if is_table_file(X):
        return read_table(X, categorical=prepared.categorical)
    rows = open_rows(X, what)
    X = X if rows is None else with_names(rows, read_rows(rows, what))
    columns = read_columns(X) if is_frame(X) else _by_position(X, prepared, what)
    made = {name: _as_feature(name, x, prepared.categorical) for name, x in columns.items()}
    table = Table(made, None, None, what, frozenset(prepared.categorical))
    if table.n == 0:
        raise DataError(f"{what} is empty: expected at least one row.")
    return table


def is_table_file(X: Any) -> bool:
    """Whether X is the path of a file whose columns have names and types of their own.

    Args:
        X: anything. A ``.npy`` file and a folder are rows of numbers, and no such files.
    """
    return isinstance(X, str | os.PathLike) and Path(X).suffix != ".npy" and not Path(X).is_dir()


def with_names(rows: Any, window: np.ndarray) -> Any:
    """Rows that were read, as columns by name, where those have names.

    Args:
        rows: what they were read from: ``cr.Parquet``, a memory map, ...
        window: ``(n, columns)``.
    """
    names = column_names(rows)
    return window if names is None else dict(zip(names, window.T, strict=True))


def as_target(y: Any, prepared: Preprocessing, what: str = "y") -> Table:
    """Targets as a table of nothing else.

    Args:
        y: ``(n,)`` or ``(n, 1)``, a frame's column or an array.
        prepared: what knows the target's name, and whether it is text.
        what: what y is called in messages; default ``"y"``.

    Raises:
        DataError: several columns, or another shape.
    """
    name = prepared.target_name
    columns = read_columns(y if is_frame(y) else {name: _vector(y, what)})
    if len(columns) != 1:
        raise DataError(f"{what} must be one column, the target {name!r}, got {len(columns):,}: {listed(columns)}.")
    values = as_column(name, next(iter(columns.values())))
    return Table({}, as_text(values) if name in prepared.categorical else values, name, what)


def _by_position(X: Any, prepared: Preprocessing, what: str) -> dict[str, np.ndarray]:
    names = [column.name for column in prepared.columns]
    dense = X.toarray() if hasattr(X, "toarray") else X
    # Of numbers beside text in one list NumPy would make text.
    array = np.asarray(dense, dtype=object) if isinstance(dense, list | tuple) else to_host(dense)
    if array.ndim != 2 or array.shape[1] != len(names):
        raise DataError(
            f"{what} must have shape (rows, {len(names)}), the columns of the table that the model was trained on "
            f"({listed(names)}), as they stand there, got {array.shape}; one row is [[...]]. "
            f"model.without_preprocessing() takes the {prepared.n_features:,} numbers that the network is given."
        )
    if names != [f"x{i}" for i in range(len(names))]:  # those had no names in training either
        warn(
            f"{what} has no column names: its columns are taken for {listed(names)}, in this order and as they stand "
            "in the table. model.without_preprocessing() takes what is standardised already.",
            UserWarning,
        )
    return read_columns({name: array[:, i] for i, name in enumerate(names)})


def _vector(y: Any, what: str) -> Any:
    shape = getattr(y, "shape", None)
    host = y if shape is not None and len(shape) == 1 else to_host(y)
    if len(host.shape) not in (1, 2) or (len(host.shape) == 2 and host.shape[1] != 1):
        raise DataError(f"{what} must have one target for each row, of shape (rows,), got {tuple(host.shape)}.")
    return host if len(host.shape) == 1 else host[:, 0]


def _as_feature(name: str, values: np.ndarray, categorical: tuple[str, ...]) -> np.ndarray:
    """Text as text, all else as the numbers that they are; codes as the text that they would be in a file."""
    column = as_column(name, values)
    return as_text(column) if name in categorical else as_feature(column)
