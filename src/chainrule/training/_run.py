"""A training run under way: where it is, and what may be asked of it. It changes; it is gone when ``fit`` returns."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .._backend import Backend
from .._backend._loop import changed, inside, whole
from .._base.errors import ConfigurationError, require, unknown_name
from .._base.options import real_number
from .._base.typing import Array
from ..history import History
from ..model import Model
from ._step import Problem, State


class Snapshot(NamedTuple):
    """Copies of the trained numbers at one moment, arrays of the backend.

    Attributes:
        theta: all parameters, ``(p,)``.
        buffers: the running statistics, ``(q,)``.
    """

    theta: Array
    buffers: Array


@dataclass
class Run:
    """What a callback is handed: where a training is, and what may be asked of it.

    Attributes:
        epoch: counted from 1, or from after the epochs of a model that is trained further, up to ``last_epoch``; before
            the first epoch, how many are done already.
        step: of the epoch, counted from 1; before its first step, how many are done already.
        first_epoch: the number of the first epoch that was asked for.
        epochs: how many were asked for.
        steps_per_epoch: None while that is not known, in a first epoch of batches without a length.
        history: the epochs so far.
        columns: what they measure: ``("loss", "val_loss", "val_accuracy")``.
        rate_scale: what the scheduled rate is multiplied by.
        recoveries: how many epochs were started again after a divergence.
        stopped: why the training ends after this epoch, or None.
        backend: where it runs; ``run.backend.to_numpy(run.state.theta)`` are the weights on the host.
        problem: what is minimised how: network, loss, optimizer, penalty and clip.
        held: the loop's: the state, or what the library has of it between two steps.
        build: the loop's: makes the model of the run.
        trained: the loop's: whether a step was taken.
        first: the loop's: the state that it recovers from in the end, the first one.
        best: the loop's: the state that it recovers from, of the end of the epoch with the lowest loss so far.
    """

    backend: Backend
    problem: Problem
    held: Any
    columns: tuple[str, ...]
    first_epoch: int
    epochs: int
    steps_per_epoch: int | None
    build: Callable[[Run], Model]
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
    def state(self) -> State:
        """The arrays of the training: ``theta``, the optimizer's ``moments``, ``buffers`` and counters.

        A callback may put others in, ``run.state = run.state._replace(theta=theta)``; the next step overwrites what was
        there.
        """
        state: State = whole(self.held)
        return state

    @state.setter
    def state(self, state: State) -> None:
        self.held = state

    def put(self, **counters: Array) -> None:
        """Put these in the place of counters of the state, whose other arrays may be held."""
        self.held = changed(self.held, inside(self.held)._replace(**counters))

    @property
    def last_epoch(self) -> int:
        """The number of the last epoch that was asked for."""
        return self.first_epoch + self.epochs - 1

    def stop(self, reason: str) -> None:
        """End the training after this epoch; ``reason`` is kept as ``stopped``."""
        self.stopped = reason

    def scale_rate(self, factor: float) -> None:
        """Multiply the learning rate by ``factor``, >= 0, from the next step on, on top of what was asked before."""
        factor = real_number("scale_rate: factor", factor)
        require(0 <= factor < math.inf, f"scale_rate: factor must be a finite number >= 0, got {factor}.")
        self.rate_scale *= factor
        self.put(scale=self.backend.asarray(np.full(1, self.rate_scale)))

    def snapshot(self) -> Snapshot:
        """Copies of the parameters and buffers as they are now; on the device, so that nothing is waited for."""
        return Snapshot(self.backend.copy(self.state.theta), self.backend.copy(self.state.buffers))

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to the parameters and buffers of a snapshot; the optimizer's moments stay as they are."""
        self.state = self.state._replace(
            theta=self.backend.copy(snapshot.theta), buffers=self.backend.copy(snapshot.buffers)
        )

    def model(self) -> Model:
        """The model as it is now, with numbers and history of its own: to evaluate, to save, to keep."""
        return self.build(self)  # a Model copies its numbers

    def require_column(self, name: str) -> None:
        """Raise ConfigurationError unless the history will have this column: for ``on_train_begin``."""
        if name.startswith("val_") and len(self.columns) == 1:
            raise ConfigurationError(
                f"{name!r} needs a validation set: give cr.fit validation=(X, y), an estimator's fit X_val and y_val; "
                "or monitor 'loss'."
            )
        if name not in self.columns:
            raise unknown_name("history column", name, self.columns)
