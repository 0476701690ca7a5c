"""X, y and weights as a scikit-learn user hands them in: lists, frames, sparse matrices, or any library's arrays.

scikit-learn checks what it can read, in its own words; an array of another library stays where it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Set
from datetime import date, time, timedelta
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils import _safe_indexing, check_array, check_consistent_length
from sklearn.utils.validation import _check_n_features, _check_y, validate_data

from .._backend import Backend, dtype_name, library_of, to_host
from .._base.errors import DataError, DTypeError
from .._data.checks import check_finite, check_matrix, check_squares, check_weight_sum
from .._data.frames import column_names, is_frame, named_columns, to_numbers
from .._data.labels import check_columns
from .._data.streams import Parquet, read_once
from ..batch import Batch
from ._sklearn import check_sample_weight


class Examples(NamedTuple):
    """X, y and the weights of the rows, as the user gave them, or checked."""

    X: Any
    y: Any
    weight: Any


def is_foreign(X: Any) -> bool:
    """Whether X is an array of a library that is not NumPy."""
    return library_of(X) is not None and not isinstance(X, np.ndarray | np.generic)


def as_host(x: Any) -> Any:
    """An array of any library as NumPy's; a list, a frame or None as it is."""
    return x if library_of(x) is None else to_host(x)


def read_numbers(x: Any, what: str) -> Any:
    """``in_memory``, without what NumPy, and so scikit-learn, would make numbers of, and what it would pass over.

    Raises DTypeError for dates, durations and text, DataError for masked entries, complex numbers, and entries that
    stand for a missing number and are not NaN.
    """
    x = in_memory(x, what)
    if np.ma.is_masked(x):
        raise DataError(f"{what} has masked entries, which would be taken as numbers: fill them in with .filled(...).")
    if isinstance(x, np.ndarray) and _is_number(x.dtype):
        return x
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
    return x


_TIMES = (date, time, timedelta, np.datetime64, np.timedelta64)


def _columns(x: Any, what: str) -> Iterator[tuple[str, np.ndarray]]:
    """The parts of x that may hold something else than numbers, by their names in a message."""
    if issparse(x) or is_foreign(x):
        return
    parts = [(f"{what}: column {name!r}", part) for name, part in named_columns(x)] if is_frame(x) else [(what, x)]
    for name, part in parts:
        try:
            if not _is_number(getattr(part, "dtype", None)):
                yield name, to_host(part)
        except DataError:  # NumPy cannot read it, for which scikit-learn has words
            return


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
    if issparse(x):  # of which one form is a dict too
        return x
    if not hasattr(x, "__array__") and (is_frame(x) or isinstance(x, Set | Iterator)):
        return to_numbers(x, what)  # or its sentence
    if fields := getattr(getattr(x, "dtype", None), "names", None):
        raise DTypeError(
            f"{what} must hold real numbers, got records of {fields}: make a matrix of them, "
            f"numpy.lib.recfunctions.structured_to_unstructured({what})."
        )
    return read_once(x, what)


def check_x(noted: BaseEstimator, X: Any, *, reset: bool, of: str = "") -> Any:
    """X as a NumPy array or CSR matrix of float32 or float64, or the other library's array that it is.

    Names and number of its columns are noted in the estimator, or compared with what is noted there. ``of`` is what
    follows X in a message: ``"_val"``.
    """
    what = f"X{of}"
    if isinstance(X, Mapping | Parquet) and not issparse(X):
        return _check_named(noted, X, what, reset=reset)
    X = read_numbers(X, what)
    if isinstance(X, np.ndarray) or not is_foreign(X):
        return validate_data(noted, X, accept_sparse="csr", dtype=_FLOATS, reset=reset)
    if len(X.shape) != 2:
        raise DataError(
            f"Expected 2D array, got an array of shape {tuple(X.shape)} instead: for one feature use "
            "X.reshape(-1, 1), for one example X.reshape(1, -1)."
        )
    for axis, part in enumerate(("sample", "feature")):
        if X.shape[axis] == 0:
            raise DataError(
                f"Found array with 0 {part}(s) (shape={tuple(X.shape)}) while a minimum of 1 is required by "
                f"{type(noted).__name__}."
            )
    return validate_data(noted, check_matrix(X, X.shape[1], what=what), skip_check_array=True, reset=reset)


_FLOATS = (np.float64, np.float32)


def _check_named(noted: BaseEstimator, X: Any, what: str, *, reset: bool) -> Any:
    """The same of columns of whose names scikit-learn does not know: of a dict, and of Parquet files."""
    names = column_names(X) or ()
    if not reset:
        check_columns(tuple(getattr(noted, "feature_names_in_", ())), X, what)
    array = check_array(in_memory(X, what), dtype=_FLOATS, estimator=noted, input_name=what)
    _check_n_features(noted, array, reset=reset)
    if reset:
        noted.feature_names_in_ = np.asarray(names, dtype=object)
    return array


def check_examples(noted: BaseEstimator, given: Examples, *, numeric: bool, reset: bool, of: str = "") -> Examples:
    """X so, y as a NumPy array, or the sparse matrix of labels that it is, and the weights; all of one length."""
    X, y, weight = given
    if y is None:
        name = type(noted).__name__
        raise ValueError(f"This {name} estimator requires y to be passed, but the target y is None.")
    X = check_x(noted, X, reset=reset, of=of)
    y = _check_y(to_host(y) if is_foreign(y) else y, multi_output=True, y_numeric=numeric, estimator=noted)
    check_consistent_length(X, y)
    return Examples(X, y, check_weight(weight, X.shape[0], of))


def check_both(validation: Examples) -> None:
    """Raise DataError for half a validation set."""
    X, y, weight = validation
    if (X is None) != (y is None) or (X is None and weight is not None):
        raise DataError("a validation set is X_val and y_val, with or without sample_weight_val: give both or none.")


def check_weight(sample_weight: Any, rows: int, of: str = "") -> np.ndarray | None:
    """The weights ``(rows,)`` on the host, not negative and not all 0; a number stands for all rows."""
    if sample_weight is None:
        return None
    sample_weight = read_numbers(sample_weight, f"sample_weight{of}")
    if is_foreign(sample_weight):
        sample_weight = to_host(sample_weight)
    checked: np.ndarray = check_sample_weight(sample_weight, np.zeros((rows, 1)), ensure_non_negative=True)
    return checked


def take_rows(X: Any, index: np.ndarray) -> Any:
    """The rows of these numbers, of whatever X is."""
    if isinstance(X, Parquet):  # whose rows are read in order
        X = dict(zip(X.feature_names, in_memory(X, "X").T, strict=True))
    if isinstance(X, Mapping) and not issparse(X):
        return {name: take_rows(column, index) for name, column in X.items()}
    owner = library_of(X)
    if owner is None:
        return _safe_indexing(X.tocsr() if issparse(X) else X, index)
    return owner.load().take(X, owner.from_numpy(index, owner.device_of(X)), axis=0)


def as_batch(backend: Backend, X: Any, targets: np.ndarray, weight: np.ndarray | None, of: str = "") -> Batch:
    """The examples on the backend; a sparse X stays where it is. Raises DataError for numbers beyond its dtype."""
    x = X if issparse(X) else check_finite(backend, X, f"X{of}")
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
