"""partial_fit goes on exactly, stops early, and never trains on what it holds out; on other libraries too."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import Platform, find_library
from small_estimators import CLASSES, NUMBERS, NUMBERS_VAL, X_VAL, X, classifier, regressor, same

import chainrule as cr

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# ---------------------------------------------------------------------------------------------------------- partial_fit

RESUMED: dict[str, dict[str, Any]] = {
    "adam": {"solver": "adam"},
    "sgd": {"solver": "sgd", "learning_rate": "invscaling"},
    "lion": {"solver": "lion"},
    "a schedule": {"solver": cr.AdamW(cr.CosineDecay(0.05, warmup=3, steps=24))},
    "all at once": {"dropout": 0.3, "normalization": "batch", "clip": cr.ClipNorm(0.5), "activation": "tanh"},
    "float32": {"dtype": "float32", "dropout": 0.3},
}


@pytest.mark.parametrize("settings", RESUMED.values(), ids=RESUMED)
def test_partial_fit_goes_on_exactly_from_a_pickle(settings: dict[str, Any]) -> None:
    whole, half = classifier(**settings).fit(X, CLASSES), classifier(**settings)
    half.partial_fit(X, CLASSES, classes=[0, 1, 2])
    for go_on in (lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy, lambda e: e):
        half = go_on(half).partial_fit(X, CLASSES)
    assert same(half, whole)
    assert half.loss_curve_ == whole.loss_curve_
    np.testing.assert_array_equal(half.predict_proba(X), whole.predict_proba(X))


def test_partial_fit_stops_early_and_keeps_the_best_weights() -> None:
    settings = {"early_stopping": True, "n_iter_no_change": 2, "learning_rate_init": 0.1}
    estimator, validation = regressor(**settings), {"X_val": X_VAL, "y_val": NUMBERS_VAL}
    for _ in range(80):
        estimator = pickle.loads(pickle.dumps(estimator)).partial_fit(X[:60], NUMBERS[:60], **validation)
        if estimator.stopped_ is not None:
            break
    want = regressor(max_iter=80, **settings).fit(X[:60], NUMBERS[:60], **validation)
    assert estimator.stopped_ == want.stopped_
    assert same(estimator, want)
    assert estimator.score(X_VAL, NUMBERS_VAL) == max(estimator.validation_scores_)
    with pytest.warns(UserWarning, match="early stopping has ended"):
        estimator.partial_fit(X[:60], NUMBERS[:60], **validation)
    assert same(estimator, want)


def test_partial_fit_never_trains_on_what_it_holds_out() -> None:
    def two_epochs(y: np.ndarray) -> Any:
        return regressor(early_stopping=True, dtype="float64").partial_fit(X, y).partial_fit(X, y)

    estimator = two_epochs(NUMBERS)
    without_effect = [same(two_epochs(NUMBERS + 100.0 * (np.arange(90) == i)), estimator) for i in range(90)]
    assert sum(without_effect) == 9


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("library", ["numpy", "jax-jit"])
def test_partial_fit_goes_on_after_a_call_that_failed(
    library: str, shuffle: bool, open_platform: Callable[..., Platform]
) -> None:
    class Fails:
        now = False

        def on_step_end(self, run: Any) -> None:
            if self.now and run.step == 3:
                raise RuntimeError("the network drive is gone")

    place, fails = open_platform(library).array, Fails()
    never, failed = regressor(shuffle=shuffle), regressor(shuffle=shuffle, callbacks=[fails])
    for estimator in (never, failed):
        estimator.partial_fit(place(X), NUMBERS)
    fails.now = True
    with pytest.raises(RuntimeError, match="drive"):
        failed.partial_fit(place(X), NUMBERS)
    fails.now = False
    assert same(never.partial_fit(place(X), NUMBERS), failed.partial_fit(place(X), NUMBERS))


# ------------------------------------------------------------------------------------------------------ other libraries


@pytest.mark.parametrize("id", ["torch", "jax-jit", "strictest-float32"])
def test_training_runs_where_it_is_told_and_answers_where_it_is_asked(
    id: str, open_platform: Callable[..., Platform]
) -> None:
    platform = open_platform(id)
    X32, library = X.astype(np.float32), platform.backend.library
    want = regressor().fit(X32, NUMBERS)
    told = regressor(backend=platform.backend).fit(X32, NUMBERS)
    assert library.owns(told.coefs_[0])
    assert isinstance(told.predict(X32), np.ndarray)
    follows = regressor().fit(platform.array(X32), NUMBERS)
    platform.check(follows.predict(platform.array(X32)), want.predict(X32), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(told.predict(X32), want.predict(X32), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(follows.to("numpy").predict(X32), want.predict(X32), rtol=1e-4, atol=1e-5)


def test_a_fitted_network_goes_on_where_it_was_moved() -> None:
    find_library("torch")
    moved, stayed = (regressor(dtype="float32").fit(X, NUMBERS) for _ in range(2))
    moved.to("torch").set_params(backend="torch")
    np.testing.assert_allclose(
        moved.partial_fit(X, NUMBERS).predict(X), stayed.partial_fit(X, NUMBERS).predict(X), rtol=1e-4, atol=1e-5
    )


DISPATCHED = """
import sklearn, torch
import chainrule as cr

X, y = torch.eye(6), torch.arange(6) % 3
with sklearn.config_context(array_api_dispatch=True):
    cr.MLPClassifier().partial_fit(X, y, classes=torch.arange(3)).predict(X)
print("done")
"""


def test_partial_fit_takes_classes_in_the_library_of_y_under_dispatch() -> None:
    find_library("torch")
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    done = subprocess.run(
        [sys.executable, "-c", DISPATCHED], capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    assert done.stdout.strip() == "done", done.stderr


def test_no_warning_comes_of_names_of_columns_under_early_stopping() -> None:
    frame = find_library("pandas").DataFrame(X, columns=list("abcd"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", "Stochastic Optimizer")
        estimator = classifier(early_stopping=True, scoring="accuracy").fit(frame, CLASSES)
        estimator.fit(frame, CLASSES, X_val=frame, y_val=CLASSES)
        regressor(early_stopping=True, scoring="r2").fit(frame, NUMBERS)
    assert same(estimator, classifier(early_stopping=True).fit(X, CLASSES, X_val=X, y_val=CLASSES))
