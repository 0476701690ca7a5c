"""Losses, optimizers, schedules and clips of estimators, and what is said where they diverge."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from small_estimators import CLASSES, NUMBERS, PAIRS, X, base, classifier, regressor, same, theta

import chainrule as cr

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def one_step(**settings: Any) -> cr.MLPRegressor:
    """One step of plain gradient descent on all examples, with nothing but the loss to descend."""
    return regressor(**{"solver": cr.SGD(1.0), "max_iter": 1, "batch_size": 90, "alpha": 0.0, **settings})


def start(estimator: Any, y: np.ndarray) -> np.ndarray:
    """The weights that a training run of this estimator starts from."""
    return theta(base.clone(estimator).set_params(solver=cr.SGD(0.0), max_iter=1).fit(X, y))


# --------------------------------------------------------------------------------------------- losses, steps, and rates


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
