"""A training run with checkpoints: from the newest one, or from the start, in a folder of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .._backend import Backend, dtype_name
from .._base.errors import ConfigurationError
from ..batch import Batch
from ..metrics import HostMetric
from ..model import Model
from ..network import Sequential
from ._checkpoint import Checkpoint, find_checkpoint, resumed, what_is_left
from ._examples import Examples
from ._identity import LENGTH, fingerprint, identify
from ._keeper import Keeper
from ._lock import FolderLock
from ._loop import Plan, train
from ._run import Run
from ._step import Problem


def identity_of(
    backend: Backend,
    network: Sequential,
    problem: Problem,
    given: Examples,
    validation: Batch | None,
    metrics: Mapping[str, HostMetric | None],
    seed: int,
    shuffle: bool,
    before: Model | None,
) -> dict[str, Any]:
    """What must be the same for a training run to be gone on with, in JSON."""
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
        "data": fingerprint(backend, given.data),
        "validation": fingerprint(backend, validation),
        "start": None if before is None else fingerprint(before.backend, Batch(before.theta, before.buffers)),
    }
    made: dict[str, Any] = json.loads(json.dumps(parts))  # as it will be read back
    return made


def train_kept(
    run: Run, plan: Plan, listeners: list[object], checkpoint: Checkpoint, resume: bool, identity: dict[str, Any]
) -> None:
    """Train with checkpoints, from the newest one if asked to."""
    lock = FolderLock(Path(checkpoint.folder))
    lock.hold()
    try:
        left = None if resume else what_is_left(checkpoint.folder)
        if left is not None:
            raise ConfigurationError(
                f"{checkpoint.folder} has {left} of a training run: go on with resume=True if it is this one, or "
                "give another folder."
            )
        found = find_checkpoint(checkpoint.folder) if resume else None
        before = None if found is None else resumed(run.backend, run.state, *found, identity)
        if before is not None:
            run.state, run.history = before.state, before.history
            run.rate_scale, run.recoveries = before.rate_scale, before.recoveries
        keeper = Keeper(checkpoint, lock, identity, listeners, None if before is None else before.position)
        train(run, plan, [*listeners, keeper], before)
    finally:
        lock.release()
