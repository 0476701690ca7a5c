"""``MLPClassifier``: labels in, labels out."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call

from .._backend import library_of
from .._base.errors import ConfigurationError
from ..links import Link
from ._base import Perceptron, has_epochs
from ._inputs import Examples, as_host, check_weight
from ._labels import ClassLabels, as_labels, check_labels, check_same_classes
from ._records import Fitted
from ._targets import Classes, Targets


@dataclass(eq=False, repr=False, kw_only=True)
class MLPClassifier(ClassifierMixin, Perceptron):
    """scikit-learn's multilayer perceptron classifier, on the arrays it is handed, with what scikit-learn has not.

    Minimises C = sum_i w_i L_i / sum_i w_i + alpha / (2 sum_i w_i) sum W^2 over a batch, L the cross-entropy of a
    softmax (several classes) or of sigmoids (two classes, or several labels a row). From the same ``random_state`` it
    takes the steps of ``sklearn.neural_network.MLPClassifier``, on every backend; docs/scikit-learn.md lists what
    differs, name by name.

    Args:
        hidden_layer_sizes: the hidden layers' widths; ``()`` is logistic regression.
        activation: of the hidden layers, by name (``"logistic"`` is the sigmoid, ``"identity"`` linear; all of the
            library's names) or object (``cr.Activation(f, df)`` for your own), or a list with one for each.
        solver: ``"adam"``, ``"sgd"`` (momentum), ``"lbfgs"`` (SciPy's L-BFGS, all examples at once), the name of
            another optimizer (its own defaults at the rate ``learning_rate_init``), or an object, which brings its own
            rate or schedule: ``cr.AdamW(cr.CosineDecay(1e-3))``.
        alpha: the L2 penalty's strength.
        batch_size: examples a step; ``"auto"`` is min(200, rows). The last, shorter batch counts like any other.
        learning_rate: ``"constant"``; for ``"sgd"`` also ``"invscaling"``, eta / (t + 1)^power_t after t examples, and
            ``"adaptive"``, a fifth whenever training would stop; or a schedule like ``cr.CosineDecay(1e-3)``, for
            every solver that is named. Without a length it lasts for ``max_iter`` epochs; ``partial_fit`` needs one.
        learning_rate_init: eta, for solvers that are named.
        power_t: the exponent of ``"invscaling"``.
        max_iter: epochs at most (iterations of ``"lbfgs"``).
        shuffle: whether every epoch has a new order.
        random_state: an int, a ``RandomState``, or None: of initial weights, orders, the validation split, dropout.
        tol: an epoch improves on the best one if it is this much better (``"lbfgs"``: the gradient's largest entry).
        verbose: True prints each epoch; ``"bar"`` shows a progress bar (needs ``chainrule[cli]``).
        warm_start: whether ``fit`` goes on from the weights of the fit before, with patience and bests that begin anew.
        momentum: mu of ``"sgd"``, in [0, 1).
        nesterovs_momentum: whether it is Nesterov's.
        early_stopping: whether to stop by the score on a validation set, and keep the weights that did best there.
        validation_fraction: the share of rows held out for it, unless ``fit`` is given ``X_val``.
        beta_1: of ``"adam"``.
        beta_2: of ``"adam"``.
        epsilon: of ``"adam"``, beside the uncorrected root (``cr.Adam(epsilon_hat=True)``).
        n_iter_no_change: how many epochs in a row without improvement are allowed: the patience.
        max_fun: evaluations of the cost at most, for ``"lbfgs"``.
        backend: where training runs: ``"numpy"``, ``"torch"``, ``"torch:cuda"``, ``"cupy:1"``, ``"jax"``, or a backend
            of ``cr.backend``. None is the library and device of X.
        dtype: ``"float32"`` or ``"float64"``. None is float32 for X of float32, else float64; or the backend's own.
        weight_init: what draws the weights, by name or object (biases then start at 0). None is scikit-learn's.
        dropout: the rate after each hidden layer, or a list with one for each.
        normalization: ``"batch"`` or ``"layer"``, of the hidden pre-activations.
        clip: ``cr.ClipNorm(1.0)`` or ``cr.ClipValue(0.5)``.
        scoring: what early stopping goes by: None is ``score``; ``"loss"``; any of scikit-learn's scorers, by name or
            as a function of (estimator, X, y).
        callbacks: the library's, such as ``cr.CSVLogger(path)``. scikit-learn's are given to ``set_callbacks``.
        loss: ``"log_loss"``, or a loss whose link fits, such as ``cr.SoftmaxCrossEntropy(label_smoothing=0.1)``.
        class_weight: what each class's examples weigh, a dict by label; ``"balanced"`` is inverse to its frequency.

    Attributes:
        classes_: the labels, in the order of ``predict_proba``'s columns.
        coefs_: each layer's weights ``(n_in, n_out)``, arrays of the backend.
        intercepts_: each layer's biases.
        model_: the trained ``cr.Model``: ``clf.model_.save("digits.safetensors")``.
        loss_curve_: the loss of every epoch, while it was trained, penalty included; ``loss_`` is the last.
        best_loss_: the lowest of them; None under early stopping.
        validation_scores_: the score after every epoch, where there is a validation set; None without.
        validation_loss_curve_: the loss there, without the penalty.
        best_validation_score_: the highest score under early stopping.
        stopped_: why training ended before ``max_iter``, or None.
        n_iter_: epochs of the last fit. t_: examples seen. n_layers_: layers, the input counted. n_outputs_: outputs.
        out_activation_: ``"softmax"`` or ``"logistic"``.
        n_features_in_: features. feature_names_in_: their names, if X had some.

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

        As many calls on the same rows as fit takes epochs give the same network. ``classes`` names all labels that will
        ever come; the first call needs it. For the rest see ``fit``.

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
        """Labels ``(rows,)``, or zeros and ones ``(rows, labels)``, in the library of X where they are numbers."""
        predictions = self._predictions(X, Link.decide, "predict")  # refuses what is not fitted yet
        return self._labels.decode(predictions)

    def predict_proba(self, X: Any) -> Any:
        """Probabilities ``(rows, classes)``, columns in the order of ``classes_``, in the library of X.

        Several labels a row have a probability each: such rows do not sum to 1.
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
        """Ln ``predict_proba(X)``; minus infinity where a probability is 0."""
        p = self._probabilities(X, "predict_log_proba")
        owner = library_of(p)
        with np.errstate(divide="ignore"):
            return (np if owner is None else owner.load()).log(p)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of right predictions; with several labels a row, of rows that are right in all."""
        y, predictions = as_labels(y), as_host(self.predict(X))
        weight = check_weight(sample_weight, predictions.shape[0])
        return float(accuracy_score(as_host(y), predictions, sample_weight=weight))

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
