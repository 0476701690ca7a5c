"""A fit, prepared: what the solvers are handed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._backend import Backend
from .._base.typing import Array
from ..batch import Batch
from ..history import History
from ..losses import LossFunction
from ..model import Model
from ..network import Sequential
from ..training import Problem

# scikit-learn's sentence, which its users and its checks look for.
NON_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)


Split = tuple[np.ndarray, np.ndarray]  # the numbers of the rows to train on, and to validate on


@dataclass(frozen=True)
class ValidationSet:
    """The validation set: as the user gave it, for scores, and on the device, for losses."""

    X: Any
    y: Any
    weight: np.ndarray | None
    batch: Batch
    constant: float  # added to its losses
    lacking: tuple[str, ...] = ()  # the classes of which there is no row


@dataclass(frozen=True)
class PreparedFit:
    """What is trained on what.

    ``problem`` has the loss as it is reported (``as_reported``), ``loss`` is the one that is minimised; ``rows``
    numbers the training examples among ``data``'s; ``constant`` is added to every loss that is shown.
    """

    backend: Backend
    network: Sequential
    problem: Problem
    loss: LossFunction
    data: Batch
    rows: np.ndarray
    validation_set: ValidationSet | None
    flat: bool
    constant: float
    classes: tuple[Any, ...] = ()
    feature_names: tuple[str, ...] = ()

    def model(self, theta: Array, buffers: Array, history: History) -> Model:
        """The network with these numbers."""
        return Model(
            self.network,
            theta,
            buffers,
            self.loss,
            self.backend,
            self.flat,
            history,
            classes=self.classes,
            feature_names=self.feature_names,
        )
