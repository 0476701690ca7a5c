"""Runs in a folder with a run in it: numbered, resumed, replaced whole or not at all, and never two at a time."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from quick_runs import QUICK, Drawing, content, train

import chainrule as cr
from chainrule.cli._folder import RunFolder
from chainrule.training import FolderLock


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table, and a run that was trained on it."""
    folder, rng = tmp_path_factory.mktemp("run"), np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "y": np.where(X[:, 0] > 0, "yes", "no")})
    frame.to_csv(folder / "table.csv", index=False)
    assert train(folder / "table.csv", "--out", folder / "out") == 0
    return folder


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("chainrule.cli._train.plot_history", lambda history: Drawing())


@pytest.fixture
def table(run: Path) -> Path:
    return Path(shutil.copy(run / "table.csv", "table.csv"))


class KilledError(BaseException):
    """Nobody catches it."""


@pytest.fixture
def dies(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Train, and die in the second epoch."""

    write = cr.CSVLogger.on_epoch_end

    def kill(self: cr.CSVLogger, run: Any, record: dict[str, float]) -> None:
        if record["epoch"] == 2:
            raise KilledError
        write(self, run, record)

    def run(*words: object) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(cr.CSVLogger, "on_epoch_end", kill)
            with pytest.raises(KilledError):
                train(*words)

    return run


# ------------------------------------------------------------------------------------------------------ a run of before


def test_the_default_folder_takes_the_next_number_and_says_so(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(table) == 0
    first = content(Path("runs/table"))
    assert "already" not in capsys.readouterr().out
    assert train(table) == 0
    assert "runs/table is there already: this run goes to runs/table-2.\n" in capsys.readouterr().out
    assert train(table) == 0
    assert "this run goes to runs/table-3.\n" in capsys.readouterr().out
    assert content(Path("runs/table")) == first
    assert set(content(Path("runs/table-3"))) == set(first)


def test_overwrite_takes_the_default_folder_without_a_number(table: Path) -> None:
    assert train(table) == train(table) == 0
    second = content(Path("runs/table-2"))
    assert train(table, "--overwrite", "--epochs", 2) == 0
    assert len(cr.load("runs/table/model.safetensors").history) == 2
    assert content(Path("runs/table-2")) == second
    assert len(list(Path("runs").iterdir())) == 2


def test_resume_goes_on_with_the_latest_that_was_not_finished(
    table: Path, dies: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(table) == 0
    dies(table)
    assert train(table) == 0
    finished = content(Path("runs/table")), content(Path("runs/table-3"))
    capsys.readouterr()
    assert train(table, "--resume") == 0
    assert "going on in runs/table-2.\n" in capsys.readouterr().out
    assert (content(Path("runs/table")), content(Path("runs/table-3"))) == finished
    np.testing.assert_array_equal(*(cr.load(f"runs/table{n}/model.safetensors").theta for n in ("", "-2")))
    assert train(table, "--resume", "--epochs", 5) == 0, "nothing is unfinished: the latest is made longer"
    assert "going on in runs/table-2.\n" in capsys.readouterr().out
    assert len(cr.load("runs/table-2/model.safetensors").history) == 5


def test_resume_with_nothing_there_begins(table: Path) -> None:
    assert train(table, "--resume") == 0
    assert train(table, "--resume", "--out", "named") == 0
    assert cr.load("runs/table/model.safetensors").theta.tolist() == cr.load("named/model.safetensors").theta.tolist()


def test_a_named_folder_with_a_run_is_refused(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(table, "--out", "out") == 0
    before = content(Path("out"))
    assert train(table, "--out", "out", "--seed", 1) == 1
    captured = capsys.readouterr()
    assert "out has a finished run" in captured.err
    assert "--overwrite" in captured.err
    assert content(Path("out")) == before
    shutil.rmtree("out")
    Path("out").mkdir()
    Path("out/history.csv").write_bytes(before["history.csv"])
    assert train(table, "--out", "out", "--seed", 1) == 1
    assert "out has the history.csv of a run" in capsys.readouterr().err
    assert Path("out/history.csv").read_bytes() == before["history.csv"]
    assert train(table, "--out", "out", "--seed", 1, "--overwrite") == 0


def test_resume_and_overwrite_contradict_each_other(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(table, "--out", "out", "--resume", "--overwrite") == 1
    assert "give one of them" in capsys.readouterr().err


def test_overwrite_replaces_all_that_the_run_of_before_wrote(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(table, "--out", "out") == 0
    Path("out/notes.txt").write_text("mine")
    before = content(Path("out"))
    assert train(table, "--out", "out", "--seed", 1, "--epochs", 2, "--overwrite") == 0
    assert "wrote out/model.safetensors, out/history.csv, out/curves.png\n" in capsys.readouterr().out
    after = content(Path("out"))
    assert after.pop("notes.txt") == b"mine"
    assert train(table, "--out", "alone", "--seed", 1, "--epochs", 2) == 0
    assert set(after) == set(content(Path("alone"))), "nothing of the first run, of its checkpoints or of the move"
    assert after["model.safetensors"] != before["model.safetensors"]
    assert len(after["history.csv"].splitlines()) == 3
    assert train(table, "--out", "out", "--seed", 1, "--epochs", 4, "--resume") == 0, "and it can be gone on with"
    assert len(cr.load("out/model.safetensors").history) == 4


def test_a_killed_overwrite_leaves_the_old_run_whole_and_can_be_resumed(
    table: Path, dies: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(table, "--out", "out") == 0
    before = content(Path("out"))
    dies(table, "--out", "out", "--seed", 1, "--overwrite")
    assert before.items() <= content(Path("out")).items()
    capsys.readouterr()
    assert train(table, "--out", "out", "--seed", 1) == 1
    assert "out has a training run that was not finished" in capsys.readouterr().err
    assert train(table, "--out", "out", "--seed", 1, "--resume") == 0
    assert set(content(Path("out"))) == set(before)
    assert train(table, "--out", "whole", "--seed", 1) == 0
    np.testing.assert_array_equal(*(cr.load(f"{out}/model.safetensors").theta for out in ("out", "whole")))
    for seed in (2, 3):
        dies(table, "--out", "out", "--seed", seed, "--overwrite")
    unfinished = content(Path("out"))
    assert train(table, "--out", "out", "--overwrite", "--batch-size", 0) == 1
    assert content(Path("out")) == unfinished, "what is to be replaced stays until there is something in its place"
    assert train(table, "--out", "out", "--seed", 3, "--resume") == 0, "the later one"
    assert set(content(Path("out"))) == set(before)
    dies(table, "--out", "out", "--seed", 2, "--overwrite")
    assert train(table, "--out", "out", "--seed", 3, "--overwrite") == 0, "or begun anew"
    assert set(content(Path("out"))) == set(before)


def test_an_interrupted_overwrite_replaces_nothing_yet(
    table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def press(self: object, run: object, record: dict[str, float]) -> None:
        if record["epoch"] == 2:
            signal.raise_signal(signal.SIGINT)

    words = (table, "--out", "out", "--seed", 1, "--epochs", 6)
    assert train(table, "--out", "out") == 0
    before = content(Path("out"))
    with monkeypatch.context() as patch:
        patch.setattr(cr.CSVLogger, "on_epoch_end", press)
        assert train(*words, "--overwrite") == 130
    printed = capsys.readouterr().out
    assert "wrote out/unfinished/model.safetensors" in printed
    assert "out keeps the run that it has until this one is finished: go on with --resume." in printed
    assert before.items() <= content(Path("out")).items()
    assert len(cr.load("out/unfinished/model.safetensors").history) == 3
    assert train(*words, "--resume") == 0
    assert not Path("out/unfinished").exists()
    assert len(cr.load("out/model.safetensors").history) == 6


@pytest.mark.parametrize("moment", range(13))
def test_a_run_that_is_killed_while_it_takes_its_place_is_resumed_whole(
    moment: int, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (table, "--out", "out", "--seed", 1)
    assert train(table, "--out", "out") == 0
    old = content(Path("out"))
    moves = iter(range(13))

    def kills(action: Callable[..., Any]) -> Callable[..., Any]:
        def killed(path: Path, *arguments: object, **settings: object) -> object:
            if next(moves) == moment:
                raise KilledError
            return action(path, *arguments, **settings)

        return killed

    finish = RunFolder.finish

    def dies(self: RunFolder) -> RunFolder:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", kills(Path.replace))
            patch.setattr(Path, "unlink", kills(Path.unlink))
            return finish(self)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "finish", dies)
        with pytest.raises(KilledError):
            train(*words, "--overwrite")
    left = content(Path("out"))
    assert (left["model.safetensors"] == old["model.safetensors"]) == (moment < 9), "there always is one; it comes last"
    assert moment >= 9 or set(old.values()) <= set(left.values())
    assert train(*words) == 1
    assert train(*words, "--resume") == 0
    assert train(table, "--seed", 1, "--out", "whole") == 0
    assert set(content(Path("out"))) == set(content(Path("whole")))
    np.testing.assert_array_equal(*(cr.load(f"{out}/model.safetensors").theta for out in ("out", "whole")))


# -------------------------------------------------------------------------------------------------------- two at a time


def test_a_folder_in_which_another_process_trains_is_refused(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = "import sys; from chainrule.cli import main; main(sys.argv[1:])"
    words = ["train", "table.csv", "--target", "y", *QUICK, "--epochs", "1000000", "--patience", "1000000"]
    first = subprocess.Popen([sys.executable, "-c", script, *words, "--checkpoint", "1 h", "--out", "out"])
    try:
        history = Path("out/history.csv")
        while first.poll() is None and not (history.exists() and history.stat().st_size):
            pass  # it has no checkpoint yet
        locks = {path: path.stat().st_ino for path in Path("out").rglob("*lock")}
        assert len(locks) == 2
        for flags in ([], ["--overwrite"], ["--resume"]):
            assert train(table, "--out", "./out", *flags) == 1
            assert f"process {first.pid} on" in capsys.readouterr().err
        assert {path: path.stat().st_ino for path in Path("out").rglob("*lock")} == locks
        assert first.poll() is None
    finally:
        first.kill()
        first.wait()
    assert train(table, "--out", "out", "--overwrite") == 0, "the lock of a dead process is none"


def test_two_that_begin_together_take_two_numbers(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second claims its folder while the first, which has claimed its own, has written nothing."""
    claimed, fit, seconds = threading.Event(), cr.fit, []

    def waits(*arguments: object, **settings: object) -> cr.Model:
        if not claimed.is_set():
            claimed.set()
            script = "import sys; from chainrule.cli import main; sys.exit(main(sys.argv[1:]))"
            seconds.append(
                subprocess.run([sys.executable, "-c", script, "train", "table.csv", "--target", "y", *QUICK])
            )
        return fit(*arguments, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr("chainrule.cli._train.fit", waits)
    assert train(table) == 0
    assert seconds[0].returncode == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == ["table", "table-2"]


def test_the_folder_is_held_until_all_is_written(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, tried = cr.Model.save, []

    def tries(self: cr.Model, path: Path, **settings: bool) -> None:
        with pytest.raises(cr.FileError, match="is training in out"):
            FolderLock(Path("out"), ".chainrule-lock").hold()
        tried.append(path)
        save(self, path, **settings)

    monkeypatch.setattr(cr.Model, "save", tries)
    assert train(table, "--out", "out") == 0
    assert Path("out/model.safetensors") in tried
