"""Validation sets of one's own, scorers and early stopping of estimators."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from conftest import find_library
from small_estimators import (
    CLASSES,
    CLASSES_VAL,
    COUNTS,
    LABELS,
    NUMBERS,
    NUMBERS_VAL,
    PAIRS,
    SIDES,
    X_VAL,
    Models,
    X,
    classifier,
    regressor,
    same,
    sparse,
)

import chainrule as cr

metrics = find_library("scikit-learn", "sklearn.metrics")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_validation_set_of_your_own_is_measured_and_not_trained_on(early_stopping: bool) -> None:
    settings = {"early_stopping": early_stopping, "max_iter": 6}
    estimator = regressor(**settings).fit(X[:60], NUMBERS[:60], X_val=X_VAL, y_val=NUMBERS_VAL)
    longest = regressor(max_iter=6).fit(X[:60], NUMBERS[:60])
    assert estimator.loss_curve_ == longest.loss_curve_
    assert estimator.t_ == 6 * 60  # no row was held out
    assert len(estimator.validation_scores_) == len(estimator.validation_loss_curve_) == 6
    scores = estimator.validation_scores_
    assert estimator.score(X_VAL, NUMBERS_VAL) == (max(scores) if early_stopping else scores[-1])


def test_weights_of_the_validation_set_weigh_its_score_and_its_loss() -> None:
    def fit(weight: Any) -> Any:
        return regressor().fit(X[:60], NUMBERS[:60], X_val=X_VAL, y_val=NUMBERS_VAL, sample_weight_val=weight)

    first, whole = np.arange(30) < 10, fit(None)
    some, part = fit(first * 1.0), regressor().fit(X[:60], NUMBERS[:60], X_val=X_VAL[:10], y_val=NUMBERS_VAL[:10])
    np.testing.assert_allclose(some.validation_scores_, part.validation_scores_, rtol=1e-12)
    np.testing.assert_allclose(some.validation_loss_curve_, part.validation_loss_curve_, rtol=1e-12)
    assert some.validation_loss_curve_ != whole.validation_loss_curve_
    assert same(some, whole)


def test_the_validation_loss_is_that_of_the_model_after_each_epoch() -> None:
    kept = Models()
    cl = classifier(callbacks=[kept]).fit(X[:60], CLASSES[:60], X_val=X_VAL, y_val=CLASSES_VAL)
    losses = [metrics.log_loss(CLASSES_VAL, model.predict_proba(X_VAL)) for model in kept.after]
    np.testing.assert_allclose(cl.validation_loss_curve_, losses, rtol=1e-12)
    rg = regressor(callbacks=[kept]).fit(X[:60], PAIRS[:60], X_val=X_VAL, y_val=PAIRS[60:])
    halves = [0.5 * metrics.mean_squared_error(PAIRS[60:], model.predict(X_VAL)) for model in kept.after]
    np.testing.assert_allclose(rg.validation_loss_curve_, halves, rtol=1e-12)


def test_the_validation_loss_of_counts_is_half_their_deviance() -> None:
    kept = Models()
    estimator = regressor(loss="poisson", callbacks=[kept]).fit(X[:60], COUNTS[:60], X_val=X_VAL, y_val=COUNTS[60:])
    halves = [0.5 * metrics.mean_poisson_deviance(COUNTS[60:], model.predict(X_VAL)) for model in kept.after]
    np.testing.assert_allclose(estimator.validation_loss_curve_, halves, rtol=1e-12)


def test_early_stopping_gives_back_the_best_weights() -> None:
    kept = Models()
    overfits = {"learning_rate_init": 0.1, "max_iter": 60, "early_stopping": True, "n_iter_no_change": 4}
    estimator = regressor(callbacks=[kept], **overfits).fit(X[:60], NUMBERS[:60], X_val=X_VAL, y_val=NUMBERS_VAL)
    best = int(np.argmax(estimator.validation_scores_))
    assert best < estimator.n_iter_ - 1 < 59
    assert estimator.stopped_ is not None
    assert "did not improve" in estimator.stopped_
    np.testing.assert_array_equal(estimator.predict(X), kept.after[best].predict(X))
    assert estimator.best_validation_score_ == estimator.score(X_VAL, NUMBERS_VAL)


def test_early_stopping_goes_by_any_scorer() -> None:
    asked: list[int] = []

    def scorer(estimator: Any, X: Any, y: Any) -> float:
        asked.append(len(X))
        return float(len(asked) == 2)  # the second epoch is the best

    kept = Models()
    by_function = classifier(early_stopping=True, scoring=scorer, callbacks=[kept]).fit(X, CLASSES)
    assert asked == [9] * 4
    assert by_function.validation_scores_ == [0.0, 1.0, 0.0, 0.0]
    np.testing.assert_array_equal(by_function.predict_proba(X), kept.after[1].predict_proba(X))
    data = {"X_val": X_VAL, "y_val": CLASSES_VAL}
    by_name = classifier(early_stopping=True, scoring="neg_log_loss").fit(X[:60], CLASSES[:60], **data)
    np.testing.assert_allclose(by_name.validation_scores_, -np.asarray(by_name.validation_loss_curve_), rtol=1e-12)
    by_loss = classifier(early_stopping=True, scoring="loss").fit(X[:60], CLASSES[:60], **data)
    np.testing.assert_allclose(by_loss.validation_scores_, by_name.validation_scores_, rtol=1e-12)


# Of a class there are two rows of 90, of which nine are held out.
FEW = {
    "three classes": np.where(np.arange(90) % 45 == 44, 2, SIDES),
    "two classes": np.asarray(["no", "yes"])[(np.arange(90) % 45 == 44).astype(int)],
    "labels": np.stack([SIDES, np.arange(90) % 45 == 44, X[:, 2] > 0], axis=1).astype(int),
}


NEEDS_ALL = [
    ("three classes", "roc_auc_ovr"),
    ("three classes", "neg_log_loss"),
    ("two classes", "roc_auc"),
    ("two classes", "neg_log_loss"),
    ("labels", "roc_auc"),
]


@pytest.mark.parametrize(("kind", "scoring"), NEEDS_ALL)
def test_a_scorer_that_needs_all_classes_gets_them(kind: str, scoring: str) -> None:
    y = FEW[kind]
    for seed in range(8):
        estimator = classifier(early_stopping=True, scoring=scoring, random_state=seed, max_iter=1)
        assert np.isfinite(estimator.fit(X, y).best_validation_score_)
    for _ in range(3):  # by the split of the fit before, and by one of other rows
        estimator.partial_fit(X, y)
    assert np.isfinite(estimator.partial_fit(X[1:], y[1:]).best_validation_score_)


def test_of_two_rows_of_a_class_one_is_trained_on() -> None:
    seen: list[int] = []

    def scorer(estimator: Any, X: Any, y: np.ndarray) -> float:
        seen.append(int((y == 2).sum()))
        return 0.0

    settings = {"early_stopping": True, "scoring": scorer, "validation_fraction": 0.5, "max_iter": 1}
    for seed in range(12):
        classifier(**{**settings, "random_state": seed}).fit(X, FEW["three classes"])
    assert seen == [1] * 12


def test_where_a_scorer_is_given_the_rows_are_those_without_it_but_for_classes_that_are_missing() -> None:
    plain, scored = (classifier(early_stopping=True, scoring=scoring).fit(X, CLASSES) for scoring in (None, "accuracy"))
    assert same(plain, scored)


LONE = np.where(np.arange(90) == 44, 2, SIDES)


@pytest.mark.parametrize(
    ("y", "validation", "missing"),
    [
        (LONE, {}, "class 2"),
        (CLASSES, {"X_val": X[CLASSES < 2], "y_val": CLASSES[CLASSES < 2]}, "class 2"),
        (np.asarray(["no", "yes"])[SIDES], {"X_val": X[SIDES == 1], "y_val": ["yes"] * int(SIDES.sum())}, "class 'no'"),
        (LABELS, {"X_val": X[LABELS[:, 1] == 1], "y_val": LABELS[LABELS[:, 1] == 1]}, "class 0 in column 1"),
    ],
    ids=["one row", "validation set", "two classes", "labels"],
)
def test_a_scorer_that_lacks_a_class_is_refused_before_training(
    y: np.ndarray, validation: dict[str, Any], missing: str
) -> None:
    scoring = "roc_auc_ovr" if y.ndim == 1 and y.dtype.kind == "i" else "roc_auc"
    estimator = classifier(early_stopping=True, scoring=scoring)
    with pytest.raises(cr.DataError, match=rf"^scoring='{scoring}' cannot be .* no row of {missing} \("):
        estimator.fit(X, y, **validation)
    assert not hasattr(estimator, "model_")
    with pytest.raises(cr.DataError, match="the score is no number"):
        estimator.set_params(scoring=lambda estimator, X, y: np.nan).fit(X, y, **validation)
    for other in ("accuracy", "loss", None):
        estimator.set_params(scoring=other).fit(X, y, **validation)


def unknown(estimator: Any, X: Any, y: Any) -> float:
    return float("nan")


class Rates:
    """A callback that notes what the rate was multiplied by."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_epoch_begin(self, run: Any) -> None:
        self.seen.append(run.rate_scale)


NOTHING: dict[str, tuple[dict[str, Any], slice, str]] = {
    "no number": ({"scoring": unknown}, slice(60, 90), "was no number in any epoch: .* the last weights are kept"),
    "one row": ({"scoring": "r2"}, slice(60, 61), "was no number in any epoch: .* the last weights are kept"),
    "a constant": ({}, slice(60, 90), r"was 0 in every epoch, as R\^2 of a constant target is: .* the first weights"),
    "a constant of a scorer": ({"scoring": "r2"}, slice(60, 90), r"was 0 in every epoch, as R\^2"),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("case", NOTHING)
def test_early_stopping_says_that_it_went_by_nothing(case: str, solver: str) -> None:
    settings, rows, says = NOTHING[case]
    held = {"X_val": X[rows], "y_val": np.full(90, 0.5)[rows] if "constant" in case else NUMBERS[rows]}
    settings = {
        "early_stopping": True,
        "n_iter_no_change": 3,
        "solver": solver,
        "learning_rate": "adaptive",
        **settings,
    }
    rates = Rates()
    estimator = regressor(**settings, max_iter=20, callbacks=[rates])
    with pytest.warns(UserWarning, match=f"the validation score {says}.*or scoring='loss'") as caught:
        estimator.fit(X, NUMBERS, **held)
    assert len([w for w in caught if "validation score" in str(w.message)]) == 1
    assert estimator.n_iter_ == 4 + ("constant" in case)
    assert estimator.stopped_ is not None
    assert set(rates.seen) == {1.0}
    with pytest.warns(UserWarning, match=f"the validation score {says}"):
        regressor(**{**settings, "max_iter": 2}).fit(X, NUMBERS, **held)
    calls = regressor(**settings)
    for _ in range(estimator.n_iter_ - 1):
        calls.partial_fit(X, NUMBERS, **held)
    with pytest.warns(UserWarning, match=f"the validation score {says}"):
        calls.partial_fit(X, NUMBERS, **held)


def test_a_score_that_is_a_number_now_and_then_goes_on() -> None:
    scores = iter([0.5, float("nan"), 0.6, float("nan"), float("nan"), 0.1])
    estimator = regressor(early_stopping=True, scoring=lambda *_: next(scores), n_iter_no_change=2, max_iter=6)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", "Stochastic Optimizer: Maximum")
        estimator.fit(X, NUMBERS)
    assert (estimator.n_iter_, estimator.best_validation_score_) == (6, 0.6)


def test_a_scorer_of_three_arguments_goes_with_class_weights() -> None:
    def scorer(estimator: Any, X: Any, y: Any) -> float:
        return float(estimator.score(X, y))

    classifier(early_stopping=True, scoring=scorer, class_weight="balanced").fit(X, CLASSES)


def test_a_sparse_validation_set_goes_with_dense_rows() -> None:
    got = regressor().fit(X, NUMBERS, X_val=sparse.csr_array(X_VAL), y_val=NUMBERS_VAL)
    want = regressor().fit(X, NUMBERS, X_val=X_VAL, y_val=NUMBERS_VAL)
    np.testing.assert_allclose(got.validation_scores_, want.validation_scores_, rtol=1e-9)


@pytest.mark.parametrize("form", ["coo_matrix", "bsr_matrix", "dia_matrix"])
@pytest.mark.filterwarnings("ignore:Constructing a DIA matrix")
def test_early_stopping_holds_out_rows_of_every_sparse_format(form: str) -> None:
    X_sparse = getattr(sparse, form)(X.clip(0))
    assert same(*(regressor(early_stopping=True).fit(given, NUMBERS) for given in (X_sparse, X_sparse.tocsr())))


def test_a_fit_that_is_refused_leaves_the_fit_before_as_it_was() -> None:
    estimator = regressor().fit(X, NUMBERS)
    before = estimator.predict(X)
    with pytest.raises(ValueError, match="3 features"):
        estimator.fit(X, NUMBERS, X_val=X_VAL[:, :3], y_val=NUMBERS_VAL)
    np.testing.assert_array_equal(estimator.predict(X), before)
