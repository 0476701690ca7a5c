"""ProgressBar: what it shows, and that it costs no model."""

from __future__ import annotations

import errno
import io
import sys
import threading
from typing import Any

import numpy as np
import pytest
from conftest import find_library
from small_training import NeverTrained, X, Y, fit

import chainrule as cr


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
