"""A call that is refused changes nothing of an estimator, and one that trains changes it when the training is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from small_estimators import CLASSES, CLASSES_VAL, SIDES, X_VAL, X, classifier, same

import chainrule as cr

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def failing(estimator: Any, X: Any, y: Any) -> float:
    raise LookupError("no such score")


def breaks(xp: Any, z: Any) -> Any:
    raise ValueError("not today")


REFUSED: dict[str, tuple[dict[str, Any], Callable[[Any], Any]]] = {
    "a parameter": ({"alpha": -1.0}, lambda e: e.fit(X, CLASSES)),
    "a validation set": ({}, lambda e: e.fit(X[:, :3], CLASSES, X_val=X_VAL, y_val=CLASSES_VAL)),
    "labels": ({"warm_start": True}, lambda e: e.fit(X, SIDES)),
    "weights of classes": ({"class_weight": {7: 1.0}}, lambda e: e.fit(X, CLASSES)),
    "a network": ({"hidden_layer_sizes": (3,)}, lambda e: e.partial_fit(X, CLASSES)),
    "a split": ({"early_stopping": True, "validation_fraction": 0.0}, lambda e: e.fit(X, CLASSES)),
    "a scorer": (
        {"early_stopping": True, "scoring": failing},
        lambda e: e.fit(X, CLASSES, X_val=X[CLASSES < 2], y_val=CLASSES[CLASSES < 2]),
    ),
    "first weights, by the solver": (
        {"weight_init": cr.Constant(1e300), "dtype": "float32"},
        lambda e: e.fit(X, CLASSES),
    ),
    "a step, by L-BFGS": (
        {"solver": "lbfgs", "batch_size": "auto", "activation": cr.Activation(breaks, breaks)},
        lambda e: e.fit(X, CLASSES),
    ),
    "a call's schedule": ({"learning_rate": cr.CosineDecay(0.1)}, lambda e: e.partial_fit(X, CLASSES)),
    "a call's classes": ({}, lambda e: e.partial_fit(X, CLASSES, classes=[0, 1])),
    "a call's labels": ({}, lambda e: e.partial_fit(X, CLASSES + 1)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_changes_nothing(case: str) -> None:
    settings, call = REFUSED[case]
    estimator = classifier(random_state=np.random.RandomState(7)).fit(X, CLASSES)
    estimator.set_params(**settings)
    before = dict(vars(estimator))
    with pytest.raises(ValueError, match=r"\w"):
        call(estimator)
    assert vars(estimator).keys() == before.keys()
    assert [name for name, value in vars(estimator).items() if value is not before[name]] == []


class Once:
    """A callback that fails in the first step that it sees."""

    failed = False

    def on_step_end(self, run: Any) -> None:
        if not self.failed:
            self.failed = True
            raise RuntimeError("the network drive is gone")


def test_a_first_call_that_fails_was_none() -> None:
    never, failed = (classifier(random_state=np.random.RandomState(7), early_stopping=True) for _ in range(2))
    failed.set_params(callbacks=[Once()])
    for classes, error in (([0, 1], ValueError), ([0, 1, 2], RuntimeError)):
        with pytest.raises(error):
            failed.partial_fit(X, CLASSES, classes=classes)
    assert not hasattr(failed, "classes_")
    for estimator in (never, failed):
        estimator.partial_fit(X, CLASSES, classes=[0, 1, 2]).partial_fit(X, CLASSES)
    assert same(never, failed)


def test_an_estimator_changes_when_its_training_is_over() -> None:
    curves: list[list[float]] = []

    def scorer(shown: Any, X: Any, y: Any) -> float:
        assert not hasattr(estimator, "model_")
        curves.append(list(shown.loss_curve_))
        return float(shown.score(X, y))

    estimator = classifier(early_stopping=True, scoring=scorer)
    estimator.fit(X, CLASSES)
    assert curves == [estimator.loss_curve_[: i + 1] for i in range(4)]
    assert estimator.score(X, CLASSES) > 0


@pytest.mark.parametrize("name", ["coefs_", "intercepts_"])
def test_weights_are_given_to_what_is_fitted_alone(name: str) -> None:
    estimator = classifier()
    with pytest.raises(AttributeError, match="this MLPClassifier is not fitted yet"):
        setattr(estimator, name, [])
