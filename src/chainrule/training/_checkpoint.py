"""Checkpoints: the option, and what must be the same for a training run to go on from one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .._backend import dtype_name
from .._base.errors import require
from .._base.options import check_instance, flag, whole_number
from .._base.storage import absolute
from ..batch import Batch
from ..metrics import HostMetric
from ..model import Model
from ..network import Sequential
from ._examples import Examples
from ._identity import LENGTH, fingerprint, identify
from ._run import Run

_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Checkpoint:
    """Keep a training run's whole state in a folder while it runs, and go on from there.

    Args:
        folder: made where it is missing; one training at a time. ``best.safetensors`` in it is the model with the
            lowest validation loss so far (the training loss, without a validation set). A relative one is made
            absolute right away.
        every: a number of epochs, >= 1, or a time, ``"30 s"``, ``"5 min"``, ``"2 h"``, after which the step in flight
            is the last before the next checkpoint; default 1, every epoch.
        keep: how many of the last checkpoints are kept, >= 1; default 1.
        resume: go on from the newest, where there is one (default no): bit for bit as if nothing had happened, on one
            machine, with the same versions and number of threads. A finished training gives its model back; with more
            epochs it goes on, if its schedule has a length of its own: one without ``steps`` is planned for all epochs.
            With Numba's loops if it began with them, and only then.

    Raises:
        ConfigurationError: an ``every`` that is no time and no number of epochs, or ``keep`` below 1.

    Example:
        >>> import tempfile, numpy as np, chainrule as cr
        >>> X = np.linspace(-1, 1, 20).reshape(-1, 1)
        >>> def train(epochs, **options):
        ...     return cr.fit(cr.mlp([1, 4, 1]), X, X**2, loss="squared_error", epochs=epochs, **options)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     half = train(2, checkpoint=folder)
        ...     train(4, checkpoint=cr.Checkpoint(folder, resume=True)) == train(4)
        True
    """

    folder: str | os.PathLike[str]
    every: int | str = 1
    keep: int = 1
    resume: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", absolute(self.folder))
        whole_number("Checkpoint: keep", self.keep, least=1)
        flag("Checkpoint: resume", self.resume)
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
    """A folder as a checkpoint of every epoch. Raises ConfigurationError for what is neither."""
    if given is None:
        return None
    if isinstance(given, str | os.PathLike):
        return Checkpoint(given)
    check_instance(given, Checkpoint, expected="a folder or a cr.Checkpoint as checkpoint", write="checkpoint='runs/x'")
    return given


def identity_of(
    run: Run,
    network: Sequential,
    given: Examples,
    validation: Batch | None,
    metrics: Mapping[str, HostMetric | None],
    seed: int,
    shuffle: bool,
    before: Model | None,
) -> dict[str, Any]:
    """What must be the same for a training run to be gone on with, in JSON."""
    backend, problem = run.backend, run.problem
    parts = {
        "network": identify(network),
        "loss": identify(problem.loss),
        "optimizer": identify(problem.optimizer),
        LENGTH: getattr(problem.optimizer.learning_rate, "steps", None),
        "penalty": identify(problem.penalty),
        "clip": identify(problem.clip),
        "metrics": {name: identify(metric) for name, metric in metrics.items() if metric is not None} or None,
        "seed": seed,
        "batch_size": given.batch_size,
        "shuffle": shuffle,
        "backend": backend.name,
        "dtype": dtype_name(backend.dtype),
        "precision": backend.precision,
        **({} if backend.kernels else {"kernels": False}),  # the checkpoints of before have no such word
        "data": fingerprint(backend, given.data),
        "validation": fingerprint(backend, validation),
        "start": None if before is None else fingerprint(before.backend, Batch(before.theta, before.buffers)),
    }
    made: dict[str, Any] = json.loads(json.dumps(parts))  # as it will be read back
    return made
