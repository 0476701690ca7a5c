"""The estimators' parameters: scikit-learn's and ours, their defaults, and what each may be."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
import sklearn
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
    """The parameters of both estimators, scikit-learn's, then ours; the help() of either has this text.

    Args:
        hidden_layer_sizes: the hidden layers' widths, each >= 1; ``()`` is a linear model. Default (100,).
        activation: of the hidden layers, by name (``"logistic"`` is the sigmoid, ``"identity"`` linear; all of the
            library's names) or object (``cr.Activation(f, df)`` for your own), or a list with one for each. Default
            ``"relu"``.
        solver: ``"adam"`` (the default), ``"sgd"`` (momentum), ``"lbfgs"`` (SciPy's L-BFGS, all examples at once), the
            name of another optimizer (its own defaults at the rate ``learning_rate_init``), or an object, which brings
            its own rate or schedule: ``cr.AdamW(cr.CosineDecay(1e-3))``.
        alpha: the L2 penalty's strength, >= 0; default 1e-4.
        batch_size: examples a step, >= 1; ``"auto"`` (the default) is min(200, rows). The last, shorter batch counts
            like any other.
        learning_rate: ``"constant"`` (the default); for ``"sgd"`` also ``"invscaling"``, eta / (t + 1)^power_t after t
            examples, and ``"adaptive"``, a fifth whenever training would stop; or a schedule like
            ``cr.CosineDecay(1e-3)``, for every solver that is named. Without a length it lasts for ``max_iter`` epochs;
            ``partial_fit`` needs one.
        learning_rate_init: eta, > 0, for solvers that are named; default 0.001.
        power_t: the exponent of ``"invscaling"``, >= 0; default 0.5.
        max_iter: epochs at most (iterations of ``"lbfgs"``), >= 1; default 200.
        shuffle: whether every epoch has a new order; default True.
        random_state: an int, a ``RandomState``, or None (the default), which is different each time: of initial
            weights, orders, the validation split, dropout.
        tol: an epoch improves on the best one if it is this much better, >= 0 (``"lbfgs"``: the gradient's largest
            entry); default 1e-4.
        verbose: True prints each epoch; ``"bar"`` shows a progress bar (needs ``chainrule[cli]``). Default False.
        warm_start: whether ``fit`` goes on from the weights of the fit before, with patience and bests that begin anew;
            default False.
        momentum: mu of ``"sgd"``, 0 to 1; default 0.9.
        nesterovs_momentum: whether it is Nesterov's; default True.
        early_stopping: whether to stop by the score on a validation set, and keep the weights that did best there;
            default False.
        validation_fraction: the share of rows held out for it, in [0, 1), unless ``fit`` is given ``X_val``; default
            0.1.
        beta_1: of ``"adam"``, in [0, 1); default 0.9.
        beta_2: of ``"adam"``, in [0, 1); default 0.999.
        epsilon: of ``"adam"``, > 0, beside the uncorrected root (``cr.Adam(epsilon_hat=True)``); default 1e-8.
        n_iter_no_change: how many epochs in a row without improvement are allowed, >= 1: the patience. Default 10.
        max_fun: evaluations of the cost at most, >= 1, for ``"lbfgs"``; default 15000.
        backend: where training runs: ``"numpy"``, ``"torch"``, ``"torch:cuda"``, ``"cupy:1"``, ``"jax"``, or a backend
            of ``cr.backend``. None (the default) is the library and device of X.
        dtype: ``"float32"`` or ``"float64"``. None (the default) is float32 for X of float32, else float64; or the
            backend's own.
        weight_init: what draws the weights, by name or object (biases then start at 0). None (the default) is
            scikit-learn's.
        dropout: the rate after each hidden layer, in [0, 1), or a list with one for each; default 0.
        normalization: ``"batch"`` or ``"layer"``, of the hidden pre-activations; default None.
        clip: ``cr.ClipNorm(1.0)`` or ``cr.ClipValue(0.5)``, of the gradient; default None.
        scoring: what early stopping goes by: None (the default) is ``score``; ``"loss"``; any of scikit-learn's
            scorers, by name or as a function of (estimator, X, y).
        callbacks: a list of the library's, such as ``cr.CSVLogger(path)``; default none. scikit-learn's are given to
            ``set_callbacks``.
    """

    # scikit-learn's; by position those that are so there, where the regressor's first is the loss
    loss: Any = field(default=None, kw_only=False)
    hidden_layer_sizes: Any = field(default=(100,), kw_only=False)
    activation: Any = field(default="relu", kw_only=False)
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
            sklearn.metrics.get_scorer(self.scoring)
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
