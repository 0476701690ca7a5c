"""The files of checkpoints: a training run's whole state, in files that are models too.

A checkpoint is what ``Model.save`` writes, with the optimizer's moments, the counters, the callbacks' own state and the
position in the epoch beside it: ``cr.load`` reads it as the model of that moment. What is random is keyed by the seed,
the epoch and the step, so nothing of it needs to be stored.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._backend import Backend, dtype_name
from .._base.errors import ConfigurationError, FileError, ModelFileError, warn
from .._kernels import has_loops
from .._model import serialization
from ..history import History
from ._identity import differences
from ._run import Run, Snapshot
from ._step import State

BEST = "best.safetensors"
_NAME = re.compile(r"epoch-(\d+)(?:-step-(\d+))?(?:\.\d+)?\.safetensors", re.ASCII)
_FIELDS = ("step", "cursor", "key", "scale", "cost", "weight")  # of State, besides theta, buffers and moments


class Position(NamedTuple):
    """Where a training run is: the epochs that it has finished count from 1, and the steps of the one after them."""

    epoch: int
    step: int = 0


class Resumed(NamedTuple):
    """What a checkpoint holds, besides the model."""

    position: Position
    state: State
    history: History
    rate_scale: float
    recoveries: int
    stopped: str | None
    loops: bool | None  # None in those of before, whose training had them wherever it could
    products: str
    callbacks: list[tuple[str, dict[str, Any]]]  # the state of each, by the name of its class
    first: State | None
    best: State | None


def write_checkpoint(
    path: Path, run: Run, position: Position, identity: Mapping[str, Any], callbacks: Iterable[object], *, mark: str
) -> None:
    """Write the run as it is."""
    backend, state = run.backend, run.state
    arrays = {"theta": state.theta, "buffers": state.buffers, **_beside("training", state)}
    good = [state for state in (run.first, run.best) if state is not None]
    for i, state in enumerate(good):
        arrays |= {f"training.good.{i}.theta": state.theta, f"training.good.{i}.buffers": state.buffers}
        arrays |= _beside(f"training.good.{i}", state)
    stored = []
    for i, callback in enumerate(callbacks):
        if hasattr(callback, "state") and (kept := callback.state()):
            plain = {}
            for name, value in kept.items():
                if isinstance(value, Snapshot):
                    arrays |= {f"training.callbacks.{i}.{name}.{part}": a for part, a in value._asdict().items()}
                else:
                    plain[name] = value
            stored.append({"type": type(callback).__name__, "index": i, **plain})
    training = {
        "identity": dict(identity),
        "epoch": position.epoch,
        "step": position.step,
        "rate_scale": run.rate_scale,
        "recoveries": run.recoveries,
        "good": len(good),
        "stopped": None if run.stopped == "interrupted" else run.stopped,
        "loops": has_loops(backend),
        "products": backend.products,
        "finished": position == Position(run.last_epoch) or run.stopped not in (None, "interrupted"),
        "callbacks": stored,
    }
    description = {**run.model().description(lenient=True), "training": training}
    serialization.write(path, {name: backend.to_numpy(array) for name, array in arrays.items()}, description, mark=mark)


def find_checkpoint(folder: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """The newest checkpoint in the folder that can be read, newest by what it says; None where there is none at all.

    Warns of one with a later name that cannot be read. Raises the error of the latest where none can.
    """
    errors: list[tuple[Position, FileError]] = []
    readable: list[tuple[Position, Position, Path]] = []
    for named, path in _files(Path(folder)):
        try:
            readable.append((_position(path), named, path))
        except FileError as error:
            errors.append((named, error))
    found, newest = None, None
    for _, named, path in sorted(readable, reverse=True):
        try:
            found, newest = serialization.read(path), named
            break
        except FileError as error:
            errors.append((named, error))
    errors.sort(key=lambda each: each[0], reverse=True)
    if newest is None and errors:
        raise errors[0][1]
    for named, why in errors:
        if newest is not None and named > newest:
            warn(f"{why} An older checkpoint is tried.")
    return found


def checkpoints_of(folder: Path, identity: Mapping[str, Any]) -> list[tuple[Position, Path]]:
    """The checkpoints that a training of this identity left in the folder, oldest first; the others are not its own."""
    found = []
    for _, path in _files(folder):
        try:
            if is_of(identity, serialization.read_description(path)):
                found.append((_position(path), path))
        except FileError:
            continue
    return sorted(found)


def is_of(identity: Mapping[str, Any], description: Mapping[str, Any]) -> bool:
    """Whether a training run of this identity wrote the description."""
    training = description.get("training")
    return isinstance(training, dict) and bool(training.get("identity") == identity)


def _position(path: Path) -> Position:
    """Where the training was that a file is a checkpoint of. Raises FileError where it is none, or cannot be read."""
    training = serialization.read_description(path).get("training")
    epoch, step = (training.get("epoch"), training.get("step")) if isinstance(training, dict) else (None, None)
    if type(epoch) is not int or type(step) is not int:
        raise ModelFileError(f"{path} is a model, but no checkpoint of a training run.")
    return Position(epoch, step)


def resumed(
    backend: Backend, like: State, arrays: Mapping[str, np.ndarray], description: Mapping[str, Any], identity: Any
) -> Resumed:
    """What the checkpoint holds, on the backend. Raises ConfigurationError where it is another training run's."""
    training = description["training"]
    before = training.get("identity")
    differ = differences(before if isinstance(before, dict) else {}, identity)
    if differ:
        raise ConfigurationError(
            f"the checkpoint is another training run's: {'; '.join(differ)}. Give what it was started with, or another "
            "folder."
        )
    try:
        return _resumed(backend, like, arrays, description)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError("the checkpoint is not as a training run writes it: take an older one.") from error


def _resumed(
    backend: Backend, like: State, arrays: Mapping[str, np.ndarray], description: Mapping[str, Any]
) -> Resumed:
    training = description["training"]
    numbers = {name.removeprefix("training."): array for name, array in arrays.items()}
    state = _state(backend, like, numbers, "")
    first, best = (
        _state(backend, like, numbers, f"good.{i}.") if i < training.get("good", 0) else None for i in range(2)
    )
    callbacks = []
    for stored in training["callbacks"]:
        own = {name: value for name, value in stored.items() if name not in ("type", "index")}
        callbacks.append((str(stored["type"]), own | _snapshots(backend, arrays, stored["index"])))
    history = History.from_json(description["history"])
    position, scale = Position(training["epoch"], training["step"]), float(training["rate_scale"])
    recoveries, stopped = int(training["recoveries"]), training["stopped"]
    loops = bool(training["loops"]) if "loops" in training else None
    products = training.get("products") or "numpy"
    return Resumed(position, state, history, scale, recoveries, stopped, loops, products, callbacks, first, best)


def _beside(where: str, state: State) -> dict[str, Any]:
    """A state's arrays besides theta and the buffers, by their names in a file."""
    named = {f"{where}.{name}": getattr(state, name) for name in _FIELDS}
    return named | {f"{where}.moments.{i}": moment for i, moment in enumerate(state.moments)}


def _state(backend: Backend, like: State, arrays: Mapping[str, np.ndarray], where: str) -> State:
    """The state that was written ``where``."""

    def read(name: str, old: Any) -> Any:
        return _moved(backend, old, arrays.get(where + name))

    return State(
        moments=tuple(read(f"moments.{i}", old) for i, old in enumerate(like.moments)),
        **{name: read(name, getattr(like, name)) for name in ("theta", "buffers", *_FIELDS)},
    )


def _snapshots(backend: Backend, arrays: Mapping[str, np.ndarray], index: int) -> dict[str, Snapshot]:
    start = f"training.callbacks.{index}."
    names = {key.removeprefix(start).rpartition(".")[0] for key in arrays if key.startswith(start)}
    return {
        name: Snapshot(*(backend.asarray(arrays[f"{start}{name}.{part}"]) for part in Snapshot._fields))
        for name in names
    }


def _moved(backend: Backend, like: Any, array: np.ndarray | None) -> Any:
    if array is None or array.shape != tuple(like.shape):
        raise ModelFileError(f"the checkpoint's arrays are not those of this training: got {array!r:.60}.")
    whole = dtype_name(like.dtype).startswith("int")
    # Copied: torch's products change their last bits with alignment, and a step overwrites what it is given.
    return backend.copy(backend.asarray(array, backend.xp.int32 if whole else None))


def what_is_left(folder: str | os.PathLike[str]) -> str | None:
    """What a training run has left in the folder, in words; None where there is nothing."""
    if any(True for _ in _files(Path(folder))):
        return "the checkpoints"
    return f"the best model ({BEST})" if os.path.lexists(Path(folder) / BEST) else None


def has_unfinished(folder: str | os.PathLike[str]) -> bool:
    """Whether the newest checkpoint in the folder is of a training run that was to go on."""
    found = find_checkpoint(folder)
    return found is not None and not found[1]["training"].get("finished")


def name_of(position: Position, number: int = 1) -> str:
    """The name of the checkpoint of a position; where something has it, there is a second one."""
    step = f"-step-{position.step:06d}" if position.step else ""
    return f"epoch-{position.epoch:06d}{step}{'' if number == 1 else f'.{number}'}.safetensors"


def _files(folder: Path) -> Iterator[tuple[Position, Path]]:
    """What has the name of a checkpoint, and the position that the name says."""
    for path in folder.iterdir() if folder.is_dir() else ():
        found = _NAME.fullmatch(path.name)
        if found:
            yield Position(int(found[1]), int(found[2] or 0)), path
