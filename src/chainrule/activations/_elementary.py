"""Activations from the school book: lines, waves, the exponential and polynomials."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .._base.errors import require
from .._base.options import as_list, check_numbers, real_number
from .._base.typing import Array, Namespace
from ._contract import Elementwise


@dataclass(frozen=True)
class Linear(Elementwise):
    """g(z) = alpha z + beta; g'(z) = alpha. A stack of linear layers collapses to one.

    For the output of a regression, which it is by itself; between layers it adds nothing.

    Args:
        alpha: the slope, any number; default 1.
        beta: the value at 0, any number; default 0.

    Raises:
        ConfigurationError: alpha or beta is not a number.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> g, z = cr.Linear(2.0, 1.0), np.asarray([-1.0, 0.0, 1.0])
        >>> a = g(z)
        >>> a.round(3).tolist(), g.derivative(np, z, a).round(3).tolist()  # g(z), g'(z)
        ([-1.0, 1.0, 3.0], [2.0, 2.0, 2.0])
    """

    alpha: float = 1.0
    beta: float = 0.0

    def __post_init__(self) -> None:
        check_numbers(self)

    def value(self, xp: Namespace, z: Array) -> Array:
        return z if (self.alpha, self.beta) == (1.0, 0.0) else z * self.alpha + self.beta

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return xp.full_like(z, self.alpha)


@dataclass(frozen=True)
class Exponential(Elementwise):
    """g(z) = g'(z) = exp z: the inverse of the Poisson loss's log link.

    For the output of a network for counts (Nelder & Wedderburn, 1972). It grows too fast for hidden layers.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> g, z = cr.Exponential(), np.asarray([-1.0, 0.0, 1.0])
        >>> a = g(z)
        >>> a.round(3).tolist(), g.derivative(np, z, a).round(3).tolist()  # g(z), g'(z)
        ([0.368, 1.0, 2.718], [0.368, 1.0, 2.718])
    """

    def value(self, xp: Namespace, z: Array) -> Array:
        return xp.exp(z)

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return a


@dataclass(frozen=True)
class Sine(Elementwise):
    """g(z) = sin z; g'(z) = cos z.

    Any activation that is not a polynomial approximates any continuous function (Leshno et al., 1993). This one is for
    signals, pictures and what repeats itself (Sitzmann et al., 2020).

    Example:
        >>> import numpy as np, chainrule as cr
        >>> g, z = cr.Sine(), np.asarray([-1.0, 0.0, 1.0])
        >>> a = g(z)
        >>> a.round(3).tolist(), g.derivative(np, z, a).round(3).tolist()  # g(z), g'(z)
        ([-0.841, 0.0, 0.841], [0.54, 1.0, 0.54])
    """

    def value(self, xp: Namespace, z: Array) -> Array:
        return xp.sin(z)

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return xp.cos(z)


@dataclass(frozen=True)
class Cosine(Elementwise):
    """g(z) = cos z; g'(z) = -sin z.

    A layer of it with random weights is random Fourier features (Rahimi & Recht, 2007).

    Example:
        >>> import numpy as np, chainrule as cr
        >>> g, z = cr.Cosine(), np.asarray([0.5, 1.0, 2.0])
        >>> a = g(z)
        >>> a.round(3).tolist(), g.derivative(np, z, a).round(3).tolist()  # g(z), g'(z)
        ([0.878, 0.54, -0.416], [-0.479, -0.841, -0.909])
    """

    def value(self, xp: Namespace, z: Array) -> Array:
        return xp.cos(z)

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return -xp.sin(z)


@dataclass(frozen=True)
class Polynomial(Elementwise):
    """g(z) = c0 + c1 z + c2 z^2 + ...: the one kind of activation that is no universal approximator (Leshno, 1993).

    To see what it cannot do: a network of it is a polynomial itself, and grows like one outside of the examples.

    Args:
        coefficients: c0, c1, c2, ..., at least one number; default (0, 0, 1), the square.

    Raises:
        ConfigurationError: no coefficients, or one that is not a number.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> g, z = cr.Polynomial((1.0, 0.0, 2.0)), np.asarray([-1.0, 0.0, 3.0])
        >>> a = g(z)
        >>> a.round(3).tolist(), g.derivative(np, z, a).round(3).tolist()  # g(z), g'(z)
        ([3.0, 1.0, 19.0], [-4.0, 0.0, 12.0])
    """

    coefficients: tuple[float, ...] = (0.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        given = as_list(self.coefficients, name="Polynomial: coefficients", example="0.0, 0.0, 1.0")
        require(len(given) > 0, "a polynomial needs at least one coefficient, got none.")
        plain = tuple(real_number("Polynomial: a coefficient", c) for c in given)
        require(all(map(math.isfinite, plain)), f"Polynomial: coefficients must be finite numbers, got {plain}.")
        object.__setattr__(self, "coefficients", plain)

    def value(self, xp: Namespace, z: Array) -> Array:
        return _horner(xp, self.coefficients, z)

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return _horner(xp, tuple(k * c for k, c in enumerate(self.coefficients))[1:] or (0.0,), z)


def _horner(xp: Namespace, coefficients: tuple[float, ...], z: Array) -> Array:
    total = xp.full_like(z, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = total * z + c
    return total
