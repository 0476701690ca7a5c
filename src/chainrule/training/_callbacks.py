"""Callbacks: what training calls while it runs, and the library's own."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from inspect import signature
from types import MappingProxyType
from typing import Any, Literal

from .._base.errors import ConfigurationError, FileError, require, warn
from .._base.options import as_list, check_instance, real_number, whole_number
from .._base.storage import absolute, write_whole
from .._base.synonyms import value_for
from ..history import Record
from ..metrics import HIGHER_IS_BETTER, METRICS
from ._run import Run, Snapshot

Mode = Literal["auto", "min", "max"]


# When a callback is called, and with what.
HOOKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "on_train_begin": ("run",),
        "on_epoch_begin": ("run",),
        "on_step_end": ("run",),
        "on_epoch_end": ("run", "record"),
        "on_train_end": ("run",),
    }
)


class Callback:
    """What training calls while it runs: a class names this one and has those of the five hooks that it needs.

    They are called in this order: ``on_train_begin``; in every epoch ``on_epoch_begin``, ``on_step_end`` after each
    step, ``on_epoch_end``; and ``on_train_end``. Of several callbacks the first in the list is called first. A class
    that has a hook without naming this one is a callback too. An error that a hook raises ends the training, and
    brings the weights so far as its ``model``.

    Every hook is handed ``run``, the training under way. It says where that is: ``run.epoch``, from 1, ``run.step``, in
    each epoch from 1, ``run.last_epoch``, ``run.history``; ``run.state`` has the arrays. And it takes requests:
    ``run.stop("why")`` after this epoch, ``run.scale_rate(0.5)`` from the next step on, ``run.snapshot()`` of the
    weights, ``run.restore(snapshot)``, ``run.model()``. Ask inside of a hook: what another thread asks for, a step may
    be writing over, or have taken away.

    Attributes:
        every_step: whether ``on_step_end`` has to come after each single step (the default). Where a callback says
            ``every_step = False``, a few milliseconds of steps may be taken before it comes, which a small network's
            training is up to twice as fast by.

    Example:
        >>> import chainrule as cr
        >>> class StopBelow(cr.Callback):
        ...     def __init__(self, loss):
        ...         self.loss = loss
        ...     def on_epoch_end(self, run, record):
        ...         if record["loss"] < self.loss:
        ...             run.stop(f"the loss is below {self.loss}")
        >>> X, y = [[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0]
        >>> options = {"loss": "squared_error", "optimizer": cr.SGD(0.1), "epochs": 1000}
        >>> model = cr.fit(cr.mlp([1, 1]), X, y, **options, callbacks=[StopBelow(0.001)])
        >>> len(model.history) < 100, model.history[-2]["loss"] > 0.001 > model.history[-1]["loss"]
        (True, True)
    """

    every_step: bool = True

    def on_train_begin(self, run: Run) -> None:
        """Called before the first epoch; where training is resumed, before ``resume``."""

    def on_epoch_begin(self, run: Run) -> None:
        """Called before the first step of an epoch, once, also where the epoch is taken again after a divergence."""

    def on_step_end(self, run: Run) -> None:
        """Called after each step. Nothing is read from the device for it, so it costs no synchronisation."""

    def on_epoch_end(self, run: Run, record: Record) -> None:
        """Called after an epoch with its record, numbers by name: ``epoch``, ``loss``, ``learning_rate``, ``seconds``,
        and ``val_loss``, ``val_accuracy``, ... with a validation set; it is ``run.history[-1]``.
        """

    def on_train_end(self, run: Run) -> None:
        """Called at the end, whatever ended the training, an error too, if ``on_train_begin`` went well."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of the callback: numbers, strings and snapshots by name; nothing by default."""
        return {}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from what ``state`` gave when the checkpoint was written; called where there is one with a state."""


def check_callbacks(callbacks: Iterable[object]) -> list[object]:
    """The callbacks as a list. Raises ConfigurationError for what has none of the hooks, or is a class."""
    listeners = as_list(callbacks, name="callbacks", example="cr.EarlyStopping()")
    for callback in listeners:
        check_instance(callback, object, expected="a callback", write="an object with on_epoch_end(run, record)")
        for hook, given in HOOKS.items():
            if has_hook(callback, hook) and not _takes(getattr(callback, hook), len(given)):
                raise ConfigurationError(
                    f"{hook} of {type(callback).__name__} is called with ({', '.join(given)}): let it take these."
                )
        if not any(has_hook(callback, hook) for hook in HOOKS):
            raise ConfigurationError(
                f"a callback has one of {', '.join(HOOKS)}, got {callback!r}, which has none"
                + (": give it to the estimator's set_callbacks." if hasattr(callback, "on_fit_task_end") else ".")
            )
    return listeners


def _takes(hook: Any, count: int) -> bool:
    try:
        signature(hook).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # of a function without a signature nothing is known
        return True
    return True


def has_hook(callback: object, hook: str) -> bool:
    """Whether the callback does something at this moment: the bodies that it takes from ``Callback`` do nothing."""
    found = getattr(callback, hook, None)
    return found is not None and getattr(found, "__func__", found) is not getattr(Callback, hook)


class EarlyStopping(Callback):
    """Stop when ``monitor`` has not improved by more than ``min_delta`` for ``patience`` epochs in a row.

    The model then has the weights of its best epoch, also where training ends otherwise (Prechelt, 1998).

    Args:
        monitor: a column of the history: ``"val_loss"`` (the default), ``"val_accuracy"``, ``"loss"``, or ``"val_"``
            and the name of a metric of your own.
        patience: epochs without improvement, >= 1; default 10.
        min_delta: what does not count as an improvement yet, >= 0, in the metric's units; default 0.
        mode: ``"min"`` if smaller is better, ``"max"`` if larger is; ``"auto"`` (the default) knows the losses and
            the library's metrics.
        restore_best: whether to give back the weights of the best epoch (the default) or those of the last.

    Attributes:
        best_epoch: the epoch that had it; 0 before there is one.

    Raises:
        ConfigurationError: a number out of its range; a metric of your own without ``mode``; and, when training
            begins, a column that the history will not have.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> rng = np.random.default_rng(0)
        >>> X, noise = rng.normal(size=(40, 10)), rng.normal(size=40)  # there is nothing to learn from X but the noise
        >>> stop = cr.EarlyStopping(patience=5)
        >>> options = {"loss": "squared_error", "epochs": 500, "validation": (X[30:], noise[30:])}
        >>> model = cr.fit(cr.mlp([10, 50, 1]), X[:30], noise[:30], **options, callbacks=[stop])
        >>> len(model.history) == stop.best_epoch + 5 < 500
        True
        >>> abs(model.evaluate(X[30:], noise[30:])["loss"] - min(model.history["val_loss"])) < 1e-6
        True
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
        self._best = math.inf

    @property
    def best(self) -> float:
        """The best value so far; infinite, on the bad side, before there is one."""
        return self._sign * self._best

    def on_train_begin(self, run: Run) -> None:
        run.require_column(self.monitor)
        self._best, self.best_epoch = math.inf, 0
        self._waited = 0
        self._snapshot: Snapshot | None = None

    def on_epoch_end(self, run: Run, record: Record) -> None:
        value = self._sign * record[self.monitor]
        if value < self._best - self.min_delta:
            self._best, self.best_epoch, self._waited = value, run.epoch, 0
            if self.restore_best:
                self._snapshot = run.snapshot()
            return
        self._waited += 1
        if self._waited >= self.patience:
            best = f"best {self.best:.4g}, {self.best_epoch}"
            run.stop(f"{self.monitor} did not improve for {self.patience} epochs ({best})")

    def on_train_end(self, run: Run) -> None:
        if self._snapshot is not None:
            run.restore(self._snapshot)
        last = run.history[-1][self.monitor] if self._waited and self._best in (0, math.inf) else 1.0
        if nothing := _says_nothing(self.monitor, self._best, last):
            ends_with = "last" if self._snapshot is None else "first"
            warn(f"{self.monitor} was {nothing}: training ends with the weights of the {ends_with} epoch. {_REMEDY}.")

    def state(self) -> dict[str, Any]:
        return {"best": self._best, "best_epoch": self.best_epoch, "waited": self._waited, "snapshot": self._snapshot}

    def resume(self, state: dict[str, Any]) -> None:
        self._best, self.best_epoch, self._waited = state["best"], state["best_epoch"], state["waited"]
        self._snapshot = state["snapshot"]


class ReduceOnPlateau(Callback):
    """Multiply the learning rate by ``factor`` when ``monitor`` has not improved for ``patience`` epochs in a row.

    A schedule keeps running underneath. Epochs in which ``monitor`` is NaN do not count.

    Args:
        monitor: a column of the history, as ``EarlyStopping``'s; default ``"val_loss"``.
        factor: between 0 and 1; default 0.1.
        patience: epochs without improvement, >= 1; default 10. After a reduction they are counted anew.
        min_delta: what does not count as an improvement yet, >= 0, in the metric's units; default 1e-4.
        minimum: the rate does not fall below this share of the scheduled one, > 0; default 1e-6.
        mode: ``"min"`` if smaller is better, ``"max"`` if larger is; ``"auto"`` (the default) knows the losses and
            the library's metrics.

    Raises:
        ConfigurationError: as of ``EarlyStopping``.

    Example:
        >>> import chainrule as cr
        >>> X, y = [[0.0], [1.0]], [0.0, 1.0]
        >>> plateau = cr.ReduceOnPlateau("loss", factor=0.5, patience=2, min_delta=100.0)  # nothing is such a step
        >>> options = {"loss": "squared_error", "optimizer": cr.SGD(0.1), "epochs": 6, "callbacks": [plateau]}
        >>> model = cr.fit(cr.mlp([1, 1]), X, y, **options)
        >>> [round(rate, 4) for rate in model.history["learning_rate"]]
        [0.1, 0.1, 0.1, 0.05, 0.05, 0.025]
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


class CSVLogger(Callback):
    """Write the history to a CSV file after every epoch: the whole of it, in one go, so that none of it can be lost.

    The log of an earlier training is replaced with the first epoch. A disk that is full ends no training: it is said
    once, and all rows are written when there is room again.

    Args:
        path: of the file. A relative one is made absolute right away.

    Raises:
        FileError: before training, where the file cannot be written, or is there and is no log.

    Example:
        >>> import pathlib, tempfile, chainrule as cr
        >>> path = pathlib.Path(tempfile.mkdtemp(), "log.csv")
        >>> X, y = [[0.0], [1.0]], [0.0, 1.0]
        >>> model = cr.fit(cr.mlp([1, 1]), X, y, loss="squared_error", epochs=2, callbacks=[cr.CSVLogger(path)])
        >>> header, *rows = path.read_text().splitlines()
        >>> header, len(rows)
        ('epoch,loss,learning_rate,seconds', 2)
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
            ours = value_for("metric", name)
            hint = f" (or is it {monitor.replace(name, ours)!r}?)" if ours is not None and ours in METRICS else ""
            raise ConfigurationError(f"say whether a larger {monitor!r} is better{hint}: mode='max' or mode='min'.")
        mode = "max" if name in HIGHER_IS_BETTER else "min"
    return 1 if mode == "min" else -1
