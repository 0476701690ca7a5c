"""Metrics: what a person reads. Each takes predictions after the link (probabilities, numbers) and the targets.

On the backend, weighted, without a host read: ``metric(backend, prediction, y, weight) -> (1,)``, with the shapes of
``losses``. ``confusion_matrix`` counts on the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from ._backend import Backend, to_host
from ._base.arguments import names_arguments
from ._base.errors import ConfigurationError, DataError, unknown_name
from ._base.options import as_list, whole_number
from ._base.typing import Array
from .links import find_link
from .losses import LossFunction

Metric: TypeAlias = Callable[[Backend, Array, Array, Array | None], Array]
# A metric of the user's own: (y, predictions) as NumPy arrays -> a number.
HostMetric: TypeAlias = Callable[[np.ndarray, np.ndarray], float]


def accuracy(backend: Backend, prediction: Array, y: Array, weight: Array | None) -> Array:
    """The share of right predictions: the largest output's class, or for each output which side of 1/2 it is on."""
    xp = backend.xp
    if xp.isdtype(y.dtype, "integral"):
        right = xp.astype(xp.argmax(prediction, axis=-1, keepdims=True), y.dtype) == y
    else:
        right = (prediction > 0.5) == (y > 0.5)
    unknown = xp.sum(prediction - prediction, axis=-1, keepdims=True)  # NaN where there is no class, else 0
    return _mean(backend, xp.astype(right, backend.dtype) + unknown, weight)


def mean_squared_error(backend: Backend, prediction: Array, y: Array, weight: Array | None) -> Array:
    """Mean (prediction - y)^2, over rows and outputs."""
    return _mean(backend, (prediction - y) ** 2, weight)


def root_mean_squared_error(backend: Backend, prediction: Array, y: Array, weight: Array | None) -> Array:
    """sqrt(mean (prediction - y)^2), in the units of y."""
    return backend.xp.sqrt(mean_squared_error(backend, prediction, y, weight))


def mean_absolute_error(backend: Backend, prediction: Array, y: Array, weight: Array | None) -> Array:
    """Mean |prediction - y|, in the units of y."""
    return _mean(backend, backend.xp.abs(prediction - y), weight)


def r2(backend: Backend, prediction: Array, y: Array, weight: Array | None) -> Array:
    """1 - sum (prediction - y)^2 / sum (y - mean y)^2, over all outputs: 1 is perfect, 0 is the mean.

    A constant y has 1 where it is met exactly and 0 where not, as in scikit-learn; of one row it is NaN. None of these
    tells one network from another.
    """
    xp = backend.xp
    if y.shape[0] < 2:
        return xp.full((1,), math.nan, dtype=backend.dtype, device=backend.device)
    w = xp.ones_like(y[:, :1]) if weight is None else weight
    centre = xp.sum(w * y, axis=0, keepdims=True) / xp.sum(w)
    residual, total = xp.sum(w * (prediction - y) ** 2), xp.sum(w * (y - centre) ** 2)
    # Not total == 0: the mean of equal numbers is rounded.
    highest, lowest = (xp.max(xp.where(w > 0.0, sign * y, -math.inf), axis=0) for sign in (1.0, -1.0))
    constant, one = xp.all(highest == -lowest), xp.ones_like(residual)
    missed = xp.where(residual > 0.0, one, residual)  # a NaN stays one
    return xp.reshape(1.0 - xp.where(constant, missed, residual / xp.where(constant, one, total)), (1,))


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "accuracy": accuracy,
        "mse": mean_squared_error,
        "rmse": root_mean_squared_error,
        "mae": mean_absolute_error,
        "r2": r2,
    }
)
POWERS: Mapping[str, int] = MappingProxyType({"mse": 2, "rmse": 1, "mae": 1})  # of the target's unit
HIGHER_IS_BETTER = frozenset({"accuracy", "r2"})


def usual_metrics(loss: LossFunction) -> tuple[str, ...]:
    """What is reported when nothing is asked for: accuracy for classes, r2 for numbers."""
    return ("accuracy",) if find_link(loss).predicts_classes else ("r2",)


def find_metrics(metrics: Sequence[str | HostMetric] | None, loss: LossFunction) -> dict[str, HostMetric | None]:
    """Metrics by the name they are reported under; None for those of ``METRICS``, which run on the backend."""
    found: dict[str, HostMetric | None] = {}
    asked = usual_metrics(loss) if metrics is None else metrics
    for metric in as_list(asked, name="metrics", example=repr(metrics)):
        if isinstance(metric, str):
            if metric not in METRICS:
                raise unknown_name("metric", metric, METRICS)
            if metric != "accuracy" and find_link(loss).one_class:
                raise ConfigurationError(
                    f"{metric!r} compares numbers, and this network predicts classes: use accuracy."
                )
            if metric == "accuracy" and not find_link(loss).predicts_classes:
                raise ConfigurationError("'accuracy' compares classes, and this network predicts numbers: use r2.")
            found[metric] = None
        elif callable(metric):
            name = _host_name(metric)
            if name in found:
                raise ConfigurationError(f"two metrics are named {name!r}: give their functions names of their own.")
            found[name] = metric
        else:
            raise ConfigurationError(f"a metric is a name or a function of (y, predictions), got {metric!r}.")
    return found


@names_arguments
def confusion_matrix(y: Any, predicted: Any, classes: int) -> np.ndarray:
    """Counts ``(classes, classes)``: row the true class, column the predicted one, so what is right is on the diagonal.

    Args:
        y: the true classes as indices from 0, ``(B,)``: an array of any library, on any device, or a list.
        predicted: the model's, alike: what ``predict`` gave.
        classes: how many there are, >= 1; one that never occurs has a row and a column of zeros.

    Returns:
        An int64 array of NumPy's. A row divided by its sum gives recall on the diagonal, a column precision.

    Raises:
        DataError: an index that is no whole number from 0 to classes - 1, or not as many true as predicted ones.
        ConfigurationError: classes is no whole number >= 1.

    Example:
        >>> import chainrule as cr
        >>> counts = cr.confusion_matrix([0, 0, 1, 2, 2], [0, 1, 1, 2, 2], classes=3)
        >>> counts.tolist()  # one of class 0 was taken for class 1
        [[1, 1, 0], [0, 1, 0], [0, 0, 2]]
        >>> int(counts.trace()) / int(counts.sum())  # accuracy
        0.8
    """
    classes, pair = whole_number("classes", classes, least=1), (to_host(y), to_host(predicted))
    if pair[0].shape != pair[1].shape or pair[0].ndim != 1:
        raise DataError(f"expected as many true classes as predicted ones, got {pair[0].shape} and {pair[1].shape}.")
    for indices in pair:
        if len(indices) and (indices.dtype.kind not in "iub" or indices.min() < 0 or indices.max() >= classes):
            raise DataError(f"class indices must be whole numbers from 0 to {classes - 1}, got {indices!r:.60}.")
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, tuple(indices.astype(np.int64) for indices in pair), 1)
    return matrix


def _host_name(metric: HostMetric) -> str:
    name = getattr(metric, "__name__", type(metric).__name__)
    if name in METRICS or name == "loss":
        raise ConfigurationError(f"your metric {name!r} has the name of one of chainrule's: rename the function.")
    return str(name).strip("<>")  # of a lambda


def _mean(backend: Backend, terms: Array, weight: Array | None) -> Array:
    xp = backend.xp
    rows = xp.mean(terms, axis=-1, keepdims=True)
    if weight is None:
        return xp.reshape(xp.mean(rows), (1,))
    return xp.reshape(xp.sum(rows * weight) / xp.sum(weight), (1,))
