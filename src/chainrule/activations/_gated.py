"""Activations z times a gate that opens with z: smooth, and not monotonic."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .._base.typing import Array, Namespace
from ._contract import Elementwise
from ._rectifiers import Softplus
from ._saturating import HardSigmoid, Sigmoid


@dataclass(frozen=True)
class GELU(Elementwise):
    """g(z) = z P(z), P the normal distribution function; g'(z) = P(z) + z p(z) (Hendrycks & Gimpel, 2016).

    A smooth ReLU, the usual choice in transformers.

    Faster bodies take its place on CuPy: ``chainrule where GELU``.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> g, z = cr.GELU(), np.asarray([-1.0, 0.0, 1.0])
        >>> a = g(z)
        >>> a.round(3).tolist(), g.derivative(np, z, a).round(3).tolist()  # g(z), g'(z)
        ([-0.159, 0.0, 0.841], [-0.083, 0.5, 1.083])
    """

    def value(self, xp: Namespace, z: Array) -> Array:
        return z * _normal_cdf(xp, z)

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return _normal_cdf(xp, z) + z * xp.exp(-0.5 * z * z) * (1.0 / math.sqrt(2.0 * math.pi))


@dataclass(frozen=True)
class GELUTanh(Elementwise):
    """g(z) = z/2 (1 + tanh u), u = sqrt(2/pi) (z + 0.044715 z^3): GELU's approximation by tanh.

    From the same paper (Hendrycks & Gimpel, 2016). Take it for weights that were trained with it.

    Faster bodies take its place on CuPy: ``chainrule where GELUTanh``.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> g, z = cr.GELUTanh(), np.asarray([-1.0, 0.0, 1.0])
        >>> a = g(z)
        >>> a.round(3).tolist(), g.derivative(np, z, a).round(3).tolist()  # g(z), g'(z)
        ([-0.159, 0.0, 0.841], [-0.083, 0.5, 1.083])
        >>> z = np.linspace(-8.0, 8.0, 1601)
        >>> float(abs(g(z) - cr.GELU()(z)).max()) < 5e-4
        True
    """

    def value(self, xp: Namespace, z: Array) -> Array:
        return 0.5 * z * (1.0 + self._tanh(xp, z))

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        z = xp.clip(z, min=-10.0, max=10.0)  # where 1 - t^2 is 0 already, and z^2 not yet infinite
        t = self._tanh(xp, z)
        du = math.sqrt(2.0 / math.pi) * (1.0 + 3.0 * 0.044715 * z * z)
        return 0.5 * (1.0 + t) + 0.5 * z * (1.0 - t * t) * du

    def _tanh(self, xp: Namespace, z: Array) -> Array:
        return xp.tanh(math.sqrt(2.0 / math.pi) * (z + 0.044715 * z * z * z))


@dataclass(frozen=True)
class SiLU(Elementwise):
    """g(z) = z s(z), s the sigmoid, also called swish; g'(z) = s + a (1 - s) (Elfwing et al., 2018).

    A smooth ReLU, near to GELU and simpler (swish: Ramachandran, Zoph & Le, 2017).

    Faster bodies take its place on CuPy: ``chainrule where SiLU``.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> g, z = cr.SiLU(), np.asarray([-1.0, 0.0, 1.0])
        >>> a = g(z)
        >>> a.round(3).tolist(), g.derivative(np, z, a).round(3).tolist()  # g(z), g'(z)
        ([-0.269, 0.0, 0.731], [0.072, 0.5, 0.928])
    """

    def value(self, xp: Namespace, z: Array) -> Array:
        return z * Sigmoid().value(xp, z)

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        s = Sigmoid().value(xp, z)
        return s + a * (1.0 - s)


@dataclass(frozen=True)
class Mish(Elementwise):
    """g(z) = z tanh(softplus z); g'(z) = t + z (1 - t^2) s, t the tanh, s the sigmoid (Misra, 2020).

    A smooth ReLU, near to SiLU.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> g, z = cr.Mish(), np.asarray([-1.0, 0.0, 1.0])
        >>> a = g(z)
        >>> a.round(3).tolist(), g.derivative(np, z, a).round(3).tolist()  # g(z), g'(z)
        ([-0.303, 0.0, 0.865], [0.059, 0.6, 1.049])
    """

    def value(self, xp: Namespace, z: Array) -> Array:
        return z * xp.tanh(Softplus().value(xp, z))

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        t = xp.tanh(Softplus().value(xp, z))
        return t + z * (1.0 - t * t) * Sigmoid().value(xp, z)


@dataclass(frozen=True)
class HardSwish(Elementwise):
    """g(z) = z clip(z/6 + 1/2, 0, 1); g'(z) = h + z h', h the hard sigmoid (Howard et al., 2019).

    SiLU without exp, for small devices.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> g, z = cr.HardSwish(), np.asarray([-1.5, 0.0, 4.0])
        >>> a = g(z)
        >>> a.round(3).tolist(), g.derivative(np, z, a).round(3).tolist()  # g(z), g'(z)
        ([-0.375, 0.0, 4.0], [0.0, 0.5, 1.0])
    """

    def value(self, xp: Namespace, z: Array) -> Array:
        return z * HardSigmoid().value(xp, z)

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        h = HardSigmoid()
        return h.value(xp, z) + z * h.derivative(xp, z, a)


def _normal_cdf(xp: Namespace, z: Array) -> Array:
    """P(z) = erfc(-z / sqrt 2) / 2."""
    x = xp.abs(z) * math.sqrt(0.5)
    tail = 0.5 * _erfc(xp, x)
    return xp.where(z < 0.0, tail, 1.0 - tail)


# Chebyshev coefficients in u = 2t - 1 of ln(erfc(x) exp(x^2) / t), t = 2 / (2 + x), x >= 0: computed with 40 digits
# at 60 Chebyshev nodes; the first one left out is below 1e-16. The standard has no erf.
_ERFC = (
    -0.6513268598908547171, 0.6419697923564902603, 0.019476473204185836312, -0.0095615147868086316419,
    -0.0009465953444820368663, 0.00036683949785276145187, 0.000042523324806907771645, -0.000020278578112534243154,
    -1.6242900046470255135e-6, 1.3036558355805232018e-6, 1.5626441722066143178e-8, -8.5238095914926542525e-8,
    6.5290544390988514964e-9, 5.0593434955514689418e-9, -9.9136415649303308674e-10, -2.2736512229318358557e-10,
    9.646791102015526802e-11, 2.3940380830391147447e-12, -6.8860275264975533984e-12, 8.9448792730907257168e-13,
    3.1309213993429580783e-13, -1.1270822361367252366e-13, 3.8109052551892320498e-16, 7.1060976136092369883e-15,
    -1.5230282014571043048e-15, -9.4574945712912339501e-17, 1.2102371892242789874e-16,
)  # fmt: skip


def _erfc(xp: Namespace, x: Array) -> Array:
    """1 - erf(x) for x >= 0, to the dtype's precision: the series above by Clenshaw's recurrence."""
    t = 2.0 / (2.0 + x)
    u2 = 4.0 * t - 2.0
    b1, b2 = xp.zeros_like(x), xp.zeros_like(x)
    for c in reversed(_ERFC[1:]):
        b1, b2 = u2 * b1 - b2 + c, b1
    return t * xp.exp(0.5 * u2 * b1 - b2 + _ERFC[0] - x * x)
