"""Where the command line writes: nothing is lost that a run did not write, and no two training runs meet."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from quick_runs import QUICK, Drawing, content, train

import chainrule as cr
from chainrule.cli import main
from chainrule.cli._folder import RunFolder
from chainrule.plots import plot_history


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


# ----------------------------------------------------------------------------------------- what somebody else put there


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


# ------------------------------------------------------------------------------------------ before the inputs were read


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


# ------------------------------------------------------------------------------------------------------- lesser outputs


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
