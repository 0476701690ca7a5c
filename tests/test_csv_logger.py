"""CSVLogger, and the history that it writes."""

from __future__ import annotations

import csv
import errno
import io
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import find_library
from small_training import LABELS, NeverTrained, X, Y, fit

import chainrule as cr
from chainrule.history import History
from chainrule.training import Run


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
