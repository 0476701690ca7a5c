"""All backends on one network, in turns."""

from __future__ import annotations

import warnings
from contextlib import suppress
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from .._backend import Backend
from .._base.errors import ChainruleError, InterruptedTraining
from ..history import Record
from ..network import mlp
from ..training import Run, fit
from ._measurement import Measurement, Widths

_ROUNDS = 3
_EPOCHS_A_ROUND = 1000


@dataclass(frozen=True)
class Entrant:
    """A backend that was asked for, or why it cannot run."""

    name: str
    backend: Backend | None
    problem: str | None = None


class _Clock:
    """A callback that times one backend's epochs on one network, over several training runs."""

    def __init__(self, problem: str | None) -> None:
        self.problem = problem
        self.first: list[float] = []
        self.epochs: list[float] = []
        self.spent = self.stop_at = 0.0

    @property
    def done(self) -> bool:
        return bool(self.epochs) or self.problem is not None

    def on_epoch_end(self, run: Run, record: Record) -> None:
        if run.epoch == 1:
            self.first.append(record["seconds"])
            return
        self.epochs.append(record["seconds"])
        self.spent += record["seconds"]
        if self.spent >= self.stop_at:
            run.stop("timed for long enough")


@dataclass
class Race:
    """All backends on one network, in turns. It changes while it runs."""

    widths: Widths
    factor: float
    batch_size: int
    seconds: float
    seed: int
    X: np.ndarray
    y: np.ndarray
    entrants: list[Entrant]

    def __post_init__(self) -> None:
        self.clocks = [_Clock(entrant.problem) for entrant in self.entrants]

    def run(self) -> bool:
        """Run all rounds; False after Ctrl-C."""
        with suppress(KeyboardInterrupt, InterruptedTraining):
            for turn in range(_ROUNDS):
                self._round(turn)
            return True
        return False

    def _round(self, turn: int) -> None:
        """One training a backend; with every turn another one begins."""
        pairs, first = list(zip(self.entrants, self.clocks, strict=True)), turn % len(self.entrants)
        for entrant, clock in pairs[first:] + pairs[:first]:
            # Two rounds in any case: a single epoch may be the one in which the machine was busy.
            wanted = clock.problem is None and (turn < 2 or clock.spent < self.seconds)
            if wanted and entrant.backend is not None:
                clock.stop_at = self.seconds * (turn + 1) / _ROUNDS
                clock.problem = self._train(entrant.backend, clock)

    def _train(self, backend: Backend, clock: _Clock) -> str | None:
        """One training; the reason if it fails, whatever the library raises."""
        with warnings.catch_warnings():
            warnings.simplefilter("error", InterruptedTraining)
            try:
                fit(
                    mlp(self.widths), self.X, self.y, loss="softmax_cross_entropy", epochs=1 + _EPOCHS_A_ROUND,
                    batch_size=self.batch_size, seed=self.seed, callbacks=[clock], verbose=False,
                    backend=backend,
                )  # fmt: skip
            except InterruptedTraining:
                raise
            except Exception as error:
                return _reason(error)
        return None

    def measurements(self) -> list[Measurement]:
        """One a backend; none if Ctrl-C came before each had its turn, since they could not be compared."""
        pairs = list(zip(self.entrants, self.clocks, strict=True))
        return [self._measurement(*pair) for pair in pairs] if all(clock.done for clock in self.clocks) else []

    def _measurement(self, entrant: Entrant, clock: _Clock) -> Measurement:
        asked = Measurement(self.widths, self.factor, self.batch_size, len(self.X), entrant.name, problem=clock.problem)
        if entrant.backend is None:
            return asked
        asked = replace(asked, device=entrant.backend.device_name, info=entrant.backend.info)
        if clock.problem is not None:
            return asked
        return replace(
            asked,
            seconds=min(clock.epochs),
            median_seconds=median(clock.epochs),
            first_epoch_seconds=min(clock.first),
            epochs=len(clock.epochs),
        )


def _reason(error: Exception) -> str:
    """An error in one line."""
    if isinstance(error, ChainruleError):
        return str(error)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
