"""Class labels: what the network is trained on in their place, and the way back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from scipy.sparse import csr_matrix, issparse
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.multiclass import type_of_target, unique_labels
from sklearn.utils.validation import column_or_1d

from .._backend import library_of, to_host
from .._base.errors import DataError, require
from .._base.options import real_number
from .._data.frames import is_frame, is_missing, read_columns
from .._data.labels import take_labels
from ._inputs import is_foreign

Kind = Literal["binary", "multiclass", "multilabel"]


@dataclass(frozen=True)
class ClassLabels:
    """The classes ``(k,)`` in order, what kind of prediction is asked for, and whether it is given as a sparse matrix.

    ``binary``: one output, the second class's probability. ``multiclass``: k outputs that exclude each other.
    ``multilabel``: k outputs by themselves, and y is an indicator matrix ``(rows, k)``.
    """

    classes: np.ndarray
    kind: Kind
    sparse: bool = False

    @staticmethod
    def of(y: Any, classes: Sequence[Any] | None = None) -> ClassLabels:
        """The labels in y; ``classes`` names those that are to come as well. Raises ValueError for what is no label."""
        if type_of_target(y if classes is None else classes, input_name="y") in ("continuous", "unknown"):
            raise DataError(  # scikit-learn's prints all of y
                "Unknown label type: expected classes, which are text, whole numbers or truth values, got others, such "
                "as numbers with fractions: train MLPRegressor on those, or make classes of them."
            )
        several = type_of_target(y, input_name="y").startswith("multilabel")
        found = LabelBinarizer().fit(y if several or classes is None else classes)
        kind: Kind = "multilabel" if several else "multiclass" if len(found.classes_) > 2 else "binary"
        return ClassLabels(found.classes_, kind, bool(found.sparse_input_))

    @property
    def outputs(self) -> int:
        """How many outputs a network for them has."""
        return 1 if self.kind == "binary" else len(self.classes)

    def encode(self, y: Any) -> np.ndarray:
        """What is trained on: class indices ``(rows, 1)``, int32, of multiclass labels; else zeros and ones.

        Raises ValueError for labels that are not among the classes.
        """
        if self.kind == "multilabel":
            dense = y.toarray() if hasattr(y, "toarray") else np.asarray(y)
            if dense.ndim != 2 or dense.shape[1] != len(self.classes):
                raise DataError(
                    f"y must have a column of zeros and ones for each of the {len(self.classes)} labels of the fit "
                    f"before, got shape {dense.shape}: give a matrix of them, or fit another estimator."
                )
            return np.asarray(dense != 0, dtype=np.float32)
        index = self.index(y).reshape(-1, 1)
        return index.astype(np.int32 if self.kind == "multiclass" else np.float32)

    def index(self, y: Any) -> np.ndarray:
        """The number of each label's class, ``(rows,)``."""
        y = np.asarray(y)
        if y.ndim != 1:
            raise DataError(
                f"y must have one label a row, (rows,), as in the fit before, got shape {y.shape}: give one column, or "
                "fit another estimator."
            )
        if y.dtype.kind == self.classes.dtype.kind:
            index = np.searchsorted(self.classes, y)
            known = self.classes[np.minimum(index, len(self.classes) - 1)] == y
        else:  # NumPy would compare floats
            numbers = {label: i for i, label in enumerate(self.classes.tolist())}
            index = np.asarray([numbers.get(label, -1) for label in y.tolist()], dtype=np.intp)
            known = index >= 0
        if not known.all():
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {_some(self.classes)}. 'y' has "
                f"{_some(_classes_in(y))}."
            )
        return index

    def decode(self, predictions: Any) -> Any:
        """Labels for a model's predictions (class indices, or zeros and ones), in their library where numbers."""
        if self.kind == "multilabel":
            return _indicators(predictions, self.sparse)
        return take_labels(np.concatenate([self.classes, self.classes[-1:]]), predictions)  # of one class, two outcomes


def as_labels(y: Any, what: str = "y") -> Any:
    """Labels as an array, none of them rounded, whatever holds them; a sparse matrix and another library's array stay.

    Raises DataError for missing labels, and for objects that are no labels, or of several types.
    """
    if y is None or issparse(y) or is_foreign(y):
        return y
    host = _read(y, what)
    if host.dtype.kind == "c":
        raise DataError(f"Complex data not supported: {what} must hold labels, got {host.dtype}.")
    if host.dtype.kind == "V":
        raise DataError(f"{what} must hold labels, got records of {host.dtype.names}: give one of these fields.")
    entries = host.ravel().tolist() if host.dtype.kind == "O" else []
    missing = np.asarray([is_missing(e) for e in entries], bool)
    if host.dtype.kind in "fmM":
        missing = np.isnan(host.ravel())
    if missing.any():
        raise DataError(
            f"{what} has missing labels in {missing.sum()} of {len(missing)} places, the first at {missing.argmax()}: "
            "drop these rows, or give them a label of their own."
        )
    kinds = {type(entry) for entry in entries}
    if not kinds or all(issubclass(kind, str) for kind in kinds):
        return host
    if all(issubclass(kind, Real | np.bool | np.datetime64) for kind in kinds):
        found = np.asarray(entries).reshape(host.shape)
        if found.dtype.kind == "O" or _rounded(entries, found.ravel()):
            raise DataError(f"Unknown label type: {what} holds numbers that no dtype holds exactly: {_AS_TEXT}.")
        return found
    names = ", ".join(sorted(kind.__name__ for kind in kinds)[:5])
    raise DataError(f"Unknown label type: {what} holds {names}: expected text alone, or numbers alone; {_AS_TEXT}.")


_AS_TEXT = "y.astype(str) makes text of them"


def _read(y: Any, what: str) -> np.ndarray:
    dtype = getattr(y, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind != "O":
        return to_host(y)
    if is_frame(y):
        return np.stack([*read_columns(y).values()], axis=1)
    if isinstance(y, str | Set) or not (hasattr(y, "__len__") or hasattr(y, "__array__")):
        raise DataError(
            f"{what} must be labels, in an array, a column or a list, got a {type(y).__name__}: give "
            f"numpy.asarray(list({what}))."
        )
    if isinstance(y, list | tuple | np.ndarray):
        host = to_host(y)
        if host.ndim != 1:
            return host
    found = read_columns({what: y})[what]
    return np.asarray(y, dtype=object) if found.dtype.kind == "f" and _rounded(y, found) else found


def _rounded(given: Any, found: np.ndarray) -> bool:
    """Whether whole numbers were rounded, which float64 does beyond 2^53."""
    if found.dtype.kind != "f" or np.abs(found).max(initial=0) < 2**53:
        return False
    return any(isinstance(v, Integral) and v != number for v, number in zip(given, found.tolist(), strict=True))


def check_labels(y: Any) -> Any:
    """Labels as ``(rows,)`` or an indicator matrix; a column is flattened, with scikit-learn's warning."""
    return column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y


def check_same_classes(y: Any, labels: ClassLabels) -> None:
    """Raise ValueError unless y has just the classes of the fit before it."""
    classes = _classes_in(y)
    if set(classes) != set(labels.classes):
        raise ValueError(
            "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
            f"Previously got {_some(labels.classes)}, `y` has {_some(classes)}"
        )


def _classes_in(y: Any) -> np.ndarray:
    return unique_labels(y) if type_of_target(y).startswith("multilabel") else np.unique(np.asarray(y))


def _some(classes: np.ndarray) -> str:
    """As NumPy prints them, the first and the last where there are many."""
    return np.array2string(classes, threshold=40)


def class_weights(given: Any, labels: ClassLabels, y: Any) -> np.ndarray:
    """What each example weighs by its labels, ``(rows,)``: ``given`` is a dict by label, 1 for those not in it.

    Several labels a row have a dict of 0 and 1 each, whose weights are multiplied. Raises ConfigurationError for labels
    that are none, and for weights that cannot be.
    """
    several = labels.kind == "multilabel"
    require(
        isinstance(given, list) == several and (not several or len(given) == len(labels.classes)),
        f"class_weight must be {'a list with a dict {0: ..., 1: ...} for each label' if several else 'a dict by label'}"
        f", or 'balanced', got {given!r:.60}.",
    )
    if not several:  # by the classes, not by the labels at hand, which in partial_fit may be some of them
        return _weights_of(given, labels.classes.tolist())[labels.index(y)]
    dense = y.toarray() if hasattr(y, "toarray") else np.asarray(y)
    by_label = [_weights_of(one, [0, 1])[row] for one, row in zip(given, (dense != 0).astype(int).T, strict=True)]
    product: np.ndarray = np.prod(by_label, axis=0)
    return product


def _weights_of(given: Mapping[Any, float], names: list[Any]) -> np.ndarray:
    unknown = [label for label in given if label not in names]
    require(not unknown, f"class_weight must name labels among {names}, got {unknown} too.")
    for label, weight in given.items():
        number = real_number(f"class_weight of class {label!r}", weight, nan=True)
        require(0 <= number < math.inf, f"{_BOUNDS}, got {number:g} for class {label!r}.")
    weights = np.asarray([float(given.get(name, 1.0)) for name in names])
    require(bool(weights.any()), f"{_BOUNDS}, got 0 for every class.")
    return weights


_BOUNDS = "class_weight must be finite, >= 0 and not all 0"


def _indicators(predictions: Any, sparse: bool) -> Any:
    """Zeros and ones as scikit-learn gives them: integers, sparse where y was."""
    owner = library_of(predictions)
    if owner is None or isinstance(predictions, np.ndarray):
        whole = np.asarray(predictions).astype(np.int64)
        return csr_matrix(whole) if sparse else whole
    xp = owner.load()
    return xp.astype(predictions, xp.__array_namespace_info__().default_dtypes()["integral"])
