"""``MLPClassifier``: labels in, labels out."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import sklearn
from sklearn.base import ClassifierMixin
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call

from .._backend import library_of
from .._base.errors import ConfigurationError
from ..links import Link
from ._base import Perceptron, has_epochs
from ._help import with_shared_sections
from ._inputs import Examples, as_host, check_weight
from ._labels import ClassLabels, as_labels, check_labels, check_same_classes
from ._records import Fitted
from ._targets import Classes, Targets


@with_shared_sections
@dataclass(eq=False, repr=False, kw_only=True)
class MLPClassifier(ClassifierMixin, Perceptron):
    """scikit-learn's multilayer perceptron classifier, on the arrays it is handed, with what scikit-learn has not.

    Minimises C = sum_i w_i L_i / sum_i w_i + alpha / (2 sum_i w_i) sum W^2 over a batch, L the cross-entropy of a
    softmax (several classes) or of sigmoids (two classes, or several labels a row). From the same ``random_state`` it
    takes the steps of ``sklearn.neural_network.MLPClassifier``, on every backend; docs/scikit-learn.md lists what
    differs, name by name.

    Args:
        loss: ``"log_loss"`` (the default), or a loss whose link fits, such as
            ``cr.SoftmaxCrossEntropy(label_smoothing=0.1)``.
        class_weight: what each class's examples weigh, >= 0, a dict by label; ``"balanced"`` is inverse to its
            frequency. With several labels a row, a list of dicts. Default None, 1 each.

    Attributes:
        classes_: the labels, in the order of ``predict_proba``'s columns.
        out_activation_: ``"softmax"`` or ``"logistic"``.

    Raises:
        ConfigurationError: from ``fit``, a parameter that cannot be; InvalidParameterError of scikit-learn, one of the
            wrong type or out of its range. Both are ValueErrors.

    Example:
        >>> from chainrule import MLPClassifier
        >>> X, y = [[0.0, 0], [0, 1], [1, 0], [1, 1]], ["even", "odd", "odd", "even"]
        >>> clf = MLPClassifier(hidden_layer_sizes=(8,), activation="tanh", solver="lbfgs", random_state=0).fit(X, y)
        >>> clf.predict([[0, 0], [0, 1]]).tolist()
        ['even', 'odd']
    """

    loss: Any = "log_loss"
    class_weight: Any = None

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **Perceptron._parameter_constraints,
        "loss": [StrOptions({"log_loss"}), HasMethods("per_example")],
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
    }
    _kind: ClassVar[type[Targets]] = Classes

    @available_if(has_epochs)
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        classes: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> MLPClassifier:
        """Train one epoch on X and y, from where the last call, or fit, ended; returns the estimator.

        As many calls on the same rows as fit takes epochs give the same network.

        Args:
            X: as ``fit`` takes it.
            y: its labels.
            sample_weight: ``(rows,)``, >= 0; default 1 for each.
            classes: all labels that will ever come, which the first call needs; default, in later calls, those of the
                first.
            X_val: the inputs of a validation set of your own; default none.
            y_val: its labels, default none.
            sample_weight_val: its weights, >= 0; default 1 for each.

        Raises:
            ValueError: a parameter or data that cannot be; a label that is not in ``classes``.
            AttributeError: the solver is ``"lbfgs"``, which takes all examples at once.

        Example:
            >>> import chainrule as cr
            >>> clf = cr.MLPClassifier(hidden_layer_sizes=(), solver="sgd", learning_rate_init=1.0, random_state=0)
            >>> for _ in range(50):
            ...     clf = clf.partial_fit([[0.0], [1.0]], ["no", "yes"], classes=["no", "yes"])
            >>> clf.predict([[-1.0], [2.0]]).tolist(), clf.t_
            (['no', 'yes'], 100)

        With early stopping the same rows of the same number of examples are held out in every call (or give ``X_val``);
        once the score stops to improve the best weights are put back, ``stopped_`` says so, and further calls change
        nothing.
        """
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            raise ConfigurationError(
                "class_weight='balanced' needs all labels, and partial_fit sees some: give a dict, or sample_weight."
            )
        classes = as_labels(as_host(classes), "classes")
        _check_partial_fit_first_call(copy.copy(self), classes)  # which notes them, before all else is checked
        self._fit_epoch(Examples(X, y, sample_weight), Examples(X_val, y_val, sample_weight_val), classes)
        return self

    def predict(self, X: Any) -> Any:
        """Labels ``(rows,)``, or zeros and ones ``(rows, labels)``, in the library of X where they are numbers.

        Args:
            X: ``(rows, features)``, as ``fit`` takes it.

        Raises:
            NotFittedError: scikit-learn's. ValueError: X of another width, with other columns, or not finite.
        """
        predictions = self._predictions(X, Link.decide, "predict")  # refuses what is not fitted yet
        return self._labels.decode(predictions)

    def predict_proba(self, X: Any) -> Any:
        """Probabilities ``(rows, classes)``, columns in the order of ``classes_``, in the library of X.

        Several labels a row have a probability each: such rows do not sum to 1.

        Args:
            X: as ``predict`` takes it.

        Example:
            >>> import chainrule as cr
            >>> X, y = [[0.0], [1.0], [2.0], [3.0]], ["low", "low", "high", "high"]
            >>> clf = cr.MLPClassifier(hidden_layer_sizes=(), solver="lbfgs", random_state=0).fit(X, y)
            >>> clf.classes_.tolist(), clf.predict_proba([[0.0], [3.0]]).round(2).tolist()
            (['high', 'low'], [[0.0, 1.0], [1.0, 0.0]])
        """
        return self._probabilities(X, "predict_proba")

    def _probabilities(self, X: Any, method: str) -> Any:
        p = self._predictions(X, Link.apply, method)
        if self._labels.kind != "binary":
            return p
        owner = library_of(p)
        xp = np if owner is None else owner.load()
        return xp.stack([1.0 - p, p], axis=1)

    def predict_log_proba(self, X: Any) -> Any:
        """Ln ``predict_proba(X)``, ``(rows, classes)``; minus infinity where a probability is 0."""
        p = self._probabilities(X, "predict_log_proba")
        owner = library_of(p)
        with np.errstate(divide="ignore"):
            return (np if owner is None else owner.load()).log(p)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of right predictions, 0 to 1; with several labels a row, of rows that are right in all.

        Args:
            X: as ``predict`` takes it.
            y: the true labels.
            sample_weight: ``(rows,)``, >= 0; default 1 for each.
        """
        y, predictions = as_labels(y), as_host(self.predict(X))
        weight = check_weight(sample_weight, predictions.shape[0])
        return float(sklearn.metrics.accuracy_score(as_host(y), predictions, sample_weight=weight))

    def _find_targets(self, y: Any, before: Fitted | None, *, incremental: bool, classes: Any = None) -> Classes:
        y = check_labels(y)
        labels = ClassLabels.of(y, classes) if before is None else self._labels
        if before is not None and not incremental:
            check_same_classes(y, labels)
        return Classes.of(labels, self.loss, self.class_weight)

    def _take(self, fitted: Fitted) -> None:
        super()._take(fitted)
        self.classes_ = self._labels.classes

    @property
    def _labels(self) -> ClassLabels:
        targets = self._fitted.targets
        assert isinstance(targets, Classes), "a classifier's targets are labels"
        return targets.labels

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
