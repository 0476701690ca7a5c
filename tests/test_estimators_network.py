"""The network of an estimator as scikit-learn's users asked for it, and a look into a fitted one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from conftest import find_library
from small_estimators import CLASSES, COUNTS, NUMBERS, PAIRS, WEIGHT, X, classifier, regressor, same, sparse, theta

import chainrule as cr

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


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


# ---------------------------------------------------------------------------------------------------------- the network


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
