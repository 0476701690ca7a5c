"""Parquet files as rows of numbers, read a row group at a time (pyarrow)."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..._base.errors import ConfigurationError, DataError, FileError, MissingExtraError, unknown_name, warn
from ..._base.storage import absolute
from ._npy import require_file, stamp
from ._windows import WINDOW_BYTES

_CACHED = 2  # blocks in memory: a window ends in one that the next window begins with
_NAMES = (".parquet", ".parq", ".pq")
_OPEN = 16  # files: a folder may have more than a process may hold open


class _File(NamedTuple):
    """A file that was looked into: its row groups, and the size and time that tell whether it is still the same."""

    path: Path
    footer: Any
    stamp: tuple[int, int]


class _Block(NamedTuple):
    """Rows that are read together: a row group, or a part of one that is larger than a window."""

    file: int
    group: int
    skip: int  # the rows of the group before it
    rows: int


class Parquet:
    """The numbers in a Parquet file, or in a folder of them, as rows that need not fit in memory.

    A column of numbers or truth values is one feature, a column of fixed-size lists of n numbers is n features. What is
    null becomes NaN, which ``fit`` and ``predict`` refuse by its row. The files of a folder and of the folders in it
    come in the order of their names, each file once, whatever names or links it has; links to folders and out of the
    folder are not followed, and a warning names what is passed over. What is hidden, or has a name that starts with
    ``_``, is left out, and so are what pandas wrote as an index and what the names of Hive's folders (``year=2025``)
    say.

    ``fit`` shuffles row groups, and the rows of a window among themselves: a window holds as many row groups as fit in
    64 MB. A larger group is read in parts, each of them from the group's start, which is slow.

    Args:
        path: a file, or a folder.
        columns: a name or names, of the columns that are features, in this order; default all.
        drop: a name or names of columns to leave out, the target for one; default none.

    Attributes:
        shape: ``(rows, features)``.
        dtype: float32, or float64 where a column needs that.
        columns: the names of the columns that are read.

    ``rows[10:20]`` reads a slice, ``np.asarray(rows)`` all.

    Raises:
        FileError: it is not there, is no Parquet file, or has changed since. DataError: there is no file or row, a
        column holds no numbers, or the files differ in these columns. ConfigurationError: no such column.
        MissingExtraError: pyarrow is not installed.

    Example:
        >>> import chainrule as cr, pandas as pd, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> table = pd.DataFrame({"x": [0.0, 1, 2, 3], "price": [1.0, 3, 5, 7]})
        >>> table.to_parquet(f"{folder}/0.parquet")
        >>> rows = cr.Parquet(folder, drop="price")
        >>> rows.shape
        (4, 1)
        >>> model = cr.fit(cr.mlp([1, 1]), rows, rows.column("price"), loss="squared_error", epochs=1)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        columns: str | Sequence[str] | None = None,
        drop: str | Sequence[str] | None = None,
    ) -> None:
        chosen, dropped = None if columns is None else _names(columns), _names(drop)
        self._files: list[_File] = []
        for file in _find(Path(path)):
            opened = _open(file)
            self._files.append(_File(absolute(file), opened.metadata, stamp(file.stat())))
            if len(self._files) == 1:
                self.columns = _chosen(file, opened.schema_arrow, chosen, dropped)
                types = _types(opened.schema_arrow, chosen, dropped)
            elif _types(opened.schema_arrow, chosen, dropped) != types:
                raise DataError(
                    f"{file} has other columns, or other types, than {self._files[0].path}: write them with one "
                    "schema, or choose columns that are the same, cr.Parquet(path, columns=[...])."
                )
        self.dtype, self._names = _numbers(self._files[0].path, {name: types[name] for name in self.columns})
        width = len(self._names)
        self._blocks = _cut([file.footer for file in self._files], max(1, WINDOW_BYTES // (8 * width)))
        self.starts = [0, *np.cumsum([block.rows for block in self._blocks]).tolist()]
        self.shape = (self.starts.pop(), width)
        if self.shape[0] == 0:
            raise DataError(f"{path} has no rows: there is nothing to learn from or to predict.")
        self._cache: OrderedDict[int, np.ndarray] = OrderedDict()
        self._opened: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def feature_names(self) -> tuple[str, ...]:
        """A name for each feature: a column's own, or ``pixels[0]``, ``pixels[1]``, ... for a column of lists."""
        return self._names

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        rows = self[:]
        return np.asarray(rows if rows.flags.writeable else rows.copy(), dtype)

    def __getitem__(self, rows: slice) -> np.ndarray:
        """The rows of a slice, ``(count, features)``; read-only where they are kept for the next one."""
        if not isinstance(rows, slice) or rows.step not in (None, 1):
            raise ConfigurationError(f"Parquet rows are read in slices of neighbours, rows[0:10], got rows[{rows!r}].")
        first, last, _ = rows.indices(len(self))
        parts = [np.empty((0, self.shape[1]), self.dtype)]
        for i in range(int(np.searchsorted(self.starts, first, "right")) - 1, len(self.starts)):
            if self.starts[i] >= last:
                break
            parts.append(self._block(i)[max(first - self.starts[i], 0) : last - self.starts[i]])
        return parts[1] if len(parts) == 2 else np.concatenate(parts)

    def column(self, name: str) -> np.ndarray:
        """One column of all the files, in memory: ``(rows,)``, or ``(rows, n)`` for one of lists.

        Args:
            name: of a column of the files, whether it is a feature or was left out, as the target.

        Raises:
            ConfigurationError: no such column. DataError: it holds no numbers. FileError: a file has changed since.
        """
        parts = []
        for number, file in enumerate(self._files):
            with self._lock:
                opened = self._open_file(number)
                if name not in opened.schema_arrow.names:
                    raise unknown_name("column", name, opened.schema_arrow.names)
                with _reading(file.path):
                    parts.append(_matrix(opened.read([name])))
        values = np.concatenate(parts)
        return values[:, 0] if values.shape[1] == 1 else values

    def fingerprint(self) -> bytes:
        """What identifies the files: a hash of their footers, which have each column's sizes, bounds and offset."""
        digest = hashlib.sha256(repr((self.columns, self.shape)).encode())
        for known in self._files:
            with _reading(known.path), known.path.open("rb") as file:
                file.seek(-8, os.SEEK_END)
                file.seek(-8 - int.from_bytes(file.read(4), "little"), os.SEEK_END)
                digest.update(file.read())
        return digest.digest()

    def _block(self, number: int) -> np.ndarray:
        with self._lock:
            if number not in self._cache:
                with _reading(self._files[self._blocks[number].file].path):
                    self._cache[number] = self._read(self._blocks[number])
                self._cache[number].flags.writeable = False
                if len(self._cache) > _CACHED:
                    self._cache.popitem(last=False)
            self._cache.move_to_end(number)
            return self._cache[number]

    def _open_file(self, number: int) -> Any:
        file = self._files[number]
        with _reading(file.path):
            if stamp(file.path.stat()) != file.stamp:
                raise FileError(
                    f"{file.path} has changed since it was opened: make the cr.Parquet anew, and start again."
                )
        if number not in self._opened:
            self._opened[number] = _open(file.path, file.footer)
            if len(self._opened) > _OPEN:
                self._opened.popitem(last=False)
        return self._opened[number]

    def _read(self, block: _Block) -> np.ndarray:
        file = self._open_file(block.file)
        if block.rows == file.metadata.row_group(block.group).num_rows:
            return _matrix(file.read_row_group(block.group, self.columns), self.dtype)
        passed, parts = 0, []
        for batch in file.iter_batches(block.rows, [block.group], self.columns):
            first, last = block.skip - passed, block.skip + block.rows - passed
            passed += batch.num_rows
            if last > 0 and first < batch.num_rows:
                parts.append(_matrix(batch.slice(max(first, 0), last - max(first, 0)), self.dtype))
            if last <= batch.num_rows:
                break
        return np.concatenate(parts)


def _names(given: str | Sequence[str] | None) -> list[str]:
    return [given] if isinstance(given, str) else list(() if given is None else given)


def _find(path: Path) -> list[Path]:
    """The file, or those of a folder, each of them once. A warning says which links and other names are passed over."""
    if not path.is_dir():
        require_file(path)
        return [path]
    found: dict[tuple[int, int], Path] = {}
    passed: list[str] = []
    for file in sorted(_names_in(path), key=lambda file: (file.is_symlink(), file)):  # a file comes before its links
        why = _add(found, path, file)
        if why is not None:
            passed.append(f"{file.relative_to(path)} ({why})")
    left_out = ", ".join(passed[:5]) + (f" and {len(passed) - 5} more" if len(passed) > 5 else "")
    if not found:
        raise DataError(f"{path} is a folder without .parquet files{f' but {left_out}' if passed else ''}.")
    if passed:
        warn(f"in {path} these are passed over: {left_out}.", UserWarning)
    return sorted(found.values())


def _names_in(folder: Path) -> Iterator[Path]:
    """What has a Parquet file's name and is not hidden, and all links to folders, which are not followed."""

    def fail(error: OSError) -> None:
        raise FileError(f"cannot read the folder {error.filename}: {error.strerror}.") from error

    for root, folders, names in os.walk(folder, onerror=fail):
        inside = Path(root)
        links = [inside / name for name in folders if (inside / name).is_symlink()]
        for file in (*links, *(inside / name for name in names if name.lower().endswith(_NAMES))):
            if not any(part.startswith((".", "_")) for part in file.relative_to(folder).parts):
                yield file


def _add(found: dict[tuple[int, int], Path], folder: Path, file: Path) -> str | None:
    """Add the file, or say why not."""
    try:
        it = file.stat()
    except OSError as error:
        if file.is_symlink():
            return "a link to nothing"
        raise FileError(f"cannot read {file}: {error.strerror}.") from error
    if file.is_symlink() and file.is_dir():
        return "a link to a folder"
    if file.is_symlink() and not file.resolve().is_relative_to(folder.resolve()):
        return "a link out of the folder"
    if not file.is_file():
        return "no file"
    if file.suffix.lower() != ".parquet":
        return "its name does not end in .parquet"
    first = found.setdefault((it.st_dev, it.st_ino), file)
    return None if first == file else f"the same file as {first.relative_to(folder)}"


def _open(path: Path, footer: Any = None) -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError(f"reading {path} needs pyarrow: pip install 'chainrule[parquet]'.") from error
    with _reading(path):
        # Buffered, or pyarrow reads a column's whole chunk of a row group to give its first rows.
        return parquet.ParquetFile(path, metadata=footer, buffer_size=2**20)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raise a FileError of the path for an error of pyarrow."""
    from pyarrow import ArrowException

    try:
        yield
    except FileError:
        raise
    except (OSError, ArrowException) as error:
        raise FileError(f"cannot read {path} as Parquet: {' '.join(str(error).split())}.") from error


def _chosen(path: Path, schema: Any, columns: list[str] | None, drop: list[str]) -> list[str]:
    """The features' columns in their order, the index of a pandas frame not among them unless it is named."""
    for name in (*(columns or ()), *drop):
        if name not in schema.names:
            raise unknown_name("column", name, schema.names)
    names = [name for name in columns or _without_index(schema) if name not in drop]
    if not names:
        raise ConfigurationError("no column is left: leave fewer out.")
    twice = [name for name in names if names.count(name) > 1 or schema.names.count(name) > 1]
    if twice:
        raise ConfigurationError(f"the column {twice[0]!r} of {path} is there twice: name each column once.")
    return names


def _without_index(schema: Any) -> list[str]:
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    return [name for name in schema.names if name not in index]


def _types(schema: Any, columns: list[str] | None, drop: list[str]) -> dict[str, Any]:
    wanted = _without_index(schema) if columns is None else columns
    return {field.name: field.type for field in schema if field.name in wanted and field.name not in drop}


def _numbers(path: Path, types: Mapping[str, Any]) -> tuple[np.dtype, tuple[str, ...]]:
    """The dtype that holds all the columns, and the names of the features that they are."""
    import pyarrow as pa

    dtypes, features = [], list[str]()
    for name, whole in types.items():
        kind, names = whole, [name]
        if pa.types.is_fixed_size_list(whole) and whole.list_size > 0:
            kind, names = whole.value_type, [f"{name}[{i}]" for i in range(whole.list_size)]
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
            lists = pa.types.is_list(whole) or pa.types.is_large_list(whole)
            remedy = "write it as lists of a fixed size" if lists else "encode it"
            raise DataError(
                f"the column {name!r} of {path} holds {whole}, not numbers: leave it out, "
                f"cr.Parquet(path, drop=[{name!r}]), or {remedy}."
            )
        dtypes.append(np.dtype("bool") if pa.types.is_boolean(kind) else np.dtype(kind.to_pandas_dtype()))
        features += names
    return np.result_type(np.float32, *dtypes), tuple(features)


def _cut(footers: Sequence[Any], most: int) -> list[_Block]:
    """All the rows of the files in blocks of ``most`` rows at most."""
    groups = [(i, j, f.row_group(j).num_rows) for i, f in enumerate(footers) for j in range(f.num_row_groups)]
    largest = max((rows for _, _, rows in groups), default=0)
    if largest > most:
        warn(
            f"row groups of {largest:,} rows are larger than the {most:,} that are read at a time, so each is read "
            f"{-(-largest // most)} times: write the files with row_group_size={max(1, most // 4)}."
        )
    return [_Block(i, j, skip, min(most, rows - skip)) for i, j, rows in groups for skip in range(0, rows, most)]


def _matrix(table: Any, dtype: Any = None) -> np.ndarray:
    """The columns side by side; null is NaN."""
    import pyarrow as pa

    if dtype is not None and set(table.schema.types) == {pa.from_numpy_dtype(dtype)}:  # faster than column by column
        batch = table if isinstance(table, pa.RecordBatch) else table.combine_chunks().to_batches()[0]
        made: np.ndarray = batch.to_tensor(null_to_nan=True).to_numpy()
        return made
    columns = []
    for name, column in zip(table.schema.names, map(_in_one, table.columns), strict=True):
        size = getattr(column.type, "list_size", None)
        if size is not None:
            if column.null_count:
                raise DataError(
                    f"the column {name!r} has {column.null_count:,} null lists: drop these rows, or fill them."
                )
            column = column.flatten()
        columns.append(column.to_numpy(zero_copy_only=False).reshape(-1, size or 1))
    made = np.empty((table.num_rows, sum(c.shape[1] for c in columns)), dtype or np.result_type(*columns))
    np.concatenate(columns, axis=1, out=made, casting="unsafe")
    return made


def _in_one(column: Any) -> Any:
    """A column in one piece: pyarrow's own conversion of pieces forgets what is null where they have dictionaries."""
    if not hasattr(column, "num_chunks"):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
