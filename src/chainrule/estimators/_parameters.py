"""The estimators' parameters: scikit-learn's and ours, their defaults, and what each may be."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
from sklearn.metrics import get_scorer
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions

from .._backend import Backend
from .._base.errors import ConfigurationError
from .._base.options import check_instance
from ..activations import ACTIVATIONS
from ..optimizers import OPTIMIZERS, Clip
from ..schedules import Schedule
from ..training import ProgressBar, check_callbacks
from ._inputs import Examples, check_both
from ._records import Settings

# scikit-learn's names for two of the library's activations
SYNONYMS = {"logistic": "sigmoid", "identity": "linear"}
ACTIVATION_NAMES = frozenset({*SYNONYMS, *ACTIVATIONS, "softmax", "randomized_leaky_relu"} - {"step"})
SOLVER_NAMES = frozenset({"lbfgs", *OPTIMIZERS})

_NOT_NEGATIVE, _FRACTION = Interval(Real, 0, None, closed="left"), Interval(Real, 0, 1, closed="left")
_COUNT = Interval(Integral, 1, None, closed="left")
_ACTIVATION = [StrOptions(set(ACTIVATION_NAMES)), HasMethods(["value", "derivative"]), HasMethods(["forward", "apply"])]


@dataclass(eq=False, repr=False, kw_only=True)
class Parameters:
    """The parameters of both estimators, which ``MLPClassifier`` documents; scikit-learn's, then ours."""

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
    backend: str | Backend | None = None
    dtype: str | None = None
    weight_init: Any = None
    dropout: Any = 0.0
    normalization: Literal["batch", "layer"] | None = None
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
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [_FRACTION],
        "beta_1": [_FRACTION],
        "beta_2": [_FRACTION],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [_COUNT, Options(Real, {np.inf})],
        "max_fun": [_COUNT],
        "backend": [str, Backend, None],
        "dtype": [StrOptions({"float32", "float64"}), None],
        "weight_init": [str, HasMethods("draw"), None],
        "dropout": [_FRACTION, "array-like"],
        "normalization": [StrOptions({"batch", "layer"}), None],
        "clip": [Clip, None],
        "scoring": [str, callable, None],
        "callbacks": ["array-like", None],
    }

    def _settings(self, validation: Examples, *, incremental: bool) -> Settings:
        """The parameters as a solver takes them. Raises for what the constraints above let through."""
        if isinstance(self.scoring, str) and self.scoring != "loss":
            get_scorer(self.scoring)
        if self.clip is not None:
            check_instance(self.clip, Clip, expected="a clip", write="clip=cr.ClipNorm(1.0)")
        callbacks = check_callbacks(self.callbacks or ())
        check_both(validation)
        has_epochs, bar = self.solver != "lbfgs", self.verbose == "bar"
        if not has_epochs:
            self._check_lbfgs(validation.X)
        return Settings(
            incremental=incremental,
            has_epochs=has_epochs,
            max_iter=self.max_iter,
            max_fun=self.max_fun,
            tol=self.tol,
            prints=bool(self.verbose) and not bar,
            batch_size=None if self.batch_size == "auto" else self.batch_size,
            shuffle=self.shuffle,
            rate=self.learning_rate_init,
            rate_rule=str(self.learning_rate) if self.solver == "sgd" else "constant",
            power_t=self.power_t,
            n_iter_no_change=self.n_iter_no_change,
            early_stopping=self.early_stopping and has_epochs,
            validation_fraction=self.validation_fraction,
            scoring=self.scoring,
            callbacks=(*callbacks, *([ProgressBar()] if bar else [])),
        )

    def _check_lbfgs(self, X_val: Any) -> None:
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
            "X_val": X_val is not None,
        }
        for name, given in refused.items():
            if given:
                raise ConfigurationError(
                    f"solver='lbfgs' takes all examples at once, without batches, epochs or random steps, so it cannot "
                    f"use {name}: leave it out, or take a stochastic solver such as 'adam'."
                )
