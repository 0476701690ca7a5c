"""What scikit-learn's users asked for and did not get: each test fails where the feature is silently ignored."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from conftest import Platform, find_library

import chainrule as cr

find_library("scikit-learn", "sklearn")
sparse = find_library("scipy", "scipy.sparse")
metrics = find_library("scikit-learn", "sklearn.metrics")
base = find_library("scikit-learn", "sklearn.base")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(1905)
X = RNG.normal(size=(90, 4))
NUMBERS = X[:, 0] * 2.0 - X[:, 1] ** 2 + 0.3 * RNG.normal(size=90)
PAIRS = np.stack([NUMBERS, np.sin(X[:, 2])], axis=1)
COUNTS = RNG.poisson(np.exp(0.5 * X[:, 0])).astype(float)
SIDES = (NUMBERS > -0.5).astype(int)
CLASSES = np.digitize(X[:, 0] + X[:, 1], [-0.5, 0.6])
WEIGHT = RNG.uniform(0.2, 2.0, 90)
LABELS = np.stack([NUMBERS > 0, X[:, 2] > 0], axis=1).astype(int)
X_VAL, NUMBERS_VAL, CLASSES_VAL = X[60:], NUMBERS[60:], CLASSES[60:]
for _array in (X, NUMBERS, PAIRS, COUNTS, SIDES, CLASSES, WEIGHT):
    _array.flags.writeable = False  # so every test here fails if an estimator writes to them

USUAL: dict[str, Any] = {"hidden_layer_sizes": (6, 5), "max_iter": 4, "batch_size": 16, "random_state": 7}


def classifier(**settings: Any) -> cr.MLPClassifier:
    return cr.MLPClassifier(**{**USUAL, **settings})


def regressor(**settings: Any) -> cr.MLPRegressor:
    return cr.MLPRegressor(**{**USUAL, **settings})


def one_step(**settings: Any) -> cr.MLPRegressor:
    """One step of plain gradient descent on all examples, with nothing but the loss to descend."""
    return regressor(**{"solver": cr.SGD(1.0), "max_iter": 1, "batch_size": 90, "alpha": 0.0, **settings})


def theta(estimator: Any) -> np.ndarray:
    return np.concatenate([np.ravel(np.asarray(a)) for a in (*estimator.coefs_, *estimator.intercepts_)])


def start(estimator: Any, y: np.ndarray) -> np.ndarray:
    """The weights that a training run of this estimator starts from."""
    return theta(base.clone(estimator).set_params(solver=cr.SGD(0.0), max_iter=1).fit(X, y))


def same(a: Any, b: Any) -> bool:
    """Whether two estimators are one to the last bit."""
    return np.array_equal(theta(a), theta(b))


def relu(z: np.ndarray) -> np.ndarray:
    return np.maximum(z, 0.0)


def forward(estimator: Any, functions: Sequence[Callable[[np.ndarray], np.ndarray]]) -> list[np.ndarray]:
    """The activations of each layer by hand."""
    a, made = X, []
    for W, b, g in zip(estimator.coefs_, estimator.intercepts_, functions, strict=True):
        a = g(a @ W + b)
        made.append(a)
    return made


def linear(z: np.ndarray) -> np.ndarray:
    return z


# ------------------------------------------------------------------------------------------------------- class weights


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["alone", "times sample_weight"])
def test_class_weights_are_sample_weights_by_label(weight: np.ndarray | None) -> None:
    labels = np.asarray(["ash", "birch", "cedar"])[CLASSES]
    by_class = np.asarray([1.0, 5.0, 0.5])[CLASSES]
    got = classifier(class_weight={"birch": 5.0, "cedar": 0.5}).fit(X, labels, weight)  # ash weighs 1
    want = classifier().fit(X, labels, by_class if weight is None else by_class * weight)
    assert same(got, want)
    assert not same(got, classifier().fit(X, labels, weight))


def test_balanced_class_weights_are_inverse_to_the_frequencies() -> None:
    by_class = 90 / (3 * np.bincount(CLASSES))
    got, want = classifier(class_weight="balanced").fit(X, CLASSES), classifier().fit(X, CLASSES, by_class[CLASSES])
    np.testing.assert_allclose(theta(got), theta(want), rtol=1e-12)
    assert not same(got, classifier().fit(X, CLASSES))


def test_partial_fit_takes_class_weights_by_label_and_refuses_balanced_ones() -> None:
    got, want = classifier(class_weight={0: 3.0}), classifier()
    got.partial_fit(X, CLASSES, classes=[0, 1, 2])
    want.partial_fit(X, CLASSES, np.where(CLASSES == 0, 3.0, 1.0), classes=[0, 1, 2])
    assert same(got, want)
    with pytest.raises(ValueError, match="balanced"):
        classifier(class_weight="balanced").partial_fit(X, CLASSES, classes=[0, 1, 2])


def test_partial_fit_takes_class_weights_where_a_weighed_class_is_not_among_the_rows() -> None:
    got, few = classifier(class_weight={0: 1.0, 2: 3.0}), CLASSES < 2
    got.partial_fit(X, CLASSES, classes=[0, 1, 2]).partial_fit(X[few], CLASSES[few])
    several = classifier(class_weight=[{1: 3.0}, {0: 2.0}]).partial_fit(X, LABELS, classes=[0, 1])
    several.partial_fit(X[few], np.zeros((few.sum(), 2)))


def test_class_weights_of_several_labels_a_row_are_multiplied() -> None:
    weight = np.where(LABELS[:, 0] == 1, 3.0, 1.0) * np.where(LABELS[:, 1] == 0, 0.5, 2.0)
    by_label = [{1: 3.0}, {0: 0.5, 1: 2}]
    want = classifier().fit(X, LABELS, weight)
    assert same(classifier(class_weight=by_label).fit(X, LABELS), want)
    assert same(classifier(class_weight=by_label).fit(X, sparse.csr_matrix(LABELS)), want)


@pytest.mark.parametrize("fit", ["adam", "lbfgs", "partial_fit"])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({1: -1}, "class_weight must be finite, >= 0 and not all 0, got -1 for class 1"),
        ({1: np.inf}, "class_weight must be finite, >= 0 and not all 0, got inf for class 1"),
        ({0: 2, 1: np.nan}, "class_weight must be finite, >= 0 and not all 0, got nan for class 1"),
        ({0: 0, 1: 0.0, 2: 0}, "class_weight must be finite, >= 0 and not all 0, got 0 for every class"),
        ({0: "abc"}, "class_weight of class 0 must be a number, got 'abc'"),
        ({0: None}, "class_weight of class 0 must be a number, got None"),
        ({0: np.timedelta64(1, "s")}, r"class_weight of class 0 must be a number, got np\.timedelta64\(1,'s'\)"),
        ({3: 1.0}, r"class_weight must name labels among \[0, 1, 2\], got \[3\] too"),
        ([{1: 1.0}] * 3, "class_weight must be a dict by label, or 'balanced'"),
    ],
    ids=str,
)
def test_class_weights_are_checked_before_training(given: Any, message: str, fit: str) -> None:
    solver = "lbfgs" if fit == "lbfgs" else "adam"
    estimator = classifier(class_weight=given, **({"batch_size": "auto"} if fit == "lbfgs" else {}), solver=solver)
    train = {"partial_fit": lambda: estimator.partial_fit(X, CLASSES, classes=[0, 1, 2])}
    with pytest.raises(cr.ConfigurationError, match=message):
        train.get(fit, lambda: estimator.fit(X, CLASSES))()


@pytest.mark.parametrize("fit", ["fit", "partial_fit"])
def test_class_weights_in_a_series_are_refused_by_their_kind(fit: str) -> None:
    series = find_library("pandas").Series([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="'class_weight' parameter of MLPClassifier must be an instance of 'dict'"):
        getattr(classifier(class_weight=series), fit)(X, CLASSES, **({} if fit == "fit" else {"classes": [0, 1, 2]}))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([{0: 1.0}, {1: -1.0}], "got -1 for class 1"),
        ([{0: 1.0}, {1: np.nan}], "got nan for class 1"),
        ([{0: 0, 1: 0}, {}], "got 0 for every class"),
        ([{0: "abc"}, {}], "class_weight of class 0 must be a number, got 'abc'"),
        ([{2: 1.0}, {}], r"labels among \[0, 1\], got \[2\] too"),
        ([{1: 1.0}], r"a list with a dict \{0: ..., 1: ...\} for each label"),
        ({1: 1.0}, r"a list with a dict \{0: ..., 1: ...\} for each label"),
    ],
    ids=str,
)
def test_so_are_those_of_several_labels_a_row(given: Any, message: str) -> None:
    with pytest.raises(cr.ConfigurationError, match=message):
        classifier(class_weight=given).fit(X, LABELS)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_weights_that_leave_no_row_are_refused(solver: str) -> None:
    estimator = classifier(class_weight={0: 0.0}, solver=solver, batch_size="auto")
    with pytest.raises(cr.DataError, match="class_weight leaves every row the weight 0"):
        estimator.fit(X, CLASSES, CLASSES == 0)
    estimator.set_params(solver="adam").partial_fit(X, CLASSES, classes=[0, 1, 2])
    before = theta(estimator)
    np.testing.assert_array_equal(theta(estimator.partial_fit(X[CLASSES == 0], CLASSES[CLASSES == 0])), before)


# --------------------------------------------------------------------------------------------------------- the network


def test_each_hidden_layer_has_an_activation_of_its_own() -> None:
    for given in (["tanh", "relu"], ("tanh", cr.ReLU())):
        estimator = regressor(activation=given).fit(X, NUMBERS)
        *_, output = forward(estimator, (np.tanh, relu, linear))
        np.testing.assert_allclose(estimator.predict(X), output[:, 0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_an_activation_of_your_own_trains_like_the_built_in_one(solver: str) -> None:
    own = cr.Activation(lambda xp, z: xp.tanh(z), lambda xp, z: 1.0 - xp.tanh(z) ** 2, name="mine")
    settings = {"solver": solver, "batch_size": "auto"}
    got, want = (regressor(activation=g, **settings).fit(X, NUMBERS) for g in (own, cr.Tanh()))
    np.testing.assert_allclose(theta(got), theta(want), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("parameter", "value"), [("activation", np.asarray(["tanh", "relu"])), ("dropout", np.asarray([0.1, 0.5]))]
)
def test_what_is_given_for_each_layer_may_be_an_array(parameter: str, value: np.ndarray) -> None:
    got, want = (regressor(**{parameter: given}).fit(X, NUMBERS) for given in (value, value.tolist()))
    assert same(got, want)


def test_the_output_has_the_activation_that_is_asked_for() -> None:
    estimator = regressor(output_activation="softplus", activation="tanh").fit(X, COUNTS)
    *_, output = forward(estimator, (np.tanh, np.tanh, lambda z: np.logaddexp(0.0, z)))
    np.testing.assert_allclose(estimator.predict(X), output[:, 0], rtol=1e-12)
    assert estimator.out_activation_ == "softplus"
    assert estimator.check_gradients(X[:5], COUNTS[:5]).passed  # it is trained through as well


def test_dropout_changes_training_and_not_predictions() -> None:
    estimator = regressor(dropout=0.5).fit(X, NUMBERS)
    assert not same(estimator, regressor().fit(X, NUMBERS))
    *_, output = forward(estimator, (relu, relu, linear))
    for _ in range(2):
        np.testing.assert_allclose(estimator.predict(X), output[:, 0], rtol=1e-12, atol=1e-12)


def test_dropout_has_a_rate_for_each_layer() -> None:
    first, second, both = (regressor(dropout=rates).fit(X, NUMBERS) for rates in ([0.5, 0.0], [0.0, 0.5], [0.5, 0.5]))
    assert not same(first, second)
    assert not same(first, both)
    assert same(both, regressor(dropout=0.5).fit(X, NUMBERS))
    assert same(regressor(dropout=[0.0, 0.0]).fit(X, NUMBERS), regressor().fit(X, NUMBERS))


def test_layer_normalisation_gives_each_row_mean_0_and_deviation_1() -> None:
    untrained = regressor(normalization="layer", activation="identity", solver=cr.SGD(0.0), max_iter=1)
    hidden = untrained.fit(X, NUMBERS).transform(X)
    np.testing.assert_allclose(hidden.mean(axis=1), 0.0, atol=1e-12)
    np.testing.assert_allclose(hidden.std(axis=1), 1.0, atol=1e-3)


def test_batch_normalisation_predicts_each_row_by_itself_at_any_scale_of_x() -> None:
    estimator = regressor(normalization="batch", max_iter=200, n_iter_no_change=np.inf).fit(X, NUMBERS)
    alone = np.concatenate([estimator.predict(X[i : i + 1]) for i in range(9)])
    np.testing.assert_allclose(alone, estimator.predict(X)[:9], rtol=1e-12)
    assert all(not intercept.any() for intercept in estimator.intercepts_[:-1])
    scaled = regressor(normalization="batch", solver="sgd", alpha=0.0, max_iter=1, batch_size=90)
    np.testing.assert_allclose(scaled.fit(1e3 * X, NUMBERS).loss_, scaled.fit(X, NUMBERS).loss_, rtol=1e-3)


def test_the_biases_of_a_normalised_network_can_be_assigned_to_themselves() -> None:
    estimator = regressor(normalization="batch").fit(X, NUMBERS)
    estimator.intercepts_ = estimator.intercepts_


def test_an_initializer_draws_the_weights_and_biases_start_at_0() -> None:
    still = {"solver": cr.SGD(0.0), "max_iter": 1, "hidden_layer_sizes": (200, 200)}
    estimator = regressor(weight_init="he_normal", **still).fit(X, NUMBERS)
    assert abs(np.std(estimator.coefs_[1]) / np.sqrt(2 / 200) - 1.0) < 0.02
    assert not any(intercept.any() for intercept in estimator.intercepts_)
    constant = regressor(weight_init=cr.Constant(0.25), **still).fit(X, NUMBERS)
    assert all((coefs == 0.25).all() for coefs in constant.coefs_)


# -------------------------------------------------------------------------------------------- losses, steps, and rates


@pytest.mark.parametrize(
    ("loss", "q"), [("absolute_error", 0.5), ("quantile", 0.5), (cr.Quantile(0.9), 0.9), (cr.Quantile(0.1), 0.1)]
)
def test_a_loss_for_quantiles_learns_the_quantile(loss: Any, q: float) -> None:
    shape = {"hidden_layer_sizes": (), "batch_size": 90, "max_iter": 2000, "n_iter_no_change": np.inf}
    estimator = regressor(loss=loss, solver=cr.SGD(cr.InverseScaling(1.0)), **shape).fit(np.zeros((90, 1)), NUMBERS)
    answer = estimator.predict(np.zeros((1, 1)))[0]
    assert np.quantile(NUMBERS, q - 0.03) <= answer <= np.quantile(NUMBERS, q + 0.03)


def test_huber_is_squared_error_near_0_and_absolute_error_far_out() -> None:
    near, far = (regressor(loss=cr.Huber(delta), solver=cr.SGD(0.1)).fit(X, NUMBERS) for delta in (1e6, 1e-9))
    np.testing.assert_allclose(theta(near), theta(regressor(solver=cr.SGD(0.1)).fit(X, NUMBERS)), rtol=1e-12)
    assert abs(theta(far) - start(far, NUMBERS)).max() < 1e-4
    assert not same(near, regressor(loss="huber", solver=cr.SGD(0.1)).fit(X, NUMBERS))


def test_a_loss_of_your_own_trains_like_the_built_in_one() -> None:
    def half_square(xp: Any, z: Any, y: Any) -> tuple[Any, Any]:
        return 0.5 * xp.sum((z - y) * (z - y), axis=-1, keepdims=True), z - y

    for y in (NUMBERS, PAIRS):
        assert same(regressor(loss=cr.Loss(half_square)).fit(X, y), regressor().fit(X, y))


def test_label_smoothing_keeps_a_classifier_from_certainty() -> None:
    sure = {"max_iter": 300, "learning_rate_init": 0.02, "alpha": 0.0, "n_iter_no_change": np.inf}
    smooth = classifier(loss=cr.SoftmaxCrossEntropy(label_smoothing=0.3), **sure).fit(X, CLASSES)
    assert classifier(**sure).fit(X, CLASSES).predict_proba(X).max() > 0.99
    assert np.median(smooth.predict_proba(X).max(axis=1)) == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("y", [NUMBERS > 0, NUMBERS.clip(0, 1)], ids=["zeros and ones", "fractions"])
def test_a_regressor_answers_numbers_whatever_its_loss(y: np.ndarray) -> None:
    fractions = regressor(loss=cr.SigmoidCrossEntropy()).fit(X, y.astype(float)).predict(X)
    assert ((fractions > 0) & (fractions < 1)).all()


@pytest.mark.parametrize(
    ("name", "solver"), [("rmsprop", cr.RMSProp), ("lion", cr.Lion), ("adamw", cr.AdamW), ("adagrad", cr.Adagrad)]
)
def test_a_solver_may_be_any_optimizer_by_name_or_object(name: str, solver: Any) -> None:
    by_name = regressor(solver=name, learning_rate_init=0.01).fit(X, NUMBERS)
    assert same(by_name, regressor(solver=solver(0.01)).fit(X, NUMBERS))
    assert not same(by_name, regressor(solver=solver(0.02)).fit(X, NUMBERS))
    assert not same(by_name, regressor(learning_rate_init=0.01).fit(X, NUMBERS))


@pytest.mark.parametrize("solver", ["adam", "sgd", "rmsprop"])
def test_a_schedule_rules_the_rate_of_a_named_solver(solver: str) -> None:
    whole = {"solver": solver, "momentum": 0.0, "batch_size": 90}
    vanishing = {"learning_rate": cr.StepDecay(0.01, every=1, factor=1e-300), **whole}
    after_one, after_three = (regressor(max_iter=n, **vanishing).fit(X, NUMBERS) for n in (1, 3))
    np.testing.assert_allclose(theta(after_three), theta(after_one), rtol=0, atol=1e-15)
    assert same(after_one, regressor(max_iter=1, learning_rate_init=0.01, **whole).fit(X, NUMBERS))
    assert not same(after_three, regressor(max_iter=3, learning_rate_init=0.01, **whole).fit(X, NUMBERS))
    assert after_three.model_.history["learning_rate"] == pytest.approx([0.01, 1e-302, 0.0], abs=1e-300)


def test_a_schedule_without_a_length_lasts_for_max_iter_epochs() -> None:
    rates = regressor(learning_rate=cr.CosineDecay(0.1)).fit(X, NUMBERS).model_.history["learning_rate"]
    np.testing.assert_allclose(rates, 0.05 * (1.0 + np.cos(np.pi * np.arange(1, 5) / 4)), atol=1e-15)


def test_clipping_bounds_the_step() -> None:
    free, by_norm, by_value = (one_step(clip=c).fit(X, NUMBERS) for c in (None, cr.ClipNorm(1e-3), cr.ClipValue(1e-3)))
    before = start(free, NUMBERS)
    gradient = before - theta(free)
    np.testing.assert_allclose(before - theta(by_norm), gradient * (1e-3 / np.linalg.norm(gradient)), atol=1e-15)
    np.testing.assert_allclose(before - theta(by_value), gradient.clip(-1e-3, 1e-3), atol=1e-15)


# ---------------------------------------------------------------------------------------------------------- validation


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


class Models:
    """A callback that keeps the model of every epoch."""

    def on_train_begin(self, run: Any) -> None:
        self.after: list[cr.Model] = []

    def on_epoch_end(self, run: Any, record: Any) -> None:
        self.after.append(run.model())


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


# ----------------------------------------------------------------------------------------------------------- callbacks


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


# --------------------------------------------------------------------------------------------------------- partial_fit


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


# ---------------------------------------------------------------------------------------- looking into a fitted network


def test_transform_gives_the_hidden_layers_as_computed_by_hand() -> None:
    estimator = classifier(activation=["tanh", "relu"]).fit(X, CLASSES)
    first, second, _ = forward(estimator, (np.tanh, relu, linear))
    for layer, want in ((0, first), (1, second), (-1, second), (-2, first)):
        np.testing.assert_allclose(estimator.transform(X, layer=layer), want, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(estimator.transform(sparse.csr_array(X)), second, rtol=1e-12, atol=1e-12)
    assert len(estimator.get_feature_names_out()) == estimator.transform(X).shape[1] == 5
    for layer in (2, -3):
        with pytest.raises(IndexError, match="hidden layers"):
            estimator.transform(X, layer=layer)


def test_transform_answers_in_frames_that_are_asked_for() -> None:
    find_library("pandas")
    frame = classifier().set_output(transform="pandas").fit(X, CLASSES).transform(X)
    assert list(frame.columns) == [f"mlpclassifier{i}" for i in range(5)]


def test_frames_name_the_last_hidden_layer_and_refuse_another() -> None:
    find_library("pandas")
    estimator = classifier().set_output(transform="pandas").fit(X, CLASSES)
    assert estimator.transform(X).shape == (90, 5)
    with pytest.raises(cr.ConfigurationError, match="names the features of the last hidden layer"):
        estimator.transform(X, layer=0)


@pytest.mark.parametrize("settings", [{}, {"dropout": 0.3}, {"normalization": "batch"}, {"loss": "huber"}], ids=str)
def test_check_gradients_passes(settings: dict[str, Any]) -> None:
    estimator = regressor(activation="tanh", **settings).fit(X, PAIRS)
    assert estimator.check_gradients(X[:6], PAIRS[:6], WEIGHT[:6]).passed


def test_check_gradients_catches_a_wrong_derivative() -> None:
    wrong = cr.Activation(lambda xp, z: xp.tanh(z), lambda xp, z: 1.0 - xp.tanh(z))
    assert not regressor(activation=wrong).fit(X, NUMBERS).check_gradients(X[:6], NUMBERS[:6]).passed


# ----------------------------------------------------------------------------------------------------------- divergence


def diverging(**settings: Any) -> cr.MLPRegressor:
    return regressor(solver="sgd", learning_rate_init=1e10, **settings)


def test_divergence_says_to_scale_the_inputs() -> None:
    with pytest.raises(ValueError, match=r"non-finite parameter weights.*scale X to mean 0"):
        diverging().fit(1e6 * X, NUMBERS)


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_under_early_stopping_divergence_keeps_the_best_weights() -> None:
    with pytest.warns(RuntimeWarning, match="non-finite"):
        estimator = diverging(early_stopping=True, batch_size=81).fit(1e6 * X, NUMBERS)
    assert np.isnan(estimator.validation_scores_[-1])
    assert np.isfinite(theta(estimator)).all()


def test_divergence_can_come_from_another_process() -> None:
    with pytest.raises(cr.DivergenceError) as caught:
        diverging().fit(1e6 * X, NUMBERS)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


# ------------------------------------------------------------------------------------------------------ other libraries


@pytest.mark.parametrize("id", ["torch", "jax-jit", "strictest-float32"])
def test_training_runs_where_it_is_told_and_answers_where_it_is_asked(
    id: str, open_platform: Callable[..., Platform]
) -> None:
    platform = open_platform(id)
    X32, library = X.astype(np.float32), platform.backend.library
    want = regressor().fit(X32, NUMBERS)
    told = regressor(backend=platform.spec.library, device=platform.spec.device).fit(X32, NUMBERS)
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
