"""Columns with names, of pandas, polars, Arrow or a dict, as NumPy's numbers: column by column, nothing guessed.

Missing is called missing, text is called text, and the column is named. No library is imported for what is not its own.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping, Set
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any, NoReturn

import numpy as np

from .._backend import to_host
from .._base.errors import DataError, DTypeError, MissingExtraError

_EXACT = 2**53  # up to here float64 holds every whole number
_WIDE = {"b": np.bool_, "i": np.int64, "u": np.uint64, "f": np.float64}

ENCODE = "encode it as numbers, for instance with pandas.get_dummies(X)"
_REMEDIES = {
    "dates": "make numbers of them, for instance days since the first one",
    "durations": "divide them by a unit, numpy.timedelta64(1, 's') for one",
    "complex numbers": "take the real and the imaginary part as columns",
}


def is_frame(X: Any) -> bool:
    """Whether X is columns with names: a frame of any library, an Arrow table, or a dict of columns."""
    if isinstance(X, Mapping) or _is_lazy(X) or _is_pandas(X):
        return True
    return hasattr(X, "columns") and any(hasattr(X, way) for way in ("__dataframe__", "__arrow_c_stream__"))


def column_names(X: Any) -> tuple[str, ...] | None:
    """The names of X's columns as text, of a frame or of ``cr.Parquet``; None for what has no names."""
    _refuse_lazy(X)
    if hasattr(type(X), "feature_names"):  # of the class: a frame may have a column of this name
        return tuple(X.feature_names)
    names = X if isinstance(X, Mapping) else getattr(X, "column_names", getattr(X, "columns", None))
    return None if names is None or callable(names) else tuple(map(str, names))


def read_columns(X: Any) -> dict[str, np.ndarray]:
    """The columns of a frame by name, each ``(n,)``.

    They are booleans, int64, uint64, floats with NaN where missing, or objects with None where missing: text, whole
    numbers that float64 cannot hold, and anything else as it is.

    Raises DataError for two columns of one name, and for columns of different lengths.
    """
    columns = _columns(X)
    names = [name for name, _ in columns]
    twins = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twins:
        raise DataError(f"there are several columns of the name {twins[0]!r}: rename them apart.")
    return {name: _wide(values) for name, values in columns}


def to_numbers(X: Any, what: str, *, text: str = ENCODE) -> np.ndarray:
    """A frame, a column, an array of objects or nested lists as an array of booleans, integers or real numbers.

    NaN in a frame of plain numbers may stay; all else that is missing is refused. ``what`` names X in the messages, and
    ``text`` says in them what to do about text.

    Raises DataError for missing values, DTypeError for text, dates and all that is no number.
    """
    if is_frame(X):
        _refuse_lazy(X)
        whole = _block(X)
        if whole is not None:
            return whole
        columns = _columns(X)
        made = [_as_numbers(values, what, f" in column {name!r}", text) for name, values in columns]
        return np.stack(made).T if made else np.empty((0, 0))
    values = _array(X)
    if values.dtype.kind in _WIDE and (values.ndim != 1 or isinstance(X, np.ndarray | list | tuple)):
        return values
    if values.ndim == 0:
        _refuse_single(values[()], what)
    if values.ndim == 1:
        return _as_numbers(_tidy(values), what, "", text)
    if values.size == 0:
        return np.empty(values.shape)
    flat = values.reshape(-1, values.shape[-1])
    made = [_as_numbers(_tidy(column), what, f" in column {j}", text) for j, column in enumerate(flat.T)]
    return np.stack(made, axis=-1).reshape(values.shape)


def refuse_missing(what: str, gaps: np.ndarray, where: str = "") -> NoReturn:
    """Raise DataError for the rows in which ``gaps`` (rows,) is true."""
    rows = np.flatnonzero(gaps)
    count = "1 row, row" if len(rows) == 1 else f"{len(rows):,} rows, the first is row"
    raise DataError(f"{what} has missing values{where} ({count} {rows[0]}): fill them or drop these rows.")


def is_missing(v: object) -> bool:
    """Whether a cell is what any library has for a missing one: None, NaN, pandas' NA and NaT."""
    if v is None or type(v).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(v, float | np.floating):
        return bool(v != v)
    if isinstance(v, Decimal):
        return v.is_nan()
    return isinstance(v, np.datetime64 | np.timedelta64) and bool(np.isnat(v))


# ------------------------------------------------------------------------------------------------- from each library


def _is_pandas(X: Any) -> bool:
    return hasattr(X, "iloc") and hasattr(X, "dtypes") and hasattr(X, "columns")  # or what has its interface


def _is_lazy(X: Any) -> bool:
    return _made_by(X, "polars") and hasattr(X, "collect")


def _refuse_lazy(X: Any) -> None:
    if _is_lazy(X):
        raise DataError("expected a frame, got a polars LazyFrame, which holds no rows yet: give its .collect().")


def _made_by(x: Any, library: str) -> bool:
    return any(kind.__module__.partition(".")[0] == library for kind in type(x).__mro__)


def _block(X: Any) -> np.ndarray | None:
    """A pandas frame of NumPy's plain numbers or a polars frame of floats, read as a whole; None for any other."""
    if not hasattr(X, "dtypes") or not (_is_pandas(X) or _made_by(X, "polars")):
        return None
    dtypes = set(X.dtypes)
    if dtypes and all(isinstance(dtype, np.dtype) and dtype.kind in _WIDE for dtype in dtypes):
        return np.asarray(X.to_numpy(dtype=np.result_type(*dtypes)))
    if len(dtypes) == 1 and _made_by(X, "polars") and dtypes.pop().is_float():
        return np.asarray(X.to_numpy())
    return None


def named_columns(X: Any) -> list[tuple[Any, Any]]:
    """The columns of a frame by name, as its library has them."""
    _refuse_lazy(X)
    if isinstance(X, Mapping):
        return list(X.items())
    if _is_pandas(X):
        return [(name, X.iloc[:, i]) for i, name in enumerate(X.columns)]
    X = X if _made_by(X, "polars") or _made_by(X, "pyarrow") else _as_arrow(X)
    columns = X.get_columns() if hasattr(X, "get_columns") else X.columns
    return list(zip(column_names(X) or (), columns, strict=True))


def _columns(X: Any) -> list[tuple[str, np.ndarray]]:
    made = [(str(name), _read(column, str(name))) for name, column in named_columns(X)]
    for name, values in made:
        if len(values) != len(made[0][1]):
            raise DataError(
                f"the columns must be of one length, got {len(made[0][1]):,} rows in {made[0][0]!r} and "
                f"{len(values):,} in {name!r}."
            )
    return made


def _as_arrow(X: Any) -> Any:
    """A frame of a library that we do not know, by the protocols that all speak."""
    try:
        import pyarrow
    except ImportError as error:
        raise MissingExtraError(
            f"reading a {type(X).__module__}.{type(X).__name__} needs pyarrow: pip install 'chainrule[parquet]', or "
            "give a pandas frame."
        ) from error
    try:
        if hasattr(X, "__arrow_c_stream__"):
            return pyarrow.table(X)
        from pyarrow.interchange import from_dataframe

        return from_dataframe(X)
    except Exception as error:  # whatever a stranger's frame raises
        raise DataError(f"a {type(X).__name__} cannot be read as a table ({error}): give a pandas frame.") from error


def _read(column: Any, name: str) -> np.ndarray:
    try:
        values = _tidy(_array(column))
    except DataError as error:
        raise DataError(f"column {name!r}: {error}") from error
    if values.ndim != 1:
        raise DataError(f"column {name!r} must be of shape (rows,), got {values.shape}: one value a row.")
    return values


def _array(x: Any) -> np.ndarray:
    """A column of any library, or whatever NumPy reads, with what is missing marked."""
    if hasattr(x, "isna") and hasattr(x, "to_numpy") and hasattr(x, "dtype"):
        return _of_pandas(x)
    if _made_by(x, "polars") and hasattr(x, "to_list"):
        return _of_polars(x)
    if _made_by(x, "pyarrow") and hasattr(x, "to_pylist"):
        return _of_arrow(x)
    if np.ma.is_masked(x):
        values, gaps = np.asarray(x), np.ma.getmaskarray(x)
        return _with_gaps(values if values.dtype.kind in _WIDE else _objects(values), gaps)
    values = to_host(x)
    if isinstance(x, list | tuple) and (values.dtype.kind in "US" or _is_beyond(values)):
        return np.asarray(x, dtype=object)  # of mixed numbers NumPy makes text beside text, and floats beside floats
    return values


def _is_beyond(values: np.ndarray) -> bool:
    return values.dtype.kind == "f" and values.ndim == 1 and bool((np.abs(values) >= _EXACT).any())


def _of_pandas(column: Any) -> np.ndarray:
    kind = column.dtype.kind
    if isinstance(column.dtype, np.dtype) and kind not in "mM":
        return np.asarray(column.to_numpy())
    if kind in _WIDE:
        filled = column.to_numpy(dtype=_WIDE[kind], na_value=False if kind == "b" else 0)
        return _with_gaps(filled, np.asarray(column.isna()))
    return np.asarray(column.to_numpy(dtype=object))


def _of_polars(column: Any) -> np.ndarray:
    kind = column.dtype
    if kind.is_float() or str(kind).startswith(("Date", "Duration")):
        return np.asarray(column.to_numpy())
    if str(kind) == "Boolean" or (kind.is_integer() and "128" not in str(kind)):
        filled = column.fill_null(False if str(kind) == "Boolean" else 0)
        return _with_gaps(filled.to_numpy(), column.is_null().to_numpy())
    return _objects(column.to_list())


def _of_arrow(column: Any) -> np.ndarray:
    from pyarrow import types

    kind = column.type
    if types.is_dictionary(kind):
        return _of_arrow(column.cast(kind.value_type))
    if types.is_floating(kind) or types.is_timestamp(kind) or types.is_date(kind) or types.is_duration(kind):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    if types.is_boolean(kind) or types.is_integer(kind):
        filled = column.fill_null(False if types.is_boolean(kind) else 0)
        return _with_gaps(*(part.to_numpy(zero_copy_only=False) for part in (filled, column.is_null())))
    return _objects(column.to_pylist())


# ------------------------------------------------------------------------------------------------------ one by one


def _objects(values: Iterable[object]) -> np.ndarray:
    made = list(values)
    array = np.empty(len(made), dtype=object)  # np.asarray would make rows of cells that are lists
    array[:] = made
    return array


def _with_gaps(values: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """A column with these missing: floats with NaN, or objects with None where float64 would not hold the others."""
    if not gaps.any():
        return values
    kind = values.dtype.kind
    as_objects = kind == "O" or (kind in "iu" and ((values > _EXACT) | (values < -_EXACT))[~gaps].any())
    made = values.astype(object if as_objects else np.result_type(values.dtype, np.float32))
    made[gaps] = None if as_objects else np.nan
    return made


def _wide(values: np.ndarray) -> np.ndarray:
    """Whole numbers as int64 or uint64, anything else as it is."""
    if values.dtype.kind not in "iu":
        return values
    return values.astype(np.int64 if np.can_cast(values.dtype, np.int64) else np.uint64)


def _tidy(values: np.ndarray) -> np.ndarray:
    """Numbers and truth values as they are; of a column of objects, text or dates the numbers where it holds some."""
    if values.dtype.kind in _WIDE or values.ndim != 1:
        return values
    return _of_objects(_objects(values.tolist() if values.dtype.kind in "US" else values))


def _of_objects(values: np.ndarray) -> np.ndarray:
    kinds = set(map(type, values))
    doubtful = {kind for kind in kinds if not issubclass(kind, str | int | bytes)}
    gaps = np.fromiter((type(v) in doubtful and is_missing(v) for v in values), bool, len(values))
    present = values[~gaps]
    if all(map(_is_number, set(map(type, present)))):
        return _of_numbers(present, gaps)
    values[gaps] = None
    return values


def _of_numbers(present: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """An array as long as ``gaps`` with these numbers where it is false."""
    if len(present) and all(isinstance(v, bool | np.bool_) for v in present):
        kind, found = "b", present
    elif len(present) and all(map(_is_whole, present)):
        found = _objects(map(int, present))
        low, high = min(found), max(found)
        kind = "i" if low >= -(2**63) and high < 2**63 else "u" if low >= 0 and high < 2**64 else "O"
    else:
        kind, found = "f", _objects(map(_as_float, present))
    if kind == "O":
        made = np.full(len(gaps), None, dtype=object)
        made[~gaps] = found
        return made
    made = np.zeros(len(gaps), _WIDE[kind])
    made[~gaps] = found
    return _with_gaps(made, gaps)


def _is_number(kind: type) -> bool:
    # NumPy's durations are whole numbers to Python.
    return issubclass(kind, numbers.Real | Decimal | np.bool_) and not issubclass(kind, np.timedelta64)


def _is_whole(v: Any) -> bool:
    if isinstance(v, Decimal):
        return v.is_finite() and v == v.to_integral_value()
    return isinstance(v, numbers.Integral | np.bool_)


def _as_float(v: Any) -> float:
    try:
        return float(v)
    except OverflowError:
        return math.inf if v > 0 else -math.inf


# ------------------------------------------------------------------------------------------------------- the refusals


def _as_numbers(values: np.ndarray, what: str, where: str, text: str) -> np.ndarray:
    """A column that was read, as numbers none of which is missing."""
    if values.dtype.kind == "f" and (gaps := np.isnan(values)).any():
        refuse_missing(what, gaps, where)
    if values.dtype.kind != "O":
        return values
    strange = next((v for v in values if v is not None and not _is_number(type(v))), None)
    if strange is not None:
        _refuse_kind(strange, what, where, text)
    if None in (found := values.tolist()):
        refuse_missing(what, np.asarray([v is None for v in found]), where)
    return np.asarray([_as_float(v) for v in found])


def _refuse_kind(strange: Any, what: str, where: str, text: str) -> NoReturn:
    kind = _kind_of(strange)
    remedy = (
        text if kind in ("text", "bytes") else _REMEDIES.get(kind, "give one number a row, in columns of their own")
    )
    shown = " ".join(str(strange).split()) if kind in _REMEDIES else repr(strange)
    raise DTypeError(f"{what} must hold real numbers, got {kind}{where}, such as {shown[:60]}: {remedy}.")


def _kind_of(v: Any) -> str:
    for kind, types in _KINDS.items():
        if isinstance(v, types):
            return kind
    return f"{type(v).__name__} objects"


_KINDS: Mapping[str, tuple[type, ...]] = {
    "text": (str,),
    "bytes": (bytes,),
    "durations": (timedelta, np.timedelta64),
    "dates": (date, time, np.datetime64),
    "complex numbers": (complex, np.complexfloating),
}


def _refuse_single(v: Any, what: str) -> NoReturn:
    if _kind_of(v) in _KINDS:
        _refuse_kind(v, what, "", ENCODE)
    remedy = f": give numpy.asarray(list({what}))" if hasattr(v, "__iter__") and not isinstance(v, Set) else ""
    got = "None" if v is None else f"a {type(v).__name__}"
    raise DTypeError(f"{what} must be an array, a frame, or lists of numbers, got {got}{remedy}.")
