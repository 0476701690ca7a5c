"""A pipeline that only shifts and scales columns around its network, as one model: one file, without pickle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import sklearn  # whose modules import each other: compose, metrics and model_selection are imported when asked for
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from .._backend import to_host
from .._base.arguments import names_arguments
from .._base.errors import ConfigurationError, require
from .._layout import join
from ..layers import Dense
from ..model import Model
from ..network import Sequential
from ._base import Perceptron

_WHOLE = "to keep the whole pipeline in a file use skops or joblib"
_LARGEST_SHIFT = 1e9  # of a scaled column: folded in, seven digits of its numbers are left

# Each scaler as (factor, offset) of x' = factor x + offset; an attribute is not there where it is switched off.
_SCALERS: Mapping[type, Callable[[Any], tuple[Any, Any]]] = MappingProxyType(
    {
        StandardScaler: lambda s: _centred(s.mean_ if s.with_mean else None, s.scale_ if s.with_std else None),
        RobustScaler: lambda s: _centred(s.center_ if s.with_centering else None, s.scale_ if s.with_scaling else None),
        MaxAbsScaler: lambda s: _centred(None, s.scale_),
        MinMaxScaler: lambda s: (_host(s.scale_), _host(s.min_)),
    }
)


@names_arguments
def from_pipeline(pipeline: Any) -> Model:
    """The model that predicts for a fitted pipeline as a whole: its scalers are folded into the network's first layer.

    ``pipeline[-1].model_`` is the network alone, which has never seen a number that is not scaled. What this gives
    takes the pipeline's own X, knows the names of its columns, and is saved as one file.

    Args:
        pipeline: scikit-learn's ``Pipeline`` of ``StandardScaler``, ``MinMaxScaler``, ``RobustScaler`` and
            ``MaxAbsScaler``, as many as there are, and an ``MLPClassifier`` or ``MLPRegressor`` of ours. A
            ``TransformedTargetRegressor`` with one of them, in it or around it, is folded into the last layer.

    Returns:
        A model on NumPy, which ``to`` moves. It is in float64 whatever was trained in: numbers that are not scaled
        need the digits. x' = s x + c goes into the layer as W' = diag(s) W and b' = b + c W.

    Raises:
        ConfigurationError: another step, or one that is not fitted; the message names it.

    Example:
        >>> import chainrule as cr
        >>> from sklearn.pipeline import make_pipeline
        >>> from sklearn.preprocessing import StandardScaler
        >>> X, y = [[1000.0], [1010], [1020], [1030]], ["low", "low", "high", "high"]
        >>> pipeline = make_pipeline(StandardScaler(), cr.MLPClassifier(solver="lbfgs", random_state=0)).fit(X, y)
        >>> cr.from_pipeline(pipeline).predict(X).tolist()
        ['low', 'low', 'high', 'high']
    """
    if not isinstance(pipeline, Pipeline | sklearn.compose.TransformedTargetRegressor):
        best = ", such as search.best_estimator_" if hasattr(pipeline, "best_estimator_") else ""
        raise ConfigurationError(f"expected a Pipeline of scikit-learn{best}, got {type(pipeline).__name__}: {_WHOLE}.")
    return _model_of("", pipeline)


def _model_of(name: str, estimator: BaseEstimator | None) -> Model:
    """The model of a pipeline, of what scales its targets, or of a network."""
    if isinstance(estimator, Pipeline):
        *scalers, (last, network) = list(_steps(estimator)) or [("", None)]
        model = _model_of(last, network)
        names = tuple(getattr(scalers[0][1], "feature_names_in_", ()) if scalers else model.feature_names)
        return replace(_with_inputs(model, [_affine(*step) for step in scalers], names), feature_names=names)
    if not isinstance(estimator, sklearn.compose.TransformedTargetRegressor | Perceptron):
        raise ConfigurationError(
            "the last step must be chainrule's MLPClassifier or MLPRegressor, got "
            f"{name!r} ({type(estimator).__name__}): {_WHOLE}."
        )
    _check_fitted(name, estimator)
    if isinstance(estimator, Perceptron):
        return estimator.model_.to("numpy", dtype="float64")
    model = _model_of(f"{name}.regressor", estimator.regressor_)
    affine = _affine(f"{name}.transformer", estimator.transformer_)
    return replace(_with_targets(model, *affine), flat=estimator._training_dim == 1)


def _steps(pipeline: Pipeline) -> Iterator[tuple[str, Any]]:
    """The steps by name, those of pipelines inside too, without those that do nothing."""
    for name, step in pipeline.steps:
        if isinstance(step, Pipeline):
            yield from ((f"{name}.{inner}", part) for inner, part in _steps(step))
        elif step is not None and step != "passthrough":
            yield name, step


def _affine(name: str, step: Any) -> tuple[Any, Any]:
    find = _SCALERS.get(type(step))
    if find is None:
        raise ConfigurationError(
            f"step {name!r} ({type(step).__name__}) does more than shift and scale each column, or is not known here: "
            f"expected {', '.join(kind.__name__ for kind in _SCALERS)}; {_WHOLE}."
        )
    _check_fitted(name, step)
    require(
        not getattr(step, "clip", False),
        f"step {name!r} ({type(step).__name__}) has clip=True, which no layer does: fit it with clip=False, or "
        f"{_WHOLE}.",
    )
    return find(step)


def _check_fitted(name: str, step: Any) -> None:
    require(
        hasattr(step, "n_features_in_"),
        f"step {name!r} ({type(step).__name__}) is not fitted: call fit on the pipeline first.",
    )


def _centred(centre: Any, scale: Any) -> tuple[Any, Any]:
    factor = 1.0 if scale is None else 1.0 / _host(scale)
    return factor, 0.0 if centre is None else -_host(centre) * factor


def _host(x: Any) -> np.ndarray:
    return np.asarray(to_host(x), dtype=np.float64)


def _check_digits(factor: np.ndarray, offset: np.ndarray, names: Sequence[str]) -> None:
    """A shift by far more than a column's spread takes its digits away, unless it is done before the product."""
    worst = int(np.argmax(np.abs(offset)))
    column = names[worst] if names else worst
    require(
        bool(np.abs(offset[worst]) <= _LARGEST_SHIFT),
        f"column {column!r} is shifted by {abs(offset[worst]):.3g} times its spread, {1 / factor[worst]:.3g}, so that "
        "too few digits of it would be left: subtract what is common to all its rows before the pipeline is fitted.",
    )


def _with_inputs(model: Model, scalers: Sequence[tuple[Any, Any]], names: Sequence[str]) -> Model:
    """The model of what the scalers are given, in place of that of what they give."""
    factor: np.ndarray = np.ones(model.network.n_in)
    offset: np.ndarray = np.zeros(model.network.n_in)
    for by, plus in scalers:
        factor, offset = factor * by, offset * by + plus
    _check_digits(factor, offset, names)
    first, *rest = model.network.layers
    assert isinstance(first, Dense), "an estimator's network begins with Dense"
    (W, *bias), *above = model.network.layout.split(model.backend, model.theta)
    folded = factor[:, None] * W, sum(bias, offset[None, :] @ W)
    theta = join(model.backend, [folded, *above])
    return replace(model, network=Sequential(replace(first, bias=True), *rest), theta=theta)


def _with_targets(model: Model, factor: Any, offset: Any) -> Model:
    """The model that predicts y in place of ``factor y + offset``."""
    require(
        model.loss.link == "linear" and isinstance(model.network.layers[-1], Dense),
        f"targets that are scaled can be folded into an output that is linear, and this one is not: {_WHOLE}.",
    )
    *below, (W, b) = model.network.layout.split(model.backend, model.theta)
    return replace(model, theta=join(model.backend, [*below, (W / factor, (b - offset) / factor)]))
