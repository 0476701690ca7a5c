"""Activations between two bounds, flat far out on both sides."""

from __future__ import annotations

from dataclasses import dataclass

from .._base.errors import ConfigurationError
from .._base.typing import Array, Namespace
from ._contract import Elementwise


@dataclass(frozen=True)
class Step(Elementwise):
    """g(z) = 1 if z > 0 else 0: the perceptron (Rosenblatt, 1958). It predicts; it cannot be trained through.

    Raises:
        ConfigurationError: from ``derivative``, which is 0 wherever it exists.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> x = np.asarray([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        >>> g, z = cr.Step(), x @ [1.0, 1.0] - 1.5
        >>> g(z).tolist()  # a perceptron that says AND
        [0.0, 0.0, 0.0, 1.0]
    """

    def value(self, xp: Namespace, z: Array) -> Array:
        return xp.astype(z > 0.0, z.dtype)

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        raise ConfigurationError(
            "the step function's derivative is 0 wherever it exists, so no gradient passes through it: "
            "train with activation='sigmoid' and keep 'step' for given weights."
        )


@dataclass(frozen=True)
class Sigmoid(Elementwise):
    """g(z) = 1 / (1 + exp(-z)); g'(z) = a (1 - a). No overflow at any z: only exp(-|z|) is taken.

    For the probability of one outcome, at the end. In hidden layers, where Rumelhart, Hinton & Williams (1986) had it,
    it saturates: its slope is 1/4 at most, and next to nothing far out.

    Faster bodies take its place on CuPy: ``chainrule where Sigmoid``.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> g, z = cr.Sigmoid(), np.asarray([-4.0, 0.0, 4.0])
        >>> a = g(z)
        >>> a.round(3).tolist(), g.derivative(np, z, a).round(3).tolist()  # g(z), g'(z)
        ([0.018, 0.5, 0.982], [0.018, 0.25, 0.018])
    """

    def value(self, xp: Namespace, z: Array) -> Array:
        e = xp.exp(-xp.abs(z))
        r = 1.0 / (1.0 + e)
        return xp.where(z >= 0.0, r, e * r)

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return a * (1.0 - a)


@dataclass(frozen=True)
class Tanh(Elementwise):
    """g(z) = tanh z; g'(z) = 1 - a^2.

    2 sigmoid(2z) - 1: a sigmoid with mean 0 and slope 1 at 0, which trains faster (LeCun et al., 1998). For shallow
    networks and smooth functions; far out it saturates too.

    Faster bodies take its place on CuPy: ``chainrule where Tanh``.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> g, z = cr.Tanh(), np.asarray([-2.0, 0.0, 2.0])
        >>> a = g(z)
        >>> a.round(3).tolist(), g.derivative(np, z, a).round(3).tolist()  # g(z), g'(z)
        ([-0.964, 0.0, 0.964], [0.071, 1.0, 0.071])
    """

    def value(self, xp: Namespace, z: Array) -> Array:
        return xp.tanh(z)

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return 1.0 - a * a


@dataclass(frozen=True)
class HardSigmoid(Elementwise):
    """g(z) = clip(z/6 + 1/2, 0, 1); g'(z) = 1/6 if |z| < 3 else 0.

    A sigmoid without exp, for small devices (Howard et al., 2019). Beyond 3 no gradient passes.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> g, z = cr.HardSigmoid(), np.asarray([-4.0, 0.0, 1.5])
        >>> a = g(z)
        >>> a.round(3).tolist(), g.derivative(np, z, a).round(3).tolist()  # g(z), g'(z)
        ([0.0, 0.5, 0.75], [0.0, 0.167, 0.167])
    """

    def value(self, xp: Namespace, z: Array) -> Array:
        return xp.clip(z * (1.0 / 6.0) + 0.5, min=0.0, max=1.0)

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return xp.astype(xp.abs(z) < 3.0, z.dtype) * (1.0 / 6.0)


@dataclass(frozen=True)
class HardTanh(Elementwise):
    """g(z) = clip(z, -1, 1); g'(z) = 1 if |z| < 1 else 0.

    A tanh without exp (Collobert, 2004). Beyond 1 no gradient passes.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> g, z = cr.HardTanh(), np.asarray([-2.0, 0.0, 0.5])
        >>> a = g(z)
        >>> a.round(3).tolist(), g.derivative(np, z, a).round(3).tolist()  # g(z), g'(z)
        ([-1.0, 0.0, 0.5], [0.0, 1.0, 1.0])
    """

    def value(self, xp: Namespace, z: Array) -> Array:
        return xp.clip(z, min=-1.0, max=1.0)

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return xp.astype(xp.abs(z) < 1.0, z.dtype)
