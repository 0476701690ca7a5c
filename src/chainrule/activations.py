"""Activations: each with its value a = g(z) and its derivative g'(z), side by side.

``cr.Tanh()(z)`` is g(z) of an array of any library, a list or a number. ``value(xp, z)`` and ``derivative(xp, z, a)``
are what a network calls, with its array API namespace; ``derivative`` is handed ``a = value(z)`` because the sigmoid
and tanh need nothing else. Write your own with ``cr.Activation(f, df)``. Softmax and the randomised leaky ReLU are not
functions of one number: they are layers.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

from ._backend import map_numbers
from ._base.errors import ConfigurationError, require
from ._base.options import as_list, check_numbers, find, real_number
from ._base.typing import Array, Namespace


@runtime_checkable
class Elementwise(Protocol):
    """A function of one number and its derivative, which is called like a function."""

    @abstractmethod
    def value(self, xp: Namespace, z: Array) -> Array:
        """g(z)."""

    @abstractmethod
    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        """g'(z), where a = g(z)."""

    def __call__(self, z: Any) -> Any:
        """g(z): of an array, in its library, on its device and in its dtype; of a list, as NumPy's; of a number, one.

        Integers become numbers of the library's default float type: float64 in NumPy, float32 in torch and JAX.

        Raises:
            DTypeError: z holds no real numbers.

        Example:
            >>> import numpy as np, chainrule as cr
            >>> cr.Sigmoid()(0.0), cr.ReLU()([-1, 2]), cr.Tanh()(np.zeros(2, np.float32)).dtype
            (0.5, array([0., 2.]), dtype('float32'))
        """
        return map_numbers(self.value, z)


@dataclass(frozen=True)
class Activation(Elementwise):
    """An activation of your own: a function and its derivative, no more.

    Both take ``(xp, z)``, the array namespace and the pre-activations, and return an array of z's shape and dtype.
    Use ``xp`` and Python numbers only, and the same code runs on every backend.

    Args:
        f: g, a function of ``(xp, z)``.
        df: its derivative g', alike.
        name: what tables and errors call it; default "custom".

    Raises:
        ConfigurationError: f or df is no function; when called, what they return is not of z's shape and dtype.

    Example:
        >>> import numpy as np, chainrule as cr
        >>> bump = cr.Activation(lambda xp, z: xp.exp(-z * z), lambda xp, z: -2.0 * z * xp.exp(-z * z), name="bump")
        >>> z = np.asarray([0.0, 1.0])
        >>> bump(z).round(3).tolist()
        [1.0, 0.368]
        >>> network = cr.mlp([1, 3, 1], activation=bump)
        >>> cr.check_gradients(network, [[0.0], [1.0]], [1.0, 2.0], loss="squared_error").passed
        True
    """

    f: Callable[[Namespace, Array], Array]
    df: Callable[[Namespace, Array], Array]
    name: str = "custom"

    def __post_init__(self) -> None:
        both = callable(self.f) and callable(self.df)
        require(both, f"Activation: expected two functions of (xp, z), got {self.f!r} and {self.df!r}.")

    def value(self, xp: Namespace, z: Array) -> Array:
        return _alike(z, self.f(xp, z))

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return _alike(z, self.df(xp, z))


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
class ReLU(Elementwise):
    """g(z) = max(0, z); g'(z) = 1 if z > 0 else 0. The derivative at z = 0, which does not exist, is taken as 0.

    The usual choice in hidden layers (Nair & Hinton, 2010): cheap, and it does not saturate above 0. A unit whose z is
    negative for every example has no gradient and stays so: ``diagnose`` counts these.

    Faster bodies take its place on NumPy, Numba, CuPy: ``chainrule where ReLU``.

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
        object.__setattr__(self, "coefficients", plain)

    def value(self, xp: Namespace, z: Array) -> Array:
        return _horner(xp, self.coefficients, z)

    def derivative(self, xp: Namespace, z: Array, a: Array) -> Array:
        return _horner(xp, tuple(k * c for k, c in enumerate(self.coefficients))[1:] or (0.0,), z)


ACTIVATIONS: Mapping[str, Elementwise] = MappingProxyType(
    {
        "linear": Linear(),
        "step": Step(),
        "sigmoid": Sigmoid(),
        "tanh": Tanh(),
        "relu": ReLU(),
        "leaky_relu": LeakyReLU(),
        "elu": ELU(),
        "selu": SELU(),
        "gelu": GELU(),
        "gelu_tanh": GELUTanh(),
        "silu": SiLU(),
        "mish": Mish(),
        "softplus": Softplus(),
        "hard_sigmoid": HardSigmoid(),
        "hard_tanh": HardTanh(),
        "hard_swish": HardSwish(),
        "exponential": Exponential(),
        "sine": Sine(),
        "cosine": Cosine(),
        "polynomial": Polynomial(),
    }
)


def find_activation(activation: str | Elementwise) -> Elementwise:
    """The activation of this name, or the object itself."""
    return find(
        "activation",
        activation,
        ACTIVATIONS,
        Elementwise,
        expected="an activation, with value(xp, z) and derivative(xp, z, a)",
        write="a name like 'relu', or wrap your two functions as cr.Activation(f, df)",
    )


def usual_weight_init(activation: Elementwise) -> str:
    """What draws the weights below it, by name: LeCun for SELU, Glorot for (hard) tanh and sigmoid, else He.

    He et al. (2015) made theirs for ReLU, Glorot & Bengio (2010) theirs for functions that are linear at 0.
    """
    if isinstance(activation, SELU):
        return "lecun_normal"
    return "glorot_uniform" if isinstance(activation, Tanh | Sigmoid | HardTanh | HardSigmoid) else "he_normal"


def _alike(z: Array, found: Array) -> Array:
    """What a function of the user's own returned for z, refused unless it is of z's shape and dtype."""
    shape, dtype = getattr(found, "shape", None), getattr(found, "dtype", None)
    if shape != z.shape or dtype != z.dtype:
        got = type(found).__name__ if shape is None else f"{tuple(shape)} and {dtype}"
        raise ConfigurationError(
            f"your activation must return an array of z's shape {tuple(z.shape)} and dtype {z.dtype}, got {got}."
        )
    return found


def _one_or(xp: Namespace, condition: Array, otherwise: Array) -> Array:
    return xp.where(condition, xp.ones_like(otherwise), otherwise)


def _horner(xp: Namespace, coefficients: tuple[float, ...], z: Array) -> Array:
    total = xp.full_like(z, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = total * z + c
    return total


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
