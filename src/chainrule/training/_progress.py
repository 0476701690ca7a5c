"""How far a training run is, where someone watches: a bar in a terminal or a notebook, or lines of text.

Nothing here reads from the device: the run knows its steps, and an epoch's numbers are on the host already.
"""

from __future__ import annotations

import html
import importlib
import importlib.util
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from .._base.errors import ConfigurationError, MissingExtraError, require, warn
from .._base.options import real_number
from ..history import Record
from ._callbacks import Callback
from ._run import Run

_UNASKED = 1.0  # seconds that a training run lasts before a bar is shown that nobody asked for
_BETWEEN = 0.1  # seconds between two looks of a bar
_BETWEEN_LINES = 1.0  # and between two lines
_ONE_BAR = threading.Lock()  # a terminal has room for one live display; who holds this shows his


def progress(verbose: bool | str | None, callbacks: Iterable[object]) -> list[object]:
    """The callbacks that ``verbose`` adds to these: none, or one.

    None is a bar where someone watches, once the training run lasts; True a bar where one can be, else lines; ``"bar"``
    and ``"lines"`` are what they say, False is nothing. There is no second bar beside one of the user's.
    """
    known = (None, False, True, "bar", "lines")
    verbose = bool(verbose) if type(verbose).__name__ == "bool_" else verbose  # NumPy's
    if not isinstance(verbose, bool | int | str | None) or verbose not in known:
        raise ConfigurationError(
            f"verbose must be None, False, True, 'bar' or 'lines', got {verbose!r:.60}: 'lines' is a line an epoch."
        )
    if verbose == "lines":
        return [ProgressLines()]
    has_one = any(isinstance(callback, ProgressBar) for callback in callbacks)
    if has_one or (verbose is not None and not verbose):
        return []
    if verbose == "bar" or (verbose and _can_show_a_bar()):
        return [ProgressBar()]
    if verbose:
        return [ProgressLines()]
    return [ProgressBar(after=_UNASKED)] if _can_show_a_bar() and not _is_one_of_many() else []


class ProgressBar(Callback):
    """A bar with the epoch, the loss, the validation metrics, epochs a second and the time left.

    It moves with the steps, and stays with its last numbers. In a notebook it is the notebook's own output, which a
    saved or exported one keeps; elsewhere rich draws it. Of several at a time the first is shown, and one that cannot
    be shown costs no training run. ``cr.fit`` brings its own where someone watches: see its ``verbose``.

    Args:
        console: a ``rich.console.Console`` to draw on; default the notebook, else standard output.
        after: seconds, >= 0, that a training run lasts before the bar appears; default 0.

    Raises:
        ConfigurationError: ``after`` is below 0.
        MissingExtraError: no notebook and no rich: ``pip install 'chainrule[cli]'``.

    Example:
        >>> import io, numpy as np, chainrule as cr
        >>> from rich.console import Console
        >>> X, screen = np.eye(4), Console(file=io.StringIO(), width=100)
        >>> bar = cr.ProgressBar(screen)
        >>> model = cr.fit(cr.mlp([4, 1]), X, X[:, 0], loss="squared_error", epochs=3, callbacks=[bar])
        >>> screen.file.getvalue().split("  ")[0]
        'epoch 3/3 ━━━━━━━━━━━━━━━━ loss 0.2565'
    """

    every_step = False

    def __init__(self, console: Any = None, *, after: float = 0.0) -> None:
        after = real_number("after", after)
        require(after >= 0, f"after must be >= 0 seconds, got {after}.")
        if not (_in_notebook() and console is None) and importlib.util.find_spec("rich") is None:
            raise MissingExtraError("a progress bar needs rich: pip install 'chainrule[cli]'.")
        self._console, self._after = console, after
        self._display: _Display | None = None

    def on_train_begin(self, run: Run) -> None:
        self._close()  # of a training run that this one is in the middle of
        self._clock = _Clock()
        self._due = time.perf_counter() + self._after

    def on_epoch_begin(self, run: Run) -> None:
        self._clock.start(run)
        self._look(run)

    def on_step_end(self, run: Run) -> None:
        self._look(run)

    def on_epoch_end(self, run: Run, record: Record) -> None:
        self._clock.record = record
        self._look(run)

    def on_train_end(self, run: Run) -> None:
        if self._display is not None:
            self._try(lambda display: display.show(self._clock.status(run, ended=True)))
        self._close()

    def _look(self, run: Run) -> None:
        """Show where the run is, if it is time to."""
        now = time.perf_counter()
        if now < self._due:
            return
        if self._display is None and not self._open():
            return
        self._due = now + _BETWEEN
        self._try(lambda display: display.show(self._clock.status(run)))

    def _open(self) -> bool:
        if not _ONE_BAR.acquire(blocking=False):
            self._due = math.inf
            return False
        notebook = self._console is None and _in_notebook()
        self._display = _Notebook() if notebook else _Terminal(self._console)
        return True

    def _try(self, show: Callable[[_Display], None]) -> None:
        """A bar that cannot be shown is left out: nobody reads it, its disk is full, rich shows something else.

        rich answers a reader who has gone with SystemExit.
        """
        assert self._display is not None, "what is shown is open"
        try:
            show(self._display)
        except BaseException as error:
            self._due = math.inf
            with suppress(Exception, SystemExit):
                self._release()
            if not isinstance(error, Exception | SystemExit):
                raise
            if type(error).__name__ != "LiveError":  # the user's own display of rich, which is left alone
                warn(f"the progress bar cannot be shown: {error!r}. Training goes on.")

    def _close(self) -> None:
        try:
            self._release()
        except (Exception, SystemExit) as error:  # what was shown may be written at the end
            warn(f"the progress bar cannot be shown: {error!r}.")

    def _release(self) -> None:
        display, self._display = self._display, None  # holds a lock, and could not be copied or pickled
        if display is not None:
            try:
                display.close()
            finally:
                _ONE_BAR.release()


class ProgressLines(Callback):
    """A line of plain text an epoch, one a second at most, and always the first and the last."""

    def on_train_begin(self, run: Run) -> None:
        self._clock, self._due = _Clock(), 0.0
        self._waiting = ""

    def on_epoch_begin(self, run: Run) -> None:
        self._clock.start(run)

    def on_epoch_end(self, run: Run, record: Record) -> None:
        self._clock.record = record
        self._waiting = self._clock.status(run, ended=run.epoch == run.last_epoch or run.stopped is not None).text
        if time.perf_counter() >= self._due:
            self._print()

    def on_train_end(self, run: Run) -> None:
        if self._waiting and self._due < math.inf:
            self._print()

    def _print(self) -> None:
        try:
            print(self._waiting, flush=True)
            self._due = time.perf_counter() + _BETWEEN_LINES
        except (OSError, ValueError, AttributeError) as error:  # nobody reads, a full disk, closed, no output at all
            self._due = math.inf
            warn(f"the training's progress cannot be printed: {error!r}. Training goes on.")
        self._waiting = ""


class _Status(NamedTuple):
    """Where a run is: ``epoch 3/20``, a share of the whole, and numbers from the most to the least important one."""

    epoch: str
    share: float
    numbers: Sequence[str]

    @property
    def text(self) -> str:
        return "  ".join([self.epoch, *self.numbers])


class _Clock:
    """What becomes of a run's place and an epoch's record: speed, and time that is left."""

    def __init__(self) -> None:
        self.record: Record | None = None
        self._started: tuple[float, float] | None = None

    def start(self, run: Run) -> None:
        """From the first epoch on, where a run that is resumed has its place."""
        self._started = self._started or (time.perf_counter(), _epochs_done(run))

    def status(self, run: Run, *, ended: bool = False) -> _Status:
        assert self._started is not None, "an epoch has begun"
        began, first = self._started
        done, seconds = _epochs_done(run), time.perf_counter() - began
        numbers = [] if self.record is None else [*_measured(run, self.record)]
        if run.steps_per_epoch is None:
            numbers.append(f"step {run.step}")
        if ended:
            numbers.append(f"in {_minutes(seconds)}")
        elif done > first:
            numbers.append(f"{_minutes((run.epochs - done) * seconds / (done - first))} left")
        if done > first:
            speed = (done - first) / seconds
            numbers.append(f"{speed:.1f} epochs/s" if speed >= 1 else f"{1 / speed:.1f} s/epoch")
        return _Status(f"epoch {run.epoch - run.first_epoch + 1}/{run.epochs}", done / run.epochs, numbers)


class _Display(Protocol):
    """Where a status is shown, each in the place of the one before."""

    def show(self, status: _Status) -> None: ...
    def close(self) -> None: ...


class _Terminal:
    """rich's bar. Nothing but ``show`` draws, so that there is no thread beside the training."""

    def __init__(self, console: Any) -> None:
        self._console = console
        self._progress: Any = None

    def show(self, status: _Status) -> None:
        progress = self._progress or self._start()
        room = progress.console.width - len(status.epoch) - self._bar - 3
        text = ""
        for number in status.numbers:
            text += f"  {number}" if len(text) + len(number) + 2 <= room else ""
        progress.update(
            self._task, description=status.epoch, completed=status.share, numbers=text.strip(), refresh=True
        )

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()

    def _start(self) -> Any:
        import rich.console
        import rich.progress

        text = rich.progress.TextColumn
        shared = rich.get_console()  # has the user's own displays; made while nobody watched, it would not move
        console = self._console or (shared if shared.is_interactive else rich.console.Console())
        self._bar = 16 if console.width >= 60 else 8
        self._progress = rich.progress.Progress(
            text("{task.description}"),
            rich.progress.BarColumn(self._bar),
            text("{task.fields[numbers]}", markup=False),  # a metric may have any name
            console=console,
            auto_refresh=False,
            redirect_stderr=_is_terminal(sys.stderr),  # a log of its own stays where it is
        )
        self._progress.start()
        self._task = self._progress.add_task("", total=1.0, numbers="")
        return self._progress


class _Notebook:
    """An output of the notebook's, which each status takes the place of."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, status: _Status) -> None:
        bar = f'<progress value="{status.share:.4f}" max="1" style="width: 16em"></progress>'
        text = html.escape(status.text).replace("  ", " &nbsp; ")
        shown = {"text/plain": status.text, "text/html": f"<div>{bar} {text}</div>"}
        if self._handle is None:
            display = importlib.import_module("IPython.display").display
            self._handle = display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)

    def close(self) -> None:
        """What was shown last stays."""


def _epochs_done(run: Run) -> float:
    within = run.step / run.steps_per_epoch if run.steps_per_epoch else 0.0
    return run.epoch - run.first_epoch + within


def _measured(run: Run, record: Record) -> Iterator[str]:
    """The loss, and the metrics of the validation set or else its loss."""
    metrics = [name for name in run.columns if name.startswith("val_") and name != "val_loss"]
    for name in ["loss", *(metrics or run.columns[1:])]:
        value = record[name]
        yield f"{name} {value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{name} {value:.3e}"


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _in_notebook() -> bool:
    """Whether IPython runs cells for a notebook, and not for a terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    return getattr(shell, "kernel", None) is not None


def _can_show_a_bar() -> bool:
    """In a notebook, or in a terminal that moves its cursor, with rich."""
    if _in_notebook():
        return True
    moves = _is_terminal(sys.stdout) and os.environ.get("TERM", "") not in ("dumb", "unknown")
    return moves and importlib.util.find_spec("rich") is not None


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # there is none, or it is closed
        return False


def _is_one_of_many() -> bool:
    """Whether a machine watches (CI), or this process is a worker that shares its parent's terminal."""
    processes = sys.modules.get("multiprocessing")
    return "CI" in os.environ or (processes is not None and processes.current_process().name != "MainProcess")
