"""Checkpoints: a training's whole state, in files that are models too.

A checkpoint is what ``Model.save`` writes, with the optimizer's moments, the counters, the callbacks' own state and the
place in the epoch beside it: ``cr.load`` reads it as the model of that moment. What is random is keyed by the seed, the
epoch and the step, so nothing of it needs to be stored.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import serialization
from .._backend import Backend, dtype_name
from .._errors import ConfigurationError, FileError, ModelFileError, require
from .._options import whole_number
from ..data import Batch
from ..history import History, Record
from ..model import Model
from ._divergence import is_finite
from ._run import Run, Snapshot
from ._step import State

_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}
_NAME = re.compile(r"epoch-(\d+)(?:-step-(\d+))?\.safetensors")
_HASHED = ("data", "validation", "start")
_FIELDS = ("step", "cursor", "key", "scale", "cost", "weight")  # of State, besides theta, buffers and moments


@dataclass(frozen=True)
class Checkpoint:
    """Keep a training's whole state in a folder while it runs; ``fit(..., resume=True)`` goes on from it.

    Args:
        folder: made where it is missing; one training at a time. ``best.safetensors`` in it is the model with the
            lowest validation loss so far (the training loss, without a validation set).
        every: a number of epochs, or a time, ``"30 s"``, ``"5 min"``, ``"2 h"``, after which the step in flight is the
            last before the next checkpoint.
        keep: how many of the last checkpoints are kept.

    Example:
        >>> import chainrule as cr
        >>> cr.Checkpoint("runs/x", every="5 min", keep=3).keep
        3
    """

    folder: str | os.PathLike[str]
    every: int | str = 1
    keep: int = 1

    def __post_init__(self) -> None:
        whole_number("Checkpoint: keep", self.keep, least=1)
        if isinstance(self.every, str):
            number, _, unit = self.every.strip().partition(" ")
            known = unit in _SECONDS and number.replace(".", "", 1).isdigit()
            require(known, f"Checkpoint: every must be a number of epochs, or like '5 min', got {self.every!r}.")
        else:
            whole_number("Checkpoint: every", self.every, least=1)

    @property
    def seconds(self) -> float | None:
        """The time between checkpoints, or None where epochs are counted."""
        if not isinstance(self.every, str):
            return None
        number, _, unit = self.every.strip().partition(" ")
        return float(number) * _SECONDS[unit]


def as_checkpoint(given: str | os.PathLike[str] | Checkpoint | None) -> Checkpoint | None:
    """A folder as a checkpoint of every epoch."""
    return Checkpoint(given) if isinstance(given, str | os.PathLike) else given


class Place(NamedTuple):
    """Where a training is: the epochs that it has finished count from 1, and the steps of the one after them."""

    epoch: int
    step: int = 0


class Resumed(NamedTuple):
    """What a checkpoint holds, besides the model."""

    place: Place
    state: State
    history: History
    rate_scale: float
    recoveries: int
    stopped: str | None
    callbacks: list[tuple[str, dict[str, Any]]]
    good: list[State]


def fingerprint(backend: Backend, data: Batch | None) -> str | None:
    """What a training's examples are told by: their shapes, and a hash of them all, or of 64 MB spread over them."""
    if data is None:
        return None
    digest = hashlib.sha256()
    for array in data:
        if array is None:
            continue
        if hasattr(array, "fingerprint"):
            digest.update(array.fingerprint())
            continue
        rows = array.shape[0]
        step = max(1, rows * int(np.prod(array.shape[1:])) // 2**24)
        part = array[::step, ...]
        part = backend.to_numpy(part) if backend.library.owns(part) else np.asarray(part)
        digest.update(f"{array.shape} {part.dtype}".encode())
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


class Keeper:
    """The callback that writes checkpoints. It comes after all others, whose state it stores."""

    def __init__(self, checkpoint: Checkpoint, identity: Mapping[str, Any], callbacks: Sequence[object]) -> None:
        self._checkpoint, self._folder = checkpoint, Path(checkpoint.folder)
        self._identity, self._callbacks = identity, callbacks
        self._written_at = time.monotonic()
        self._written: Place | None = None
        self._best = float("inf")
        self._best_model: Model | None = None  # until it is written
        self._failing = False

    def on_train_begin(self, run: Run) -> None:
        for left in self._folder.glob(".*.partial"):  # by a process that was killed while it wrote
            left.unlink(missing_ok=True)
        self._best = min((watched(record) for record in run.history), default=self._best)

    def on_step_end(self, run: Run) -> None:
        if run.step != run.steps_per_epoch and self._time_is_up():
            self._write(run, Place(run.epoch - 1, run.step))

    def on_epoch_end(self, run: Run, record: Record) -> None:
        ends = run.stopped is not None or run.epoch == run.last_epoch
        every = self._checkpoint.every
        due = self._time_is_up() if isinstance(every, str) else (run.epoch - run.first_epoch + 1) % every == 0
        if watched(record) < self._best:
            self._best, self._best_model = watched(record), run.model()
        if due or ends:
            self._write(run, Place(run.epoch))

    def on_interrupt(self, run: Run) -> None:
        self._write(run, Place(run.epoch - 1, run.step))

    def on_train_end(self, run: Run) -> None:
        if self._failing:
            warnings.warn(
                f"the last checkpoint could not be written to {self._folder}: keep the model that fit returns "
                "elsewhere, with model.save(path).",
                stacklevel=2,
            )

    def _time_is_up(self) -> bool:
        seconds = self._checkpoint.seconds
        return seconds is not None and time.monotonic() - self._written_at >= seconds

    def _write(self, run: Run, place: Place) -> None:
        if place == self._written:
            return
        path = self._folder / _name(place)
        if self._try(lambda: write_checkpoint(path, run, place, self._identity, self._callbacks)):
            self._written = place
            self._write_best()
            for old in [p for _, p in sorted(_files(self._folder), reverse=True)][self._checkpoint.keep :]:
                old.unlink(missing_ok=True)
        self._written_at = time.monotonic()

    def _write_best(self) -> None:
        best, path = self._best_model, self._folder / "best.safetensors"
        if best is not None and self._try(lambda: best.save(path, lenient=True)):
            self._best_model = None

    def _try(self, write: Callable[[], None]) -> bool:
        """Whether it could be written; a training does not end because a disk is full."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write()
        except OSError as error:
            if not self._failing:
                reason = error if isinstance(error, FileError) else f"cannot write to {self._folder}: {error.strerror}."
                warnings.warn(f"{reason} Training goes on, and it will be tried again.", stacklevel=2)
            self._failing = True
            return False
        self._failing = False
        return True


def watched(record: Record) -> float:
    """What the best epoch is told by."""
    return record.get("val_loss", record["loss"])


def write_checkpoint(
    path: Path, run: Run, place: Place, identity: Mapping[str, Any], callbacks: Iterable[object]
) -> None:
    """Write the run as it is."""
    on, state = run.backend, run.state
    if place.step and not on.to_numpy(is_finite(on, state))[0]:
        return  # a training on its way to the end of a lost epoch; the checkpoint before is a good one
    arrays = {"theta": state.theta, "buffers": state.buffers, **_beside("training", state)}
    for i, good in enumerate(run.good):
        arrays |= {f"training.good.{i}.theta": good.theta, f"training.good.{i}.buffers": good.buffers}
        arrays |= _beside(f"training.good.{i}", good)
    stored = []
    for i, callback in enumerate(callbacks):
        if hasattr(callback, "state"):
            plain = {}
            for name, value in callback.state().items():
                if isinstance(value, Snapshot):
                    arrays |= {f"training.callbacks.{i}.{name}.{part}": a for part, a in value._asdict().items()}
                else:
                    plain[name] = value
            stored.append({"type": type(callback).__name__, "index": i, **plain})
    training = {
        "identity": dict(identity),
        "epoch": place.epoch,
        "step": place.step,
        "rate_scale": run.rate_scale,
        "recoveries": run.recoveries,
        "good": len(run.good),
        "stopped": None if run.stopped == "interrupted" else run.stopped,
        "finished": place == Place(run.last_epoch) or run.stopped not in (None, "interrupted"),
        "callbacks": stored,
    }
    description = {**run.model().description(lenient=True), "training": training}
    serialization.write(path, {name: on.to_numpy(array) for name, array in arrays.items()}, description)


def find_checkpoint(folder: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """The newest checkpoint in the folder that can be read; None where there is none at all."""
    last: ModelFileError | None = None
    for _, path in sorted(_files(Path(folder)), reverse=True):
        try:
            arrays, description = serialization.read(path)
            if isinstance(description.get("training"), dict):
                return arrays, description
            raise ModelFileError(f"{path} is a model, but no checkpoint of a training.")
        except ModelFileError as error:
            warnings.warn(f"{error} An older checkpoint is tried.", stacklevel=4)
            last = error
    if last is not None:
        raise last
    return None


def resumed(
    backend: Backend, like: State, arrays: Mapping[str, np.ndarray], description: Mapping[str, Any], identity: Any
) -> Resumed:
    """What the checkpoint holds, on the backend. Raises ConfigurationError where it is another training's."""
    training = description["training"]
    differ = differences(training.get("identity", {}), identity)
    if differ:
        raise ConfigurationError(
            f"the checkpoint is another training's: {'; '.join(differ)}. Give what it was started with, or another "
            "folder."
        )
    numbers = {name.removeprefix("training."): array for name, array in arrays.items()}
    state = _state(backend, like, numbers, "")
    good = [_state(backend, like, numbers, f"good.{i}.") for i in range(training.get("good", 0))]
    callbacks = []
    for stored in training["callbacks"]:
        own = {name: value for name, value in stored.items() if name not in ("type", "index")}
        callbacks.append((stored["type"], own | _snapshots(backend, arrays, stored["index"])))
    place = Place(training["epoch"], training["step"])
    history = History(tuple(description["history"]))
    return Resumed(
        place, state, history, training["rate_scale"], training["recoveries"], training["stopped"], callbacks, good
    )


def _beside(where: str, state: State) -> dict[str, Any]:
    """A state's arrays besides theta and the buffers, by their names in a file."""
    named = {f"{where}.{name}": getattr(state, name) for name in _FIELDS}
    return named | {f"{where}.moments.{i}": moment for i, moment in enumerate(state.moments)}


def _state(backend: Backend, like: State, arrays: Mapping[str, np.ndarray], where: str) -> State:
    """The state that was written ``where``."""

    def read(name: str, old: Any) -> Any:
        return _placed(backend, old, arrays.get(where + name))

    return State(
        moments=tuple(read(f"moments.{i}", old) for i, old in enumerate(like.moments)),
        **{name: read(name, getattr(like, name)) for name in ("theta", "buffers", *_FIELDS)},
    )


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what two trainings differ, a few words each."""
    found = []
    for name, value in now.items():
        if before.get(name) != value:
            short = max(len(repr(value)), len(repr(before.get(name)))) <= 60 and name not in _HASHED
            found.append(f"{name} was {before.get(name)!r}, now {value!r}" if short else f"{name} is not the same")
    return found


def resume_callbacks(callbacks: Iterable[object], stored: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Hand each callback the state that one of its class left, in turn."""
    waiting = list(stored)
    for callback in callbacks:
        for i, (name, state) in enumerate(waiting):
            if name == type(callback).__name__ and hasattr(callback, "resume"):
                callback.resume(state)
                del waiting[i]
                break
    if waiting:
        names = ", ".join(name for name, _ in waiting)
        raise ConfigurationError(f"the checkpoint's training had the callbacks {names}: give them again.")


def identify(value: Any) -> Any:
    """A part of a training in JSON, equal for equal parts, also in another process."""
    try:
        return serialization.encode(value)
    except ConfigurationError:
        pass
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    named = {"type": f"{type(value).__module__}.{type(value).__qualname__}"}
    if is_dataclass(value):
        named |= {field.name: identify(getattr(value, field.name)) for field in fields(value) if field.compare}
    return named


def _snapshots(backend: Backend, arrays: Mapping[str, np.ndarray], index: int) -> dict[str, Snapshot]:
    start = f"training.callbacks.{index}."
    names = {key.removeprefix(start).rpartition(".")[0] for key in arrays if key.startswith(start)}
    return {
        name: Snapshot(*(backend.asarray(arrays[f"{start}{name}.{part}"]) for part in Snapshot._fields))
        for name in names
    }


def _placed(backend: Backend, like: Any, array: np.ndarray | None) -> Any:
    if array is None or array.shape != tuple(like.shape):
        raise ModelFileError(f"the checkpoint's arrays are not those of this training: got {array!r:.60}.")
    whole = dtype_name(like.dtype).startswith("int")
    # Copied: torch's products change their last bits with alignment, and a step overwrites what it is given.
    return backend.copy(backend.asarray(array, backend.xp.int32 if whole else None))


def has_checkpoints(folder: str | os.PathLike[str]) -> bool:
    """Whether a training has left checkpoints in the folder."""
    return any(True for _ in _files(Path(folder)))


def has_unfinished(folder: str | os.PathLike[str]) -> bool:
    """Whether the newest checkpoint in the folder is of a training that was to go on."""
    found = find_checkpoint(folder)
    return found is not None and not found[1]["training"].get("finished")


def _name(place: Place) -> str:
    step = f"-step-{place.step:06d}" if place.step else ""
    return f"epoch-{place.epoch:06d}{step}.safetensors"


def _files(folder: Path) -> Iterator[tuple[Place, Path]]:
    for path in folder.iterdir() if folder.is_dir() else ():
        found = _NAME.fullmatch(path.name)
        if found:
            yield Place(int(found[1]), int(found[2] or 0)), path
