"""``MLPRegressor``: numbers in, numbers out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sklearn.base import RegressorMixin
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.metaestimators import available_if

from .._base.errors import DataError, warn
from ..links import Link
from ._base import Perceptron, has_epochs
from ._inputs import Examples, as_host, check_weight
from ._parameters import ACTIVATION_NAMES
from ._records import Fitted
from ._targets import Numbers, Targets

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
    _kind: ClassVar[type[Targets]] = Numbers

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
        self._fit_epoch(Examples(X, y, sample_weight), Examples(X_val, y_val, sample_weight_val))
        return self

    def predict(self, X: Any) -> Any:
        """Numbers ``(rows,)`` or ``(rows, outputs)``, in the library of X."""
        return self._predictions(X, Link.apply, "predict")

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The coefficient of determination R^2: 1 is perfect, 0 is the mean; the mean over several outputs.

        NaN where a prediction is not finite, and of one row, with scikit-learn's warning.
        """
        y = Numbers.read(y)
        predictions = as_host(self.predict(X))
        weight = check_weight(sample_weight, len(predictions))
        if len(predictions) < 2:
            warn("R^2 is not defined for less than two rows.", UndefinedMetricWarning)
        return self._fitted.targets.score(y, predictions, weight)

    def _find_targets(self, y: Any, before: Fitted | None, *, incremental: bool, classes: Any = None) -> Numbers:
        width = 1 if y.ndim == 1 else int(y.shape[1])
        if before is not None and width != before.targets.outputs:
            raise DataError(f"y must have the {before.targets.outputs} outputs of the fit before, got {width}.")
        return Numbers.of(width, self.loss, self.output_activation)
