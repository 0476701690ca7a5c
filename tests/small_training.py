"""A training of a moment, for callbacks to look at."""

from __future__ import annotations

from typing import Any

import numpy as np

import chainrule as cr
from chainrule.training import Run

RNG = np.random.default_rng(4242)
X = RNG.normal(size=(24, 3))
Y = X @ np.asarray([1.0, -2.0, 0.5]) + 0.5 * RNG.normal(size=24)
LABELS = (Y > 0).astype(int)


def fit(*callbacks: Any, **options: Any) -> cr.Model:
    usual = {"loss": "squared_error", "epochs": 4, "batch_size": 8, "callbacks": callbacks}
    return cr.fit(cr.mlp([3, 4, 1]), X, Y, **{**usual, **options})


class Weights:
    """Keeps theta after every epoch, and the run."""

    def on_train_begin(self, run: Run) -> None:
        self.run, self.after = run, {}

    def on_epoch_end(self, run: Run, record: dict[str, float]) -> None:
        self.after[run.epoch] = np.array(run.backend.to_numpy(run.state.theta))


class NeverTrained:
    def on_step_end(self, run: Run) -> None:
        raise AssertionError("training began")
