"""Checkpoints and resuming: nothing is lost, and what goes on is what would have been."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Platform, find_library

import chainrule as cr
from chainrule._model import serialization
from chainrule.training import Run, has_unfinished
from chainrule.training._checkpoint_keeper import Keeper
from chainrule.training._lock import FolderLock

RNG = np.random.default_rng(1)
X = RNG.normal(size=(70, 5)).astype("float32")
Y = (X[:, 0] + X[:, 1] > 0).astype(int)
NETWORK = cr.mlp([5, 8, 6, 2], dropout=0.3, normalization="batch")
STEPS = 5  # an epoch: 70 rows, 16 at a time


class DiedError(BaseException):
    """What stands for the end of a process: nobody catches it."""


@pytest.fixture(autouse=True)
def _the_dead_write_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed does not, as one does that an error ends, keep its last state."""
    keep = Keeper.on_break

    def on_break(self: Keeper, run: Run) -> None:
        if not isinstance(sys.exc_info()[1], DiedError):
            keep(self, run)

    monkeypatch.setattr(Keeper, "on_break", on_break)


class Dies:
    """A callback that ends everything after a step."""

    def __init__(self, epoch: int, step: int) -> None:
        self.place = epoch, step

    def on_step_end(self, run: Run) -> None:
        if (run.epoch, run.step) == self.place:
            raise DiedError


@dataclass(frozen=True)
class Falls:
    """A schedule of one's own: from 0.1 to 0 over as many steps as there are."""

    length: int | None = None

    def rate(self, xp: Any, t: Any) -> Any:
        assert self.length is not None
        return 0.1 * (1.0 - t / self.length)

    def planned(self, steps: int) -> Falls:
        return self if self.length is not None else Falls(steps)


def train(folder: Path | None, *more: object, resume: bool = False, every: int | str = 1, **settings: Any) -> cr.Model:
    """Ten epochs of everything that a checkpoint must carry."""
    usual: dict[str, Any] = {
        "loss": "softmax_cross_entropy",
        "optimizer": cr.Adam(cr.CosineDecay(0.05)),
        "epochs": 10,
        "batch_size": 16,
        "seed": 3,
        "validation": (X[:30], Y[:30]),
    }
    callbacks = [cr.EarlyStopping("val_loss", patience=6), cr.ReduceOnPlateau("val_loss", patience=1), *more]
    checkpoint = None if folder is None else cr.Checkpoint(folder, every=every, keep=2, resume=resume)
    return cr.fit(NETWORK, X, Y, callbacks=callbacks, checkpoint=checkpoint, **{**usual, **settings})


def records(model: cr.Model) -> list[dict[str, float]]:
    return [{name: value for name, value in record.items() if name != "seconds"} for record in model.history]


def assert_same(got: cr.Model, want: cr.Model) -> None:
    for name in ("theta", "buffers"):
        np.testing.assert_array_equal(np.asarray(getattr(got, name)), np.asarray(getattr(want, name)))
    assert records(got) == records(want)


# ------------------------------------------------------------------------------------------------ the same, bit for bit


@pytest.mark.parametrize("every", [1, 3, "0 s"])
@pytest.mark.parametrize("library", ["numpy", "numpy-fast", "torch", "jax-jit"])
def test_a_training_that_died_after_any_step_goes_on_as_if_it_had_not(
    library: str, every: int | str, tmp_path: Path, open_platform: Callable[..., Platform]
) -> None:
    on = open_platform(library).backend
    want = train(None, backend=on.name)
    assert 5 < len(want.history) < 10, "so that early stopping is part of it"
    places = [(1, 1), (2, 5), (3, 2), (5, 5), (len(want.history), 4)]
    tried = {"numpy": places, "torch": places[2:4], "jax": places[2:3]}[on.name]  # JAX compiles anew each time
    for number, place in enumerate(tried):
        folder = tmp_path / str(number)
        with pytest.raises(DiedError):
            train(folder, Dies(*place), every=every, backend=on.name)
        assert_same(train(folder, every=every, backend=on.name, resume=True), want)


def test_it_may_die_again_and_again(tmp_path: Path) -> None:
    want = train(None)
    for epoch in range(1, len(want.history) + 1):
        for step in (2, 4):
            with pytest.raises(DiedError):
                train(tmp_path, Dies(epoch, step), every="0 s", resume=True)
    assert_same(train(tmp_path, every="0 s", resume=True), want)


def test_a_finished_training_gives_its_model_back(tmp_path: Path) -> None:
    want = train(tmp_path)
    assert not has_unfinished(tmp_path)
    steps: list[int] = []
    counting = type("Counting", (), {"on_step_end": lambda self, run: steps.append(run.step)})()
    assert_same(train(tmp_path, counting, resume=True), want)
    assert not steps


def test_more_epochs_go_on_from_the_last(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"loss": "squared_error", "optimizer": cr.Adam(0.01), "seed": 1}
    net, y = cr.mlp([5, 6, 1], dropout=0.2), X[:, 0]
    want = cr.fit(net, X, y, epochs=9, **settings)
    cr.fit(net, X, y, epochs=4, checkpoint=tmp_path, **settings)
    assert_same(cr.fit(net, X, y, epochs=9, checkpoint=cr.Checkpoint(tmp_path, resume=True), **settings), want)


def test_where_there_is_nothing_it_starts_afresh(tmp_path: Path) -> None:
    assert_same(train(tmp_path / "new", resume=True), train(None))


def test_ctrl_c_keeps_the_step_it_came_in(tmp_path: Path) -> None:
    class Interrupts:
        def on_step_end(self, run: Run) -> None:
            if (run.epoch, run.step) == (3, 2):
                signal.raise_signal(signal.SIGINT)

    with pytest.warns(cr.InterruptedTraining):
        train(tmp_path, Interrupts(), every="1 h")
    assert [path.name for path in tmp_path.glob("epoch*")] == ["epoch-000002-step-000002.safetensors"]
    assert has_unfinished(tmp_path)
    assert_same(train(tmp_path, every="1 h", resume=True), train(None))


def test_a_model_is_trained_further_with_checkpoints(tmp_path: Path) -> None:
    model = train(None)
    settings: dict[str, Any] = {"epochs": 4, "batch_size": 16, "seed": 5}
    want = cr.fit(model, X, Y, **settings)
    with pytest.raises(DiedError):
        cr.fit(model, X, Y, checkpoint=tmp_path, callbacks=[Dies(len(model.history) + 3, 2)], **settings)
    assert_same(cr.fit(model, X, Y, checkpoint=cr.Checkpoint(tmp_path, resume=True), **settings), want)
    with pytest.raises(cr.ConfigurationError, match="start is not the same"):
        cr.fit(want, X, Y, checkpoint=cr.Checkpoint(tmp_path, resume=True), **settings)


def test_a_callback_of_ones_own_is_resumed_with_its_state_and_one_without_a_state_may_be_left_out(
    tmp_path: Path,
) -> None:
    class Counts(cr.Callback):
        def on_train_begin(self, run: Run) -> None:
            self.steps, self.first = 0, run.snapshot()

        def on_step_end(self, run: Run) -> None:
            self.steps += 1

        def state(self) -> dict[str, Any]:
            return {"steps": self.steps, "first": self.first}

        def resume(self, state: dict[str, Any]) -> None:
            self.steps, self.first = state["steps"], state["first"]

    class Silent(cr.Callback):
        def on_train_end(self, run: Run) -> None:
            pass

        def resume(self, state: dict[str, Any]) -> None:
            raise AssertionError("it has left no state")

    whole, resumed = Counts(), Counts()
    train(None, whole)
    with pytest.raises(DiedError):
        train(tmp_path, Silent(), Counts(), Dies(3, 2))
    with pytest.raises(cr.ConfigurationError, match="had the callbacks Counts: give them again"):
        train(tmp_path, Silent(), resume=True)
    train(tmp_path, resumed, Silent(), resume=True)
    assert resumed.steps == whole.steps
    np.testing.assert_array_equal(resumed.first.theta, whole.first.theta)


def test_parts_of_your_own_are_resumed_too(tmp_path: Path) -> None:
    wave = cr.Activation(lambda xp, z: xp.sin(z), lambda xp, z: xp.cos(z), name="wave")

    def square(xp: Any, z: Any, y: Any) -> tuple[Any, Any]:
        return 0.5 * xp.sum((z - y) ** 2, axis=-1, keepdims=True), z - y

    settings: dict[str, Any] = {"loss": cr.Loss(square), "epochs": 4, "batch_size": 16}
    net = cr.mlp([5, 4, 1], activation=wave)
    want = cr.fit(net, X, X[:, 0], **settings)
    with pytest.raises(DiedError):
        cr.fit(net, X, X[:, 0], checkpoint=tmp_path, callbacks=[Dies(3, 3)], **settings)
    assert_same(cr.fit(net, X, X[:, 0], checkpoint=cr.Checkpoint(tmp_path, resume=True), **settings), want)
    with pytest.raises(cr.ModelFileError):
        cr.load(tmp_path / "best.safetensors")


def test_divergence_after_resuming_names_the_step_that_it_would_have(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"loss": "squared_error", "optimizer": cr.SGD(1.5), "batch_size": 16, "epochs": 40}
    net, y = cr.mlp([5, 8, 1], activation="linear"), X[:, 0]
    with pytest.raises(cr.DivergenceError) as whole:
        cr.fit(net, X, y, **settings)
    before = max(1, whole.value.step - 1)
    with pytest.raises(DiedError):
        cr.fit(net, X, y, checkpoint=cr.Checkpoint(tmp_path, every="0 s"), callbacks=[Dies(whole.value.epoch, before)],
               **settings)  # fmt: skip
    with pytest.raises(cr.DivergenceError) as resumed:
        cr.fit(net, X, y, checkpoint=cr.Checkpoint(tmp_path, resume=True), **settings)
    assert str(resumed.value) == str(whole.value)


# ------------------------------------------------------------------------------------------------------------ the files


def test_the_last_ones_and_the_best_are_kept_and_are_models(tmp_path: Path) -> None:
    model = train(tmp_path)
    epochs = len(model.history)
    names = {f"epoch-{epochs - 1:06d}.safetensors", f"epoch-{epochs:06d}.safetensors", "best.safetensors", "lock"}
    assert {path.name for path in tmp_path.iterdir()} == names
    best = cr.load(tmp_path / "best.safetensors")
    assert_same(best, model) if len(best.history) == epochs else None
    np.testing.assert_array_equal(best.theta, model.theta)  # early stopping went back to it
    assert len(cr.load(tmp_path / f"epoch-{epochs - 1:06d}.safetensors").history) == epochs - 1


def test_checkpoints_by_time_come_when_the_time_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**6))
    monkeypatch.setattr("chainrule.training._checkpoint_keeper.time.monotonic", lambda: float(next(clock)))
    written: list[str] = []
    write = serialization.write
    monkeypatch.setattr(
        serialization,
        "write",
        lambda path, *rest, **more: (written.append(Path(path).name), write(path, *rest, **more)),
    )
    train(tmp_path, every="7 s", epochs=4)
    steps = [name for name in written if "step" in name]
    assert 2 <= len(steps) <= 8
    assert written[-1] == "best.safetensors" or written[-1] == "epoch-000004.safetensors"


def test_a_log_is_whole_after_resuming(tmp_path: Path) -> None:
    log = cr.CSVLogger(tmp_path / "log.csv")
    with pytest.raises(DiedError):
        train(tmp_path / "runs", log, Dies(4, 3))
    model = train(tmp_path / "runs", log, resume=True)
    assert len((tmp_path / "log.csv").read_text().splitlines()) == len(model.history) + 1


def test_an_altered_checkpoint_is_passed_over_for_an_older_one(tmp_path: Path) -> None:
    with pytest.raises(DiedError):
        train(tmp_path, Dies(5, 2))
    newest = max(tmp_path.glob("epoch*"))
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    with pytest.warns(UserWarning, match="An older checkpoint is tried"):
        got = train(tmp_path, resume=True)
    assert_same(got, train(None))


# ------------------------------------------------------------------------------------------------------ what is refused

OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "seed": ({"seed": 4}, "seed was 3, now 4"),
    "optimizer": ({"optimizer": cr.SGD(0.1)}, r"optimizer is not the same\. Give"),
    "batch size": ({"batch_size": 17}, "batch_size was 16, now 17"),
    "penalty": ({"penalty": cr.Penalty(l2=0.1)}, "penalty was None, now"),
    "clip": ({"clip": cr.ClipNorm(1.0)}, "clip was None, now"),
    "order": ({"shuffle": False}, "shuffle was True, now False"),
    "dtype": ({"backend": cr.backend("numpy", dtype="float64")}, "dtype was 'float32', now 'float64'"),
    "validation": ({"validation": (X[:29], Y[:29])}, "validation is not the same"),
    "weights": ({"sample_weight": np.ones(70)}, "data is not the same"),
    "loss": ({"loss": cr.SoftmaxCrossEntropy(0.1)}, "loss was"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_another_training_is_refused_by_what_differs(what: str, tmp_path: Path) -> None:
    settings, message = OTHERS[what]
    with pytest.raises(DiedError):
        train(tmp_path, Dies(3, 2))
    with pytest.raises(cr.ConfigurationError, match=f"another training run's: .*{message}"):
        train(tmp_path, resume=True, **settings)


@pytest.mark.parametrize(
    ("library", "dtype", "seed", "says"),
    [
        ("torch", "float32", 3, "backend was 'numpy', now 'torch'"),
        ("jax", "float32", 3, "backend was 'numpy', now 'jax'"),
        ("numpy", "float64", 3, "dtype was 'float32', now 'float64'"),
        (
            "torch", "float64", 4,
            "seed was 3, now 4; backend was 'numpy', now 'torch'; dtype was 'float32', now 'float64'",
        ),
    ],
)  # fmt: skip
def test_another_backend_or_dtype_is_all_that_is_named(
    library: str, dtype: str, seed: int, says: str, tmp_path: Path
) -> None:
    find_library(library)
    train(tmp_path, epochs=2, backend="numpy")
    with pytest.raises(cr.ConfigurationError, match=rf"^the checkpoint is another training run's: {says}\. Give"):
        train(tmp_path, epochs=2, resume=True, seed=seed, backend=cr.backend(library, dtype=dtype))


@pytest.mark.parametrize("schedule", [cr.CosineDecay(0.05), cr.OneCycle(0.05)], ids=lambda each: type(each).__name__)
def test_a_schedule_keeps_the_length_that_it_was_planned_for(schedule: Any, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"optimizer": cr.Adam(schedule), "batch_size": 35}
    first = train(tmp_path, epochs=4, **settings)
    with pytest.raises(
        cr.ConfigurationError,
        match=r"another training run's: the schedule's length was 8 steps, now 16: one without steps= is planned for "
        r"all epochs, so give as many as before, or steps=8\. Give",
    ):
        train(tmp_path, epochs=8, resume=True, **settings)
    assert_same(train(tmp_path, epochs=4, resume=True, **settings), first)
    settings["optimizer"] = cr.Adam(replace(schedule, steps=8))
    more = train(tmp_path, epochs=6, resume=True, **settings)
    assert_same(more, train(None, epochs=6, **settings))
    assert more.history["learning_rate"][:4] == first.history["learning_rate"]
    with pytest.raises(cr.ConfigurationError, match="the schedule's length was 8 steps, now 9"):
        train(tmp_path, epochs=6, resume=True, **{**settings, "optimizer": cr.Adam(replace(schedule, steps=9))})


def test_a_schedule_of_ones_own_that_is_planned_for_another_length_is_refused(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"optimizer": cr.Adam(Falls()), "batch_size": 35}
    train(tmp_path, epochs=2, **settings)
    with pytest.raises(cr.ConfigurationError, match="another training run's: optimizer is not the same"):
        train(tmp_path, epochs=4, resume=True, **settings)


def test_other_data_and_another_network_are_refused(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"loss": "squared_error", "epochs": 2}
    settings["checkpoint"] = cr.Checkpoint(tmp_path, resume=True)
    cr.fit(cr.mlp([5, 4, 1]), X, X[:, 0], **settings)
    moved = X.copy()
    moved[33, 2] += 1e-3
    with pytest.raises(cr.ConfigurationError, match="data is not the same"):
        cr.fit(cr.mlp([5, 4, 1]), moved, X[:, 0], **settings)
    with pytest.raises(cr.ConfigurationError, match="network is not the same"):
        cr.fit(cr.mlp([5, 3, 1]), X, X[:, 0], **settings)


def test_a_callback_whose_state_was_kept_must_be_there_again(tmp_path: Path) -> None:
    with pytest.raises(DiedError):
        train(tmp_path, Dies(3, 2))
    settings: dict[str, Any] = {
        "loss": "softmax_cross_entropy",
        "optimizer": cr.Adam(cr.CosineDecay(0.05)),
        "epochs": 10,
    }
    settings |= {"batch_size": 16, "seed": 3, "validation": (X[:30], Y[:30])}
    with pytest.raises(cr.ConfigurationError, match="had the callbacks EarlyStopping, ReduceOnPlateau"):
        cr.fit(NETWORK, X, Y, checkpoint=cr.Checkpoint(tmp_path, resume=True), **settings)


def test_checkpoints_that_are_there_need_resume(tmp_path: Path) -> None:
    train(tmp_path, epochs=2)
    says = r"has the checkpoints of a training run: go on with cr\.Checkpoint\(folder, resume=True\) if"
    with pytest.raises(cr.ConfigurationError, match=says):
        train(tmp_path, epochs=2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every": "5 minutes"}, "every must be a number of epochs, or like '5 min', got '5 minutes'"),
        ({"every": 0}, "every must be a whole number >= 1, got 0"),
        ({"every": "min"}, "got 'min'"),
        ({"keep": 0}, "keep must be a whole number >= 1, got 0"),
    ],
)
def test_a_checkpoint_that_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(cr.ConfigurationError, match=message):
        cr.Checkpoint("runs/x", **settings)


# --------------------------------------------------------------------------------------------------------------- faults


def test_two_trainings_in_one_folder_are_refused(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    lock.hold()
    with pytest.raises(cr.FileError, match=f"process {os.getpid()} on .* is training in"):
        train(tmp_path)
    lock.release()
    train(tmp_path, epochs=1)


HOLDS = "import sys; from pathlib import Path; from chainrule.training._lock import FolderLock\n" \
    "lock = FolderLock(Path(sys.argv[1])); lock.hold(); print('held', flush=True); sys.stdin.read()"  # fmt: skip


def test_a_process_that_is_dead_holds_no_lock(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(cr.FileError, match=f"process {other.pid} on"):
            train(tmp_path, epochs=1)
        other.kill()
    train(tmp_path, epochs=1)


def failing_writes(monkeypatch: pytest.MonkeyPatch, fails: Callable[[int], bool]) -> list[str]:
    """Let the n-th write of a file fail as on a full disk."""
    write, tried = serialization.write, []

    def writing(path: Any, *rest: Any, **more: Any) -> None:
        tried.append(Path(path).name)
        if fails(len(tried)):
            raise cr.FileError(f"cannot write {path}: No space left on device.")
        write(path, *rest, **more)

    monkeypatch.setattr(serialization, "write", writing)
    return tried


def test_a_full_disk_ends_no_training_and_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    want = train(None)
    tried = failing_writes(monkeypatch, lambda n: 3 <= n <= 6)
    with pytest.warns(UserWarning, match="No space left on device") as caught:
        got = train(tmp_path)
    assert len([w for w in caught if "Training goes on" in str(w.message)]) == 1
    assert_same(got, want)
    assert len(tried) > 6
    assert_same(train(tmp_path, resume=True), want)  # what was written once the disk had room


def test_a_disk_that_stays_full_says_at_the_end_where_to_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_writes(monkeypatch, lambda n: True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(tmp_path)
    first, last = (str(w.message) for w in caught)
    assert "No space left on device. Training goes on, and it will be tried again." in first
    assert "keep the model that fit returns elsewhere, with model.save(path)" in last


def test_a_folder_that_is_removed_is_made_again(tmp_path: Path) -> None:
    shutil = importlib.import_module("shutil")

    class Removes:
        def on_step_end(self, run: Run) -> None:
            if (run.epoch, run.step) == (3, 1):
                shutil.rmtree(tmp_path / "runs")

    model = train(tmp_path / "runs", Removes())
    assert f"epoch-{len(model.history):06d}.safetensors" in {path.name for path in (tmp_path / "runs").iterdir()}


def test_a_folder_that_cannot_be_made_is_said_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(cr.FileError, match="cannot keep checkpoints in"):
        train(tmp_path / "file" / "runs", Dies(1, 1))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process is forked and killed, which this system cannot do")
def test_a_training_killed_at_two_hundred_moments_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    # In a process of its own: what other tests have imported must not be forked.
    script = "import sys, pathlib, test_checkpoint as t; t.kill_and_go_on(pathlib.Path(sys.argv[1]), 200)"
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def kill_and_go_on(folder: Path, kills: int) -> None:
    """Kill a training run so often, at random moments, and see after each that nothing is lost; then let it end."""
    endless(folder / "imports", steps=3)  # what a child would spend its short life on
    moments, before = np.random.default_rng(0), 0
    for _ in range(kills):
        child = os.fork()
        if child == 0:
            endless(folder)
            os._exit(0)
        time.sleep(float(moments.uniform(0.005, 0.06)))
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), "it was still training"
        newest = max(folder.glob("epoch*"), default=None)
        if newest is not None:
            step = int(serialization.read(newest)[0]["training.step"][0])
            assert step >= before, "no step that was kept is lost"
            before = step
    assert len(list(folder.glob(".*.partial"))) <= 2, "what a killed process was writing is cleared away"
    assert before > kills / 4, f"the trainings went on from each other, and reached step {before}"
    np.testing.assert_array_equal(endless(folder, steps=before + 7), endless(None, steps=before + 7))


def endless(folder: Path | None, steps: int | None = None) -> np.ndarray:
    """A training run whose every step is kept, until ``steps`` are taken; theta then."""
    theta: list[np.ndarray] = []

    class Ends:
        def on_step_end(self, run: Run) -> None:
            if steps is not None and int(run.state.step[0]) == steps:
                theta.append(np.array(run.state.theta))
                raise DiedError

    with contextlib.suppress(DiedError):
        cr.fit(
            cr.mlp([5, 8, 2], dropout=0.3),
            X,
            Y,
            loss="softmax_cross_entropy",
            epochs=10**6,
            batch_size=16,
            callbacks=[Ends()],
            checkpoint=None if folder is None else cr.Checkpoint(folder, every="0 s", keep=2, resume=True),
            backend="numpy",
        )
    return theta[0]


def test_no_state_that_is_not_finite_is_kept(tmp_path: Path) -> None:
    def boom(xp: Any, z: Any, y: Any) -> tuple[Any, Any]:
        return xp.sum(z - z, axis=-1, keepdims=True), z * np.nan

    checkpoint = cr.Checkpoint(tmp_path, every="0 s")
    with pytest.raises(cr.DivergenceError):
        cr.fit(cr.mlp([5, 1]), X, X[:, 0], loss=cr.Loss(boom), batch_size=16, checkpoint=checkpoint)
    assert not list(tmp_path.glob("epoch*"))


@pytest.mark.filterwarnings("ignore:training diverged")
@pytest.mark.parametrize("library", ["numpy", "torch", "jax-jit"])
@pytest.mark.parametrize("place", [(3, 2), (6, 1), (7, 3)])
def test_what_a_training_recovers_to_outlives_it(
    place: tuple[int, int], library: str, tmp_path: Path, open_platform: Callable[..., Platform]
) -> None:
    class Faster:
        """Makes the fifth epoch and those after it diverge, until the rate was halved often enough."""

        def on_epoch_begin(self, run: Run) -> None:
            if run.epoch == 5 and run.recoveries == 0:
                run.scale_rate(40)

    def run(folder: Path | None, *more: object, resume: bool = False) -> cr.Model:
        return cr.fit(
            cr.mlp([5, 8, 1]),
            X,
            X @ np.ones(5),
            loss="squared_error",
            optimizer=cr.SGD(0.05),
            epochs=8,
            batch_size=14,
            on_divergence="recover",
            callbacks=[Faster(), *more],
            checkpoint=None if folder is None else cr.Checkpoint(folder, resume=resume),
            backend=open_platform(library).backend,
        )

    want = run(None)
    assert want.history["learning_rate"][-1] < 0.04 * 40, "it had to recover"
    assert want.history["loss"][5] < 1e-6 * want.history["loss"][4], "in the sixth epoch from the end of the fourth"
    with pytest.raises(DiedError):
        run(tmp_path, Dies(*place))
    assert_same(run(tmp_path, resume=True), want)


@pytest.mark.filterwarnings("ignore:training diverged")
def test_what_a_file_of_a_training_that_recovers_is_called_stays_so(tmp_path: Path) -> None:
    """Files that were written before are gone on with, and those of now by what was installed before."""

    class Once:
        def on_epoch_end(self, run: Run, record: Any) -> None:
            if run.epoch == 2 and run.recoveries == 0:
                run.state = run.state._replace(theta=run.state.theta * np.float32("inf"))

    train(tmp_path, Once(), on_divergence="recover", epochs=3)
    arrays, description = serialization.read(max(tmp_path.glob("epoch*")))
    counters = {"step", "cursor", "key", "scale", "cost", "weight", "moments.0", "moments.1"}
    good = {f"good.{i}.{name}" for i in (0, 1) for name in (*counters, "theta", "buffers")}
    stopped = {f"callbacks.0.snapshot.{name}" for name in ("theta", "buffers")}
    assert set(arrays) == {"theta", "buffers"} | {f"training.{name}" for name in counters | good | stopped}
    keys = "identity epoch step rate_scale recoveries good stopped loops products finished callbacks"
    assert set(description["training"]) == set(keys.split())
    assert (description["training"]["good"], description["training"]["recoveries"]) == (2, 1)
    assert arrays["training.good.0.step"] == 0
    assert arrays["training.good.1.step"] > 0
