"""MLPClassifier and MLPRegressor in the place of scikit-learn's own: parameters, attributes, refusals, warnings."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pickle
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import find_library
from side_by_side import DIGIT, DIGITS, NUMBER, NUMBERS, PROBLEMS, both, theirs

import chainrule as cr

exceptions = importlib.import_module("sklearn.exceptions")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_every_parameter_of_theirs_is_there_with_its_default(name: str) -> None:
    want = inspect.signature(getattr(theirs, name)).parameters
    got = inspect.signature(getattr(cr, name)).parameters
    assert [(p.name, p.default, p.kind) for p in want.values()] == [(p, got[p].default, got[p].kind) for p in want]
    assert all(got[p].kind is inspect.Parameter.KEYWORD_ONLY for p in got.keys() - want.keys())


@pytest.mark.parametrize("settings", [{}, {"early_stopping": True}, {"solver": "lbfgs"}, {"solver": "sgd"}])
@pytest.mark.parametrize("problem", ["multiclass", "regression"])
def test_every_attribute_and_method_of_theirs_is_there(problem: str, settings: dict[str, Any]) -> None:
    pandas = find_library("pandas")
    name, X, y = PROBLEMS[problem]
    a, b = both(name, max_iter=2, random_state=0, **settings)
    frame = pandas.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])])
    a.fit(frame, y)
    b.fit(frame, y)
    public = {n for n in dir(a) if not n.startswith("_")}
    if name == "MLPRegressor" and b.solver == "lbfgs":
        public.remove("partial_fit")  # theirs is there and fails when called
    assert {n for n in public if hasattr(a, n)} <= {n for n in dir(b) if hasattr(b, n)}
    np.testing.assert_array_equal(a.feature_names_in_, b.feature_names_in_)


# What is no number or no label is refused in our words: tests/test_estimators_numbers.py, test_estimators_labels.py.
BAD: dict[str, Callable[[Any], Any]] = {
    "alpha": lambda E: E(alpha=-1.0).fit(DIGITS, DIGIT),
    "a flag": lambda E: E(shuffle="yes").fit(DIGITS, DIGIT),
    "no iteration": lambda E: E(max_iter=0).fit(DIGITS, DIGIT),
    "no width": lambda E: E(hidden_layer_sizes=(3, 0)).fit(DIGITS, DIGIT),
    "no y": lambda E: E().fit(DIGITS, None),
    "one dimension": lambda E: E().fit(DIGITS[0], DIGIT),
    "NaN": lambda E: E().fit(np.full((4, 2), np.nan), [0, 1, 0, 1]),
    "infinity": lambda E: E().fit(np.full((4, 2), np.inf), [0, 1, 0, 1]),
    "lengths": lambda E: E().fit(DIGITS, DIGIT[:-1]),
    "no rows": lambda E: E().fit(DIGITS[:0], DIGIT[:0]),
    "other features": lambda E: E(max_iter=1).fit(DIGITS, DIGIT).predict(DIGITS[:, :3]),
    "not fitted": lambda E: E().predict(DIGITS),
    "weights of another length": lambda E: E().fit(DIGITS, DIGIT, sample_weight=np.ones(3)),
    "weights all 0": lambda E: E().fit(DIGITS, DIGIT, sample_weight=np.zeros(330)),
}
BAD_LABELS: dict[str, Callable[[Any], Any]] = {
    "other classes at a warm start": lambda E: E(max_iter=1, warm_start=True).fit(DIGITS, DIGIT).fit(DIGITS, DIGIT > 4),
    "no classes named": lambda E: E().partial_fit(DIGITS, DIGIT),
    "a class that was not named": lambda E: E().partial_fit(DIGITS, DIGIT, classes=[0, 1]),
    "classes named anew": lambda E: (
        E().partial_fit(DIGITS, DIGIT, classes=range(10)).partial_fit(DIGITS, DIGIT, classes=np.arange(9))
    ),
}
CASES = [(n, c, f) for n in ("MLPClassifier", "MLPRegressor") for c, f in BAD.items()]
CASES += [("MLPClassifier", c, f) for c, f in BAD_LABELS.items()]
CASES += [("MLPRegressor", "NaN in y", lambda E: E().fit(DIGITS[:2], [np.nan, 1.0]))]


@pytest.mark.parametrize(("name", "case", "use"), CASES, ids=[f"{n} {c}" for n, c, _ in CASES])
def test_bad_input_is_refused_in_their_words(name: str, case: str, use: Callable[[Any], Any]) -> None:
    if case == "weights all 0":
        find_library("scikit-learn 1.9", "sklearn.callback")  # before it, theirs divides by their sum
    with pytest.raises(Exception) as want:  # whatever scikit-learn raises
        use(getattr(theirs, name))
    with pytest.raises(Exception) as got:
        use(getattr(cr, name))
    assert str(got.value) == str(want.value)
    assert isinstance(got.value, type(want.value))


def test_a_solver_without_epochs_has_no_partial_fit() -> None:
    assert not hasattr(cr.MLPClassifier(solver="lbfgs"), "partial_fit")
    assert hasattr(cr.MLPClassifier(solver="adamw"), "partial_fit")


@pytest.mark.parametrize("settings", [{"tol": 0.5, "n_iter_no_change": 2}, {"early_stopping": True, "max_iter": 3}])
def test_verbose_lines_are_theirs(capsys: pytest.CaptureFixture[str], settings: dict[str, Any]) -> None:
    a, b = both("MLPClassifier", random_state=0, verbose=True, **settings)
    a.fit(DIGITS, DIGIT)
    want = capsys.readouterr().out
    b.fit(DIGITS, DIGIT)
    assert capsys.readouterr().out == want
    assert want.count("\n") >= 3


def test_a_training_that_does_not_converge_says_so() -> None:
    for solver in ("adam", "lbfgs"):
        with pytest.warns(exceptions.ConvergenceWarning):
            cr.MLPClassifier(max_iter=2, solver=solver).fit(DIGITS, DIGIT)


def test_divergence_is_their_error_and_keeps_the_last_good_weights() -> None:
    X = NUMBERS * 1e6
    est = cr.MLPRegressor(solver="sgd", learning_rate_init=10.0, random_state=0, activation="identity")
    sentence = "Solver produced non-finite parameter weights. The input data may contain large values"
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        est.fit(X, NUMBER)
    assert "scale X and y to mean 0 and standard deviation 1" in str(caught.value)
    assert isinstance(caught.value, cr.DivergenceError)
    assert all(np.isfinite(w).all() for w in est.coefs_)


def test_under_early_stopping_divergence_is_a_last_score_of_nan() -> None:
    settings = {"solver": "sgd", "activation": "identity", "early_stopping": True, "n_iter_no_change": 50}
    est = cr.MLPRegressor(learning_rate_init=0.2, random_state=0, **settings)
    with pytest.warns(RuntimeWarning, match="best weights"):
        est.fit(NUMBERS, NUMBER / 100.0)
    assert np.isnan(est.validation_scores_[-1])
    assert np.isnan(est.validation_loss_curve_[-1])
    best = est.validation_scores_.index(est.best_validation_score_)
    again = cr.MLPRegressor(learning_rate_init=0.2, random_state=0, max_iter=best + 1, **settings)
    np.testing.assert_allclose(est.predict(NUMBERS), again.fit(NUMBERS, NUMBER / 100.0).predict(NUMBERS))


class Raises:
    """A callback that raises at the end of an epoch."""

    def __init__(self, error: BaseException, epoch: int) -> None:
        self.error, self.epoch = error, epoch

    def on_epoch_end(self, run: Any, record: Any) -> None:
        if run.epoch == self.epoch:
            raise self.error


def test_what_was_trained_is_kept_where_a_callback_raises() -> None:
    want = cr.MLPClassifier(max_iter=3, random_state=0).fit(DIGITS, DIGIT)
    est = cr.MLPClassifier(max_iter=9, random_state=0, callbacks=[Raises(KeyboardInterrupt(), 3)])
    with pytest.warns(UserWarning, match="interrupted by user"):
        est.fit(DIGITS, DIGIT)
    np.testing.assert_array_equal(est.coefs_[0], want.coefs_[0])
    est.set_params(callbacks=[Raises(OSError("disk full"), 3)])
    with pytest.raises(OSError, match="disk full"):
        est.fit(DIGITS, DIGIT)
    np.testing.assert_array_equal(est.coefs_[0], want.coefs_[0])
    assert est.n_iter_ == len(est.loss_curve_) == 3


def test_ctrl_c_ends_lbfgs_with_the_network_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = importlib.import_module("chainrule.estimators._lbfgs").Objective
    call, calls = objective.__call__, []

    def interrupting(self: Any, theta: np.ndarray) -> Any:
        calls.append(theta)
        if len(calls) == 5:
            signal.raise_signal(signal.SIGINT)
        return call(self, theta)

    monkeypatch.setattr(objective, "__call__", interrupting)
    est = cr.MLPClassifier(solver="lbfgs", max_iter=500, random_state=0)
    with pytest.warns(cr.InterruptedTraining, match="interrupted in iteration"):
        est.fit(DIGITS, DIGIT)
    assert 2 <= est.n_iter_ < 10
    assert est.score(DIGITS, DIGIT) > 0.3


def test_a_divergence_in_the_first_epoch_under_early_stopping_leaves_lists_of_one_length() -> None:
    est = cr.MLPRegressor(solver="sgd", learning_rate_init=1e9, activation="identity", early_stopping=True)
    with pytest.warns(RuntimeWarning, match="non-finite"):
        est.fit(NUMBERS, NUMBER)
    curves = (est.loss_curve_, est.validation_scores_, est.validation_loss_curve_)
    assert [len(curve) for curve in curves] == [est.n_iter_] * 3
    assert est.stopped_ == "training diverged"


SEEN: list[Any] = []


def seeing(estimator: Any, X: Any, y: Any) -> float:
    SEEN.append(X)
    return 0.5


@pytest.mark.parametrize("go_on", [lambda est: est, lambda est: pickle.loads(pickle.dumps(est))], ids=["", "a pickle"])
def test_partial_fit_validates_on_the_rows_that_fit_held_out(go_on: Callable[[Any], Any]) -> None:
    SEEN.clear()
    settings = {"early_stopping": True, "random_state": 0, "n_iter_no_change": 50, "scoring": seeing}
    go_on(cr.MLPClassifier(max_iter=1, **settings).fit(DIGITS, DIGIT)).partial_fit(DIGITS, DIGIT)
    assert len(SEEN) == 2
    np.testing.assert_array_equal(SEEN[0], SEEN[1])


def test_a_solver_without_epochs_leaves_nothing_of_the_fit_before() -> None:
    est = cr.MLPClassifier(max_iter=3, early_stopping=True, random_state=0).fit(DIGITS, DIGIT)
    est.set_params(solver="lbfgs", early_stopping=False).fit(DIGITS, DIGIT)
    assert not {"validation_scores_", "best_validation_score_", "loss_curve_"} & set(vars(est))
    assert est.stopped_ is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clip": cr.ClipNorm}, "got the class ClipNorm: write an object"),
        ({"solver": cr.Adam}, "got the class Adam: write an object"),
        ({"callbacks": [object()]}, "has one of on_train_begin"),
        ({"scoring": "acuracy"}, "acuracy"),
        ({"hidden_layer_sizes": (10.7,)}, "hidden_layer_sizes: each must be a whole number"),
        ({"class_weight": {77: 2.0}}, r"class_weight must name labels among .* got \[77\] too"),
        ({"learning_rate": cr.CosineDecay(0.1), "solver": cr.Adam()}, "with a rate of its own"),
        ({"dropout": [0.1, 0.2]}, "dropout must have one entry for each of 1 hidden layers, got 2"),
    ],
)
def test_a_parameter_that_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cr.MLPClassifier(**settings).fit(DIGITS, DIGIT)


@pytest.mark.parametrize(
    ("settings", "y", "message"),
    [
        ({"loss": "poisson"}, NUMBER, "y must lie between 0 and inf"),
        ({"loss": cr.SigmoidCrossEntropy()}, NUMBER, "y must lie between 0 and 1"),
        ({"loss": cr.SoftmaxCrossEntropy()}, NUMBER, "is a loss for classes: use MLPClassifier"),
        ({"loss": "poisson", "output_activation": "softplus"}, NUMBER**2, "would come on top"),
    ],
)
def test_a_regression_that_cannot_be_is_refused(settings: dict[str, Any], y: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cr.MLPRegressor(**settings).fit(NUMBERS, y)


@pytest.mark.parametrize("given", ["X_val", "y_val", "sample_weight_val"])
def test_half_a_validation_set_is_refused(given: str) -> None:
    with pytest.raises(cr.DataError, match="give both or none"):
        cr.MLPClassifier().fit(DIGITS, DIGIT, **{given: DIGITS})


CHECKS = """
import json, sys, warnings
warnings.simplefilter("ignore")
import chainrule
from sklearn.utils.estimator_checks import check_estimator
found = check_estimator(getattr(chainrule, sys.argv[1])(max_iter=40), on_fail=None, on_skip=None)
print(json.dumps([(c["check_name"], c["status"], str(c["exception"])) for c in found]))
"""
# Hardware and libraries that are not here; what is not skipped is everything else, array-api-strict and torch included.
ABSENT = ("cupy", "cuda", "XPU", "MPS", "dpnp", "decision_function")


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_check_estimator_passes_in_full(name: str) -> None:
    find_library("torch")
    find_library("array-api-strict", "array_api_strict")
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CHECKS, name], capture_output=True, text=True, timeout=300, check=True, env=environment
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert [check for check in found if check[1] == "failed"] == []
    skipped = [check for check in found if check[1] == "skipped"]
    assert [check for check in skipped if not any(word in check[2] for word in ABSENT)] == []
    passed = [check[0] for check in found if check[1] == "passed"]
    since = importlib.util.find_spec("sklearn.callback") is not None  # 1.9: before it, classes had to be X's arrays
    assert len(passed) > (65 if since else 60)
    assert passed.count("check_array_api_input") >= (2 if since else 0)
