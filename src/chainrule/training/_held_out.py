"""A fraction of the rows held out for validation: drawn by the seed, the same rows on every backend."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._backend import Backend, dtype_name, library_of, reference_backend
from .._base.errors import DataError, require
from .._data.checks import prepare, take_rows
from ..batch import Batch
from ..links import find_link
from ..losses import LossFunction
from ..network import Sequential
from ..tables import split


class Rows(NamedTuple):
    """Some of the rows of X, y and the weights."""

    X: Any
    y: Any
    sample_weight: Any


def share_of_rows(validation: Any, *, in_batches: bool, in_memory: bool) -> float | None:
    """``validation`` as a share of the rows; None for a set. Raises ConfigurationError for what cannot be held out."""
    if not isinstance(validation, float | int | np.floating) or validation is True or validation is False:
        return None
    require(
        0 < float(validation) < 1,
        f"validation must be (X_val, y_val), or a share of the rows above 0 and below 1, got {validation}.",
    )
    lacking = "X is an iterable of batches" if in_batches else "" if in_memory else "X is not in memory"
    require(
        not lacking,
        f"validation={validation} holds out some of all rows, and {lacking}: give a set of your own, "
        "validation=(X_val, y_val).",
    )
    return float(validation)


def hold_out(
    fraction: float, backend: Backend, given: Rows, network: Sequential, loss: LossFunction, seed: int
) -> tuple[Rows, Rows]:
    """(the rest, held out): ``tables.split`` with part="validation", stratified where a row has one class.

    All rows are checked first, because in what is wrong with one its number in X is named.
    """
    host = library_of(given.X) in (None, reference_backend("numpy").library)
    where = reference_backend("numpy", dtype=dtype_name(backend.dtype)) if host else backend
    checked = prepare(where, *given, n_in=network.n_in, n_out=network.n_out, loss=loss)
    classes = _classes(where, checked, loss)
    rows = split(
        int(checked.x.shape[0]),
        classes,
        fraction=fraction,
        seed=seed,
        stratify=classes is not None,
        part="validation",
    )
    if not len(rows[1]):
        raise DataError(
            f"validation={fraction} holds out no row: each class keeps one, and none has more. Give a set of your own."
        )
    rest, held_out = (
        Rows(*(None if part is None else take_rows(part, some, name) for name, part in given._asdict().items()))
        for some in rows
    )
    return rest, held_out


def _classes(backend: Backend, checked: Batch, loss: LossFunction) -> np.ndarray | None:
    """The class of each row, ``(rows,)``; None where rows have numbers, several labels, or are in a class in part."""
    if not find_link(loss).predicts_classes or checked.y.shape[1] != 1:
        return None
    y = backend.to_numpy(checked.y)[:, 0]
    return y if loss.target == "classes" or bool(np.isin(y, (0, 1)).all()) else None
