"""A first layer whose inputs are a SciPy sparse matrix, on NumPy: the products are SciPy's own.

The input's gradient is never asked for, and all later layers see dense arrays. Such a step is not recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .. import layers
from .._backend import Backend, Provider


def affine(backend: Backend, x: Any, W: Any, b: Any = None) -> Any:
    """X W + b for sparse X: the product is SciPy's."""
    if not hasattr(x, "tocsr"):
        return NotImplemented
    return x @ W if b is None else x @ W + b


def weight_gradient(backend: Backend, x: Any, dy: Any) -> Any:
    """x^T dy for sparse x: the product is SciPy's."""
    return x.T @ dy if hasattr(x, "tocsr") else NotImplemented


PROVIDERS: Mapping[Provider, Provider] = MappingProxyType(
    {layers.affine: affine, layers.weight_gradient: weight_gradient}
)
