"""Layers that are random while training, and their own mean when predicting."""

from __future__ import annotations

from dataclasses import dataclass

from .._backend import Backend
from .._base.errors import require
from .._base.options import check_numbers
from .._base.typing import Array
from .._layout import Pieces
from .._random import Key, drop_threshold, keep_mask, uniform
from ..activations import LeakyReLU
from ._contract import Layer


@dataclass(frozen=True)
class Dropout(Layer):
    """y = x * mask / (1 - rate), each mask element 0 with probability ``rate``; prediction: y = x.

    Against overfitting: no unit can rely on another one being there. ``mlp(..., dropout=0.5)`` puts it behind each
    hidden activation.

    Inverted dropout (Srivastava et al., 2014). The rate is rounded to a multiple of 1/65536, and 1/(1 - rate) is taken
    of the rounded rate, so that the mean is kept exactly. Masks are equal on every backend, bit for bit.

    Faster bodies take its place on CuPy: ``chainrule where Dropout``.

    Args:
        rate: the share that is dropped, in [0, 1); default 0.5. 0.1 to 0.5 is usual.

    Raises:
        ConfigurationError: a rate outside of [0, 1), or so near to 1 that it would drop everything.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> ones = cr.Dense(1, 1000, weight_init=cr.Constant(1.0))
        >>> a = cr.trace(cr.Sequential(ones, cr.Dropout(0.2)), np.ones((100, 1)))["a1"]  # a training pass
        >>> float((a > 0).mean().round(2)), round(float(a.max()), 2), round(float(a.mean()), 2)  # kept, 1/0.8, the mean
        (0.8, 1.25, 1.0)
    """

    rate: float = 0.5

    def __post_init__(self) -> None:
        check_numbers(self)
        require(0 <= self.rate < 1, f"Dropout: rate must be in [0, 1), got {self.rate}.")
        require(drop_threshold(self.rate) < 65536, f"Dropout: rate {self.rate} would drop everything.")

    def __str__(self) -> str:
        return f"Dropout({self.rate:g})"

    def forward(
        self, backend: Backend, params: Pieces, buffers: Pieces, x: Array, key: Key
    ) -> tuple[Array, Array, Pieces]:
        mask = backend.run(dropout_mask, key, x.shape[-2], x.shape[-1], self.rate)
        return x * mask, mask, buffers

    def apply(self, backend: Backend, params: Pieces, buffers: Pieces, x: Array) -> Array:
        return x

    def pullback(self, backend: Backend, params: Pieces, residual: Array, dy: Array, grads: Pieces) -> Array:
        return dy * residual


def dropout_mask(backend: Backend, key: Key, rows: int, columns: int, rate: float) -> Array:
    """0 where an element is dropped, 1 / (1 - rate) where it stays.

    Faster bodies take its place on CuPy: ``chainrule where dropout_mask``.
    """
    scale = 65536 / (65536 - drop_threshold(rate))
    mask = backend.xp.astype(keep_mask(backend, key, rows, columns, rate), backend.dtype)
    return mask * scale


@dataclass(frozen=True)
class RandomizedLeakyReLU(Layer):
    """a = z if z > 0 else alpha z, alpha ~ U[low, high) for each element; prediction: alpha = (low + high) / 2.

    Xu, Wang, Chen & Li (2015), with alpha as the slope itself; their bounds are 1/8 and 1/3.

    Take it where a leaky ReLU overfits: the noise in its slopes works against that.

    Faster bodies take its place on CuPy: ``chainrule where RandomizedLeakyReLU``.

    Args:
        low, high: the bounds of the slope below 0, any numbers, low <= high; defaults 1/8 and 1/3.

    Raises:
        ConfigurationError: low above high.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> negative = cr.Dense(1, 1000, bias=False, weight_init=cr.Constant(-1.0))
        >>> a = cr.trace(cr.Sequential(negative, cr.RandomizedLeakyReLU(0.1, 0.3)), [[1.0]])["a1"]  # a training pass
        >>> float(a.min()) >= -0.3, float(a.max()) <= -0.1, round(float(a.mean()), 1)
        (True, True, -0.2)
    """

    low: float = 1 / 8
    high: float = 1 / 3

    def __post_init__(self) -> None:
        check_numbers(self)
        require(self.low <= self.high, f"RandomizedLeakyReLU: low must be <= high, got {self.low} and {self.high}.")

    def forward(
        self, backend: Backend, params: Pieces, buffers: Pieces, x: Array, key: Key
    ) -> tuple[Array, Array, Pieces]:
        xp = backend.xp
        alpha = backend.run(uniform, key, x.shape[-2], x.shape[-1]) * (self.high - self.low) + self.low
        slope = xp.where(x > 0.0, xp.ones_like(alpha), alpha)
        return x * slope, slope, buffers

    def apply(self, backend: Backend, params: Pieces, buffers: Pieces, x: Array) -> Array:
        return LeakyReLU((self.low + self.high) / 2).value(backend.xp, x)

    def pullback(self, backend: Backend, params: Pieces, residual: Array, dy: Array, grads: Pieces) -> Array:
        return dy * residual
