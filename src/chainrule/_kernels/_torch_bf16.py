"""Products of bf16 operands on torch on a CPU: its own, of which the result comes back rounded to bf16 too.

x, W and dy of a layer are rounded, to the nearest, ties to even, once in a pass forward and back. Sums are taken in
float32. Their second rounding is torch's: none of its functions multiplies bf16 into float32 on a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .. import layers
from .._backend import Backend, Provider
from ._rounded import rounded_once


def affine(backend: Backend, x: Any, W: Any, b: Any = None) -> Any:
    """The product in bf16, the sum with the bias in float32."""
    y = (_rounded(backend, x) @ _rounded(backend, W)).to(backend.dtype)
    return y if b is None else y + b


def weight_gradient(backend: Backend, x: Any, dy: Any) -> Any:
    """The product in bf16."""
    return (_rounded(backend, x).mT @ _rounded(backend, dy)).to(backend.dtype)


def input_gradient(backend: Backend, dy: Any, W: Any) -> Any:
    """The product in bf16."""
    return (_rounded(backend, dy) @ _rounded(backend, W).mT).to(backend.dtype)


def _rounded(backend: Backend, x: Any) -> Any:
    import torch

    return rounded_once(backend, x, lambda: x.to(torch.bfloat16))


PRODUCTS: Mapping[Provider, Provider] = MappingProxyType(
    {layers.affine: affine, layers.weight_gradient: weight_gradient, layers.input_gradient: input_gradient}
)
