"""``coefs_`` and ``intercepts_``: the layers' weights and biases as scikit-learn shows them, read from a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .._backend import to_host
from .._base.errors import DataError
from .._base.typing import Array
from ..model import Model
from ..network import Sequential


def matrices(network: Sequential) -> list[int]:
    """The layers that scikit-learn knows, y = x W + b: from 0, with W ``(n_in, n_out)`` and b, or W alone."""
    described = [[(p.name, len(p.shape)) for p in layer.parameters()] for layer in network.layers]
    return [i for i, found in enumerate(described) if found in ([("W", 2), ("b", 2)], [("W", 2)])]


def weights_of(model: Model) -> tuple[Array, ...]:
    """Each Dense layer's W ``(n_in, n_out)``; read-only, or a copy, as the model's theta."""
    return tuple(pieces[0] for pieces in _dense(model))


def biases_of(model: Model) -> tuple[Array, ...]:
    """Each Dense layer's b ``(n_out,)``; zeros for a layer in front of a normalisation, which has none."""
    backend = model.backend
    with backend.active():
        return tuple(
            backend.xp.reshape(pieces[1], (-1,)) if len(pieces) > 1 else backend.zeros((pieces[0].shape[1],))
            for pieces in _dense(model)
        )


def with_weights(model: Model, given: Any) -> Model:
    """The model with these weights in place of its own."""
    return _with(model, 0, _checked(given, weights_of(model)))


def with_biases(model: Model, given: Any) -> Model:
    """The model with these biases in place of its own. Raises DataError for some other than 0 where there are none."""
    arrays = _checked(given, biases_of(model))
    for pieces, array in zip(_dense(model), arrays, strict=True):
        if len(pieces) == 1 and array.any():
            raise DataError("a layer in front of a normalisation has no biases: expected zeros for it.")
    return _with(model, 1, arrays)


def _dense(model: Model) -> list[tuple[Array, ...]]:
    with model.backend.active():
        groups = model.network.layout.split(model.backend, model.theta)
    return [groups[i] for i in matrices(model.network)]


def _checked(given: Any, like: Sequence[Array]) -> list[np.ndarray]:
    arrays, shapes = [to_host(array) for array in given], [tuple(array.shape) for array in like]
    if [array.shape for array in arrays] != shapes:
        raise DataError(f"expected arrays of shapes {shapes}, got {[array.shape for array in arrays]}.")
    return arrays


def _with(model: Model, which: int, arrays: Sequence[np.ndarray]) -> Model:
    theta = np.array(model.backend.to_numpy(model.theta))
    groups = [model.network.layout.groups[i] for i in matrices(model.network)]
    for group, array in zip(groups, arrays, strict=True):
        if len(group) > which:
            theta[group[which].start : group[which].stop] = array.reshape(-1)
    return replace(model, theta=model.backend.asarray(theta))
