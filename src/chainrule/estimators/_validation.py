"""The validation set: the user's own, or rows held out for early stopping; and the score of a network on it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import sklearn
from scipy.sparse import issparse
from sklearn.base import BaseEstimator

from .._backend import Backend
from .._base.errors import DataError, require
from .._base.typing import Array
from .._model.evaluation import evaluate
from .._model.prediction import Finish, ForwardPass
from .._model.schema import Schema
from ..history import Record
from ..links import Link, find_link
from ..network import Sequential
from ..training import Problem, Run, State
from ._inputs import Examples, as_batch, take_rows
from ._records import Fitted, PreparedFit, Settings, Split, ValidationSet
from ._sparse import forward_sparse, on_sparse
from ._targets import Targets, constant

Show = Callable[[Fitted], BaseEstimator]  # an estimator that has this fit, as scikit-learn's scorers want one


def own_set(
    backend: Backend, targets: Targets, settings: Settings, given: Examples, checked: Examples
) -> ValidationSet:
    """The user's validation set."""
    if len(checked.y) < 2 and targets.numeric and settings.early_stopping and settings.scoring is None:
        raise DataError(
            "early stopping goes by R^2, which one row has not: expected two rows or more in X_val, or scoring='loss'."
        )
    shown = given._replace(weight=checked.weight)
    return _validation_set(backend, targets, shown, checked.X, targets.encode(checked.y), "_val")


def hold_out(fit: PreparedFit, targets: Targets, split: Split, given: Examples, encoded: np.ndarray) -> PreparedFit:
    """The fit with some of its rows held out. Their weights are the user's: ``class_weight`` is for training."""
    rows, held_out = split
    kept, out = (None if given.weight is None else given.weight[part] for part in split)
    shown = Examples(take_rows(given.X, held_out), take_rows(given.y, held_out), out)
    held = _validation_set(fit.backend, targets, shown, take_rows(fit.data.x, held_out), encoded[held_out])
    return replace(fit, rows=rows, validation_set=held, constant=constant(targets.loss, encoded[rows], kept))


def _validation_set(
    backend: Backend, targets: Targets, shown: Examples, x: Any, encoded: np.ndarray, of: str = ""
) -> ValidationSet:
    lacking = tuple(name for name, rows in targets.groups(encoded).items() if not rows.any())
    batch = as_batch(backend, x, encoded, shown.weight, of)
    return ValidationSet(shown, batch, constant(targets.loss, encoded, shown.weight), lacking)


def split_rows(settings: Settings, fitted: Fitted, encoded: np.ndarray) -> Split:
    """The rows to train on and to validate on: scikit-learn's split, from the same draws.

    For a scorer of the user's there are rows of every class on both sides. partial_fit draws again as the first call,
    or fit, did: as many rows are split as they were, so that none that was trained on is validated on.
    """
    generator, targets = fitted.generator, fitted.targets
    if settings.incremental and fitted.split_from is not None:
        generator = copy.deepcopy(fitted.split_from)
    else:
        fitted.split_from = copy.deepcopy(generator)
    fraction, strata, groups = settings.validation_fraction, targets.strata(encoded), targets.groups(encoded)
    require(
        fraction > 0, f"early_stopping holds validation_fraction of the rows out, which must be > 0, got {fraction}."
    )
    lone = [name for name, rows in groups.items() if rows.sum() == 1]
    if lone and strata is not None:
        raise DataError(
            f"early stopping holds out rows of both classes, and of class {lone[0]} there is one row alone: add rows "
            "of it, give X_val and y_val, or set early_stopping=False."
        )
    try:
        rows, held_out = sklearn.model_selection.train_test_split(
            np.arange(len(encoded)), random_state=generator, test_size=fraction, stratify=strata
        )
    except ValueError as error:  # which speaks of test_size and train_size
        raise DataError(
            f"early stopping cannot hold out {fraction:g} of {len(encoded)} rows, with rows of every class on both "
            "sides: choose another validation_fraction, or give X_val and y_val."
        ) from error
    if len(held_out) < 2:
        raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")
    if settings.scoring is not None:
        for members in groups.values():
            rows, held_out = _with_one_of(members, rows, held_out)
            held_out, rows = _with_one_of(members, held_out, rows)
    return rows, held_out


def _with_one_of(members: np.ndarray, source: np.ndarray, target: np.ndarray) -> Split:
    """The two with a member moved from one to the other, where that has none, and there are two or more."""
    if members[target].any() or members[source].sum() < 2:
        return source, target
    moved = int(np.argmax(members[source]))  # their order is random already
    return np.delete(source, moved), np.append(target, source[moved])


def make_forward(
    backend: Backend, network: Sequential, x: Any, finish: Finish | None = None
) -> Callable[[State], Array]:
    """The pre-activations ``(rows, n)`` of x by the weights of a state, or what they are finished to."""
    backend = on_sparse(backend) if issparse(x) else backend
    forward = ForwardPass(backend, network, finish)

    def predict(state: State) -> Array:
        forward.load(state.theta, state.buffers)
        return forward_sparse(backend, forward, x) if issparse(x) else forward(x)

    return predict


def check_score(scoring: Any, validation: ValidationSet | None, fitted: Fitted, show: Show) -> None:
    """Raise DataError, before training, where the scorer needs rows of classes that the validation set has not."""
    if validation is None or not validation.lacking or scoring in (None, "loss"):
        return
    try:
        estimator = show(fitted)
        number = _call_scorer(sklearn.metrics.check_scoring(estimator, scoring), estimator, validation.shown)
        why = "the score is no number" if math.isnan(number) else ""
    except Exception as error:  # whatever a scorer raises
        why = str(error).strip().split("\n")[0]
    if why:
        raise DataError(
            f"scoring={scoring!r} cannot be computed on the validation set, which has no row of class "
            f"{', '.join(validation.lacking[:5])} ({why:.200}): give X_val and y_val with rows of every class, or two "
            "rows of each class to train on, or choose another scoring."
        )


def _call_scorer(scorer: Any, estimator: BaseEstimator, shown: Examples) -> float:
    weight = {} if shown.weight is None else {"sample_weight": shown.weight}
    return float(scorer(estimator, shown.X, shown.y, **weight))


def make_score(
    backend: Backend, network: Sequential, validation: ValidationSet | None, scoring: Any, fitted: Fitted, show: Show
) -> Callable[[Run, Record], float]:
    """The score of the weights as they are, by which early stopping goes: ``scoring``, or the estimator's own."""
    if validation is None:
        return lambda run, record: math.nan
    if scoring == "loss":
        return lambda run, record: -(record["val_loss"] + validation.constant)
    targets, model = fitted.targets, fitted.model
    finish = Link.apply if targets.numeric else Link.decide  # which would round fractions to 0 or 1
    predict = make_forward(backend, network, validation.batch.x, partial(finish, find_link(model.loss)))
    scorer = None if scoring is None else sklearn.metrics.check_scoring(show(fitted), scoring)

    def score(run: Run, record: Record) -> float:
        with np.errstate(all="ignore"):  # a training run on its way to NaN is reported as such, on every backend
            if scorer is not None:
                return _call_scorer(scorer, show(replace(fitted, model=run.model())), validation.shown)
            predictions = backend.to_numpy(predict(run.state))
            predictions = predictions.reshape(-1) if model.flat else predictions
            return targets.score(validation.shown.y, predictions, validation.shown.weight)

    return score


def make_measure(
    backend: Backend, problem: Problem, validation: ValidationSet | None
) -> Callable[[State], dict[str, Array]]:
    """What is read at the end of an epoch: the loss on the validation set, where there is one."""
    if validation is None:
        return lambda state: {}
    batch, predict = validation.batch, make_forward(backend, problem.network, validation.batch.x)
    return lambda state: {
        "val_loss": evaluate(backend, lambda x: predict(state), problem.loss, batch, {}, Schema())["loss"]
    }
