"""The validation set: the user's own, or rows held out for early stopping; and the score of a network on it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from sklearn.metrics import check_scoring
from sklearn.model_selection import train_test_split

from .._backend import Backend
from .._base.errors import DataError, require
from .._base.typing import Array
from .._model.prediction import Finish, ForwardPass
from ..batch import Batch
from ..history import Record
from ..links import find_link
from ..network import Sequential
from ..training import Run
from ._inputs import as_batch, check_weight, check_x_y, is_sparse, take_rows
from ._prepared import PreparedFit, Split, ValidationSet
from ._sparse import forward_sparse, on_sparse

Validation = tuple[Any, Any, Any]  # X, y, sample_weight, or None for each


def check_validation(validation: Validation) -> None:
    """Raise DataError for half a validation set."""
    X, y, weight = validation
    if (X is None) != (y is None) or (X is None and weight is not None):
        raise DataError("a validation set is X_val and y_val, with or without sample_weight_val: give both or none.")


def with_own(estimator: Any, fit: PreparedFit, validation: Validation) -> PreparedFit:
    """The fit with the user's validation set."""
    X, y = check_x_y(estimator, *validation[:2], reset=False, numeric=estimator._numeric, of="_val")
    if len(y) < 2 and estimator._numeric and estimator.early_stopping and estimator.scoring is None:
        raise DataError(
            "early stopping goes by R^2, which one row has not: expected two rows or more in X_val, or scoring='loss'."
        )
    weight, targets = check_weight(validation[2], X.shape[0], "_val"), estimator._encode(y)
    batch, constant = as_batch(fit.backend, X, targets, weight, "_val"), estimator._constant(targets, weight)
    return replace(
        fit, validation_set=ValidationSet(*validation[:2], weight, batch, constant, _lacking(estimator, targets))
    )


def with_held_out(
    estimator: Any,
    fit: PreparedFit,
    split: Split,
    given: tuple[Any, Any],
    targets: np.ndarray,
    weight: np.ndarray | None,
) -> PreparedFit:
    """The fit with some of its rows held out. Their weights are the user's: ``class_weight`` is for training."""
    rows, held_out = split
    out_weight = None if weight is None else weight[held_out]
    batch = as_batch(fit.backend, take_rows(fit.data.x, held_out), targets[held_out], out_weight)
    X_out, y_out = (take_rows(part, held_out) for part in given)
    shown = ValidationSet(
        X_out,
        y_out,
        out_weight,
        batch,
        estimator._constant(targets[held_out], out_weight),
        _lacking(estimator, targets[held_out]),
    )
    trained = estimator._constant(targets[rows], None if weight is None else weight[rows])
    return replace(fit, rows=rows, validation_set=shown, constant=trained)


def _lacking(estimator: Any, targets: np.ndarray) -> tuple[str, ...]:
    return tuple(name for name, rows in estimator._groups(targets).items() if not rows.any())


def draw_split(estimator: Any, targets: np.ndarray, random_state: Any) -> Split:
    """scikit-learn's split, from the same draws; for a scorer of the user's with rows of every class on both sides."""
    fraction, strata = estimator.validation_fraction, estimator._strata(targets)
    require(
        fraction > 0, f"early_stopping holds validation_fraction of the rows out, which must be > 0, got {fraction}."
    )
    lone = [name for name, rows in estimator._groups(targets).items() if rows.sum() == 1]
    if lone and strata is not None:
        raise DataError(
            f"early stopping holds out rows of both classes, and of class {lone[0]} there is one row alone: add rows "
            "of it, give X_val and y_val, or set early_stopping=False."
        )
    try:
        rows, held_out = train_test_split(
            np.arange(len(targets)), random_state=random_state, test_size=fraction, stratify=strata
        )
    except ValueError as error:  # which speaks of test_size and train_size
        raise DataError(
            f"early stopping cannot hold out {fraction:g} of {len(targets)} rows, with rows of every class on both "
            "sides: choose another validation_fraction, or give X_val and y_val."
        ) from error
    if len(held_out) < 2:
        raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")
    if estimator.scoring is not None:
        for members in estimator._groups(targets).values():
            rows, held_out = _with_one_of(members, rows, held_out)
            held_out, rows = _with_one_of(members, held_out, rows)
    return rows, held_out


def _with_one_of(members: np.ndarray, source: np.ndarray, target: np.ndarray) -> Split:
    """The two with a member moved from one to the other, where that has none, and there are two or more."""
    if members[target].any() or members[source].sum() < 2:
        return source, target
    moved = int(np.argmax(members[source]))  # their order is random already
    return np.delete(source, moved), np.append(target, source[moved])


class ValidationForward:
    """The network's predictions on the validation set, by the weights that were loaded last."""

    def __init__(self, backend: Backend, network: Sequential, batch: Batch, finish: Finish | None = None) -> None:
        self._x = batch.x
        self._backend = on_sparse(backend) if is_sparse(batch.x) else backend
        self._forward = ForwardPass(self._backend, network, finish)

    def load(self, theta: Array, buffers: Array) -> ValidationForward:
        """Take these weights from now on."""
        self._forward.load(theta, buffers)
        return self

    def __call__(self) -> Array:
        """The pre-activations ``(rows, n)``, or what they were finished to."""
        return forward_sparse(self._backend, self._forward, self._x) if is_sparse(self._x) else self._forward(self._x)


def check_score(estimator: Any, validation: ValidationSet | None) -> None:
    """Raise DataError, before training, where the scorer needs rows of classes that the validation set has not."""
    if validation is None or not validation.lacking or estimator.scoring in (None, "loss"):
        return
    try:
        number = _call_scorer(check_scoring(estimator, estimator.scoring), estimator, validation)
        why = "the score is no number" if math.isnan(number) else ""
    except Exception as error:  # whatever a scorer raises
        why = str(error).strip().split("\n")[0]
    if why:
        raise DataError(
            f"scoring={estimator.scoring!r} cannot be computed on the validation set, which has no row of class "
            f"{', '.join(validation.lacking[:5])} ({why:.200}): give X_val and y_val with rows of every class, or two "
            "rows of each class to train on, or choose another scoring."
        )


def _call_scorer(scorer: Any, estimator: Any, validation: ValidationSet) -> float:
    return float(
        scorer(
            estimator,
            validation.X,
            validation.y,
            **({} if validation.weight is None else {"sample_weight": validation.weight}),
        )
    )


def make_score(estimator: Any, backend: Backend, fit: PreparedFit) -> Callable[[Run, Record], float]:
    """The score of the weights as they are, by which early stopping goes: ``scoring``, or the estimator's own."""
    validation = fit.validation_set
    assert validation is not None, "there is a validation set"
    if estimator.scoring == "loss":
        return lambda run, record: -(record["val_loss"] + validation.constant)
    scorer = None if estimator.scoring is None else check_scoring(estimator, estimator.scoring)
    forward = ValidationForward(
        backend, fit.problem.network, validation.batch, partial(estimator._finish(), find_link(fit.loss))
    )

    def score(run: Run, record: Record) -> float:
        with np.errstate(all="ignore"):  # a training run on its way to NaN is reported as such, on every backend
            if scorer is None:
                predictions = backend.to_numpy(forward.load(run.state.theta, run.state.buffers)())
                predictions = predictions.reshape(-1) if fit.flat else predictions
                return float(estimator._score_of(validation.y, predictions, validation.weight))
            estimator.model_ = run.model()
            return _call_scorer(scorer, estimator, validation)

    return score
