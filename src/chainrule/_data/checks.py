"""From the user's X and y to a batch on the backend: every check that keeps a training from being lost later.

The checks read the data once, before training; a step never does.
"""

from __future__ import annotations

import math
from typing import Any, NoReturn

import numpy as np

from .._backend import Backend, dtype_name, library_of, to_host
from .._base.errors import USE_FLOAT64, ConfigurationError, DataError, DTypeError
from .._base.typing import Array
from ..batch import Batch
from ..losses import LossFunction
from .frames import ENCODE, column_names, is_frame, refuse_missing, to_numbers

_READ_CELL_BY_CELL = "OUSTMm"  # kinds of NumPy's dtypes: objects, text, dates, durations
_MAKE_NUMBERS = "make numbers of it, for instance with .astype(float)"
_NUMBER_CLASSES = "number the classes, classes, y = np.unique(y, return_inverse=True)"


def prepare(
    backend: Backend,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    n_in: int,
    n_out: int,
    loss: LossFunction,
    what: str = "X",
    training: bool = True,
) -> Batch:
    """X, y and weights, checked and moved to the backend.

    Raises DataError for a shape, a length, NaN, infinity or labels that cannot be; DTypeError for what is no number.
    ``what`` names X in the messages; only a ``training`` set must hold two classes.
    """
    _check_together(X, y, sample_weight)
    x = check_inputs(backend, X, n_in, what=what)
    return Batch(x, *_targets(backend, y, sample_weight, int(x.shape[0]), n_out, loss, what, training))


def prepare_streamed(
    backend: Backend, X: Any, y: Any, sample_weight: Any = None, *, n_in: int, n_out: int, loss: LossFunction
) -> Batch:
    """The same for rows that stay where they are (``streams``): the numbers in them are checked when they are read."""
    if len(X.shape) != 2 or X.shape[1] != n_in or X.shape[0] == 0:
        hint = ": choose columns, cr.Parquet(path, columns=[...])" if hasattr(X, "columns") else ""
        raise DataError(f"X must have shape (rows, {n_in}), the network's inputs, got {tuple(X.shape)}{hint}.")
    return Batch(X, *_targets(backend, y, sample_weight, int(X.shape[0]), n_out, loss, "X", training=True))


def _targets(
    backend: Backend, y: Any, sample_weight: Any, rows: int, n_out: int, loss: LossFunction, what: str, training: bool
) -> tuple[Array, Array | None]:
    given = y
    y = _numeric(y, "y", text=_NUMBER_CLASSES if loss.target == "classes" else _MAKE_NUMBERS)
    if len(y.shape) == 0:
        raise DataError(f"y must have one entry a row, got the single value {given!r}.")
    if y.shape[0] != rows:
        raise DataError(
            f"{what} and y must have the same number of rows, got {rows} and {y.shape[0]}: one target for each example."
        )
    target = _check_classes(backend, y, n_out, training, given) if loss.target == "classes" else None
    if target is None:
        target = _check_numbers(backend, y, n_out, loss, given)
    weight = None if sample_weight is None else _check_weight(backend, sample_weight, rows)
    if not backend.xp.isdtype(target.dtype, "integral"):
        check_squares(backend, target, weight)
    return target, weight


def check_inputs(backend: Backend, X: Any, n_in: int, *, what: str = "X") -> Array:
    """X as a matrix of finite numbers, ``(rows, n_in)``, on the backend."""
    x = check_matrix(X, n_in, what=what)
    return check_finite(backend, x, what, X)


def check_matrix(X: Any, n_in: int, *, what: str = "X") -> Any:
    """X, of shape ``(rows, n_in)``, still where it was: none of its numbers is looked at."""
    x = _numeric(X, what)
    if len(x.shape) != 2:
        raise DataError(
            f"{what} must have shape (rows, features), got {tuple(x.shape)}: "
            "for one feature use X.reshape(-1, 1), for one example X.reshape(1, -1)."
        )
    if x.shape[1] != n_in:
        raise DataError(
            f"{what} must have {n_in} features, the network's inputs, got {x.shape[1]}: "
            f"give the columns it was made for, or make a network with {x.shape[1]} inputs."
        )
    if x.shape[0] == 0:
        raise DataError(f"{what} is empty: expected at least one row, got shape {tuple(x.shape)}.")
    return x


def take_rows(x: Any, rows: np.ndarray, what: str) -> Any:
    """These rows of X, y or weights that were checked: an array of any library where it was, all else as NumPy's."""
    x = _numeric(x, what)
    owner = library_of(x)
    assert owner is not None
    return owner.load().take(x, owner.from_numpy(rows, owner.device_of(x)), axis=0)


def is_flat(y: Any) -> bool:
    """Whether y is one number a row, ``(rows,)``, so that predictions come back in the same shape."""
    return not is_frame(y) and len(_shape(y)) == 1


def _check_together(*arrays: Any) -> None:
    """X, y and the weights lie in one library and on one device (lists and frames count as NumPy)."""
    seen: dict[str, None] = {}
    for array in arrays:
        if array is None:
            continue
        owner = library_of(array)
        seen["numpy on cpu" if owner is None else f"{owner.NAME} on {owner.device_name(owner.device_of(array))}"] = None
    if len(seen) > 1:
        raise DataError(
            f"X, y and sample_weight must lie in one library and on one device, got {' and '.join(seen)}: convert them."
        )


def _numeric(x: Any, what: str, *, text: str = ENCODE) -> Any:
    """An array of booleans, integers or real numbers: one of any library where it was, all else as NumPy's."""
    if type(x) is np.ndarray and x.dtype.kind == "f":
        return x  # which is asked for each prediction
    if np.ma.isMaskedArray(x) and np.ma.is_masked(x):
        raise DataError(f"{what} has masked entries, which would be trained on: fill them in with {what}.filled(...).")
    if hasattr(x, "toarray"):
        raise DTypeError(f"{what} must be a dense array, got a sparse {type(x).__name__}: use {what}.toarray().")
    if library_of(x) is None or (isinstance(x, np.ndarray | np.generic) and x.dtype.kind in _READ_CELL_BY_CELL):
        x = to_numbers(x, what, text=text)
    name = dtype_name(x.dtype)
    if name.startswith("complex"):
        raise DTypeError(f"{what} must hold real numbers, got dtype {x.dtype}: take {what}.real, or a column a part.")
    if not name.startswith(("bool", "int", "uint", "float", "bfloat")):
        remedy = "make a matrix of them, numpy.lib.recfunctions.structured_to_unstructured"
        raise DTypeError(
            f"{what} must hold real numbers, got records of {x.dtype.names}: {remedy}({what})."
            if getattr(x.dtype, "names", None)
            else f"{what} must hold real numbers, got dtype {x.dtype}."
        )
    return x


def _shape(y: Any) -> tuple[int, ...]:
    return tuple(y.shape) if hasattr(y, "shape") else to_host(y).shape


def check_finite(backend: Backend, x: Any, what: str, given: Any = None) -> Array:
    """``x`` on the backend in its dtype, refused if a number is NaN or infinite there.

    ``given`` is what x was made from; where that has columns with names, they are named.
    """
    xp = backend.xp
    with np.errstate(over="ignore", invalid="ignore"):
        moved = backend.asarray(x)  # an overflow becomes an infinity, which is reported with its row
        # A sum that is finite has finite terms: one number to look at instead of one a row.
        if math.isfinite(backend.to_numpy(xp.sum(moved))):
            return moved
    finite = backend.to_numpy(xp.isfinite(moved))
    if not finite.all():
        _refuse_rows(to_host(x), finite, what, dtype_name(backend.dtype), given)
    return moved


def _refuse_rows(x: np.ndarray, finite: np.ndarray, what: str, dtype: str, given: Any) -> NoReturn:
    """Raise DataError for the numbers that are not ``finite`` in the dtype, by their rows and a frame's column."""
    where = ""
    if is_frame(given):
        column = int(np.argmin(finite.all(axis=0)))  # the first that has one
        where = f" in column {(column_names(given) or ())[column]!r}"
        x, finite = (part[:, column : column + 1] for part in (x, finite))
        if np.isnan(x).any():
            refuse_missing(what, np.isnan(x[:, 0]), where)
    rows = finite.reshape(len(finite), -1).all(axis=1)
    bad = np.flatnonzero(~rows)
    listed = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
    with np.errstate(over="ignore"):
        overflowed = np.isfinite(x[bad].astype(float)).all()
    remedy = f"scale {what}, or {USE_FLOAT64}" if overflowed else "drop these rows or fill the values in"
    raise DataError(
        f"{what} holds {'numbers too large for' if overflowed else 'NaN or infinity in'} {dtype}{where} "
        f"in {len(bad)} of {len(x)} rows ({listed}): {remedy}."
    )


def _check_classes(backend: Backend, y: Any, n_out: int, training: bool, given: Any) -> Array | None:
    """Class indices as int32 ``(rows, 1)``; None if y is rows of probabilities instead."""
    if n_out == 1:
        raise ConfigurationError(
            "softmax over one output is always 1: give the network one output a class, "
            "or use loss='sigmoid_cross_entropy' for two classes."
        )
    if len(y.shape) == 2 and y.shape[1] == n_out:
        return None
    if len(y.shape) != 1 and tuple(y.shape[1:]) != (1,):
        raise DataError(
            f"y must be class indices of shape (rows,) or one row of {n_out} probabilities an example, "
            f"got shape {tuple(y.shape)}."
        )
    if dtype_name(y.dtype).startswith(("float", "bfloat")):
        check_finite(backend, y, "y", given)
        parts = [value for value in to_host(y).reshape(-1) if value % 1]
        remedy = f"{parts[0]:g} is none; for numbers use loss='squared_error'" if parts else "use y.astype(int)"
        raise DTypeError(f"class indices must be integers 0 to {n_out - 1}, got dtype {y.dtype}: {remedy}.")
    host = to_host(y).reshape(-1)
    outside = np.flatnonzero((host < 0) | (host >= n_out))
    if len(outside):
        raise DataError(
            f"class indices must lie in 0 to {n_out - 1}, one for each output, got {host[outside[0]]} in row "
            f"{outside[0]} ({len(outside)} rows in all): use np.unique(y, return_inverse=True)[1]."
        )
    if training and (host == host[0]).all():
        raise DataError(f"y must hold two classes or more, got {host[0]} in every row: add examples of another class.")
    return backend.asarray(host.reshape(-1, 1), backend.xp.int32)


def _check_numbers(backend: Backend, y: Any, n_out: int, loss: LossFunction, given: Any) -> Array:
    """Targets as numbers ``(rows, n_out)``, in the range that the loss needs."""
    shape = tuple(y.shape) if len(y.shape) > 1 else (y.shape[0], 1)
    if len(shape) != 2 or shape[1] != n_out:
        columns = "one column" if n_out == 1 else f"{n_out} columns"
        raise DataError(
            f"y must have {columns}, the network's outputs, got shape {tuple(y.shape)}: "
            "select columns of y, or give the network as many outputs."
        )
    xp = backend.xp
    moved = xp.reshape(check_finite(backend, y, "y", given), shape)
    low, high = backend.to_numpy(xp.stack([xp.min(moved), xp.max(moved)]))
    name = type(loss).__name__
    if loss.target == "counts" and low < 0:
        raise DataError(f"{name} needs targets >= 0, got {low:g}: it is for counts; for numbers use squared_error.")
    if loss.target in ("classes", "fractions") and not 0 <= low <= high <= 1:
        raise DataError(f"{name} needs targets in [0, 1], got values from {low:g} to {high:g}: encode classes as 0, 1.")
    if loss.target == "classes":
        furthest = backend.to_numpy(xp.max(xp.abs(xp.sum(moved, axis=-1) - 1.0)))
        if furthest > 1e-3:
            raise DataError(
                f"rows of y must be probabilities that sum to 1, got one off by {furthest:.3g}: rescale them."
            )
    return moved


def _check_weight(backend: Backend, weight: Any, rows: int) -> Array:
    given, weight = weight, _numeric(weight, "sample_weight", text=_MAKE_NUMBERS)
    if tuple(weight.shape) not in ((rows,), (rows, 1)):
        raise DataError(f"sample_weight must have shape ({rows},), one number a row, got {tuple(weight.shape)}.")
    moved = backend.xp.reshape(check_finite(backend, weight, "sample_weight", given), (rows, 1))
    xp = backend.xp
    low, high = backend.to_numpy(xp.stack([xp.min(moved), xp.max(moved)]))
    if low < 0 or (high == 0 and not to_host(weight).any()):  # what is too small for the dtype is 0 there
        raise DataError(
            f"sample_weight must be >= 0 and not all 0, got values from {low:g} to {high:g}: 0 leaves a row out."
        )
    check_weight_sum(backend, moved)
    return moved


def check_weight_sum(backend: Backend, weight: Array, what: str = "sample_weight") -> None:
    """Raise DataError for weights with which a sum of costs leaves the dtype's range, so that it is 0, NaN or noise."""
    with np.errstate(over="ignore"):
        total = float(backend.to_numpy(backend.xp.sum(weight)))
    dtype = dtype_name(backend.dtype)
    least, most = (float(limit) ** 0.5 for limit in (np.finfo(dtype).tiny, np.finfo(dtype).max))
    if not least <= total <= most:
        high = float(backend.to_numpy(backend.xp.max(weight)))
        raise DataError(
            f"{what} must sum to {least:.0e} to {most:.0e} in {dtype}, got {weight.shape[0]:,} weights up to "
            f"{high:g}: divide them by their mean, which changes no cost."
        )


def check_squares(backend: Backend, y: Array, weight: Array | None) -> None:
    """Raise DataError for targets whose squares, of which costs and metrics are made, cannot be added up."""
    xp, dtype = backend.xp, dtype_name(backend.dtype)
    with np.errstate(over="ignore"):
        total = xp.sum(y * y if weight is None else weight * (y * y))
        if np.isfinite(backend.to_numpy(total)):
            return
    reach, weighted = float(backend.to_numpy(xp.max(xp.abs(y)))), "" if weight is None else "weighted "
    remedy = "" if dtype == "float64" else f", or {USE_FLOAT64}"
    raise DataError(
        f"the targets reach {reach:.3g}, too large to add up their {weighted}squares in {dtype}: scale y{remedy}."
    )
