"""scikit-learn's callbacks, told of the epochs of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..history import Record
from ..training import Run


class SklearnCallbacks:
    """A callback of the library that calls what ``set_callbacks`` was given: a task for the fit, one for each epoch.

    A callback that is asked for a ``fitted_estimator`` gets a copy with the weights of that moment.
    """

    def __init__(self, estimator: Any, X: Any, y: Any, sample_weight: Any, epochs: int) -> None:
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self._data = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self._fit = estimator._init_callback_context(max_subtasks=epochs)
        self._fit.call_on_fit_task_begin(**self._data)

    def on_epoch_begin(self, run: Run) -> None:
        self.begin_epoch()

    def on_epoch_end(self, run: Run, record: Record) -> None:
        if self.end_epoch(lambda: {"model_": run.model()}):
            run.stop("a callback asked to stop")

    def begin_epoch(self) -> None:
        """Begin an epoch, or an iteration."""
        self._epoch = self._fit.subcontext(task_name="epoch").call_on_fit_task_begin(**self._data)

    def end_epoch(self, fitted: Callable[[], dict[str, Any]]) -> bool:
        """End it; true where a callback asks to stop. ``fitted()`` gives the attributes of a fitted copy."""
        return bool(self._epoch.call_on_fit_task_end(**self._data, reconstruction_attributes=fitted))

    def end_fit(self) -> None:
        """End the fit."""
        self._fit.call_on_fit_task_end(**self._data, reconstruction_attributes=dict)
