"""Callbacks of estimators, the library's own and scikit-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import find_library
from small_estimators import NUMBERS, NUMBERS_VAL, WEIGHT, X_VAL, Models, X, base, regressor

import chainrule as cr

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Calls:
    """A callback that notes what it is called with."""

    def __init__(self, stop_after: int = 0) -> None:
        self.calls: list[Any] = []
        self.stop_after = stop_after

    def on_train_begin(self, run: Any) -> None:
        self.calls.append("begin")

    def on_step_end(self, run: Any) -> None:
        self.calls.append(run.step)

    def on_epoch_end(self, run: Any, record: Any) -> None:
        self.calls.append(dict(record))
        if run.epoch == self.stop_after:
            run.stop("enough")

    def on_train_end(self, run: Any) -> None:
        self.calls.append("end")


def test_callbacks_are_called_at_every_step_and_epoch() -> None:
    told = Calls()
    estimator = regressor(max_iter=2, callbacks=[told]).fit(X[:60], NUMBERS[:60], X_val=X_VAL, y_val=NUMBERS_VAL)
    first, second = (call for call in told.calls if isinstance(call, dict))
    assert told.calls == ["begin", 1, 2, 3, 4, first, 1, 2, 3, 4, second, "end"]
    assert [first["epoch"], second["epoch"]] == [1, 2]
    assert [first["loss"], second["loss"]] == estimator.loss_curve_
    assert [first["val_score"], second["val_score"]] == estimator.validation_scores_
    assert [first["val_loss"], second["val_loss"]] == estimator.validation_loss_curve_


def test_a_callback_ends_the_training() -> None:
    estimator = regressor(callbacks=[Calls(stop_after=2)]).fit(X, NUMBERS)
    assert (estimator.n_iter_, estimator.stopped_) == (2, "enough")


def test_the_librarys_own_callbacks_see_the_validation_set() -> None:
    kept, stopping = Models(), cr.EarlyStopping("val_loss", patience=3)
    settings = {"learning_rate_init": 0.2, "max_iter": 60, "callbacks": [kept, stopping]}
    estimator = regressor(**settings).fit(X[:60], NUMBERS[:60], X_val=X_VAL, y_val=NUMBERS_VAL)
    best = int(np.argmin(estimator.validation_loss_curve_))
    assert best + 4 == estimator.n_iter_ < 60
    np.testing.assert_array_equal(estimator.predict(X), kept.after[best].predict(X))


def test_callbacks_are_cloned_with_their_estimator() -> None:
    estimator = base.clone(regressor(callbacks=[cr.EarlyStopping("loss"), cr.ReduceOnPlateau("loss")]))
    assert estimator.fit(X, NUMBERS).n_iter_ == 4


def test_a_progress_bar_is_cloned_with_its_estimator() -> None:
    find_library("rich")
    base.clone(regressor(callbacks=[cr.ProgressBar()]))


class Tasks:
    """A callback of scikit-learn's protocol."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.tasks: list[tuple[str, int]] = []
        self.predictions: list[np.ndarray] = []
        self.metadata: list[Any] = []

    def setup(self, estimator: Any, context: Any) -> None:
        self.max_subtasks = context.max_subtasks

    def teardown(self, estimator: Any, context: Any) -> None:
        self.torn_down = True

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        pass

    def on_fit_task_end(self, estimator: Any, context: Any, *, X: Any, metadata: Any, fitted_estimator: Any) -> bool:
        self.tasks.append((context.task_name, context.task_id))
        self.metadata.append(metadata)
        self.predictions.append(fitted_estimator.predict(X))
        return context.task_name != "fit" and context.task_id == self.stop_at


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_callback_of_scikit_learns_ends_the_training(solver: str) -> None:
    find_library("scikit-learn 1.9", "sklearn.callback")
    told, settings = Tasks(stop_at=1), {"solver": solver, "batch_size": "auto"}
    estimator = regressor(**settings).set_callbacks(told).fit(X, NUMBERS, WEIGHT)
    assert estimator.n_iter_ == 2
    assert [id for name, id in told.tasks if name != "fit"] == [0, 1]
    for k, prediction in enumerate(told.predictions[:2], 1):
        want = regressor(max_iter=k, **settings).fit(X, NUMBERS, WEIGHT).predict(X)
        np.testing.assert_array_equal(prediction, want)
    np.testing.assert_array_equal(told.metadata[0]["sample_weight"], WEIGHT)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_callback_of_scikit_learns_sees_every_epoch_up_to_the_last(solver: str) -> None:
    find_library("scikit-learn 1.9", "sklearn.callback")
    told = Tasks()
    regressor(solver=solver, batch_size="auto").set_callbacks(told).fit(X, NUMBERS)
    assert [id for name, id in told.tasks if name != "fit"] == [0, 1, 2, 3]
    assert told.tasks[-1][0] == "fit"


@pytest.mark.parametrize("given", ["callbacks", "X_val"])
def test_lbfgs_does_not_ignore_what_it_is_given(given: str) -> None:
    told = Calls()
    data = {"X_val": X_VAL, "y_val": NUMBERS_VAL} if given == "X_val" else {}
    estimator = regressor(solver="lbfgs", batch_size="auto", callbacks=[told] if given == "callbacks" else None)
    try:
        estimator.fit(X, NUMBERS, **data)
    except ValueError:
        return  # refused: not ignored
    assert told.calls or getattr(estimator, "validation_scores_", None)


def test_a_bar_is_shown_and_no_lines(capsys: pytest.CaptureFixture[str]) -> None:
    find_library("rich")
    regressor(verbose="bar").fit(X, NUMBERS)
    shown = capsys.readouterr().out
    assert "4/4" in shown
    assert "Iteration" not in shown
