"""scikit-learn's callbacks, told of the epochs of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sklearn.base import BaseEstimator

from ..history import Record
from ..model import Model
from ..training import Run
from ._inputs import Examples


class SklearnCallbacks:
    """A callback of the library that calls what ``set_callbacks`` was given: a task for the fit, one for each epoch.

    A callback that is asked for a ``fitted_estimator`` gets a copy with ``attributes`` of the model of that moment.
    """

    def __init__(
        self, estimator: BaseEstimator, given: Examples, epochs: int, attributes: Callable[[Model], dict[str, Any]]
    ) -> None:
        metadata = None if given.weight is None else {"sample_weight": given.weight}
        self._data = {"estimator": estimator, "X": given.X, "y": given.y, "metadata": metadata}
        self._attributes = attributes
        self._fit = estimator._init_callback_context(max_subtasks=epochs)
        self._fit.call_on_fit_task_begin(**self._data)

    def on_epoch_begin(self, run: Run) -> None:
        self.begin_epoch()

    def on_epoch_end(self, run: Run, record: Record) -> None:
        if self.end_epoch(run.model):
            run.stop("a callback asked to stop")

    def begin_epoch(self) -> None:
        """Begin an epoch, or an iteration."""
        self._epoch = self._fit.subcontext(task_name="epoch").call_on_fit_task_begin(**self._data)

    def end_epoch(self, model: Callable[[], Model]) -> bool:
        """End it; true where a callback asks to stop."""
        shown = {"reconstruction_attributes": lambda: self._attributes(model())}
        return bool(self._epoch.call_on_fit_task_end(**self._data, **shown))

    def end_fit(self) -> None:
        """End the fit."""
        self._fit.call_on_fit_task_end(**self._data, reconstruction_attributes=dict)
