"""The command line, run as a user runs it: what it prints, what it writes, and its exit codes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import chainrule as cr
from chainrule._backend._blas import Blas
from chainrule._model import serialization
from chainrule.cli import main
from chainrule.cli._blas import lines
from chainrule.tables import split


@pytest.fixture
def houses(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    area, rooms, city = rng.uniform(30, 200, 300), rng.integers(1, 7, 300), rng.choice(["Oslo", "Rome", "Kyiv"], 300)
    price = 3000 * area + 10000 * rooms + np.where(city == "Oslo", 90000, 0)
    path = tmp_path / "houses.csv"
    pd.DataFrame({"area": area, "rooms": rooms, "city": city, "price": price}).to_csv(path, index=False)
    return path


def train(*words: object) -> int:
    return main(
        [
            "train",
            *map(str, words),
            "--quiet",
            "--hidden",
            "16",
            "--epochs",
            "30",
            "--learning-rate",
            "0.02",
            "--normalization",
            "none",
        ]
    )


def test_digits_reach_97_percent_on_rows_never_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "digits", "--quiet", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    line = next(line for line in printed.splitlines() if line.startswith("test accuracy "))
    assert float(line.split()[-1]) >= 0.970
    mixed_up = re.findall(r"  (\d) taken for (\d): (\d+) of (\d+)", printed)
    assert mixed_up
    assert all(true != answered and int(wrong) <= int(rows) for true, answered, wrong, rows in mixed_up)
    for name in ("model.safetensors", "history.csv", "curves.png"):
        assert str(tmp_path / name) in printed
        assert (tmp_path / name).stat().st_size > 0


def test_a_number_is_regression_and_comes_back_in_its_own_units(
    houses: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert train(houses, "--target", "price", "--out", out, "--dropout", 0) == 0
    printed = capsys.readouterr().out
    assert "regression" in printed
    assert main(["predict", str(out / "model.safetensors"), str(houses), "--out", str(tmp_path / "p.csv")]) == 0
    predicted, true = pd.read_csv(tmp_path / "p.csv"), pd.read_csv(houses)
    assert list(predicted.columns) == ["price"]
    assert np.corrcoef(predicted["price"], true["price"])[0, 1] > 0.9
    assert abs(predicted["price"].mean() / true["price"].mean() - 1) < 0.1
    test = split(len(true), fraction=0.2, seed=0)[1]
    error = np.sqrt(np.mean((predicted["price"] - true["price"])[test] ** 2))
    assert float(printed.split("root mean squared error ")[1].split()[0]) == pytest.approx(error, rel=1e-3)


def test_text_labels_come_back_as_text(houses: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert train(houses, "--target", "city", "--out", out) == 0
    assert "classification" in capsys.readouterr().out
    assert main(["predict", str(out / "model.safetensors"), str(houses), "--proba"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "city,P(Kyiv),P(Oslo),P(Rome)"
    assert {line.split(",")[0] for line in lines[1:]} <= {"Kyiv", "Oslo", "Rome"}
    assert sum(map(float, lines[1].split(",")[1:])) == pytest.approx(1, abs=1e-5)


def test_the_task_can_be_overridden(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", X=rng.normal(size=(120, 3)), y=rng.integers(0, 3, 120))
    assert train(tmp_path / "d.npz", "--out", tmp_path / "a") == 0
    assert "test accuracy" in capsys.readouterr().out
    assert train(tmp_path / "d.npz", "--out", tmp_path / "b", "--task", "regression") == 0
    assert "test r2" in capsys.readouterr().out


def test_npy_pairs_and_parquet_are_read(houses: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "X.npy", rng.normal(size=(90, 3)))
    np.save(tmp_path / "y.npy", rng.normal(size=90))
    assert train(tmp_path / "X.npy", "--target", tmp_path / "y.npy", "--out", tmp_path / "a") == 0
    pd.read_csv(houses).to_parquet(tmp_path / "h.parquet")
    assert train(tmp_path / "h.parquet", "--target", "price", "--out", tmp_path / "b") == 0


def test_the_saved_model_answers_as_the_library_does(tmp_path: Path) -> None:
    assert main(["train", "digits", "--quiet", "--epochs", "2", "--out", str(tmp_path)]) == 0
    model = cr.load(tmp_path / "model.safetensors")
    assert model.preprocessing is not None
    assert model.preprocessing.kind == "classification"
    assert len(pd.read_csv(tmp_path / "history.csv")) == 2


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["train", "{houses}", "--target", "pricee"], 1, ["pricee", "did you mean 'price'"]),
        (["train", "{houses}"], 1, ["--target"]),
        (["train", "nowhere.csv", "--target", "y"], 1, ["nowhere.csv"]),
        (["train", "{houses}", "--target", "price", "--hidden", "ten"], 1, ["--hidden", "'ten'"]),
        (["train", "{houses}", "--target", "price", "--activation", "rellu"], 1, ["did you mean 'relu'"]),
        (["train", "{houses}", "--target", "price", "--optimizer", "adm"], 1, ["did you mean 'adam'"]),
        (["train", "{houses}", "--target", "price", "--backend", "numpi"], 1, ["did you mean 'numpy'"]),
        (["train", "{houses}", "--target", "price", "--test-fraction", "1"], 1, ["--test-fraction"]),
        (["train", "{houses}", "--target", "price", "--out", "/dev/null/x"], 1, ["--out"]),
        (["train", "{houses}", "--bogus"], 2, ["--bogus"]),
        (["predict", "{houses}", "{houses}"], 1, ["not a chainrule model"]),
        (["summary", "nowhere.safetensors"], 1, ["nowhere.safetensors"]),
        (["prediction"], 2, ["prediction"]),
    ],
)
def test_wrong_usage_is_one_sentence_and_an_exit_code(
    words: list[str], code: int, says: list[str], houses: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word.format(houses=houses) for word in words]) == code
    error = capsys.readouterr().err
    assert all(part in error for part in says), error
    assert "Traceback" not in error


def test_debug_shows_where_an_error_comes_from() -> None:
    with pytest.raises(cr.FileError):
        main(["summary", "nowhere.safetensors", "--debug"])


def test_nothing_is_trained_when_the_results_cannot_be_written(
    houses: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert train(houses, "--target", "price", "--out", tmp_path / "file") == 1
    captured = capsys.readouterr()
    assert "--out" in captured.err
    assert "trained" not in captured.out


def test_missing_values_name_column_and_count_unless_imputed(
    houses: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(houses)
    table.loc[:6, "area"] = np.nan
    table.to_csv(houses, index=False)
    assert train(houses, "--target", "price", "--out", tmp_path / "run") == 1
    assert "'area' (7 of 300)" in capsys.readouterr().err
    assert train(houses, "--target", "price", "--out", tmp_path / "run", "--impute", "median") == 0


def test_an_unseen_category_is_named_or_ignored(
    houses: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(houses, "--target", "price", "--out", tmp_path / "run") == 0
    table = pd.read_csv(houses)
    table.loc[0, "city"] = "Paris"
    table.to_csv(houses, index=False)
    model = str(tmp_path / "run" / "model.safetensors")
    assert main(["predict", model, str(houses)]) == 1
    assert "Paris" in capsys.readouterr().err
    assert main(["predict", model, str(houses), "--unseen", "ignore"]) == 0


def test_backends_lists_each_with_its_devices_or_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backends"]) == 0
    printed = capsys.readouterr().out
    assert "numpy" in printed
    assert "cupy" in printed
    for row in cr.available_backends():
        assert row["devices"] or row["problem"]


def test_summary_prints_layers_and_preprocessing(
    houses: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(houses, "--target", "price", "--out", tmp_path) == 0
    assert main(["summary", str(tmp_path / "model.safetensors")]) == 0
    printed = capsys.readouterr().out
    assert "Dense(5, 16)" in printed
    assert "113" in printed
    assert "'city' (3)" in printed


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("train", "predict", "summary", "backends"):
        assert main([command, "--help"]) == 0
        assert f"chainrule {command}" in capsys.readouterr().out


def test_ctrl_c_keeps_the_model_so_far_and_says_where_it_is(tmp_path: Path) -> None:
    words = ["train", "digits", "--quiet", "--epochs", "100000", "--patience", "100000", "--out", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "chainrule.cli", *words],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    history = tmp_path / "history.csv"
    while process.poll() is None and not (history.exists() and history.stat().st_size):
        pass
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted in epoch" in printed
    assert str(tmp_path / "model.safetensors") in printed
    assert cr.load(tmp_path / "model.safetensors").network.n_out == 10


@pytest.mark.parametrize(
    ("kernels", "flags", "said"),
    [("Haswell", ["avx2", "avx512f"], True), ("SkylakeX", ["avx2", "avx512f"], False), ("Haswell", ["avx2"], False)],
)
def test_backends_says_when_the_blas_passes_over_avx_512(kernels: str, flags: list[str], said: bool) -> None:
    first, *hints = lines(Blas("openblas", "0.3.31", kernels), flags)
    assert first == f"numpy's products: openblas 0.3.31, {kernels} kernels"
    assert [("OPENBLAS_CORETYPE=SKYLAKEX" in hint) for hint in hints] == [True] * said
    mkl = Blas("mkl", "2024.2", "", lambda: 4)
    assert lines(mkl, ["avx512f"]) == ["numpy's products: mkl 2024.2, 4 threads (1 while all products are small)"]
    assert lines(mkl._replace(threads=lambda: 1), []) == ["numpy's products: mkl 2024.2, 1 thread"]


def test_a_training_that_was_killed_goes_on_with_resume(
    houses: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (houses, "--target", "price", "--dropout", "0.1", "--checkpoint", "0 s")
    assert train(*words, "--out", tmp_path / "whole") == 0
    want = cr.load(tmp_path / "whole" / "model.safetensors")

    class KilledError(BaseException):
        """Nobody catches it."""

    def dies(self: object, run: object, record: dict[str, float]) -> None:
        if record["epoch"] == 11:
            raise KilledError

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("chainrule.training.CSVLogger.on_epoch_end", dies)
        with pytest.raises(KilledError):
            train(*words, "--out", out)
    capsys.readouterr()
    assert train(*words, "--out", out) == 1
    assert f"{out} has a training run that was not finished: go on with --resume" in capsys.readouterr().err
    assert train(*words, "--out", out, "--resume", "--seed", 3) == 1
    assert "another training run's: seed was 0, now 3" in capsys.readouterr().err
    assert train(*words, "--out", out, "--resume") == 0
    np.testing.assert_array_equal(cr.load(out / "model.safetensors").theta, want.theta)
    assert len((out / "history.csv").read_text().splitlines()) == len(want.history) + 1


def test_a_model_that_cannot_be_written_is_put_elsewhere(
    houses: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = serialization.write_whole

    def full(path: Path, content: bytes, **settings: Any) -> None:
        if Path(path).is_relative_to(tmp_path / "run"):
            raise cr.FileError(f"cannot write {path}: No space left on device.")
        write(path, content, **settings)

    monkeypatch.setattr(serialization, "write_whole", full)
    assert train(houses, "--target", "price", "--out", tmp_path / "run") == 1
    printed = capsys.readouterr()
    assert printed.out.count("No space left on device. Training goes on") == 1
    error = " ".join(printed.err.split())
    elsewhere = re.search(r"written to (\S+model\.safetensors) instead: move it from there", error)
    assert elsewhere
    assert len(cr.load(elsewhere[1]).history) > 0
