"""X, y and weights as a scikit-learn user hands them in: lists, frames, sparse matrices, or any library's arrays.

scikit-learn checks what it can read, in its own words; an array of another library stays where it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _check_sample_weight, check_X_y, validate_data

from .._backend import Backend, library_of, to_host
from .._errors import DataError
from ..data import Batch, check_inputs


def is_sparse(X: Any) -> bool:
    """Whether X is a SciPy sparse matrix or array."""
    return hasattr(X, "tocsr")


def is_foreign(X: Any) -> bool:
    """Whether X is an array of a library that is not NumPy."""
    return library_of(X) is not None and not isinstance(X, np.ndarray | np.generic)


def as_host(x: Any) -> Any:
    """An array of any library as NumPy's; a list, a frame or None as it is."""
    return x if library_of(x) is None else to_host(x)


def check_x(estimator: Any, X: Any, *, reset: bool) -> Any:
    """X as a NumPy array or CSR matrix of float32 or float64, or the other library's array that it is."""
    if not is_foreign(X):
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


def check_x_y(estimator: Any, X: Any, y: Any, *, reset: bool, numeric: bool) -> tuple[Any, Any]:
    """The same for X; y as a NumPy array, or as the sparse matrix of labels that it is; both of one length."""
    y = to_host(y) if is_foreign(y) else y
    options = {"multi_output": True, "y_numeric": numeric}
    if not is_foreign(X):
        dtypes = (np.float64, np.float32)
        checked: tuple[Any, Any] = validate_data(
            estimator, X, y, accept_sparse="csr", dtype=dtypes, reset=reset, **options
        )
        return checked
    X = check_x(estimator, X, reset=reset)
    # A column of zeros stands in for X, which scikit-learn could read from the host alone.
    _, y = check_X_y(np.zeros((X.shape[0], 1)), y, estimator=estimator, **options)
    return X, y


def check_weight(sample_weight: Any, rows: int) -> np.ndarray | None:
    """The weights ``(rows,)`` on the host, not negative and not all 0; a number stands for all rows."""
    if sample_weight is None:
        return None
    if is_foreign(sample_weight):
        sample_weight = to_host(sample_weight)
    checked: np.ndarray = _check_sample_weight(sample_weight, np.zeros((rows, 1)), ensure_non_negative=True)
    return checked


def take_rows(X: Any, index: np.ndarray) -> Any:
    """The rows of these numbers, of whatever X is."""
    owner = library_of(X)
    if owner is None:
        return _safe_indexing(X.tocsr() if is_sparse(X) else X, index)
    return owner.load().take(X, owner.from_numpy(index, owner.device_of(X)), axis=0)


def place(on: Backend, X: Any, targets: np.ndarray, weight: np.ndarray | None) -> Batch:
    """The examples on the backend; a sparse X stays where it is."""
    x = X if is_sparse(X) else check_inputs(on, X, X.shape[1])
    y = on.asarray(targets, on.xp.int32 if targets.dtype.kind == "i" else None)
    return Batch(x, y, None if weight is None else on.asarray(weight.reshape(-1, 1)))
