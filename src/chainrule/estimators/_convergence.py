"""When scikit-learn's loop ends, what it writes down, and how it lowers the rate."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

from sklearn.exceptions import ConvergenceWarning

from ..history import Record
from ..training import Run, Snapshot


class Convergence:
    """A callback that keeps the estimator's fitted attributes and stops as scikit-learn does.

    An epoch counts as no improvement where the loss is not ``tol`` below the best one so far, or under early stopping
    the score not ``tol`` above. After more than ``n_iter_no_change`` such epochs in a row training stops, or with
    ``learning_rate="adaptive"`` goes on at a fifth of the rate, down to 1e-6.
    """

    def __init__(
        self,
        estimator: Any,
        *,
        rows: int,
        constant: float,
        validation_constant: float,
        score: Callable[[Run, Record], float] | None,
        incremental: bool,
        best: Snapshot | None,
    ) -> None:
        self._estimator, self._rows, self._constant, self._validation_constant = (
            estimator,
            rows,
            constant,
            validation_constant,
        )
        self._score, self._incremental, self.best = score, incremental, best
        self.ended = False  # whether the calls of partial_fit have come to their end

    def beat(self, run: Run, record: Record) -> None:
        """Take the weights as they are for the best ones so far, by the score that they have here."""
        assert self._score is not None, "there is a validation set"
        score = self._score(run, record)
        if not math.isnan(score):
            self._estimator.best_validation_score_, self.best = score, run.snapshot()

    def on_epoch_end(self, run: Run, record: Record) -> None:
        estimator = self._estimator
        self._note_loss(record)
        if self._score is not None:
            self._note_score(run, record, self._score(run, record))
        if not estimator.early_stopping:
            self._count(estimator.loss_curve_[-1] > estimator.best_loss_ - estimator.tol)
            estimator.best_loss_ = min(estimator.best_loss_, estimator.loss_curve_[-1])
        if self._by_the_rule("invscaling"):
            run.scale_rate((estimator.t_ + 1) ** -estimator.power_t / run.rate_scale)
        if estimator._no_improvement_count > estimator.n_iter_no_change:
            self._stop_or_slow_down(run)
        if run.stopped is None and not self._incremental and estimator.n_iter_ == estimator.max_iter:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached and the optimization hasn't "
                "converged yet.",
                ConvergenceWarning,
                stacklevel=2,
            )

    def on_train_end(self, run: Run) -> None:
        # A call of partial_fit is one epoch of many: it goes on from where it is until it stops.
        if run.stopped is None and self._incremental:
            return
        if self.best is not None:
            run.restore(self.best)
        if nothing := self._says_nothing():
            ends_with = "last" if self.best is None else "first"
            warnings.warn(
                f"the validation score was {nothing}: early stopping goes by nothing, and the {ends_with} weights are "
                "kept. Give X_val and y_val of which it can be computed, or scoring='loss'.",
                stacklevel=2,
            )

    def _says_nothing(self) -> str:
        """Why the scores of early stopping say nothing of how well the training goes, "" where they may say some."""
        estimator = self._estimator
        scores = (estimator.validation_scores_ or [])[0 if self._incremental else -estimator.n_iter_ :]
        if not (estimator.early_stopping and scores):
            return ""
        if all(map(math.isnan, scores)):
            return "no number in any epoch"
        if estimator._numeric and estimator.scoring in (None, "r2") and not any(scores):
            return "0 in every epoch, as R^2 of a constant target is"
        return ""

    def _note_loss(self, record: Record) -> None:
        estimator = self._estimator
        estimator.n_iter_ += 1
        estimator.t_ += self._rows
        estimator.loss_ = record["loss"] + self._constant
        estimator.loss_curve_.append(estimator.loss_)
        self._say(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")

    def _note_score(self, run: Run, record: Record, score: float) -> None:
        estimator = self._estimator
        record["val_score"] = score
        estimator.validation_scores_.append(score)
        estimator.validation_loss_curve_.append(record["val_loss"] + self._validation_constant)
        self._say(f"Validation score: {score:f}")
        if not estimator.early_stopping:
            return
        self._count(not score >= estimator.best_validation_score_ + estimator.tol)  # NaN is none
        if score > estimator.best_validation_score_:
            estimator.best_validation_score_, self.best = score, run.snapshot()

    def _count(self, worse: bool) -> None:
        self._estimator._no_improvement_count = self._estimator._no_improvement_count + 1 if worse else 0

    def _stop_or_slow_down(self, run: Run) -> None:
        estimator = self._estimator
        what = "Validation score" if estimator.early_stopping else "Training loss"
        patience = estimator.n_iter_no_change
        reason = f"{what} did not improve more than tol={estimator.tol:f} for {patience} consecutive epochs."
        rate = estimator.learning_rate_init * run.rate_scale
        if not self._by_the_rule("adaptive") or self._says_nothing():
            if self._incremental and not estimator.early_stopping:
                return  # whoever calls partial_fit decides when to end
            self._say(f"{reason} Stopping.")
            run.stop(reason)
            self.ended = self._incremental
        elif rate <= 1e-6:
            self._say(f"{reason} Learning rate too small. Stopping.")
            run.stop(f"{reason} Learning rate too small.")
            self.ended = self._incremental
        else:
            run.scale_rate(0.2)
            self._say(f"{reason} Setting learning rate to {rate / 5:f}")
            estimator._no_improvement_count = 0

    def _by_the_rule(self, name: str) -> bool:
        return bool(self._estimator.solver == "sgd" and self._estimator.learning_rate == name)

    def _say(self, line: str) -> None:
        if self._estimator.verbose and self._estimator.verbose != "bar":
            print(line)


# What an epoch notes, which a solver without epochs does not have.
NOTED = (
    "loss_curve_",
    "best_loss_",
    "validation_scores_",
    "validation_loss_curve_",
    "best_validation_score_",
    "_no_improvement_count",
)


def start(estimator: Any, *, fresh: bool, validates: bool, incremental: bool) -> None:
    """The attributes before the first epoch of a fit; the curves of earlier epochs stay where a fit goes on."""
    if fresh or not hasattr(estimator, "loss_curve_"):
        estimator.t_, estimator.loss_curve_, estimator._no_improvement_count = 0, [], 0
        estimator.best_loss_ = estimator.best_validation_score_ = None
        estimator.validation_scores_ = estimator.validation_loss_curve_ = None
    elif not incremental:  # another fit, perhaps on other rows: what was best on those says nothing here
        estimator._no_improvement_count = 0
        estimator.best_loss_ = estimator.best_validation_score_ = None
    elif estimator.stopped_ is not None:
        estimator._no_improvement_count = 0
    for name in ("loss_curve_", "validation_scores_", "validation_loss_curve_"):
        curve = getattr(estimator, name)
        setattr(estimator, name, None if curve is None else list(curve))  # a call that fails leaves the one before
    if validates and estimator.validation_scores_ is None:
        estimator.validation_scores_, estimator.validation_loss_curve_ = [], []
    if estimator.early_stopping and estimator.best_validation_score_ is None:
        estimator.best_validation_score_ = -math.inf
    if not estimator.early_stopping and estimator.best_loss_ is None:
        estimator.best_loss_ = math.inf
    estimator.n_iter_, estimator.stopped_ = 0, None
