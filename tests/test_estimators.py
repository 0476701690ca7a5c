"""MLPClassifier and MLPRegressor against scikit-learn's own: the numbers, the attributes, the words, the arrays."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import inspect
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import Platform, find_library

import chainrule as cr
from chainrule._backend import library_of

sklearn = find_library("scikit-learn", "sklearn")
datasets = importlib.import_module("sklearn.datasets")
exceptions = importlib.import_module("sklearn.exceptions")
theirs = importlib.import_module("sklearn.neural_network")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DIGITS, DIGIT = datasets.load_digits(return_X_y=True)
DIGITS, DIGIT = DIGITS[:330] / 16.0, DIGIT[:330]
NUMBERS, NUMBER = datasets.make_regression(330, 8, random_state=0)
TARGETS = datasets.make_regression(330, 8, n_targets=3, random_state=1)[1] / 100.0
COUNTS, SEVERAL = datasets.make_multilabel_classification(330, 20, n_classes=4, random_state=0)
PROBLEMS: dict[str, tuple[str, np.ndarray, np.ndarray]] = {
    "multiclass": ("MLPClassifier", DIGITS, DIGIT),
    "binary": ("MLPClassifier", DIGITS, np.where(DIGIT > 4, "large", "small")),
    "multilabel": ("MLPClassifier", COUNTS / 20.0, SEVERAL),
    "regression": ("MLPRegressor", NUMBERS, NUMBER / 100.0),
}
SOLVERS: dict[str, dict[str, Any]] = {
    "sgd": {"solver": "sgd", "momentum": 0},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False},
    "nesterov": {"solver": "sgd"},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.1},
    "adam": {"solver": "adam"},
    "adam, penalty": {"solver": "adam", "alpha": 0.5, "learning_rate_init": 0.01},
    "adam, odd": {"solver": "adam", "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-2, "batch_size": 64, "shuffle": False},
    "early stopping": {"solver": "adam", "early_stopping": True, "validation_fraction": 0.2},
    "lbfgs": {"solver": "lbfgs"},
}
NOTED = ("loss_", "best_loss_", "loss_curve_", "validation_scores_", "best_validation_score_")
COUNTED = ("n_iter_", "t_", "n_layers_", "n_outputs_", "n_features_in_", "out_activation_")


def both(name: str, **settings: Any) -> tuple[Any, Any]:
    """scikit-learn's estimator and ours, with the same parameters."""
    return getattr(theirs, name)(**settings), getattr(cr, name)(**settings)


def assert_same(a: Any, b: Any, X: Any, rtol: float = 1e-9) -> None:
    """Two fitted estimators have the same weights, attributes and answers."""
    for want, got in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=0, atol=rtol)
    for name in COUNTED:
        assert getattr(a, name) == getattr(b, name), name
    for name in NOTED:
        assert hasattr(a, name) == hasattr(b, name), name
        want, got = getattr(a, name, None), getattr(b, name, None)
        assert (want is None) == (got is None), name
        if want is not None:
            np.testing.assert_allclose(got, want, rtol=0, atol=rtol)
    want, got = a.predict(X), b.predict(X)
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    if hasattr(a, "classes_"):
        np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(a.classes_, b.classes_)
        np.testing.assert_allclose(b.predict_proba(X), a.predict_proba(X), rtol=0, atol=rtol)
        np.testing.assert_allclose(b.predict_log_proba(X), a.predict_log_proba(X), rtol=0, atol=10 * rtol)
    else:
        np.testing.assert_allclose(got, want, rtol=0, atol=rtol)


# ----------------------------------------------------------------------------------------------- the numbers are theirs


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_three_epochs_from_one_random_state_give_the_same_network(problem: str, solver: str, activation: str) -> None:
    if problem == "binary" and "early" in solver:
        find_library("scikit-learn 1.9", "sklearn.callback")  # before it, theirs looks for NaN in labels of text
    name, X, y = PROBLEMS[problem]
    settings = {"max_iter": 3, "random_state": 1, "hidden_layer_sizes": (20, 7), "activation": activation}
    a, b = both(name, **{**settings, **SOLVERS[solver]})
    assert_same(a.fit(X, y), b.fit(X, y), X)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_so_do_trainings_that_end_by_themselves(problem: str) -> None:
    if problem == "binary":
        find_library("scikit-learn 1.9", "sklearn.callback")  # before it, theirs looks for NaN in labels of text
    name, X, y = PROBLEMS[problem]
    for settings in (
        {"learning_rate_init": 0.02, "tol": 1e-2, "n_iter_no_change": 3},
        {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.1, "tol": 1e-2, "n_iter_no_change": 1},
        {"learning_rate_init": 0.02, "early_stopping": True, "n_iter_no_change": 3, "tol": 1e-3},
    ):
        a, b = both(name, max_iter=120, random_state=3, hidden_layer_sizes=(10,), **settings)
        assert_same(a.fit(X, y), b.fit(X, y), X, rtol=1e-6)
        assert 4 < b.n_iter_ < 120, "so that the rule that ended it was tried"


def test_the_weights_of_examples_are_theirs() -> None:
    weight = np.random.default_rng(0).uniform(0.1, 2.0, 330)
    for problem in ("multiclass", "regression"):
        name, X, y = PROBLEMS[problem]
        for settings in ({"solver": "sgd"}, {"solver": "adam"}, {"solver": "lbfgs"}, {"early_stopping": True}):
            a, b = both(name, max_iter=3, random_state=0, alpha=0.1, **settings)
            a.fit(X, y, sample_weight=weight)
            b.fit(X, y, sample_weight=weight)
            assert_same(a, b, X)


def test_weighted_trainings_of_several_batches_end_where_theirs_do() -> None:
    weight = np.random.default_rng(0).exponential(size=330) ** 2
    settings = {"batch_size": 16, "tol": 1e-3, "n_iter_no_change": 2, "max_iter": 200, "learning_rate_init": 0.01}
    for problem in ("binary", "regression"):
        name, X, y = PROBLEMS[problem]
        a, b = both(name, random_state=0, **settings)
        a.fit(X, y, sample_weight=weight)
        b.fit(X, y, sample_weight=weight)
        assert_same(a, b, X, rtol=1e-6)
        assert b.n_iter_ < 200


def test_poisson_counts_are_theirs() -> None:
    counts = np.random.default_rng(0).poisson(np.exp(NUMBERS[:, 0] / 2)).astype(float)
    for settings in ({"solver": "adam"}, {"solver": "lbfgs"}, {"early_stopping": True}):
        a, b = both("MLPRegressor", loss="poisson", max_iter=3, random_state=0, **settings)
        assert_same(a.fit(NUMBERS, counts), b.fit(NUMBERS, counts), NUMBERS)


def test_several_outputs_train_on_their_sum_and_show_their_mean() -> None:
    for settings in ({"solver": "sgd"}, {"solver": "adam"}, {"solver": "adam", "early_stopping": True}):
        a, b = both("MLPRegressor", max_iter=3, random_state=0, **settings)
        assert_same(a.fit(NUMBERS, TARGETS), b.fit(NUMBERS, TARGETS), NUMBERS)


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_a_warm_start_goes_on_like_theirs(solver: str) -> None:
    for problem in ("multiclass", "regression"):
        name, X, y = PROBLEMS[problem]
        a, b = both(name, max_iter=2, random_state=0, solver=solver, warm_start=True)
        for _ in range(3):
            a.fit(X, y)
            b.fit(X, y)
            assert_same(a, b, X)


def test_calls_of_partial_fit_are_theirs_where_nothing_is_drawn() -> None:
    for problem in ("multiclass", "binary", "regression"):
        name, X, y = PROBLEMS[problem]
        for settings in ({"solver": "adam"}, {"solver": "sgd", "learning_rate": "invscaling"}):
            a, b = both(name, random_state=0, shuffle=False, **settings)
            named = {} if name == "MLPRegressor" else {"classes": np.unique(y)}
            for first in (0, 50, 20, 100):  # of several lengths, too
                part = slice(first, first + 3 * (first + 70))
                a.partial_fit(X[part], y[part], **named)
                b.partial_fit(X[part], y[part], **named)
                assert_same(a, b, X)


def test_calls_of_partial_fit_lower_the_rate_as_one_fit_does() -> None:
    settings = {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.1, "tol": 1e-2, "random_state": 3}
    want = cr.MLPClassifier(**settings, max_iter=40, n_iter_no_change=1).fit(DIGITS, DIGIT)
    got = cr.MLPClassifier(**settings, n_iter_no_change=1)
    for _ in range(want.n_iter_):
        got.partial_fit(DIGITS, DIGIT, classes=range(10))
    assert got._progress.rate_scale == want._progress.rate_scale < 0.05
    np.testing.assert_array_equal(got.coefs_[0], want.coefs_[0])


def test_what_is_dropped_depends_on_the_random_state() -> None:
    keys = [
        cr.MLPClassifier(dropout=0.5, max_iter=1, random_state=seed).fit(DIGITS, DIGIT)._progress.state.key.tolist()
        for seed in (1, 1, 2)
    ]
    assert keys[0] == keys[1] != keys[2]


def test_a_shared_random_state_is_drawn_from_as_theirs_is() -> None:
    a, b = (np.random.RandomState(5) for _ in range(2))
    for _ in range(2):
        one = theirs.MLPClassifier(max_iter=2, random_state=a, early_stopping=True).fit(DIGITS, DIGIT)
        two = cr.MLPClassifier(max_iter=2, random_state=b, early_stopping=True).fit(DIGITS, DIGIT)
        assert_same(one, two, DIGITS)
    assert a.randint(10**6) == b.randint(10**6)


def test_float32_in_gives_float32_weights_near_theirs() -> None:
    a, b = both("MLPClassifier", max_iter=5, random_state=0)
    assert_same(a.fit(DIGITS.astype("f4"), DIGIT), b.fit(DIGITS.astype("f4"), DIGIT), DIGITS.astype("f4"), rtol=1e-4)


# ------------------------------------------------------------------------------------------------------------- L-BFGS


def capture_objective(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, np.ndarray]]:
    """Note what is handed to SciPy's minimize."""
    optimize = importlib.import_module("scipy.optimize")
    minimize, seen = optimize.minimize, []

    def noting(objective: Any, start: np.ndarray, **settings: Any) -> Any:
        seen.append((objective, start.copy()))
        return minimize(objective, start, **settings)

    monkeypatch.setattr(optimize, "minimize", noting)
    return seen


@pytest.mark.parametrize("outputs", [1, 2, 3, 5])
def test_lbfgs_has_the_right_gradient_for_several_outputs(monkeypatch: pytest.MonkeyPatch, outputs: int) -> None:
    seen = capture_objective(monkeypatch)
    y = np.random.default_rng(0).normal(size=(60, outputs) if outputs > 1 else 60)
    cr.MLPRegressor(solver="lbfgs", hidden_layer_sizes=(4,), activation="tanh", alpha=0.3, max_iter=1).fit(
        NUMBERS[:60], y
    )
    objective, theta = seen[0]
    gradient, numeric = objective(theta)[1], np.zeros_like(theta)
    for i, step in enumerate(np.eye(len(theta)) * 1e-5):
        numeric[i] = (objective(theta + step)[0] - objective(theta - step)[0]) / 2e-5
    np.testing.assert_allclose(gradient, numeric, rtol=0, atol=1e-8)


def test_lbfgs_shows_the_mean_over_the_outputs_too() -> None:
    est = cr.MLPRegressor(solver="lbfgs", hidden_layer_sizes=(4,), alpha=5.0, max_iter=20, random_state=0)
    error = est.fit(NUMBERS, TARGETS).predict(NUMBERS) - TARGETS
    penalty = 5.0 / (2 * 330) * sum(float((w * w).sum()) for w in est.coefs_)
    assert est.loss_ == pytest.approx(0.5 * (error**2).mean() + penalty, rel=1e-9)


def test_lbfgs_finds_their_minimum() -> None:
    for problem in ("multiclass", "binary", "multilabel", "regression"):
        name, X, y = PROBLEMS[problem]
        settings = {"solver": "lbfgs", "hidden_layer_sizes": (3,), "activation": "tanh", "alpha": 30.0, "tol": 1e-7}
        a, b = both(name, max_iter=3000, max_fun=10**5, random_state=0, **settings)
        # SciPy ends where a step gains 2e-9 of the cost, which rounding moves about.
        assert a.fit(X, y).loss_ == pytest.approx(b.fit(X, y).loss_, rel=1e-5)
        np.testing.assert_allclose(
            *(est.predict(X) if name == "MLPRegressor" else est.predict_proba(X) for est in (a, b)), rtol=0, atol=5e-3
        )


def test_lbfgs_sums_blocks_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    sparse = importlib.import_module("scipy.sparse")
    weight = np.random.default_rng(0).uniform(0, 2, 330)
    whole = cr.MLPClassifier(solver="lbfgs", max_iter=10, random_state=0).fit(DIGITS, DIGIT, weight)
    monkeypatch.setattr("chainrule.estimators._lbfgs._BLOCK", 100)
    for X in (DIGITS, sparse.csr_matrix(DIGITS)):
        blocks = cr.MLPClassifier(solver="lbfgs", max_iter=10, random_state=0).fit(X, DIGIT, weight)
        assert blocks.loss_ == pytest.approx(whole.loss_, rel=1e-8)
        np.testing.assert_allclose(blocks.predict_proba(X), whole.predict_proba(DIGITS), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("dropout", {"dropout": 0.5}),
        ("normalization='batch'", {"normalization": "batch"}),
        ("schedule", {"learning_rate": cr.CosineDecay(0.1)}),
        ("clip", {"clip": cr.ClipNorm(1.0)}),
        ("batch_size", {"batch_size": 32}),
        ("randomized_leaky_relu", {"activation": "randomized_leaky_relu"}),
    ],
)
def test_lbfgs_refuses_by_name_what_it_cannot_use(name: str, setting: dict[str, Any]) -> None:
    with pytest.raises(cr.ConfigurationError, match=re.escape(name)):
        cr.MLPClassifier(solver="lbfgs", **setting).fit(DIGITS, DIGIT)


def test_lbfgs_takes_layer_normalisation_and_a_loss_of_your_own() -> None:
    def square(xp: Any, z: Any, y: Any) -> tuple[Any, Any]:
        return 0.5 * xp.sum((z - y) ** 2, axis=-1, keepdims=True), z - y

    y = NUMBER / 100.0
    own = cr.MLPRegressor(solver="lbfgs", loss=cr.Loss(square), max_iter=20, random_state=0).fit(NUMBERS, y)
    usual = cr.MLPRegressor(solver="lbfgs", max_iter=20, random_state=0).fit(NUMBERS, y)
    np.testing.assert_allclose(own.predict(NUMBERS), usual.predict(NUMBERS), rtol=0, atol=1e-9)
    normed = cr.MLPRegressor(solver="lbfgs", normalization="layer", max_iter=50, random_state=0).fit(NUMBERS, y)
    assert normed.score(NUMBERS, y) > 0.99


# ---------------------------------------------------------------------------------------------------- drop-in, in words


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_every_parameter_of_theirs_is_there_with_its_default(name: str) -> None:
    want = inspect.signature(getattr(theirs, name)).parameters
    got = inspect.signature(getattr(cr, name)).parameters
    assert {p: want[p].default for p in want} == {p: got[p].default for p in want}
    assert all(p.kind is p.KEYWORD_ONLY for p in got.values())


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
found = check_estimator(getattr(chainrule, sys.argv[1])(max_iter=100), on_fail=None, on_skip=None)
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


# ------------------------------------------------------------------------------------------------------- on any array

LIBRARIES = ["numpy", "strictest-float32", "strictest-float64", "torch", "jax-jit"]


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest, open_platform: Callable[..., Platform]) -> Platform:
    return open_platform(request.param)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_answers_come_in_the_library_and_on_the_device_of_x(library: Platform, problem: str) -> None:
    name, X, y = PROBLEMS[problem]
    on, atol = library.backend, 3e-5 if library.spec.dtype == "float32" else 1e-9
    given = library.array(X)
    settings = {"max_iter": 3, "random_state": 0, "hidden_layer_sizes": (8,)}
    reference = getattr(cr, name)(**settings).fit(X, y)
    labels = y if y.dtype.kind == "U" else library.array(y)
    est = getattr(cr, name)(**settings).fit(given, labels)
    answers = [est.predict(given), est.transform(given), *est.coefs_]
    answers += [est.predict_proba(given), est.predict_log_proba(given)] if name == "MLPClassifier" else []
    if y.dtype.kind == "U":
        np.testing.assert_array_equal(answers.pop(0), reference.predict(X))
    for answer in answers:
        assert library_of(answer) is on.library
        assert on.library.device_of(answer) == on.device
    for want, got in zip(reference.coefs_, est.coefs_, strict=True):
        np.testing.assert_allclose(library.host(got), want, rtol=0, atol=atol)
    assert est.score(given, labels) == pytest.approx(reference.score(X, y), abs=0.02)


def test_x_is_never_copied_through_the_host(library: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    on = library.backend
    if on.name == "numpy":
        pytest.skip("NumPy's arrays are on the host")
    X, y = library.array(DIGITS), DIGIT
    to_numpy = on.library.to_numpy

    def watched(x: Any) -> np.ndarray:
        assert tuple(x.shape) != DIGITS.shape, "all of X was read on the host"
        return to_numpy(x)

    monkeypatch.setattr(on.library, "to_numpy", watched)
    est = cr.MLPClassifier(max_iter=2, early_stopping=True, random_state=0).fit(X, y)
    est.predict_proba(X)
    est.partial_fit(X, y)


def test_numpy_in_and_numpy_out_where_another_backend_trains(library: Platform) -> None:
    on = library.backend
    est = cr.MLPClassifier(max_iter=2, random_state=0, backend=on.name, device=on.device_name, dtype=library.spec.dtype)
    est.fit(DIGITS, DIGIT)
    assert library_of(est.coefs_[0]) is on.library
    for answer in (est.predict(DIGITS), est.predict_proba(DIGITS), est.transform(DIGITS)):
        assert isinstance(answer, np.ndarray)


def test_a_fitted_estimator_moves(library: Platform) -> None:
    on = library.backend
    est = cr.MLPClassifier(max_iter=3, random_state=0).fit(DIGITS, DIGIT)
    before = est.predict_proba(DIGITS)
    assert est.to(on.name, on.device_name, library.spec.dtype) is est
    assert library_of(est.coefs_[0]) is on.library
    atol = 1e-5 if library.spec.dtype == "float32" else 1e-12
    np.testing.assert_allclose(est.predict_proba(DIGITS), before, rtol=0, atol=atol)
    est.to("numpy", dtype="float64")
    np.testing.assert_allclose(est.predict_proba(DIGITS), before, rtol=0, atol=atol)
    est.set_params(backend=on.name, device=on.device_name, dtype=library.spec.dtype).partial_fit(DIGITS, DIGIT)
    assert library_of(est.coefs_[0]) is on.library


def test_lbfgs_runs_on_any_array(library: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainrule.estimators._lbfgs._BLOCK", 100)  # 330 rows are four blocks
    est = cr.MLPClassifier(solver="lbfgs", max_iter=15, random_state=0).fit(library.array(DIGITS), DIGIT)
    assert library_of(est.coefs_[0]) is library.backend.library
    assert est.score(library.array(DIGITS), DIGIT) > 0.9


def test_where_there_is_no_float64_float32_is_used_and_a_warning_says_so(
    open_platform: Callable[..., Platform],
) -> None:
    device = open_platform("no-float64").backend.device_name
    est = cr.MLPRegressor(max_iter=1, backend="array-api-strict", device=device)
    with pytest.warns(UserWarning, match="float32 is used"):
        est.fit(NUMBERS, NUMBER)
    assert "float32" in str(est.coefs_[0].dtype)
    with pytest.raises(cr.DTypeError, match="no float64"):
        est.set_params(dtype="float64").fit(NUMBERS, NUMBER)


SEARCH = """
import warnings; warnings.simplefilter("ignore")
import sys
import numpy as np
import sklearn
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
import array_api_strict, torch
import chainrule as cr
X, y = load_digits(return_X_y=True)
X, y = X[:200] / 16, y[:200]
want = cross_val_score(cr.MLPClassifier(max_iter=5, random_state=0), X, y, cv=3)
for xp in (array_api_strict, torch):
    a, b = xp.asarray(X), xp.asarray(y)
    with sklearn.config_context(array_api_dispatch=True):
        parts = train_test_split(a, b, random_state=0)
        est = cr.MLPClassifier(max_iter=5, random_state=0).fit(parts[0], parts[2])
        assert type(est.predict(parts[1])) is type(a)
        np.testing.assert_allclose(cross_val_score(cr.MLPClassifier(max_iter=5, random_state=0), a, b, cv=3), want)
        search = GridSearchCV(cr.MLPClassifier(max_iter=3), {"alpha": [1e-4, 1.0]}, cv=2).fit(a, b)
        assert type(search.predict(a)) is type(a)
print("done")
"""


def test_searches_run_on_arrays_of_other_libraries() -> None:
    find_library("torch")
    find_library("array-api-strict", "array_api_strict")
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SEARCH], capture_output=True, text=True, timeout=300, check=False, env=environment
    )
    assert done.stdout.strip() == "done", done.stderr


# ---------------------------------------------------------------------------------------------------- sparse and frames


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
def test_sparse_rows_train_the_same_network(backend: str, open_platform: Callable[..., Platform]) -> None:
    open_platform("torch" if backend == "torch" else "jax-jit" if backend == "jax" else "numpy")
    sparse = importlib.import_module("scipy.sparse")
    X = np.where(DIGITS > 0.4, DIGITS, 0.0).astype("f4")
    settings = {"max_iter": 3, "random_state": 0, "early_stopping": True, "backend": backend, "dtype": "float32"}
    dense = cr.MLPClassifier(**settings).fit(X, DIGIT)
    for make in (sparse.csr_matrix, sparse.csc_array, sparse.coo_matrix):
        est = cr.MLPClassifier(**settings).fit(make(X), DIGIT)
        np.testing.assert_allclose(est.validation_loss_curve_, dense.validation_loss_curve_, rtol=1e-4)
        np.testing.assert_allclose(est.predict_proba(make(X)), dense.predict_proba(X), rtol=0, atol=1e-4)
        np.testing.assert_allclose(est.transform(make(X)), dense.transform(X), rtol=0, atol=1e-4)
        np.testing.assert_array_equal(est.predict(X), est.predict(make(X)))


def test_on_numpy_sparse_rows_are_never_made_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    sparse = importlib.import_module("scipy.sparse")
    X = sparse.random(300, 50_000, density=1e-3, format="csr", random_state=0)
    for form in ("csr_matrix", "csr_array"):
        monkeypatch.setattr(getattr(sparse, form), "toarray", None)
    for settings in ({"max_iter": 1}, {"max_iter": 2, "solver": "lbfgs"}):
        est = cr.MLPClassifier(hidden_layer_sizes=(3,), **settings).fit(X, np.arange(300) % 2)
        assert est.predict(X).shape == (300,)


def test_an_arrow_table_is_trained_on() -> None:
    arrow = find_library("pyarrow")
    table = arrow.table({"a": NUMBERS[:, 0], "b": NUMBERS[:, 1]})
    est = cr.MLPRegressor(max_iter=2, random_state=0, early_stopping=True).fit(table, NUMBER)
    assert est.predict(table).shape == (330,)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_names_of_a_frame_are_remembered_and_checked(library: str) -> None:
    frames = find_library(library)
    X = frames.DataFrame({"a": NUMBERS[:, 0], "b": NUMBERS[:, 1]})
    est = cr.MLPRegressor(max_iter=2, random_state=0, early_stopping=True).fit(X, NUMBER)
    assert est.feature_names_in_.tolist() == ["a", "b"]
    np.testing.assert_array_equal(est.predict(X), cr.MLPRegressor(max_iter=2, random_state=0, early_stopping=True)
                                  .fit(NUMBERS[:, :2], NUMBER).predict(NUMBERS[:, :2]))  # fmt: skip
    with pytest.raises(ValueError, match="Feature names must be in the same order"):
        est.predict(X[["b", "a"]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        est.predict(NUMBERS[:, :2])
    named = est.set_output(transform=library).transform(X)
    assert list(named.columns)[:2] == ["mlpregressor0", "mlpregressor1"]


# ------------------------------------------------------------------------------------------------- a good citizen there


def test_it_is_cloned_searched_piped_pickled_and_shown() -> None:
    base, pipeline, selection, preprocessing = (
        importlib.import_module(f"sklearn.{name}") for name in ("base", "pipeline", "model_selection", "preprocessing")
    )
    pipe = pipeline.make_pipeline(preprocessing.StandardScaler(), cr.MLPClassifier(max_iter=3, random_state=0))
    grid = {"mlpclassifier__activation": ["relu", "logistic"], "mlpclassifier__dropout": [0.0, 0.3]}
    search = selection.GridSearchCV(pipe, grid, cv=2).fit(DIGITS, DIGIT)
    again = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(again.predict_proba(DIGITS), search.predict_proba(DIGITS))
    assert base.clone(search.best_estimator_[-1]).get_params() == search.best_estimator_[-1].get_params()
    assert "MLPClassifier" in search._repr_html_()
    assert repr(cr.MLPClassifier(alpha=1.0, dropout=0.5)) == "MLPClassifier(alpha=1.0, dropout=0.5)"


FITTED: dict[str, Callable[[], Any]] = {
    "a classifier": lambda: cr.MLPClassifier(max_iter=2, random_state=0).fit(DIGITS, np.where(DIGIT > 4, "a", "b")),
    "a regressor": lambda: cr.MLPRegressor(solver="lbfgs", max_iter=5).fit(NUMBERS, TARGETS),
    "with much of it": lambda: cr.MLPClassifier(
        max_iter=2, early_stopping=True, solver=cr.AdamW(cr.CosineDecay(1e-3, steps=90)), dropout=0.2,
        normalization="batch", activation=["gelu"], hidden_layer_sizes=(9,), random_state=0, class_weight={1: 2.0},
        clip=cr.ClipNorm(1.0),
    ).fit(DIGITS.astype("float32"), DIGIT),
    "by calls": lambda: cr.MLPRegressor(random_state=0).partial_fit(NUMBERS, NUMBER / 100.0),
    "of labels": lambda: cr.MLPClassifier(max_iter=2).fit(COUNTS, SEVERAL),
}  # fmt: skip


def parts_of(thing: Any) -> Iterator[Any]:
    """What a state is made of, as skops walks through it."""
    yield thing
    if isinstance(thing, dict):
        inner = list(thing.values())
    elif isinstance(thing, list | tuple):
        inner = list(thing)
    elif hasattr(thing, "__dict__") and type(thing).__module__.startswith("chainrule"):
        inner = [thing.__getstate__()]
    else:
        inner = []
    for part in inner:
        yield from parts_of(part)


@pytest.mark.parametrize("make", FITTED.values(), ids=FITTED)
def test_a_fitted_estimator_has_no_module_in_it(make: Callable[[], Any]) -> None:
    assert not [part for part in parts_of(make()) if isinstance(part, ModuleType)]


@pytest.mark.parametrize("make", FITTED.values(), ids=FITTED)
def test_skops_writes_and_reads_what_was_fitted(make: Callable[[], Any]) -> None:
    skops = find_library("skops", "skops.io")
    estimator = make()
    X = {64: DIGITS, 8: NUMBERS, 20: COUNTS}[estimator.n_features_in_]
    written = skops.dumps(importlib.import_module("sklearn.pipeline").make_pipeline("passthrough", estimator))
    back = skops.loads(written, trusted=skops.get_untrusted_types(data=written))[-1]
    np.testing.assert_array_equal(back.predict(X), estimator.predict(X))
    assert back.model_ == estimator.model_
    if estimator.solver != "lbfgs" and not hasattr(estimator, "classes_"):
        estimator.partial_fit(X, NUMBER), back.partial_fit(X, NUMBER)
        assert back.model_ == estimator.model_


BARE: dict[str, Callable[[], cr.Model]] = {
    "of arrays": lambda: cr.fit(cr.mlp([2, 4, 1]), COUNTS[:, :2], COUNTS[:, 2], loss="squared_error", epochs=1),
    "of a frame": lambda: cr.fit(
        cr.mlp([2, 4, 1], normalization="batch"),
        {"a": COUNTS[:, 0], "b": COUNTS[:, 1]},
        COUNTS[:, 2],
        loss="huber",
        epochs=1,
    ),
    "of labels": lambda: cr.MLPClassifier(max_iter=1).fit(COUNTS, np.where(COUNTS[:, 0] > 3, "a", "b")).model_,
}


@pytest.mark.parametrize("make", BARE.values(), ids=BARE)
def test_a_model_alone_is_copied_pickled_and_written_by_skops(make: Callable[[], cr.Model]) -> None:
    model = make()
    assert not [part for part in parts_of(model) if isinstance(part, ModuleType)]
    assert pickle.loads(pickle.dumps(model)) == copy.deepcopy(model) == model
    skops = find_library("skops", "skops.io")
    written = skops.dumps(model)
    assert skops.loads(written, trusted=skops.get_untrusted_types(data=written)) == model


def test_metadata_is_routed() -> None:
    pipeline, preprocessing = (importlib.import_module(f"sklearn.{name}") for name in ("pipeline", "preprocessing"))
    with sklearn_config(enable_metadata_routing=True):
        est = cr.MLPRegressor(max_iter=2, random_state=0).set_fit_request(X_val=True, y_val=True, sample_weight=True)
        scaler = preprocessing.StandardScaler().set_fit_request(sample_weight=False)
        pipe = pipeline.Pipeline([("s", scaler), ("m", est)], transform_input=["X_val"])
        pipe.fit(NUMBERS, NUMBER, X_val=NUMBERS[:50], y_val=NUMBER[:50], sample_weight=np.ones(330))
        assert len(pipe[-1].validation_loss_curve_) == 2
        scaled = preprocessing.StandardScaler().fit(NUMBERS).transform(NUMBERS[:50])
        assert pipe[-1].validation_scores_[-1] == pytest.approx(pipe[-1].score(scaled, NUMBER[:50]))


def sklearn_config(**settings: Any) -> Any:
    return importlib.import_module("sklearn").config_context(**settings)


def test_scikit_learn_is_imported_only_when_an_estimator_is_asked_for() -> None:
    asked = "chainrule.MLPClassifier; print('sklearn' in sys.modules)"
    script = f"import sys, chainrule; assert 'sklearn' not in sys.modules; {asked}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "True"


def test_without_scikit_learn_the_name_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import chainrule\n"
        "try: chainrule.MLPClassifier\n"
        "except chainrule.MissingExtraError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert "pip install 'chainrule[sklearn]'" in done.stdout


def test_before_scikit_learn_1_9_only_its_callbacks_are_missing() -> None:
    script = (
        "import sys, sklearn.compose, sklearn.model_selection, chainrule as cr\n"
        "theirs = sys.modules.get('sklearn.callback'); sys.modules['sklearn.callback'] = None\n"
        "cr.MLPClassifier; sys.modules['sklearn.callback'] = theirs\n"  # which scikit-learn 1.9 itself needs
        "X, y = [[0.0], [1.0], [2.0], [3.0]], list('aabb')\n"
        "est = cr.MLPClassifier(max_iter=2).fit(X, y, [1.0, 2.0, 1.0, 1.0])\n"
        "print(len(est.predict(X)))\n"
        "for wrong in (lambda: est.set_callbacks(print), lambda: est.fit(X, y, [0.0] * 4)):\n"
        "    try: wrong()\n"
        "    except (cr.ChainruleError, ValueError) as error: print(error)"
    )
    command = [sys.executable, "-W", "ignore", "-c", script]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
    assert said[0] == "4"
    assert said[1].startswith("set_callbacks needs scikit-learn 1.9 or newer")
    assert said[2] == "Sample weights must contain at least one non-zero number."


def test_weights_are_read_only_and_can_be_replaced() -> None:
    est = cr.MLPClassifier(max_iter=2, random_state=0).fit(DIGITS, DIGIT)
    other = cr.MLPClassifier(max_iter=2, random_state=1).fit(DIGITS, DIGIT)
    with pytest.raises(ValueError, match="read-only"):
        est.coefs_[0][0, 0] = 1.0
    est.coefs_, est.intercepts_ = other.coefs_, other.intercepts_
    np.testing.assert_array_equal(est.predict_proba(DIGITS), other.predict_proba(DIGITS))
    with pytest.raises(cr.DataError, match="expected arrays of shapes"):
        est.coefs_ = other.coefs_[:1]


def test_inputs_are_never_written() -> None:
    X, y, weight = DIGITS.copy(), DIGIT.copy(), np.ones(330)
    for array in (X, y, weight):
        array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cr.MLPClassifier(max_iter=2, early_stopping=True).fit(X, y, sample_weight=weight).partial_fit(X, y)
