"""What the classifier and the regressor share: scikit-learn's parameters and ours, fit, and the fitted attributes."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import check_is_fitted

from .._backend import Backend, dtype_name, to_host
from .._base.arguments import names_arguments
from .._base.errors import ConfigurationError, DataError, warn
from .._base.options import whole_number
from .._base.typing import Array
from ..gradient_check import GradientCheck
from ..gradient_check import check_gradients as check_network_gradients
from ..history import History
from ..links import Link, LinkFinish
from ..losses import SquaredError
from ..model import Model
from ..network import Sequential
from ._inputs import Examples, as_batch, check_examples, check_x
from ._lbfgs import fit_lbfgs
from ._network import choose_backend, first_weights, make_network, make_problem, output_name, with_bodies
from ._parameters import Parameters
from ._records import Epochs, Fitted, PreparedFit, Settings
from ._sklearn import KEEPS_TEXT, CallbackSupportMixin, check_same_namespace, with_callbacks
from ._sklearn_callbacks import SklearnCallbacks
from ._sparse import predict
from ._stochastic import fit_stochastic
from ._targets import Targets, constant
from ._validation import check_score, hold_out, own_set, split_rows
from ._weights import biases_of, matrices, weights_of, with_biases, with_weights


def has_epochs(parameters: Parameters) -> bool:
    """Whether ``partial_fit`` is there. Raises AttributeError for a solver that takes all examples at once."""
    if parameters.solver == "lbfgs":
        raise AttributeError("partial_fit is only available for stochastic optimizers. lbfgs is not stochastic.")
    return True


@dataclass(eq=False, repr=False, kw_only=True)
class Perceptron(
    CallbackSupportMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, Parameters, ABC
):
    """What both estimators do with their parameters; the help() of either has the attributes below.

    Attributes:
        coefs_: each layer's weights ``(n_in, n_out)``, arrays of the backend.
        intercepts_: each layer's biases ``(n_out,)``.
        model_: the trained ``cr.Model``: ``model_.save("digits.safetensors")``.
        loss_: the last of ``loss_curve_``; of ``"lbfgs"`` the cost that it reached.
        loss_curve_: the loss of every epoch, while it was trained, penalty included; not there with ``"lbfgs"``, as the
            next four.
        best_loss_: the lowest of them; None under early stopping.
        validation_scores_: the score after every epoch, where there is a validation set; None without.
        validation_loss_curve_: the loss there, without the penalty.
        best_validation_score_: the highest score under early stopping; None without.
        stopped_: why training ended before ``max_iter``, or None.
        n_iter_: epochs (iterations of ``"lbfgs"``) of the last fit.
        t_: examples seen, in all epochs; 0 with ``"lbfgs"``.
        n_layers_: layers, the input counted.
        n_outputs_: outputs of the network.
        n_features_in_: features of X.
        feature_names_in_: their names; not there where X had none.
    """

    _kind: ClassVar[type[Targets]]

    @abstractmethod
    def _find_targets(self, y: Any, before: Fitted | None, *, incremental: bool, classes: Any = None) -> Targets:
        """What the checked y is, which must go with the fit before; ``classes`` are those of all calls to come."""

    # Fitting.

    @with_callbacks
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Any:
        """Train on X ``(rows, features)`` and y ``(rows,)`` or ``(rows, outputs)``; returns the estimator.

        Args:
            X: numbers, dense or sparse; an array of any library, a list, a frame, a dict of columns, or
                ``cr.Parquet``.
            y: labels, an indicator matrix of several labels a row, or numbers.
            sample_weight: ``(rows,)``, >= 0: a row of weight 2 counts as two. Default 1 for each.
            X_val: the inputs of a validation set of your own, measured after every epoch; default none.
            y_val: its targets, default none.
            sample_weight_val: its weights, >= 0; default 1 for each.

        Raises:
            ValueError: a parameter or data that cannot be.
            DivergenceError: a ValueError too; the weights became NaN or infinite. ``model_`` has the last good ones.
        """
        given, validation = Examples(X, y, sample_weight), Examples(X_val, y_val, sample_weight_val)
        self._validate_params()
        before = self._before() if self.warm_start else None
        settings = self._settings(validation, incremental=False)
        generator = check_random_state(self.random_state)
        fit, fitted = self._prepare(settings, given, validation, generator, before)
        told, first = None, fitted.model
        with fit.backend.active(), fit.backend.repeatable():
            if hasattr(self, "_skl_callbacks"):
                told = SklearnCallbacks(
                    self, given, self.max_iter, lambda model: self._with(replace(fitted, model=model)).__dict__
                )
            try:
                if settings.has_epochs:
                    fit_stochastic(fit, settings, fitted, told, self._with)
                else:
                    fit_lbfgs(fit, settings, fitted, told)
            finally:
                if fitted.model is not first:  # a callback may have raised in mid-training, or a solver have refused
                    self._take(fitted)
            if told is not None:
                told.end_fit()
        return self

    def _fit_epoch(self, given: Examples, validation: Examples, classes: Any = None) -> None:
        """One epoch, from wherever the last one ended. A call that fails changes nothing, so that it can be made again.

        ``classes`` are the labels of all calls, where this is the first.
        """
        before = self._before()
        if self.early_stopping and before is not None and before.progress is not None and before.progress.ended:
            warn(
                f"early stopping has ended this training ({before.stopped}) and partial_fit changes nothing any more: "
                "call fit to start again, or set early_stopping=False to go on."
            )
            return
        self._validate_params()
        settings = self._settings(validation, incremental=True)
        generator = check_random_state(self.random_state) if before is None else before.generator
        drawn = generator.get_state(legacy=False)
        try:
            fit, fitted = self._prepare(settings, given, validation, generator, before, classes)
            with fit.backend.active(), fit.backend.repeatable():
                fit_stochastic(fit, settings, fitted, None, self._with)
        except BaseException:
            generator.set_state(drawn)
            raise
        self._take(fitted)

    def _prepare(
        self,
        settings: Settings,
        given: Examples,
        validation: Examples,
        generator: np.random.RandomState,
        before: Fitted | None,
        classes: Any = None,
    ) -> tuple[PreparedFit, Fitted]:
        """Check everything: what is trained on what, and the fit that a solver begins with."""
        noted, kind = copy.copy(self), self._kind  # scikit-learn notes the columns in the estimator that it is handed
        given = given._replace(y=kind.read(given.y))
        validation = validation._replace(y=kind.read(validation.y, "y_val"))
        X, y, weight = check_examples(noted, given, numeric=kind.numeric, reset=before is None)
        targets = self._find_targets(y, before, incremental=settings.incremental, classes=classes)
        encoded, weighed = targets.encode(y), targets.weigh(y, weight)
        if weighed is not None and not settings.incremental and not weighed.any():  # a call may have such rows alone
            raise DataError("class_weight leaves every row the weight 0: expected one at least with more.")
        backend = choose_backend(self, dtype_name(X.dtype), None if isinstance(X, np.ndarray) or issparse(X) else X)
        with backend.active():
            network = make_network(self, X.shape[1], targets.outputs, targets.output)
            problem = make_problem(self, network, targets.loss)
            if not issparse(X):
                seen = 0 if before is None or before.epochs is None else before.epochs.t
                backend = with_bodies(backend, problem, settings, X.shape[0], seen)
            fit = PreparedFit(
                backend=backend,
                problem=problem,
                data=as_batch(backend, X, encoded, weighed),
                sparse=issparse(X),
                rows=np.arange(X.shape[0]),
                validation_set=None,
                constant=constant(targets.loss, encoded, weighed),
            )
            first = first_weights(self, backend, network, generator, None if before is None else before.model)
            history = History() if before is None else before.model.history
            flat, names = encoded.shape[1] == 1, tuple(getattr(noted, "feature_names_in_", ()))
            model = Model(network, *first, targets.loss, backend, flat, history, None, targets.classes, names)
            fitted = Fitted(model, targets, generator)
            if before is not None:
                fitted = replace(before, model=model, targets=targets, generator=generator, goes_on=True)
            if validation.X is not None:
                own = check_examples(noted, validation, numeric=kind.numeric, reset=False, of="_val")
                fit = replace(fit, validation_set=own_set(backend, targets, settings, validation, own))
            elif settings.early_stopping:
                split = split_rows(settings, fitted, encoded)
                fit = hold_out(fit, targets, split, given._replace(weight=weight), encoded)
        check_score(settings.scoring, fit.validation_set, fitted, self._with)
        return fit, fitted

    def _take(self, fitted: Fitted) -> None:
        """Become what was fitted: the one place where the estimator changes."""
        model, targets, epochs = fitted.model, fitted.targets, fitted.epochs
        self._fitted, self.model_ = fitted, model
        self.n_features_in_, self.n_outputs_ = model.network.n_in, targets.outputs
        self.n_layers_ = len(matrices(model.network)) + 1
        self.out_activation_ = output_name(targets.output, targets.loss)
        self.n_iter_, self.t_, self.stopped_ = fitted.n_iter, 0 if epochs is None else epochs.t, fitted.stopped
        for name in ("feature_names_in_", "loss_", *Epochs().attributes()):  # some fits have no such thing
            self.__dict__.pop(name, None)
        if model.feature_names:
            self.feature_names_in_ = np.asarray(model.feature_names, dtype=object)
        if fitted.loss is not None:
            self.loss_ = fitted.loss
        if epochs is not None:
            self.__dict__.update(epochs.attributes())

    def _take_model(self, model: Model) -> None:
        self._take(replace(self._fitted, model=model))

    def _with(self, fitted: Fitted) -> Self:
        """A copy that has this fit, for whom scikit-learn asks an estimator while there is none yet."""
        made = copy.copy(self)
        made._take(fitted)
        return made

    def _before(self) -> Fitted | None:
        fitted: Fitted | None = vars(self).get("_fitted")
        return None if fitted is None else replace(fitted, model=self.model_)

    # What was learnt.

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    @property
    def coefs_(self) -> tuple[Array, ...]:
        """Each layer's weights ``(n_in, n_out)``, arrays of the backend. Assign all of them to replace them."""
        return weights_of(self._model)

    @coefs_.setter
    def coefs_(self, weights: Any) -> None:
        self._take_model(with_weights(self._model, weights))

    @property
    def intercepts_(self) -> tuple[Array, ...]:
        """Each layer's biases ``(n_out,)``, arrays of the backend; zeros in front of a normalisation."""
        return biases_of(self._model)

    @intercepts_.setter
    def intercepts_(self, biases: Any) -> None:
        self._take_model(with_biases(self._model, biases))

    @property
    def _model(self) -> Model:
        model: Model | None = vars(self).get("model_")
        if model is None:
            raise AttributeError(f"this {type(self).__name__} is not fitted yet: call fit first.")
        return model

    @property
    def _theta(self) -> Array:
        return self._model.buffers  # where the parameters are too, and short: a library may hand out a copy

    @property
    def _n_features_out(self) -> int:
        return int(weights_of(self._model)[-1].shape[0])

    # Predictions.

    def _predictions(self, X: Any, finish: LinkFinish, method: str) -> Any:
        """What the network says of X, in X's library: decided, or with its link applied."""
        X = self._checked(X, method)
        return predict(self.model_, X, finish)

    def _checked(self, X: Any, method: str) -> Any:
        check_is_fitted(self)
        X = check_x(self, X, reset=False)
        if self.backend is None:
            check_same_namespace(X, self, attribute="_theta", method=method)
        return X

    def transform(self, X: Any, layer: int = -1) -> Any:
        """What a hidden layer makes of X: its activations ``(rows, width)``, in the library of X.

        Args:
            X: as ``predict`` takes it.
            layer: which hidden layer, from 0; -1 (the default) is the last.

        Raises:
            IndexError: there is no such hidden layer.
            ConfigurationError: ``set_output`` names the features of the last hidden layer, and another is asked for.

        Example:
            >>> import chainrule as cr
            >>> reg = cr.MLPRegressor(hidden_layer_sizes=(3, 2), solver="lbfgs", random_state=0)
            >>> reg = reg.fit([[0.0], [1.0]], [0.0, 1.0])
            >>> reg.transform([[0.5]]).shape, reg.transform([[0.5]], layer=0).shape
            ((1, 2), (1, 3))
        """
        X = self._checked(X, "transform")
        model, layer = self.model_, whole_number("layer", layer)
        starts = matrices(model.network)[1:]
        if not -len(starts) <= layer < len(starts):
            raise IndexError(f"layer must number one of {len(starts)} hidden layers from 0, or from -1, got {layer}.")
        if starts[layer] != starts[-1] and _get_output_config("transform", self)["dense"] != "default":
            raise ConfigurationError(
                "set_output names the features of the last hidden layer: ask for layer=-1, or for arrays, with "
                "set_output(transform='default')."
            )
        part = Sequential(*model.network.layers[: starts[layer]])
        with model.backend.active():
            theta, buffers = model.theta[: part.size], model.buffers[: part.buffer_layout.size]
        features = Model(part, theta, buffers, SquaredError(), model.backend, flat=False)
        return predict(features, X, Link.apply)

    def check_gradients(self, X: Any, y: Any, sample_weight: Any = None) -> GradientCheck:
        """The fitted network's gradient on X and y, against central differences, in float64 on NumPy.

        Args:
            X: as ``predict`` takes it; a handful of rows is enough.
            y: their labels or numbers.
            sample_weight: ``(rows,)``, >= 0; default 1 for each.

        Returns:
            A ``GradientCheck``: see ``cr.check_gradients``.

        Example:
            >>> import chainrule as cr
            >>> X, y = [[0.0, 1.0], [1.0, 0.0]], ["no", "yes"]
            >>> clf = cr.MLPClassifier(hidden_layer_sizes=(3,), activation="tanh", solver="lbfgs", random_state=0)
            >>> clf.fit(X, y).check_gradients(X, y).passed
            True
        """
        check_is_fitted(self)
        given = Examples(X, self._kind.read(y), sample_weight)
        X, y, weight = check_examples(self, given, numeric=self._kind.numeric, reset=False)
        targets, model = self._find_targets(y, self._before(), incremental=True), self.model_
        return check_network_gradients(
            model.network,
            X.toarray() if issparse(X) else to_host(X),
            targets.encode(y),
            loss=model.loss,
            theta=to_host(model.theta),
            sample_weight=targets.weigh(y, weight),
            penalty=make_problem(self, model.network, model.loss).penalty,
        )

    @names_arguments
    def to(self, backend: str | Backend = "auto", *, dtype: str | None = None) -> Any:
        """Move the fitted network to another backend, device or dtype; returns the estimator.

        The parameters stay: ``set_params(backend=...)`` says where the next fit runs.

        Args:
            backend: as of ``Model.to``; default where it is.
            dtype: ``"float32"`` or ``"float64"``; default as it is.

        Raises:
            BackendError: the library or the device cannot run here. NotFittedError: scikit-learn's.

        Example:
            >>> import chainrule as cr
            >>> reg = cr.MLPRegressor(hidden_layer_sizes=(), solver="lbfgs", random_state=0).fit([[0.0], [1.0]], [0, 1])
            >>> reg.to(dtype="float32").coefs_[0].dtype
            dtype('float32')
        """
        check_is_fitted(self)
        self._take_model(self.model_.to(backend, dtype=dtype))
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = KEEPS_TEXT
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
