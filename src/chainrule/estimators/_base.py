"""What the classifier and the regressor share: scikit-learn's parameters and ours, fit, and the fitted attributes."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.metrics import check_scoring
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._array_api import check_same_namespace
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions
from sklearn.utils.validation import check_is_fitted

from .._backend import Backend, dtype_name, to_host
from .._errors import ConfigurationError, DataError, DTypeError
from .._kernels import backend as choose_backend
from .._typing import Array
from ..data import Batch, check_inputs
from ..gradient_check import GradientCheck
from ..gradient_check import check_gradients as check_network_gradients
from ..history import History, Record
from ..layers import Dense
from ..losses import LossFunction, SquaredError
from ..model import Model
from ..network import Sequential, logits_part
from ..optimizers import SGD, Clip
from ..penalties import Penalty
from ..prediction import apply_link, decide
from ..schedules import Schedule
from ..training import Problem, Run
from ._callbacks import SklearnCallbacks
from ._inputs import check_weight, check_x, check_x_y, is_sparse, take_rows
from ._lbfgs import fit_lbfgs
from ._network import (
    ACTIVATION_NAMES,
    OUT_ACTIVATIONS,
    SOLVER_NAMES,
    as_reported,
    initial_theta,
    make_network,
    make_optimizer,
)
from ._sparse import answers_of_sparse
from ._stochastic import Progress, fit_stochastic
from ._task import Held, Task

_NOT_NEGATIVE, _FRACTION = Interval(Real, 0, None, closed="left"), Interval(Real, 0, 1, closed="left")
_COUNT = Interval(Integral, 1, None, closed="left")
_ACTIVATION = [StrOptions(set(ACTIVATION_NAMES)), HasMethods(["value", "derivative"]), HasMethods(["forward", "apply"])]


Validation = tuple[Any, Any, Any]  # X, y, sample_weight, or None for each


def has_epochs(estimator: Any) -> bool:
    """Whether ``partial_fit`` is there. Raises AttributeError for a solver that takes all examples at once."""
    if estimator.solver == "lbfgs":
        raise AttributeError("partial_fit is only available for stochastic optimizers. lbfgs is not stochastic.")
    return True


@dataclass(eq=False, repr=False, kw_only=True)
class Perceptron(CallbackSupportMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, ABC):
    """The parameters of both estimators, which ``MLPClassifier`` documents, and what both do with them."""

    # scikit-learn's
    hidden_layer_sizes: Any = (100,)
    activation: Any = "relu"
    solver: Any = "adam"
    alpha: float = 0.0001
    batch_size: Any = "auto"
    learning_rate: Any = "constant"
    learning_rate_init: float = 0.001
    power_t: float = 0.5
    max_iter: int = 200
    shuffle: bool = True
    random_state: Any = None
    tol: float = 1e-4
    verbose: Any = False
    warm_start: bool = False
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    early_stopping: bool = False
    validation_fraction: float = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    n_iter_no_change: float = 10
    max_fun: int = 15000
    # ours
    backend: str | None = None
    device: Any = None
    dtype: str | None = None
    initializer: Any = None
    dropout: Any = 0.0
    normalization: str | None = None
    clip: Any = None
    scoring: Any = None
    callbacks: Any = None

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", _COUNT],
        "activation": [*_ACTIVATION, "array-like"],
        "solver": [StrOptions(set(SOLVER_NAMES)), HasMethods(["init", "update"])],
        "alpha": [_NOT_NEGATIVE],
        "batch_size": [StrOptions({"auto"}), _COUNT],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"}), HasMethods(["rate", "planned"])],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [_NOT_NEGATIVE],
        "max_iter": [_COUNT],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [_NOT_NEGATIVE],
        "verbose": ["verbose", StrOptions({"bar"})],
        "warm_start": ["boolean"],
        "momentum": [_FRACTION],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [_FRACTION],
        "beta_1": [_FRACTION],
        "beta_2": [_FRACTION],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [_COUNT, Options(Real, {np.inf})],
        "max_fun": [_COUNT],
        "backend": [str, None],
        "device": [object],
        "dtype": [StrOptions({"float32", "float64"}), None],
        "initializer": [str, HasMethods("draw"), None],
        "dropout": [_FRACTION, "array-like"],
        "normalization": [StrOptions({"batch", "layer"}), None],
        "clip": [Clip, None],
        "scoring": [str, callable, None],
        "callbacks": ["array-like", None],
    }
    _numeric: ClassVar[bool]  # whether y must be numbers

    # What is different between labels and numbers.

    @abstractmethod
    def _learn_targets(self, y: Any, *, fresh: bool) -> None:
        """Note what the checked y asks for: ``n_outputs_``, and the classes."""

    @abstractmethod
    def _encode(self, y: Any) -> np.ndarray:
        """The targets ``(rows, 1)`` or ``(rows, outputs)`` that the network is trained on."""

    @abstractmethod
    def _find_loss(self) -> LossFunction: ...

    @abstractmethod
    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float: ...

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
            X: dense or sparse; an array of any library, a list, or a frame.
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
        self._validate_params()
        fresh = not (hasattr(self, "model_") and (self.warm_start or incremental))
        given = X, y
        X, y = check_x_y(self, X, y, reset=fresh, numeric=self._numeric)
        self._learn_targets(y, fresh=fresh)
        targets = self._encode(y)
        weight = check_weight(sample_weight, X.shape[0])
        if not (incremental and hasattr(self, "_random_state")):
            self._random_state = check_random_state(self.random_state)
        if self.solver == "lbfgs":
            self._check_lbfgs(validation)
        task = self._prepare(X, targets, self._weigh(y, weight))
        self._start(task, fresh)
        told = None
        if hasattr(self, "_skl_callbacks") and not incremental:
            told = SklearnCallbacks(self, *given, sample_weight, self.max_iter)
        if self.solver == "lbfgs":
            fit_lbfgs(self, task, told)
        else:
            task = self._with_held(task, given, targets, weight, validation, incremental)
            listeners = [*(self.callbacks or ()), *([] if told is None else [told])]
            fit_stochastic(self, task, listeners, fresh=fresh, incremental=incremental)
        if told is not None:
            told.end_fit()
        return self

    def _prepare(self, X: Any, targets: np.ndarray, weight: np.ndarray | None) -> Task:
        loss, on = self._find_loss(), self._choose_backend(X)
        network = make_network(self, X.shape[1], self.n_outputs_, self._output_layer())
        problem = Problem(
            logits_part(network, loss),
            as_reported(loss, self.n_outputs_),
            SGD() if self.solver == "lbfgs" else make_optimizer(self),  # SciPy's is no update of a step
            Penalty(l2=self.alpha, over="examples") if self.alpha else None,
            self.clip,
        )
        return Task(
            backend=on,
            network=network,
            problem=problem,
            loss=loss,
            data=_place(on, X, targets, weight),
            rows=np.arange(X.shape[0]),
            held=None,
            flat=targets.shape[1] == 1,
            constant=self._constant(targets, weight),
        )

    def _choose_backend(self, X: Any) -> Backend:
        """The backend of the parameters, else of X; X's dtype where it is float32, else float64."""
        dtype = self.dtype or ("float32" if dtype_name(X.dtype) == "float32" else "float64")
        choice = {"device": self.device, "like": None if is_sparse(X) else X}
        try:
            return choose_backend(self.backend or "auto", dtype=dtype, **choice)
        except DTypeError as error:
            if self.dtype is not None:
                raise
            warnings.warn(f"float32 is used: {error}", stacklevel=4)
            return choose_backend(self.backend or "auto", dtype="float32", **choice)

    def _check_lbfgs(self, validation: Validation) -> None:
        """L-BFGS minimises one fixed function of the weights, without epochs; refuse what has no meaning there."""
        activations = np.ravel(np.asarray(self.activation, dtype=object))
        refused = {
            "dropout": np.any(np.asarray(self.dropout) > 0),
            "activation='randomized_leaky_relu'": "randomized_leaky_relu" in activations.tolist(),
            "normalization='batch'": self.normalization == "batch",
            "a schedule as learning_rate": isinstance(self.learning_rate, Schedule),
            "clip": self.clip is not None,
            "batch_size": self.batch_size != "auto",
            "scoring": self.scoring is not None,
            "callbacks": bool(self.callbacks),
            "verbose='bar'": self.verbose == "bar",
            "X_val": validation[0] is not None,
        }
        for name, given in refused.items():
            if given:
                raise ConfigurationError(
                    f"solver='lbfgs' takes all examples at once, without batches, epochs or random steps, so it cannot "
                    f"use {name}: leave it out, or take a stochastic solver such as 'adam'."
                )

    def _start(self, task: Task, fresh: bool) -> None:
        """The model that training starts from: scikit-learn's initial weights, or those of the fit before."""
        on, network = task.backend, task.network
        if fresh:
            self.n_layers_ = sum(isinstance(layer, Dense) for layer in network.layers) + 1
            theta = initial_theta(network, self._random_state, self.initializer)
            self.model_ = task.model(on.asarray(theta), on.asarray(network.initial_buffers()), History())
            self.out_activation_ = self._output_name(task.loss)
            self._progress: Progress | None = None
            self.n_iter_ = self.t_ = 0
            return
        model = self.model_
        if model.network != network:
            raise ConfigurationError(
                f"this estimator goes on from {model.network!r}, and its parameters now ask for {network!r}: "
                "set warm_start=False and call fit to start again."
            )
        self.model_ = task.model(on.asarray(model.theta), on.asarray(model.buffers), model.history)

    def _output_name(self, loss: LossFunction) -> str:
        output = self._output_layer()
        if output is None:
            return OUT_ACTIVATIONS[loss.link]
        return output if isinstance(output, str) else type(output).__name__

    def _with_held(
        self,
        task: Task,
        given: tuple[Any, Any],
        targets: np.ndarray,
        weight: np.ndarray | None,
        validation: Validation,
        incremental: bool,
    ) -> Task:
        """The task with its validation set: the user's own, or under early stopping rows that are not trained on."""
        X_val, y_val, weight_val = validation
        if (X_val is None) != (y_val is None) or (X_val is None and weight_val is not None):
            raise DataError(
                "a validation set is X_val and y_val, and sample_weight_val if you like: give both, or none."
            )
        if X_val is not None:
            X, y = check_x_y(self, X_val, y_val, reset=False, numeric=self._numeric)
            weight_val = check_weight(weight_val, X.shape[0])
            batch = _place(task.backend, X, self._encode(y), weight_val)
            return replace(task, held=Held(X_val, y_val, weight_val, batch))
        if not self.early_stopping:
            return task
        rows, held = self._split(targets, incremental)
        X_held, y_held = (take_rows(part, held) for part in given)
        kept = None if weight is None else weight[held]  # without class_weight, which is for training
        batch = _place(task.backend, take_rows(task.data.x, held), targets[held], kept)
        return replace(task, rows=rows, held=Held(X_held, y_held, kept, batch))

    def _split(self, targets: np.ndarray, incremental: bool) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of the rows to train on, and to validate on. Calls of partial_fit on the same rows agree."""
        drawn: Any = self._random_state
        if incremental:
            if not hasattr(self, "_split_seed"):
                self._split_seed = int(self._random_state.randint(2**31 - 1))
            drawn = self._split_seed
        rows, held = train_test_split(
            np.arange(len(targets)),
            random_state=drawn,
            test_size=self.validation_fraction,
            stratify=self._strata(targets),
        )
        if len(held) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        return rows, held

    def _score_held(self, held: Held, run: Run, record: Record) -> float:
        """The score by which early stopping goes, of the weights as they are now."""
        if self.scoring == "loss":
            return -record["val_loss"]
        self.model_ = run.model()
        weight = {} if held.weight is None else {"sample_weight": held.weight}
        with np.errstate(all="ignore"):  # a training on its way to NaN is reported as such, on every backend
            if self.scoring is None:
                return self.score(held.X, held.y, held.weight)
            return float(check_scoring(self, self.scoring)(self, held.X, held.y, **weight))

    # What was learnt.

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    @property
    def coefs_(self) -> list[Array]:
        """Each layer's weights ``(n_in, n_out)``, arrays of the backend; read-only. Assign a list to replace them."""
        return [pieces[0] for pieces in self._dense_pieces()]

    @coefs_.setter
    def coefs_(self, weights: Any) -> None:
        self._replace_pieces(0, weights)

    @property
    def intercepts_(self) -> list[Array]:
        """Each layer's biases ``(n_out,)``, arrays of the backend; zeros in front of a normalisation."""
        on = self._model.backend
        return [
            on.xp.reshape(pieces[1], (-1,)) if len(pieces) > 1 else on.zeros((pieces[0].shape[1],))
            for pieces in self._dense_pieces()
        ]

    @intercepts_.setter
    def intercepts_(self, biases: Any) -> None:
        self._replace_pieces(1, biases)

    @property
    def _model(self) -> Model:
        model: Model | None = vars(self).get("model_")
        if model is None:
            raise AttributeError(f"this {type(self).__name__} is not fitted yet: call fit first.")
        return model

    @property
    def _theta(self) -> Array:
        return self._model.theta

    def _dense_pieces(self) -> list[tuple[Array, ...]]:
        model = self._model
        theta = model.theta
        if isinstance(theta, np.ndarray):
            theta = theta.view()
            theta.flags.writeable = False  # a write would be lost on what was made of theta before
        groups = model.network.layout.split(model.backend, theta)
        return [ps for layer, ps in zip(model.network.layers, groups, strict=True) if isinstance(layer, Dense)]

    def _replace_pieces(self, which: int, given: Any) -> None:
        model = self._model
        theta = np.array(model.backend.to_numpy(model.theta))
        layers = zip(model.network.layers, model.network.layout.groups, strict=True)
        slots = [group[which] for layer, group in layers if isinstance(layer, Dense) and len(group) > which]
        arrays = [to_host(array) for array in given]
        shapes = [slot.shape if which == 0 else slot.shape[1:] for slot in slots]
        if [array.shape for array in arrays] != shapes:
            raise DataError(f"expected arrays of shapes {shapes}, got {[array.shape for array in arrays]}.")
        for slot, array in zip(slots, arrays, strict=True):
            theta[slot.start : slot.stop] = array.reshape(-1)
        self.model_ = replace(model, theta=model.backend.asarray(theta))

    @property
    def _n_features_out(self) -> int:
        widths = [layer.n_in for layer in self._model.network.layers if isinstance(layer, Dense)]
        return widths[-1]

    # Answering.

    def _answers(self, X: Any, finish: Callable[[LossFunction, Backend, Array], Array], method: str) -> Any:
        """What the network says of X, in X's library: ``decide``d, or with its link applied."""
        check_is_fitted(self)
        X = check_x(self, X, reset=False)
        if self.backend is None:
            check_same_namespace(X, self, attribute="_theta", method=method)
        if is_sparse(X):
            return answers_of_sparse(self.model_, X, finish)
        return self.model_.predict(X) if finish is decide else self.model_.predict_proba(X)

    def transform(self, X: Any, layer: int = -1) -> Any:
        """What a hidden layer makes of X: its activations ``(rows, width)``; -1 is the last hidden layer.

        Raises IndexError where there is no such hidden layer.
        """
        check_is_fitted(self)
        X = check_x(self, X, reset=False)
        if self.backend is None:
            check_same_namespace(X, self, attribute="_theta", method="transform")
        model = self.model_
        starts = [i for i, part in enumerate(model.network.layers) if isinstance(part, Dense)][1:]
        if not -len(starts) <= layer < len(starts):
            raise IndexError(f"layer must number one of {len(starts)} hidden layers from 0, or from -1, got {layer}.")
        part = Sequential(*model.network.layers[: starts[layer]])
        theta, buffers = model.theta[: part.size], model.buffers[: part.buffer_layout.size]
        features = Model(part, theta, buffers, SquaredError(), model.backend, flat=False)
        return answers_of_sparse(features, X, apply_link) if is_sparse(X) else features.predict(X)

    def check_gradients(self, X: Any, y: Any, sample_weight: Any = None) -> GradientCheck:
        """The fitted network's gradient on X and y, against central differences, in float64 on NumPy.

        A handful of rows is enough. See ``cr.check_gradients``.
        """
        check_is_fitted(self)
        X, y = check_x_y(self, X, y, reset=False, numeric=self._numeric)
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
        tags.array_api_support = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _place(on: Backend, X: Any, targets: np.ndarray, weight: np.ndarray | None) -> Batch:
    """The examples on the backend; a sparse X stays where it is."""
    x = X if is_sparse(X) else check_inputs(on, X, X.shape[1])
    y = on.asarray(targets, on.xp.int32 if targets.dtype.kind == "i" else None)
    return Batch(x, y, None if weight is None else on.asarray(weight.reshape(-1, 1)))
