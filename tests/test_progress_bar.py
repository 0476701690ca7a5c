"""Progress: where it is shown and where not, what it shows, and that it costs no model."""

from __future__ import annotations

import errno
import importlib
import io
import pickle
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import small_training
from conftest import find_library
from small_training import NeverTrained, X, Y, fit

import chainrule as cr
from chainrule.training import Run, _progress
from chainrule.training._progress import _Clock, progress


def shown_on(console: Any, **options: Any) -> str:
    fit(cr.ProgressBar(console), epochs=3, **options)
    text: str = console.file.getvalue()
    return text


def test_the_progress_bar_shows_epochs_loss_metric_speed_and_time_left() -> None:
    rich = find_library("rich", "rich.console")
    console = rich.Console(file=io.StringIO(), force_terminal=True, width=160, color_system=None)
    fit()  # the first one in a process takes its time
    text = shown_on(console, validation=(X, Y))
    for shown in ("epoch", "3/3", "loss ", "val_r2 ", "epochs/s", "in 0:0"):
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


def test_a_progress_bar_needs_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    rich = find_library("rich", "rich.console")

    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    console = rich.Console(file=io.StringIO(), force_terminal=True, width=160)
    assert "3/3" in shown_on(console)


def test_a_progress_bar_shows_the_name_of_a_metric_as_it_is() -> None:
    def metric(y: np.ndarray, answers: np.ndarray) -> float:
        return 0.5

    rich = find_library("rich", "rich.console")
    metric.__name__ = "[/b]"
    console = rich.Console(file=io.StringIO(), force_terminal=True, width=160, color_system=None)
    assert "val_[/b] 0.5000" in shown_on(console, validation=(X, Y), metrics=[metric])


def test_a_progress_bar_without_rich_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rich", None)
    with pytest.raises(cr.MissingExtraError, match=r"needs rich: pip install 'chainrule\[cli\]'"):
        cr.ProgressBar()


# ------------------------------------------------------------------------------------------------ where someone watches


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def begin_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Terminal]:
    """Makes standard output a terminal; every training run is one that lasts."""
    find_library("rich", "rich.console")
    monkeypatch.setattr(_progress, "_UNASKED", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)

    def begin() -> Terminal:  # in the test, before which pytest puts its own output back
        made = Terminal()
        monkeypatch.setattr(sys, "stdout", made)
        return made

    return begin


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, str]]]:
    """A stand-in for IPython in a notebook: what it displays, each with the display that it takes the place of."""
    shown: list[tuple[str, dict[str, str]]] = []

    class Handle:
        def update(self, bundle: dict[str, str], *, raw: bool) -> None:
            shown.append(("update", bundle))

    def display(bundle: dict[str, str], *, raw: bool, display_id: bool) -> Handle:
        shown.append(("new", bundle))
        return Handle()

    ipython, output = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    output.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", output)
    monkeypatch.setattr(_progress, "_UNASKED", 0.0)
    monkeypatch.delenv("CI", raising=False)
    return shown


def kinds(verbose: Any, *callbacks: object) -> list[str]:
    return [type(callback).__name__ for callback in progress(verbose, callbacks)]


def test_what_verbose_shows_in_a_terminal_and_out_of_one(
    begin_terminal: Callable[[], Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_terminal()
    asked = (None, False, True, "bar", "lines", 0, 1)
    bar, lines = ["ProgressBar"], ["ProgressLines"]
    assert [kinds(verbose) for verbose in asked] == [bar, [], bar, bar, lines, [], bar]
    assert [kinds(verbose, cr.ProgressBar()) for verbose in asked] == [[], [], [], [], lines, [], []]
    with monkeypatch.context() as patch:
        patch.setenv("TERM", "dumb")
        assert [kinds(verbose) for verbose in asked] == [[], [], lines, bar, lines, [], lines]
    with monkeypatch.context() as patch:
        patch.setenv("CI", "true")
        assert [kinds(verbose) for verbose in asked] == [[], [], bar, bar, lines, [], bar]
    monkeypatch.setattr(sys, "stdout", io.StringIO())  # a pipe
    assert [kinds(verbose) for verbose in asked] == [[], [], lines, bar, lines, [], lines]


@pytest.mark.parametrize("stdout", [None, io.StringIO()])
def test_nothing_is_shown_where_there_is_no_output(stdout: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if stdout is not None:
        stdout.close()
    monkeypatch.setattr(sys, "stdout", stdout)
    assert kinds(None) == []


def test_a_worker_that_shares_its_parents_terminal_shows_nothing(
    begin_terminal: Callable[[], Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_terminal()
    monkeypatch.setattr("multiprocessing.current_process", lambda: SimpleNamespace(name="LokyProcess-1"))
    assert kinds(None) == []
    assert kinds(True) == ["ProgressBar"]


def test_without_rich_a_terminal_gets_lines_where_they_are_asked_for(
    begin_terminal: Callable[[], Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_terminal()
    monkeypatch.setitem(sys.modules, "rich", None)
    assert (kinds(None), kinds(True)) == ([], ["ProgressLines"])
    with pytest.raises(cr.MissingExtraError, match=r"needs rich: pip install 'chainrule\[cli\]'"):
        fit(verbose="bar")


@pytest.mark.parametrize("verbose", [2, "no", 1.0, [], np.ones(2)])
def test_another_verbose_is_refused(verbose: Any) -> None:
    with pytest.raises(cr.ConfigurationError, match="verbose must be None, False, True, 'bar' or 'lines', got"):
        fit(NeverTrained(), verbose=verbose)


def test_a_training_run_that_lasts_shows_a_bar_and_a_short_one_nothing(
    begin_terminal: Callable[[], Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = begin_terminal()
    fit(validation=(X, Y))
    assert "epoch 4/4" in terminal.getvalue()
    assert "val_r2 " in terminal.getvalue()
    assert terminal.getvalue().endswith("\n\x1b[?25h")  # the last numbers stay, and the cursor is back
    monkeypatch.setattr(_progress, "_UNASKED", 60.0)
    before = terminal.getvalue()
    for _ in range(3):
        fit()
    fit(verbose=False)
    assert terminal.getvalue() == before


def test_rich_is_not_imported_for_a_short_training_run() -> None:
    script = (
        "import sys, os; sys.stdout.isatty = lambda: True; os.environ.pop('CI', None); os.environ['TERM'] = 'xterm'\n"
        "import chainrule as cr\n"
        "from chainrule.training import _progress; _progress._UNASKED = 60.0\n"
        "cr.fit(cr.mlp([1, 1]), [[0.0], [1.0]], [0.0, 1.0], loss='squared_error', epochs=1)\n"
        "print('rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "False\n"


def test_the_estimators_show_no_bar_that_was_not_asked_for(begin_terminal: Callable[[], Terminal]) -> None:
    terminal = begin_terminal()
    find_library("scikit-learn", "sklearn")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cr.MLPRegressor(hidden_layer_sizes=(4,), max_iter=3).fit(X, Y)
    assert terminal.getvalue() == ""


def test_the_command_line_that_is_quiet_shows_no_bar(
    begin_terminal: Callable[[], Terminal], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_library("typer")
    train = importlib.import_module("quick_runs").train
    monkeypatch.setattr("chainrule.cli._train.plot_history", lambda history: None)
    monkeypatch.setattr("chainrule.cli._train.write_figure", lambda path, figure: None)
    rows = "".join(f"{a},{b},{y}\n" for (a, b, _), y in zip(X, Y > 0, strict=True))
    (tmp_path / "table.csv").write_text(f"a,b,y\n{rows}")
    terminal = begin_terminal()
    assert train(tmp_path / "table.csv", "--target", "y", "--out", tmp_path / "out") == 0
    assert "test accuracy" in terminal.getvalue()
    assert "epoch 1" not in terminal.getvalue()


# ---------------------------------------------------------------------------------------------------- how it is shown


@pytest.mark.parametrize("width", [12, 40, 60, 100])
def test_a_bar_is_one_line_of_what_fits(width: int) -> None:
    rich = find_library("rich", "rich.console")
    console = rich.Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    last = shown_on(console, validation=(X, Y)).split("\r")[-1].removeprefix("\x1b[2K").split("\n")[0]
    assert len(last) <= width
    assert [word in last for word in ("epoch", "loss", "val_r2", "epochs/s")] == {
        12: [True, False, False, False],
        40: [True, True, False, False],
        60: [True, True, True, False],
        100: [True, True, True, True],
    }[width]


def test_a_notebook_gets_an_output_of_its_own_that_stays(
    notebook: list[tuple[str, dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def metric(y: np.ndarray, answers: np.ndarray) -> float:
        return 0.5

    metric.__name__ = "p<q"
    monkeypatch.setattr(_progress, "_BETWEEN", 0.0)
    monkeypatch.setitem(sys.modules, "rich", None)  # which it does not need
    monkeypatch.setattr(cr.ProgressBar, "every_step", True)
    fit(validation=(X, Y), metrics=[metric], epochs=2)
    assert [kind for kind, _ in notebook] == ["new", *["update"] * (len(notebook) - 1)]
    last = notebook[-1][1]
    assert last["text/plain"].startswith("epoch 2/2  loss ")
    assert "val_p<q 0.5000" in last["text/plain"]
    assert "val_p&lt;q 0.5000" in last["text/html"]
    assert last["text/html"].startswith('<div><progress value="1.0000" max="1"')
    shares = [float(bundle["text/html"].split('"')[1]) for _, bundle in notebook]
    assert sorted(set(shares)) == [0.0, 0.1667, 0.3333, 0.5, 0.6667, 0.8333, 1.0]  # three steps an epoch


def test_lines_are_one_a_second_the_first_and_the_last(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_progress, "_BETWEEN_LINES", 60.0)
    fit(verbose="lines", epochs=50)
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("epoch 1/50  loss ")
    assert "left" in first
    assert last.startswith("epoch 50/50  loss ")
    assert "in 0:0" in last
    fit(cr.EarlyStopping("loss", patience=1, min_delta=1e9), verbose=True, epochs=50)
    assert [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()] == ["epoch 1/50", "epoch 2/50"]
    monkeypatch.setattr(_progress, "_BETWEEN_LINES", 0.0)
    fit(verbose="lines", epochs=5)
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_lines_that_cannot_be_printed_cost_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Gone(OSError(errno.ENOSPC, "No space left"), 0))
    with pytest.warns(UserWarning, match="progress cannot be printed") as caught:
        assert len(fit(verbose="lines").history) == 4
    assert len(caught) == 1


def test_time_and_speed_are_those_of_the_epochs_that_this_run_took(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    run: Any = SimpleNamespace(epoch=8, first_epoch=1, epochs=10, step=1, steps_per_epoch=2, columns=("loss",))
    clock = _Clock()
    clock.start(run)  # gone on with in the middle of its eighth epoch
    assert clock.status(run).numbers == []
    now, run.epoch, run.step, clock.record = 130.0, 9, 2, {"loss": 123456.0}
    assert clock.status(run).text == "epoch 9/10  loss 1.235e+05  0:20 left  20.0 s/epoch"
    assert clock.status(run).share == 0.9
    run.step, run.steps_per_epoch = 7, None
    assert "step 7" in clock.status(run).text


# --------------------------------------------------------------------------------------------------- several at a time


class During:
    """A callback that does something in the second epoch."""

    def __init__(self, do: Callable[[], object]) -> None:
        self.do = do

    def on_epoch_begin(self, run: Run) -> None:
        if run.epoch == 2:
            self.do()


def test_of_two_training_runs_at_a_time_the_first_has_the_bar(begin_terminal: Callable[[], Terminal]) -> None:
    terminal = begin_terminal()
    fit(During(lambda: fit(epochs=7)), epochs=2)
    assert "/7" not in terminal.getvalue()
    inside = threading.Thread(target=lambda: fit(epochs=8))
    fit(During(lambda: (inside.start(), inside.join())), epochs=3)
    assert "3/3" in terminal.getvalue()
    assert "/8" not in terminal.getvalue()
    fit(epochs=9)
    assert "9/9" in terminal.getvalue()


def test_one_bar_for_two_training_runs_at_a_time_holds_up_none(
    begin_terminal: Callable[[], Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_progress, "_BETWEEN", 0.0)
    terminal, bar = begin_terminal(), cr.ProgressBar()
    fit(bar, During(lambda: fit(bar, epochs=7)), epochs=3)
    assert "7/7" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()
    fit(epochs=9)
    assert "9/9" in terminal.getvalue()
    pickle.loads(pickle.dumps(bar))


def test_a_bar_of_ones_own_is_the_only_one(begin_terminal: Callable[[], Terminal]) -> None:
    terminal = begin_terminal()
    rich = find_library("rich", "rich.console")
    console = rich.Console(file=io.StringIO(), force_terminal=True, width=160)
    shown_on(console)
    assert terminal.getvalue() == ""


def test_another_display_of_richs_is_left_alone(
    begin_terminal: Callable[[], Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = begin_terminal()
    rich = find_library("rich", "rich.console")
    errors = find_library("rich", "rich.errors")

    def refuse(self: Any, live: Any) -> None:  # as rich before 14.1 does
        raise errors.LiveError("Only one live display may be active at once")

    with monkeypatch.context() as patch:
        patch.setattr(rich.Console, "set_live", refuse)
        assert len(fit().history) == 4
    fit()
    assert "4/4" in terminal.getvalue()


def test_a_second_ctrl_c_while_the_bar_is_drawn_leaves_the_terminal_clean(
    begin_terminal: Callable[[], Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = begin_terminal()
    drawn = 0
    show = _progress._Terminal.show

    def interrupted(self: Any, status: Any) -> None:
        nonlocal drawn
        drawn += 1
        show(self, status)
        if drawn == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(_progress, "_BETWEEN", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(_progress._Terminal, "show", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit()
    assert terminal.getvalue().endswith("\x1b[?25h")
    assert sys.stdout is terminal
    fit(epochs=9)
    assert "9/9" in terminal.getvalue()


def test_what_goes_to_a_log_stays_in_it_and_warnings_name_the_users_line(
    begin_terminal: Callable[[], Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal, log = begin_terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with pytest.warns(UserWarning, match="batch_size 99 is more than") as caught:
        fit(During(lambda: print("logged", file=sys.stderr) or fit(batch_size=99)))
    assert caught[0].filename == small_training.__file__
    assert log.getvalue() == "logged\n"
    fit(During(lambda: print("printed")))
    assert "logged" not in terminal.getvalue()
    assert "\nprinted" in terminal.getvalue() or "\x1b[2Kprinted" in terminal.getvalue()  # over the bar
