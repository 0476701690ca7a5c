"""Callbacks: called at their moments, told the epoch's numbers, and obeyed when they ask for something."""

from __future__ import annotations

import csv
import errno
import io
import os
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import find_library

import chainrule as cr
from chainrule.history import History
from chainrule.training import Run

RNG = np.random.default_rng(4242)
X = RNG.normal(size=(24, 3))
Y = X @ np.asarray([1.0, -2.0, 0.5]) + 0.5 * RNG.normal(size=24)
LABELS = (Y > 0).astype(int)


def fit(*callbacks: Any, **options: Any) -> cr.Model:
    usual = {"loss": "squared_error", "epochs": 4, "batch_size": 8, "callbacks": callbacks}
    return cr.fit(cr.mlp([3, 4, 1]), X, Y, **{**usual, **options})


class Script:
    """A metric of the user's own that answers what it was told to, epoch by epoch."""

    __name__ = "script"

    def __init__(self, *values: float) -> None:
        self.values = iter(values)

    def __call__(self, y: np.ndarray, answers: np.ndarray) -> float:
        return next(self.values)


def scripted(*values: float, callback: Any, **options: Any) -> cr.Model:
    """A training run whose ``val_script`` takes these values."""
    return fit(callback, *options.pop("more", ()), metrics=[Script(*values)], validation=(X, Y), epochs=len(values))


class Weights:
    """Keeps theta after every epoch, and the run."""

    def on_train_begin(self, run: Run) -> None:
        self.run, self.after = run, {}

    def on_epoch_end(self, run: Run, record: dict[str, float]) -> None:
        self.after[run.epoch] = np.array(run.backend.to_numpy(run.state.theta))


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
    for backend, compile in ((library, None), ("numpy", False)):
        callback = Rebinds(change)
        options: dict[str, Any] = {"optimizer": cr.Momentum(0.01), "clip": cr.ClipNorm(0.1), "batch_size": 5}
        model = fit(callback, backend=backend, compile=compile, **options)
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
        options: dict[str, Any] = {"loss": "squared_error", "optimizer": cr.SGD(0.5), "epochs": 3, "compile": compile}
        model = cr.fit(net, [[1.0], [1.0]], [0.0, 0.0], callbacks=[Gives()], **options)
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


# -------------------------------------------------------------------------------------------------------- EarlyStopping


@pytest.mark.parametrize(
    ("values", "options", "epochs", "best"),
    [
        ([3, 2, 1, 2, 3, 4, 5], {"mode": "min", "patience": 2}, 5, 3),
        ([3, 2, 1, 2, 3, 4, 5], {"mode": "min", "patience": 1}, 4, 3),
        ([3, 2, 1, 2, 0, 4, 5], {"mode": "min", "patience": 2}, 7, 5),
        ([1, 2, 3, 2, 1, 0, 0], {"mode": "max", "patience": 3}, 6, 3),
        ([3, 2.8, 2.6, 2.4, 1], {"mode": "min", "patience": 3, "min_delta": 0.5}, 5, 5),
        ([3, 2.8, 2.7, 2.6, 0], {"mode": "min", "patience": 2, "min_delta": 0.5}, 3, 1),
        ([2, 2, 2, 2], {"mode": "min", "patience": 2}, 3, 1),  # as good is not better
        ([2, np.nan, np.nan, 0], {"mode": "min", "patience": 2}, 3, 1),
        ([1, 2, 3], {"mode": "min", "patience": 9}, 3, 1),  # the best is given back though training ended otherwise
    ],
)
def test_early_stopping_waits_and_gives_back_the_best_weights(
    values: list[float], options: dict[str, Any], epochs: int, best: int
) -> None:
    weights = Weights()
    model = scripted(*values, callback=cr.EarlyStopping("val_script", **options), more=[weights])
    assert len(model.history) == epochs
    np.testing.assert_array_equal(model.theta, weights.after[best])


@pytest.mark.parametrize(
    ("monitor", "loss", "y", "better"),
    [
        ("loss", "squared_error", Y, np.argmin),
        ("val_loss", "squared_error", Y, np.argmin),
        ("val_r2", "squared_error", Y, np.argmax),
        ("val_accuracy", "sigmoid_cross_entropy", LABELS, np.argmax),
    ],
)
def test_early_stopping_knows_which_way_is_better(monitor: str, loss: str, y: Any, better: Any) -> None:
    weights = Weights()
    options = {"optimizer": cr.SGD(0.4), "epochs": 12, "validation": (X[:12], y[:12])}
    stopping = cr.EarlyStopping(monitor, patience=12)
    model = cr.fit(cr.mlp([3, 4, 1]), X, y, loss=loss, batch_size=8, callbacks=[stopping, weights], **options)
    best = int(better(model.history[monitor])) + 1
    assert stopping.best_epoch == best < 12  # a rate this high: the last epoch is not the best
    np.testing.assert_array_equal(model.theta, weights.after[best])


def test_early_stopping_gives_back_running_statistics_too() -> None:
    def train(epochs: int, *callbacks: Any) -> cr.Model:
        script = [Script(1.0, 0.0, 2.0, 3.0)]
        net, held = cr.mlp([3, 4, 1], normalization="batch"), (X, Y)
        options = {"loss": "huber", "batch_size": 8, "epochs": epochs}
        return cr.fit(net, X, Y, metrics=script, validation=held, callbacks=callbacks, **options)

    assert train(4, cr.EarlyStopping("val_script", mode="min")) == train(2)


def test_early_stopping_may_leave_the_last_weights() -> None:
    stopping = cr.EarlyStopping("val_script", mode="min", patience=1, restore_best=False)
    assert scripted(1, 2, 3, callback=stopping) == fit(epochs=2)


def test_one_early_stopping_serves_two_trainings() -> None:
    stopping = cr.EarlyStopping("val_script", mode="min", patience=2)
    first = scripted(1, 2, 3, 4, callback=stopping)
    second = scripted(9, 8, 9, 9, callback=stopping)  # its best is worse than the first's
    assert (len(first.history), len(second.history)) == (3, 4)
    assert second == fit(epochs=2)


def test_the_direction_of_a_metric_of_your_own_must_be_said() -> None:
    with pytest.raises(cr.ConfigurationError, match=r"larger 'val_script' is better: mode='max' or mode='min'"):
        cr.EarlyStopping("val_script")
    with pytest.raises(cr.ConfigurationError, match=r"mode must be 'auto', 'min' or 'max', got 'lower'"):
        cr.EarlyStopping(mode="lower")  # type: ignore[arg-type]


NAN = float("nan")
ONE_ROW, CONSTANT = (X[:1], Y[:1]), (X[:5], np.full(5, 0.7))


@pytest.mark.parametrize(
    ("held", "says", "epochs"),
    [
        (ONE_ROW, "val_r2 was no number, as r2 of a single row is none: training ends with the weights of the last", 3),
        (CONSTANT, "val_r2 was 0 in every epoch, as r2 of a constant target is: .* weights of the first epoch", 4),
    ],
    ids=["one row", "a constant target"],
)
@pytest.mark.parametrize("patience", [3, 99])
def test_early_stopping_says_that_it_went_by_nothing(held: Any, says: str, epochs: int, patience: int) -> None:
    weights = Weights()
    with pytest.warns(UserWarning, match=says) as caught:
        model = fit(cr.EarlyStopping("val_r2", patience=patience), weights, validation=held, epochs=7)
    assert len(caught) == 1
    assert len(model.history) == (epochs if patience == 3 else 7)
    np.testing.assert_array_equal(model.theta, weights.after[1 if held is CONSTANT else len(model.history)])


@pytest.mark.parametrize(
    ("held", "says"),
    [(ONE_ROW, "was no number, as r2 of a single row"), (CONSTANT, "was 0 in every epoch, as r2 of a constant")],
    ids=["one row", "a constant target"],
)
def test_no_rate_is_reduced_by_what_says_nothing(held: Any, says: str) -> None:
    with pytest.warns(UserWarning, match=f"val_r2 {says} .*: the rate stays as it is. Monitor 'val_loss'") as caught:
        model = fit(cr.ReduceOnPlateau("val_r2", patience=2), validation=held, epochs=9)
    assert len(caught) == 1
    assert set(model.history["learning_rate"]) == {0.001}


def test_epochs_without_a_number_do_not_count_towards_a_reduction() -> None:
    plateau = cr.ReduceOnPlateau("val_script", mode="min", factor=0.5, patience=3)
    rates = scripted(4, NAN, 4, NAN, NAN, 4, 4, 4, callback=plateau).history["learning_rate"]
    np.testing.assert_allclose(np.asarray(rates), 0.001 * np.asarray([1] * 7 + [0.5]))
    with pytest.warns(UserWarning, match="val_script was no number"):
        scripted(4, NAN, NAN, NAN, NAN, callback=plateau)


@pytest.mark.parametrize("kind", [cr.EarlyStopping, cr.ReduceOnPlateau])
@pytest.mark.parametrize("values", [(0, 0, 0, 0, 0), (0, NAN, 1, 1, 1), (1, 1, 1, NAN, 1)], ids=str)
def test_of_a_metric_that_says_something_no_word_is_said(kind: Any, values: tuple[float, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scripted(*values, callback=kind("val_script", mode="min", patience=2))


class NeverTrained:
    def on_step_end(self, run: Run) -> None:
        raise AssertionError("training began")


@pytest.mark.parametrize("kind", [cr.EarlyStopping, cr.ReduceOnPlateau])
def test_a_column_that_will_not_be_there_is_refused_before_training(kind: Any) -> None:
    with pytest.raises(cr.ConfigurationError, match=r"unknown history column 'val_r': did you mean 'val_r2'\?"):
        fit(kind("val_r", mode="max"), NeverTrained(), validation=(X, Y))


def test_monitoring_a_validation_that_is_not_there_says_how_to_give_one() -> None:
    with pytest.raises(cr.ConfigurationError, match=r"val_loss.*validation=\(X, y\)"):
        fit(cr.ReduceOnPlateau(), NeverTrained())


# ------------------------------------------------------------------------------------------------------ ReduceOnPlateau


def test_reduce_on_plateau_multiplies_the_rate() -> None:
    plateau = cr.ReduceOnPlateau("val_script", mode="min", factor=0.5, patience=2)
    model = scripted(5, 4, 4, 4, 4, 4, 3, 3, callback=plateau)
    rates = [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25]
    np.testing.assert_allclose(np.asarray(model.history["learning_rate"]), 0.001 * np.asarray(rates))


def test_reduce_on_plateau_stops_at_its_minimum() -> None:
    plateau = cr.ReduceOnPlateau("val_script", mode="min", factor=0.1, patience=1, minimum=0.05)
    model = scripted(1, 1, 1, 1, 1, callback=plateau)
    np.testing.assert_allclose(np.asarray(model.history["learning_rate"]), 0.001 * np.asarray([1, 1, 0.1, 0.05, 0.05]))


def test_reduce_on_plateau_ignores_improvements_below_min_delta() -> None:
    plateau = cr.ReduceOnPlateau("val_script", mode="max", factor=0.5, patience=1, min_delta=0.1)
    model = scripted(1, 1.05, 2, 3, callback=plateau)
    np.testing.assert_allclose(np.asarray(model.history["learning_rate"]), 0.001 * np.asarray([1, 1, 0.5, 0.5]))


def test_a_schedule_runs_on_underneath() -> None:
    plateau = cr.ReduceOnPlateau("val_script", mode="min", factor=0.5, patience=1)
    decay = {"optimizer": cr.SGD(cr.StepDecay(0.1, every=3, factor=0.1))}  # 3 steps an epoch
    script = Script(1, 1, 1)
    model = fit(plateau, metrics=[script], validation=(X, Y), epochs=3, **decay)
    np.testing.assert_allclose(model.history["learning_rate"], [0.1, 0.01, 0.0005])


# ------------------------------------------------------------------------------------------------------------ CSVLogger


def test_the_csv_file_is_the_history(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    model = fit(cr.CSVLogger(path), validation=(X, Y))
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert [{name: float(value) for name, value in row.items()} for row in rows] == list(model.history)


def test_the_csv_file_is_complete_after_every_epoch(tmp_path: Path) -> None:
    path, lines = tmp_path / "history.csv", []

    class Look:
        def on_epoch_end(self, run: Run, record: dict[str, float]) -> None:
            lines.append(len(path.read_text().splitlines()))

    fit(cr.CSVLogger(str(path)), Look(), epochs=3)
    assert lines == [2, 3, 4]


def test_a_path_that_cannot_be_written_is_refused_before_training(tmp_path: Path) -> None:
    for path in (tmp_path / "missing" / "history.csv", tmp_path):
        with pytest.raises(cr.FileError, match=r"cannot write .*: \w+"):
            fit(cr.CSVLogger(path), NeverTrained())


def test_a_disk_that_is_full_for_a_while_costs_no_row_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen, write = tmp_path / "history.csv", [], Path.replace
    path.write_text("epoch,loss\n1,0.5\n")

    def full(self: Path, target: Any) -> Any:
        if 3 <= len(seen) + 1 <= 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, target)

    class Look:
        def on_epoch_end(self, run: Run, record: dict[str, float]) -> None:
            seen.append(len(path.read_text().splitlines()))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.warns(UserWarning, match="No space left on device. Training goes on") as caught:
        fit(cr.CSVLogger(path), Look(), epochs=6)
    assert len(caught) == 1
    assert seen == [2, 3, 3, 3, 6, 7]
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_stays_full_is_said_at_the_end_and_leaves_the_log_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, before = tmp_path / "history.csv", "epoch,loss\n1,0.5\n"
    path.write_text(before)

    class Fills:
        def on_epoch_begin(self, run: Run) -> None:
            monkeypatch.setattr(Path, "replace", full)

    def full(self: Path, target: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(fit(cr.CSVLogger(path), Fills(), epochs=3).history) == 3
    assert ["will be tried again" in str(w.message) for w in caught] == [True, False]
    assert "lacks the last epochs: the model's history has them" in str(caught[1].message)
    assert path.read_text() == before


@pytest.mark.parametrize("content", [b"x,y\n1,2\n", b"\x89PNG\r\n", b"{}"])
def test_a_file_that_is_no_log_is_left_as_it_is(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(cr.FileError, match="is there, and is no log of a training run: give another name"):
        fit(cr.CSVLogger(path), NeverTrained())
    assert path.read_bytes() == content


def test_a_log_of_before_outlives_a_training_that_never_ends_an_epoch(tmp_path: Path) -> None:
    path, before = tmp_path / "history.csv", "epoch,loss\n1,0.5\n2,0.25\n"
    path.write_text(before)
    with pytest.raises(AssertionError, match="training began"):
        fit(cr.CSVLogger(path), NeverTrained())
    assert path.read_text() == before


def test_a_history_with_new_columns_leaves_the_old_epochs_empty() -> None:
    history = History(({"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0, "val_loss": 3.0}))
    assert history.to_csv() == "epoch,loss,val_loss\n1,2.0,\n2,1.0,3.0\n"
    assert np.isnan(history["val_loss"][0])


def test_a_history_is_asked_for_columns_and_epochs() -> None:
    first = fit(epochs=2)
    model = cr.fit(first, X, Y, epochs=1, validation=(X, Y))  # only the third epoch has val_ columns
    history, losses = model.history, model.history["loss"]
    assert len(losses) == len(history) == 3
    assert np.isnan(history["val_r2"]).tolist() == [True, True, False]
    assert [record["loss"] for record in history] == losses
    for last in (-1, 2, np.int64(-1)):
        assert history[last] is history.records[2]
    assert history[-1]["val_r2"] == history["val_r2"][-1]
    assert isinstance(history[1:], History)
    assert history[1:]["epoch"] == history["epoch"][1:] == [2, 3]
    assert [record["epoch"] for record in reversed(history)] == [3, 2, 1]
    assert "val_r2" in history
    assert "val_accuracy" not in history
    frame = find_library("pandas").DataFrame(history)
    assert list(frame.columns) == list(history.names)
    assert frame["loss"].tolist() == losses
    assert History()["loss"] == History(())["val_loss"] == []  # no epoch, no column to tell a slip from


@pytest.mark.parametrize("name", ["typo", "val_acc", "acuracy", "Loss", "", "0", None, 1.5])
def test_a_column_that_a_history_does_not_have_is_an_error_that_lists_those_that_it_has(name: Any) -> None:
    history = cr.fit(
        cr.mlp([3, 4, 2]), X, LABELS, loss="softmax_cross_entropy", epochs=2, validation=(X, LABELS)
    ).history
    near = {"val_acc": "val_accuracy", "acuracy": "val_accuracy", "Loss": "loss"}.get(name, "")
    known = "Known: epoch, loss, val_loss, val_accuracy, learning_rate, seconds."
    for error in (KeyError, cr.ChainruleError):
        with pytest.raises(error) as caught:
            history[name]
        assert str(caught.value).startswith(f"the history has no column {name!r}: ")
        assert str(caught.value).endswith(known)
        assert not near or f"did you mean {near!r}? " in str(caught.value)


@pytest.mark.parametrize("place", [2, -3, 10**30])
def test_an_epoch_that_a_history_does_not_have_is_an_error_that_counts_them(place: int) -> None:
    for error in (IndexError, KeyError):
        with pytest.raises(error, match=r"^the history has 2 epochs, got history\[.*\]: count from 0, or -1"):
            fit(epochs=2).history[place]
    with pytest.raises(cr.MissingEntryError, match="the history has 0 epochs"):
        History()[-1]


# ---------------------------------------------------------------------------------------------------------- ProgressBar


def progress(console: Any, **options: Any) -> str:
    fit(cr.ProgressBar(console), epochs=3, **options)
    text: str = console.file.getvalue()
    return text


def test_the_progress_bar_shows_epochs_loss_metric_speed_and_time_left() -> None:
    rich = find_library("rich", "rich.console")
    console = rich.Console(file=io.StringIO(), force_terminal=True, width=160, color_system=None)
    text = progress(console, validation=(X, Y))
    for shown in ("epoch", "3/3", "loss ", "val_r2 ", "epochs/s", "0:00"):
        assert shown in text


def test_the_progress_bar_ends_when_the_training_fails() -> None:
    rich = find_library("rich", "rich.console")
    console = rich.Console(file=io.StringIO(), force_terminal=True, width=160)
    bar = cr.ProgressBar(console)
    with pytest.raises(AssertionError, match="training began"):
        fit(bar, NeverTrained())
    fit(cr.ProgressBar(console), epochs=1)  # a bar left open would refuse a second one


class Gone(io.StringIO):
    """A terminal that fails from a moment on."""

    def __init__(self, error: BaseException, after: int) -> None:
        super().__init__()
        self.error, self.left = error, after

    def write(self, text: str) -> int:
        self.left -= 1
        if self.left < 0:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left"), BrokenPipeError(errno.EPIPE, "Broken pipe"), ValueError("closed")]
)
def test_a_progress_bar_that_cannot_be_shown_costs_no_model(error: BaseException, after: int) -> None:
    rich = find_library("rich", "rich.console")
    console = rich.Console(file=Gone(error, after), force_terminal=True, width=160)
    console.on_broken_pipe = lambda: sys.exit(1)  # as rich does, which closes the terminal's file too
    with pytest.warns(UserWarning, match="progress bar cannot be shown") as caught:
        assert len(fit(cr.ProgressBar(console), epochs=4).history) == 4
    assert len(caught) == 1


def test_a_progress_bar_without_threads_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    rich = find_library("rich", "rich.console")

    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    console = rich.Console(file=io.StringIO(), force_terminal=True, width=160)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.warns(UserWarning, match="can't start new thread"):
            model = fit(cr.ProgressBar(console), epochs=2)
    assert len(model.history) == 2
    assert "3/3" in progress(console)


def test_a_progress_bar_shows_the_name_of_a_metric_as_it_is() -> None:
    def metric(y: np.ndarray, answers: np.ndarray) -> float:
        return 0.5

    rich = find_library("rich", "rich.console")
    metric.__name__ = "[/b]"
    console = rich.Console(file=io.StringIO(), force_terminal=True, width=160, color_system=None)
    assert "val_[/b] 0.5000" in progress(console, validation=(X, Y), metrics=[metric])


def test_a_progress_bar_without_rich_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rich.progress", None)
    with pytest.raises(cr.MissingExtraError, match=r"needs rich: pip install 'chainrule\[cli\]'"):
        cr.ProgressBar()


# --------------------------------------------------------------------------------------------------------------- Watch


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
