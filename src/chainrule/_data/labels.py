"""Classes by their own names: text, whole numbers, numbers or truth values in place of their numbers from 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np

from .._backend import library_of, to_host
from .._base.errors import DataError, one_line
from .frames import column_names, is_frame, is_missing, read_columns, refuse_missing

Label = bool | int | float | str
_WIDEST = 4_000  # bytes of a text in an array of texts of one length


def plain_labels(classes: np.ndarray) -> tuple[Any, ...]:
    """Labels as Python has them; dates stay NumPy's, since as numbers they would lose their meaning."""
    return tuple(classes if classes.dtype.kind in "mM" else classes.tolist())


def are_labels(value: object) -> TypeGuard[list[Label]]:
    """Whether it is a list of distinct labels of one type, as a file has it; whole numbers are those of an array.

    Larger ones can be chosen to be of one hash, and a set of them would take hours.
    """
    if not isinstance(value, list) or not all(isinstance(label, Label) for label in value):
        return False
    if len(set(map(type, value))) > 1:
        return False
    if any(isinstance(label, float) and not math.isfinite(label) for label in value):
        return False
    if any(isinstance(label, int) and not -(2**63) <= label < 2**64 for label in value):
        return False
    return len(set(value)) == len(value)


def name_classes(classes: Sequence[Label], predictions: Any) -> Any:
    """The labels of class indices ``(rows,)``: in the library of the predictions where it can hold them, else in NumPy.

    What has a column for each class is given back as it is.
    """
    if not classes or predictions.ndim != 1:
        return predictions
    return take_labels(_label_array([*classes, classes[-1]]), predictions)  # of two outcomes where there is one class


def take_labels(labels: np.ndarray, indices: Any) -> Any:
    """``labels`` at these indices ``(rows,)``: in the library of the indices where it can hold them, else in NumPy."""
    owner = library_of(indices)
    if owner is not None and not isinstance(indices, np.ndarray) and labels.dtype.kind in "biuf":
        moved = owner.from_numpy(labels, owner.device_of(indices))
        if np.array_equal(owner.to_numpy(moved), labels):  # JAX has 32 bits unless it is told otherwise
            return owner.load().take(moved, indices, axis=0)
    return labels[to_host(indices).astype(np.int64, copy=False)]


def number_classes(classes: Sequence[Label], y: Any) -> Any:
    """The index of each label ``(rows,)`` or ``(rows, 1)``, in the library of y.

    What has a column for each class is given back as it is. Raises DataError for labels that are no class.
    """
    owner = library_of(y)
    if column_names(y) and is_frame(y):
        labels = np.stack([*read_columns(y).values()], axis=1)
    else:
        plain = isinstance(y, list | tuple) and all(isinstance(label, Label) for label in y)
        labels = _objects(y) if plain else to_host(y)
    if not classes or labels.ndim == 0 or labels.shape[1:] not in ((), (1,)):
        return y
    number, given = {label: i for i, label in enumerate(classes)}, labels.ravel().tolist()
    unknown = sorted({repr(label) for label in given if label not in number})
    if unknown:
        if (gaps := np.asarray([is_missing(label) for label in given])).any():
            refuse_missing("y", gaps)
        raise DataError(f"y must hold the model's classes {list(classes)}, got {', '.join(unknown[:5])} too.")
    indices = np.asarray([number[label] for label in given]).reshape(labels.shape)
    return indices if owner is None else owner.from_numpy(indices, owner.device_of(y))


def _label_array(labels: list[Any]) -> np.ndarray:
    """Labels as one array, none of them rounded or cut short: of objects where no dtype of NumPy's holds them all.

    NumPy makes floats of whole numbers beyond int64, and drops the zeros that a text ends in; and of one very long text
    it would make all others as long.
    """
    made = np.asarray(labels)
    if made.dtype.kind in "mM":
        return made
    listed: list[Any] = made.tolist()
    if listed == labels and list(map(type, listed)) == list(map(type, labels)) and made.itemsize <= _WIDEST:
        return made
    if all(type(label) is int and 0 <= label < 2**64 for label in labels):
        return np.asarray(labels, dtype=np.uint64)
    return _objects(labels)


def _objects(values: Sequence[Any]) -> np.ndarray:
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made


def names_of(X: Any) -> tuple[str, ...]:
    """The names of X's columns; () where there are none, or only pandas' own numbers 0, 1, 2, ..."""
    names = () if library_of(X) is not None else column_names(X) or ()
    return () if names == _numbers(names) else names


def check_columns(expected: Sequence[str], X: Any, what: str = "X") -> None:
    """Raise DataError unless X, where its columns have names, has those that a model was trained on, in their order."""
    if library_of(X) is not None:
        return
    given = column_names(X) or ()
    numbers = _numbers(given)
    if not expected and set(given) == set(numbers):
        expected = numbers  # a frame without names, its columns perhaps in another order
    unnamed = not given or (given == numbers and set(expected) != set(given))
    if unnamed or not expected or given == tuple(expected):
        return
    missing = [name for name in expected if name not in given]
    other = [name for name in given if name not in expected]
    found, remedy = "it has them in another order, or twice", "give them as the model was trained on them"
    if missing:
        found, remedy = f"it lacks {', '.join(missing[:5])}", "give what it was trained on"
    elif other:
        found = f"it has {', '.join(other[:5])} too"
    columns = f"{', '.join(expected[:5])}{', ...' if len(expected) > 5 else ''}"
    text = f"{what} must have the columns {columns} in this order, {found}: {remedy}, or an array, by position."
    raise DataError(one_line(text))  # the names may be those of a stranger's file


def _numbers(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(str, range(len(names))))
