"""Where the command line writes: nothing is lost that a run did not write, and no two training runs meet."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pytest

import chainrule as cr
from chainrule.cli import main
from chainrule.cli._folder import RunFolder
from chainrule.plots import plot_history
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
        file.write(b"\x89PNG tEXtSoftware\0" + settings["metadata"]["Software"].encode())


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


def put_model(path: Path) -> None:
    cr.fit(cr.mlp([2, 1]), np.zeros((4, 2)), np.zeros(4), loss="squared_error", epochs=1).save(path)


def put_picture(path: Path) -> None:
    figure = plot_history([{"epoch": 1, "loss": 0.5}])
    figure.savefig(path)


# Under a name of ours, in a folder with a run of ours: somebody else's, and hard to tell from ours.
PUT: dict[str, tuple[str, Callable[[Path], object]]] = {
    "text": ("curves.png", lambda path: path.write_text("my own")),
    "picture": ("curves.png", put_picture),
    "folder": ("curves.png", Path.mkdir),
    "device": ("curves.png", lambda path: path.symlink_to("/dev/full")),
    "log": ("history.csv", lambda path: path.write_text("epoch,loss,mine,val_loss,rate,seconds\n1,2,3,4,5,6\n")),
    "folder of logs": ("history.csv", Path.mkdir),
    "model in Python": ("model.safetensors", put_model),
    "folder of models": ("model.safetensors", Path.mkdir),
    "file": ("checkpoints", lambda path: path.write_text("my own")),
    "best": ("checkpoints/best.safetensors", put_model),
    "folder of a checkpoint": ("checkpoints/epoch-000001.safetensors", Path.mkdir),
}


def put(what: str, folder: Path) -> Path:
    name, write = PUT[what]
    path = folder / name
    if path.is_dir():
        shutil.rmtree(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    write(path)
    return path


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("flags", [[], ["--overwrite"], ["--resume"]])
@pytest.mark.parametrize("what", PUT)
def test_what_a_run_did_not_write_is_not_replaced_though_a_run_stands_beside_it(
    what: str, flags: list[str], table: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = put(what, model.parent)
    before = tree(model.parent)
    assert train(table, "--out", "out", "--epochs", 5, *flags) == 1
    assert f"{path} is there, and is none that chainrule wrote" in capsys.readouterr().err
    assert tree(model.parent) == before


@pytest.mark.parametrize("what", ["text", "folder", "log", "model in Python", "best", "folder of a checkpoint"])
def test_what_is_put_there_while_a_run_trains_stays_and_so_does_the_run_of_before(
    what: str, table: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def puts(fit: Callable[..., cr.Model], *arguments: object, **settings: object) -> cr.Model:
        trained = fit(*arguments, **settings)
        put(what, Path("out"))
        before.update({name: text for name, text in tree(Path("out")).items() if "unfinished" not in name})
        return trained

    before: dict[str, bytes | None] = {}
    monkeypatch.setattr("chainrule.cli._train.fit", partial(puts, cr.fit))
    assert train(table, "--out", "out", "--seed", 1, "--overwrite") == 1
    assert "The finished run is in out/unfinished, out has the one of before" in capsys.readouterr().err
    assert {name: text for name, text in tree(Path("out")).items() if "unfinished" not in name} == before
    assert {"model.safetensors", "history.csv", "curves.png"} <= {
        path.name for path in Path("out/unfinished").iterdir()
    }


@pytest.mark.parametrize("what", ["text", "folder", "model in Python"])
def test_what_is_put_in_the_place_of_a_result_while_a_run_trains_stays(
    what: str, table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def puts(fit: Callable[..., cr.Model], *arguments: object, **settings: object) -> cr.Model:
        trained = fit(*arguments, **settings)
        put(what, Path("out"))
        before.update(tree(PUT_AT))
        return trained

    before: dict[str, bytes | None] = {}
    PUT_AT = Path("out", PUT[what][0])
    monkeypatch.setattr("chainrule.cli._train.fit", partial(puts, cr.fit))
    code = train(table, "--out", "out")
    captured = capsys.readouterr()
    if what == "model in Python":
        assert code == 1
        (elsewhere,) = re.findall(r"The model was written to (\S+) instead", captured.err)
        assert len(cr.load(elsewhere).history) == 3
        shutil.rmtree(Path(elsewhere).parent)
    else:
        assert code == 0
        assert "curves.png could not be drawn" in captured.out
        assert "wrote out/model.safetensors, out/history.csv\n" in captured.out


@pytest.mark.parametrize("moment", range(9))
@pytest.mark.parametrize("error", [errno.EACCES, errno.EXDEV])
def test_a_run_that_cannot_take_its_place_leaves_the_one_of_before_whole(
    error: int,
    moment: int,
    table: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Refused, or led by a link to another disk, where a file can be copied and not moved."""
    moves, replace, finish = iter(range(20)), Path.replace, RunFolder.finish

    def fails(path: Path, target: Path) -> Path:
        if "partial" not in path.name and next(moves) == moment:
            raise OSError(error, os.strerror(error))
        return replace(path, target)

    def finishes(self: RunFolder) -> RunFolder:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", fails)
            return finish(self)

    before = content(Path("out"))
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "finish", finishes)
        code = train(table, "--out", "out", "--seed", 1, "--overwrite")
    if error == errno.EXDEV:
        assert code == 0
        assert set(content(Path("out"))) == set(before)
        assert content(Path("out"))["model.safetensors"] != before["model.safetensors"]
        return
    assert code == 1
    said = capsys.readouterr().err
    assert said.startswith("error: cannot move ")
    left_there = "The finished run is in out/unfinished, out has the one of before, and --resume tries again."
    assert said.endswith(f": Permission denied. {left_there}\n")
    left = content(Path("out"))
    assert [path.name for path in Path("out").glob("unfinished*")] == ["unfinished"]
    assert before.items() <= left.items()
    assert {name.removeprefix("unfinished/") for name in left} == set(before)
    assert train(table, "--out", "out", "--seed", 1, "--resume") == 0
    assert set(content(Path("out"))) == set(before)


def test_links_in_the_place_of_results_stay_and_what_they_lead_to_is_replaced(table: Path, model: Path) -> None:
    before = content(Path("out"))
    for name in ("model.safetensors", "checkpoints"):
        Path("out", name).rename(f"real {name}")
        Path("out", name).symlink_to(Path(f"real {name}").absolute())
    assert train(table, "--out", "out", "--seed", 1, "--overwrite") == 0
    assert Path("out/model.safetensors").is_symlink()
    assert Path("out/checkpoints").is_symlink()
    assert not Path("out/unfinished").exists()
    assert Path("real model.safetensors").read_bytes() != before["model.safetensors"]
    assert {path.name for path in Path("real checkpoints").iterdir()} == {
        Path(name).name for name in before if name.startswith("checkpoints/")
    }


def test_a_picture_says_that_we_drew_it(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainrule.cli._train.plot_history", plot_history)
    assert train(table, "--out", "out") == 0
    assert Path("out/curves.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert train(table, "--out", "out", "--overwrite") == 0


@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
def test_strangers_files_beside_ours_are_left_alone(flags: list[str], table: Path) -> None:
    theirs = {"checkpoints/llama.pt": b"x", "checkpoints/deep/er.txt": b"y", f".{os.getpid()}.probe": b"z"}
    theirs |= {"unfinished/notes.txt": b"mine", "unfinished-2/checkpoints/notes.txt": b"mine"}
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


def test_predictions_replace_no_file_with_anything_in_it(
    table: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").touch()
    assert predict(model, table, "--out", "empty") == 0
    predictions = Path("empty").read_text()
    assert len(predictions.splitlines()) == 61
    links("symbolic", Path("link"), Path("other"))
    for there in ("y\nyes\nno\n", predictions, "a,y\n1,2\n", "y,a\n1,2\n", "my notes", "\n"):
        Path("other").write_text(there)
        for name in ("other", "link"):
            assert predict(model, table, "--out", name) == 1
            assert capsys.readouterr().err == (
                f"error: {name} is there: give another --out, or replace it with --overwrite.\n"
            )
        assert Path("other").read_text() == there
    assert predict(model, table, "--out", "other", "--overwrite") == 0
    assert Path("other").read_text() == predictions


def test_a_file_that_comes_while_the_model_predicts_is_not_replaced(
    table: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = cr.Model.predict

    def comes(self: cr.Model, X: object) -> object:
        Path("p.csv").write_text("mine")
        return answer(self, X)

    monkeypatch.setattr(cr.Model, "predict", comes)
    assert predict(model, table, "--out", "p.csv") == 1
    assert Path("p.csv").read_text() == "mine"


def test_predictions_come_whole_or_not_at_all(table: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert predict(model, table, "--out", "p.csv") == 0
    Path("p.csv").chmod(0o640)
    Path("link.csv").symlink_to("p.csv")
    before, there = Path("p.csv").read_bytes(), sorted(Path().rglob("*"))

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert predict(model, table, "--out", "link.csv", "--proba", "--overwrite") == 1
    assert Path("p.csv").read_bytes() == before
    assert sorted(Path().rglob("*")) == there
    assert predict(model, table, "--out", "link.csv", "--proba", "--overwrite") == 0
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


def test_standard_error_that_is_a_file_gets_more_of_it(table: Path, model: Path) -> None:
    script = "import sys; from chainrule.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", script, "predict", str(model), str(table), "--out", "/dev/stderr"]
    with Path("log").open("w+b") as log:
        log.write(b"before\n")
        log.flush()
        assert subprocess.run(words, stderr=log).returncode == 0
    assert Path("log").read_text().startswith("before\ny\n")


@pytest.mark.parametrize("name", ["", "nowhere/p.csv", "table.csv/p.csv", "/dev/full"])
def test_predictions_that_cannot_be_written_are_one_sentence(
    name: str, table: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(model, table, "--out", name or ".") == 1
    said = re.fullmatch(r"error: cannot write (\S+): [A-Za-z ]+\.\n", capsys.readouterr().err)
    assert said
    assert said[1] == (name or ".")


# --------------------------------------------------------------------------------------------------- lesser outputs


@pytest.mark.parametrize("words", [["train", "t.csv", "--target", "y"], ["predict", "m", "t.csv"], ["bench"]])
def test_a_folder_that_may_not_be_looked_into_is_one_sentence(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def denied(path: Path, **settings: bool) -> os.stat_result:
        if path.parts[0] == "closed":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, **settings)

    stat = Path.stat
    monkeypatch.setattr(Path, "stat", denied)
    assert main([*words, "--out", "closed/out"]) == 1
    assert capsys.readouterr().err == "error: closed/out: Permission denied.\n"


@pytest.mark.parametrize("hindered", ["disk", "Matplotlib"])
def test_curves_that_cannot_be_written_cost_a_warning(
    hindered: str, table: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train(table, "--out", "out") == 0
    capsys.readouterr()
    if hindered == "disk":
        monkeypatch.setattr("chainrule.cli._outputs.write_whole", disk_full)
    else:
        monkeypatch.setattr("chainrule.cli._train.plot_history", lambda history: 1 / 0)
    assert train(table, "--out", "out", "--resume", "--epochs", 4) == 0
    captured = capsys.readouterr()
    assert "warning: out/curves.png could not be drawn: " in captured.out
    assert "test accuracy" in captured.out
    assert "wrote out/model.safetensors, out/history.csv\n" in captured.out, "the curves are those of before"
    assert len(cr.load("out/model.safetensors").history) == 4


def disk_full(path: Path, *content: object, **settings: object) -> None:
    raise cr.FileError(f"cannot write {path}: No space left on device.")


def test_a_history_that_cannot_be_written_is_not_said_to_be(
    table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cr.CSVLogger, "_write", lambda log, run: log.path.write_text("epoch,loss,rate,seconds\n"))
    assert train(table, "--out", "out") == 0
    assert "wrote out/model.safetensors, out/curves.png\n" in capsys.readouterr().out


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


@pytest.mark.parametrize("failure", [cr.ConfigurationError("an option that was seen late."), "divergence"])
def test_a_training_that_fails_says_nothing_of_what_python_could_do(
    failure: str | Exception, table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(self: object, run: object, record: dict[str, float]) -> None:
        if isinstance(failure, Exception) and record["epoch"] == 2:
            raise failure

    monkeypatch.setattr(cr.CSVLogger, "on_epoch_end", fails)
    words = ["--optimizer", "sgd", "--learning-rate", "1e30"] if failure == "divergence" else []
    assert train(table, "--out", "out", *words) == 1
    error = capsys.readouterr().err
    assert ".model" not in error
    assert "cr." not in error
    assert ("--clip-norm 1" in error) == bool(words)
    assert error.count("\n") == 2
    assert error.endswith(
        ".\nThe training up to its last checkpoint is in out/checkpoints: --resume goes on from there.\n"
    )


def test_bench_replaces_nothing_that_it_did_not_write(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("chainrule.cli._bench.measure", lambda *_, **settings: 1 / 0)
    for name, text in {"bench.json": '{"mine": 1}', "bench.png": "mine"}.items():
        Path(name).write_text(text)
        for flags in ([], ["--overwrite"]):
            assert main(["bench", "--out", ".", *flags]) == 1
            assert f"{name} is there, and is none that chainrule wrote" in capsys.readouterr().err
        assert Path(name).read_text() == text
        Path(name).unlink()


def test_bench_prints_what_it_cannot_write(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("chainrule.cli._outputs.write_whole", disk_full)
    words = ["bench", "--hidden", "4", "--features", "3", "--classes", "2", "--rows", "32", "--batch-size", "16"]
    assert main([*words, "--seconds", "0.01", "--sizes", "1", "--backends", "numpy"]) == 1
    captured = capsys.readouterr()
    assert "rows trained a second: 3 features, 2 classes" in captured.out
    assert captured.err == "error: cannot write runs/bench/bench.json: No space left on device.\n"


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
    for name in ("bench.json", "bench.png"):
        assert main([*words, "--out", "runs/bench"]) == 1
        assert f"runs/bench has a {name}: give another --out" in capsys.readouterr().err
        Path("runs/bench", name).unlink()
    assert main([*words, "--out", "runs/bench"]) == 0
    assert main([*words, "--out", "runs/bench", "--overwrite"]) == 0
    shutil.rmtree("runs/bench-2")
    assert main(words) == 0
    assert Path("runs/bench-2/bench.json").exists()
