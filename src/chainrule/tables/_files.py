"""A file of rows becomes a Table: CSV and Parquet by pandas (extras ``cli`` and ``parquet``), the rest by NumPy."""

from __future__ import annotations

import csv
import difflib
import zipfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .._base.errors import ChainruleError, ConfigurationError, DataError, FileError, MissingExtraError, require
from .._data.frames import read_columns
from ._cells import as_column, as_columns, as_feature
from ._table import Table, as_text, listed, no_column, objects

_SEPARATORS = {";": "semicolon", "\t": "tab", "|": "bar", ",": "comma"}


def read_table(
    path: str | Path,
    *,
    target: str | None = None,
    drop: Sequence[str] = (),
    categorical: Collection[str] = (),
    separator: str | None = None,
) -> Table:
    """The table in a ``.csv``, ``.tsv``, ``.parquet``, ``.npz`` or ``.npy`` file.

    Args:
        path: the file. A ``.npz`` holds ``X`` (n, features) and perhaps ``y`` (n,); a ``.npy`` is such an X. Their
            columns are called x0, x1, ...
        target: the column to predict, default none; or a ``.npy`` file of n targets; or, for a ``.npz``, the name of
            its array of targets (None takes ``y`` where there is one).
        drop: columns to leave out, default none; a model trained without them passes over them in other tables too.
        categorical: columns to read as text even where they look like numbers: codes, post codes, "3+";
            default none.
        separator: between the cells of a CSV: one character, or comma, semicolon, tab, bar. None (the default) is a
            comma, or a tab for ``.tsv``.

    Raises:
        FileError: a file that is not there, cannot be read, or is of an unknown type.
        DataError: no rows, two columns of one name, arrays of the wrong shape.
        ConfigurationError: a target, or a column to drop, that the file does not have.
        MissingExtraError: pandas or pyarrow is not installed.

    Example:
        >>> import tempfile, pandas as pd
        >>> from chainrule.tables import read_table
        >>> path = tempfile.mkdtemp() + "/flats.csv"
        >>> pd.DataFrame({"zip": ["0150", "0155"], "rooms": [1, 2], "sold": ["yes", "no"]}).to_csv(path, index=False)
        >>> table = read_table(path, target="sold", categorical=["zip"])
        >>> {name: column.tolist() for name, column in table.columns.items()}, table.target.tolist()
        ({'zip': ['0150', '0155'], 'rooms': [1.0, 2.0]}, ['yes', 'no'])
    """
    file = _existing(path)
    kind = file.suffix.lower()
    match kind:
        case ".csv" | ".tsv":
            columns = _read_csv(file, _one_character(separator or ("tab" if kind == ".tsv" else "comma")), categorical)
        case ".parquet":
            columns = _read_parquet(file)
        case ".npz":
            columns, target = _read_npz(file, target)
        case ".npy":
            columns = _numbered(file, "the array", _read_npy(file))
        case _:
            raise FileError(f"{file}: expected .csv, .tsv, .parquet, .npz or .npy, got {kind or 'no ending'!r}.")
    targets, target_name = _take_target(file, columns, target, categorical)
    features = {name: as_text(x) if name in categorical else as_feature(x) for name, x in columns.items()}
    table = Table(features, targets, target_name, str(path), frozenset(categorical))
    if table.n == 0:
        raise DataError(f"{file} has columns but no rows: there is nothing to learn from or to predict.")
    return table.without(drop)


def _one_character(separator: str) -> str:
    by_name = {name: character for character, name in _SEPARATORS.items()}
    character = by_name.get(separator, separator)
    require(
        len(character) == 1 and character not in '"\r\n',
        f"a separator is one character or one of {', '.join(by_name)}, got {separator!r}.",
    )
    return character


def _take_target(
    file: Path, columns: dict[str, np.ndarray], target: str | None, categorical: Collection[str]
) -> tuple[np.ndarray | None, str | None]:
    """The target's values, taken out of ``columns`` or read from a file of their own, and its name."""
    if target is None:
        return None, None
    if target in columns:
        values, name = columns.pop(target), target
    elif target.lower().endswith(".npy"):
        values, name = _vector(Path(target), "the array", _read_npy(_existing(target))), Path(target).stem
        n = len(next(iter(columns.values())))
        if len(values) != n:
            raise DataError(f"{file} has {n:,} rows and {target} has {len(values):,} targets: expected one a row.")
    elif file.suffix.lower() == ".npy":
        raise ConfigurationError(
            f"{file} is an array without column names, so {target!r} cannot be found in it: "
            "give a file of predictions, --target y.npy."
        )
    else:
        raise no_column(str(file), target, columns)
    return as_text(values) if name in categorical else values, name


def _existing(path: str | Path) -> Path:
    file = Path(path)
    if "://" in str(path):
        raise FileError(f"{path} is an address: expected a file. Download it first.")
    if file.is_dir():
        raise FileError(f"{file} is a folder: expected a file.")
    if not file.exists():
        beside = [other.name for other in file.parent.iterdir()] if file.parent.is_dir() else []
        nearest = difflib.get_close_matches(file.name, beside, n=1)
        raise FileError(f"{file} does not exist{f': did you mean {nearest[0]}?' if nearest else '.'}")
    if not file.is_file():  # a pipe is read once, and a table more often
        raise FileError(f"{file} is a pipe or a device: expected a file, write it to one first.")
    return file


def _pandas(file: Path, extra: str) -> Any:
    try:
        import pandas

        if extra == "parquet":
            import pyarrow  # noqa: F401 # pandas would find it missing too, in five sentences
    except ImportError as error:
        raise MissingExtraError(
            f"reading {file.name} needs {error.name or 'pandas'}, which is not installed: "
            f"pip install 'chainrule[{extra}]'."
        ) from None
    return pandas


def _read_csv(file: Path, separator: str, categorical: Collection[str]) -> dict[str, np.ndarray]:
    pandas = _pandas(file, "cli")
    try:
        header = _header(file, separator)
        _check_header(file, header, separator)
        frame = pandas.read_csv(
            file,
            sep=separator,
            skipinitialspace=True,
            low_memory=False,  # in chunks, one column could come out as two types
            dtype={name: str for name in categorical if name in header},
        )
    except UnicodeDecodeError as error:
        raise FileError(
            f"{file} is not UTF-8 text (byte {error.object[error.start]:#04x}): save it as CSV with UTF-8 encoding."
        ) from None
    except (pandas.errors.ParserError, csv.Error) as error:
        raise FileError(f"{file} cannot be read as a CSV: {_one_line(error)}. Correct that line.") from None
    except OSError as error:
        raise FileError(f"{file} cannot be read: {_one_line(error)}.") from None
    if not isinstance(frame.index, pandas.RangeIndex):
        raise FileError(f"{file}: its rows have more cells than its first line, which names {len(header)} columns.")
    return as_columns(read_columns(frame))


def _header(file: Path, separator: str) -> list[str]:
    with file.open(newline="", encoding="utf-8-sig") as lines:
        cells = csv.reader(lines, delimiter=separator, skipinitialspace=True)
        return next((row for row in cells if row), [])


def _check_header(file: Path, header: list[str], separator: str) -> None:
    if not header:
        raise DataError(f"{file} is empty: expected a first line with the names of the columns, then rows.")
    _refuse_twins(file, [name for name in header if name])
    likely = [other for other in _SEPARATORS if other != separator and other in header[0]]
    if len(header) == 1 and likely:
        raise DataError(
            f"{file} has one column only, {header[0]!r}, with a {_SEPARATORS.get(separator, separator)} as separator: "
            f"give --separator {_SEPARATORS[likely[0]]}."
        )


def _read_parquet(file: Path) -> dict[str, np.ndarray]:
    pandas = _pandas(file, "parquet")
    try:
        # Arrow's own types, or whole numbers beside a gap would be floats, which 2^53 and 2^53 + 1 are one of.
        frame = pandas.read_parquet(file, engine="pyarrow", dtype_backend="pyarrow")
    except (OSError, ValueError) as error:
        raise FileError(f"{file} cannot be read as Parquet: {_one_line(error)}.") from None
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    _refuse_twins(file, list(map(str, frame.columns)))
    return as_columns(read_columns(frame))


def _refuse_twins(file: Path, names: list[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if repeated:
        raise DataError(f"{file} has more than one column of the name {listed(repeated)}: rename them apart.")


def _read_npz(file: Path, target: str | None) -> tuple[dict[str, np.ndarray], str | None]:
    with _loaded(file) as archive:
        if isinstance(archive, np.ndarray):
            raise FileError(f"{file} holds one array, as a .npy file does: rename it.")
        if "X" not in archive.files:
            hint = " Is 'x' it? Rename it." if "x" in archive.files else ""
            has = listed(archive.files) or "no arrays"
            raise DataError(f"{file} has no array 'X' (n, features): it has {has}.{hint}")
        columns = _numbered(file, "X", archive["X"])
        name = "y" if target is None and "y" in archive.files else target
        if name is None or name in columns or name.lower().endswith(".npy"):
            return columns, name
        if name not in archive.files:
            raise no_column(str(file), name, [other for other in archive.files if other != "X"] or ["X"])
        targets = _vector(file, name, archive[name])
    n = len(next(iter(columns.values())))
    if len(targets) != n:
        raise DataError(f"{file}: X has {n:,} rows and {name} has {len(targets):,} targets: expected one a row.")
    return columns | {name: targets}, name


def _read_npy(file: Path) -> np.ndarray:
    with _loaded(file) as array:
        if not isinstance(array, np.ndarray):
            raise FileError(f"{file} holds several arrays, as a .npz file does: rename it.")
        return array


@contextmanager
def _loaded(file: Path) -> Iterator[Any]:
    """The array or the open archive in a NumPy file; what goes wrong while it is read is a FileError."""
    try:
        with file.open("rb") as stream:
            yield np.load(stream, allow_pickle=False)
    except ChainruleError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if "Object arrays" in str(error):
            raise FileError(
                f"{file} holds no plain array but Python objects, which run code when they are loaded: "
                "save an array of numbers, np.save(path, X.astype(float))."
            ) from None
        # NumPy takes whatever is not an array for a pickle, and says so.
        reason = "it is not one" if "pickle" in str(error) else _one_line(error)
        raise FileError(f"{file} cannot be read as a NumPy file: {reason}.") from None


def _numbered(file: Path, name: str, array: np.ndarray) -> dict[str, np.ndarray]:
    """The columns x0, x1, ... of a matrix."""
    if array.ndim != 2 or array.shape[1] == 0:
        raise DataError(f"{file}: {name} must be of shape (n, features), got {array.shape}: reshape it.")
    if array.dtype.kind not in "biuf":
        raise DataError(f"{file}: {name} must hold numbers, got {array.dtype}: text belongs in a CSV or Parquet file.")
    return {f"x{i}": np.ascontiguousarray(column) for i, column in enumerate(array.T)}


def _vector(file: Path, name: str, array: np.ndarray) -> np.ndarray:
    """Targets ``(n,)`` or ``(n, 1)``, one a row."""
    if array.ndim == 0 or array.size != len(array):
        raise DataError(f"{file}: {name} must hold one target a row, (n,), got {array.shape}.")
    values = array.reshape(-1)
    match values.dtype.kind:
        case "U":
            return objects(v or None for v in values.tolist())
        case "b" | "i" | "u" | "f":
            return as_column(name, values)
    raise DataError(f"{file}: {name} must hold numbers, booleans or text, got {array.dtype}.")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).removeprefix("Error tokenizing data. ").removeprefix("C error: ").rstrip(".")
