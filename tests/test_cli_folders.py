"""Where the command line writes: nothing is lost that a run did not write, and no two trainings meet."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pytest

import chainrule as cr
from chainrule.cli import main
from chainrule.cli._folder import RunFolder
from chainrule.training import FolderLock

QUICK = [
    "--hidden",
    "4",
    "--epochs",
    "3",
    "--normalization",
    "none",
    "--dropout",
    "0",
    "--checkpoint",
    "0 s",
    "--quiet",
]


class Drawing:
    """A picture that takes no time."""

    def savefig(self, file: IO[bytes], **settings: Any) -> None:
        file.write(b"\x89PNG")


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


@pytest.fixture
def model(run: Path) -> Path:
    shutil.copytree(run / "out", "out")
    return Path("out/model.safetensors")


def train(*words: object) -> int:
    return main(["train", "--target", "y", *QUICK, *map(str, words)])


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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


# ------------------------------------------------------------------------------------- what somebody else put there


@pytest.mark.parametrize("flags", [[], ["--overwrite"], ["--resume"]])
@pytest.mark.parametrize(
    "name", ["model.safetensors", "history.csv", "curves.png", "checkpoints/best.safetensors", "unfinished/history.csv"]
)
def test_a_strangers_file_of_a_name_of_ours_is_refused_and_stays(
    name: str, flags: list[str], table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("out", name).parent.mkdir(parents=True)
    Path("out", name).write_bytes(b"epoch,loss,mine\n1,2,3\n")
    assert train(table, "--out", "out", *flags) == 1
    assert Path(name).name in capsys.readouterr().err
    assert Path("out", name).read_bytes() == b"epoch,loss,mine\n1,2,3\n"
    assert not Path("out/model.safetensors").exists() or name == "model.safetensors"


@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
def test_strangers_files_beside_ours_are_left_alone(flags: list[str], table: Path) -> None:
    theirs = {"checkpoints/llama.pt": b"x", "checkpoints/deep/er.txt": b"y", "notes.txt": b"z"}
    for name, text in theirs.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(text)
    assert train(table, "--out", ".") == 0
    if flags:
        assert train(table, "--out", ".", *flags) == 0
    assert theirs.items() <= content(Path()).items()
    assert cr.load("model.safetensors").network.n_out == 2


# ---------------------------------------------------------------------------------------- before the inputs were read


@pytest.mark.parametrize(
    "words",
    [
        ["tabel.csv"],
        ["table.csv", "--target", "z"],
        ["table.csv", "--hidden", "ten"],
        ["table.csv", "--test-fraction", "2"],
        ["table.csv", "--checkpoint", "1 parsec"],
        ["table.csv", "--batch-size", "0"],
        ["table.csv", "--backend", "numpi"],
        ["table.csv", "--resume"],
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_a_mistake_touches_nothing(words: list[str], there: bool, table: Path) -> None:
    if there:
        assert train(table, "--out", "out") == 0
    before = content(Path())
    assert main(["train", *words[:1], "--target", "y", *QUICK, "--out", "out", "--overwrite", *words[1:]]) == 1
    assert content(Path()) == before
    assert Path("out").exists() == there, "no empty folder is left either"


def test_a_mistake_makes_no_default_folder(table: Path) -> None:
    assert main(["train", "table.csv", "--target", "z", *QUICK]) == 1
    assert not Path("runs").exists()
    assert main(["train", "table.csv", "--target", "y", *QUICK, "--batch-size", "0"]) == 1
    assert not Path("runs/table").exists()


# ------------------------------------------------------------------------------------------------- a run of before


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
    assert "out has a training that was not finished" in capsys.readouterr().err
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


@pytest.mark.parametrize("moment", range(9))
def test_a_run_that_is_killed_while_it_takes_its_place_is_resumed_whole(
    moment: int, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (table, "--out", "out", "--seed", 1)
    assert train(table, "--out", "out") == 0
    old = Path("out/model.safetensors").read_bytes()
    moves = iter(range(9))

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
    assert not (Path("out/model.safetensors").read_bytes() == old and moment > 0 and Path("out/history.csv").exists())
    assert train(*words) == 1
    assert train(*words, "--resume") == 0
    assert train(table, "--seed", 1, "--out", "whole") == 0
    there = {name.removeprefix("unfinished/") for name in content(Path("out"))}  # the best, after the last moment
    assert there == set(content(Path("whole")))
    np.testing.assert_array_equal(*(cr.load(f"{out}/model.safetensors").theta for out in ("out", "whole")))


# ---------------------------------------------------------------------------------------------------- two at a time


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


# --------------------------------------------------------------------------------------- outputs that are inputs


def links(kind: str, link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    match kind:
        case "symbolic":
            link.symlink_to(target.absolute())
        case "hard":
            link.hardlink_to(target)
        case "through a folder":
            link.parent.rmdir()
            link.parent.symlink_to(target.absolute().parent, target_is_directory=True)
            target.rename(target.with_name(link.name))


@pytest.mark.parametrize("flags", [[], ["--overwrite"], ["--resume"]])
@pytest.mark.parametrize("kind", ["symbolic", "hard"])
@pytest.mark.parametrize("name", ["model.safetensors", "history.csv", "curves.png", "checkpoints"])
def test_no_training_writes_to_the_table_it_reads(
    name: str, kind: str, flags: list[str], table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = table.read_bytes()
    links(kind, Path("out", name), table)
    assert train(table, "--out", "out", *flags) == 1
    assert "table.csv, which is read" in capsys.readouterr().err
    assert table.read_bytes() == Path("out", name).read_bytes() == before


@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
def test_a_table_called_as_an_output_is_refused(
    flags: list[str], table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table.rename("history.csv")
    before = Path("history.csv").read_bytes()
    assert train("history.csv", "--out", ".", *flags) == 1
    assert "which is read" in capsys.readouterr().err
    assert Path("history.csv").read_bytes() == before


def test_a_file_of_targets_is_an_input_too(capsys: pytest.CaptureFixture[str]) -> None:
    np.save("X.npy", np.zeros((60, 2)))
    np.save("y.npy", np.zeros(60))
    links("hard", Path("out/curves.png"), Path("y.npy"))
    assert main(["train", "X.npy", "--target", "y.npy", *QUICK, "--out", "out"]) == 1
    assert "y.npy, which is read" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
@pytest.mark.parametrize("kind", ["itself", "relative", "symbolic", "hard"])
@pytest.mark.parametrize("which", ["table", "model"])
def test_predictions_never_replace_what_they_are_made_from(
    which: str, kind: str, flags: list[str], table: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = table if which == "table" else model
    before = given.read_bytes()
    out = {"itself": given, "relative": Path("..", Path.cwd().name, given)}.get(kind, Path("link"))
    if kind in ("symbolic", "hard"):
        links(kind, out, given)
    assert main(["predict", str(model), str(table), "--out", str(out), *flags]) == 1
    assert f"{given}, which is read" in capsys.readouterr().err
    assert given.read_bytes() == before


# ------------------------------------------------------------------------------------------- one file of predictions


def predict(model: Path, table: Path, *words: object) -> int:
    return main(["predict", str(model), str(table), *map(str, words)])


def test_predictions_replace_predictions_and_nothing_else(
    table: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(model, table, "--out", "p.csv", "--proba") == 0
    assert predict(model, table, "--out", "p.csv") == 0
    assert len(Path("p.csv").read_text().splitlines()) == 61
    Path("empty").touch()
    assert predict(model, table, "--out", "empty") == 0
    for other in ("a,y\n1,2\n", "y,a\n1,2\n", "my notes", "yes\n", "\n"):
        Path("other").write_text(other)
        assert predict(model, table, "--out", "other") == 1
        assert "other is there, and holds no predictions of 'y'" in capsys.readouterr().err
        assert Path("other").read_text() == other
    assert predict(model, table, "--out", "other", "--overwrite") == 0
    assert Path("other").read_bytes() == Path("p.csv").read_bytes()


def test_predictions_come_whole_or_not_at_all(table: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert predict(model, table, "--out", "p.csv") == 0
    Path("p.csv").chmod(0o640)
    Path("link.csv").symlink_to("p.csv")
    before, there = Path("p.csv").read_bytes(), sorted(Path().rglob("*"))

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert predict(model, table, "--out", "link.csv", "--proba") == 1
    assert Path("p.csv").read_bytes() == before
    assert sorted(Path().rglob("*")) == there
    assert predict(model, table, "--out", "link.csv", "--proba") == 0
    assert Path("link.csv").is_symlink()
    assert Path("p.csv").read_text().startswith("y,P(no),P(yes)\n")
    assert stat.S_IMODE(Path("p.csv").stat().st_mode) == 0o640


def test_a_device_and_a_pipe_are_written_to_and_stay(table: Path, model: Path) -> None:
    assert predict(model, table, "--out", "p.csv") == 0
    assert predict(model, table, "--out", os.devnull) == 0
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
    os.mkfifo("pipe")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(Path("pipe").read_bytes()))
    reader.start()
    assert predict(model, table, "--out", "pipe") == 0
    reader.join(10)
    assert got == [Path("p.csv").read_bytes()]
    assert stat.S_ISFIFO(Path("pipe").stat().st_mode)


def test_standard_output_by_its_name_gets_the_predictions_alone(
    table: Path, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert predict(model, table) == 0
    answers = capfd.readouterr().out
    for name in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
        assert predict(model, table, "--out", name) == 0
        assert capfd.readouterr().out == answers
    assert predict(model, table, "--out", "/dev/stderr") == 0
    assert capfd.readouterr().err == answers


@pytest.mark.parametrize("name", ["", "nowhere/p.csv", "table.csv/p.csv", "/dev/full"])
def test_predictions_that_cannot_be_written_are_one_sentence(
    name: str, table: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(model, table, "--out", name or ".") == 1
    assert re.fullmatch(r"error: cannot write [^\n]+\.\n", capsys.readouterr().err)


# --------------------------------------------------------------------------------------------------- lesser outputs


@pytest.mark.parametrize("hindered", ["device", "folder", "Matplotlib"])
def test_curves_that_cannot_be_written_cost_a_warning(
    hindered: str, table: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    curves = Path("out/curves.png")
    curves.parent.mkdir()
    if hindered == "device":
        curves.symlink_to("/dev/full")
    elif hindered == "folder":
        curves.mkdir()
    else:
        monkeypatch.setattr("chainrule.cli._train.plot_history", lambda history: 1 / 0)
    assert train(table, "--out", "out") == 0
    captured = capsys.readouterr()
    assert "warning: out/curves.png could not be drawn: " in captured.out
    assert "test accuracy" in captured.out
    assert cr.load("out/model.safetensors").network.n_out == 2


def test_a_training_that_fails_says_where_its_checkpoint_is(
    table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(self: object, run: object, record: dict[str, float]) -> None:
        if record["epoch"] == 2:
            raise cr.DataError("a row went bad.")

    with monkeypatch.context() as patch:
        patch.setattr(cr.CSVLogger, "on_epoch_end", fails)
        assert train(table, "--out", "out") == 1
    assert capsys.readouterr().err == (
        "error: a row went bad.\n"
        "The training up to its last checkpoint is in out/checkpoints: --resume goes on from there.\n"
    )
    assert train(table, "--out", "out", "--resume") == 0


def test_bench_takes_the_next_number_and_replaces_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "--hidden", "4", "--features", "3", "--classes", "2", "--rows", "32", "--batch-size", "16"]
    words += ["--seconds", "0.01", "--sizes", "1", "--backends", "numpy"]
    assert main(words) == 0
    assert main([*words, "--rows", "8"]) == 1
    first = content(Path("runs"))
    assert set(first) == {"bench/bench.json", "bench/bench.png"}, "one network alone is drawn, too"
    assert main(words) == 0
    assert "this run goes to runs/bench-2" in capsys.readouterr().out
    assert first.items() <= content(Path("runs")).items()
    assert main([*words, "--out", "runs/bench"]) == 1
    assert "give another --out" in capsys.readouterr().err
    assert main([*words, "--out", "runs/bench", "--overwrite"]) == 0
    shutil.rmtree("runs/bench-2")
    assert main(words) == 0
    assert Path("runs/bench-2/bench.json").exists()
