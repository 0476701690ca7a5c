"""A training that turns NaN or infinite is found at the epoch's end, and named: epoch, step, layer, and what to do."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import Platform

import chainrule as cr
from chainrule.batch import Batch
from chainrule.training import Problem, Run, initial_state
from chainrule.training._divergence import locate
from chainrule.training._feed import DeviceFeed

LIBRARY_TARGETS = ("numpy", "torch", "jax-jit", "strictest-float32")
RNG = np.random.default_rng(13)
X = RNG.normal(size=(24, 3)).astype("float32")
Y = (X @ np.asarray([1.0, -2.0, 0.5])).astype("float32")


def diverge(platform: Platform, network: cr.Sequential, x: Any, y: Any, **options: Any) -> cr.DivergenceError:
    usual = {"loss": "squared_error", "batch_size": 8, "epochs": 40, "backend": platform.backend}
    with pytest.raises(cr.DivergenceError) as caught:
        cr.fit(network, platform.array(x), platform.array(y), **{**usual, **options})
    error = caught.value
    assert isinstance(error, FloatingPointError)
    assert "\n" not in str(error)
    assert f"in epoch {error.epoch}, step {error.step} of " in str(error)
    assert f"came from {error.layer};" in error.finding
    assert str(error) == f"{error.finding} The error's .model has the last good weights."
    assert np.isfinite(platform.host(error.model.theta)).all()
    return error


class EveryStep:
    """Theta after every step, copied on the device: nothing is read before the training has ended."""

    def on_train_begin(self, run: Run) -> None:
        self.after: dict[tuple[int, int], Any] = {}

    def on_step_end(self, run: Run) -> None:
        self.after[run.epoch, run.step] = run.snapshot().theta


# Each step adds eta = 1/2 to w and to b: dL/dz = -1 and x = 1. So z = t - 1 in step t, and 6.5 is first passed in
# step 8: the second of the third epoch's three. What was good is w = b = 7/2.
UPHILL = cr.Loss(lambda xp, z, y: (xp.sum(-z, axis=-1, keepdims=True), -xp.ones_like(z)))
BOOM = cr.Activation(lambda xp, z: xp.where(z > 6.5, z * float("nan"), z), lambda xp, z: xp.ones_like(z), name="boom")


@pytest.mark.parametrize("id", LIBRARY_TARGETS)
def test_the_epoch_step_and_layer_of_the_first_nan_are_named(id: str, open_platform: Callable[..., Platform]) -> None:
    platform = open_platform(id)
    net = cr.Sequential(cr.Dense(1, 1, weight_init="zeros"), BOOM)
    ones = np.ones((24, 1))
    error = diverge(platform, net, ones, ones, loss=UPHILL, optimizer=cr.SGD(0.5))
    assert (error.epoch, error.step, error.layer) == (3, 2, "layer 2 (boom)")
    assert platform.host(error.model.theta).tolist() == [3.5, 3.5]
    assert error.model.history["epoch"] == [1, 2]


@pytest.mark.parametrize("id", LIBRARY_TARGETS)
def test_the_models_weights_are_those_just_before_the_bad_step(id: str, open_platform: Callable[..., Platform]) -> None:
    platform, every = open_platform(id), EveryStep()
    dropout = 0.0 if id == "jax-jit" else 0.25  # replayed op by op, the cipher costs JAX seconds
    net = cr.mlp([3, 8, 1], activation="tanh", dropout=dropout)
    error = diverge(platform, net, X, Y, optimizer=cr.SGD(40.0), callbacks=[every])
    before = (error.epoch, error.step - 1) if error.step > 1 else (error.epoch - 1, 3)
    np.testing.assert_allclose(platform.host(error.model.theta), platform.host(every.after[before]), rtol=1e-5)
    assert (error.epoch, error.step) > (1, 1)


def test_every_library_names_the_same_step(open_platform: Callable[..., Platform]) -> None:
    found = set()
    for id in LIBRARY_TARGETS:
        error = diverge(open_platform(id), cr.mlp([3, 8, 1]), 100 * X, Y, optimizer=cr.SGD(0.1))
        found.add((error.epoch, error.step, error.layer))
    assert len(found) == 1


class Cause(NamedTuple):
    """What overflows in the first step, and what the message says about it."""

    x: float
    w: float
    rate: float
    layer: str
    says: str


# z = w x, dL/dz = z - 0, dL/dw = z x, w' = w - rate z x; the largest float32 is 3.4e38.
CAUSES = {
    "forward": Cause(
        1e30, 1e10, 0.1, "layer 1 (Dense(1, 1))", r"its outputs overflowed, and inputs reach 1e\+30: scale X"
    ),
    "loss": Cause(
        1e20, 1e5, 0.1, "the loss (SquaredError)", r"its inputs reach 1e\+25, and inputs reach 1e\+20: scale X"
    ),
    "backward": Cause(1e30, 1e-14, 0.1, "layer 1 (Dense(1, 1))", r"its gradient overflowed, and inputs .*: scale X"),
    "update": Cause(1.0, 1e3, 3e38, "the optimizer's update", r"the gradient reaches 1e\+03; the learning rate is too"),
}


@pytest.mark.parametrize("cause", CAUSES.values(), ids=CAUSES)
def test_the_cause_comes_with_its_number_and_its_remedy(cause: Cause, open_platform: Callable[..., Platform]) -> None:
    net = cr.Sequential(cr.Dense(1, 1, weight_init=cr.Constant(cause.w)))
    x, y = np.full((8, 1), cause.x), np.zeros((8, 1))
    error = diverge(open_platform("strictest-float32"), net, x, y, optimizer=cr.SGD(cause.rate))
    assert (error.epoch, error.step, error.layer) == (1, 1, cause.layer)
    assert re.search(cause.says, str(error)), str(error)
    assert error.model.theta.shape == (2,)


def test_scaled_inputs_are_told_to_lower_the_rate_or_clip(open_platform: Callable[..., Platform]) -> None:
    error = diverge(open_platform("numpy"), cr.mlp([3, 8, 1]), X, Y, optimizer=cr.SGD(40.0))
    assert "lower the learning rate or clip the gradient (clip=cr.ClipNorm(1.0))" in str(error)
    cr.fit(cr.mlp([3, 8, 1]), X, Y, loss="squared_error", optimizer=cr.SGD(0.01), clip=cr.ClipNorm(1.0))  # as told


@pytest.mark.parametrize("id", LIBRARY_TARGETS)
def test_large_targets_are_told_to_be_scaled(id: str, open_platform: Callable[..., Platform]) -> None:
    platform, says = open_platform(id), r"targets reach [0-9.]+e\+05: scale y to mean 0 and standard deviation 1"
    error = diverge(platform, cr.mlp([3, 8, 1]), X, 1e5 * Y, optimizer=cr.SGD(0.5))
    assert re.search("; its [^;]*, and " + says, str(error)), str(error)
    error = diverge(platform, cr.mlp([3, 8, 1]), 100 * X, 1e5 * Y, optimizer=cr.SGD(0.1))
    assert re.search(r"inputs reach [0-9.]+ and targets reach .*: scale X and y to mean 0", str(error)), str(error)


def test_counts_are_not_told_to_be_scaled(open_platform: Callable[..., Platform]) -> None:
    error = diverge(open_platform("numpy"), cr.mlp([3, 8, 1]), X, 1e4 + Y, loss="poisson", optimizer=cr.SGD(0.5))
    assert "lower the learning rate" in str(error)


@pytest.mark.parametrize("id", LIBRARY_TARGETS)
def test_a_sum_over_the_epoch_that_overflows_is_named(id: str, open_platform: Callable[..., Platform]) -> None:
    platform = open_platform(id)
    batch = platform.array(X[:8]), platform.array(np.full(8, 4e18))  # 8 (4e18)^2 / 2 = 6.4e37; six of them are too many
    with pytest.raises(cr.DivergenceError) as caught:
        cr.fit(cr.mlp([3, 1]), [batch] * 8, loss="squared_error", backend=platform.backend)
    says = (
        r"step 6 of 8: .* from the loss \(SquaredError\); its sum over the epoch overflowed, and targets reach 4e\+18"
    )
    assert re.search(says, str(caught.value)), str(caught.value)


def test_nothing_is_read_inside_a_step(open_platform: Callable[..., Platform], monkeypatch: pytest.MonkeyPatch) -> None:
    platform, reads = (
        open_platform("strictest-float32"),
        [],
    )  # which also fails at float(), bool() and int() of an array
    library: Any = platform.backend.library
    original = library.to_numpy
    monkeypatch.setattr(library, "to_numpy", lambda x: [reads.append(1), original(x)][1])
    during: list[int] = []

    class Count:
        def on_step_end(self, run: Run) -> None:
            if run.step == 1:
                reads.clear()
            during.append(len(reads))

    error = diverge(platform, cr.mlp([3, 8, 1]), X, Y, optimizer=cr.SGD(40.0), callbacks=[Count()])
    assert during == [0] * (3 * error.epoch)


def test_a_metric_that_cannot_read_nan_does_not_hide_the_divergence(open_platform: Callable[..., Platform]) -> None:
    def strict(y: np.ndarray, answers: np.ndarray) -> float:
        if not np.isfinite(answers).all():
            raise ValueError("Input contains NaN.")  # as scikit-learn's do
        return 0.0

    diverge(
        open_platform("numpy"), cr.mlp([3, 8, 1]), X, Y, optimizer=cr.SGD(40.0), metrics=[strict], validation=(X, Y)
    )


def test_running_statistics_that_overflow_are_found(open_platform: Callable[..., Platform]) -> None:
    # The variance of 1e20 overflows float32; x' is then 0 everywhere, and theta stays finite.
    net = cr.Sequential(cr.Dense(3, 4, bias=False), cr.BatchNorm(4), cr.Dense(4, 1))
    error = diverge(open_platform("numpy"), net, 1e20 * X, Y)
    assert (error.epoch, error.step, error.layer) == (1, 1, "layer 2 (BatchNorm(4))")


def test_callbacks_are_told_of_the_end(open_platform: Callable[..., Platform]) -> None:
    ended: list[int] = []

    class End:
        def on_train_end(self, run: Run) -> None:
            ended.append(run.epoch)

    error = diverge(open_platform("numpy"), cr.mlp([3, 8, 1]), X, Y, optimizer=cr.SGD(40.0), callbacks=[End()])
    assert ended == [error.epoch]


def test_a_replay_that_stays_finite_gives_the_epochs_start_back(open_platform: Callable[..., Platform]) -> None:
    on = open_platform("numpy").backend
    problem = Problem(cr.mlp([3, 4, 1]), cr.SquaredError(), cr.SGD(0.1))
    start = initial_state(on, problem, seed=0)
    theta = np.array(start.theta)
    data = Batch(on.asarray(X), on.asarray(np.reshape(Y, (-1, 1))))
    feed = DeviceFeed(on, data, [len(X)])
    found = locate(on, problem, start, feed, np.arange(len(X)), 1)
    assert found.layer == "no layer: the replay stayed finite"
    np.testing.assert_array_equal(found.good.theta, theta)


# -------------------------------------------------------------------------------------------------- what becomes of it


@pytest.mark.parametrize("id", LIBRARY_TARGETS)
def test_a_training_may_end_with_the_last_good_weights(id: str, open_platform: Callable[..., Platform]) -> None:
    platform = open_platform(id)
    net, ones = cr.Sequential(cr.Dense(1, 1, weight_init="zeros"), BOOM), platform.array(np.ones((24, 1)))
    settings: dict[str, Any] = {"loss": UPHILL, "optimizer": cr.SGD(0.5), "batch_size": 8, "epochs": 40}
    with pytest.warns(UserWarning, match=r"epoch 3, step 2 of 3: .*\. Training ends with the last good weights\.$"):
        model = cr.fit(net, ones, ones, on_divergence="stop", backend=platform.backend, **settings)
    assert platform.host(model.theta).tolist() == [3.5, 3.5]
    assert model.history["epoch"] == [1, 2]


@pytest.mark.parametrize("id", LIBRARY_TARGETS)
def test_a_training_may_recover_at_half_the_rate(id: str, open_platform: Callable[..., Platform]) -> None:
    platform = open_platform(id)
    net, x = cr.mlp([3, 8, 1], activation="linear"), platform.array(X)
    settings: dict[str, Any] = {"loss": "squared_error", "batch_size": 8, "backend": platform.backend}
    with pytest.warns(UserWarning, match="The epoch starts again at half the rate") as caught:
        model = cr.fit(
            net, x, platform.array(Y), optimizer=cr.SGD(20.0), epochs=30, on_divergence="recover", **settings
        )
    assert 2 <= len(caught) <= 10
    assert len(model.history) == 30
    assert model.history["learning_rate"][-1] == 20.0 * 0.5 ** len(caught)
    assert model.history["loss"][-1] < 1e-3


def test_a_recovery_is_the_epoch_that_half_the_rate_would_have_given() -> None:
    settings: dict[str, Any] = {"batch_size": 8, "epochs": 1, "seed": 2}
    net = cr.mlp([3, 8, 1], activation="tanh", dropout=0.2)

    def steep(xp: Any, z: Any, y: Any) -> tuple[Any, Any]:
        return xp.sum((z - y) ** 2, axis=-1, keepdims=True), xp.where(z > 3.0, z * np.nan, z - y)

    settings["loss"] = cr.Loss(steep)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        got = cr.fit(net, X, Y, optimizer=cr.SGD(4.0), on_divergence="recover", **settings)
    assert 1 <= len(caught) < 10
    want = cr.fit(net, X, Y, optimizer=cr.SGD(4.0 / 2 ** len(caught)), **settings)
    np.testing.assert_array_equal(got.theta, want.theta)


@pytest.mark.parametrize("on_divergence", ["stop", "recover"])
@pytest.mark.parametrize("kept", [False, True])
def test_what_is_said_of_it_points_to_the_line_that_trains(on_divergence: Any, kept: bool, tmp_path: Path) -> None:
    checkpoint = tmp_path if kept else None
    with pytest.warns(UserWarning, match="training diverged") as seen:
        cr.fit(
            cr.mlp([3, 8, 1], activation="linear"),
            X,
            Y,
            loss="squared_error",
            optimizer=cr.SGD(20.0),
            on_divergence=on_divergence,
            checkpoint=checkpoint,
        )
    assert {warning.filename for warning in seen} == {__file__}
    assert not [warning for warning in seen if ".model" in str(warning.message)]


def test_what_no_rate_can_cure_is_raised_in_the_end() -> None:
    always = cr.Loss(lambda xp, z, y: (xp.sum(z - z, axis=-1, keepdims=True), z * np.nan))
    with pytest.warns(UserWarning, match="half the rate") as caught, pytest.raises(cr.DivergenceError):
        cr.fit(cr.mlp([3, 1]), X, Y, loss=always, on_divergence="recover")
    assert len(caught) == 10


def test_another_word_for_it_is_refused() -> None:
    with pytest.raises(cr.ConfigurationError, match="unknown on_divergence 'recovr': did you mean 'recover'"):
        cr.fit(cr.mlp([3, 1]), X, Y, loss="squared_error", on_divergence="recovr")  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:training diverged")
def test_the_rate_that_is_recorded_is_the_one_that_was_taken() -> None:
    """After a recovery from an earlier epoch the steps of the epochs between are not taken a second time."""

    class Looks:
        def on_epoch_begin(self, run: Any) -> None:
            if run.epoch == 5 and run.recoveries == 0:
                run.scale_rate(200.0)

        def on_epoch_end(self, run: Any, record: Any) -> None:
            taken.append(float(schedule.rate(np, run.state.step.astype(float))[0]) * run.rate_scale)

    taken: list[float] = []
    schedule = cr.ExponentialDecay(0.05, every=100)
    settings: dict[str, Any] = {"loss": "squared_error", "epochs": 8, "batch_size": 2, "on_divergence": "recover"}
    model = cr.fit(cr.mlp([3, 8, 1]), X, Y, optimizer=cr.SGD(schedule), callbacks=[Looks()], **settings)
    assert model.history["learning_rate"] == pytest.approx(taken)
    assert taken[4] < 100 * taken[3], "it had to recover"


@pytest.mark.parametrize("name", ["adagrad", "rmsprop", "adam", "adamw"])
def test_a_second_moment_that_overflows_is_a_divergence(name: str) -> None:
    """Of a gradient beyond 1.8e19 the square is infinite in float32: the weight stood still and nothing was said."""
    net, x, y = cr.Sequential(cr.Dense(1, 1)), [[1e20], [1e20]], [0.0, 0.0]
    options: dict[str, Any] = {"loss": "absolute_error", "optimizer": name, "epochs": 3}
    with pytest.raises(cr.DivergenceError, match=r"step 1 of 1: .*the optimizer's update; the gradient reaches 1e\+20"):
        cr.fit(net, x, y, **options)
    assert np.isfinite(cr.fit(net, x, y, clip=cr.ClipNorm(1.0), **options).theta).all()
