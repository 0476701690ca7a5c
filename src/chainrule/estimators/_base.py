"""What the classifier and the regressor share: scikit-learn's parameters and ours, fit, and the fitted attributes."""

from __future__ import annotations

import copy
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import check_is_fitted

from .._backend import Backend, dtype_name, to_host
from .._base.errors import ConfigurationError, DataError, DTypeError
from .._base.options import whole_number
from .._base.typing import Array
from .._data.labels import plain_labels
from .._kernels import backend as make_backend
from ..gradient_check import GradientCheck
from ..gradient_check import check_gradients as check_network_gradients
from ..history import History
from ..layers import Dense
from ..links import Link, LinkFinish
from ..losses import LossFunction, SquaredError
from ..model import Model
from ..network import Sequential, without_link
from ..optimizers import SGD
from ..penalties import Penalty
from ..training import Problem
from ._convergence import NOTED
from ._inputs import as_batch, check_weight, check_x, check_x_y, is_sparse
from ._lbfgs import fit_lbfgs
from ._network import OUT_ACTIVATIONS, as_reported, initial_theta, make_network, make_optimizer
from ._parameters import Parameters
from ._prepared import PreparedFit, Split
from ._sklearn import KEEPS_TEXT, CallbackSupportMixin, check_same_namespace, with_callbacks
from ._sklearn_callbacks import SklearnCallbacks
from ._sparse import predict_sparse
from ._stochastic import Progress, fit_stochastic
from ._validation import Validation, check_score, check_validation, draw_split, with_held_out, with_own
from ._weights import biases_of, weights_of, with_biases, with_weights


def has_epochs(estimator: Any) -> bool:
    """Whether ``partial_fit`` is there. Raises AttributeError for a solver that takes all examples at once."""
    if estimator.solver == "lbfgs":
        raise AttributeError("partial_fit is only available for stochastic optimizers. lbfgs is not stochastic.")
    return True


@dataclass(eq=False, repr=False, kw_only=True)
class Perceptron(
    CallbackSupportMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, Parameters, ABC
):
    """What both estimators do with their parameters."""

    _numeric: ClassVar[bool]  # whether y must be numbers

    # What is different between labels and numbers.

    @abstractmethod
    def _learn_targets(self, y: Any, *, fresh: bool, incremental: bool) -> None:
        """Note what the checked y asks for: ``n_outputs_``, and the classes."""

    @abstractmethod
    def _encode(self, y: Any) -> np.ndarray:
        """The targets ``(rows, 1)`` or ``(rows, outputs)`` that the network is trained on."""

    @abstractmethod
    def _find_loss(self) -> LossFunction: ...

    @abstractmethod
    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float: ...

    @abstractmethod
    def _score_of(self, y: Any, predictions: np.ndarray, weight: np.ndarray | None) -> float:
        """``score``, from what the network said."""

    def _plain(self, y: Any, what: str = "y") -> Any:
        """The targets as they were given, or what can be read in their place."""
        return y

    def _finish(self) -> LinkFinish:
        """What makes predictions of pre-activations."""
        return Link.decide

    def _weigh(self, y: Any, weight: np.ndarray | None) -> np.ndarray | None:
        return weight

    def _output_layer(self) -> Any:
        return None

    def _constant(self, targets: np.ndarray, weight: np.ndarray | None) -> float:
        """What is added to a loss so that a perfect prediction has 0, as in scikit-learn."""
        return 0.0

    def _strata(self, targets: np.ndarray) -> np.ndarray | None:
        """What the validation rows are drawn evenly from."""
        return None

    def _groups(self, targets: np.ndarray) -> dict[str, np.ndarray]:
        """The rows ``(rows,)``, as truth values, of each class that a scorer may need in a validation set, by name."""
        return {}

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
            X: dense or sparse; an array of any library, a list, a frame, a dict of columns, or ``cr.Parquet``.
            y: labels, an indicator matrix of several labels a row, or numbers.
            sample_weight: ``(rows,)``, >= 0: a row of weight 2 counts as two.
            X_val: the inputs of a validation set of your own, measured after every epoch.
            y_val: its targets.
            sample_weight_val: its weights.

        Raises:
            ValueError: a parameter or data that cannot be.
            DivergenceError: a ValueError too; the weights became NaN or infinite. ``model_`` has the last good ones.
        """
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), incremental=False)

    def _fit_epoch(self, X: Any, y: Any, sample_weight: Any, validation: Validation) -> Any:
        """One epoch, from wherever the last one ended."""
        progress: Progress | None = vars(self).get("_progress")
        if self.early_stopping and progress is not None and progress.ended:
            warnings.warn(
                f"early stopping has ended this training ({self.stopped_}) and partial_fit changes nothing any more: "
                "call fit to start again, or set early_stopping=False to go on.",
                stacklevel=3,
            )
            return self
        return self._fit(X, y, sample_weight, validation, incremental=True)

    def _fit(self, X: Any, y: Any, sample_weight: Any, validation: Validation, *, incremental: bool) -> Any:
        fresh = not (hasattr(self, "model_") and (self.warm_start or incremental))
        before = dict(vars(self))
        try:
            fit = self._make_ready(X, y, sample_weight, validation, fresh=fresh, incremental=incremental)
        except BaseException:
            self.__dict__ = before  # what is refused leaves the fit before as it was
            raise
        with fit.backend.active():
            return self._train(fit, (X, y, sample_weight), before if incremental else None, fresh)

    def _train(self, fit: PreparedFit, given: tuple[Any, Any, Any], before: dict[str, Any] | None, fresh: bool) -> Any:
        """Run the solver; one epoch from ``before``, where that is given."""
        if before is not None:
            generator, drawn = self._random_state, self._random_state.get_state(legacy=False)
            try:
                fit_stochastic(self, fit, self.callbacks or (), fresh=fresh, incremental=True)
            except BaseException:
                self.__dict__ = before  # so that the call can be made again
                generator.set_state(drawn)
                raise
            return self
        told = SklearnCallbacks(self, *given, self.max_iter) if hasattr(self, "_skl_callbacks") else None
        if self.solver == "lbfgs":
            fit_lbfgs(self, fit, told)
        else:
            listeners = [*(self.callbacks or ()), *([] if told is None else [told])]
            fit_stochastic(self, fit, listeners, fresh=fresh, incremental=False)
        if told is not None:
            told.end_fit()
        return self

    def _make_ready(
        self, X: Any, y: Any, sample_weight: Any, validation: Validation, *, fresh: bool, incremental: bool
    ) -> PreparedFit:
        """Check everything, and put the model that training starts from in its place."""
        self._validate_params()
        self._check_parts()
        check_validation(validation)
        if self.solver == "lbfgs":
            self._check_lbfgs(validation[0])
        given = X, y = X, self._plain(y)
        validation = validation[0], self._plain(validation[1], "y_val"), validation[2]
        X, y = check_x_y(self, X, y, reset=fresh, numeric=self._numeric)
        self._learn_targets(y, fresh=fresh, incremental=incremental)
        targets, weight = self._encode(y), check_weight(sample_weight, X.shape[0])
        if not (incremental and hasattr(self, "_random_state")):
            self._random_state = check_random_state(self.random_state)
        weighed = self._weigh(y, weight)
        if weighed is not None and not incremental and not weighed.any():  # a call of many may have such rows alone
            raise DataError("class_weight leaves every row the weight 0: expected one at least with more.")
        backend = self._make_backend(X)
        with backend.active():
            fit = self._prepare(backend, X, targets, weighed)
            self._start(fit, fresh)
            if validation[0] is not None:
                fit = with_own(self, fit, validation)
            elif self.early_stopping and self.solver != "lbfgs":
                split = self._split(targets, incremental)
                fit = with_held_out(self, fit, split, given, targets, weight)
        check_score(self, fit.validation_set)
        return fit

    def _prepare(self, backend: Backend, X: Any, targets: np.ndarray, weight: np.ndarray | None) -> PreparedFit:
        loss = self._find_loss()
        network = make_network(self, X.shape[1], self.n_outputs_, self._output_layer())
        problem = Problem(
            without_link(network, loss),
            as_reported(loss, self.n_outputs_),
            SGD() if self.solver == "lbfgs" else make_optimizer(self),  # SciPy's is no update of a step
            Penalty(l2=self.alpha, over="examples") if self.alpha else None,
            self.clip,
            epoch_mean="rows",
        )
        return PreparedFit(
            backend=backend,
            network=network,
            problem=problem,
            loss=loss,
            data=as_batch(backend, X, targets, weight),
            rows=np.arange(X.shape[0]),
            validation_set=None,
            flat=targets.shape[1] == 1,
            constant=self._constant(targets, weight),
            classes=plain_labels(getattr(self, "classes_", np.empty(0))),
            feature_names=tuple(getattr(self, "feature_names_in_", ())),
        )

    def _make_backend(self, X: Any) -> Backend:
        """The backend of the parameters, else of X; X's dtype where it is float32, else float64."""
        dtype = self.dtype or ("float32" if dtype_name(X.dtype) == "float32" else "float64")
        choice = {"device": self.device, "like": None if is_sparse(X) else X}
        try:
            return make_backend(self.backend or "auto", dtype=dtype, **choice)
        except DTypeError as error:
            if self.dtype is not None:
                raise
            warnings.warn(f"float32 is used: {error}", stacklevel=4)
            return make_backend(self.backend or "auto", dtype="float32", **choice)

    def _start(self, fit: PreparedFit, fresh: bool) -> None:
        """The model that training starts from: scikit-learn's initial weights, or those of the fit before."""
        backend, network = fit.backend, fit.network
        if fresh:
            self.n_layers_ = sum(isinstance(layer, Dense) for layer in network.layers) + 1
            theta = initial_theta(network, self._random_state, self.weight_init)
            self.model_ = fit.model(backend.asarray(theta), backend.asarray(network.initial_buffers()), History())
            self.out_activation_ = self._output_name(fit.loss)
            for name in ("_progress", "_split_from", *NOTED):
                self.__dict__.pop(name, None)
            self.n_iter_, self.t_, self.stopped_ = 0, 0, None
            return
        model = self.model_
        if model.network != network:
            raise ConfigurationError(
                f"this estimator goes on from {model.network!r}, and its parameters now ask for {network!r}: "
                "set warm_start=False and call fit to start again."
            )
        self.model_ = fit.model(backend.asarray(model.theta), backend.asarray(model.buffers), model.history)

    def _output_name(self, loss: LossFunction) -> str:
        output = self._output_layer()
        if output is None:
            return OUT_ACTIVATIONS[loss.link]
        return output if isinstance(output, str) else type(output).__name__

    def _split(self, targets: np.ndarray, incremental: bool) -> Split:
        """The rows to train on and those to validate on. partial_fit draws again as the first call, or fit, did: as
        many rows are split as they were, so that none that was trained on is validated on.
        """
        first: np.random.RandomState | None = vars(self).get("_split_from")
        if incremental and first is not None:
            return draw_split(self, targets, copy.deepcopy(first))
        self._split_from = copy.deepcopy(self._random_state)
        return draw_split(self, targets, self._random_state)

    # What was learnt.

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    @property
    def coefs_(self) -> tuple[Array, ...]:
        """Each layer's weights ``(n_in, n_out)``, arrays of the backend. Assign all of them to replace them."""
        return weights_of(self._model)

    @coefs_.setter
    def coefs_(self, weights: Any) -> None:
        self.model_ = with_weights(self._model, weights)

    @property
    def intercepts_(self) -> tuple[Array, ...]:
        """Each layer's biases ``(n_out,)``, arrays of the backend; zeros in front of a normalisation."""
        return biases_of(self._model)

    @intercepts_.setter
    def intercepts_(self, biases: Any) -> None:
        self.model_ = with_biases(self._model, biases)

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
        widths = [layer.n_in for layer in self._model.network.layers if isinstance(layer, Dense)]
        return widths[-1]

    # Predictions.

    def _predictions(self, X: Any, finish: LinkFinish, method: str) -> Any:
        """What the network says of X, in X's library: decided, or with its link applied."""
        check_is_fitted(self)
        X = check_x(self, X, reset=False)
        if self.backend is None:
            check_same_namespace(X, self, attribute="_theta", method=method)
        if is_sparse(X):
            return predict_sparse(self.model_, X, finish)
        return self.model_.predict_with(finish, X)

    def transform(self, X: Any, layer: int = -1) -> Any:
        """What a hidden layer makes of X: its activations ``(rows, width)``; -1 is the last hidden layer.

        Raises IndexError where there is no such hidden layer.
        """
        check_is_fitted(self)
        X = check_x(self, X, reset=False)
        if self.backend is None:
            check_same_namespace(X, self, attribute="_theta", method="transform")
        model, layer = self.model_, whole_number("layer", layer)
        starts = [i for i, part in enumerate(model.network.layers) if isinstance(part, Dense)][1:]
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
        return predict_sparse(features, X, Link.apply) if is_sparse(X) else features.predict(X)

    def check_gradients(self, X: Any, y: Any, sample_weight: Any = None) -> GradientCheck:
        """The fitted network's gradient on X and y, against central differences, in float64 on NumPy.

        A handful of rows is enough. See ``cr.check_gradients``.
        """
        check_is_fitted(self)
        X, y = check_x_y(self, X, self._plain(y), reset=False, numeric=self._numeric)
        X = X.toarray() if is_sparse(X) else to_host(X)
        model = self.model_
        return check_network_gradients(
            model.network,
            X,
            self._encode(y),
            loss=model.loss,
            theta=to_host(model.theta),
            sample_weight=self._weigh(y, check_weight(sample_weight, X.shape[0])),
            penalty=Penalty(l2=self.alpha, over="examples") if self.alpha else None,
        )

    def to(self, backend: str, device: Any = None, dtype: str | None = None) -> Any:
        """Move the fitted network to another backend or device; returns the estimator.

        The parameters stay: ``set_params(backend=...)`` says where the next fit runs.
        """
        check_is_fitted(self)
        self.model_ = self.model_.to(backend, device, dtype)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = KEEPS_TEXT
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
