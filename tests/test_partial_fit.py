"""Trainings that go on, call by call: what ``partial_fit`` and ``warm_start`` keep of the fit before, and what not."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from conftest import find_library

import chainrule as cr

find_library("scikit-learn", "sklearn")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(1905)
X = RNG.normal(size=(90, 4))
NUMBERS = X[:, 0] * 2.0 - X[:, 1] ** 2 + 0.3 * RNG.normal(size=90)
CLASSES = np.digitize(X[:, 0] + X[:, 1], [-0.5, 0.6])

USUAL: dict[str, Any] = {"hidden_layer_sizes": (6,), "max_iter": 4, "batch_size": 16, "random_state": 7}


def classifier(**settings: Any) -> cr.MLPClassifier:
    return cr.MLPClassifier(**{**USUAL, **settings})


def regressor(**settings: Any) -> cr.MLPRegressor:
    return cr.MLPRegressor(**{**USUAL, **settings})


def theta(estimator: Any) -> np.ndarray:
    return np.array(estimator.model_.theta)


def rates(estimator: Any) -> list[float]:
    return [record["learning_rate"] for record in estimator.model_.history.records]


# ------------------------------------------------------------------------------------------------------------ schedules

ENDLESS: dict[str, dict[str, Any]] = {
    "of adam": {"learning_rate": cr.CosineDecay(1e-2)},
    "of sgd": {"solver": "sgd", "learning_rate": cr.OneCycle(1e-2)},
    "of an object": {"solver": cr.AdamW(cr.OneCycle(1e-2))},
    "under early stopping": {"learning_rate": cr.CosineDecay(1e-2), "early_stopping": True},
}


@pytest.mark.parametrize("fitted", [False, True], ids=["anew", "after fit"])
@pytest.mark.parametrize("settings", ENDLESS.values(), ids=ENDLESS)
def test_partial_fit_refuses_a_schedule_without_a_length(settings: dict[str, Any], fitted: bool) -> None:
    estimator = regressor(**settings)
    if fitted:
        estimator.fit(X, NUMBERS)
    before = theta(estimator) if fitted else None
    with pytest.raises(cr.ConfigurationError, match=r"the schedule (CosineDecay|OneCycle) has no length of its own"):
        estimator.partial_fit(X, NUMBERS)
    assert fitted == hasattr(estimator, "model_")
    if before is not None:
        np.testing.assert_array_equal(theta(estimator), before)
        estimator.set_params(solver="adam", learning_rate="constant").partial_fit(X, NUMBERS)
        assert not np.array_equal(theta(estimator), before)


def test_a_length_is_that_of_all_calls_whatever_their_rows() -> None:
    schedule = cr.CosineDecay(1e-2, steps=40)
    estimator = classifier(learning_rate=schedule, batch_size=10)
    for i, rows in enumerate([30, 50, 10, 90, 20]):
        estimator.partial_fit(X[:rows], CLASSES[:rows], classes=[0, 1, 2] if i == 0 else None)
    ends = np.cumsum([3, 5, 1, 9, 2]).astype(float)
    np.testing.assert_allclose(rates(estimator), schedule.rate(np, ends), rtol=1e-6)


@pytest.mark.parametrize("first", ["fit", "partial_fit"])
def test_it_is_said_once_that_a_schedule_is_over(first: str) -> None:
    estimator = regressor(learning_rate=cr.CosineDecay(1e-2, steps=24))  # six steps a call
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", "Stochastic Optimizer")
        if first == "fit":
            estimator.fit(X, NUMBERS)
        for _ in range(0 if first == "fit" else 4):
            estimator.partial_fit(X, NUMBERS)
    with pytest.warns(UserWarning, match="CosineDecay has come to the end of its 24 steps.* its last rate, 0: give"):
        estimator.partial_fit(X, NUMBERS)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        estimator.partial_fit(X, NUMBERS)
    estimator.set_params(learning_rate=cr.CosineDecay(1e-2, steps=30, final=1e-3))
    with pytest.warns(UserWarning, match=r"its 30 steps.* its last rate, 0\.001: give"):
        estimator.partial_fit(X, NUMBERS)


def test_a_warm_fit_runs_through_its_schedule_anew() -> None:
    estimator = regressor(learning_rate=cr.CosineDecay(1e-2), warm_start=True)
    estimator.fit(X, NUMBERS).fit(X[:20], NUMBERS[:20])
    assert rates(estimator)[:4] == pytest.approx(rates(estimator)[4:])


# -------------------------------------------------------------------------------------------------------- the optimizer


def calls(solvers: Sequence[Any]) -> np.ndarray:
    """The weights after one call with each of these solvers in turn."""
    estimator = regressor(shuffle=False)
    for solver in solvers:
        estimator.set_params(solver=solver).partial_fit(X, NUMBERS)
    return theta(estimator)


@pytest.mark.parametrize(
    ("without", "barely", "decayed"),
    [
        (cr.Lion(1e-3), cr.Lion(1e-3, decay=1e-12), cr.Lion(1e-3, decay=20.0)),
        (cr.AdamW(1e-3, decay=0.0), cr.AdamW(1e-3, decay=1e-12), cr.AdamW(1e-3, decay=20.0)),
    ],
    ids=["Lion", "AdamW"],
)
def test_a_decay_that_is_switched_on_between_calls_decays(without: Any, barely: Any, decayed: Any) -> None:
    np.testing.assert_allclose(calls([without, decayed]), calls([barely, decayed]), rtol=1e-9)
    np.testing.assert_allclose(calls([decayed, without]), calls([decayed, barely]), rtol=1e-9)
    assert np.abs(calls([without, decayed])).sum() < 0.95 * np.abs(calls([without, without])).sum()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (cr.Momentum(1e-2), cr.RMSProp(1e-3)),
        (cr.Momentum(1e-2), cr.VelocityMomentum(1e-2)),
        ("adam", "sgd"),
        (cr.Adam(1e-3), cr.AdamW(1e-3)),
        (cr.Lion(1e-3, decay=0.1), cr.Adam(1e-3)),
    ],
    ids=str,
)
def test_another_optimizer_begins_with_moments_of_its_own(before: Any, after: Any) -> None:
    changed = regressor(solver=before, shuffle=False).partial_fit(X, NUMBERS)
    anew = regressor(solver=after, shuffle=False, warm_start=True, max_iter=1).fit(X, NUMBERS)
    anew.coefs_, anew.intercepts_ = changed.coefs_, changed.intercepts_
    changed.set_params(solver=after).partial_fit(X, NUMBERS)
    np.testing.assert_array_equal(theta(changed), theta(anew.fit(X, NUMBERS)))


# ---------------------------------------------------------------------------------------------------------- warm starts


@pytest.mark.parametrize("scoring", [None, "loss", "r2"])
def test_a_warm_fit_that_finds_nothing_better_keeps_the_weights_it_began_with(scoring: str | None) -> None:
    settings = {"early_stopping": True, "warm_start": True, "scoring": scoring, "max_iter": 60}
    estimator = regressor(learning_rate_init=0.01, **settings)
    estimator.fit(X[:60], NUMBERS[:60], X_val=X[60:], y_val=NUMBERS[60:])
    before, best = theta(estimator), estimator.best_validation_score_
    estimator.set_params(learning_rate_init=1.0, n_iter_no_change=2)
    estimator.fit(X[:20], -NUMBERS[:20], X_val=X[60:], y_val=NUMBERS[60:])
    np.testing.assert_array_equal(theta(estimator), before)
    assert estimator.best_validation_score_ == pytest.approx(best)
    assert estimator.n_iter_ == 3


def test_a_warm_fit_is_stopped_by_what_it_sees_itself() -> None:
    settings = {"early_stopping": True, "warm_start": True, "learning_rate_init": 0.01, "max_iter": 60}
    estimator = regressor(**settings).fit(X, NUMBERS, X_val=X, y_val=NUMBERS)
    estimator.fit(X, -NUMBERS, X_val=X, y_val=-NUMBERS)  # the weights before are far off there
    assert estimator.n_iter_ == 60
    assert estimator.best_validation_score_ == max(estimator.validation_scores_[-60:]) > 0
    assert estimator.score(X, -NUMBERS) == pytest.approx(estimator.best_validation_score_)


def test_a_warm_fit_on_other_labels_learns_them() -> None:
    settings = {"warm_start": True, "learning_rate_init": 0.05, "max_iter": 300, "tol": 1e-3}
    estimator = classifier(**settings).fit(X, CLASSES)
    assert estimator.stopped_ is not None
    for _ in range(2):
        estimator.fit(X, 2 - CLASSES)
        assert estimator.score(X, 2 - CLASSES) > 0.9
    assert estimator.best_loss_ == min(estimator.loss_curve_[-estimator.n_iter_ :])


@pytest.mark.filterwarnings("ignore:the validation score was no number")
def test_a_warm_fit_of_scores_that_are_no_numbers_trains() -> None:
    def unknown(estimator: Any, X: Any, y: Any) -> float:
        return float("nan")

    settings = {"early_stopping": True, "warm_start": True, "scoring": unknown, "n_iter_no_change": 1}
    estimator = regressor(**settings).fit(X, NUMBERS)
    before = theta(estimator)
    assert not np.array_equal(theta(estimator.fit(X, NUMBERS)), before)


def test_partial_fit_takes_rows_without_all_classes_whatever_warm_start_says() -> None:
    never, warm = classifier(batch_size="auto"), classifier(batch_size="auto", warm_start=True)
    for estimator in (never, warm):
        estimator.partial_fit(X, CLASSES, classes=[0, 1, 2]).partial_fit(X[:1], CLASSES[:1])
    np.testing.assert_array_equal(theta(never), theta(warm))
    warm.fit(X, CLASSES).partial_fit(X[:1], CLASSES[:1])
    with pytest.raises(ValueError, match="warm_start can only be used where `y` has the same classes"):
        warm.fit(X[:1], CLASSES[:1])


# -------------------------------------------------------------------------------------------------------------- pickles

STOPPING = {"early_stopping": True, "n_iter_no_change": 50}


@pytest.mark.parametrize("settings", [{}, STOPPING, {"shuffle": False}, {"solver": "lbfgs"}], ids=str)
def test_a_pickle_does_not_grow_with_the_rows(settings: dict[str, Any]) -> None:
    def sizes(times: int) -> list[int]:
        rows, y, found = np.tile(X, (times, 1)), np.tile(CLASSES, times), []
        estimator = classifier(batch_size="auto", **settings).fit(rows, y)
        found.append(len(pickle.dumps(estimator)))
        if "solver" not in settings:
            found.append(len(pickle.dumps(estimator.fit(rows, y, X_val=rows, y_val=y))))
            found.append(len(pickle.dumps(estimator.partial_fit(rows, y, X_val=rows, y_val=y))))
            found.append(len(pickle.dumps(estimator.partial_fit(rows, y))))
        return found

    np.testing.assert_allclose(sizes(40), sizes(1), atol=100)


GO_ON: dict[str, Callable[[Any], Any]] = {
    "as it is": lambda estimator: estimator,
    "a pickle": lambda estimator: pickle.loads(pickle.dumps(estimator)),
    "a copy": copy.deepcopy,
}


@pytest.mark.parametrize("go_on", GO_ON.values(), ids=GO_ON)
@pytest.mark.parametrize(
    ("fitted", "settings"), [(0, {}), (2, {}), (0, STOPPING), (0, {"dropout": 0.3}), (0, {"shuffle": False})], ids=str
)
def test_calls_go_on_as_one_fit_does(fitted: int, settings: dict[str, Any], go_on: Callable[[Any], Any]) -> None:
    whole, parts = classifier(max_iter=5, **settings).fit(X, CLASSES), classifier(**settings)
    if fitted:
        parts.set_params(max_iter=fitted).fit(X, CLASSES)
    for _ in range(fitted, 5):
        parts = go_on(parts).partial_fit(X, CLASSES, classes=[0, 1, 2])
    assert parts.loss_curve_ == whole.loss_curve_
    assert parts.validation_scores_ == whole.validation_scores_


@pytest.mark.parametrize("go_on", GO_ON.values(), ids=GO_ON)
def test_an_order_begins_anew_where_its_generator_was_used_for_something_else(go_on: Callable[[Any], Any]) -> None:
    losses = []
    for way in (GO_ON["as it is"], go_on):
        estimator = classifier(random_state=np.random.RandomState(3))
        for _ in range(3):
            estimator = way(estimator.partial_fit(X, CLASSES, classes=[0, 1, 2]))
            estimator._fitted.generator.normal()
        losses.append(estimator.loss_curve_)
    assert losses[0] == losses[1]
