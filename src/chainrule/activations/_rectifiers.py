"""Activations that pass what is positive, and bound, shrink or drop what is not."""

from __future__ import annotations

from dataclasses import dataclass

from .._base.options import check_numbers
from .._base.typing import Array, Namespace
from ._contract import Elementwise
from ._saturating import Sigmoid


@dataclass(frozen=True)
class ReLU(Elementwise):
    """g(z) = max(0, z); g'(z) = 1 if z > 0 else 0. The derivative at z = 0, which does not exist, is taken as 0.

    The usual choice in hidden layers (Nair & Hinton, 2010): cheap, and it does not saturate above 0. A unit whose z is
    negative for every example has no gradient and stays so: ``diagnose`` counts these.

    Faster bodies take its place on NumPy, Numba, CuPy, torch: ``chainrule where ReLU``.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> g, z = cr.ReLU(), np.asarray([-2.0, 0.0, 2.0])
        >>> a = g(z)
        >>> a.round(3).tolist(), g.derivative(np, z, a).round(3).tolist()  # g(z), g'(z)
        ([0.0, 0.0, 2.0], [0.0, 0.0, 1.0])
    """

    def value(self, xp: Namespace, z: Array) -> Array:
        return xp.clip(z, min=0.0)

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return xp.astype(z > 0.0, z.dtype)


@dataclass(frozen=True)
class LeakyReLU(Elementwise):
    """g(z) = z if z > 0 else alpha z; g'(z) = 1 if z > 0 else alpha (Maas, Hannun & Ng, 2013).

    Where ReLU's units die: here a gradient passes below 0 too. The slope at 0 is taken as alpha.

    Faster bodies take its place on CuPy: ``chainrule where LeakyReLU``.

    Args:
        alpha: the slope below 0, any number; default 0.01.

    Raises:
        ConfigurationError: alpha is not a number.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> g, z = cr.LeakyReLU(0.1), np.asarray([-2.0, 0.0, 2.0])
        >>> a = g(z)
        >>> a.round(3).tolist(), g.derivative(np, z, a).round(3).tolist()  # g(z), g'(z)
        ([-0.2, 0.0, 2.0], [0.1, 0.1, 1.0])
    """

    alpha: float = 0.01

    def __post_init__(self) -> None:
        check_numbers(self)

    def value(self, xp: Namespace, z: Array) -> Array:
        return xp.where(z > 0.0, z, self.alpha * z)

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return _one_or(xp, z > 0.0, xp.full_like(z, self.alpha))


@dataclass(frozen=True)
class ELU(Elementwise):
    """g(z) = z if z > 0 else alpha (exp z - 1); g'(z) = 1 if z > 0 else a + alpha (Clevert et al., 2016).

    ReLU that goes below 0, so that its mean is nearer to 0; with alpha = 1 the slope has no jump at 0.

    Faster bodies take its place on CuPy: ``chainrule where ELU``.

    Args:
        alpha: how far below 0 it goes, a number, > 0 in the paper; default 1.

    Raises:
        ConfigurationError: alpha is not a number.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> g, z = cr.ELU(), np.asarray([-2.0, 0.0, 2.0])
        >>> a = g(z)
        >>> a.round(3).tolist(), g.derivative(np, z, a).round(3).tolist()  # g(z), g'(z)
        ([-0.865, 0.0, 2.0], [0.135, 1.0, 1.0])
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_numbers(self)

    def value(self, xp: Namespace, z: Array) -> Array:
        return xp.where(z > 0.0, z, self.alpha * xp.expm1(xp.clip(z, max=0.0)))

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return _one_or(xp, z > 0.0, a + self.alpha)


_SELU_SCALE = 1.0507009873554804934193349852946

_SELU_ALPHA = 1.6732632423543772848170429916717


@dataclass(frozen=True)
class SELU(Elementwise):
    """g(z) = s ELU(z; alpha), s = 1.0507, alpha = 1.6733: keeps mean 0 and variance 1 (Klambauer et al., 2017).

    For deep networks without normalisation, with LeCun's weights and standardised inputs; ``mlp`` takes these weights.

    Faster bodies take its place on CuPy: ``chainrule where SELU``.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> g, z = cr.SELU(), np.asarray([-2.0, 0.0, 2.0])
        >>> a = g(z)
        >>> a.round(3).tolist(), g.derivative(np, z, a).round(3).tolist()  # g(z), g'(z)
        ([-1.52, 0.0, 2.101], [0.238, 1.758, 1.051])
        >>> z = np.random.default_rng(0).normal(size=100_000)  # of mean 0 and variance 1, and so is g(z)
        >>> a = g(z)
        >>> float(abs(a.mean()).round(1)), float(a.var().round(1))
        (0.0, 1.0)
    """

    def value(self, xp: Namespace, z: Array) -> Array:
        return _SELU_SCALE * ELU(_SELU_ALPHA).value(xp, z)

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return xp.where(z > 0.0, xp.full_like(z, _SELU_SCALE), a + _SELU_SCALE * _SELU_ALPHA)


@dataclass(frozen=True)
class Softplus(Elementwise):
    """g(z) = ln(1 + exp z) = max(0, z) + ln(1 + exp(-|z|)); g'(z) = sigmoid(z).

    A smooth ReLU that stays above 0 (Dugas et al., 2001): for what must be positive, like a scale.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> g, z = cr.Softplus(), np.asarray([-2.0, 0.0, 2.0])
        >>> a = g(z)
        >>> a.round(3).tolist(), g.derivative(np, z, a).round(3).tolist()  # g(z), g'(z)
        ([0.127, 0.693, 2.127], [0.119, 0.5, 0.881])
    """

    def value(self, xp: Namespace, z: Array) -> Array:
        return xp.clip(z, min=0.0) + xp.log1p(xp.exp(-xp.abs(z)))

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return Sigmoid().value(xp, z)


def _one_or(xp: Namespace, condition: Array, otherwise: Array) -> Array:
    return xp.where(condition, xp.ones_like(otherwise), otherwise)
