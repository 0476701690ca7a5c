"""Callbacks: called at their moments, told the epoch's numbers, and obeyed when they ask for something."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import find_library
from small_training import Weights, X, Y, fit

import chainrule as cr
from chainrule.training import Run


class Rebinds:
    """Puts other arrays into the state, after every second step."""

    def __init__(self, change: Any) -> None:
        self.change, self.kept = change, []

    def on_step_end(self, run: Run) -> None:
        if run.step == 2:
            run.state = self.change(run, run.state, self.kept)


def exchanged(run: Run, state: Any, kept: list[Any]) -> Any:
    return state._replace(theta=state.moments[0], moments=(state.theta,))


def twice(run: Run, state: Any, kept: list[Any]) -> Any:
    return state._replace(theta=state.moments[0])


def twice_after_a_step(run: Run, state: Any, kept: list[Any]) -> Any:
    return state._replace(moments=(state.theta,), key=state.key)


def a_view(run: Run, state: Any, kept: list[Any]) -> Any:
    return state._replace(theta=run.backend.xp.flip(state.theta), moments=(state.theta[:],))


def one_of_its_own(run: Run, state: Any, kept: list[Any]) -> Any:
    """Lookahead: it goes on to read what it gave."""
    kept.append(run.backend.copy(state.theta) if not kept else 0.5 * (kept[-1] + state.theta))
    return state._replace(theta=kept[-1])


@pytest.mark.parametrize("change", [exchanged, twice, twice_after_a_step, a_view, one_of_its_own])
@pytest.mark.parametrize("library", ["numpy", "torch", "jax", "array-api-strict"])
def test_a_callback_may_put_any_arrays_into_the_state(change: Any, library: str) -> None:
    """In place, recorded or with donated memory, each step finds the numbers that the callback left."""
    find_library(library, library.replace("-", "_"))
    thetas = []
    for backend in (library, cr.backend("numpy", compile=False)):
        callback = Rebinds(change)
        options: dict[str, Any] = {"optimizer": cr.Momentum(0.01), "clip": cr.ClipNorm(0.1), "batch_size": 5}
        model = fit(callback, backend=backend, **options)
        thetas.append([np.asarray(model.theta), *map(np.asarray, callback.kept)])
    for got, want in zip(*thetas, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)


def test_what_a_callback_put_into_the_state_is_not_overwritten() -> None:
    """By hand: two networks of one weight, SGD with momentum 0, gradients that are known."""
    kept: list[Any] = []

    class Gives:
        def on_epoch_end(self, run: Run, record: dict[str, float]) -> None:
            kept.append(np.full(2, 3.0, np.float32))
            run.state = run.state._replace(theta=kept[-1])

    net = cr.Sequential(cr.Dense(1, 1))
    for compile in (False, True):
        kept.clear()
        options: dict[str, Any] = {"loss": "squared_error", "optimizer": cr.SGD(0.5), "epochs": 3}
        on = cr.backend("numpy", compile=compile)
        model = cr.fit(net, [[1.0], [1.0]], [0.0, 0.0], callbacks=[Gives()], backend=on, **options)
        assert [array.tolist() for array in kept] == [[3.0, 3.0]] * 3
        assert model.theta.tolist() == [3.0, 3.0]


# ------------------------------------------------------------------------------------------------------------ the hooks


def test_hooks_are_called_in_order() -> None:
    called: list[Any] = []

    class Listener:
        def on_train_begin(self, run: Run) -> None:
            called.append(("begin", run.epoch))

        def on_step_end(self, run: Run) -> None:
            called.append(("step", run.epoch, run.step))

        def on_epoch_end(self, run: Run, record: dict[str, float]) -> None:
            called.append(("epoch", run.epoch, sorted(record)))

        def on_train_end(self, run: Run) -> None:
            called.append(("end", run.epoch))

    fit(Listener(), epochs=2)
    record = ["epoch", "learning_rate", "loss", "seconds"]
    epochs = [[*[("step", e, s) for s in (1, 2, 3)], ("epoch", e, record)] for e in (1, 2)]
    assert called == [("begin", 0), *epochs[0], *epochs[1], ("end", 2)]


def test_a_callback_without_a_hook_is_refused_and_one_hook_is_enough() -> None:
    with pytest.raises(cr.ConfigurationError, match="has one of on_train_begin, on_epoch_begin"):
        fit(object())
    began: list[int] = []
    fit(type("Begins", (), {"on_epoch_begin": lambda self, run: began.append(run.epoch)})(), epochs=3)
    assert began == [1, 2, 3]


def test_a_class_that_names_the_base_needs_one_hook_of_its_own() -> None:
    class Misspelt(cr.Callback):
        def on_epoch_ended(self, run: Run, record: dict[str, float]) -> None:
            raise AssertionError("nobody calls this")

    with pytest.raises(cr.ConfigurationError, match=r"got .*Misspelt.*, which has none"):
        fit(Misspelt())

    class Counts(cr.Callback):
        steps = 0

        def on_step_end(self, run: Run) -> None:
            self.steps += 1

    class CountsMore(Counts):
        """A hook that it takes from a class of the user's is one."""

    counts = Counts(), CountsMore()
    fit(*counts, epochs=2)
    assert [one.steps for one in counts] == [6, 6]


def test_callbacks_are_called_one_after_the_other() -> None:
    called: list[str] = []

    def named(name: str) -> Any:
        return type(name, (), {"on_train_begin": lambda self, run: called.append(name)})()

    fit(named("first"), named("second"), epochs=1)
    assert called == ["first", "second"]


def test_a_run_that_goes_on_from_a_model_counts_its_epochs_on() -> None:
    weights = Weights()
    cr.fit(fit(epochs=3), X, Y, epochs=2, batch_size=8, callbacks=[weights])
    assert list(weights.after) == [4, 5]
    assert (weights.run.first_epoch, weights.run.last_epoch, weights.run.steps_per_epoch) == (4, 5, 3)


def test_train_end_comes_after_an_error_for_those_that_began() -> None:
    ended: list[str] = []

    class Ends:
        def on_train_end(self, run: Run) -> None:
            ended.append("before")

    class Fails:
        def on_epoch_end(self, run: Run, record: dict[str, float]) -> None:
            raise RuntimeError("disk unplugged")

        def on_train_end(self, run: Run) -> None:
            ended.append("itself")

    with pytest.raises(RuntimeError, match="disk unplugged"):
        fit(Ends(), Fails())
    assert ended == ["before", "itself"]


def test_train_end_does_not_come_for_one_that_never_began() -> None:
    ended: list[str] = []

    class CannotBegin:
        def on_train_begin(self, run: Run) -> None:
            raise RuntimeError("no socket")

        def on_train_end(self, run: Run) -> None:
            ended.append("cannot begin")

    class Later:
        def on_train_end(self, run: Run) -> None:
            ended.append("later")

    with pytest.raises(RuntimeError, match="no socket"):
        fit(CannotBegin(), Later())
    assert ended == []


def test_a_callback_may_stop_the_training() -> None:
    class Enough:
        def on_epoch_end(self, run: Run, record: dict[str, float]) -> None:
            if run.epoch == 2:
                run.stop("enough")

    assert fit(Enough()).history["epoch"] == [1, 2]
    assert fit(Enough()) == fit(epochs=2)


def test_a_stop_asked_for_in_a_step_ends_after_its_epoch() -> None:
    class Enough:
        def on_step_end(self, run: Run) -> None:
            run.stop("enough")

    assert fit(Enough()) == fit(epochs=1)


def test_a_callback_may_scale_the_rate() -> None:
    class Freeze:
        def on_epoch_end(self, run: Run, record: dict[str, float]) -> None:
            run.scale_rate(0.0)

    model = fit(Freeze())
    assert model == fit(epochs=1)
    assert model.history["learning_rate"] == [0.001, 0.0, 0.0, 0.0]


def test_a_snapshot_is_a_copy_that_training_does_not_touch() -> None:
    class Back:
        def on_epoch_end(self, run: Run, record: dict[str, float]) -> None:
            if run.epoch == 2:
                self.kept = run.snapshot()

        def on_train_end(self, run: Run) -> None:
            run.restore(self.kept)

    assert fit(Back()) == fit(epochs=2)


# ---------------------------------------------------------------------------------------------------------------- Watch


def test_a_watch_says_once_what_a_layer_suffers_from_and_keeps_every_look() -> None:
    rows = np.random.default_rng(0).normal(size=(80, 4))
    dead = cr.Sequential(cr.Dense(4, 8, bias_init=cr.Constant(-50.0)), cr.ReLU(), cr.Dense(8, 1))
    watch = cr.Watch(rows, rows[:, 0], every=3)
    with pytest.warns(UserWarning, match=r"^epoch 1: layer 1 \(dead\): Dead units learn nothing") as caught:
        cr.fit(dead, rows, rows[:, 0], loss="squared_error", epochs=8, callbacks=[watch])
    assert len(caught) == 1
    assert list(watch.diagnoses) == [1, 4, 7]
    assert watch.diagnoses[7].rows[0].dead == 8


def test_a_watch_is_silent_over_healthy_layers_and_changes_nothing() -> None:
    rows = np.random.default_rng(0).normal(size=(80, 4))
    net, settings = cr.mlp([4, 8, 1]), {"loss": "squared_error", "epochs": 4}
    watch = cr.Watch(rows[:20], rows[:20, 0], every=1)
    watched = cr.fit(net, rows, rows[:, 0], callbacks=[watch], **settings)
    np.testing.assert_array_equal(watched.theta, cr.fit(net, rows, rows[:, 0], **settings).theta)
    assert len(watch.diagnoses) == 4
    with pytest.raises(cr.ConfigurationError, match="every must be a whole number >= 1, got 0"):
        cr.Watch(rows, rows[:, 0], every=0)


@pytest.mark.parametrize("factor", [-1.0, np.inf, "half"])
def test_a_rate_is_scaled_by_a_number_of_0_or_more(factor: Any) -> None:
    class Scale(cr.Callback):
        def on_epoch_end(self, run: Any, record: Any) -> None:
            run.scale_rate(factor)

    with pytest.raises(cr.ConfigurationError, match="scale_rate: factor must be a"):
        fit(Scale())
