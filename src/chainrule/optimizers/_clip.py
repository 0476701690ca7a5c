"""Bounds on the gradient, applied before the optimizer sees it."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from .._backend import Backend
from .._base.errors import require
from .._base.options import check_numbers
from .._base.typing import Array


@runtime_checkable
class Clip(Protocol):
    """A bound on the gradient, applied before the optimizer sees it."""

    @abstractmethod
    def __call__(self, backend: Backend, g: Array) -> Array: ...


def clipped(backend: Backend, clip: Clip, g: Array) -> Array:
    """The gradient within the bound."""
    return clip(backend, g)


@dataclass(frozen=True)
class ClipValue(Clip):
    """g <- clip(g, -bound, bound), each coordinate by itself.

    It bounds a few wild coordinates, and changes the direction of g. ``fit(..., clip=cr.ClipValue(1.0))``.

    Args:
        bound: a finite number > 0, in the units of the gradient g.

    Raises:
        ConfigurationError: a bound that is not finite and > 0.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> cr.ClipValue(1.0)(cr.backend("numpy"), np.asarray([3.0, -4.0, 0.5])).tolist()
        [1.0, -1.0, 0.5]
    """

    bound: float

    def __post_init__(self) -> None:
        check_numbers(self)
        require(0 < self.bound < math.inf, f"bound must be a finite number > 0, got {self.bound}.")

    def __call__(self, backend: Backend, g: Array) -> Array:
        return backend.xp.clip(g, min=-self.bound, max=self.bound)


@dataclass(frozen=True)
class ClipNorm(Clip):
    """g <- g min(1, bound / ||g||), the norm over all parameters of one network (Pascanu et al., 2013).

    The norm is s ||g / s||, s the largest |g|: squares of numbers beyond 1.8e19 are infinite in float32.

    Against exploding gradients: it keeps the direction of g. ``fit(..., clip=cr.ClipNorm(1.0))``.

    Faster bodies take its place on NumPy, Numba: ``chainrule where ClipNorm``.

    Args:
        bound: the largest norm of the gradient g that passes as it is, a finite number > 0.

    Raises:
        ConfigurationError: a bound that is not finite and > 0.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> clip, backend = cr.ClipNorm(1.0), cr.backend("numpy")
        >>> clip(backend, np.asarray([3.0, 4.0])).round(3).tolist(), clip(backend, np.asarray([0.3, 0.4])).tolist()
        ([0.6, 0.8], [0.3, 0.4])
    """

    bound: float

    def __post_init__(self) -> None:
        check_numbers(self)
        require(0 < self.bound < math.inf, f"bound must be a finite number > 0, got {self.bound}.")

    def __call__(self, backend: Backend, g: Array) -> Array:
        return backend.run(clip_norm, self.bound, g)


def clip_norm(backend: Backend, bound: float, g: Array) -> Array:
    """g, or where its norm is above the bound g bound / ||g||.

    Faster bodies take its place on NumPy, Numba: ``chainrule where clip_norm``.
    """
    xp = backend.xp
    top = xp.maximum(xp.max(g, axis=-1, keepdims=True), -xp.min(g, axis=-1, keepdims=True))
    # Never 0; and a compiler may multiply by 1 / s, which must not be so small that it counts as 0.
    s = xp.clip(top, min=bound, max=max(bound, float(xp.finfo(g.dtype).max) / 8.0))
    h = g / s
    norm = xp.sqrt(xp.sum(h * h, axis=-1, keepdims=True))
    long = norm > bound / s  # and norm is > 1 then
    return g / xp.where(long, s, 1.0) * xp.where(long, bound / xp.clip(norm, min=1.0), 1.0)
