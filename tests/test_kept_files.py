"""The folder of a training: nothing goes but what it wrote, and whatever else lies there, its checkpoints are right."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import chainrule as cr
from chainrule._model import serialization
from chainrule.training import Run, _lock
from chainrule.training._checkpoint_keeper import Keeper
from chainrule.training._lock import FolderLock

RNG = np.random.default_rng(1)
X = RNG.normal(size=(70, 5)).astype("float32")
Y = X[:, 0] * X[:, 1]
HELD = (X[:20], Y[:20] + RNG.normal(size=20))


class DiedError(BaseException):
    """What stands for the end of a process: nobody catches it."""


def train(folder: Path | None, epochs: int = 8, *, resume: bool = True, **settings: Any) -> cr.Model:
    usual: dict[str, Any] = {"loss": "squared_error", "optimizer": cr.Adam(0.05), "batch_size": 16, "validation": HELD}
    kept = settings.pop("kept", {})
    if folder is not None:
        usual["checkpoint"] = cr.Checkpoint(folder, resume=resume, **kept)
    return cr.fit(cr.mlp([5, 8, 1]), X, Y, epochs=epochs, **usual | settings)


def lowest(folder: Path) -> tuple[bytes, list[float]]:
    """The weights and losses of the best model."""
    model = cr.load(folder / "best.safetensors")
    return np.asarray(model.theta).tobytes(), model.history["val_loss"]


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("epoch-*"))


# ---------------------------------------------------------------------------------------------------- killed in a write


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training run that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole")
    values = train(folder).history["val_loss"]
    assert 1 < int(np.argmin(values)) + 1 < 8, "the best epoch lies in the middle"
    return folder


@pytest.mark.parametrize("every", [1, 4, "0 s"])
@pytest.mark.parametrize("moment", ["before", "after"], ids=["in it", "after it"])
def test_a_kill_at_any_write_leaves_the_best_model_right(
    moment: str, every: int | str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, keep = Path.replace, Keeper.on_break
    left = [0]

    def dies(self: Path, target: Any) -> Any:
        left[0] -= 1
        if moment == "before" and left[0] == 0:
            raise DiedError
        replace(self, target)
        if left[0] == 0:
            raise DiedError

    def on_break(self: Keeper, run: Run) -> None:  # a process that is killed runs no more of it
        if not isinstance(sys.exc_info()[1], DiedError):
            keep(self, run)

    monkeypatch.setattr(Path, "replace", dies)
    monkeypatch.setattr(Keeper, "on_break", on_break)
    for write in range(1, 1000, 1 if every != "0 s" else 13):
        folder, left[0] = tmp_path / str(write), write
        try:
            train(folder, kept={"every": every})
        except DiedError:
            left[0] = 0
            train(folder, kept={"every": every})
            assert lowest(folder) == lowest(whole), write
            assert {path.name for path in folder.iterdir()} == {path.name for path in whole.iterdir()} | {
                path.name for path in folder.glob(".training-*") if moment == "before"
            }
        else:
            break
    assert write > 2


def test_a_best_model_that_is_missing_is_written_where_it_can_be(whole: Path, tmp_path: Path) -> None:
    best = len(lowest(whole)[1])
    for epochs in (best, best - 1):
        folder = tmp_path / str(epochs)
        train(folder, epochs)
        (folder / "best.safetensors").unlink()
        train(folder, best)
        assert lowest(folder) == lowest(whole)


def test_a_model_that_is_trained_further_has_a_best_model_of_its_own(tmp_path: Path) -> None:
    model = train(None, 30)
    further = cr.fit(model, X, Y + 3, epochs=3, validation=(HELD[0], HELD[1] + 3), checkpoint=tmp_path)
    assert min(further.history["val_loss"][:30]) < min(further.history["val_loss"][30:])
    assert lowest(tmp_path)[1][-1] == min(further.history["val_loss"][30:])


# ------------------------------------------------------------------------------------------------- what lies in the way


def other_model(path: Path) -> None:
    cr.fit(cr.mlp([5, 1]), X, Y, loss="squared_error", epochs=1).save(path)


def cut(path: Path) -> None:
    other_model(path)
    path.write_bytes(path.read_bytes()[:-9])


STRANGERS: dict[str, Callable[[Path], Any]] = {
    "nothing": Path.touch,
    "cut off": cut,
    "text": lambda path: path.write_text("hello"),
    "a folder": lambda path: (path.mkdir(), (path / "thesis.txt").write_text("mine")),
    "a pipe": os.mkfifo,
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "another model": other_model,
    "another program's": lambda path: safetensors.numpy.save_file({"w": np.ones(3)}, path),
}


def look(path: Path) -> Any:
    """What must not change."""
    kept = path.lstat()
    inside = path.read_bytes() if path.is_file() else sorted(path.glob("*"))
    return kept.st_ino, kept.st_mode, inside


@pytest.mark.parametrize("keep", [1, 3])
@pytest.mark.parametrize("stranger", STRANGERS)
def test_what_has_the_name_of_a_checkpoint_is_passed_over_and_stays(
    stranger: str, keep: int, whole: Path, tmp_path: Path
) -> None:
    train(tmp_path, 3, kept={"keep": 3})
    paths = [tmp_path / f"epoch-{number}.safetensors" for number in ("000098", "000004", "000007")]
    for path in paths:
        STRANGERS[stranger](path)
    before = [look(path) for path in paths]
    for epochs in (5, 7, 8):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = train(tmp_path, epochs, kept={"keep": keep})
        said = [str(w.message) for w in caught]
        assert "epoch-000098" in said[0]
        assert all(text.endswith(" An older checkpoint is tried.") for text in said)
        assert len(model.history) == epochs
    np.testing.assert_array_equal(model.theta, cr.load(whole / "epoch-000008.safetensors").theta)
    assert lowest(tmp_path) == lowest(whole)
    assert [look(path) for path in paths] == before
    assert len(checkpoints(tmp_path)) == len(paths) + keep


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
@pytest.mark.parametrize("when", [1, 2], ids=["at once", "in the middle"])
def test_a_checkpoint_that_cannot_be_read_is_passed_over(
    when: int, error: OSError, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, left = serialization._opened, [when]

    def fails(path: Any) -> Any:
        if Path(path).name == "epoch-000003.safetensors":
            left[0] -= 1
            if left[0] <= 0:
                raise error
        return opened(path)

    train(tmp_path, 3, kept={"keep": 2})
    before = look(tmp_path / "epoch-000003.safetensors")
    monkeypatch.setattr(serialization, "_opened", fails)
    with pytest.warns(UserWarning, match=rf"epoch-000003.safetensors: {error.strerror}\. An older checkpoint is tried"):
        model = train(tmp_path)
    np.testing.assert_array_equal(model.theta, cr.load(whole / "epoch-000008.safetensors").theta)
    assert look(tmp_path / "epoch-000003.safetensors") == before
    assert lowest(tmp_path) == lowest(whole)


def test_none_that_can_be_read_is_an_error_and_loses_none(tmp_path: Path) -> None:
    train(tmp_path, 3, kept={"keep": 3})
    for path in tmp_path.glob("epoch-*"):
        path.write_bytes(b"")
    with pytest.raises(cr.FileError, match="epoch-000003"):
        train(tmp_path)
    assert len(checkpoints(tmp_path)) == 3


def test_the_newest_is_the_one_that_says_so_and_not_its_name(whole: Path, tmp_path: Path) -> None:
    train(tmp_path, 3, kept={"keep": 2})
    shutil.copy(tmp_path / "epoch-000002.safetensors", tmp_path / "epoch-000099.safetensors")
    steps: list[int] = []
    counting = type("Counting", (), {"on_step_end": lambda self, run: steps.append(run.epoch)})()
    model = train(tmp_path, callbacks=[counting])
    assert min(steps) == 4
    np.testing.assert_array_equal(model.theta, cr.load(whole / "epoch-000008.safetensors").theta)


def test_fewer_are_kept_once_fewer_are_asked_for(tmp_path: Path) -> None:
    train(tmp_path, 4, kept={"keep": 3})
    assert len(checkpoints(tmp_path)) == 3
    train(tmp_path, 5, kept={"keep": 1})
    assert checkpoints(tmp_path) == ["epoch-000005.safetensors"]


def test_an_altered_one_goes_before_a_good_one(tmp_path: Path) -> None:
    train(tmp_path, 3, kept={"keep": 2})
    newest = tmp_path / "epoch-000003.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    with pytest.warns(UserWarning, match="An older checkpoint is tried"):
        train(tmp_path, 4, kept={"keep": 2, "every": 2})
    assert checkpoints(tmp_path) == ["epoch-000002.safetensors", "epoch-000004.safetensors"]


@pytest.mark.parametrize("stranger", ["nothing", "cut off", "text", "a folder", "a pipe", "a link to nowhere"])
def test_a_best_model_that_cannot_be_read_is_put_aside(stranger: str, tmp_path: Path) -> None:
    train(tmp_path, 1)
    best = tmp_path / "best.safetensors"
    best.unlink()
    STRANGERS[stranger](best)
    before = look(best)
    with pytest.warns(UserWarning, match=r"It is kept as best\.safetensors\.1"):
        model = train(tmp_path, 2)
    assert look(tmp_path / "best.safetensors.1")[:2] == before[:2]
    assert lowest(tmp_path)[1][-1] == min(model.history["val_loss"])


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("trained", [True, False])
def test_a_best_model_of_somebody_else_is_refused_and_stays(trained: bool, resume: bool, tmp_path: Path) -> None:
    if trained:
        train(tmp_path, 1)
    other_model(tmp_path / "best.safetensors")
    before = look(tmp_path / "best.safetensors")
    with pytest.raises(
        cr.ChainruleError,
        match=r"best.safetensors is not this training's: move it"
        if resume
        else r"has the checkpoints of a training run: go on with cr.Checkpoint\(folder, resume=True\) if it is this one"
        if trained
        else r"has the best model \(best.safetensors\) of a training run: go on with cr.Checkpoint\(",
    ):
        train(tmp_path, 3, resume=resume)
    assert look(tmp_path / "best.safetensors") == before


def test_files_of_others_stay(tmp_path: Path) -> None:
    names = [
        "llama.pt", ".model.partial", ".epoch-000001.safetensors.12-34.partial", ".training-0123456789ab-1-2-3.partial",
        ".chainrule-1-2-3.partial", "epoch-000001.ckpt", "epoch-000001.safetensors.bak", "epoch-١.safetensors",
        "xepoch-000001.safetensors", "best.safetensors.1", "checkpoint-epoch-000001.safetensors",
    ]  # fmt: skip
    for name in names:
        (tmp_path / name).write_text(name)
    train(tmp_path, 3)
    train(tmp_path, 5)
    assert {name: (tmp_path / name).read_text() for name in names} == {name: name for name in names}
    assert len(list(tmp_path.iterdir())) == len(names) + 3


def test_what_a_killed_process_of_the_training_was_writing_is_cleared_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: Path, target: Any) -> Any:
        raise DiedError

    train(tmp_path, 3)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        patch.setattr(Path, "unlink", lambda self, missing_ok=False: None)
        with pytest.raises(DiedError):
            train(tmp_path, 4)
    assert list(tmp_path.glob(".*.partial"))
    train(tmp_path, 4)
    assert not list(tmp_path.glob(".*.partial"))


def test_a_checkpoint_that_was_written_badly_costs_none_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = serialization.write

    def loses(path: Any, *rest: Any, **more: Any) -> None:
        write(path, *rest, **more)
        if Path(path).name != "best.safetensors":
            os.truncate(path, 100)

    train(tmp_path, 2)
    monkeypatch.setattr(serialization, "write", loses)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(tmp_path, 4)
    assert ["Training goes on" in str(w.message) for w in caught] == [True, False]
    monkeypatch.undo()
    with pytest.warns(UserWarning, match="An older checkpoint is tried"):
        assert len(train(tmp_path, 4).history) == 4


# ------------------------------------------------------------------------------------------------------------- the lock


def held_by_another(folder: Path) -> bool:
    try:
        lock = FolderLock(folder)
        lock.hold()
    except cr.FileError:
        return True
    lock.release()
    return False


def test_the_lock_names_the_last_process_alone(tmp_path: Path) -> None:
    for _ in range(3):
        lock = FolderLock(tmp_path)
        assert not lock.hold()
        assert lock.hold()
        lock.release()
    (tmp_path / "lock").write_text("process 1 on elsewhere\nprocess 2 on elsewhere\n")
    lock.hold()
    assert (tmp_path / "lock").read_text() == f"process {os.getpid()} on {os.uname().nodename}\n"
    lock.release()


@pytest.mark.parametrize("content", ["my notes\n", "\0", "process me\n"])
def test_a_lock_of_somebody_else_is_refused_and_stays(content: str, tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(content)
    with pytest.raises(cr.FileError, match="lock is no lock of a training run: move it away"):
        train(tmp_path)
    assert (tmp_path / "lock").read_text() == content


@pytest.mark.parametrize("stranger", ["a folder", "a pipe"])
def test_a_lock_that_is_no_file_is_refused(stranger: str, tmp_path: Path) -> None:
    STRANGERS[stranger](tmp_path / "lock")
    with pytest.raises(cr.FileError, match=r"is no lock of a training run|Is a directory"):
        train(tmp_path)


@pytest.mark.parametrize("given", [str, Path], ids=["text", "path"])
def test_a_relative_folder_is_the_same_after_the_process_has_moved(
    given: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()

    class Moves:
        def on_epoch_begin(self, run: Any) -> None:
            os.chdir(tmp_path / "other")

    for epochs in (2, 4):
        monkeypatch.chdir(tmp_path)
        checkpoint, log = cr.Checkpoint(given("runs"), resume=True), cr.CSVLogger("log.csv")
        usual: dict[str, Any] = {"loss": "squared_error", "epochs": epochs, "callbacks": [Moves(), log]}
        model = cr.fit(cr.mlp([5, 8, 1]), X, Y, checkpoint=checkpoint, **usual)
        assert [path.name for path in (tmp_path / "other").iterdir()] == []
        assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
            "best.safetensors",
            f"epoch-{epochs:06d}.safetensors",
            "lock",
        ]
        assert (tmp_path / "log.csv").read_text() == model.history.to_csv()
        assert len(model.history) == epochs


@pytest.mark.parametrize("make", [cr.Checkpoint, cr.CSVLogger])
def test_a_place_is_a_path_in_a_folder_that_is_there(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(cr.ConfigurationError, match="expected the path of a file, got 3"):
        make(3)
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(cr.FileError, match="cannot find 'runs': the current folder was removed"):
        make("runs")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process is forked, which this system cannot do")
@pytest.mark.parametrize("how", ["os.fork", "multiprocessing"])
def test_a_forked_child_holds_no_lock(how: str, tmp_path: Path) -> None:
    script = f"""
import multiprocessing, os, sys, time
from pathlib import Path
from chainrule.training._lock import FolderLock
lock = FolderLock(Path({str(tmp_path)!r}))
lock.hold()
if {how == "os.fork"}:
    child = os.fork()
    if not child:
        lock.release()  # changes nothing for the parent
        time.sleep(60)
        os._exit(0)
else:
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    process.start()
    child = process.pid
time.sleep(0.2)
print(child, flush=True)
sys.stdin.readline()
os._exit(1)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert held_by_another(tmp_path)
        parent.kill()
        parent.wait()
        try:
            os.kill(child, 0)  # it lives
            assert not held_by_another(tmp_path)
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.filterwarnings("ignore:.*fork")  # where another test has imported a library that has threads
def test_children_of_a_training_leave_its_lock_alone(tmp_path: Path) -> None:
    class Starts:
        def on_epoch_end(self, run: Run, record: dict[str, float]) -> None:
            methods = [name for name in ("fork", "spawn") if name in multiprocessing.get_all_start_methods()]
            subprocess.run([sys.executable, "-c", ""], check=True)
            if run.epoch == 1 and sys.platform != "win32":
                child = multiprocessing.get_context(methods[0]).Process(target=time.sleep, args=(0,))
                child.start()
                child.join()
            assert held_by_another(tmp_path)

    train(tmp_path, 2, callbacks=[Starts()])
    assert not held_by_another(tmp_path)


def test_a_reader_of_the_folder_lets_no_lock_go(tmp_path: Path) -> None:
    class Copies:
        def on_epoch_end(self, run: Run, record: dict[str, float]) -> None:
            shutil.copytree(tmp_path / "runs", tmp_path / f"copy {run.epoch}")
            assert held_by_another(tmp_path / "runs")

    train(tmp_path / "runs", 2, callbacks=[Copies()])


def test_a_training_in_a_training_is_refused_the_same_folder(tmp_path: Path) -> None:
    class Nests:
        def on_epoch_end(self, run: Run, record: dict[str, float]) -> None:
            with pytest.raises(cr.FileError, match=f"process {os.getpid()} on .* is training in"):
                train(tmp_path)

    train(tmp_path, 2, callbacks=[Nests()])


def test_a_folder_that_another_training_took_is_left_to_it(tmp_path: Path) -> None:
    """It is removed while one trains in it, and made again by another: the first goes on and touches nothing."""
    folder, seen = tmp_path / "runs", []

    class Takes:
        def on_epoch_end(self, run: Run, record: dict[str, float]) -> None:
            if run.epoch == 3:
                shutil.rmtree(folder)
                other.append(FolderLock(folder))
                other[0].hold()
                train(None, 1).save(folder / "epoch-000002.safetensors")
                train(None, 1).save(folder / "epoch-000004.safetensors")
                seen.append({path.name: look(path) for path in folder.iterdir()})

    other: list[FolderLock] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = train(folder, callbacks=[Takes()])
    assert len(model.history) == 8
    assert {path.name: look(path) for path in folder.iterdir()} == seen[0]
    first, last = (str(w.message) for w in caught)
    assert "is training in" in first
    assert "Training goes on" in first
    assert "keep the model that fit returns elsewhere" in last
    other[0].release()


def test_a_folder_that_was_made_again_gets_checkpoints_and_a_best_model(tmp_path: Path) -> None:
    folder = tmp_path / "runs"

    class Removes:
        def on_step_end(self, run: Run) -> None:
            if (run.epoch, run.step) == (6, 1):
                shutil.rmtree(folder)

    values = train(folder, callbacks=[Removes()]).history["val_loss"]
    assert checkpoints(folder) == ["epoch-000008.safetensors"]
    assert lowest(folder)[1][-1] == min(values[5:])


@pytest.mark.parametrize(
    "error", [ImportError("no fcntl"), OSError(38, "Function not implemented"), OSError(37, "none")]
)
def test_a_system_without_locks_trains_and_says_so(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise error

    monkeypatch.setitem(sys.modules, "fcntl", None if isinstance(error, ImportError) else sys.modules["fcntl"])
    if not isinstance(error, ImportError):
        monkeypatch.setattr("fcntl.flock", flock)

    class Nests:
        def on_train_begin(self, run: Run) -> None:
            with pytest.raises(cr.FileError, match="is training in"):
                train(tmp_path, 1)

    with pytest.warns(UserWarning, match="there are no file locks in") as caught:
        train(tmp_path, 3, callbacks=[Nests()])
    assert len(caught) == 1
    assert not _lock._held


# -------------------------------------------------------------------------------------------------- hostile checkpoints

HOSTILE: dict[str, dict[str, Any]] = {
    "callbacks": {"callbacks": 3},
    "a callback": {"callbacks": [{"type": "EarlyStopping"}]},
    "a text": {"callbacks": ["x"]},
    "good": {"good": "x"},
    "many good": {"good": 5},
    "rate": {"rate_scale": "fast"},
    "recoveries": {"recoveries": None},
    "escapes": {"callbacks": [{"type": "\x1b]0;gone\x07", "index": 0}]},
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_checkpoint_that_no_training_writes_is_refused_in_a_line(what: str, tmp_path: Path) -> None:
    train(tmp_path, 2)
    path = tmp_path / "epoch-000002.safetensors"
    arrays, description = serialization.read(path)
    description["training"] |= HOSTILE[what]
    del description["format"], description["versions"]
    serialization.write(path, arrays, description)
    with pytest.raises(cr.ChainruleError) as caught:
        train(tmp_path, 3)
    assert str(caught.value).isprintable()


def test_a_best_model_with_another_history_is_refused(tmp_path: Path) -> None:
    train(tmp_path, 2)
    path = tmp_path / "best.safetensors"
    arrays, description = serialization.read(path)
    for history in ([], [3], [{}], None, {}):
        content = {**json.loads(json.dumps(description)), "history": history}
        del content["format"], content["versions"]
        serialization.write(path, arrays, content)
        with pytest.raises(cr.FileError, match="is not this training's"):
            train(tmp_path, 3)
