"""``MLPRegressor``: numbers in, numbers out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from sklearn.base import RegressorMixin
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.metaestimators import available_if

from .._base.errors import DataError, warn
from ..links import Link
from ._base import Perceptron, has_epochs
from ._help import with_shared_sections
from ._inputs import Examples, as_host, check_weight
from ._parameters import ACTIVATION_NAMES
from ._records import Fitted
from ._targets import Numbers, Targets

REGRESSION_LOSSES = {"squared_error", "poisson", "absolute_error", "huber", "quantile"}


@with_shared_sections
@dataclass(eq=False, repr=False, kw_only=True)
class MLPRegressor(RegressorMixin, Perceptron):
    """scikit-learn's multilayer perceptron regressor, on the arrays it is handed, with what scikit-learn has not.

    Minimises C = sum_i w_i L_i / sum_i w_i + alpha / (2 sum_i w_i) sum W^2 over a batch, L_i = 1/2 ||y_i - z_i||^2 or
    another loss, summed over the outputs. What is shown, and stopped by, is the mean over the outputs. From the same
    ``random_state`` it takes the steps of ``sklearn.neural_network.MLPRegressor``; docs/scikit-learn.md lists what
    differs, name by name.

    Args:
        loss: ``"squared_error"`` (the default), ``"poisson"`` (counts; predicts exp z), ``"absolute_error"``,
            ``"huber"``, ``"quantile"`` (the median), or an object: ``cr.Quantile(0.9)``, ``cr.Loss(f)`` for your own.
        output_activation: of the output layer, by name or object: ``"softplus"`` for predictions > 0, ``"sigmoid"`` for
            predictions between 0 and 1. None (the default) is none, or the loss's own link.

    Attributes:
        out_activation_: ``"identity"``, ``"exp"`` for ``"poisson"``, or ``output_activation``.

    Raises:
        ConfigurationError: from ``fit``, a parameter that cannot be; InvalidParameterError of scikit-learn, one of the
            wrong type or out of its range. Both are ValueErrors.

    Example:
        >>> from chainrule import MLPRegressor
        >>> X = [[i / 20] for i in range(20)]
        >>> reg = MLPRegressor(activation="tanh", solver="lbfgs", random_state=0).fit(X, [x[0] ** 2 for x in X])
        >>> bool(abs(reg.predict([[0.5]])[0] - 0.25) < 0.01)
        True
    """

    loss: Any = field(default="squared_error", kw_only=False)
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

        As many calls on the same rows as fit takes epochs give the same network. With early stopping the same rows of
        the same number of examples are held out in every call (or give ``X_val``); once the score stops to improve the
        best weights are put back, ``stopped_`` says so, and further calls change nothing.

        Args:
            X: as ``fit`` takes it.
            y: its targets.
            sample_weight: ``(rows,)``, >= 0; default 1 for each.
            X_val: the inputs of a validation set of your own; default none.
            y_val: its targets, default none.
            sample_weight_val: its weights, >= 0; default 1 for each.

        Raises:
            ValueError: a parameter or data that cannot be.
            AttributeError: the solver is ``"lbfgs"``, which takes all examples at once.

        Example:
            >>> import chainrule as cr
            >>> reg = cr.MLPRegressor(hidden_layer_sizes=(), solver="sgd", learning_rate_init=0.1, random_state=0)
            >>> for _ in range(200):
            ...     reg = reg.partial_fit([[0.0], [1.0]], [1.0, 3.0])
            >>> reg.predict([[2.0]]).round(1).tolist(), len(reg.loss_curve_)
            ([5.0], 200)
        """
        self._fit_epoch(Examples(X, y, sample_weight), Examples(X_val, y_val, sample_weight_val))
        return self

    def predict(self, X: Any) -> Any:
        """Numbers ``(rows,)`` or ``(rows, outputs)``, as y was, in the library of X.

        Args:
            X: ``(rows, features)``, as ``fit`` takes it.

        Raises:
            NotFittedError: scikit-learn's. ValueError: X of another width, with other columns, or not finite.
        """
        return self._predictions(X, Link.apply, "predict")

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The coefficient of determination R^2: 1 is perfect, 0 is the mean; the mean over several outputs.

        NaN where a prediction is not finite, and of one row, with scikit-learn's warning.

        Args:
            X: as ``predict`` takes it.
            y: the true numbers.
            sample_weight: ``(rows,)``, >= 0; default 1 for each.
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
