"""Callbacks: objects that the loop calls between epochs.

A callback has any of ``on_train_begin(run)``, ``on_epoch_begin(run)``, ``on_step_end(run)``,
``on_epoch_end(run, record)`` and ``on_train_end(run)``. ``run`` (see ``Run``) says where the training is, and takes
requests: ``run.stop("why")``, ``run.scale_rate(0.5)``, ``run.snapshot()``, ``run.restore(snapshot)``. ``record`` is the
epoch's numbers, already on the host. ``on_step_end`` reads nothing from the device, so a progress bar costs no
synchronisation.

A callback that a resumed training must find as it was has ``state()``, a dictionary of numbers, strings and snapshots,
and ``resume(state)``, which is called after ``on_train_begin``.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from .._errors import ConfigurationError, FileError, MissingExtraError, require
from .._options import as_list, check_instance, real_number, whole_number
from ..history import Record
from ..metrics import HIGHER_IS_BETTER, METRICS
from ._run import Run, Snapshot

Mode = Literal["auto", "min", "max"]


HOOKS = ("on_train_begin", "on_epoch_begin", "on_step_end", "on_epoch_end", "on_train_end")


def check_callbacks(callbacks: Iterable[object]) -> list[object]:
    """The callbacks as a list. Raises ConfigurationError for what has none of the hooks, or is a class."""
    listeners = as_list(callbacks, name="callbacks", example="cr.EarlyStopping()")
    for callback in listeners:
        check_instance(callback, object, expected="a callback", write="an object with on_epoch_end(run, record)")
        if not any(hasattr(callback, hook) for hook in HOOKS):
            raise ConfigurationError(
                f"a callback has one of {', '.join(HOOKS)}, got {callback!r}, which has none"
                + (": give it to the estimator's set_callbacks." if hasattr(callback, "on_fit_task_end") else ".")
            )
    return listeners


class EarlyStopping:
    """Stop when ``monitor`` has not improved by more than ``min_delta`` for ``patience`` epochs.

    Args:
        monitor: a column of the history: ``"val_loss"``, ``"val_accuracy"``, ``"loss"``, or ``"val_"`` and your metric.
        patience: epochs without improvement.
        min_delta: what counts as an improvement, in the metric's units.
        mode: whether smaller or larger is better; ``"auto"`` knows losses and the library's metrics.
        restore_best: give back the weights of the best epoch, also when training ends otherwise.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        *,
        patience: int = 10,
        min_delta: float = 0.0,
        mode: Mode = "auto",
        restore_best: bool = True,
    ) -> None:
        patience, min_delta = whole_number("patience", patience, least=1), real_number("min_delta", min_delta)
        require(min_delta >= 0, f"min_delta must be >= 0, got {min_delta}.")
        self.monitor, self.patience, self.min_delta, self.restore_best = monitor, patience, min_delta, restore_best
        self._sign = _direction(monitor, mode)

    def on_train_begin(self, run: Run) -> None:
        run.require_column(self.monitor)
        self.best, self.best_epoch = math.inf, 0
        self._waited = 0
        self._snapshot: Snapshot | None = None

    def on_epoch_end(self, run: Run, record: Record) -> None:
        value = self._sign * record[self.monitor]
        if value < self.best - self.min_delta:
            self.best, self.best_epoch, self._waited = value, run.epoch, 0
            if self.restore_best:
                self._snapshot = run.snapshot()
            return
        self._waited += 1
        if self._waited >= self.patience:
            best = self._sign * self.best
            run.stop(f"{self.monitor} did not improve for {self.patience} epochs (best {best:.4g}, {self.best_epoch})")

    def on_train_end(self, run: Run) -> None:
        if self._snapshot is not None:
            run.restore(self._snapshot)

    def state(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch, "waited": self._waited, "snapshot": self._snapshot}

    def resume(self, state: dict[str, Any]) -> None:
        self.best, self.best_epoch, self._waited = state["best"], state["best_epoch"], state["waited"]
        self._snapshot = state["snapshot"]


class ReduceOnPlateau:
    """Multiply the learning rate by ``factor`` when ``monitor`` has not improved for ``patience`` epochs.

    The rate does not fall below ``minimum`` times the scheduled one. A schedule keeps running underneath.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        *,
        factor: float = 0.1,
        patience: int = 10,
        min_delta: float = 1e-4,
        minimum: float = 1e-6,
        mode: Mode = "auto",
    ) -> None:
        factor, minimum = real_number("factor", factor), real_number("minimum", minimum)
        patience, min_delta = whole_number("patience", patience, least=1), real_number("min_delta", min_delta)
        require(0 < factor < 1, f"factor must lie between 0 and 1, got {factor}.")
        require(minimum > 0, f"minimum must be > 0, got {minimum}.")
        self.monitor, self.factor, self.patience = monitor, factor, patience
        self.min_delta, self.minimum = min_delta, minimum
        self._sign = _direction(monitor, mode)

    def on_train_begin(self, run: Run) -> None:
        run.require_column(self.monitor)
        self._best, self._waited = math.inf, 0

    def on_epoch_end(self, run: Run, record: Record) -> None:
        value = self._sign * record[self.monitor]
        if value < self._best - self.min_delta:
            self._best, self._waited = value, 0
            return
        self._waited += 1
        if self._waited >= self.patience and run.rate_scale > self.minimum:
            run.scale_rate(max(self.factor, self.minimum / run.rate_scale))
            self._waited = 0

    def state(self) -> dict[str, Any]:
        return {"best": self._best, "waited": self._waited}

    def resume(self, state: dict[str, Any]) -> None:
        self._best, self._waited = state["best"], state["waited"]


class CSVLogger:
    """Write the history to a CSV file after every epoch. The file is opened before training starts.

    Raises FileError where the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        require(isinstance(path, str | os.PathLike), f"expected the path of a file, got {path!r:.60}.")
        self.path = Path(path)

    def on_train_begin(self, run: Run) -> None:
        self._write(run.history.to_csv() if len(run.history) else "")

    def on_epoch_end(self, run: Run, record: Record) -> None:
        self._write(run.history.to_csv())

    def _write(self, text: str) -> None:
        try:
            self.path.write_text(text)
        except OSError as error:
            raise FileError(f"cannot write {self.path}: {error.strerror or error}.") from error
        except ValueError as error:  # a NUL
            raise FileError(f"cannot write {str(self.path)!r}: no file can have this name ({error}).") from error


class ProgressBar:
    """A bar with the epoch, the loss, the validation metric, epochs a second and the time left.

    Needs rich: ``pip install 'chainrule[cli]'``. Raises MissingExtraError without it.
    """

    def __init__(self, console: Any = None) -> None:
        try:
            import rich.progress  # noqa: F401  # to say so before training, not in it
        except ImportError as error:
            raise MissingExtraError("a progress bar needs rich: pip install 'chainrule[cli]'.") from error
        self._console = console

    def on_train_begin(self, run: Run) -> None:
        import rich.progress as bar

        self._started = time.perf_counter()
        self._progress = bar.Progress(
            bar.TextColumn("epoch"),
            bar.MofNCompleteColumn(),
            bar.BarColumn(bar_width=16),
            bar.TextColumn("{task.fields[numbers]}"),
            bar.TimeRemainingColumn(compact=True),
            console=self._console,
        )
        self._progress.start()
        self._task = self._progress.add_task("", total=run.epochs, numbers="")

    def on_epoch_end(self, run: Run, record: Record) -> None:
        done = record["epoch"] - run.first_epoch + 1
        metrics = [name for name in run.columns if name.startswith("val_") and name != "val_loss"]
        shown = [f"{name} {record[name]:.4f}" for name in ["loss", *(metrics or run.columns[1:])]]
        speed = done / (time.perf_counter() - self._started)
        self._progress.update(self._task, completed=done, numbers="  ".join([*shown, f"{speed:.1f} epochs/s"]))

    def on_train_end(self, run: Run) -> None:
        self._progress.stop()
        del self._progress  # which holds a lock, and could not be copied or pickled


def _direction(monitor: str, mode: Mode) -> int:
    """1 where smaller is better, -1 where larger is."""
    require(isinstance(monitor, str), f"monitor must name a column of the history, got {monitor!r:.60}.")
    require(mode in ("auto", "min", "max"), f"mode must be 'auto', 'min' or 'max', got {mode!r}.")
    name = monitor.removeprefix("val_")
    if mode == "auto":
        if name != "loss" and name not in METRICS:
            raise ConfigurationError(f"say whether a larger {monitor!r} is better: mode='max' or mode='min'.")
        mode = "max" if name in HIGHER_IS_BETTER else "min"
    return 1 if mode == "min" else -1
