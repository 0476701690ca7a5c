"""X, y and weights as a scikit-learn user hands them in: lists, frames, sparse matrices, or any library's arrays.

scikit-learn checks what it can read, in its own words; an array of another library stays where it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Set
from datetime import date, time, timedelta
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _check_n_features, check_array, check_X_y, validate_data

from .._backend import Backend, dtype_name, library_of, to_host
from .._base.errors import DataError, DTypeError
from .._data.checks import check_inputs, check_squares, check_weight_sum
from .._data.frames import column_names, is_frame, to_numbers
from .._data.labels import check_columns
from .._data.streams import Parquet, read_once
from ..batch import Batch
from ._sklearn import check_sample_weight


def is_sparse(X: Any) -> bool:
    """Whether X is a SciPy sparse matrix or array."""
    return hasattr(X, "tocsr")


def is_foreign(X: Any) -> bool:
    """Whether X is an array of a library that is not NumPy."""
    return library_of(X) is not None and not isinstance(X, np.ndarray | np.generic)


def as_host(x: Any) -> Any:
    """An array of any library as NumPy's; a list, a frame or None as it is."""
    return x if library_of(x) is None else to_host(x)


def check_numbers(x: Any, what: str) -> None:
    """Refuse what NumPy, and so scikit-learn, would make numbers of, and what it would pass over.

    Raises DTypeError for dates, durations and text, DataError for masked entries, complex numbers, and entries that
    stand for a missing number and are not NaN.
    """
    if np.ma.is_masked(x):
        raise DataError(f"{what} has masked entries, which would be taken as numbers: fill them in with .filled(...).")
    for name, column in _columns(x, what):
        kinds = set(map(type, column.ravel().tolist())) if column.dtype.kind == "O" else {column.dtype.type}
        missing = {kind for kind in kinds if kind.__name__ in ("NAType", "NaTType")}
        if any(issubclass(kind, str | bytes) for kind in kinds):
            raise DTypeError(f"{name} must hold real numbers, got text: encode text and categories as numbers first.")
        if any(issubclass(kind, _TIMES) or hasattr(kind, "strftime") for kind in kinds - missing):
            raise DTypeError(
                f"{name} must hold real numbers, got dates or durations: make numbers of them first, such as days, "
                "(dates - dates.min()) / np.timedelta64(1, 'D')."
            )
        if missing:
            raise DataError(f"{name} has missing values: drop these rows or fill the values in.")
        if any(issubclass(kind, complex | np.complexfloating) for kind in kinds):
            raise DataError(f"Complex data not supported: {name} must hold real numbers, got {column.dtype}.")


_TIMES = (date, time, timedelta, np.datetime64, np.timedelta64)


def _columns(x: Any, what: str) -> Iterator[tuple[str, np.ndarray]]:
    """The parts of x that may hold something else than numbers, by their names in a message."""
    frame = hasattr(x, "columns")
    dtypes = x.dtypes if frame and hasattr(x, "dtypes") else [getattr(x, "dtype", None)]
    if is_sparse(x) or is_foreign(x) or all(map(_is_number, dtypes)):
        return
    for name, part in _named_columns(x) if frame else [("", x)]:
        try:
            if not _is_number(getattr(part, "dtype", None)):
                yield f"{what}: column {name!r}" if frame else what, to_host(part)
        except DataError:  # NumPy cannot read it, for which scikit-learn has words
            return


def _named_columns(frame: Any) -> Iterable[tuple[str, Any]]:
    if hasattr(frame, "column_names"):  # an Arrow table, whose columns are arrays
        return zip(frame.column_names, frame.columns, strict=True)
    named: Iterable[tuple[str, Any]] = (
        frame.items() if hasattr(frame, "items") else zip(frame.columns, frame, strict=True)
    )
    return named


def _is_number(dtype: Any) -> bool:
    """Whether a dtype of NumPy, pandas or polars is one of numbers or truth values."""
    return dtype.kind in "biuf" if hasattr(dtype, "kind") else bool(getattr(dtype, "is_numeric", bool)())


def in_memory(x: Any, what: str) -> Any:
    """What is read by slices, as one array: NumPy would ask for each row alone, and may be given all in one memory.

    A dict of columns is an array too. Raises DTypeError for records, DataError for a frame that holds no rows.
    """
    if isinstance(x, str | os.PathLike):
        raise DataError(
            f"{what} must be an array or a frame, got {str(x)!r:.60}: give a file as cr.Parquet(path) or "
            "numpy.load(path)."
        )
    if is_sparse(x):  # of which one form is a dict too
        return x
    if not hasattr(x, "__array__") and (is_frame(x) or isinstance(x, Set | Iterator)):
        return to_numbers(x, what)  # or its sentence
    if fields := getattr(getattr(x, "dtype", None), "names", None):
        raise DTypeError(
            f"{what} must hold real numbers, got records of {fields}: make a matrix of them, "
            f"numpy.lib.recfunctions.structured_to_unstructured({what})."
        )
    return read_once(x, what)


def _own_names(X: Any) -> tuple[str, ...]:
    """The names of columns of which scikit-learn does not know: of a dict, and of Parquet files."""
    ours = isinstance(X, Mapping | Parquet) and not is_sparse(X)
    return (column_names(X) or ()) if ours else ()


def check_x(estimator: Any, X: Any, *, reset: bool, of: str = "") -> Any:
    """X as a NumPy array or CSR matrix of float32 or float64, or the other library's array that it is."""
    if names := _own_names(X):
        return _check_named(estimator, names, X, f"X{of}", reset=reset)
    X = in_memory(X, "X")
    if not is_foreign(X):
        check_numbers(X, "X")
        return validate_data(estimator, X, accept_sparse="csr", dtype=(np.float64, np.float32), reset=reset)
    if len(X.shape) != 2:
        raise DataError(
            f"Expected 2D array, got an array of shape {tuple(X.shape)} instead: for one feature use "
            "X.reshape(-1, 1), for one example X.reshape(1, -1)."
        )
    for axis, what in enumerate(("sample", "feature")):
        if X.shape[axis] == 0:
            raise DataError(
                f"Found array with 0 {what}(s) (shape={tuple(X.shape)}) while a minimum of 1 is required by "
                f"{type(estimator).__name__}."
            )
    return validate_data(estimator, X, skip_check_array=True, reset=reset)


def _check_named(estimator: Any, names: tuple[str, ...], X: Any, what: str, *, reset: bool) -> Any:
    """The same of columns whose names are checked here."""
    if not reset:
        check_columns(tuple(getattr(estimator, "feature_names_in_", ())), X, what)
    array = check_array(in_memory(X, what), dtype=(np.float64, np.float32), estimator=estimator, input_name=what)
    _check_n_features(estimator, array, reset=reset)
    if reset:
        estimator.feature_names_in_ = np.asarray(names, dtype=object)
    return array


def check_x_y(estimator: Any, X: Any, y: Any, *, reset: bool, numeric: bool, of: str = "") -> tuple[Any, Any]:
    """The same for X; y as a NumPy array, or as the sparse matrix of labels that it is; both of one length.

    ``of`` is what follows their names in a message: ``"_val"``.
    """
    names, y = _own_names(X), in_memory(y, f"y{of}")
    if not names:
        X = in_memory(X, f"X{of}")
        check_numbers(X, f"X{of}")
    if numeric:
        check_numbers(y, f"y{of}")
    y = to_host(y) if is_foreign(y) else y
    options = {"multi_output": True, "y_numeric": numeric}
    if not (names or is_foreign(X)):
        dtypes = (np.float64, np.float32)
        checked: tuple[Any, Any] = validate_data(
            estimator, X, y, accept_sparse="csr", dtype=dtypes, reset=reset, **options
        )
        return checked
    X = check_x(estimator, X, reset=reset, of=of)
    # A column of zeros stands in for X, which scikit-learn could read from the host alone.
    _, y = check_X_y(np.zeros((X.shape[0], 1)), y, estimator=estimator, **options)
    return X, y


def check_weight(sample_weight: Any, rows: int, of: str = "") -> np.ndarray | None:
    """The weights ``(rows,)`` on the host, not negative and not all 0; a number stands for all rows."""
    if sample_weight is None:
        return None
    sample_weight = in_memory(sample_weight, f"sample_weight{of}")
    check_numbers(sample_weight, f"sample_weight{of}")
    if is_foreign(sample_weight):
        sample_weight = to_host(sample_weight)
    checked: np.ndarray = check_sample_weight(sample_weight, np.zeros((rows, 1)), ensure_non_negative=True)
    return checked


def take_rows(X: Any, index: np.ndarray) -> Any:
    """The rows of these numbers, of whatever X is."""
    if isinstance(X, Parquet):  # whose rows are read in order
        X = dict(zip(X.feature_names, in_memory(X, "X").T, strict=True))
    if isinstance(X, Mapping) and not is_sparse(X):
        return {name: take_rows(column, index) for name, column in X.items()}
    owner = library_of(X)
    if owner is None:
        return _safe_indexing(X.tocsr() if is_sparse(X) else X, index)
    return owner.load().take(X, owner.from_numpy(index, owner.device_of(X)), axis=0)


def as_batch(backend: Backend, X: Any, targets: np.ndarray, weight: np.ndarray | None, of: str = "") -> Batch:
    """The examples on the backend; a sparse X stays where it is. Raises DataError for numbers beyond its dtype."""
    x = X if is_sparse(X) else check_inputs(backend, X, X.shape[1], what=f"X{of}")
    dtype = dtype_name(backend.dtype)
    for what, numbers in (("y", targets), ("sample_weight", weight)):
        largest = 0.0 if numbers is None else float(np.abs(numbers).max())
        if largest > float(np.finfo(dtype).max):
            raise DataError(
                f"{what}{of} reaches {largest:.3g}, too large for {dtype}: scale it, or use dtype='float64'."
            )
    y = backend.asarray(targets, backend.xp.int32 if targets.dtype.kind == "i" else None)
    weights = None
    if weight is not None:
        weights = backend.asarray(weight.reshape(-1, 1))
        if weight.any():  # of rows that are held out all may be 0
            check_weight_sum(backend, weights, "sample_weight, times class_weight,")
    if targets.dtype.kind == "f":
        check_squares(backend, y, weights)
    return Batch(x, y, weights)
