"""What the estimator and its solvers hand each other: what goes in, and what comes out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .._backend import Backend
from .._base.typing import Array
from ..batch import Batch
from ..history import History
from ..model import Model
from ..training import DeviceFeed, Problem, Snapshot, State, move_state
from ._inputs import Examples
from ._order import Order
from ._targets import Targets

# scikit-learn's sentence, which its users and its checks look for.
NON_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)


Split = tuple[np.ndarray, np.ndarray]  # the numbers of the rows to train on, and to validate on


@dataclass(frozen=True)
class Settings:
    """The parameters as the solvers take them."""

    incremental: bool  # whether this is a call of partial_fit, one epoch of many
    has_epochs: bool  # which solver="lbfgs" has not
    max_iter: int
    max_fun: int
    tol: float
    prints: bool  # a line for each epoch
    batch_size: int | None  # None is as many as are usual
    shuffle: bool
    rate: float  # that of a solver which is named
    rate_rule: str  # "invscaling" or "adaptive", where solver="sgd" goes by one of them
    power_t: float
    n_iter_no_change: float
    early_stopping: bool
    validation_fraction: float
    scoring: Any  # None is the estimator's own score
    callbacks: tuple[object, ...]


@dataclass(frozen=True)
class ValidationSet:
    """The validation set: as the user gave it, for scores, and on the device, for losses."""

    shown: Examples
    batch: Batch
    constant: float  # added to its losses
    lacking: tuple[str, ...] = ()  # the classes of which there is no row


@dataclass(frozen=True)
class PreparedFit:
    """What is trained on what.

    ``problem`` has the loss as it is reported (``as_reported``); ``rows`` numbers the training examples among
    ``data``'s; ``constant`` is added to every loss that is shown.
    """

    backend: Backend
    problem: Problem
    data: Batch
    sparse: bool  # whether data.x is a sparse matrix
    rows: np.ndarray
    validation_set: ValidationSet | None
    constant: float


@dataclass
class Progress:
    """What ``partial_fit`` goes on from. It pickles, whatever the rows: arrays come to the host, and the compiled step
    is left out.
    """

    state: State
    problem: Problem
    order: Order  # of the training rows, in the last epoch
    rate_scale: float = 1.0
    best: Snapshot | None = None
    ended: bool = False  # whether early stopping has ended the calls of partial_fit
    past_end: bool = False  # whether it was said that the schedule is over
    feed: DeviceFeed | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        best = None if self.best is None else Snapshot(*move_state(None, self.best))
        return {**vars(self), "state": move_state(None, self.state), "best": best, "feed": None}


@dataclass
class Epochs:
    """What epochs note, in scikit-learn's words; ``t`` counts the examples."""

    t: int = 0
    loss_curve: list[float] = field(default_factory=list)
    best_loss: float | None = None
    validation_scores: list[float] = field(default_factory=list)
    validation_loss_curve: list[float] = field(default_factory=list)
    best_validation_score: float | None = None
    no_improvement: int = 0
    validates: bool = False  # whether there was ever a validation set

    def attributes(self) -> dict[str, Any]:
        """What an estimator shows of them."""
        return {
            "loss_curve_": self.loss_curve,
            "best_loss_": self.best_loss,
            "validation_scores_": self.validation_scores if self.validates else None,
            "validation_loss_curve_": self.validation_loss_curve if self.validates else None,
            "best_validation_score_": self.best_validation_score,
            "_no_improvement_count": self.no_improvement,
        }


@dataclass
class Fitted:
    """A fit. A solver works on one of its own, and the estimator takes it, also where a callback ends the training."""

    model: Model
    targets: Targets
    generator: np.random.RandomState
    split_from: np.random.RandomState | None = None  # what the first split of partial_fit, or of fit, was drawn from
    n_iter: int = 0
    loss: float | None = None
    stopped: str | None = None
    epochs: Epochs | None = None  # a solver without epochs has none
    progress: Progress | None = None
    goes_on: bool = False  # whether it began with the weights of a fit before

    def model_of(self, theta: Array, buffers: Array, history: History) -> Model:
        """The model with these numbers."""
        return replace(self.model, theta=theta, buffers=buffers, history=history)

    def begin_epochs(self, settings: Settings, *, validates: bool) -> Epochs:
        """What is noted before the first epoch of a fit; the curves of earlier epochs stay where it goes on."""
        before = self.epochs or Epochs()
        epochs = replace(  # the lists of the fit before stay its own
            before,
            loss_curve=[*before.loss_curve],
            validation_scores=[*before.validation_scores],
            validation_loss_curve=[*before.validation_loss_curve],
        )
        if not settings.incremental:  # another fit, perhaps on other rows: what was best on those says nothing here
            epochs.no_improvement, epochs.best_loss, epochs.best_validation_score = 0, None, None
        elif self.stopped is not None:
            epochs.no_improvement = 0
        if settings.early_stopping and epochs.best_validation_score is None:
            epochs.best_validation_score = -math.inf
        if not settings.early_stopping and epochs.best_loss is None:
            epochs.best_loss = math.inf
        epochs.validates = epochs.validates or validates
        self.epochs, self.n_iter, self.stopped = epochs, 0, None
        return epochs
