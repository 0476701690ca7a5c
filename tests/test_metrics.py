"""r2, where it is no quotient: one row, a constant target, several outputs; beside scikit-learn's."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import numpy as np
import pytest
from conftest import Platform, find_library

import chainrule as cr
from chainrule.metrics import r2

RNG = np.random.default_rng(8)
Y = RNG.normal(size=(20, 3)) * [1.0, 30.0, 0.1] + [5.0, 0.0, -1.0]
NEAR = Y + 0.2 * RNG.normal(size=Y.shape)
WEIGHT = RNG.uniform(0.5, 2.0, (20, 1)) * (np.arange(20) % 4 > 0)[:, None]
TENTH = np.full((20, 1), 0.1)  # the mean of which is rounded


def measure(platform: Platform, prediction: Any, y: Any, weight: Any = None) -> float:
    arrays = (None if x is None else platform.array(np.asarray(x, dtype=float)) for x in (prediction, y, weight))
    prediction, y, weight = arrays
    with np.errstate(all="ignore"):
        (value,) = platform.host(r2(platform.backend, prediction, y, weight))
    return float(value)


CASES: dict[str, tuple[Any, Any, Any, float]] = {
    "one row": (NEAR[:1], Y[:1], None, np.nan),
    "one row, met exactly": (Y[:1], Y[:1], None, np.nan),
    "a constant, missed": (NEAR[:, :1], TENTH, None, 0.0),
    "a constant, missed by little": (TENTH + 1e-6, TENTH, None, 0.0),
    "a constant, met exactly": (TENTH, TENTH, None, 1.0),
    "constants": (NEAR, np.ones((20, 1)) * [0.1, 7.0, -0.3], None, 0.0),
    "a constant with weights": (NEAR[:, :1], TENTH, WEIGHT, 0.0),
    "a constant but for rows without weight": (NEAR[:, :1], np.where(WEIGHT == 0, 9.0, TENTH), WEIGHT, 0.0),
    "no number": (np.full((20, 1), np.nan), TENTH, None, np.nan),
    "all met exactly": (Y, Y, None, 1.0),
}


@pytest.mark.parametrize(("prediction", "y", "weight", "want"), CASES.values(), ids=CASES)
def test_r2_where_there_is_nothing_to_explain(
    prediction: Any, y: Any, weight: Any, want: float, platform: Platform
) -> None:
    np.testing.assert_array_equal(measure(platform, prediction, y, weight), want)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["alone", "weighted"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_r2_is_scikit_learns_over_all_outputs(outputs: int, weight: Any, platform: Platform) -> None:
    theirs = importlib.import_module("sklearn.metrics")
    y, prediction = Y[:, :outputs], NEAR[:, :outputs]
    flat = None if weight is None else weight[:, 0]
    want = theirs.r2_score(y, prediction, sample_weight=flat, multioutput="variance_weighted")
    assert measure(platform, prediction, y, weight) == pytest.approx(want, rel=1e-4 if platform.eps > 1e-10 else 1e-12)


@pytest.mark.parametrize(("rows", "want"), [(1, np.nan), (4, 0.0)])
def test_r2_of_few_rows_is_one_number_everywhere(rows: int, want: float) -> None:
    find_library("scikit-learn", "sklearn")
    few, constant = NEAR[:rows], np.full(rows, 0.1)
    model = cr.fit(cr.mlp([3, 4, 1]), NEAR, Y[:, 0], loss="squared_error", epochs=2, validation=(few, constant), seed=0)
    estimator = cr.MLPRegressor(max_iter=1, hidden_layer_sizes=(3,))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Stochastic Optimizer")
        estimator.fit(NEAR, Y[:, 0], X_val=few, y_val=constant)  # without a warning each epoch
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "R.2")
        score = estimator.score(few, constant)
    found = [model.evaluate(few, constant)["r2"], *model.history["val_r2"], score, *estimator.validation_scores_]
    np.testing.assert_array_equal(found, [want] * 5)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_early_stopping_by_a_score_that_one_row_has_not_is_refused() -> None:
    estimator = cr.MLPRegressor(early_stopping=True, max_iter=2)
    with pytest.raises(cr.DataError, match=r"R\^2, which one row has not: expected two rows or more in X_val"):
        estimator.fit(NEAR, Y[:, 0], X_val=NEAR[:1], y_val=Y[:1, 0])
    estimator.set_params(scoring="loss").fit(NEAR, Y[:, 0], X_val=NEAR[:1], y_val=Y[:1, 0])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_score_of_one_row_warns() -> None:
    exceptions = importlib.import_module("sklearn.exceptions")
    estimator = cr.MLPRegressor(solver="lbfgs", hidden_layer_sizes=(3,)).fit(NEAR, Y[:, 0])
    with pytest.warns(exceptions.UndefinedMetricWarning, match="less than two"):
        estimator.score(NEAR[:1], Y[:1, 0])


def stopped(validation: tuple[np.ndarray, np.ndarray]) -> tuple[cr.EarlyStopping, cr.Model]:
    stopping = cr.EarlyStopping("val_r2", patience=2)
    options: dict[str, Any] = {"loss": "squared_error", "epochs": 9, "seed": 0, "callbacks": [stopping]}
    return stopping, cr.fit(cr.mlp([3, 4, 1]), NEAR, Y[:, 0], validation=validation, **options)


def test_early_stopping_by_r2_of_a_constant_gives_back_its_best_epoch() -> None:
    with pytest.warns(UserWarning, match="val_r2 was 0 in every epoch, as r2 of a constant target is"):
        stopping, model = stopped((NEAR[:4], np.full(4, 0.1)))
    assert (stopping.best, stopping.best_epoch, len(model.history)) == (0.0, 1, 3)
    once = cr.fit(cr.mlp([3, 4, 1]), NEAR, Y[:, 0], loss="squared_error", epochs=1, seed=0)
    np.testing.assert_array_equal(model.theta, once.theta)


def test_early_stopping_by_what_is_no_number_says_so() -> None:
    with pytest.warns(UserWarning, match="val_r2 was no number.*weights of the last epoch. Monitor 'val_loss'"):
        stopped((NEAR[:1], Y[:1, 0]))


def test_accuracy_of_numbers_is_refused() -> None:
    with pytest.raises(
        cr.ConfigurationError, match="'accuracy' compares classes, and this network predicts numbers: use r2"
    ):
        cr.fit(cr.mlp([1, 1]), [[0.0], [1.0]], [0.0, 1.0], loss="squared_error", metrics=["accuracy"])
