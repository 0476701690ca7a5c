"""MLPClassifier and MLPRegressor against scikit-learn's own: the numbers."""

from __future__ import annotations

import importlib
import re
from typing import Any

import numpy as np
import pytest
from conftest import find_library
from side_by_side import DIGIT, DIGITS, NUMBER, NUMBERS, PROBLEMS, TARGETS, both, theirs
from sklearn.base import clone

import chainrule as cr

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
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
    assert got._fitted.progress.rate_scale == want._fitted.progress.rate_scale < 0.05
    np.testing.assert_array_equal(got.coefs_[0], want.coefs_[0])


def test_what_is_dropped_depends_on_the_random_state() -> None:
    keys = [
        cr.MLPClassifier(dropout=0.5, max_iter=1, random_state=seed)
        .fit(DIGITS, DIGIT)
        ._fitted.progress.state.key.tolist()
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


# --------------------------------------------------------------------------------------------------------------- L-BFGS


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
    monkeypatch.setattr("chainrule.estimators._lbfgs.BLOCK", 100)
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


def test_parameters_go_by_position_where_they_do_in_scikit_learn() -> None:
    classifier, regressor = cr.MLPClassifier((50, 20), "tanh"), cr.MLPRegressor("poisson", (50, 20), "tanh")
    for estimator, loss in ((classifier, "log_loss"), (regressor, "poisson")):
        assert (estimator.loss, estimator.hidden_layer_sizes, estimator.activation) == (loss, (50, 20), "tanh")
        assert clone(estimator).get_params() == estimator.get_params()
