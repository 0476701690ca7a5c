"""``MLPRegressor``: numbers in, numbers out."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import r2_score
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, column_or_1d

from .._base.errors import ConfigurationError, DataError
from ..links import Link, LinkFinish
from ..losses import LossFunction, Poisson, find_loss
from ._base import Perceptron, has_epochs
from ._inputs import as_host, check_numbers, check_weight, in_memory
from ._network import ACTIVATION_NAMES

REGRESSION_LOSSES = {"squared_error", "poisson", "absolute_error", "huber", "quantile"}


@dataclass(eq=False, repr=False, kw_only=True)
class MLPRegressor(RegressorMixin, Perceptron):
    """scikit-learn's multilayer perceptron regressor, on the arrays it is handed, with what scikit-learn has not.

    Minimises C = sum_i w_i L_i / sum_i w_i + alpha / (2 sum_i w_i) sum W^2 over a batch, L_i = 1/2 ||y_i - z_i||^2 or
    another loss, summed over the outputs. What is shown, and stopped by, is the mean over the outputs. From the same
    ``random_state`` it takes the steps of ``sklearn.neural_network.MLPRegressor``; docs/scikit-learn.md lists what
    differs, name by name.

    ``MLPClassifier`` documents the parameters and attributes that both have.

    Args:
        loss: ``"squared_error"``, ``"poisson"`` (counts; predicts exp z), ``"absolute_error"``, ``"huber"``,
            ``"quantile"`` (the median), or an object: ``cr.Quantile(0.9)``, ``cr.Loss(f)`` for your own.
        output_activation: of the output layer, by name or object: ``"softplus"`` for predictions > 0, ``"sigmoid"`` for
            predictions between 0 and 1. None is none, or the loss's own link.

    Attributes:
        out_activation_: ``"identity"``, ``"exp"`` for ``"poisson"``, or ``output_activation``.

    Example:
        >>> from chainrule import MLPRegressor
        >>> X = [[i / 20] for i in range(20)]
        >>> reg = MLPRegressor(activation="tanh", solver="lbfgs", random_state=0).fit(X, [x[0] ** 2 for x in X])
        >>> bool(abs(reg.predict([[0.5]])[0] - 0.25) < 0.01)
        True
    """

    loss: Any = "squared_error"
    output_activation: Any = None

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **Perceptron._parameter_constraints,
        "loss": [StrOptions(REGRESSION_LOSSES), HasMethods("per_example")],
        "output_activation": [StrOptions(set(ACTIVATION_NAMES)), HasMethods(["value", "derivative"]), None],
    }
    _numeric: ClassVar[bool] = True

    @available_if(has_epochs)
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> MLPRegressor:
        """Train one epoch on X and y, from where the last call, or fit, ended; returns the estimator.

        As many calls on the same rows as fit takes epochs give the same network. For the rest see ``fit``, and for
        early stopping ``MLPClassifier.partial_fit``.
        """
        return self._fit_epoch(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    def predict(self, X: Any) -> Any:
        """Numbers ``(rows,)`` or ``(rows, outputs)``, in the library of X."""
        check_is_fitted(self)
        return self._predictions(X, self._finish(), "predict")

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The coefficient of determination R^2: 1 is perfect, 0 is the mean; the mean over several outputs.

        NaN where a prediction is not finite, and of one row, with scikit-learn's warning.
        """
        y = self._plain(y)
        check_numbers(y, "y")
        predictions = as_host(self.predict(X))
        weight = check_weight(sample_weight, len(predictions))
        if len(predictions) < 2:
            warnings.warn("R^2 is not defined for less than two rows.", UndefinedMetricWarning, stacklevel=2)
        return self._score_of(y, predictions, weight)

    def _score_of(self, y: Any, predictions: np.ndarray, weight: np.ndarray | None) -> float:
        if not np.isfinite(predictions).all() or len(predictions) < 2:
            return float("nan")
        return float(r2_score(as_host(y), predictions, sample_weight=weight))

    def _plain(self, y: Any, what: str = "y") -> Any:
        return in_memory(y, what)

    def _finish(self) -> LinkFinish:
        return Link.apply  # a decision would round fractions to 0 or 1

    def _learn_targets(self, y: Any, *, fresh: bool, incremental: bool) -> None:
        width = self._encode(y).shape[1]
        before: int = width if fresh else vars(self).get("n_outputs_", width)
        if width != before:
            raise DataError(f"y must have the {before} outputs of the fit before, got {width}.")
        self.n_outputs_ = width

    def _encode(self, y: Any) -> np.ndarray:
        y = y.toarray() if hasattr(y, "toarray") else y
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        y = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        if not np.isfinite(y).all():  # of objects, which scikit-learn looks at as they are
            raise DataError(
                f"y has missing or infinite values in {(~np.isfinite(y)).any(axis=1).sum()} of {len(y)} rows."
            )
        low, high = {"counts": (0.0, np.inf), "fractions": (0.0, 1.0)}.get(self._find_loss().target, (-np.inf, np.inf))
        if (y < low).any() or (y > high).any():
            raise DataError(
                f"y must lie between {low:g} and {high:g} for the loss {self.loss!r}, got values from {y.min():g} to "
                f"{y.max():g}: choose another loss, such as 'squared_error', or transform y."
            )
        return y

    def _find_loss(self) -> LossFunction:
        found = find_loss(self.loss)
        if found.target == "classes":
            raise ConfigurationError(f"{self.loss!r} is a loss for classes: use MLPClassifier, or a loss for numbers.")
        return found

    def _output_layer(self) -> Any:
        link = self._find_loss().link
        if self.output_activation is not None and link != "linear":
            raise ConfigurationError(
                f"the loss {self.loss!r} already applies {link} to the outputs, so output_activation="
                f"{self.output_activation!r} would come on top: leave it out, or take a loss such as 'squared_error'."
            )
        return self.output_activation

    def _constant(self, targets: np.ndarray, weight: np.ndarray | None) -> float:
        if not isinstance(self._find_loss(), Poisson):
            return 0.0
        safe = np.where(targets > 0, targets, 1.0)
        return float(np.average(targets * np.log(safe) - targets, weights=weight, axis=0).sum())
