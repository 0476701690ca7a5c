"""find_rate: the curve is the training's own, the proposal trains well, and what has no answer says so."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import Platform, find_library
from small_training import RNG, X, Y

import chainrule as cr
from chainrule.optimizers import find_optimizer
from chainrule.training._rate_finder import _end, _judge

RATES = 1e-6 * 1e7 ** (np.arange(200) / 199)


def find(network: Any = None, **options: Any) -> cr.RangeTest:
    network = cr.mlp([3, 4, 1]) if network is None else network
    return cr.find_rate(network, X, Y, **{"loss": "squared_error", "batch_size": 8, **options})


# ----------------------------------------------------------------------------------------------------------- the curve


def test_the_curve_is_gradient_descent_at_growing_rates() -> None:
    found = cr.find_rate(
        cr.mlp([3, 1], weight_init="zeros"), X, Y, loss="squared_error", optimizer="sgd", low=1e-3, high=1.0, steps=50,
        backend=cr.backend("numpy", dtype="float64"),
    )  # fmt: skip
    w, losses = np.zeros(4), []
    x = np.concatenate([X, np.ones((24, 1))], axis=1)
    for k in range(50):
        losses.append(np.mean((x @ w - Y) ** 2) / 2)
        w -= 1e-3 * 1000 ** (k / 49) * x.T @ (x @ w - Y) / 24
    np.testing.assert_allclose(found.rates, 1e-3 * 1000 ** (np.arange(50) / 49))
    np.testing.assert_allclose(found.losses, losses, rtol=1e-12)


@pytest.mark.parametrize("weights", [None, RNG.uniform(0.5, 2, size=24)])
def test_the_losses_are_those_of_the_batches_over_epochs(weights: Any) -> None:
    found = find(sample_weight=weights, low=1e-4, high=1e-1, steps=60, penalty=cr.Penalty(l2=0.1))
    growing = cr.Adam(cr.ExponentialDecay(1e-4, every=59, factor=1e3))
    history = cr.fit(
        cr.mlp([3, 4, 1]), X, Y, loss="squared_error", batch_size=8, sample_weight=weights, optimizer=growing,
        epochs=20, penalty=cr.Penalty(l2=0.1),
    ).history  # fmt: skip
    assert len(found.losses) == 60
    if weights is None:
        np.testing.assert_allclose(found.losses.reshape(20, 3).mean(axis=1), history["loss"], rtol=1e-5)
    else:  # a weighted mean lies between
        batches = found.losses.reshape(20, 3)
        assert (batches.min(axis=1) <= history["loss"]).all()
        assert (batches.max(axis=1) >= history["loss"]).all()


@pytest.mark.parametrize(
    "name", ["numpy-readonly", "numpy-fast", "strictest-float32", "torch", "jax-jit", "cupy-stand-in"]
)
def test_the_curve_is_the_same_everywhere(name: str, open_platform: Callable[..., Platform]) -> None:
    platform = open_platform(name)
    found = find(low=1e-4, high=1e-1, steps=51, backend=platform.backend)
    assert len(found.losses) == 51
    np.testing.assert_allclose(found.losses, find(low=1e-4, high=1e-1, steps=51).losses, rtol=2e-4)


def test_a_model_is_tested_from_its_own_weights_and_stays_as_it_is() -> None:
    model = cr.fit(cr.mlp([3, 4, 1]), X, Y, loss="squared_error", optimizer=cr.Adam(0.03), epochs=100)
    before = np.array(model.theta)
    found = cr.find_rate(model, X, Y)
    assert found.losses[0] == pytest.approx(model.evaluate(X, Y)["loss"], rel=1e-5)
    np.testing.assert_array_equal(model.theta, before)


def test_batches_of_an_iterable_and_frames_are_taken() -> None:
    batches = [(X[k : k + 8], Y[k : k + 8]) for k in (0, 8, 16)]
    net = cr.mlp([3, 4, 1])
    iterated = cr.find_rate(net, lambda: iter(batches), loss="squared_error", steps=60, high=0.1)
    assert len(iterated.losses) == 60
    listed = cr.find_rate(net, batches, loss="squared_error", steps=60, high=0.1)
    np.testing.assert_array_equal(iterated.losses, listed.losses)  # whose length is known
    frame = {name: X[:, k] for k, name in enumerate("abc")}
    np.testing.assert_array_equal(cr.find_rate(net, frame, Y, loss="squared_error").losses, find(batch_size=24).losses)


def test_batches_of_weight_0_have_no_loss() -> None:
    weights = np.zeros(24)
    weights[::12] = 1.0  # 2 of 24 batches
    found = find(sample_weight=weights, batch_size=1, steps=240, low=1e-4, high=1e-2)
    assert len(found.losses) == len(found.rates) == 20
    assert np.isfinite(found.losses).all()
    between = np.log(found.rates[1:] / found.rates[:-1]) / np.log(100) * 239
    np.testing.assert_allclose(between, between.round(), atol=1e-6)
    assert len(set(between.round())) > 2


def test_ctrl_c_ends_it() -> None:
    def batches() -> Iterator[Any]:
        for k in range(60):
            if k == 20:
                os.kill(os.getpid(), signal.SIGINT)
            yield X, Y

    with pytest.raises(KeyboardInterrupt):
        cr.find_rate(cr.mlp([3, 4, 1]), batches, loss="squared_error")


# -------------------------------------------------------------------------------------------------------- the proposal


def digits() -> tuple[Any, Any, Any, str]:
    find_library("scikit-learn", "sklearn")
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return cr.mlp([64, 32, 10]), X / 16.0, y, "softmax_cross_entropy"


def waves() -> tuple[Any, Any, Any, str]:
    X = np.random.default_rng(0).normal(size=(2000, 10))
    return cr.mlp([10, 32, 32, 1]), X, np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2], "squared_error"


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("problem", [digits, waves])
def test_the_proposal_reaches_what_the_best_rate_of_a_grid_reaches(problem: Any, optimizer: str) -> None:
    net, X, y, loss = problem()
    start = cr.fit(net, X, y, loss=loss, optimizer=cr.SGD(0.0), epochs=1).history[0]["loss"]

    def falls(rate: float) -> float:
        try:
            rule = replace(find_optimizer(optimizer), learning_rate=rate)
            model = cr.fit(net, X, y, loss=loss, optimizer=rule, epochs=10)
        except cr.DivergenceError:
            return 0.0
        return start - model.evaluate(X, y, metrics=[])["loss"]

    found = cr.find_rate(net, X, y, loss=loss, optimizer=optimizer)
    assert found.learning_rate is not None
    best = max(map(falls, [1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0]))
    assert falls(found.learning_rate) > 0.85 * best
    assert falls(found.learning_rate / 30) < 0.85 * best  # or any rate would do


def curve(fall: float, at: float, noise: float, seed: int = 0) -> np.ndarray:
    """A loss of 2 that falls by ``fall``, half of it at the rate ``at``, and explodes at a hundred times that."""
    down = fall / (1 + (at / RATES) ** 2)
    explodes = np.exp(np.clip(4 * np.log(RATES / (100 * at)), -50, 50))
    loss: np.ndarray = 2 - down + explodes + noise * np.random.default_rng(seed).normal(size=200)
    return loss


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("at", [1e-4, 1e-3, 1e-2])
def test_noise_and_spikes_do_not_move_the_proposal(at: float, seed: int) -> None:
    losses = curve(1.5, at, 0.1, seed)
    for spiked in ([], [1], [3, 30], [60, 90]):
        given = losses.copy()
        given[spiked] *= 3
        end = _end(given)
        assert RATES[end - 1] > 50 * at
        found = _judge(cr.Adam(), RATES[:end], given[:end], 200)
        assert found.learning_rate == pytest.approx(2 * at, rel=0.5)  # 4 / (1 + 4) of the fall
        assert found.low is not None
        assert found.high is not None
        assert found.low < found.learning_rate < found.high < 60 * at


@pytest.mark.parametrize("seed", range(5))
def test_noise_alone_is_no_answer(seed: int) -> None:
    found = _judge(cr.Adam(), RATES, curve(0.0, 1e-1, 0.5, seed)[:200], 200)
    assert found.learning_rate is found.low is found.high is found.optimizer is None
    assert "did not fall at any rate from 1.0e-06 to 1.0e+01 by more than its noise" in found.finding


def test_what_was_learnt_already_has_no_answer() -> None:
    X = np.random.default_rng(0).normal(size=(2000, 3))
    y = X @ np.asarray([1.0, -2.0, 0.5]) + np.random.default_rng(1).normal(size=2000)
    model = cr.fit(cr.mlp([3, 1]), X, y, loss="squared_error", optimizer=cr.Adam(0.01), epochs=50)
    assert cr.find_rate(model, X, y).learning_rate is None


def test_a_loss_of_0_has_no_answer() -> None:
    found = cr.find_rate(cr.mlp([3, 1], weight_init="zeros"), X, np.zeros(24), loss="squared_error")
    assert found.optimizer is None
    assert str(found).splitlines()[-1].startswith("No clear answer: the loss began at 0 and did not fall")


def test_a_loss_that_explodes_at_once_has_no_answer() -> None:
    found = cr.find_rate(cr.mlp([3, 1]), 1e12 * X, 1e12 * Y, loss="squared_error", optimizer="sgd")
    assert found.learning_rate is None
    assert "exploded after" in found.finding
    assert "scale X and y" in found.finding


def test_the_last_rates_are_said_to_be_too_low() -> None:
    found = find(high=1e-2, steps=400, batch_size=24)
    assert "give a higher high than 0.01" in found.finding


@pytest.mark.parametrize(
    ("losses", "end"),
    [
        ([2.0] * 40, 40),
        ([2.0] * 30 + [90.0] + [2.0] * 9, 40),  # one batch
        ([2.0] * 30 + [90.0] * 10, 30),
        ([2.0] * 30 + [np.inf] + [2.0] * 9, 30),
        ([np.nan] * 40, 0),
        ([0.0] * 40, 40),
        ([-2.0] * 30 + [5.0] * 10, 40),
        ([-2.0] * 30 + [7.0] * 10, 30),
    ],
)
def test_where_a_curve_ends(losses: list[float], end: int) -> None:
    assert _end(np.asarray(losses)) == end


# ------------------------------------------------------------------------------------------------------ how it is told


def test_it_prints_as_a_table_with_the_line_to_write() -> None:
    losses = curve(1.5, 1e-3, 0.0)
    found = _judge(cr.Momentum(7.0, 0.5), RATES[: _end(losses)], losses[: _end(losses)], 200)
    assert str(found).splitlines() == [
        "rate           loss",
        "1.0e-06           2",
        "1.0e-05      1.9998",
        "1.0e-04      1.9797",
        "2.9e-04      1.8539  begins to fall",
        "1.0e-03        1.25",
        "2.0e-03     0.84103  take this",
        "6.8e-03     0.54277  falls no further",
        "1.0e-01       1.761",
        "Take cr.Momentum(0.002, mu=0.5): four fifths of the fall of the loss are done there. A cyclical schedule "
        "goes from 0.00029 to 0.0068.",
    ]
    assert found.optimizer == cr.Momentum(0.002, 0.5)
    assert "array" not in repr(found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 1.0, "high": 0.1}, "needs 0 < low < high, finite, got low=1.0 and high=0.1"),
        ({"low": 0.0}, "needs 0 < low < high"),
        ({"high": np.inf}, "needs 0 < low < high, finite"),
        ({"steps": 10}, "steps must be a whole number >= 50, got 10"),
        ({"optimizer": "adma"}, "did you mean 'adam'"),
        ({"loss": None}, "needs loss="),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(cr.ConfigurationError, match=message):
        find(**options)


def test_an_optimizer_that_cannot_be_tried_at_other_rates_is_refused() -> None:
    class Own:
        learning_rate = 0.1

        def init(self, backend: Any, theta: Any, decays: Any) -> Any:
            return ()

        def update(self, backend: Any, theta: Any, g: Any, moments: Any, t: Any, eta: Any) -> Any:
            return theta - eta * g, ()

    with pytest.raises(cr.ConfigurationError, match="make it a dataclass"):
        find(optimizer=Own())
