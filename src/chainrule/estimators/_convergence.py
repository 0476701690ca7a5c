"""When scikit-learn's loop ends, what it writes down, and how it lowers the rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from sklearn.exceptions import ConvergenceWarning

from .._base.errors import warn
from ..history import Record
from ..training import Run, Snapshot
from ._records import Epochs, Fitted, Settings, ValidationSet


@dataclass(eq=False)
class Convergence:
    """A callback that notes in ``fitted`` what an epoch came to, and stops as scikit-learn does.

    An epoch counts as no improvement where the loss is not ``tol`` below the best one so far, or under early stopping
    the score not ``tol`` above. After more than ``n_iter_no_change`` such epochs in a row training stops, or with
    ``learning_rate="adaptive"`` goes on at a fifth of the rate, down to 1e-6.
    """

    settings: Settings
    fitted: Fitted
    epochs: Epochs
    rows: int
    constant: float  # added to every loss
    validation: ValidationSet | None
    score: Callable[[Run, Record], float]  # on the validation set
    best: Snapshot | None
    ended: bool = False  # whether the calls of partial_fit have come to their end

    def beat(self, run: Run, record: Record) -> None:
        """Take the weights as they are for the best ones so far, by the score that they have here."""
        score = self.score(run, record)
        if not math.isnan(score):
            self.epochs.best_validation_score, self.best = score, run.snapshot()

    def on_epoch_end(self, run: Run, record: Record) -> None:
        settings, fitted, epochs = self.settings, self.fitted, self.epochs
        fitted.n_iter += 1
        epochs.t += self.rows
        fitted.loss = loss = record["loss"] + self.constant
        epochs.loss_curve.append(loss)
        self._say(f"Iteration {fitted.n_iter}, loss = {loss:.8f}")
        if self.validation is not None:
            self._note_score(run, record, self.validation.constant)
        if not settings.early_stopping:
            assert epochs.best_loss is not None, "infinite at first"
            self._count(loss > epochs.best_loss - settings.tol)
            epochs.best_loss = min(epochs.best_loss, loss)
        if settings.rate_rule == "invscaling":
            run.scale_rate((epochs.t + 1) ** -settings.power_t / run.rate_scale)
        if epochs.no_improvement > settings.n_iter_no_change:
            self._stop_or_slow_down(run)
        if run.stopped is None and not settings.incremental and fitted.n_iter == settings.max_iter:
            warn(
                f"Stochastic Optimizer: Maximum iterations ({settings.max_iter}) reached and the optimization hasn't "
                "converged yet.",
                ConvergenceWarning,
            )

    def on_train_end(self, run: Run) -> None:
        # A call of partial_fit is one epoch of many: it goes on from where it is until it stops.
        if run.stopped is None and self.settings.incremental:
            return
        if self.best is not None:
            run.restore(self.best)
        if nothing := self._says_nothing():
            ends_with = "last" if self.best is None else "first"
            warn(
                f"the validation score was {nothing}: early stopping goes by nothing, and the {ends_with} weights are "
                "kept. Give X_val and y_val of which it can be computed, or scoring='loss'."
            )

    def end_diverged(self, run: Run) -> str:
        """Note NaN for the epoch that diverged, and end with the best weights; says which those are."""
        self.fitted.n_iter += 1
        self.fitted.loss = math.nan
        for curve in (self.epochs.loss_curve, self.epochs.validation_scores, self.epochs.validation_loss_curve):
            curve.append(math.nan)
        run.stop("training diverged")
        self.ended = True
        if self.best is None:
            return "last good weights"
        run.restore(self.best)
        return "best weights so far"

    def _note_score(self, run: Run, record: Record, constant: float) -> None:
        settings, epochs, score = self.settings, self.epochs, self.score(run, record)
        record["val_score"] = score
        epochs.validation_scores.append(score)
        epochs.validation_loss_curve.append(record["val_loss"] + constant)
        self._say(f"Validation score: {score:f}")
        if settings.early_stopping:
            assert epochs.best_validation_score is not None, "minus infinite at first"
            self._count(not score >= epochs.best_validation_score + settings.tol)  # NaN is none
            if score > epochs.best_validation_score:
                epochs.best_validation_score, self.best = score, run.snapshot()

    def _count(self, worse: bool) -> None:
        self.epochs.no_improvement = self.epochs.no_improvement + 1 if worse else 0

    def _says_nothing(self) -> str:
        """Why the scores of early stopping say nothing of how well the training goes, "" where they may say some."""
        settings, fitted = self.settings, self.fitted
        scores = self.epochs.validation_scores[0 if settings.incremental else -fitted.n_iter :]
        if not (settings.early_stopping and scores):
            return ""
        if all(map(math.isnan, scores)):
            return "no number in any epoch"
        if fitted.targets.numeric and settings.scoring in (None, "r2") and not any(scores):
            return "0 in every epoch, as R^2 of a constant target is"
        return ""

    def _stop_or_slow_down(self, run: Run) -> None:
        settings = self.settings
        what = "Validation score" if settings.early_stopping else "Training loss"
        patience, rate = settings.n_iter_no_change, settings.rate * run.rate_scale
        reason = f"{what} did not improve more than tol={settings.tol:f} for {patience} consecutive epochs."
        adaptive = settings.rate_rule == "adaptive" and not self._says_nothing()
        if adaptive and rate > 1e-6:
            run.scale_rate(0.2)
            self._say(f"{reason} Setting learning rate to {rate / 5:f}")
            self.epochs.no_improvement = 0
            return
        if adaptive:
            reason += " Learning rate too small."
        elif settings.incremental and not settings.early_stopping:
            return  # whoever calls partial_fit decides when to end
        self._say(f"{reason} Stopping.")
        run.stop(reason)
        self.ended = settings.incremental

    def _say(self, line: str) -> None:
        if self.settings.prints:
            print(line)
