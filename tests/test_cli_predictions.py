"""The file that predict writes, and outputs that are inputs: neither is lost."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from quick_runs import QUICK, Drawing, predict, train

import chainrule as cr
from chainrule.cli import main


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


# ---------------------------------------------------------------------------------------------- outputs that are inputs


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


# ---------------------------------------------------------------------------------------------- one file of predictions


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
