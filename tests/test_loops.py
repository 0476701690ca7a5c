"""Several steps in one call of JAX: the bits of one at a time, in pieces or not, and what reads them in between."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import numpy as np
import pytest
from conftest import find_library

import chainrule as cr
from chainrule._backend import _jax
from chainrule.optimizers import OPTIMIZERS
from chainrule.training import _pieces, _step
from chainrule.training._pieces import in_pieces, joined

jax = find_library("jax")

RNG = np.random.default_rng(5)
X = RNG.standard_normal((148, 6)).astype(np.float32)
Y = RNG.integers(0, 3, 148)
WEIGHT = (RNG.random(148) > 0.6).astype(np.float64)  # some batches of four weigh nothing
NETWORK = cr.mlp([6, 9, 3], normalization="batch")
USUAL: dict[str, Any] = {"loss": "softmax_cross_entropy", "epochs": 2, "batch_size": 4, "seed": 3, "backend": "jax"}


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small networks are taken in pieces too."""
    monkeypatch.setattr(_jax, "pieces_from", lambda _: 0)


class Looks:
    """After each step, at the weights or not."""

    def __init__(self, *, at_weights: bool) -> None:
        self.at_weights, self.seen = at_weights, []

    def on_step_end(self, run: cr.Run) -> None:
        self.seen.append(np.asarray(run.state.theta).copy() if self.at_weights else None)


def theta(network: cr.Sequential = NETWORK, **options: Any) -> np.ndarray:
    return np.asarray(cr.fit(network, X, Y, **(USUAL | options)).theta)


@pytest.mark.parametrize("many", [0, 10**9])
def test_the_bits_do_not_depend_on_how_many_steps_are_taken_together(
    many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_jax, "pieces_from", lambda _: many)
    together, counts = _jax._Looped.repeat, []

    def noted(self: Any, steps: int, *arguments: Any) -> Any:
        counts.append(steps)
        return together(self, steps, *arguments)

    monkeypatch.setattr(_jax._Looped, "repeat", noted)
    network = cr.mlp([6, 9, 5, 3], dropout=0.0 if many else 0.2)
    want = theta(network, batch_size=9)
    assert max(counts) > 3, "no steps were taken together"
    for looks in (Looks(at_weights=False), Looks(at_weights=True)):
        counts.clear()
        assert np.array_equal(theta(network, batch_size=9, callbacks=[looks]), want)
        assert set(counts) == {1}, "steps were taken behind a callback's back"


@pytest.mark.parametrize(
    "name",  # each is compiled twice
    [name if name in ("adamw", "momentum") else pytest.param(name, marks=pytest.mark.slow) for name in OPTIMIZERS],
)
@pytest.mark.usefixtures("pieces")
def test_pieces_are_the_flat_vector(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = OPTIMIZERS[name](0.001)
    options = {"optimizer": rule, "penalty": cr.Penalty(l1=0.01, l2=0.1, over="examples"), "sample_weight": WEIGHT}
    options["clip"] = cr.ClipNorm(0.1) if name < "m" else cr.ClipValue(0.01)
    apart = theta(**options)
    monkeypatch.setattr(_jax, "pieces_from", lambda _: 10**9)
    np.testing.assert_allclose(apart, theta(**options), rtol=2e-4, atol=2e-6)


@pytest.mark.usefixtures("pieces")
def test_what_is_put_in_between_two_steps_is_trained_on() -> None:
    class Zeros:
        def on_step_end(self, run: cr.Run) -> None:
            run.state = run.state._replace(theta=run.state.theta * 0.0)

    class Halves:
        def on_step_end(self, run: cr.Run) -> None:
            run.scale_rate(0.5)

    assert np.all(theta(callbacks=[Zeros()]) == 0.0)
    assert not np.array_equal(theta(callbacks=[Halves()]), theta())


@pytest.mark.parametrize("many", [0, 10**9])
def test_an_array_of_the_users_own_is_copied_before_a_step_writes_over_it(
    many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_jax, "pieces_from", lambda _: many)

    class Resets:
        def on_step_end(self, run: cr.Run) -> None:
            self.first = getattr(self, "first", run.state.theta * 1.0)
            run.state = run.state._replace(theta=self.first)

    resets = Resets()
    assert np.array_equal(theta(callbacks=[resets]), np.asarray(resets.first))


def test_no_more_than_two_calls_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, waited_for, together = [], [], _jax._Looped.repeat
    monkeypatch.setattr(jax, "block_until_ready", lambda last: waited_for.append(int(last)))

    def noted(self: Any, steps: int, *arguments: Any) -> Any:
        calls.append(steps)
        return together(self, steps, *arguments)

    monkeypatch.setattr(_jax._Looped, "repeat", noted)
    theta()
    assert waited_for == [0, *calls[:-1]]


@pytest.mark.usefixtures("pieces")
def test_what_was_read_is_there_until_the_next_step_and_a_snapshot_longer() -> None:
    class Keeps:
        def on_step_end(self, run: cr.Run) -> None:
            assert run.state is run.state
            self.snapshot, self.numbers = run.snapshot(), np.asarray(run.state.theta).copy()

    keeps = Keeps()
    theta(callbacks=[keeps])
    assert np.array_equal(np.asarray(keeps.snapshot.theta), keeps.numbers)


@pytest.mark.usefixtures("pieces")
def test_a_resumed_training_has_the_bits_of_one_in_a_go(tmp_path: Any) -> None:
    class Stops:
        def on_step_end(self, run: cr.Run) -> None:
            if run.epoch == 2 and run.step == 7:
                os.kill(os.getpid(), signal.SIGINT)

    kept = cr.Checkpoint(tmp_path / "run", resume=True)
    with pytest.warns(cr.InterruptedTraining):
        theta(checkpoint=kept, callbacks=[Stops()])
    assert np.array_equal(theta(checkpoint=kept, callbacks=[Stops()]), theta())


@pytest.mark.usefixtures("pieces")
def test_a_stack_and_a_rule_of_the_users_own_stay_flat() -> None:
    class Own(cr.SGD):
        pass

    on = cr.backend("jax")
    problem = _step.Problem(NETWORK, cr.SoftmaxCrossEntropy(), cr.Adam())
    stack = _step.initial_state(on, problem, seed=0, members=(0, 1))
    assert in_pieces(on, NETWORK.layout, stack) is stack
    assert joined(on, stack) is stack
    one = _step.initial_state(on, problem, seed=0)
    apart = in_pieces(on, NETWORK.layout, one)
    assert isinstance(apart.theta, tuple)
    assert np.array_equal(np.asarray(joined(on, apart).theta), np.asarray(one.theta))
    assert _pieces.takes_pieces(on, 10, cr.Adam())
    assert not _pieces.takes_pieces(on, 10, Own())
    assert not _pieces.takes_pieces(cr.backend("jax", compile=False), 10, cr.Adam())
    assert not _pieces.takes_pieces(cr.backend("numpy"), 10, cr.Adam())


def test_one_program_takes_any_number_of_steps() -> None:
    compiled: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiled.append(event) if event.endswith("backend_compile_duration") else None
    )
    try:
        theta(epochs=1, batch_size=10)
        first = len(compiled)
        theta(epochs=4, batch_size=10)
    finally:
        jax.monitoring.clear_event_listeners()
    assert first > 0
    assert len(compiled) - first <= first, "a program for each number of steps"


def test_a_step_that_cannot_be_traced_runs_one_by_one_from_whole_weights() -> None:
    def looks_at_numbers(xp: Any, z: Any, y: Any) -> Any:
        if float(xp.max(z)) > 1e9:
            raise AssertionError
        return xp.sum((z - y) ** 2, axis=-1, keepdims=True), 2.0 * (z - y)

    options = {"loss": cr.Loss(looks_at_numbers), "epochs": 1, "batch_size": 50, "backend": "jax"}
    with pytest.warns(RuntimeWarning, match="uncompiled"):
        found = cr.fit(cr.mlp([6, 4, 1]), X, X[:, :1], **options)
    want = cr.fit(cr.mlp([6, 4, 1]), X, X[:, :1], **(options | {"backend": cr.backend("jax", compile=False)}))
    np.testing.assert_allclose(np.asarray(found.theta), np.asarray(want.theta), rtol=1e-5, atol=1e-6)


def test_ctrl_c_is_answered_within_a_few_calls() -> None:
    network, data = cr.mlp([64, 256, 256, 10]), RNG.standard_normal((20_000, 64)).astype(np.float32)
    timer = threading.Timer(1.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.warns(cr.InterruptedTraining):
        model = cr.fit(network, data, RNG.integers(0, 10, 20_000), **(USUAL | {"epochs": 10_000, "batch_size": 100}))
    timer.join()
    assert len(model.history) < 9_000
