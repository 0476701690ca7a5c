"""NumPy's faster bodies."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from .. import layers
from .._backend import Backend, Provider
from ..activations import Elementwise, ReLU


def activate(backend: Backend, activation: Elementwise, z: Any) -> Any:
    """``maximum`` for ReLU: the portable ``clip`` takes 20 times as long at 8 x 8, 1.5 times at 128 x 512."""
    if type(activation) is ReLU:
        return np.maximum(z, 0.0)
    return layers.activate(backend, activation, z)


def bias_gradient(backend: Backend, dy: Any) -> Any:
    """The sum over rows as a vector-matrix product, 2.5 times faster than ``sum`` up to 512 columns."""
    return np.matmul(np.ones((1, dy.shape[-2]), dtype=dy.dtype), dy)


PROVIDERS: Mapping[Provider, Provider] = MappingProxyType(
    {layers.activate: activate, layers.bias_gradient: bias_gradient}
)
