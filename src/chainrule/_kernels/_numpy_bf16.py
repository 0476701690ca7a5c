"""Products of bf16 operands on NumPy: Intel's MKL's, on processors that multiply tiles of them (AMX).

x, W and dy of a layer are rounded, to the nearest, ties to even, once in a pass forward and back; where the step is one
compiled call, while they lie in a core's cache. Sums, biases and results are float32. NumPy has no bf16, which is the
upper half of a float32: it lies in 16-bit words.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from .. import layers
from .._backend import Backend, Provider
from .._backend._mkl import mkl
from .._backend._record import Work, kernel
from ._numba import bias_gradient, with_bias
from ._rounded import rounded_once

_NOT_A_NUMBER = 0x7FC0


def affine(backend: Backend, x: Any, W: Any, b: Any = None) -> Any:
    """The product by MKL, the sum with the bias in float32."""
    y = _product(_rounded(backend, x), _rounded(backend, W))
    if b is None:
        return y
    return with_bias(backend, y, b) if backend.providers.get(layers.bias_gradient) is bias_gradient else y + b


def weight_gradient(backend: Backend, x: Any, dy: Any) -> Any:
    """The product by MKL."""
    return _product(_rounded(backend, x).mT, _rounded(backend, dy))


def input_gradient(backend: Backend, dy: Any, W: Any) -> Any:
    """The product by MKL."""
    return _product(_rounded(backend, dy), _rounded(backend, W).mT)


def _rounded(backend: Backend, x: Any) -> Any:
    return rounded_once(backend, x, lambda: _to_bf16(x))


def _round(x: np.ndarray, out: np.ndarray) -> None:
    words = np.ascontiguousarray(x, np.float32).view(np.uint32)
    np.copyto(out, (words + 0x7FFF + (words >> 16 & 1)) >> 16, casting="unsafe")
    out[np.isnan(x)] = _NOT_A_NUMBER


def _multiply(x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    lead, library = out.shape[:-2], mkl()
    xs, ys = (np.broadcast_to(a, (*lead, *a.shape[-2:])) for a in (x, y))
    for member in np.ndindex(lead):
        library.multiply(xs[member], ys[member], out[member])


def _form(x: Any, y: Any) -> list[tuple[tuple[int, ...], Any]]:
    lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    return [((*lead, x.shape[-2], y.shape[-1]), np.float32)]


_to_bf16 = kernel(_round, lambda x: [(x.shape, np.uint16)], work=Work("elements", "bf16"))
_product = kernel(_multiply, _form, work=Work("product"))

PRODUCTS: Mapping[Provider, Provider] = MappingProxyType(
    {layers.affine: affine, layers.weight_gradient: weight_gradient, layers.input_gradient: input_gradient}
)
