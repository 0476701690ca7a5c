"""A training run under way: where it is, and what may be asked of it. It changes; it is gone when ``fit`` returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from .._backend import Backend
from .._base.errors import ConfigurationError, unknown_name
from .._base.typing import Array
from ..history import History
from ..model import Model
from ._step import Problem, State


class Snapshot(NamedTuple):
    """Copies of the trained numbers at one moment."""

    theta: Array
    buffers: Array


@dataclass
class Run:
    """What a callback is handed.

    ``epoch`` counts from 1 (from after the epochs of a model that is trained further), up to ``last_epoch``, and
    ``step`` from 1 in each; before the first epoch they say what is done already: the epochs, and steps of the next.
    ``steps_per_epoch`` is None while that is not known, in a first epoch of batches without a length;
    ``rate_scale`` is what the scheduled rate is multiplied by; ``recoveries`` counts the epochs that were started again
    after a divergence; ``history`` has the epochs so far, and ``columns`` what they measure.

    The rest is the loop's: ``build`` makes the model, ``trained`` is whether a step was taken, and ``first`` and
    ``best`` are what it recovers from, the first state and the end of the epoch with the lowest loss so far.
    """

    backend: Backend
    problem: Problem
    state: State
    columns: tuple[str, ...]
    first_epoch: int
    epochs: int
    steps_per_epoch: int | None
    build: Callable[[Array, Array, History], Model]
    history: History = field(default_factory=History)
    epoch: int = field(init=False)
    step: int = 0
    rate_scale: float = 1.0
    recoveries: int = 0
    stopped: str | None = None
    trained: bool = False
    first: State | None = None
    best: State | None = None

    def __post_init__(self) -> None:
        self.epoch = self.first_epoch - 1

    @property
    def last_epoch(self) -> int:
        """The number of the last epoch that was asked for."""
        return self.first_epoch + self.epochs - 1

    def stop(self, reason: str) -> None:
        """End the training after this epoch."""
        self.stopped = reason

    def scale_rate(self, factor: float) -> None:
        """Multiply the learning rate by ``factor`` from the next step on."""
        self.rate_scale *= factor
        self.state = self.state._replace(scale=self.backend.asarray(np.full(1, self.rate_scale)))

    def snapshot(self) -> Snapshot:
        """Copies of the parameters and buffers as they are now."""
        return Snapshot(self.backend.copy(self.state.theta), self.backend.copy(self.state.buffers))

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to the parameters and buffers of a snapshot."""
        self.state = self.state._replace(
            theta=self.backend.copy(snapshot.theta), buffers=self.backend.copy(snapshot.buffers)
        )

    def model(self) -> Model:
        """The model as it is now."""
        return self.build(self.state.theta, self.state.buffers, self.history)  # a Model copies its numbers

    def require_column(self, name: str) -> None:
        """Raise ConfigurationError unless the history will have this column."""
        if name.startswith("val_") and len(self.columns) == 1:
            raise ConfigurationError(
                f"{name!r} needs a validation set: give cr.fit validation=(X, y), an estimator's fit X_val and y_val; "
                "or monitor 'loss'."
            )
        if name not in self.columns:
            raise unknown_name("history column", name, self.columns)
