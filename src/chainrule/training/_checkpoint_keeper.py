"""The callback that keeps a training run in its folder: it writes checkpoints, clears old ones away, and resumes."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from .._backend._mkl import why_not_mkl
from .._base.errors import BackendError, ConfigurationError, FileError, one_line, warn
from .._kernels import has_loops, with_loops
from .._model import serialization
from ..history import Record
from ..model import Model
from ._checkpoint import Checkpoint
from ._checkpoint_file import (
    BEST,
    Position,
    Resumed,
    checkpoints_of,
    find_checkpoint,
    is_of,
    name_of,
    resumed,
    what_is_left,
    write_checkpoint,
)
from ._divergence import is_finite
from ._lock import FolderLock
from ._run import Run


class Keeper:
    """A callback that writes checkpoints; comes after all others: it stores their state, and gives it back to them.

    Entered it holds the folder, and has put the run where the newest checkpoint is, if it is to resume. Only files of a
     training run of this ``identity`` are removed or written over.
    """

    every_step = False

    def __init__(
        self, checkpoint: Checkpoint, run: Run, callbacks: Sequence[object], identity: Mapping[str, Any]
    ) -> None:
        self._checkpoint, self._folder, self._run = checkpoint, Path(checkpoint.folder), run
        self._identity, self._callbacks, self._lock = identity, callbacks, FolderLock(self._folder)
        told = json.dumps(identity, sort_keys=True).encode()
        self._mark = f"training-{hashlib.sha256(told).hexdigest()[:12]}"
        self._start: Position | None = None  # where the run goes on from, and the callbacks' state there
        self._stored: list[tuple[str, dict[str, Any]]] = []
        self._written_at = time.monotonic()
        self._written: Position | None = None
        self._failing = False

    def __enter__(self) -> Keeper:
        self._lock.hold()
        try:
            left = None if self._checkpoint.resume else what_is_left(self._folder)
            if left is not None:
                raise ConfigurationError(
                    f"{self._checkpoint.folder} has {left} of a training run: go on with cr.Checkpoint(folder, "
                    "resume=True) if it is this one, or give another folder."
                )
            found = find_checkpoint(self._folder) if self._checkpoint.resume else None
            if found is not None:
                self._go_on(resumed(self._run.backend, self._run.state, *found, self._identity))
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def on_train_begin(self, run: Run) -> None:
        for left in self._folder.glob(f".{self._mark}-*.partial"):  # by a process that was killed while it wrote
            left.unlink(missing_ok=True)
        start = self._start or Position(-1)
        own = checkpoints_of(self._folder, self._identity)
        # Later ones than the one that was read could not be read: they are the first to go.
        self._mine = [path for _, path in sorted(own, key=lambda each: (each[0] <= start, each))]
        self._best_model: Model | None = None  # until it is written
        before = self._best_before()
        self._best = before if self._start else math.inf
        if self._start and not self._start.step and len(run.history):
            self._look(run, run.history.records[-1])
            self._try(lambda: self._write_best(run))
        if self._start:
            self._clear()
        _resume_callbacks(self._callbacks, self._stored)

    def on_step_end(self, run: Run) -> None:
        if run.step != run.steps_per_epoch and self._time_is_up():
            self._write(run, Position(run.epoch - 1, run.step))

    def on_epoch_end(self, run: Run, record: Record) -> None:
        ends = run.stopped is not None or run.epoch == run.last_epoch
        every = self._checkpoint.every
        due = self._time_is_up() if isinstance(every, str) else (run.epoch - run.first_epoch + 1) % every == 0
        self._look(run, record)
        if due or ends:
            self._write(run, Position(run.epoch))

    def on_break(self, run: Run) -> None:
        """Keep what there is, when a training run breaks off."""
        self._write(run, Position(run.epoch - 1, run.step) if _record(run) is None else Position(run.epoch))

    def on_train_end(self, run: Run) -> None:
        if self._failing:
            warn(
                f"the last checkpoint could not be written to {self._folder}: keep the model that fit returns "
                "elsewhere, with model.save(path)."
            )

    def _go_on(self, found: Resumed) -> None:
        """Put the run where it was."""
        run, self._start, self._stored = self._run, found.position, found.callbacks
        (run.epoch, run.step), run.state, run.history = found.position, found.state, found.history
        run.rate_scale, run.recoveries, run.stopped = found.rate_scale, found.recoveries, found.stopped
        run.first, run.best = found.first, found.best
        run.backend = with_loops(replace(run.backend, products=found.products), pays=found.loops is not False)
        if found.loops and not has_loops(run.backend):
            raise BackendError(
                "the checkpoint's training ran with Numba's loops, to whose last bits nothing else goes on, and Numba "
                "cannot be imported here: pip install 'chainrule[fast]', or start again in another folder."
            )
        if found.products == "mkl" and (why := why_not_mkl()):
            raise BackendError(
                "the checkpoint's training ran with MKL's products, to whose last bits nothing else goes on, and here "
                f"{why}: go on where they can be had, or start again in another folder."
            )

    def _time_is_up(self) -> bool:
        seconds = self._checkpoint.seconds
        return seconds is not None and time.monotonic() - self._written_at >= seconds

    def _look(self, run: Run, record: Record) -> None:
        """Take the model of this record, if it is the best so far."""
        if watched(record) < self._best:
            self._best, self._best_model = watched(record), run.model()

    def _write(self, run: Run, position: Position) -> None:
        backend = run.backend
        if position == self._written or (position.step and not backend.to_numpy(is_finite(backend, run.state))[0]):
            return  # or on its way to the end of a lost epoch: the checkpoint before is a good one
        if self._try(lambda: self._replace(run, position)):
            self._written = position
        self._written_at = time.monotonic()

    def _replace(self, run: Run, position: Position) -> None:
        """The best model, the checkpoint, and then the oldest ones away: in this order, or a kill could lose one."""
        self._write_best(run)
        path = self._free_path(position)
        write_checkpoint(path, run, position, self._identity, self._callbacks, mark=self._mark)
        serialization.read_description(path)  # it is there, and whole
        self._mine = [*(each for each in self._mine if each != path), path]
        self._clear()

    def _clear(self) -> None:
        """Remove all but the last checkpoints."""
        last = self._mine[-self._checkpoint.keep :]
        self._mine = [*(each for each in self._mine[: -len(last)] if not _removed(each)), *last]

    def _free_path(self, position: Position) -> Path:
        """The position's name, where nobody else's file has it."""
        paths = (self._folder / name_of(position, number) for number in count(1))
        return next(path for path in paths if path in self._mine or not os.path.lexists(path))

    def _write_best(self, run: Run) -> None:
        if not self._lock.hold():  # a folder that was made again: what is in it now is not from here
            self._mine, before, record = [], self._best_before(), _record(run)
            if self._best_model is None:
                self._best = before
            if self._best_model is None and record is not None:
                self._look(run, record)
        if self._best_model is not None:
            model, backend = self._best_model, self._best_model.backend
            arrays = {"theta": backend.to_numpy(model.theta), "buffers": backend.to_numpy(model.buffers)}
            described = {**model.description(lenient=True), "training": {"identity": dict(self._identity)}}
            serialization.write(self._folder / BEST, arrays, described, mark=self._mark)
            self._best_model = None

    def _best_before(self) -> float:
        """The loss of the best model in the folder. One that cannot be read is put aside, another's is refused."""
        path = self._folder / BEST
        if not os.path.lexists(path):
            return math.inf
        try:
            _, description = serialization.read(path)
        except FileError as error:
            aside = next(free for n in count(1) if not os.path.lexists(free := path.with_name(f"{BEST}.{n}")))
            path.rename(aside)
            warn(f"{error} It is kept as {aside.name}.")
            return math.inf
        try:
            if is_of(self._identity, description):
                return watched(description["history"][-1])
        except (AttributeError, IndexError, KeyError, TypeError):
            pass
        raise FileError(f"{path} is not this training's: move it away, or choose another folder.")

    def _try(self, write: Callable[[], None]) -> bool:
        """Whether it could be written; a training run does not end because a disk is full."""
        try:
            write()
        except (OSError, MemoryError) as error:
            if not self._failing:
                reason = error if isinstance(error, FileError) else f"cannot write to {self._folder}: {error}."
                warn(f"{reason} Training goes on, and it will be tried again.")
            self._failing = True
            return False
        self._failing = False
        return True


def _record(run: Run) -> Record | None:
    """The record of the epoch that the run is in, if it has one."""
    last = run.history.records[-1:]
    return last[0] if last and last[0]["epoch"] == run.epoch else None


def _removed(path: Path) -> bool:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # somebody reads it, where that forbids it: later
        return False
    return True


def watched(record: Record) -> float:
    """What identifies the best epoch."""
    return record.get("val_loss", record["loss"])


def _resume_callbacks(callbacks: Iterable[object], stored: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Hand each callback the state that one of its class left, in turn."""
    waiting = list(stored)
    for callback in callbacks:
        for i, (name, state) in enumerate(waiting):
            if name == type(callback).__name__ and hasattr(callback, "resume"):
                callback.resume(state)
                del waiting[i]
                break
    if waiting:
        names = ", ".join(one_line(name) for name, _ in waiting)
        raise ConfigurationError(f"the checkpoint's training had the callbacks {names}: give them again.")
