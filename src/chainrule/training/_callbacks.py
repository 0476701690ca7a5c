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
from collections.abc import Iterable
from typing import Any, Literal

from .._base.errors import ConfigurationError, FileError, require, warn
from .._base.options import as_list, check_instance, real_number, whole_number
from .._base.storage import absolute, write_whole
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
        last = run.history[-1][self.monitor] if self._waited and self.best in (0, math.inf) else 1.0
        if nothing := _says_nothing(self.monitor, self.best, last):
            ends_with = "last" if self._snapshot is None else "first"
            warn(f"{self.monitor} was {nothing}: training ends with the weights of the {ends_with} epoch. {_REMEDY}.")

    def state(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch, "waited": self._waited, "snapshot": self._snapshot}

    def resume(self, state: dict[str, Any]) -> None:
        self.best, self.best_epoch, self._waited = state["best"], state["best_epoch"], state["waited"]
        self._snapshot = state["snapshot"]


class ReduceOnPlateau:
    """Multiply the learning rate by ``factor`` when ``monitor`` has not improved for ``patience`` epochs.

    The rate does not fall below ``minimum`` times the scheduled one. A schedule keeps running underneath. Epochs in
    which ``monitor`` is no number do not count.
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
        self._best, self._waited, self._blind = math.inf, 0, 0

    def on_epoch_end(self, run: Run, record: Record) -> None:
        value = self._sign * record[self.monitor]
        nothing = _says_nothing(self.monitor, self._best, value)
        self._blind = self._blind + 1 if nothing else 0
        if nothing:
            if self._blind == self.patience:
                warn(f"{self.monitor} was {nothing}: the rate stays as it is. {_REMEDY}.")
            return
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
    """Write the history to a CSV file after every epoch: the whole of it, in one go, so that none of it can be lost.

    The log of an earlier training is replaced with the first epoch. A disk that is full ends no training: it is said
    once, and all rows are written when there is room again.

    Raises FileError before training where the file cannot be written, or is there and is no log.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = absolute(path)

    def on_train_begin(self, run: Run) -> None:
        before = self._before()
        write_whole(self.path, before, durable=False)  # what cannot be written is said now
        self._failing, self._empty = False, not before

    def on_epoch_end(self, run: Run, record: Record) -> None:
        self._write(run)

    def on_train_end(self, run: Run) -> None:
        if self._failing or (self._empty and len(run.history)):  # or a training run that had ended before
            self._write(run)
        if self._failing:
            warn(f"{self.path} lacks the last epochs: the model's history has them.")

    def _before(self) -> bytes:
        """What is in the file, if it is a log."""
        try:
            before = self.path.read_bytes() if self.path.is_file() else b""
        except (OSError, ValueError):  # writing says why
            return b""
        if before and not before.startswith(b"epoch,"):
            raise FileError(f"{self.path} is there, and is no log of a training run: give another name, or remove it.")
        return before

    def _write(self, run: Run) -> None:
        try:
            write_whole(self.path, run.history.to_csv().encode(), durable=False)
        except FileError as error:
            if not self._failing:
                warn(f"{error} Training goes on, and it will be tried again.")
            self._failing = True
        else:
            self._failing = self._empty = False


_REMEDY = "Monitor 'val_loss', or validate on rows for which it can be computed"


def _says_nothing(monitor: str, best: float, value: float) -> str:
    """Why a value says nothing of how well the training goes; "" where it may say something."""
    if math.isnan(value):
        return "no number, as r2 of a single row is none"
    if best == value == 0 and monitor.removeprefix("val_") == "r2":  # from the first epoch on
        return "0 in every epoch, as r2 of a constant target is"
    return ""


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
